"""What is taken away while emptied tables are filled comes back exactly, or the load changes nothing."""

from __future__ import annotations

from typing import cast

import psycopg
import pytest
from psycopg import sql

from bench.line import Line
from bulkload import Drop, Drops, Entity, Id, Keep, Mode, Plan, Replace, ServerError, Table, record, start
from bulkload.server.catalog import describe_table, estimated_rows

Connection = psycopg.Connection[tuple[object, ...]]


@record
class Kind:
    name: str


@record
class Thing:
    kind_id: Id[Kind]
    name: str
    place: int


@record
class Part:
    thing_id: Id[Thing]
    number: int


KINDS = Entity("kinds", Kind, ("name",), conflict=Keep(on=("name",)))
THINGS = Entity("things", Thing, ("kind_id", "name", "place"))
PARTS = Table("parts", Part, ("thing_id", "number"))
PLAN = Plan(KINDS, THINGS, PARTS)

SCHEMA = """
CREATE TABLE kinds (id serial PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE things (
    id serial PRIMARY KEY, kind_id int NOT NULL REFERENCES kinds ON DELETE CASCADE, name text, place int, extra text,
    CONSTRAINT things_once UNIQUE (name, place) INCLUDE (extra) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT things_apart EXCLUDE USING btree (id WITH =) WHERE (place > 5)
);
CREATE TABLE parts (
    thing_id int REFERENCES things ON UPDATE SET NULL DEFERRABLE INITIALLY DEFERRED, number int,
    PRIMARY KEY (thing_id, number) WITH (fillfactor = 70)
);
CREATE TABLE outside (thing_id int REFERENCES things, CONSTRAINT named FOREIGN KEY (thing_id) REFERENCES things);
CREATE INDEX things_lower ON things USING btree (lower(name) text_pattern_ops DESC NULLS LAST) WITH (fillfactor = 60)
    WHERE place <> 3;
CREATE UNIQUE INDEX things_unique ON things (place, id) NULLS NOT DISTINCT;
CREATE INDEX things_gin ON things USING gin (to_tsvector('english', name));
CREATE INDEX things_brin ON things USING brin (place) WITH (pages_per_range = 4);
CREATE INDEX "Things ""odd"" name" ON things (kind_id) INCLUDE (place);
CREATE INDEX things_remarked ON things (place);
COMMENT ON INDEX things_remarked IS 'kept, for its comment';
CREATE INDEX things_clustered ON things (name);
ALTER TABLE things CLUSTER ON things_clustered;
CREATE INDEX things_measured ON things ((place + 1));
ALTER INDEX things_measured ALTER COLUMN 1 SET STATISTICS 500;
ALTER TABLE parts ADD CONSTRAINT parts_loose FOREIGN KEY (number) REFERENCES kinds NOT VALID;
CREATE VIEW counted AS SELECT t.id, t.name, count(*) FROM things t JOIN parts p ON p.thing_id = t.id GROUP BY t.id;
"""

# Names and definitions, by oid, so that what was made anew shows.
OBJECTS = """
SELECT c.relname::text, c.oid::bigint FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid IN ('kinds'::regclass, 'things'::regclass, 'parts'::regclass)
UNION ALL
SELECT conname::text, oid::bigint FROM pg_constraint
WHERE contype = 'f' AND conrelid IN ('things'::regclass, 'parts'::regclass, 'outside'::regclass)
"""

DEFINITIONS = """
SELECT c.relname::text, pg_get_indexdef(c.oid), i.indisclustered, obj_description(c.oid, 'pg_class'),
       (SELECT max(a.attstattarget) FROM pg_attribute a WHERE a.attrelid = c.oid)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid IN ('kinds'::regclass, 'things'::regclass, 'parts'::regclass)
UNION ALL
SELECT conrelid::regclass || '.' || conname, pg_get_constraintdef(oid), convalidated, NULL, NULL
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
ORDER BY 1
"""


@pytest.fixture
def things(connection: Connection) -> Connection:
    version = connection.info.server_version
    connection.execute(
        SCHEMA.replace(" NULLS NOT DISTINCT", "" if version < 150000 else " NULLS NOT DISTINCT").encode()
    )
    return connection


def objects(connection: Connection, query: str = OBJECTS) -> dict[str, int]:
    """The indexes and foreign keys by name; another oid is another object."""
    return dict(cast("list[tuple[str, int]]", connection.execute(query.encode()).fetchall()))


def fill(connection: Connection, count: int, mode: Mode = Mode.OPTIMIZED, place: int | None = None) -> None:
    with start(connection, PLAN, clear=True, cascade=True, mode=mode) as load:
        for n in range(count):
            thing = load.add(THINGS, Thing(load.add(KINDS, Kind(f"k{n % 3}")), f"n{n}", n if place is None else place))
            load.add(PARTS, Part(thing, n))


def test_the_catalog_is_as_it_was(things: Connection) -> None:
    """Every definition, and what definitions do not say."""
    before = things.execute(DEFINITIONS.encode()).fetchall()
    things.execute("ALTER TABLE parts DROP CONSTRAINT parts_loose")
    fill(things, 100)
    things.execute("ALTER TABLE parts ADD CONSTRAINT parts_loose FOREIGN KEY (number) REFERENCES kinds NOT VALID")
    assert things.execute(DEFINITIONS.encode()).fetchall() == before
    assert things.execute("SELECT count(*) FROM parts").fetchone() == (100,)
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        things.execute("INSERT INTO parts VALUES (0, 0)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        things.execute("INSERT INTO things (kind_id, name, place) SELECT kind_id, name, place FROM things")


def test_what_is_needed_stays(things: Connection) -> None:
    """Keys of conflict rules, and a key that a view groups by; all else is made anew."""
    before = objects(things)
    things.execute("ALTER TABLE parts DROP CONSTRAINT parts_loose")
    fill(things, 10)
    after = objects(things)
    del before["parts_loose"]
    assert after.keys() == before.keys()
    assert {name for name, oid in before.items() if after[name] == oid} == {
        "kinds_pkey",
        "kinds_name_key",
        "things_pkey",
    }


def test_standard_mode_drops_nothing(things: Connection) -> None:
    """Its readers and writers never miss an index."""
    things.execute("ALTER TABLE parts DROP CONSTRAINT parts_loose")
    before = objects(things)
    fill(things, 10, Mode.STANDARD)
    assert objects(things) == before


def test_rows_that_break_a_key_undo_the_load(things: Connection) -> None:
    """The old rows and the old indexes are there; the message names the key."""
    things.execute("ALTER TABLE parts DROP CONSTRAINT parts_loose")
    fill(things, 10)
    things.execute("CREATE UNIQUE INDEX things_one_place ON things (place)")
    there = objects(things)
    with pytest.raises(
        ServerError, match=r"building the index public.things_one_place of public.things: .*\(place\)=\(7\)"
    ) as caught:
        fill(things, 20, place=7)
    assert caught.value.sqlstate == "23505"
    assert objects(things) == there
    assert things.execute("SELECT count(*), sum(place) FROM things").fetchone() == (10, 45)


def test_a_killed_backend_changes_nothing(things: Connection, database: str) -> None:
    """At whatever point of the load the connection is cut."""
    things.execute("ALTER TABLE parts DROP CONSTRAINT parts_loose")
    fill(things, 10)
    there = objects(things)
    for rows in (0, 1, 50):
        with psycopg.connect(database, autocommit=True) as doomed, pytest.raises(ServerError):
            with start(doomed, PLAN, clear=True, cascade=True, batch_rows=20) as load:
                for n in range(rows):
                    kind = load.add(KINDS, Kind("k"))
                    load.add(PARTS, Part(load.add(THINGS, Thing(kind, f"n{n}", n)), n))
                things.execute("SELECT pg_terminate_backend(%s)", [doomed.info.backend_pid])
                load.flush()
                load.complete()
        assert objects(things) == there
        assert things.execute("SELECT count(*), sum(place) FROM things").fetchone() == (10, 45)


def test_a_role_that_does_not_own_the_tables_keeps_their_indexes(things: Connection, database: str) -> None:
    """It may clear and load; what it may not drop is not tried."""
    things.execute("ALTER TABLE parts DROP CONSTRAINT parts_loose")
    role = f"loader_{things.info.backend_pid}"
    things.execute(
        f"CREATE ROLE {role}; GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA public TO {role};"
        f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {role}".encode()
    )
    try:
        before = objects(things)
        with psycopg.connect(database, autocommit=True) as other:
            other.execute(f"SET ROLE {role}".encode())
            other.add_notice_handler(lambda _notice: None)
            fill(other, 10)
        assert objects(things) == before
        assert things.execute("SELECT count(*) FROM parts").fetchone() == (10,)
    finally:
        things.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


def test_an_object_more_is_no_round_trip_more(things: Connection, server: str) -> None:
    """However many indexes, keys and foreign keys there are: they go and come back in the same number of turns."""

    def turns() -> int:
        with Line(server) as line, psycopg.connect(line.conninfo(things.info.dbname), autocommit=True) as far:
            with start(far, PLAN, clear=True, cascade=True, drops=Drops(Drop.ALWAYS, Drop.ALWAYS, Drop.ALWAYS)) as load:
                kind = load.add(KINDS, Kind("one"))
                thing = load.add(THINGS, Thing(kind, "a thing", 1))
                load.add(PARTS, Part(thing, 1))
            return line.round_trips

    before = turns()
    for number in range(20):
        things.execute(sql.SQL("CREATE INDEX {} ON parts (number)").format(sql.Identifier(f"parts_{number}")))
        things.execute("ALTER TABLE parts ADD FOREIGN KEY (thing_id) REFERENCES things")
    assert turns() == before


@record
class Page:
    code: str


@record
class Piece:
    page_id: Id[Page]
    number: int


@record
class Word:
    piece_id: Id[Piece]
    place: int


PAGES = Entity("pages", Page, ("code",), conflict=Replace(on=("code",)))
PIECES = Entity("pieces", Piece, ("page_id", "number"))
WORDS = Table("words", Word, ("piece_id", "place"))
BOOK = Plan(PAGES, PIECES, WORDS)

BOOK_SCHEMA = """
CREATE TABLE pages (id serial PRIMARY KEY, code text NOT NULL UNIQUE);
CREATE TABLE pieces (id serial PRIMARY KEY, page_id int NOT NULL REFERENCES pages, number int);
CREATE TABLE words (piece_id int NOT NULL REFERENCES pieces, place int);
CREATE INDEX pieces_page ON pieces (page_id);
CREATE INDEX pieces_number ON pieces (number);
CREATE INDEX words_piece ON words (piece_id, place);
CREATE INDEX words_place ON words (place);
"""

BOOK_INDEXES = """
SELECT c.relname::text, c.oid::bigint FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE indrelid IN ('pieces'::regclass, 'words'::regclass) AND NOT indisprimary
"""


def test_what_replaced_rows_are_found_by_stays(connection: Connection) -> None:
    """Of tables with rows in them: an empty one is filled as fast as one that is emptied."""
    connection.execute(BOOK_SCHEMA.encode())

    def again(number: int, drops: Drops | None = None) -> set[str]:
        """The indexes that were left alone."""
        before = objects(connection, BOOK_INDEXES)
        expected = {"pages": 1e6, "pieces": 1e6, "words": 1e6}
        with start(connection, BOOK, drops=drops, expected=expected) as load:
            for n in range(20):
                piece = load.add(PIECES, Piece(load.add(PAGES, Page(f"p{n}")), number))
                load.add(WORDS, Word(piece, number))
        after = objects(connection, BOOK_INDEXES)
        assert after.keys() == before.keys()
        query = "SELECT code, number, place FROM pages p JOIN pieces s ON page_id = p.id JOIN words ON piece_id = s.id"
        assert sorted(connection.execute(query.encode()).fetchall()) == sorted(
            (f"p{n}", number, number) for n in range(20)
        )
        return {name for name, oid in before.items() if after[name] == oid}

    assert again(1) == set()
    assert again(2) == {"pieces_page", "words_piece"}
    assert again(3, Drops(indexes=Drop.ALWAYS)) == set()


def test_a_table_that_is_locked_is_not_waited_for(connection: Connection, database: str) -> None:
    """To be told how many rows it has: whether it is empty is found out when it is there for the asking."""
    connection.execute(BOOK_SCHEMA.encode())
    words = describe_table(connection, "words", "public")
    connection.execute("SET lock_timeout TO '2s'")
    with psycopg.connect(database) as other:
        other.execute("LOCK TABLE words")
        assert estimated_rows(connection, words) == [-1]
    assert estimated_rows(connection, words) == [0]
    connection.execute("ALTER TABLE words DROP CONSTRAINT words_piece_id_fkey; INSERT INTO words VALUES (1, 1)")
    assert estimated_rows(connection, words) == [-1]
