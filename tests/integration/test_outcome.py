"""A load that ends early: what of it is in is told, also where it was interrupted while it was committed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from bulkload import embedded
from bulkload.server import committed, transaction
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
