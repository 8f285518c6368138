"""What does importing again cost, where little or much has changed?

    BULKLOAD_BENCH_ITEMS=157000 pytest bench/test_again.py -s --benchmark-json=again.json

Each round imports all files into emptied tables, and then over that, in one transaction, the same files, files in which
one record in a hundred has changed, files in which one in twenty has (and the others are as at first, so that these are
6 % together, 10,000 of a full set), and files in which all have; a ratio is to the first import of the same round. What
changes is a number that no row holds, so that the content stays, and is compared. BULKLOAD_BENCH_ITEMS sets the size
(default 20,000 items; a full set has 157,000), BULKLOAD_BENCH_ROUNDS the rounds (default 3, of a full set 1).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from pathlib import Path

import attrs
import psycopg
from pytest_benchmark.fixture import BenchmarkFixture

from bench.common import CORES, ITEMS, counts, empty, markdown, rounds, tell
from bulkload import Input, Mode, Source, embedded, gamedb, run

ROUNDS = rounds(full=1, small=3)
_STORED = b'"Version": 1'
"""What the generator writes in each record; another number stands there when it has changed."""


def test_what_importing_again_costs(
    benchmark: BenchmarkFixture, server: embedded.Server, inputs: list[Input], tmp_path: Path
) -> None:
    """Seconds, and the ratio to an import into empty tables."""
    ways = {
        "into empty tables": inputs,
        "again, unchanged": inputs,
        "again, 1 % changed": _changed(inputs, 100, tmp_path / "one"),
        "again, 6 % changed": _changed(inputs, 20, tmp_path / "some"),
        "again, all changed": _changed(inputs, 1, tmp_path / "all"),
    }
    first = next(iter(ways))
    took: dict[str, list[float]] = {name: [] for name in ways}
    written: dict[str, int] = {}

    def once() -> None:
        conninfo = empty(server, "again")
        wanted: dict[str, int] = {}
        with psycopg.connect(conninfo, autocommit=True) as connection:
            for name, each in ways.items():
                begin = time.perf_counter()
                report = run(
                    connection, each, mode=Mode.OPTIMIZED, clear=name == first, jobs=CORES,
                    finish=gamedb.refresh_views,
                )  # fmt: skip
                took[name].append(time.perf_counter() - begin)
                written[name] = report.rows
                wanted = wanted or counts(conninfo)
                assert counts(conninfo) == wanted
                tell(f"{name}: {took[name][-1]:.1f} s")

    benchmark.pedantic(once, rounds=ROUNDS, iterations=1)  # type: ignore[no-untyped-call]
    ratios = {
        name: statistics.median(one / base for one, base in zip(seconds, took[first], strict=True))
        for name, seconds in took.items()
    }
    benchmark.extra_info.update(items=ITEMS, rounds=ROUNDS, cores=CORES, ratios=ratios)
    table = [
        [name, f"{statistics.median(seconds):.1f}", f"{ratios[name]:.2f}", f"{written[name]:,}"]
        for name, seconds in took.items()
    ]
    tell(f"\n{ITEMS:,} items, {ROUNDS} rounds, {CORES} cores\n")
    tell(markdown(("import", "seconds", "ratio", "rows written"), table))


def _changed(inputs: Iterable[Input], every: int, folder: Path) -> list[Input]:
    """The same, with one in so many records of items and nanos changed: the generator writes them a line each."""
    folder.mkdir()
    changed = b'"Version": %d' % (1 + every)
    made: list[Input] = []
    for each in inputs:
        path = Path(each.source.path)
        if path.suffix == ".json" and each.job.identity is not None:
            with path.open("rb") as before, (folder / path.name).open("wb") as after:
                for number, line in enumerate(before):
                    after.write(line.replace(_STORED, changed, 1) if number % every == 0 else line)
            path = folder / path.name
        made.append(attrs.evolve(each, source=Source(str(path))))
    return made
