"""Faults at every step and at random moments: nothing is lost, and the database is as before, as after, or restored.

Each test runs a few rounds, BULKLOAD_FAULT_ROUNDS of each kind in each place. Thousands, by one command:

    BULKLOAD_FAULT_ROUNDS=200 python -m pytest tests/integration/test_faults.py

What came of them is shown at the end of the run.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from bulkload import Plan, Table, embedded, ledger, record, rebuild, restore, start
from bulkload.choice import Drop, Drops
from bulkload.errors import BulkloadError
from bulkload.recovery import drop_by_hand, recover, relations_named, restore_by_hand
from bulkload.server import connect
from tests import corpus, faults
from tests import server as servers
from tests.faults import ROUNDS, Connection, Injector, count

EVERYTHING = Drops(Drop.ALWAYS, Drop.ALWAYS, Drop.ALWAYS)

SCHEMA = """
CREATE TABLE kinds (id int PRIMARY KEY DEFAULT 1, name text CONSTRAINT kinds_once UNIQUE DEFERRABLE);
CREATE TABLE things (
    n int PRIMARY KEY, kind int CONSTRAINT of_kind REFERENCES kinds, name text,
    CONSTRAINT apart EXCLUDE USING btree (n WITH =)
);
CREATE INDEX things_name ON things (name);
CREATE UNIQUE INDEX things_unique ON things (lower(name)) WHERE n > 0;
ALTER TABLE things ADD CONSTRAINT loose FOREIGN KEY (n) REFERENCES things (n) NOT VALID;
COMMENT ON INDEX things_name IS 'told';
COMMENT ON CONSTRAINT of_kind ON things IS 'told, too';
CREATE TABLE days (day int, n int, PRIMARY KEY (day, n)) PARTITION BY RANGE (day);
CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM (0) TO (10);
CREATE INDEX days_n ON days (n);
INSERT INTO kinds SELECT n, 'k' || n FROM generate_series(1, 5) AS n;
INSERT INTO things SELECT n, 1 + n % 5, 'n' || n FROM generate_series(1, {rows}) AS n;
INSERT INTO days SELECT n % 10, n FROM generate_series(1, 50) AS n;
"""


@record
class Thing:
    n: int
    name: str


@record
class Kind:
    name: str


THINGS = Table("things", Thing, ("n", "name"))
KINDS = Table("kinds", Kind, ("name",))
NEW_ROWS = 40


@attrs.frozen
class World:
    """A database, and what must be in it before and after."""

    conninfo: str
    admin: Connection
    """Is never cut."""
    picture: list[str]
    rows: int


@contextmanager
def world(conninfo: str, rows: int) -> Generator[World]:
    with connect(conninfo) as admin:
        admin.execute(SCHEMA.replace("{rows}", str(rows)).encode())
        yield World(conninfo, admin, corpus.picture(admin), rows)


@pytest.fixture
def small(database: str) -> Generator[World]:
    with world(database, 50) as found:
        yield found


# ------------------------------------------------------------------------------------------------- what is disturbed


def drop(connection: Connection) -> None:
    drop_by_hand(connection, corpus.tables(connection), foreign_keys=True, keys=True)


def drop_loaded(connection: Connection) -> None:
    """Of those tables alone that `load` fills."""
    drop_by_hand(
        connection, relations_named(connection, "public", ["kinds", "things"]), foreign_keys=True, keys=True
    )  # fmt: skip


def put_back(connection: Connection) -> None:
    restore_by_hand(connection, corpus.tables(connection))


def put_back_after_death(connection: Connection) -> None:
    recover(connection)


def load(connection: Connection) -> None:
    with start(connection, Plan(KINDS, THINGS), clear=True, drops=EVERYTHING, batch_rows=15) as sink:
        sink.add(KINDS, Kind("new"))
        for n in range(NEW_ROWS):
            sink.add(THINGS, Thing(n + 1000, f"new {n}"))


def as_if_died(connection: Connection) -> None:
    """What was dropped by hand looks as if a load had done it."""
    connection.execute("UPDATE bulkload.loads SET kind = 'load', state = 'running', ended = NULL")


@attrs.frozen
class Act:
    """What is disturbed: `before` sets up what it finds."""

    do: Callable[[Connection], None]
    before: Sequence[Callable[[Connection], None]] = ()
    loads: bool = False


ACTS = {
    "drop": Act(drop),
    "restore": Act(put_back, [drop]),
    "recover": Act(put_back_after_death, [drop, as_if_died]),
    "load": Act(load, loads=True),
    "load that takes over": Act(load, [drop_loaded, as_if_died], loads=True),
}


def settle(world: World) -> None:
    """Until no session but the admin's is left: the server goes on with a statement whose client is dead."""
    query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    deadline = time.monotonic() + 60
    while world.admin.execute(query).fetchall():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def judge(world: World, act: Act, *, at_once: bool = False) -> str:
    """What came of a fault, after which everything is whole again: `old`, `new` or `restored`."""
    if not at_once:
        settle(world)
    outcome = content(world)
    away = [entry.name for entry in ledger.outstanding(world.admin)]
    if act.loads and outcome == "new":
        assert away == [], "a load that is in has taken over everything"
    if not act.before and not at_once:
        # One transaction: nothing is gone, or all of it, with the ledger's lines.
        assert (corpus.picture(world.admin) == world.picture) is (away == [])
    if away:
        outcome = "restored"
    mend(world)
    return outcome


def content(world: World) -> str:
    """Which rows there are: they are whole."""
    query = "SELECT count(*), sum(n), (SELECT count(*) FROM kinds) FROM things"
    row = world.admin.execute(query).fetchone()
    if row == (world.rows, world.rows * (world.rows + 1) // 2, 5):
        return "old"
    assert row == (NEW_ROWS, sum(range(1000, 1000 + NEW_ROWS)), 1)
    return "new"


def mend(world: World) -> None:
    """What is away comes back by the same commands, and all is as it was."""
    deadline = time.monotonic() + 60
    while ledger.outstanding(world.admin):
        assert time.monotonic() < deadline
        with connect(world.conninfo) as other:
            recover(other)
            put_back(other)
    settle(world)
    assert corpus.picture(world.admin) == world.picture
    content(world)


def renew(world: World, act: Act) -> None:
    """All is as at the begin, and what the act is to find is set up."""
    if content(world) == "new":
        world.admin.execute(
            "TRUNCATE things, kinds; INSERT INTO kinds SELECT n, 'k' || n FROM generate_series(1, 5) AS n"
        )
        rows = "INSERT INTO things SELECT n, 1 + n %% 5, 'n' || n FROM generate_series(1, %s) AS n"
        world.admin.execute(rows, [world.rows])
    world.admin.execute("DROP SCHEMA IF EXISTS bulkload CASCADE")
    for step in act.before:
        step(world.admin)


# ------------------------------------------------------------------------------------------------------ at every step


@pytest.mark.parametrize("kind", Injector.KINDS)
@pytest.mark.parametrize("name", ACTS)
def test_a_fault_at_any_step_leaves_all_that_is_needed_to_put_it_right(small: World, name: str, kind: str) -> None:
    """An interrupt, or the end of the session, before or after the step: the same commands finish the work."""
    act = ACTS[name]
    small.admin.add_notice_handler(lambda _notice: None)
    renew(small, act)
    undisturbed = Injector(small.admin, kind, None)
    with connect(small.conninfo) as connection, undisturbed():
        act.do(connection)
    judge(small, act)
    steps = range(undisturbed.steps)
    for at in steps if ROUNDS >= len(steps) else sorted(random.sample(steps, ROUNDS)):
        renew(small, act)
        injector = Injector(small.admin, kind, at)
        with suppress(BulkloadError, psycopg.Error, KeyboardInterrupt):
            with connect(small.conninfo) as connection, injector():
                act.do(connection)
        assert injector.steps > at
        count(f"{kind} a step of a {name}", judge(small, act))
