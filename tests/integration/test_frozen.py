"""What a load leaves behind for those who read: rows that need no vacuum, and statistics."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bulkload import Input, Job, JsonRecords, Mode, Plan, Rejects, Sink, Source, Table, gamedb, record, run
from bulkload.workers import outbox, shares

ServerConnection = psycopg.Connection[tuple[object, ...]]

SIZES = gamedb.Sizes(items=120, nanos=15, perks=12, symbiants=20)

# What a snapshot shows of each table; and what the planner takes for its rows.
SEEN = "SELECT count(*) FROM items UNION ALL SELECT count(*) FROM item_stats UNION ALL SELECT count(*) FROM mobs"
ESTIMATED = """
    SELECT relname::text, reltuples::bigint FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND NOT relname = 'source_types'
"""
COLUMNS = "SELECT DISTINCT tablename::text FROM pg_stats WHERE schemaname = 'public'"


@record
class Day:
    day: int
    n: int


DAYS = Table("days", Day, ("day", "n"))
NIGHTS = Table("nights", Day, ("day", "n"))


def add_day(sink: Sink, day: Day) -> None:
    sink.add(DAYS, day)
    sink.add(NIGHTS, day)


@pytest.fixture(autouse=True)
def workers_always_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the sources are."""
    monkeypatch.setattr(shares, "LEAST_BYTES", 0)
    monkeypatch.setattr(outbox, "LEAST_COPIED", 2000)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[Input]:
    """A generated set."""
    files = gamedb.generate(tmp_path_factory.mktemp("set"), SIZES, 1)
    pairs: list[tuple[Job[Any], Path]] = [
        (gamedb.ITEMS_JOB, files.items),
        (gamedb.NANOS_JOB, files.nanos),
        (gamedb.PERKS_JOB, files.perks),
        (gamedb.SYMBIANTS_JOB, files.symbiants),
    ]
    return [Input(job, Source(str(path))) for job, path in pairs]


@pytest.fixture
def items(gamedb_database: str) -> Iterator[ServerConnection]:
    """An items database without items that is this test's own."""
    with psycopg.connect(gamedb_database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def before(items: ServerConnection) -> Iterator[ServerConnection]:
    """A transaction with a snapshot of the time before the load, and no lock on its tables."""
    with psycopg.connect(items.info.dsn) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT pg_current_snapshot()")
        yield connection


def seen(connection: ServerConnection) -> list[object]:
    return [count for (count,) in connection.execute(SEEN.encode()).fetchall()]


@pytest.mark.parametrize("jobs", [1, 2])
def test_rows_of_emptied_tables_are_frozen(
    items: ServerConnection, before: ServerConnection, inputs: list[Input], jobs: int
) -> None:
    """So they show in snapshots that are older than the load, where its tables would be empty otherwise."""
    run(items, inputs, clear=True, jobs=jobs)
    assert seen(before) == seen(items)
    assert 0 not in seen(items)


@pytest.mark.parametrize("jobs", [1, 2])
def test_behind_savepoints_they_are_not(
    items: ServerConnection, before: ServerConnection, inputs: list[Input], jobs: int
) -> None:
    """Where rejects are let through; there the server refuses to freeze."""
    run(items, inputs, clear=True, jobs=jobs, rejects=Rejects(most=5))
    assert seen(before) == [0, 0, 0]
    assert 0 not in seen(items)


def test_nor_are_those_of_tables_that_keep_their_rows(
    items: ServerConnection, before: ServerConnection, inputs: list[Input]
) -> None:
    """They are as invisible to others as those of any transaction."""
    run(items, inputs)
    assert seen(before) == [0, 0, 0]
    assert 0 not in seen(items)


def test_a_transaction_of_the_callers_may_have_cursors_open(items: ServerConnection, inputs: list[Input]) -> None:
    """The server freezes nothing beside one."""
    with items.transaction(), items.cursor("numbers") as cursor:
        cursor.execute("SELECT generate_series(1, 10)")
        assert cursor.fetchone() == (1,)
        run(items, inputs, clear=True)
        assert cursor.fetchone() == (2,)
    assert 0 not in seen(items)


def test_partitions_are_filled_all_the_same(connection: ServerConnection, tmp_path: Path) -> None:
    """The server freezes nothing through a partitioned table."""
    connection.execute(
        "CREATE TABLE days (day int, n int) PARTITION BY RANGE (day);"
        "CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE days_2 PARTITION OF days FOR VALUES FROM (10) TO (20);"
        "CREATE TABLE nights (day int, n int); INSERT INTO nights VALUES (1, 1)"
    )
    file = tmp_path / "days.json"
    file.write_text(json.dumps([{"day": number % 20, "n": number} for number in range(100)]))
    job = Job("days", Plan(DAYS, NIGHTS), JsonRecords(Day), add_day)
    run(connection, [Input(job, Source(str(file)))], clear=True)
    rows = [(number % 20, number) for number in range(100)]
    for table in ("days", "nights"):
        assert connection.execute(f"SELECT day, n FROM {table} ORDER BY n".encode()).fetchall() == rows


@pytest.mark.parametrize("mode", list(Mode))
def test_the_planner_knows_what_came(items: ServerConnection, inputs: list[Input], mode: Mode) -> None:
    """Every table that was filled has statistics when the load ends, however many connections it had for that."""
    run(items, inputs, clear=True, mode=mode, jobs=2)
    found: list[tuple[Any, ...]] = items.execute(ESTIMATED.encode()).fetchall()
    estimated = {name: int(rows) for name, rows in found}
    counts = {name: items.execute(f"SELECT count(*) FROM {name}".encode()).fetchall()[0][0] for name in estimated}
    assert estimated == {name: count or -1 for name, count in counts.items()}
    assert {name for (name,) in items.execute(COLUMNS.encode()).fetchall()} >= {
        name for name, count in counts.items() if count
    }
