"""What passes by itself is done again, and told; what does not ends the load with the database as it should be."""

from __future__ import annotations

import json
import logging
import multiprocessing
import re
import secrets
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from bulkload import (
    BulkloadError,
    ConnectError,
    Input,
    Job,
    Mode,
    Rejects,
    Report,
    ServerError,
    Sink,
    Source,
    embedded,
    run,
)
from bulkload.ledger import ledger
from bulkload.rebuild.choice import Drop, Drops
from bulkload.rebuild.recovery import drop_by_hand, relations_named, restore_by_hand
from bulkload.rows import fingerprints
from bulkload.server import retries
from bulkload.server.connection import Connection, connect
from bulkload.workers import outbox, shares
from tests import corpus, ultra_jobs
from tests.faults import count

# Fails with this SQLSTATE so many times, and never again; a sequence counts what is rolled back as well.
FAULT = """
    CREATE SEQUENCE tries;
    CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('public.tries') <= {times} THEN
            RAISE EXCEPTION 'somebody was in the way' USING ERRCODE = '{state}';
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER fail AFTER {event} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION fail();
"""
CONTENT = """
    SELECT slug, version, ARRAY(SELECT text FROM sentences s JOIN sentence_words j ON j.sentence_id = s.id
                                JOIN words w ON w.id = j.word_id WHERE s.page_id = p.id ORDER BY s.number)
    FROM pages p ORDER BY 1
"""
JOB = attrs.evolve(ultra_jobs.PAGES_JOB, version="1")
WORDS = [f"word {n}" for n in range(7)]
DOCUMENTS = [
    {"slug": f"page {n:02}", "version": n, "words": [WORDS[(n * k) % 7] for k in range(1, 5)]} for n in range(12)
]
EXPECTED = [(each["slug"], each["version"], each["words"]) for each in DOCUMENTS]
NEVER = Drops(Drop.NEVER, Drop.NEVER, Drop.NEVER)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Pauses are short, and processes pay; none is left."""
    monkeypatch.setattr(retries, "_FIRST_PAUSE", 0.02)
    monkeypatch.setattr(shares, "LEAST_BYTES", 0)
    monkeypatch.setattr(outbox, "LEAST_BATCH", 0)
    yield
    assert multiprocessing.active_children() == []


@pytest.fixture
def pages(connection: Connection) -> Connection:
    connection.execute(ultra_jobs.SCHEMA)
    return connection


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "pages.json"
    path.write_text(json.dumps(DOCUMENTS))
    return path


def load(conninfo: str, source: Path, mode: Mode, **options: Any) -> Report:
    given = {"chunk": 4, "clear": True, "drops": NEVER, "jobs": 2 if mode is Mode.ULTRA else 1, **options}
    with connect(conninfo) as connection:
        return run(connection, [Input(JOB, Source(str(source)))], mode=mode, **given)


def content(connection: Connection) -> list[tuple[object, ...]]:
    return connection.execute(CONTENT).fetchall()


def settled(admin: Connection) -> None:
    """No session is left but the admin's."""
    query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    until = time.monotonic() + 30
    while found := admin.execute(query).fetchall():
        assert time.monotonic() < until, found
        time.sleep(0.02)


def waits(admin: Connection, kind: str) -> None:
    """Until a session waits for a lock of that kind."""
    until = time.monotonic() + 30
    query = """
        SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
        WHERE NOT granted AND locktype = %s AND datname = current_database()
    """
    while admin.execute(query, [kind]).fetchone() is None:
        assert time.monotonic() < until
        time.sleep(0.01)


# ----------------------------------------------------------------------------------------- others were in the way


@pytest.mark.parametrize(
    ("mode", "table", "most", "state"),
    [
        (Mode.STANDARD, "words", 0, "40P01"),
        (Mode.STANDARD, "words", 0, "40001"),
        (Mode.STANDARD, "sentence_words", 0, "40P01"),
        (Mode.OPTIMIZED, "sentence_words", 0, "40P01"),
        (Mode.OPTIMIZED, "sentence_words", 0, "40001"),
        # With a savepoint to go back to.
        (Mode.OPTIMIZED, "sentence_words", 5, "40P01"),
        # By the process that leads, and by others.
        (Mode.ULTRA, "words", 0, "40001"),
        (Mode.ULTRA, "sentence_words", 0, "40P01"),
        # When all rows are in.
        (Mode.STANDARD, "bulkload.fingerprints", 0, "40P01"),
        (Mode.OPTIMIZED, "bulkload.fingerprints", 0, "40001"),
        (Mode.OPTIMIZED, "bulkload.fingerprints", 5, "40P01"),
        (Mode.ULTRA, "bulkload.fingerprints", 0, "40001"),
    ],
    ids=lambda value: str(getattr(value, "value", value)),
)
def test_what_a_conflict_undid_is_done_again(
    pages: Connection, database: str, source: Path, mode: Mode, table: str, most: int, state: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Once each time, and counted once; the log says why."""
    fingerprints.ensure(pages)
    event = "DELETE" if table == "bulkload.fingerprints" else "INSERT"
    pages.execute(FAULT.format(times=2, state=state, event=event, table=table).encode())
    rejects = Rejects(most=most)
    with caplog.at_level(logging.WARNING):
        report = load(database, source, mode, rejects=rejects)
    settled(pages)
    assert content(pages) == EXPECTED
    assert len(re.findall(rf"somebody was in the way.*\(SQLSTATE {state}\); trying again in", caplog.text)) == 2
    for name, found in report.tables.items():
        rows = pages.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name))).fetchone()
        assert rows == (found.inserted,), name
    assert rejects.count == 0
    assert [source.unchanged for source in load(database, source, Mode.OPTIMIZED, clear=False).sources] == [12]
    count(f"{state} of {table}, {mode.value}", "done again")


@pytest.mark.parametrize("mode", [Mode.STANDARD, Mode.OPTIMIZED, Mode.ULTRA])
def test_what_does_not_pass_ends_the_load(pages: Connection, database: str, source: Path, mode: Mode) -> None:
    """After so many attempts, with the server's reason."""
    if mode is Mode.OPTIMIZED:
        load(database, source, mode)
    pages.execute(FAULT.format(times=1000, state="40001", event="INSERT", table="sentence_words").encode())
    with pytest.raises(ServerError, match="somebody was in the way") as caught:
        load(database, source, mode)
    assert caught.value.sqlstate == "40001"
    settled(pages)
    assert content(pages) == (EXPECTED if mode is Mode.OPTIMIZED else [])
    tried = pages.execute("SELECT last_value FROM tries").fetchone()
    assert tried is not None
    # Several connections may have begun with one of the three chunks each.
    least, most = {
        Mode.STANDARD: (retries.ATTEMPTS, retries.ATTEMPTS),
        Mode.OPTIMIZED: (retries.WHOLE_ATTEMPTS, retries.WHOLE_ATTEMPTS),
        Mode.ULTRA: (retries.ATTEMPTS, 3 * retries.ATTEMPTS),
    }[mode]
    assert tried[0] in range(least, most + 1)
    assert ledger.outstanding(pages) == []
    count(f"40001 without end, {mode.value}", "told")


def test_a_deadlock_between_two_sessions_is_resolved(
    pages: Connection, database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each holds a key that the other one inserts; the load gives way, and then shares the other's rows."""
    path = tmp_path / "pages.json"
    path.write_text(json.dumps([{"slug": "page", "version": 1, "words": ["a", "b"]}]))
    failures: list[BaseException] = []

    def work() -> None:
        try:
            load(make_conninfo(database, options="-c deadlock_timeout=2s"), path, Mode.STANDARD, clear=False)
        except BaseException as error:
            failures.append(error)

    with psycopg.connect(make_conninfo(database, options="-c deadlock_timeout=1min")) as other:
        other.execute("INSERT INTO words (text) VALUES ('b')")
        thread = threading.Thread(target=work)
        thread.start()
        waits(pages, "transactionid")
        other.execute("INSERT INTO words (text) VALUES ('a')")
    thread.join()
    assert not failures
    assert "(SQLSTATE 40P01); trying again in" in caplog.text
    assert content(pages) == [("page", 1, ["a", "b"])]
    assert pages.execute("SELECT text FROM words ORDER BY 1").fetchall() == [("a",), ("b",)]
    settled(pages)
    count("a deadlock with another session, standard", "done again")


def test_a_key_whose_check_is_locked_out_is_checked(
    connection: Connection, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By a session that goes for the same tables the other way round."""
    connection.execute("""
        CREATE TABLE parents (id int PRIMARY KEY);
        CREATE TABLE children (parent_id int CONSTRAINT of_parent REFERENCES parents);
        INSERT INTO parents VALUES (1); INSERT INTO children VALUES (1);
    """)
    before = corpus.picture(connection)
    failures: list[BaseException] = []
    with connect(make_conninfo(database, options="-c deadlock_timeout=2s")) as own:
        tables = relations_named(own, "public", ["children"])
        drop_by_hand(own, tables, foreign_keys=True, keys=False)
        # A restore that died had come so far.
        own.execute(
            "ALTER TABLE children ADD CONSTRAINT of_parent FOREIGN KEY (parent_id) REFERENCES parents NOT VALID"
        )

        def work() -> None:
            try:
                restore_by_hand(own, tables)
            except BaseException as error:
                failures.append(error)

        with psycopg.connect(make_conninfo(database, options="-c deadlock_timeout=1min")) as other:
            other.execute("LOCK TABLE parents IN ACCESS EXCLUSIVE MODE")
            thread = threading.Thread(target=work)
            thread.start()
            waits(connection, "relation")
            other.execute("LOCK TABLE children IN SHARE UPDATE EXCLUSIVE MODE")
        thread.join()
    assert not failures
    assert "(SQLSTATE 40P01); trying again in" in caplog.text
    assert corpus.picture(connection) == before
    assert ledger.outstanding(connection) == []
    settled(connection)
    count("a deadlock amid the check of a foreign key", "done again")


def test_an_index_whose_building_is_in_the_way_is_built(
    pages: Connection, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Of what is put back, each thing is tried again for itself."""
    pages.execute("""
        INSERT INTO words (text) VALUES ('a'), ('b');
        CREATE SEQUENCE tries;
        CREATE FUNCTION odd(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
            IF nextval('public.tries') IN (3, 4) THEN
                RAISE EXCEPTION 'somebody was in the way' USING ERRCODE = '40P01';
            END IF;
            RETURN $1;
        END $$;
        CREATE INDEX words_odd ON words (odd(text));
    """)
    before = corpus.picture(pages)
    with connect(database) as connection:
        drop_by_hand(connection, corpus.tables(connection), foreign_keys=False, keys=False)
        found = restore_by_hand(connection, corpus.tables(connection))
    assert "words_odd" in {entry.name for entry in found.restored}
    assert corpus.picture(pages) == before
    assert ledger.outstanding(pages) == []
    assert caplog.text.count("trying again in") == 2
    settled(pages)
    count("40P01 of an index build", "done again")


# ----------------------------------------------------------------------------------------------------- limits of time


def stumble(sink: Sink, document: dict[str, Any]) -> None:
    """Takes its time over one of them."""
    time.sleep(0.3 if document["version"] == 5 else 0)
    ultra_jobs.add_page(sink, document)


SLOW_JOB = Job("pages", ultra_jobs.PAGE_PLAN, ultra_jobs.READ, stumble, identity=ultra_jobs.PAGES)
LIMITS = {
    "statement_timeout": ("57014", "SELECT pg_sleep(0.3)"),
    "lock_timeout": ("55P03", "LOCK TABLE locked"),
    "idle_in_transaction_session_timeout": ("25P03", "SELECT 1"),
}


@pytest.mark.parametrize("mode", [Mode.STANDARD, Mode.OPTIMIZED])
@pytest.mark.parametrize("name", LIMITS)
def test_a_caller_s_own_limits_end_the_load(
    pages: Connection, database: str, source: Path, name: str, mode: Mode
) -> None:
    """Of a session that was not opened by this package; the database is as before."""
    if mode is Mode.OPTIMIZED:
        load(database, source, mode)
    state, statement = LIMITS[name]
    pages.execute("CREATE TABLE locked ()")
    pages.execute(
        f"""
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            {statement.replace("SELECT", "PERFORM")}; RETURN NULL; END $$;
        CREATE TRIGGER fail BEFORE INSERT ON pages FOR EACH STATEMENT EXECUTE FUNCTION fail();
    """.encode()
    )
    job = SLOW_JOB if state == "25P03" else ultra_jobs.PAGES_JOB
    conninfo = make_conninfo(database, options=f"-c {name}=100ms")
    with psycopg.connect(database) as holder, psycopg.connect(conninfo, autocommit=True) as own:
        holder.execute("LOCK TABLE locked")
        with pytest.raises(BulkloadError, match=rf"\(SQLSTATE {state}\)"):
            # In batches, it is idle outside of a transaction.
            with own.transaction() if state == "25P03" else own.cursor():
                run(own, [Input(job, Source(str(source)))], mode=mode, clear=mode is Mode.OPTIMIZED, drops=NEVER)
    settled(pages)
    assert content(pages) == (EXPECTED if mode is Mode.OPTIMIZED else [])
    count(f"{name} of a caller's session, {mode.value}", "told")


# --------------------------------------------------------------------------------------------------------- being let in


@contextmanager
def role(admin: Connection) -> Generator[str]:
    """A role that may connect once at a time; how to connect as it, to be merged into a conninfo."""
    name = f"bulkload_{secrets.token_hex(4)}"
    admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'pw' CONNECTION LIMIT 1".encode())
    try:
        yield name
    finally:
        settled(admin)
        admin.execute(f"DROP ROLE {name}".encode())


def test_a_server_that_is_full_is_tried_again(
    connection: Connection, database: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For as long as it is waited for, and told each time."""
    with role(connection) as name:
        conninfo = make_conninfo(database, user=name, password="pw")  # noqa: S106 - of a role of a moment
        with psycopg.connect(conninfo) as first:
            threading.Timer(0.5, first.close).start()
            with connect(conninfo) as second:
                assert second.execute("SELECT 1").fetchone() == (1,)
                assert "cannot connect: " in caplog.text
                assert "too many connections for role" in caplog.text
                monkeypatch.setattr(retries, "_PATIENCE", 0.2)
                with pytest.raises(ConnectError, match="too many connections for role"):
                    connect(conninfo)
    assert "password" not in caplog.text
    count("too many connections", "waited for, or told")


def test_a_server_that_goes_down_and_comes_up_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is down is not: who names a wrong one is told at once."""
    monkeypatch.setattr(retries, "_LONGEST_PAUSE", 0.2)
    with embedded.start(tmp_path, {"fsync": "off"}) as server:
        cluster = server._cluster
        found: list[object] = []

        def come_in() -> None:
            with connect(server.conninfo) as opened:
                found.extend(opened.execute("SELECT 1").fetchone() or ())

        with psycopg.connect(server.conninfo):
            # It lets nobody in, and goes down when the last one has gone.
            cluster._check(cluster._run("pg_ctl", "stop", "-m", "smart", "--no-wait"), "stop")
            thread = threading.Thread(target=come_in)
            thread.start()
            until = time.monotonic() + 30
            while "the database system is shutting down; trying again in" not in caplog.text:
                assert time.monotonic() < until
                time.sleep(0.01)
        while (tmp_path / "data" / "postmaster.pid").exists():
            assert time.monotonic() < until
            time.sleep(0.01)
        with pytest.raises(ConnectError):
            connect(server.conninfo)
        cluster.join({})
        thread.join()
        assert found == [1]
    count("a server that goes down and comes up", "waited for")


def test_a_standby_takes_no_rows(tmp_path: Path, source: Path) -> None:
    """Whoever named it is told of the primary."""
    with (
        embedded.start(tmp_path, {"fsync": "off"}) as server,
        psycopg.connect(server.conninfo, autocommit=True) as connection,
    ):
        connection.execute(ultra_jobs.SCHEMA)
        load(server.conninfo, source, Mode.OPTIMIZED)
    (tmp_path / "data" / "standby.signal").touch()
    with (
        embedded.start(tmp_path, {"fsync": "off"}) as server,
        psycopg.connect(server.conninfo, autocommit=True) as connection,
    ):
        assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
        for mode in (Mode.STANDARD, Mode.OPTIMIZED, Mode.ULTRA):
            with pytest.raises(ServerError, match="connect to the primary") as raised:
                load(server.conninfo, source, mode)
            assert raised.value.sqlstate == "25006"
            count("a standby", "told")
        settled(connection)
        assert content(connection) == EXPECTED


def test_a_standby_that_lets_nobody_in_is_tried_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be on its way up, and cannot be told from that."""
    monkeypatch.setattr(retries, "_PATIENCE", 1.0)
    with embedded.start(tmp_path, {"fsync": "off"}) as server:
        cluster = server._cluster
        cluster._check(cluster._run("pg_ctl", "stop", "-m", "fast"), "stop")
        (tmp_path / "data" / "standby.signal").touch()
        cluster._launch({"hot_standby": "off"})
        with pytest.raises(ConnectError, match="the database system is not accepting connections"):
            connect(server.conninfo)
    assert "Hot standby mode is disabled.; trying again in" in caplog.text
    count("a standby that lets nobody in", "waited for, and told")
