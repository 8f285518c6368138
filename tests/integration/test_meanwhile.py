"""What other sessions delete while a load in `Mode.STANDARD` goes on: no row is lost, and none refers to nothing."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from bulkload import Entity, Id, Keep, Mode, Plan, Table, Update, record, start
from bulkload.rows.merge import Merge, Values
from bulkload.server.connection import Connection, connect

ROLE = f"meanwhile_loader_{os.getpid()}"


@record
class Tag:
    name: str
    size: int


@record
class Use:
    tag_id: Id[Tag]


KEPT = Entity("tags", Tag, ("name", "size"), conflict=Keep(on=("name",)))
UPDATED = Entity("tags", Tag, ("name", "size"), conflict=Update(on=("name",)))
ROWS = Table("tags", Tag, ("name", "size"), conflict=Update(on=("name",)))
USES = Table("uses", Use, ("tag_id",))
ENTITIES = pytest.mark.parametrize("tags", [KEPT, UPDATED], ids=["keep", "update"])
CONTENT = "SELECT name, size FROM uses LEFT JOIN tags ON id = tag_id ORDER BY 1"


@pytest.fixture
def tables(connection: Connection) -> Connection:
    # No foreign key: it would refuse what must not come about.
    connection.execute(
        "CREATE TABLE tags (id serial PRIMARY KEY, name text UNIQUE NOT NULL, size int);"
        "CREATE TABLE uses (tag_id int NOT NULL); INSERT INTO tags (name, size) VALUES ('a', 1), ('b', 1)"
    )
    return connection


@pytest.fixture
def humble(tables: Connection, database: str) -> Iterator[str]:
    """How to connect as a role that may neither update nor delete, and so lock no row."""
    tables.execute(f"CREATE ROLE {ROLE} LOGIN; GRANT SELECT, INSERT ON tags, uses TO {ROLE}".encode())
    tables.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {ROLE}".encode())
    yield make_conninfo(database, user=ROLE)
    tables.execute(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}".encode())


def add(connection: Connection, tags: Entity[Tag], size: int) -> tuple[int, int, int]:
    """Both tags, each with a use; what became of the tags."""
    with start(connection, Plan(tags, USES), mode=Mode.STANDARD) as load:
        for name in "ba":
            load.add(USES, Use(load.add(tags, Tag(name, size))))
    counts = load.report.tables["tags"]
    return counts.inserted, counts.updated, counts.unchanged


@ENTITIES
def test_a_row_that_is_being_deleted_is_made_anew(tables: Connection, database: str, tags: Entity[Tag]) -> None:
    """Whoever deletes it is waited for; it does not count as one that is there."""
    found: list[tuple[int, int, int]] = []

    def load() -> None:
        with connect(database) as own:
            found.append(add(own, tags, 2))

    thread = threading.Thread(target=load)
    with psycopg.connect(database) as other:
        other.execute("DELETE FROM tags WHERE name = 'a'")
        thread.start()
        waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        until = time.monotonic() + 30
        while tables.execute(waiting).fetchone() is None:
            assert time.monotonic() < until, "nobody waits"
            time.sleep(0.02)
    thread.join()
    assert tables.execute(CONTENT).fetchall() == [("a", 2), ("b", 1 if tags is KEPT else 2)]
    assert found == [(1, 0, 1) if tags is KEPT else (1, 1, 0)]


@ENTITIES
def test_what_was_found_is_not_deleted_before_the_commit(
    tables: Connection, database: str, tags: Entity[Tag], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever wants to waits."""
    match, refusals = Merge.match, list[psycopg.Error]()

    def beside(self: Merge, values: Values, *, lock: bool = False) -> dict[int, int]:
        found = match(self, values, lock=lock)
        with psycopg.connect(database, options="-c lock_timeout=100ms") as other:
            try:
                other.execute("DELETE FROM tags")
            except psycopg.errors.LockNotAvailable as error:
                refusals.append(error)
        return found

    monkeypatch.setattr(Merge, "match", beside)
    add(tables, tags, 2)
    assert len(refusals) == 1
    assert tables.execute(CONTENT).fetchall() == [(name, 1 if tags is KEPT else 2) for name in "ab"]


def test_a_role_that_may_lock_no_row_looks_again(
    tables: Connection, humble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And writes the batch once more."""
    match, deleted = Merge.match, list[int]()

    def beside(self: Merge, values: Values, *, lock: bool = False) -> dict[int, int]:
        found = match(self, values, lock=lock)
        if not deleted:
            deleted.append(tables.execute("DELETE FROM tags WHERE name = 'a'").rowcount)
        return found

    monkeypatch.setattr(Merge, "match", beside)
    with connect(humble) as own:
        assert add(own, KEPT, 2) == (1, 0, 1)
    assert deleted == [1]
    assert tables.execute(CONTENT).fetchall() == [("a", 2), ("b", 1)]


@pytest.mark.parametrize("foreign_key", [True, False])
@ENTITIES
def test_what_an_earlier_batch_wrote_may_be_gone(tables: Connection, tags: Entity[Tag], *, foreign_key: bool) -> None:
    """A key that is met again is looked for again; what it was found for once is counted once."""
    if foreign_key:
        tables.execute("ALTER TABLE uses ADD FOREIGN KEY (tag_id) REFERENCES tags")
    with start(tables, Plan(tags, USES), mode=Mode.STANDARD) as load:
        for size in (2, 3):
            ids = load.extend(tags, [Tag(name, size) for name in "abc"])
            load.extend(USES, map(Use, ids))
            load.flush()
            tables.execute("DELETE FROM uses; DELETE FROM tags WHERE name <> 'b'")
        # An id that was handed out before is that of the row that has the key by now.
        load.extend(tags, [Tag(name, 4) for name in "abc"])
        load.extend(USES, map(Use, ids))
        load.flush()
        assert tables.execute(CONTENT).fetchall() == [("a", 4), ("b", 1 if tags is KEPT else 4), ("c", 4)]
    counts = load.report.tables["tags"]
    expected = (5, 0, 2) if tags is KEPT else (5, 4, 0)
    assert (counts.inserted, counts.updated, counts.unchanged) == expected


def test_rows_that_share_a_key_are_all_counted(tables: Connection) -> None:
    """Where no unique index keeps them apart."""
    tables.execute("ALTER TABLE tags DROP CONSTRAINT tags_name_key; INSERT INTO tags (name, size) VALUES ('a', 1)")
    for mode, size in ((Mode.STANDARD, 2), (Mode.OPTIMIZED, 3)):
        with start(tables, Plan(ROWS), mode=mode) as load:
            load.add(ROWS, Tag("a", size))
        counts = load.report.tables["tags"]
        assert (counts.inserted, counts.updated, counts.unchanged) == (0, 2, 0)
