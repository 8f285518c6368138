"""A connection that is swallowed on its way ends the load; a server that is at work, however long, does not."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from bulkload import (
    BulkloadError,
    Input,
    Job,
    JsonRecords,
    Mode,
    Plan,
    Progress,
    ServerError,
    Sink,
    Source,
    Table,
    UnknownOutcomeError,
    gamedb,
    record,
    run,
)
from bulkload.rebuild.choice import Drop, Drops
from bulkload.server import silence
from bulkload.server.connection import Connection, connect
from bulkload.workers import shares
from tests import server as servers
from tests.faults import count
from tests.hole import Hole, SlowLine

SCHEMA = "CREATE TABLE texts (number int, body text); CREATE INDEX texts_number ON texts (number)"
LOCKS = """
    SELECT pid, locktype, mode FROM pg_locks
    WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid <> pg_backend_pid()
      AND locktype <> 'advisory'
"""
EVERYTHING = Drops(Drop.ALWAYS, Drop.ALWAYS, Drop.ALWAYS)
LOST = "nothing came from the server for .* s, and it is not at work on what was asked of it: the connection is lost"


@record
class Text:
    number: int
    body: str


TEXTS = Table("texts", Text, ("number", "body"))


def add_text(sink: Sink, document: dict[str, Any]) -> None:
    sink.add(TEXTS, Text(document["number"], document["body"]))


JOB = Job("texts", Plan(TEXTS), JsonRecords(dict[str, Any], key="number"), add_text)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """All waits are short; what lasts longer than they do is to be told from what will not come."""
    monkeypatch.setattr(silence, "_LOOK", 0.15)
    monkeypatch.setattr(silence, "_PATIENCE", 0.4)
    monkeypatch.setattr(silence, "_ASKED", 1)
    monkeypatch.setattr(shares, "LEAST_BYTES", 0)


@pytest.fixture
def texts(connection: Connection) -> Connection:
    connection.execute(SCHEMA)
    return connection


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Sixteen records of half a megabyte: more than there is room for on the way."""
    path = tmp_path / "texts.json"
    path.write_text(json.dumps([{"number": n, "body": f"text {n} " + "x" * (1 << 19)} for n in range(16)]))
    return path


def load(conninfo: str, source: Path, mode: Mode, **options: Any) -> None:
    with connect(conninfo) as connection:
        inputs = [Input(JOB, Source(str(source)))]
        jobs = 2 if mode is Mode.ULTRA else 1
        run(connection, inputs, mode=mode, clear=True, chunk=4, jobs=jobs, drops=EVERYTHING, **options)


def others(admin: Connection) -> Sequence[object]:
    query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    return admin.execute(query).fetchall()


def settled(admin: Connection) -> None:
    """No session of the load is left at the server, and no lock of theirs."""
    until = time.monotonic() + 30
    while found := others(admin):
        assert time.monotonic() < until, found
        time.sleep(0.02)


def numbers(admin: Connection) -> list[object]:
    return [number for (number,) in admin.execute("SELECT number FROM texts ORDER BY 1")]


class At:
    """Calls something once, after the first chunk."""

    def __init__(self, what: Any) -> None:
        self._what = what

    def __call__(self, _progress: Progress) -> None:
        what, self._what = self._what, lambda: None
        what()


@pytest.mark.parametrize(
    ("mode", "reads"),
    [
        (Mode.STANDARD, True),
        (Mode.STANDARD, False),
        (Mode.OPTIMIZED, True),
        (Mode.OPTIMIZED, False),
        (Mode.ULTRA, True),
    ],
)
def test_what_is_swallowed_ends_the_load(
    texts: Connection, database: str, source: Path, mode: Mode, reads: bool
) -> None:
    """At the server, too, whose locks are let go: while the client waits for an answer, or for room to send."""
    texts.execute("INSERT INTO texts VALUES (99, 'old')")
    with Hole(database, reads=reads) as hole:
        # The rows of the second chunk.
        hole.arm(b"text 6")
        with pytest.raises(BulkloadError, match=LOST):
            load(hole.conninfo(servers.name_of(database)), source, mode)
        if mode is not Mode.ULTRA:
            settled(texts)
        # Those that nothing was asked of have nothing but their sign of life.
        assert texts.execute(LOCKS).fetchall() == []
        assert texts.execute("SELECT to_regclass('texts_number')::text").fetchone() == ("texts_number",)
    settled(texts)
    found = numbers(texts)
    if mode is Mode.OPTIMIZED:
        assert found == [99]
    else:
        assert set(found) <= {*range(4), *range(8, 16)}
        assert len(found) % 4 == 0
    count(f"connection swallowed, {'taken' if reads else 'piling up'}, {mode.value}", "told")


@pytest.mark.parametrize("answer", [False, True], ids=["request", "answer"])
@pytest.mark.parametrize("mode", [Mode.STANDARD, Mode.OPTIMIZED])
def test_what_a_lost_commit_did_is_said_to_be_unknown(
    texts: Connection, database: str, source: Path, mode: Mode, answer: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody does it again, as if nothing were in; whether it is can be seen when the session has ended."""
    with Hole(database) as hole:
        with pytest.raises(UnknownOutcomeError, match=f"^COMMIT, whose answer was lost .*: {LOST}"):
            load(
                hole.conninfo(servers.name_of(database)), source, mode,
                watch=At(lambda: hole.arm(b"COMMIT\0", answer=answer)),
            )  # fmt: skip
        settled(texts)
    every = range(8) if mode is Mode.STANDARD else range(16)
    before = range(4) if mode is Mode.STANDARD else range(0)
    assert numbers(texts) == list(every if answer else before)
    if mode is Mode.STANDARD:
        assert "batches written before the failure stay: 4 records of texts.json" in caplog.text
    count(f"{'answer to' if answer else 'request for'} COMMIT swallowed, {mode.value}", "told as unknown")


def test_where_nobody_answers_the_load_ends(texts: Connection, database: str, source: Path) -> None:
    """Other connections are taken, and swallowed as well."""
    with Hole(database, whole=True) as hole:
        hole.arm(b"text 6")
        with pytest.raises(ServerError, match=LOST):
            load(hole.conninfo(servers.name_of(database)), source, Mode.OPTIMIZED)
    settled(texts)
    assert numbers(texts) == []
    count("all connections swallowed, optimized", "told")


@pytest.fixture
def slow(texts: Connection) -> Connection:
    """A row takes longer than anything is waited for."""
    texts.execute("""
        CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN PERFORM pg_sleep(0.7); RETURN NULL; END $$;
        CREATE TRIGGER dawdle BEFORE INSERT ON texts FOR EACH STATEMENT EXECUTE FUNCTION dawdle();
    """)
    return texts


@pytest.mark.parametrize("mode", [Mode.STANDARD, Mode.OPTIMIZED])
def test_a_server_that_is_at_work_is_waited_for(slow: Connection, database: str, source: Path, mode: Mode) -> None:
    """As with an index that takes its time."""
    with Hole(database) as line:
        load(line.conninfo(servers.name_of(database)), source, mode)
    assert numbers(slow) == list(range(16))
    count(f"a statement that takes long, {mode.value}", "waited for")


def test_a_line_that_is_slow_is_waited_for(texts: Connection, database: str, source: Path) -> None:
    """The server has nothing to do meanwhile but to wait for us, as it has where all is lost."""
    with SlowLine(database) as line:
        load(line.conninfo(servers.name_of(database)), source, Mode.OPTIMIZED)
    assert numbers(texts) == list(range(16))
    count("a slow line, optimized", "waited for")


@pytest.fixture
def holder(database: str) -> Generator[Connection]:
    """Somebody who locks a row, or a table."""
    with psycopg.connect(make_conninfo(database, application_name="a report")) as found:
        yield found


@pytest.mark.parametrize("mode", [Mode.STANDARD, Mode.OPTIMIZED])
def test_whoever_is_waited_for_is_named(
    texts: Connection, database: str, source: Path, mode: Mode, holder: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """And that is no silence, however long it lasts."""
    texts.execute("CREATE UNIQUE INDEX once ON texts (number)")
    holder.execute("INSERT INTO texts VALUES (5, 'mine')")
    told = (
        f"s for process {holder.info.backend_pid} (user {holder.info.user}, a report, idle in transaction since "
    )  # fmt: skip
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with connect(database) as connection:
                run(connection, [Input(JOB, Source(str(source)))], mode=mode, chunk=4)
        except BulkloadError as error:
            failures.append(error)

    with caplog.at_level(logging.WARNING):
        thread = threading.Thread(target=work)
        thread.start()
        until = time.monotonic() + 30
        while caplog.text.count(told) < 4:
            assert time.monotonic() < until, caplog.text
            time.sleep(0.02)
        holder.rollback()
        thread.join()
    assert not failures
    assert numbers(texts) == list(range(16))
    count(f"a lock of another session, {mode.value}", "told and waited for")


HASTY_COMMAND = """
import sys
from bulkload.server import silence
from bulkload.cli import main
silence._LOOK, silence._PATIENCE = 0.15, 0.4
sys.exit(main())
"""


@pytest.mark.usefixtures("unmeasured")
def test_a_command_whose_connection_is_swallowed_fails(gamedb_database: str, tmp_path: Path) -> None:
    """With the code of a failure, one line, and the tables as before."""
    files = gamedb.generate(tmp_path, gamedb.Sizes(items=30, nanos=3, perks=3, symbiants=3), 1)
    with Hole(gamedb_database) as hole, psycopg.connect(gamedb_database, autocommit=True) as admin:
        # A row by COPY.
        hole.arm(b"PGCOPY")
        arguments = ["import-items", "-q", "--optimized", "--clear", "--items-file", str(files.items), "--dsn"]
        command = [sys.executable, "-c", HASTY_COMMAND, *arguments, hole.conninfo(servers.name_of(gamedb_database))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert re.fullmatch(rf"\S+ bulkload: .*: {LOST}.*\n", done.stderr)
        settled(admin)
        assert admin.execute("SELECT count(*) FROM items").fetchone() == (0,)
    count("connection of a command swallowed", "told")


def test_an_interrupt_of_a_swallowed_connection(
    texts: Connection, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is looked into; the connection is closed, and does not wait for what it will not get."""

    def interrupted(*_: object, **_named: object) -> None:
        raise KeyboardInterrupt

    with Hole(database) as hole, connect(hole.conninfo(servers.name_of(database))) as connection:
        hole.open()
        monkeypatch.setattr(silence._Brief, "connect", interrupted)
        with pytest.raises(KeyboardInterrupt):
            connection.execute("SELECT 1")
        assert connection.closed
    settled(texts)
