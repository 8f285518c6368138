"""Loads on several connections: the rows are right, and however a load ends, what it took away is back or written down.

Data is small here, so worker processes are made to pay, and indexes to be dropped, by the tests.
"""

from __future__ import annotations

import _thread
import itertools
import json
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import psycopg
import pytest

from bulkload import (
    BulkloadError,
    Input,
    Job,
    Mode,
    Progress,
    Rejects,
    Report,
    ServerError,
    Source,
    UsageError,
    gamedb,
    run,
)
from bulkload.errors import RestoreError
from bulkload.ledger import ledger
from bulkload.ledger.ledger import LoadLine
from bulkload.rebuild import recovery
from bulkload.rebuild.choice import Drop, Drops
from bulkload.rebuild.rebuild import plain_names
from bulkload.rows import ultra
from bulkload.rows.ultra import Levers, _Rebuild
from bulkload.server.catalog import Stakes
from bulkload.server.connection import transaction
from bulkload.server.definitions import facts
from bulkload.workers import outbox, shares
from tests import mappings, ultra_jobs

ServerConnection = psycopg.Connection[tuple[object, ...]]

SIZES = gamedb.Sizes(items=250, nanos=30, perks=25, symbiants=40)
OTHERS = gamedb.Sizes(items=40, nanos=5, perks=5, symbiants=5)

ALWAYS = Drops(Drop.ALWAYS, Drop.ALWAYS, Drop.ALWAYS)
NEVER = Drops(Drop.NEVER, Drop.NEVER, Drop.NEVER)
UNLOGGED = Levers(unlogged=True, despite_standbys=True)

TABLES = "SELECT oid::bigint FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
PERSISTENCE = """
    SELECT relname::text, relpersistence::text FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S', 'm') AND relpersistence <> 'p'
"""
OTHER_SESSIONS = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
      AND pid <> %(leader)s
"""
LOCKS = """
    SELECT l.locktype, l.mode, l.relation::regclass::text, l.classid, l.objid FROM pg_locks l
    WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.pid <> pg_backend_pid()
"""
PATIENCE = 30.0


@pytest.fixture(autouse=True)
def workers_always_pay(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """However small the sources are. After each test, no process and no thread is left."""
    monkeypatch.setattr(shares, "LEAST_BYTES", 0)
    monkeypatch.setattr(outbox, "LEAST_BATCH", 0)
    threads = {thread for thread in threading.enumerate() if thread.name.startswith("bulkload")}
    yield
    assert multiprocessing.active_children() == []
    assert {thread for thread in threading.enumerate() if thread.name.startswith("bulkload")} <= threads


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> gamedb.Files:
    """A generated set."""
    return gamedb.generate(tmp_path_factory.mktemp("set"), SIZES, 1)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> gamedb.Files:
    """Another one, which is there before."""
    return gamedb.generate(tmp_path_factory.mktemp("others"), OTHERS, 2)


@pytest.fixture
def items(gamedb_database: str) -> Iterator[ServerConnection]:
    """An items database without items that is this test's own, and a connection for a load."""
    with psycopg.connect(gamedb_database, autocommit=True) as connection:
        yield connection


def inputs(files: gamedb.Files, items_job: Job[Any] = gamedb.ITEMS_JOB) -> list[Input]:
    pairs: list[tuple[Job[Any], Path]] = [
        (items_job, files.items),
        (gamedb.NANOS_JOB, files.nanos),
        (gamedb.PERKS_JOB, files.perks),
        (gamedb.SYMBIANTS_JOB, files.symbiants),
    ]
    return [Input(job, Source(str(path))) for job, path in pairs]


def load(connection: ServerConnection, sources: Sequence[Input], **options: Any) -> Report:
    given: dict[str, Any] = {"drops": ALWAYS, "chunk": 20, "jobs": 2, "finish": gamedb.refresh_views, **options}
    return run(connection, sources, mode=Mode.ULTRA, clear=True, **given)


def differences(connection: ServerConnection, files: gamedb.Files) -> list[str]:
    expected = gamedb.expected(files.items, files.nanos, files.perks, files.symbiants)
    return gamedb.differences(expected, gamedb.actual(connection))


def catalog_of(connection: ServerConnection) -> dict[str, str]:
    """All indexes, constraints and tables of the schema, as they are."""
    relations = [int(str(oid)) for (oid,) in connection.execute(TABLES.encode()).fetchall()]
    with connection.transaction(), plain_names(connection):
        return facts(connection, relations)


def last_line(connection: ServerConnection) -> LoadLine:
    return ledger.loads(connection, 1)[0]


def settled(conninfo: str, leader: int = 0) -> None:
    """Wait until no session of a load is left but the leader's, and nothing is locked."""
    with psycopg.connect(conninfo, autocommit=True) as watching:
        until = time.monotonic() + PATIENCE
        while True:
            found = [
                *watching.execute(OTHER_SESSIONS.encode(), {"leader": leader}).fetchall(),
                *watching.execute(LOCKS.encode()).fetchall(),
            ]
            if not found:
                return
            assert time.monotonic() < until, found
            time.sleep(0.05)


def put_right(conninfo: str) -> None:
    """What a person does when a load has died; the sessions of the load are gone by then."""
    settled(conninfo)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        recovery.recover(connection)
        assert ledger.outstanding(connection) == []


# --- What is in when all goes well ---


@pytest.mark.parametrize(
    ("jobs", "drops", "levers"),
    [
        (1, ALWAYS, Levers()),
        (2, ALWAYS, Levers()),
        (3, ALWAYS, Levers()),
        (2, Drops(), Levers()),
        (2, NEVER, Levers()),
        (2, ALWAYS, Levers(async_commit=False)),
        (1, ALWAYS, UNLOGGED),
        (2, ALWAYS, UNLOGGED),
        (2, Drops(), UNLOGGED),
        (3, NEVER, UNLOGGED),
        (2, Drops(Drop.ALWAYS, Drop.NEVER, Drop.NEVER), Levers()),
        (2, Drops(Drop.NEVER, Drop.ALWAYS, Drop.NEVER), Levers()),
        (2, Drops(Drop.NEVER, Drop.ALWAYS, Drop.ALWAYS), UNLOGGED),
        (3, Drops(Drop.ALWAYS, Drop.NEVER, Drop.ALWAYS), Levers()),
    ],
    ids=str,
)
def test_the_content_is_that_of_the_files(
    items: ServerConnection,
    gamedb_database: str,
    files: gamedb.Files,
    others: gamedb.Files,
    jobs: int,
    drops: Drops,
    levers: Levers,
) -> None:
    """Whatever the levers are; and nothing else of the database is other than before."""
    run(items, inputs(others), finish=gamedb.refresh_views)
    before = catalog_of(items)
    report = load(items, inputs(files), jobs=jobs, drops=drops, levers=levers)
    assert differences(items, files) == []
    assert catalog_of(items) == before
    assert items.execute(PERSISTENCE.encode()).fetchall() == []
    assert ledger.outstanding(items) == []
    line = last_line(items)
    assert (line.mode, line.state, line.dropped, line.progress["rows"]) == ("ultra", "done", 0, report.rows)
    assert bool(report.workers) == (jobs > 1)
    assert {"map", "encode", "write"} >= set(report.workers)
    assert items.execute("SHOW synchronous_commit").fetchall() == [("on",)]
    settled(gamedb_database, items.info.backend_pid)


def test_the_counts_are_those_of_one_transaction(items: ServerConnection, files: gamedb.Files) -> None:
    """Of rows by table and of records by source, whoever wrote them."""
    reports = [
        run(items, inputs(files), clear=True, chunk=20, finish=gamedb.refresh_views),
        *(load(items, inputs(files), jobs=jobs) for jobs in (1, 2)),
    ]
    counts = [
        (report.sources, {name: attrs.evolve(table, seconds=0.0) for name, table in report.tables.items()})
        for report in reports
    ]
    assert counts[0] == counts[1] == counts[2]


@pytest.mark.parametrize("levers", [Levers(), UNLOGGED], ids=["logged", "unlogged"])
def test_sequences_go_on(items: ServerConnection, files: gamedb.Files, levers: Levers) -> None:
    """The next id of each table is larger than all that are there."""
    load(items, inputs(files), levers=levers)
    for table in ("stat_values", "items", "spells", "mobs", "sources"):
        ((largest, following),) = items.execute(
            f"SELECT max(id), nextval(pg_get_serial_sequence('{table}', 'id')) FROM {table}".encode()
        ).fetchall()
        assert int(str(following)) > int(str(largest)), table


def spoilt(files: gamedb.Files, folder: Path) -> gamedb.Files:
    """The set with numbers that come several times, and records in the middle that cannot go in."""
    records = json.loads(files.items.read_text(encoding="utf-8"))
    records += [{**record, "Name": f"again {number}"} for number, record in enumerate(records[:40])]
    records[60] = {**records[60], "Name": "n" * 129}
    records[100] = {"Name": "without a number"}
    # The last version of its number: the one before counts.
    records[-1] = {**records[-1], "StatValues": [{"Stat": 1, "RawValue": 2**31}]}
    path = folder / "items.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    return attrs.evolve(files, items=path)


def test_repeated_numbers_and_rejects(items: ServerConnection, files: gamedb.Files, tmp_path: Path) -> None:
    """The last version that fits counts, and the file of rejects is the same in every mode."""
    given = spoilt(files, tmp_path)
    found: list[object] = []
    for mode, jobs in ((Mode.STANDARD, 1), (Mode.OPTIMIZED, 1), (Mode.ULTRA, 1), (Mode.ULTRA, 2), (Mode.ULTRA, 3)):
        file = tmp_path / "rejects"
        with Rejects(file, most=3) as rejects:
            report = run(
                items, inputs(given), mode=mode, clear=True, chunk=20, jobs=jobs, drops=ALWAYS, rejects=rejects,
                finish=gamedb.refresh_views,
            )  # fmt: skip
        assert differences(items, given) == []
        found.append((report.sources, list(map(str, rejects.errors)), sorted(file.read_bytes().splitlines())))
    assert rejects.count == 3
    assert all(each == found[0] for each in found)


def pages(count: int, different: int) -> list[dict[str, Any]]:
    return [
        {"slug": f"p{n % different}", "version": n, "words": [f"w{n % 13}", f"v{n}", f"w{n % 3}"][: 1 + n % 3]}
        for n in range(count)
    ]


PAGES = """
    SELECT p.slug, p.version, array_agg(w.text ORDER BY s.number)
    FROM pages p LEFT JOIN sentences s ON s.page_id = p.id LEFT JOIN sentence_words sw ON sw.sentence_id = s.id
    LEFT JOIN words w ON w.id = sw.word_id GROUP BY p.id ORDER BY 1
"""


@pytest.mark.parametrize(
    ("job", "drops"),
    [(ultra_jobs.PAGES_JOB, ALWAYS), (ultra_jobs.UNTOLD_PAGES_JOB, ALWAYS), (ultra_jobs.UNTOLD_PAGES_JOB, NEVER)],
    ids=["told", "untold", "untold, kept"],
)
def test_a_row_that_is_replaced_keeps_the_last_of_its_versions(
    connection: ServerConnection, tmp_path: Path, job: Job[Any], drops: Drops
) -> None:
    """With all that belongs to it, also where it comes again in a later chunk, which another process writes."""
    connection.execute(ultra_jobs.SCHEMA.encode())
    many = pages(200, 60)
    source = tmp_path / "pages.json"
    source.write_text(json.dumps(many), encoding="utf-8")
    wanted = {each["slug"]: each for each in many}
    for jobs in (1, 2):
        run(
            connection, [Input(job, Source(str(source)))], mode=Mode.ULTRA, clear=True, chunk=10, jobs=jobs, drops=drops
        )  # fmt: skip
        found = connection.execute(PAGES.encode()).fetchall()
        assert {slug: (version, words) for slug, version, words in found} == {
            slug: (each["version"], each["words"]) for slug, each in wanted.items()
        }
        assert connection.execute("SELECT count(*) FROM sentences").fetchall() == [
            (sum(len(each["words"]) for each in wanted.values()),)
        ]


def test_shared_rows_that_refer_to_others(connection: ServerConnection, tmp_path: Path) -> None:
    """They are mapped in one process, and the rows are right; the caller sees no difference."""
    connection.execute(ultra_jobs.SCHEMA.encode())
    many = [{"slug": n, "city": f"c{n % 30}", "country": f"k{n % 30 % 7}", "day": n} for n in range(200)]
    source = tmp_path / "visits.json"
    source.write_text(json.dumps(many), encoding="utf-8")
    report = run(
        connection, [Input(ultra_jobs.VISITS_JOB, Source(str(source)))], mode=Mode.ULTRA, clear=True, chunk=10, jobs=2,
        drops=ALWAYS,
    )  # fmt: skip
    assert report.workers == {}
    found = connection.execute(
        "SELECT v.day, c.name, k.name FROM visits v JOIN cities c ON c.id = city_id "
        "JOIN countries k ON k.id = country_id ORDER BY 1"
    ).fetchall()
    assert found == [(each["day"], each["city"], each["country"]) for each in many]


def test_all_rules_at_once(connection: ServerConnection, tmp_path: Path) -> None:
    """Rows that are kept, updated and replaced, by keys that many chunks share, are as in one transaction."""
    connection.execute(mappings.SCHEMA.encode())
    many = [
        {"slug": f"p{n % 70}", "author": f"a{n % 5}", "age": n, "tags": [f"t{n % 11}", f"t{n % 3}"], "lines": n}
        for n in range(200)
    ]
    source = tmp_path / "posts.json"
    source.write_text(json.dumps(many), encoding="utf-8")
    query = """
        SELECT p.slug, a.name, a.age, s.name, array_agg(DISTINCT (l.number, t.name)),
               array_agg(DISTINCT (u.name, pt.weight))
        FROM posts p JOIN authors a ON a.id = author_id LEFT JOIN tags s ON s.id = a.tag_id
        LEFT JOIN lines l ON l.post_id = p.id LEFT JOIN tags t ON t.id = l.tag_id
        LEFT JOIN post_tags pt ON pt.post_id = p.id LEFT JOIN tags u ON u.id = pt.tag_id
        GROUP BY p.id, a.id, s.id ORDER BY 1
    """
    found: list[object] = []
    for mode in (Mode.OPTIMIZED, Mode.ULTRA):
        each = [Input(mappings.UNTOLD_JOB, Source(str(source)))]
        run(connection, each, mode=mode, clear=True, chunk=10, jobs=2, drops=ALWAYS)
        found.append(connection.execute(query.encode()).fetchall())
    assert found[0] == found[1]


UNLOGGED_NOW = """
    SELECT relname::text FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relpersistence = 'u' ORDER BY 1
"""


@pytest.mark.parametrize(
    ("drops", "unlogged"),
    [
        (ALWAYS, ["pages", "sentence_words", "sentences", "visits_late"]),
        # Foreign keys that stay lead from logged tables to logged ones.
        (NEVER, ["sentence_words", "visits_late"]),
    ],
    ids=["dropped", "kept"],
)
def test_only_what_comes_back_as_it_was_is_unlogged(
    connection: ServerConnection, database: str, tmp_path: Path, drops: Drops, unlogged: list[str]
) -> None:
    """Not what was unlogged before, is partitioned or published, or is referred to by a foreign key that stays."""
    connection.execute(ultra_jobs.SCHEMA.encode())
    connection.execute(
        "DROP TABLE visits; CREATE TABLE visits (id serial, city_id int REFERENCES cities, day int) "
        "PARTITION BY RANGE (day); CREATE TABLE visits_early PARTITION OF visits FOR VALUES FROM (0) TO (50); "
        "CREATE UNLOGGED TABLE visits_late PARTITION OF visits FOR VALUES FROM (50) TO (1000)"
    )
    connection.execute("CREATE PUBLICATION words_only FOR TABLE words, countries, cities")
    before = catalog_of(connection)
    seen: list[list[str]] = []

    def look(_progress: Progress) -> None:
        with psycopg.connect(database) as other:
            seen.append([str(name) for (name,) in other.execute(UNLOGGED_NOW.encode()).fetchall()])

    many = pages(60, 60)
    source, visits = tmp_path / "pages.json", tmp_path / "visits.json"
    source.write_text(json.dumps(many), encoding="utf-8")
    visits.write_text(json.dumps([{"slug": n, "city": "c", "country": "k", "day": n} for n in range(100)]))
    both = [Input(ultra_jobs.PAGES_JOB, Source(str(source))), Input(ultra_jobs.VISITS_JOB, Source(str(visits)))]
    run(
        connection, both, mode=Mode.ULTRA, clear=True, chunk=10, jobs=2, drops=drops, levers=UNLOGGED, watch=look
    )  # fmt: skip
    assert seen
    # A table is logged again as soon as its rows are in.
    assert seen[0] == unlogged
    assert all(set(each) <= set(unlogged) for each in seen)
    assert catalog_of(connection) == before
    assert len(connection.execute(PAGES.encode()).fetchall()) == 60
    assert connection.execute("SELECT count(*) FROM visits").fetchall() == [(100,)]


# --- What is refused ---


def test_what_is_refused_before_anything_is_done(
    items: ServerConnection, files: gamedb.Files, others: gamedb.Files, gamedb_database: str
) -> None:
    """Tables that keep their rows, and a connection whose transaction the other ones could not see."""
    run(items, inputs(others), finish=gamedb.refresh_views)
    with pytest.raises(UsageError, match="clear=True"):
        run(items, inputs(files), mode=Mode.ULTRA)
    with pytest.raises(UsageError, match="in autocommit mode"):
        with items.transaction():
            load(items, inputs(files))
    with psycopg.connect(gamedb_database) as plain, pytest.raises(UsageError, match="in autocommit mode"):
        load(plain, inputs(files))
    assert differences(items, others) == []
    assert [line.mode for line in ledger.loads(items, 9)] == ["optimized"]


@pytest.mark.parametrize("drops", [ALWAYS, NEVER], ids=["dropped", "kept"])
@pytest.mark.parametrize("mode", list(Mode), ids=lambda mode: mode.value)
def test_a_second_load_into_the_same_tables_is_refused(
    items: ServerConnection, gamedb_database: str, files: gamedb.Files, drops: Drops, mode: Mode
) -> None:
    """It is told which load runs, and disturbs that in nothing."""
    messages: list[str] = []

    def try_another(_progress: Progress) -> None:
        if len(messages) < 2:
            with psycopg.connect(gamedb_database, autocommit=True) as other:
                with pytest.raises(ServerError) as raised:
                    run(other, inputs(files), mode=mode, clear=True, drops=drops)
                messages.append(str(raised.value))

    load(items, inputs(files), drops=drops, watch=try_another)
    assert messages
    (ran,) = [line for line in ledger.loads(items, 9) if line.state == "done"]
    for message in messages:
        assert message.startswith(f"load {ran.id} ({ran.client}, since ")
    assert differences(items, files) == []


# --- What fails ---


def at(place: int, act: Callable[[], object]) -> Callable[[Progress], None]:
    """Do something when so many chunks are in."""
    counter = itertools.count(1)

    def watch(_progress: Progress) -> None:
        if next(counter) == place:
            act()

    return watch


def assert_put_back(connection: ServerConnection, conninfo: str, before: dict[str, str]) -> None:
    """A load has failed, and has itself put back what it took away."""
    assert catalog_of(connection) == before
    assert ledger.outstanding(connection) == []
    assert last_line(connection).state == "failed"
    assert connection.execute("SHOW synchronous_commit").fetchall() == [("on",)]
    assert multiprocessing.active_children() == []
    settled(conninfo, connection.info.backend_pid)


@pytest.mark.parametrize("amid", [False, True], ids=["between statements", "amid a statement"])
@pytest.mark.parametrize("moment", ["first transaction", "rows"])
def test_an_interrupt_that_the_connection_does_not_survive(
    gamedb_database: str, files: gamedb.Files, monkeypatch: pytest.MonkeyPatch, moment: str, amid: bool
) -> None:
    """As the first transaction is committed, or later, and where a statement is left without its answer."""
    with psycopg.connect(gamedb_database, autocommit=True) as connection:
        before = catalog_of(connection)

        def interrupt() -> None:
            if amid:
                connection.pgconn.send_query(b"SELECT pg_sleep(0.2)")
            raise KeyboardInterrupt

        @contextmanager
        def committed(opened: ServerConnection) -> Iterator[None]:
            monkeypatch.undo()
            with transaction(opened):
                yield
            interrupt()

        if moment == "first transaction":
            monkeypatch.setattr(ultra, "transaction", committed)
        with pytest.raises(KeyboardInterrupt):
            load(connection, inputs(files), jobs=1, watch=lambda _progress: interrupt())
        assert connection.closed == amid
    with psycopg.connect(gamedb_database, autocommit=True) as connection:
        assert_put_back(connection, gamedb_database, before)


def test_a_catalog_that_is_not_as_it_was_is_told(
    items: ServerConnection, files: gamedb.Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rows are in and all is back, so that there is nothing for the ledger to keep; a person has to look."""
    finish = _Rebuild.restore_indexes

    def otherwise(self: _Rebuild) -> None:
        finish(self)
        items.execute("ALTER INDEX idx_items_name RENAME TO idx_items_other_name")

    monkeypatch.setattr(_Rebuild, "restore_indexes", otherwise)
    with pytest.raises(
        RestoreError, match=r"put back, but not as it was.* index public\.idx_items_name: was "
    ) as raised:
        load(items, inputs(files))
    assert "ledger" not in str(raised.value)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)
    assert ledger.outstanding(items) == []
    assert last_line(items).state == "failed"
    items.execute("ALTER INDEX idx_items_other_name RENAME TO idx_items_name")
    gamedb.refresh_views(items)
    assert differences(items, files) == []


def test_no_more_connections_than_the_server_has_free(caplog: pytest.LogCaptureFixture) -> None:
    """Each process needs two, one to write on and one to build an index on, and one more asks how far those are."""
    found = Stakes(synchronous_commit="on", fsync="on", standbys=0, others=0, free_connections=12)
    assert ultra.connections(found, 2) == 2
    assert not caplog.records
    assert ultra.connections(found, 50) == 4
    assert "4 of 50 jobs" in caplog.text
    assert ultra.connections(attrs.evolve(found, free_connections=4), 2) == 1
    assert ultra.connections(attrs.evolve(found, free_connections=1000), 1000) == 29
    with pytest.raises(ServerError, match="no connections free"):
        ultra.connections(attrs.evolve(found, free_connections=3), 2)


@pytest.mark.parametrize(
    ("jobs", "levers", "place"),
    [(1, Levers(), 1), (1, UNLOGGED, 7), (2, Levers(), 1), (2, UNLOGGED, 7), (2, Levers(), 13)],
    ids=str,
)
def test_an_interrupt(
    items: ServerConnection, gamedb_database: str, files: gamedb.Files, jobs: int, levers: Levers, place: int
) -> None:
    """Indexes and constraints are back, no process is left, and a later load finds nothing in its way."""
    before = catalog_of(items)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(items, inputs(files), jobs=jobs, levers=levers, watch=at(place, interrupt))
    assert_put_back(items, gamedb_database, before)
    load(items, inputs(files), jobs=jobs, levers=levers)
    assert differences(items, files) == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_mapping_that_gives_up(
    items: ServerConnection, gamedb_database: str, files: gamedb.Files, tmp_path: Path, jobs: int
) -> None:
    """Late: what came before it is in, and what was taken away is back."""
    records = json.loads(files.items.read_text(encoding="utf-8"))
    records[230] = {**records[230], "AOID": 999_999_999, "Name": "the end"}
    path = tmp_path / "items.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    before = catalog_of(items)
    with pytest.raises(UsageError, match="here the mapping gives up"):
        load(items, [Input(ultra_jobs.ENDING_ITEMS_JOB, Source(str(path)))], jobs=jobs)
    assert_put_back(items, gamedb_database, before)
    assert items.execute("SELECT count(*) > 50, count(*) <= 230 FROM items").fetchall() == [(True, True)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_reject_too_many(
    items: ServerConnection, gamedb_database: str, files: gamedb.Files, tmp_path: Path, jobs: int
) -> None:
    """The first one in the order of the source is told, whichever process came to it first."""
    before = catalog_of(items)
    given = spoilt(files, tmp_path)
    with pytest.raises(BulkloadError, match=r"items.json: record 61 \(AOID \d+\): Name: "):
        load(items, inputs(given), jobs=jobs)
    assert_put_back(items, gamedb_database, before)


def of_workers(conninfo: str) -> list[int]:
    """The backends of the other connections of a load."""
    query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'bulkload'"
    with psycopg.connect(conninfo, autocommit=True) as connection:
        return [int(str(pid)) for (pid,) in connection.execute(query.encode()).fetchall()]


def terminate(conninfo: str, pids: Sequence[int]) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", [list(pids)])


@pytest.mark.parametrize("place", [1, 5])
def test_the_backend_of_a_worker_is_terminated(
    items: ServerConnection, gamedb_database: str, files: gamedb.Files, place: int
) -> None:
    """The load ends with the server's message, and puts back what it took away."""
    before = catalog_of(items)
    told = r"(writing .* (a chunk|the ledger)|COPY into .*|COMMIT, .*): .*(terminating|closed the) connection"
    with pytest.raises(ServerError, match=told):
        load(
            items, inputs(files), chunk=10,
            watch=at(place, lambda: terminate(gamedb_database, of_workers(gamedb_database))),
        )  # fmt: skip
    assert_put_back(items, gamedb_database, before)


@pytest.mark.parametrize("place", [1, 5])
def test_workers_are_killed_again_and_again(
    items: ServerConnection, gamedb_database: str, files: gamedb.Files, place: int
) -> None:
    """The message does not say that nothing was changed."""
    before = catalog_of(items)

    counting = itertools.count(1)

    def kill(_progress: Progress) -> None:
        if next(counting) >= place:
            for child in multiprocessing.active_children():
                child.kill()

    with pytest.raises(BulkloadError, match=r"a worker process died \(signal 9\)") as raised:
        load(items, inputs(files), chunk=10, watch=kill)
    assert "nothing was changed" not in str(raised.value)
    assert_put_back(items, gamedb_database, before)


@pytest.mark.parametrize(("jobs", "levers"), [(1, Levers()), (2, UNLOGGED)], ids=["logged", "unlogged"])
def test_the_backend_of_the_leader_is_terminated(
    items: ServerConnection, gamedb_database: str, files: gamedb.Files, jobs: int, levers: Levers
) -> None:
    """Then the ledger has what is away, the load counts as interrupted, and `recover` puts it back."""
    before = catalog_of(items)
    leader = items.info.backend_pid
    with pytest.raises(ServerError):
        load(
            items, inputs(files), jobs=jobs, levers=levers, watch=at(7, lambda: terminate(gamedb_database, [leader]))
        )  # fmt: skip
    settled(gamedb_database)
    with psycopg.connect(gamedb_database, autocommit=True) as connection:
        assert last_line(connection).state == "interrupted"
        away = ledger.outstanding(connection)
        assert {entry.kind for entry in away} >= {"foreign key", "index", "key"}
        assert recovery.recover(connection, dry_run=True).restored == away
        found = recovery.recover(connection)
        assert {entry.id for entry in found.restored} == {entry.id for entry in away}
        assert catalog_of(connection) == before
        assert last_line(connection).state == "failed"
        load(connection, inputs(files))
        assert differences(connection, files) == []


def test_the_next_load_puts_back_what_a_dead_one_left(
    items: ServerConnection, gamedb_database: str, files: gamedb.Files
) -> None:
    """Without `recover`, since it empties the tables anyway."""
    before = catalog_of(items)
    leader = items.info.backend_pid
    with pytest.raises(ServerError):
        load(items, inputs(files), watch=at(7, lambda: terminate(gamedb_database, [leader])))
    settled(gamedb_database)
    with psycopg.connect(gamedb_database, autocommit=True) as connection:
        load(connection, inputs(files))
        assert differences(connection, files) == []
        assert catalog_of(connection) == before
        assert ledger.outstanding(connection) == []


def test_a_load_lives_as_long_as_one_of_its_connections(
    items: ServerConnection, gamedb_database: str, files: gamedb.Files
) -> None:
    """Its workers may yet write: neither `recover` nor another load touches the tables until they have ended."""
    before = catalog_of(items)
    leader = items.info.backend_pid
    found: list[object] = []

    def cut_off() -> None:
        terminate(gamedb_database, [leader])
        with psycopg.connect(gamedb_database, autocommit=True) as other:
            found.append(last_line(other).state)
            found.append(len(recovery.recover(other).busy) == len(ledger.outstanding(other)) > 0)
            with pytest.raises(ServerError, match=r"load 1 .* fills public"):
                load(other, inputs(files), jobs=1)

    with pytest.raises(ServerError):
        load(items, inputs(files), watch=at(5, cut_off))
    assert found == ["running", True]
    put_right(gamedb_database)
    with psycopg.connect(gamedb_database, autocommit=True) as connection:
        assert catalog_of(connection) == before


def test_what_cannot_be_put_back_keeps_the_next_load_out(
    items: ServerConnection, gamedb_database: str, files: gamedb.Files, others: gamedb.Files
) -> None:
    """It changes nothing, and so does not say that the data is in."""
    leader = items.info.backend_pid
    with pytest.raises(ServerError):
        load(items, inputs(others), watch=at(2, lambda: terminate(gamedb_database, [leader])))
    settled(gamedb_database)
    with psycopg.connect(gamedb_database, autocommit=True) as connection:
        (index,) = [each for each in ledger.outstanding(connection) if each.kind == "index"][:1]
        connection.execute(f"CREATE INDEX {index.name} ON mobs (location)".encode())
        away, there = ledger.outstanding(connection), connection.execute("SELECT count(*) FROM items").fetchall()
        with pytest.raises(ServerError, match=f"{index.name}.*an index of that name is there, but another one"):
            load(connection, inputs(files), jobs=1)
        assert ledger.outstanding(connection) == away
        assert connection.execute("SELECT count(*) FROM items").fetchall() == there
        connection.execute(f"DROP INDEX {index.name}".encode())
        load(connection, inputs(files), jobs=1)
        assert differences(connection, files) == []


def test_rows_that_break_a_key(
    connection: ServerConnection, database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They stay, the keys to blame are listed, all else is back, and the ledger has the key until they are mended."""
    finished: list[object] = []
    connection.execute(ultra_jobs.SCHEMA.encode())
    connection.execute("CREATE UNIQUE INDEX sentences_once ON sentences (number, (page_id % 2)) WHERE number > 0")
    connection.execute("CREATE UNIQUE INDEX one_version ON pages (version)")
    before = catalog_of(connection)
    many = [{**page, "version": 7 if page["version"] < 3 else page["version"]} for page in pages(60, 60)]
    source = tmp_path / "pages.json"
    source.write_text(json.dumps(many), encoding="utf-8")
    for jobs in (1, 2):
        with pytest.raises(RestoreError) as raised:
            run(
                connection, [Input(ultra_jobs.PAGES_JOB, Source(str(source)))], mode=Mode.ULTRA, clear=True, chunk=10,
                jobs=jobs, drops=ALWAYS, finish=finished.append,
            )  # fmt: skip
        assert not finished
        assert "all rows are in: 60 records of pages.json, " in caplog.text
        assert "the statements that end the load, which refresh views, say, were not done" in caplog.text
        caplog.clear()
        failures = "; ".join(raised.value.failures)
        assert "keys of several rows (version): " in failures
        assert "7" in failures.split("keys of several rows (version): ")[1].split(";")[0]
        assert "(4 rows)" in failures.split("keys of several rows (version): ")[1].split(";")[0]
        assert connection.execute("SELECT count(*) FROM pages").fetchall() == [(60,)]
        assert {entry.name for entry in ledger.outstanding(connection)} == {"one_version", "sentences_once"}
        assert last_line(connection).state == "failed"
        settled(database, connection.info.backend_pid)
        with pytest.raises(RestoreError, match=r"keys of several rows \(version\)"):
            recovery.recover(connection)
    connection.execute("UPDATE pages SET version = -id")
    connection.execute("UPDATE sentences SET number = id")
    recovery.recover(connection)
    assert ledger.outstanding(connection) == []
    assert catalog_of(connection) == before


# --- What ends a load at any moment ---


LEADER = """
import sys
import psycopg
from bulkload import Input, Mode, Source, gamedb, run
from bulkload.workers import shares
from bulkload.rebuild.choice import Drop, Drops
from bulkload.rows.ultra import Levers

if __name__ == "__main__":
    shares.LEAST_BYTES = 0
    _, conninfo, unlogged, *paths = sys.argv
    jobs = (gamedb.ITEMS_JOB, gamedb.NANOS_JOB, gamedb.PERKS_JOB, gamedb.SYMBIANTS_JOB)
    inputs = [Input(job, Source(path)) for job, path in zip(jobs, paths, strict=True)]
    with psycopg.connect(conninfo, autocommit=True) as connection:
        print("connected", flush=True)
        run(
            connection, inputs, mode=Mode.ULTRA, clear=True, chunk=10, jobs=2, finish=gamedb.refresh_views,
            drops=Drops(Drop.ALWAYS, Drop.ALWAYS, Drop.ALWAYS),
            levers=Levers(unlogged=unlogged == "True", despite_standbys=True),
        )
"""

ENDS = ("leader killed", "worker killed", "interrupted", "leader cut off", "worker cut off", "all cut off")
MOMENTS = int(os.environ.get("BULKLOAD_MOMENTS", "6"))


def end(way: str, process: subprocess.Popen[str], conninfo: str) -> None:
    """End a load in one of the ways in which one can end."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        others = connection.execute(OTHER_SESSIONS.encode(), {"leader": 0}).fetchall()
    backends = sorted(int(str(pid)) for (pid,) in others)
    match way:
        case "leader killed":
            process.kill()
        case "worker killed":
            with suppress(ProcessLookupError, IndexError):
                os.kill(children_of(process.pid)[-1], signal.SIGKILL)
        case "interrupted":
            process.send_signal(signal.SIGINT)
        case "leader cut off":
            terminate(conninfo, backends[:1])
        case "worker cut off":
            terminate(conninfo, backends[-1:])
        case _:
            terminate(conninfo, backends)


def children_of(pid: int) -> list[int]:
    """The worker processes of a process; the first child is the one that watches over semaphores."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)  # noqa: S607 - wherever it is
    return sorted(map(int, found.stdout.split()))[1:]


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("moment", range(MOMENTS))
def test_a_load_that_ends_at_any_moment(
    gamedb_database: str, files: gamedb.Files, others: gamedb.Files, tmp_path: Path, moment: int
) -> None:
    """Whatever ends: what was taken away is back or in the ledger, and foreign keys hold for the rows that are in."""
    chance = random.Random(moment)  # noqa: S311 - moments
    with psycopg.connect(gamedb_database, autocommit=True) as connection:
        run(connection, inputs(others), finish=gamedb.refresh_views)
        before = catalog_of(connection)
    script = tmp_path / "leader.py"
    script.write_text(LEADER, encoding="utf-8")
    unlogged = str(chance.random() < 0.3)
    paths = [files.items, files.nanos, files.perks, files.symbiants]
    command = [sys.executable, str(script), gamedb_database, unlogged, *map(str, paths)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "connected\n"
        time.sleep(chance.uniform(0.5, 3.5))
        end(ENDS[moment % len(ENDS)], process, gamedb_database)
        _, said = process.communicate(timeout=PATIENCE * 2)
    put_right(gamedb_database)
    with psycopg.connect(gamedb_database, autocommit=True) as connection:
        assert catalog_of(connection) == before, said
        assert connection.execute(PERSISTENCE.encode()).fetchall() == []
        if lines := [line for line in ledger.loads(connection, 1) if line.mode == "ultra"]:
            # It may be killed when all is done, but never told to be done before that.
            assert lines[0].state == "done" or process.returncode != 0, said
            assert lines[0].state != "done" or differences(connection, files) == []
        else:
            assert differences(connection, others) == []
        load(connection, inputs(files), jobs=1)
        assert differences(connection, files) == []


def test_an_interrupt_while_indexes_are_built(
    items: ServerConnection, gamedb_database: str, files: gamedb.Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All builds end, and are begun anew; all is back when the load returns."""
    before = catalog_of(items)
    # As slow to build as it takes; the rest of the schema does not call it.
    items.execute(
        "CREATE FUNCTION slowly(id int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(CASE WHEN id % 100 = 0 THEN 0.1 ELSE 0 END); RETURN id; END $$"
    )
    items.execute("CREATE INDEX stat_values_slowly ON stat_values (public.slowly(id))")
    monkeypatch.setattr("bulkload.rebuild.builders._TOLD_EVERY", 0.2)
    before = catalog_of(items)
    told: list[str] = []

    def interrupt_once(self: object, seconds: float) -> None:
        del self
        told.append(f"{seconds}")
        if len(told) == 1:
            _thread.interrupt_main()

    monkeypatch.setattr("bulkload.rebuild.builders.Crew._tell", interrupt_once)
    with pytest.raises(KeyboardInterrupt):
        load(items, inputs(files))
    assert len(told) > 1
    assert_put_back(items, gamedb_database, before)
