"""A load that ends early: what of it is in is told, also where it was interrupted while it was committed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from bulkload import Input, Mode, Report, ServerError, Source, embedded, gamedb, run
from bulkload.server.connection import committed, transaction
from tests import mappings
from tests import server as servers

Connection = psycopg.Connection[tuple[object, ...]]

PATIENCE = 60.0

PARTS = "CREATE TABLE parts (id serial PRIMARY KEY, slug text NOT NULL, number int NOT NULL CHECK (number < 9))"
# A commit after such a row waits for a standby that is not there, when it is in already.
WAITING = """
    CREATE FUNCTION wait_for_standby() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM set_config('synchronous_commit', 'on', true);
        RETURN NULL;
    END $$;
    CREATE TRIGGER wait_for_standby AFTER INSERT ON {table} EXECUTE FUNCTION wait_for_standby();
"""
# A commit after such a row has a check to make, which takes its time.
CHECKING = """
    CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_sleep(60);
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON parts DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION dawdle();
"""
# A row of that kind takes its time itself.
STALLING = """
    CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_sleep(60);
        RETURN NULL;
    END $$;
    CREATE TRIGGER stall AFTER INSERT ON parts FOR EACH ROW WHEN (NEW.number = 3) EXECUTE FUNCTION stall();
"""


@pytest.fixture(scope="module")
def lonely(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """A server whose standby is not there; who does not ask for it does not wait."""
    settings = {"fsync": "off", "synchronous_standby_names": "nobody", "synchronous_commit": "local"}
    with embedded.start(tmp_path_factory.mktemp("lonely"), settings) as server:
        yield server.conninfo


@pytest.fixture
def there(lonely: str) -> Iterator[Connection]:
    """A connection to a database of that server, with a table."""
    with servers.database(lonely) as conninfo, psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(PARTS)
        yield connection


@pytest.fixture
def parts(connection: Connection) -> Connection:
    """The same of the server that all tests share."""
    connection.execute(PARTS)
    return connection


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Report]:
    """Loads two records with two rows each."""
    path = tmp_path / "parts.json"
    path.write_text(json.dumps([{"slug": "a", "parts": [1, 2]}, {"slug": "b", "parts": [3, 4]}]), encoding="utf-8")

    def loaded(connection: Connection, *, bad: bool = False, **options: Any) -> Report:
        if bad:
            path.write_text(path.read_text(encoding="utf-8").replace("4", "9"), encoding="utf-8")
        return run(connection, [Input(mappings.PARTS_JOB, Source(str(path)))], **options)

    return loaded


def numbers(connection: Connection) -> list[object]:
    return [number for (number,) in connection.execute("SELECT number FROM parts ORDER BY 1").fetchall()]


def waited_for(conninfo: str, database: str, events: tuple[str, ...]) -> None:
    """Until a session of the database waits for one of these."""
    until = time.monotonic() + PATIENCE
    query = "SELECT wait_event FROM pg_stat_activity WHERE datname = %s AND wait_event = ANY (%s)"
    with psycopg.connect(conninfo, autocommit=True) as other:
        while other.execute(query, [database, list(events)]).fetchone() is None:
            assert time.monotonic() < until
            time.sleep(0.02)


@contextmanager
def interrupted(connection: Connection) -> Generator[pytest.ExceptionInfo[KeyboardInterrupt]]:
    """Ctrl-C, as soon as the session waits for a standby, or sleeps."""

    def interrupt() -> None:
        waited_for(connection.info.dsn, connection.info.dbname, ("SyncRep", "PgSleep"))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt) as raised:
            yield raised
    finally:
        thread.join()


@pytest.mark.parametrize(("how", "is_in"), [(WAITING, True), (CHECKING, False)], ids=["waits", "is checked"])
def test_an_interrupt_amid_a_commit_says_whether_it_is_in(there: Connection, how: str, is_in: bool) -> None:
    """What the driver cancels may be past that."""
    there.execute(how.format(table="parts").encode())
    with interrupted(there) as raised, transaction(there):
        there.execute("INSERT INTO parts (slug, number) VALUES ('a', 1)")
    assert committed(raised.value) is is_in
    assert len(getattr(raised.value, "__notes__", ())) == is_in
    assert numbers(there) == [1] * is_in
    assert there.isolation_level is None


@pytest.mark.parametrize("how", [WAITING, CHECKING], ids=["waits", "is checked"])
def test_a_load_that_is_interrupted_while_it_is_committed_says_what_is_in(
    there: Connection, load: Callable[..., Report], how: str
) -> None:
    """All of it, or nothing; and the ledger says the same."""
    there.execute(how.format(table="parts").encode())
    with interrupted(there) as raised:
        load(there)
    is_in = how == WAITING
    assert getattr(raised.value, "__notes__", [])[-1:] == ["all of the load is in"] * is_in
    assert numbers(there) == ([1, 2, 3, 4] if is_in else [])
    state = there.execute("SELECT state FROM bulkload.loads").fetchall()
    assert state == [("done" if is_in else "failed",)]


@pytest.mark.parametrize("how", [WAITING, STALLING], ids=["committed", "written"])
def test_a_batch_that_is_interrupted_is_counted_where_it_is_in(
    there: Connection, load: Callable[..., Report], how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Not its rows where they were undone."""
    there.execute(how.format(table="parts").encode())
    with interrupted(there):
        load(there, mode=Mode.STANDARD, chunk=1)
    assert numbers(there) == [1, 2]
    records = "" if how == WAITING else "1 records of parts.json, "
    assert f"batches written before the failure stay: {records}2 rows inserted; run the import again" in caplog.text


def test_a_command_that_is_interrupted_while_it_is_committed_says_that_all_is_in(lonely: str, tmp_path: Path) -> None:
    """Exit code 130, and no word of old content."""
    path = tmp_path / "items.json"
    path.write_text(json.dumps([{"AOID": 7, "Name": "one"}]), encoding="utf-8")
    with servers.database(lonely) as conninfo, psycopg.connect(conninfo, autocommit=True) as connection:
        gamedb.create_schema(connection)
        connection.execute(WAITING.format(table="items").encode())
        options = ("-q", "--optimized", "--dsn", conninfo, "--items-file", str(path))
        process = subprocess.Popen(
            [sys.executable, "-m", "bulkload", "import-items", *options], stderr=subprocess.PIPE, text=True
        )
        with process:
            waited_for(make_conninfo(lonely), servers.name_of(conninfo), ("SyncRep",))
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
        assert said.endswith("bulkload: interrupted: all of the load is in\n")
        assert connection.execute("SELECT aoid FROM items").fetchall() == [(7,)]


def test_statements_that_fail_when_all_rows_are_in_are_told_with_them(
    parts: Connection, load: Callable[..., Report], caplog: pytest.LogCaptureFixture
) -> None:
    """They alone are left for a load that goes on."""
    with pytest.raises(ServerError, match="the statements that end the load: division by zero"):
        load(parts, mode=Mode.STANDARD, finish=lambda opened: opened.execute("SELECT 1 / 0"))
    assert re.search(
        "all rows are in: 2 records of parts.json, 4 rows inserted; the statements that end the load, .*, were not "
        "done; run the import again with --resume", caplog.text
    )  # fmt: skip
    assert numbers(parts) == [1, 2, 3, 4]
    load(parts, mode=Mode.STANDARD, resume=True, finish=lambda opened: opened.execute("CREATE TABLE finished ()"))
    assert numbers(parts) == [1, 2, 3, 4]
    assert parts.execute("SELECT state, to_regclass('finished') IS NULL FROM bulkload.loads").fetchall() == [
        ("done", False)
    ]


def test_what_was_emptied_and_the_rows_of_half_a_chunk_are_told(
    parts: Connection, load: Callable[..., Report], caplog: pytest.LogCaptureFixture
) -> None:
    """The chunk was refused, and of its records those were written that come before the one to blame."""
    parts.execute("INSERT INTO parts (slug, number) SELECT 'old', 0 FROM generate_series(1, 1000)")
    with pytest.raises(Exception, match="parts_number_check"):
        load(parts, bad=True, mode=Mode.STANDARD, clear=True)
    assert numbers(parts) == [1, 2]
    assert (
        "emptied at the beginning: public.parts; batches written before the failure stay: 2 rows inserted; run the "
        "import again with --resume (resume=True) to go on where it stopped" in caplog.text
    )
