"""What does each way of loading cost, a record?

    BULKLOAD_BENCH_ITEMS=20000 pytest bench/test_ladder.py -s --benchmark-json=ladder.json

Each way fills the seventeen tables of the items part from items.json and nanos.json, with all their indexes and foreign
keys there at the end and the view refreshed: what people do instead (bench/baselines), bulkload in its three modes, and
the floors (bench/floors.py). Each is a process of its own. It is run once through a proxy that counts what passes it,
and its content is checked; the rounds that are timed go without. A round goes through all ways and the next one begins
elsewhere, and a ratio is to `pg_restore -j2` of the same round, so that it holds on a machine whose speed drifts.

The slowest are run up to a size that they bear: the ORM with a flush an entity up to 5,000 items, the ORM with six
flushes a batch and SQLAlchemy Core up to 20,000. What a record costs them differs little with the size.

BULKLOAD_BENCH_ITEMS sets the size (default 20,000 items; a full set has 157,000), BULKLOAD_BENCH_ROUNDS the rounds
(default 3, of a full set 2). A picture is drawn beside the JSON, or where BULKLOAD_BENCH_PLOT says.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import attrs
import psycopg
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench import floors, plot
from bench.common import CORES, ITEMS, by_process, counts, empty, fresh, rounds, tell
from bench.floors import Floors
from bench.ladder import WAYS, Kind, Rung, Way, table
from bench.line import Line
from bench.measure import Cost, cost
from bulkload import embedded, gamedb
from bulkload.gamedb.tables import ITEM_PLAN

ROUNDS = rounds(full=2, small=3)
_DATABASE = "ladder"
TABLES = [relation.name for relation in ITEM_PLAN]


@attrs.frozen
class Stand:
    """Where all ways are run."""

    server: embedded.Server
    files: gamedb.Files
    floors: Floors
    expected: gamedb.Content

    def fresh(self, way: Way) -> str:
        """A database as the way expects it."""
        if way.kind is not Kind.FLOOR:
            return empty(self.server, _DATABASE)
        conninfo = fresh(self.server, _DATABASE)
        self.floors.prepare(way.name, conninfo)
        return conninfo

    def run(self, way: Way, conninfo: str) -> Cost:
        if way.kind is Kind.FLOOR:
            return cost(self.floors.command(way.name, conninfo), self.server)
        return cost(by_process(way.name, conninfo, self.files), self.server)

    def first(self, way: Way) -> Rung:
        """Run it once to count what passes between client and server, and check what comes of it."""
        conninfo = self.fresh(way)
        with Line(self.server.conninfo) as line:
            self.run(way, line.conninfo(_DATABASE))
        if way.name == floors.COPY:
            found = counts(conninfo)
            assert {name: found[name] for name in TABLES} == {name: self.expected.rows[name] for name in TABLES}
        else:
            with psycopg.connect(conninfo) as connection:
                assert gamedb.differences(self.expected, gamedb.actual(connection)) == []
        return Rung(way, line.statements, line.round_trips)


@pytest.fixture
def stand(server: embedded.Server, files: gamedb.Files, tmp_path: Path) -> Stand:
    conninfo = empty(server, "finished")
    cost(by_process("optimized", conninfo, files), server)
    kept = Floors.of(conninfo, TABLES, tmp_path)
    return Stand(server, files, kept, gamedb.expected(files.items, files.nanos, None, None))


def test_what_each_way_costs(benchmark: BenchmarkFixture, stand: Stand, pytestconfig: pytest.Config) -> None:
    """Milliseconds a record, the ratio to the floor, and what else each way takes."""
    rungs: dict[str, Rung] = {}
    for way in WAYS:
        if way.most is None or way.most >= ITEMS:
            rungs[way.name] = stand.first(way)
            tell(f"{way.label}: counted and checked")

    def once() -> None:
        every = list(rungs.values())
        begin = len(rungs[floors.RESTORE_2].costs) * len(every) // ROUNDS
        for rung in (*every[begin:], *every[:begin]):
            rung.costs.append(stand.run(rung.way, stand.fresh(rung.way)))
            tell(f"{rung.way.label}: {rung.costs[-1].seconds:.2f} s")

    benchmark.pedantic(once, rounds=ROUNDS, iterations=1)  # type: ignore[no-untyped-call]
    sizes = gamedb.Sizes.of(ITEMS)
    records, rows = sizes.items + sizes.nanos, sum(stand.expected.rows[name] for name in TABLES)
    floor = rungs[floors.RESTORE_2]
    figures = {name: rung.figures(floor, records, rows) for name, rung in rungs.items()}
    benchmark.extra_info.update(
        items=ITEMS, records=records, rows=rows, rounds=ROUNDS, cores=CORES, ladder=figures,
        ratios={name: found["ratio"] for name, found in figures.items() if name != floors.RESTORE_2},
    )  # fmt: skip
    title = f"{ITEMS:,} items: {records:,} records, {rows:,} rows; {ROUNDS} rounds, {CORES} cores"
    tell(f"\n{title}\n\n{table(WAYS, figures)}")
    picture = place_of_plot(pytestconfig)
    if picture is not None:
        plot.draw(picture, WAYS, {name: found["ms_a_record"] for name, found in figures.items()}, title)


def place_of_plot(config: pytest.Config) -> Path | None:
    """Where the picture goes; nowhere, where nothing is written."""
    named = os.environ.get("BULKLOAD_BENCH_PLOT")
    if named:
        return Path(named)
    results = cast("Path | None", config.getoption("benchmark_json"))
    return results.with_suffix(".png") if results else None
