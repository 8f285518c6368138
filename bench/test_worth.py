"""What does an index or a foreign key cost a new row, and what a row when it is made anew?

    pytest bench/test_worth.py -s

The figures are the constants of `bulkload.rebuild.choice.COSTS`. Each kind is measured on a table of its own: rows into
as many by COPY, with and without it, in turn; then it is made anew. What counts is the ratio of the two costs.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from bulkload import copy_rows, embedded
from bulkload.rebuild.choice import COSTS

ROWS = int(os.environ.get("BULKLOAD_BENCH_ROWS", "300000"))
ROUNDS = 3

Connection = psycopg.Connection[tuple[object, ...]]

# kind: the column's type, a value from a random number, the index
KINDS: dict[str, tuple[str, Callable[[random.Random], object], str]] = {
    "btree": ("int", lambda r: r.getrandbits(30), "CREATE INDEX made ON t (v)"),
    "hash": ("int", lambda r: r.getrandbits(30), "CREATE INDEX made ON t USING hash (v)"),
    "gin": ("int[]", lambda r: [r.randrange(5000) for _ in range(5)], "CREATE INDEX made ON t USING gin (v)"),
    "gist": ("int", lambda r: r.getrandbits(30), "CREATE INDEX made ON t USING gist (int4range(v, v + 1))"),
    "brin": ("int", lambda r: r.getrandbits(30), "CREATE INDEX made ON t USING brin (v)"),
    "foreign key": (
        "int",
        lambda r: r.randrange(1, 50_001),
        "ALTER TABLE t ADD CONSTRAINT made FOREIGN KEY (v) REFERENCES p",
    ),
}


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    directory = tmp_path_factory.mktemp("server")
    with embedded.start(directory) as server, psycopg.connect(server.conninfo, autocommit=True) as opened:
        opened.execute("CREATE TABLE p (id int PRIMARY KEY); INSERT INTO p SELECT generate_series(1, 50000)")
        opened.execute("SET maintenance_work_mem = '256MB'")
        yield opened


def seconds(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_kind_costs(connection: Connection, kind: str) -> None:
    """A row that comes costs more while the object is there than when it is made anew; the constants say how much."""
    column, value, make = KINDS[kind]
    chance = random.Random(1)  # noqa: S311 - data
    rows = [(value(chance),) for _ in range(ROWS)]
    more = [(value(chance),) for _ in range(ROWS)]
    maintain: list[float] = []
    build: list[float] = []
    for _ in range(ROUNDS):
        took: list[float] = []
        for indexed in (False, True):
            connection.execute(f"DROP TABLE IF EXISTS t; CREATE TABLE t (v {column})".encode())
            copy_rows(connection, "t", ["v"], rows)
            if indexed:
                connection.execute("CHECKPOINT")
                build.append(seconds(lambda: connection.execute(make.encode())) / ROWS * 1e6)
            took.append(seconds(lambda: copy_rows(connection, "t", ["v"], more)))
        maintain.append((took[1] - took[0]) / ROWS * 1e6)
    each, whole = statistics.median(maintain), statistics.median(build)
    known = COSTS[kind]
    print(  # noqa: T201 - what a bench is for
        f"\n{kind}: {each:.2f} µs a new row, {whole:.2f} µs a row when made anew: ratio {each / whole:.1f}; "
        f"in use are {known.maintain} and {known.build}: ratio {known.maintain / known.build:.1f}"
    )
    assert whole > 0
