"""What is taken away by hand, or by a load that died, comes back exactly, from whatever state it was left in."""

from __future__ import annotations

import secrets
import time
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partialmethod
from threading import Barrier, BrokenBarrierError
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg_pool import ConnectionPool

from bulkload import Mode, Plan, ServerError, Table, record, start
from bulkload.errors import ConnectError, RestoreError
from bulkload.ledger import ledger
from bulkload.model.report import Report
from bulkload.rebuild.builders import crew
from bulkload.rebuild.choice import Drop, Drops
from bulkload.rebuild.rebuild import drop
from bulkload.rebuild.recovery import (
    Recovery,
    drop_by_hand,
    held,
    list_objects,
    recover,
    relations_named,
    restore_by_hand,
    take_over,
)
from bulkload.rebuild.restore import Restoration
from bulkload.server import locks
from bulkload.server.connection import connect, conninfo_of, transaction
from bulkload.server.definitions import Kind, Logged, Object, from_json, to_json
from tests import corpus
from tests import server as servers

Connection = psycopg.Connection[tuple[object, ...]]

ODD = r'"Odd ""things"""'
NAMED = r'"a.b %s {0} ""q"""."t %(x)s {y}"'
EVERYTHING = Drops(Drop.ALWAYS, Drop.ALWAYS, Drop.ALWAYS)

# One of each kind, so that a test that asks about all of them is short.
SMALL = """
CREATE TABLE kinds (id int PRIMARY KEY, name text CONSTRAINT kinds_once UNIQUE DEFERRABLE);
CREATE TABLE things (
    id int PRIMARY KEY, kind int CONSTRAINT of_kind REFERENCES kinds, name text, place int,
    CONSTRAINT apart EXCLUDE USING btree (place WITH =)
);
CREATE INDEX things_name ON things (name);
CREATE UNIQUE INDEX things_unique ON things (lower(name)) WHERE place > 0;
COMMENT ON INDEX things_name IS 'told';
COMMENT ON CONSTRAINT of_kind ON things IS 'told, too';
CREATE TABLE days (day int, n int, PRIMARY KEY (day, n)) PARTITION BY RANGE (day);
CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM (0) TO (10);
CREATE INDEX days_n ON days (n);
INSERT INTO kinds SELECT n, 'k' || n FROM generate_series(1, 5) AS n;
INSERT INTO things SELECT n, 1 + n % 5, 'n' || n, n FROM generate_series(1, 50) AS n;
INSERT INTO days SELECT n % 10, n FROM generate_series(1, 50) AS n;
"""


LEDGER_RIGHTS = ("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA bulkload TO {role}",)


@pytest.fixture(scope="session")
def corpus_template(server: str) -> Generator[str]:
    """The name of a database with all of the corpus, to be copied."""
    with servers.database(server) as conninfo:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            corpus.create(connection)
        yield servers.name_of(conninfo)


@pytest.fixture
def everything(server: str, corpus_template: str) -> Generator[Connection]:
    """A connection to a database of this test's own with all of the corpus."""
    with servers.database(server, corpus_template) as conninfo, connect(conninfo) as connection:
        yield connection


@pytest.fixture
def small(database: str) -> Generator[Connection]:
    """A connection to a database with the small schema."""
    with connect(database) as connection:
        connection.execute(SMALL.encode())
        yield connection


@contextmanager
def role(connection: Connection, *statements: str) -> Generator[str]:
    """A role of its own, dropped at the end; {role} in the statements is its name."""
    name = f"bulkload_role_{secrets.token_hex(4)}"
    connection.execute(f"CREATE ROLE {name} LOGIN".encode())
    try:
        for statement in statements:
            connection.execute(statement.replace("{role}", name).encode())
        yield name
    finally:
        connection.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}".encode())


@contextmanager
def as_role(database: str, name: str) -> Generator[Connection]:
    """A connection with the rights of the role alone."""
    with connect(database) as connection:
        connection.execute(f"SET ROLE {name}".encode())
        yield connection


@contextmanager
def tablespaces(connection: Connection) -> Generator[tuple[str, str]]:
    """Two tablespaces, with names that must be quoted."""
    mark = secrets.token_hex(4)
    names = (f"Fast {mark}", f"slow %s {{x}} {mark}")
    connection.execute("SET allow_in_place_tablespaces = on")
    for name in names:
        connection.execute(sql.SQL("CREATE TABLESPACE {} LOCATION ''").format(sql.Identifier(name)))
    try:
        yield names
    finally:
        connection.execute("RESET default_tablespace; DROP TABLE IF EXISTS placed, placed_parts")
        connection.execute("DROP SCHEMA IF EXISTS bulkload CASCADE")
        for name in names:
            connection.execute(sql.SQL("DROP TABLESPACE {}").format(sql.Identifier(name)))


def drop_all(connection: Connection) -> tuple[Object, ...]:
    return drop_by_hand(connection, corpus.tables(connection), foreign_keys=True, keys=True).dropped


def restore_all(connection: Connection) -> Recovery:
    return restore_by_hand(connection, corpus.tables(connection))


def away(connection: Connection) -> list[str]:
    """What the ledger has, by name."""
    return sorted(entry.name for entry in ledger.outstanding(connection))


def as_a_load(connection: Connection) -> int:
    """Let what was dropped by hand last look as if a load that died had dropped it; its number."""
    row = connection.execute(
        "UPDATE bulkload.loads SET kind = 'load', state = 'running', ended = NULL "
        "WHERE id = (SELECT max(id) FROM bulkload.loads) RETURNING id"
    ).fetchone()
    assert row is not None
    return int(str(row[0]))


def wait_until(connection: Connection, query: str, *parameters: object) -> None:
    """Until the query says yes."""
    deadline = time.monotonic() + 30
    while connection.execute(query.encode(), parameters).fetchone() != (True,):
        assert time.monotonic() < deadline, query
        time.sleep(0.02)


def refuses(connection: Connection, statement: str, error: type[psycopg.Error]) -> None:
    with pytest.raises(error):
        connection.execute(statement.encode())


# ---------------------------------------------------------------------------------------------------------- exactly so


@pytest.mark.parametrize(
    ("foreign_keys", "keys"),
    [(False, False), (True, False), (False, True), (True, True)],
    ids=["indexes", "foreign keys", "keys", "everything"],
)
def test_what_is_dropped_by_hand_comes_back_exactly(everything: Connection, foreign_keys: bool, keys: bool) -> None:
    """The schema is dumped equal, whatever was asked to go, and every table's rows are the same."""
    before = corpus.dump(everything)
    tables = corpus.tables(everything)
    choice = drop_by_hand(everything, tables, foreign_keys=foreign_keys, keys=keys)
    kinds = {each.kind for each in choice.dropped}
    assert Kind.INDEX in kinds
    assert (Kind.FOREIGN_KEY in kinds) is foreign_keys
    assert ({Kind.KEY, Kind.CONSTRAINT} <= kinds) is keys
    assert len(away(everything)) == len(choice.dropped)
    there = {(index.schema, index.name) for index in list_objects(everything, tables)[0].indexes}
    assert not there & {(each.schema, each.name) for each in choice.dropped}
    found = restore_all(everything)
    assert len(found.restored) == len(choice.dropped)
    assert not found.busy
    assert not found.loads
    assert corpus.dump(everything) == before
    assert away(everything) == []


def test_what_was_dropped_guards_the_rows_again(everything: Connection) -> None:
    """Duplicates, overlaps and orphans are let in while all is away, and refused when all is back."""
    wrong = {
        "INSERT INTO kinds (name) VALUES ('k1')": psycopg.errors.UniqueViolation,
        "INSERT INTO outside (kind) VALUES ('none')": psycopg.errors.ForeignKeyViolation,
        f"INSERT INTO {ODD} SELECT 999, 1, 'x', 99, 'unheard', '[12,13)'": psycopg.errors.ExclusionViolation,
        "INSERT INTO elsewhere.kinds VALUES (99, 99)": psycopg.errors.ForeignKeyViolation,
        "INSERT INTO regions VALUES (1)": psycopg.errors.UniqueViolation,
        f"INSERT INTO {NAMED} VALUES (1)": psycopg.errors.UniqueViolation,
        "INSERT INTO leans VALUES (-1)": psycopg.errors.ForeignKeyViolation,
        "INSERT INTO child VALUES (1, 'a', 1), (1, 'b', 2)": psycopg.errors.UniqueViolation,
        "INSERT INTO sorts (doc) VALUES (NULL), (NULL)": psycopg.errors.UniqueViolation,
    }
    if everything.info.server_version >= 180000:
        wrong["INSERT INTO stays SELECT id, span FROM stays LIMIT 1"] = psycopg.errors.ExclusionViolation
        wrong["INSERT INTO meals VALUES (0, '[1,2)', '[2020-01-08,2020-02-01)')"] = psycopg.errors.ForeignKeyViolation
    for statement, error in wrong.items():
        refuses(everything, statement, error)
    drop_all(everything)
    for statement in wrong:
        with everything.transaction(force_rollback=True):
            everything.execute(statement.encode())
    restore_all(everything)
    for statement, error in wrong.items():
        refuses(everything, statement, error)


def test_what_would_not_come_back_or_is_needed_stays_with_a_reason(everything: Connection) -> None:
    """Each reason, at its object; none of it is touched."""
    expected = {
        "viewed_pkey": "view public.counted depends on it",
        "called_pkey": "function public.called_by_key() depends on it",
        "called_name": "table public.told_by_key depends on it",
        "half": "some of its partitions lack it",
        "doubled_once": "it is invalid, and would come back valid",
        "told_name": "logical replication knows rows by it",
        "told_by_key_pkey": "logical replication knows rows by it",
        "off_id_fkey": "one of its triggers is switched off, and would come back switched on",
        "kinds_pkey": "the foreign key off_id_fkey of public.off, which stays, needs it",
    }
    if everything.info.server_version >= 170000:
        expected["booked_apart"] = "PostgreSQL does not attach the parts of such a constraint"
        expected["booked_1_house_hours_excl"] = f"a part of it stays: {expected['booked_apart']}"
    if everything.info.server_version >= 180000:
        expected["rooms"] = "its storage parameters would be lost"
    everything.execute(
        "CREATE INDEX of_extension ON plain (b); ALTER INDEX of_extension DEPENDS ON EXTENSION plpgsql;"
        "CREATE TABLE stored (a int, PRIMARY KEY (a) WITH (fillfactor = 60)) PARTITION BY RANGE (a);"
        "CREATE TABLE differ (region int) PARTITION BY RANGE (region);"
        "CREATE TABLE differ_1 (region int, CONSTRAINT named_otherwise FOREIGN KEY (region) REFERENCES regions);"
        "ALTER TABLE differ ADD CONSTRAINT named FOREIGN KEY (region) REFERENCES regions;"
        "ALTER TABLE differ ATTACH PARTITION differ_1 FOR VALUES FROM (0) TO (9);"
        "CREATE TABLE twofold (id int PRIMARY KEY); CREATE UNIQUE INDEX ON twofold (id);"
        "CREATE TABLE either (id int REFERENCES twofold)"
    )
    expected["either_id_fkey"] = "several keys could serve it, and it might come back on another one than before"
    expected["twofold_pkey"] = "the foreign key either_id_fkey of public.either, which stays, needs it"
    expected["of_extension"] = "it belongs to an extension"
    expected["stored_pkey"] = "its storage parameters would be lost"
    expected["named"] = "the partitions have it under other names or comments, which would be lost"
    before = corpus.dump(everything)
    choice = drop_by_hand(everything, corpus.tables(everything), foreign_keys=True, keys=True)
    kept = {each.object.name: each.reason for each in choice.kept}
    assert {name: kept.get(name) for name in expected} == expected
    restore_all(everything)
    assert corpus.dump(everything) == before
    # A table alone, with what leads to it from tables that are not asked about.
    (plain,) = relations_named(everything, "public", ["plain"])
    choice = drop_by_hand(everything, [plain], foreign_keys=False, keys=True)
    kept = {each.object.name: each.reason for each in choice.kept}
    assert kept["plain_a"] == "the foreign key leans_a_fkey of public.leans, which stays, needs it"
    assert kept["leans_b"] == "it was asked for that it stays"


def test_a_part_of_an_index_of_a_partitioned_table_goes_with_the_whole_or_not_at_all(everything: Connection) -> None:
    """A partition that is asked about alone keeps what is attached, and loses what is its own."""
    before = corpus.dump(everything)
    events_1 = relations_named(everything, "public", ["events_1"])
    choice = drop_by_hand(everything, events_1, foreign_keys=True, keys=True)
    assert [each.name for each in choice.dropped] == ["only_here"]
    assert {each.reason for each in choice.kept} == {
        "it is a part of an index of a partitioned table, and that was not asked for"
    }
    restore_by_hand(everything, events_1)
    assert corpus.dump(everything) == before


def test_indexes_come_back_to_their_tablespaces(connection: Connection, database: str) -> None:
    """Those of tables, keys, partitioned tables and their parts, whatever the session's own tablespace is."""
    if connection.info.server_version < 150000:
        pytest.skip("in-place tablespaces need PostgreSQL 15")
    with tablespaces(connection) as (fast, slow):
        text = corpus.PLACED.replace("{fast}", f'"{fast}"').replace("{slow}", f'"{slow}"')
        connection.execute(text.encode())
        connection.execute(sql.SQL("SET default_tablespace = {}").format(sql.Identifier(fast)))
        before = corpus.dump(connection)
        assert len(drop_all(connection)) == 12
        restore_all(connection)
        assert corpus.dump(connection) == before
        with role(connection, "GRANT CREATE ON SCHEMA public TO {role}", *LEDGER_RIGHTS) as name:
            connection.execute(f"ALTER TABLE placed OWNER TO {name}".encode())
            with as_role(database, name) as weak:
                choice = drop_by_hand(weak, relations_named(weak, "public", ["placed"]), foreign_keys=True, keys=True)
                kept = {each.object.name: each.reason for each in choice.kept}
                assert [each.name for each in choice.dropped] == ["placed_here"]
                assert kept["placed_once"] == f"this role may create nothing in the tablespace {slow}"


@record
class Numbers:
    """The integer columns of all tables that are loaded without rows."""

    id: int = 0
    number: int = 0
    thing: int = 0
    event: int = 0
    extra: int = 0
    other: int = 0
    a: int = 0
    n: int = 0


@record
class Event:
    id: int
    region: int
    day: int
    note: str


# A schema, and of each table to be loaded a column of integers.
LOADED = {
    "tables": {"kinds": "id", 'Odd "things"': "id", "parts": "number", "outside": "thing", "tree": "id"},
    "names": {"t23456789012345678901234567890123456789012345678901234567890123": "other"},
    "partitioned": {"regions": "id", "notes": "event", "events": "id"},
    "inheritance": {"parent": "id", "child": "id", "grandchild": "extra"},
    "others": {"plain": "a", "leans": "a", "ring_1": "id", "ring_2": "id", "told": "id", "doubled": "n"},
}


# So that a row may be given less than all that must be there.
DEFAULTS = """
DO $$
DECLARE
    line text;
BEGIN
    FOR line IN
        SELECT format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %L', a.attrelid::regclass, a.attname, '0')
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE a.attnum > 0 AND a.attnotnull AND NOT a.atthasdef AND a.attidentity = ''
          AND a.atttypid IN ('int'::regtype, 'text'::regtype)
          AND c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
    LOOP
        EXECUTE line;
    END LOOP;
END $$
"""


@pytest.mark.parametrize("name", LOADED)
def test_a_load_that_drops_everything_leaves_the_catalog_as_it_was(everything: Connection, name: str) -> None:
    """What goes and comes back inside the transaction of a load is the same as well."""
    everything.execute(DEFAULTS.encode())
    before = corpus.dump(everything)
    plan = Plan(*(Table(table, Numbers, (column,)) for table, column in LOADED[name].items()))
    report = Report()
    with start(everything, plan, clear=True, cascade=True, drops=EVERYTHING, report=report):
        pass
    assert "build indexes" in report.phases
    assert corpus.dump(everything) == before


def test_a_partition_can_be_loaded_alone(everything: Connection) -> None:
    """What is attached to the index of the whole stays; the rows are in, and found by it."""
    events = Table("events_1", Event, ("id", "region", "day", "note"))
    before = corpus.dump(everything)
    with start(everything, Plan(events), clear=True, cascade=True, drops=EVERYTHING) as load:
        for n in range(50):
            load.add(events, Event(n, 1, n % 20, f"x{n}"))
    assert corpus.dump(everything) == before
    assert everything.execute("SELECT count(*), sum(id) FROM events_1").fetchone() == (50, 1225)
    refuses(everything, "INSERT INTO events SELECT * FROM events_1 LIMIT 1", psycopg.errors.UniqueViolation)


PIECES = (
    "ALTER TABLE a ADD CONSTRAINT a_key PRIMARY KEY (id)",
    "ALTER TABLE a ADD CONSTRAINT a_once UNIQUE (n) WITH (fillfactor = 50)",
    "ALTER TABLE a ADD CONSTRAINT a_late UNIQUE (id, n) DEFERRABLE INITIALLY DEFERRED",
    "ALTER TABLE b ADD CONSTRAINT b_key PRIMARY KEY (id, part)",
    "ALTER TABLE b ADD CONSTRAINT b_once UNIQUE (part, id)",
    "ALTER TABLE a ADD CONSTRAINT a_apart EXCLUDE USING gist (span WITH &&) WHERE (id > 3)",
    "CREATE UNIQUE INDEX a_plain ON a (id)",
    "CREATE INDEX a_text ON a USING hash (t)",
    "CREATE INDEX ON a (lower(t), id DESC) WHERE t <> 'x'",
    "CREATE INDEX ON b (n, t)",
    "CREATE INDEX ON ONLY b (t)",
    "CREATE INDEX b_1_own ON b_1 (n) WHERE n > 0",
    "ALTER TABLE a ADD CONSTRAINT self FOREIGN KEY (n) REFERENCES a (id) NOT VALID",
    "ALTER TABLE b ADD CONSTRAINT to_a FOREIGN KEY (n) REFERENCES a (id) ON DELETE SET NULL",
    "ALTER TABLE a ADD CONSTRAINT to_b FOREIGN KEY (id, n) REFERENCES b (id, part)",
    "ALTER TABLE b_1 ADD CONSTRAINT part_to_a FOREIGN KEY (n) REFERENCES a (n)",
    "ALTER TABLE a CLUSTER ON a_key",
    "ALTER TABLE a REPLICA IDENTITY USING INDEX a_plain",
    "ALTER TABLE b_1 REPLICA IDENTITY FULL",
    "COMMENT ON INDEX a_plain IS 'said %s {} ''.'",
    "COMMENT ON CONSTRAINT to_a ON b IS 'said'",
    "COMMENT ON CONSTRAINT a_once ON a IS 'said, too'",
    "CREATE VIEW v AS SELECT id, t, count(*) FROM a GROUP BY id",
    "ALTER TABLE a DISABLE TRIGGER ALL",
)
BASE = """
DROP SCHEMA IF EXISTS s CASCADE; DROP SCHEMA IF EXISTS bulkload CASCADE; CREATE SCHEMA s; SET search_path = s;
CREATE TABLE a (id int NOT NULL, n int, t text, span int4range);
CREATE TABLE b (id int NOT NULL, part int NOT NULL, n int, t text) PARTITION BY LIST (part);
CREATE TABLE b_1 PARTITION OF b FOR VALUES IN (1);
CREATE TABLE b_2 PARTITION OF b FOR VALUES IN (2) PARTITION BY LIST (id);
CREATE TABLE b_2_1 PARTITION OF b_2 DEFAULT;
"""


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.lists(st.sampled_from(range(len(PIECES))), unique=True, min_size=1),
    foreign_keys=st.booleans(),
    keys=st.booleans(),
    asked=st.sets(st.sampled_from(["a", "b", "b_1", "b_2", "b_2_1"]), min_size=1),
)
def test_any_mixture_comes_back(
    connection: Connection, order: list[int], foreign_keys: bool, keys: bool, asked: set[str]
) -> None:
    """Any of the pieces in any order that the server takes them in, any of the tables asked about."""
    connection.add_notice_handler(lambda _notice: None)
    connection.execute(BASE.encode())
    for number in order:
        try:
            connection.execute(PIECES[number].encode())
        except psycopg.Error:
            continue  # it needs one that comes later, or not at all
    before = corpus.picture(connection)
    rows = connection.execute(
        "SELECT oid::bigint FROM pg_class WHERE relnamespace = 's'::regnamespace AND relname = ANY(%s)", [list(asked)]
    ).fetchall()
    tables = [int(str(oid)) for (oid,) in rows]
    choice = drop_by_hand(connection, tables, foreign_keys=foreign_keys, keys=keys)
    assert len(away(connection)) == len(choice.dropped)
    restore_all(connection)
    assert corpus.picture(connection) == before
    assert away(connection) == []


# ------------------------------------------------------------------------------------------------------ from any state


def test_objects_survive_the_ledger(everything: Connection) -> None:
    """All that is known of an object is the same after it lay in the ledger."""
    survey, _ = list_objects(everything, corpus.tables(everything))
    objects: list[Object] = [*survey.indexes, *survey.foreign_keys, Logged(1, "s", "t")]
    assert [from_json(each.kind.value, to_json(each)) for each in objects] == objects


def test_what_a_restore_that_died_had_done_is_gone_on_from(small: Connection) -> None:
    """An index built and none of the rest, a key's index without the key, an index half built, a key not validated."""
    before = corpus.dump(small)
    drop_all(small)
    small.execute("CREATE INDEX things_name ON things (name)")
    small.execute("CREATE UNIQUE INDEX kinds_pkey ON kinds (id)")
    small.execute("CREATE UNIQUE INDEX things_pkey ON things (id)")
    small.execute("ALTER TABLE things ADD CONSTRAINT things_pkey PRIMARY KEY USING INDEX things_pkey")
    small.execute("CREATE INDEX days_n ON ONLY days (n)")
    small.execute("CREATE INDEX days_1_n_idx ON days_1 (n)")
    small.execute("INSERT INTO things (id, name, place) VALUES (0, 'N1', 99)")
    refuses(
        small,
        "CREATE UNIQUE INDEX CONCURRENTLY things_unique ON things (lower(name)) WHERE place > 0",
        psycopg.errors.UniqueViolation,
    )
    small.execute("DELETE FROM things WHERE id = 0")
    restore_all(small)
    assert corpus.dump(small) == before
    drop_all(small)
    small.execute("CREATE UNIQUE INDEX kinds_pkey ON kinds (id)")
    small.execute("ALTER TABLE kinds ADD CONSTRAINT kinds_pkey PRIMARY KEY USING INDEX kinds_pkey")
    small.execute("ALTER TABLE things ADD CONSTRAINT of_kind FOREIGN KEY (kind) REFERENCES kinds (id) NOT VALID")
    restore_all(small)
    assert corpus.dump(small) == before
    assert away(small) == []


def test_what_somebody_made_again_by_hand_is_taken_for_what_was_dropped(small: Connection) -> None:
    """Dropped, made and dropped again: it comes back once, and both lines of the ledger are struck."""
    before = corpus.dump(small)
    tables = corpus.tables(small)
    drop_by_hand(small, tables, foreign_keys=False, keys=False)
    small.execute("CREATE INDEX things_name ON things (name)")
    drop_by_hand(small, tables, foreign_keys=False, keys=False)
    assert away(small).count("things_name") == 2
    restore_all(small)
    assert corpus.dump(small) == before
    assert away(small) == []


def test_an_index_of_that_name_that_is_another_one_is_left_alone(small: Connection) -> None:
    """The message shows it; all else is back; when it is out of the way, the rest comes."""
    before = corpus.dump(small)
    drop_all(small)
    small.execute("CREATE INDEX things_name ON things (name, id)")
    small.execute("CREATE TABLE others (id int PRIMARY KEY)")
    small.execute("ALTER TABLE things ADD CONSTRAINT of_kind FOREIGN KEY (kind) REFERENCES others NOT VALID")
    with pytest.raises(RestoreError) as caught:
        restore_all(small)
    said = " ".join(caught.value.failures)
    assert "there, but another one (CREATE INDEX things_name ON public.things USING btree (name, id))" in said
    assert away(small) == ["of_kind", "things_name"]
    small.execute("DROP INDEX things_name; ALTER TABLE things DROP CONSTRAINT of_kind; DROP TABLE others")
    restore_all(small)
    assert corpus.dump(small) == before


def test_a_table_that_was_written_to_the_log_is_so_again(small: Connection) -> None:
    """Before its indexes are back, and its rows are there."""
    before = corpus.dump(small)
    tables = corpus.tables(small)
    ledger.ensure(small)
    with transaction(small):
        load = ledger.begin(small, "load", "ultra", ["public.things"])
        (things,) = relations_named(small, "public", ["things"])
        logged = Logged(things, "public", "things")
        ledger.record(small, load, [logged])
        drop(small, [logged])
    drop_by_hand(small, tables, foreign_keys=True, keys=True)
    small.execute("UPDATE bulkload.dropped SET load = %s", [load])
    assert "logged state of public.things" in map(str, [entry.object for entry in ledger.outstanding(small)])
    found = recover(small)
    assert found.loads == [load]
    assert corpus.dump(small) == before
    assert small.execute("SELECT count(*) FROM things").fetchone() == (50,)


def test_a_table_that_is_gone_takes_what_was_dropped_of_it_along(small: Connection) -> None:
    """The ledger forgets it, whoever dropped it; the foreign key that led to it is said to lead nowhere."""
    drop_all(small)
    small.execute(
        "DROP TABLE days; ALTER TABLE things RENAME COLUMN name TO title; ALTER TABLE things DROP COLUMN place"
    )
    with pytest.raises(RestoreError) as caught:
        restore_all(small)
    said = " ".join(caught.value.failures)
    assert 'column "name" does not exist' in said
    assert 'column "place"' in said
    assert away(small) == ["apart", "things_name", "things_unique"]
    small.execute("DROP TABLE things")
    restore_all(small)
    assert away(small) == []
    assert recover(small).restored == []


def test_a_table_that_was_renamed_is_named_and_comes_back_under_its_name(small: Connection) -> None:
    """What its definitions say is about the old name; all else is restored meanwhile."""
    before = corpus.dump(small)
    drop_all(small)
    small.execute("ALTER TABLE things RENAME TO items")
    with pytest.raises(RestoreError, match=r"its table is named public\.items now; give it its name back"):
        restore_all(small)
    assert away(small) == ["apart", "of_kind", "things_name", "things_pkey", "things_unique"]
    small.execute("ALTER TABLE items RENAME TO things")
    restore_all(small)
    assert corpus.dump(small) == before


def test_a_table_that_was_made_anew_is_the_one_of_its_name(small: Connection) -> None:
    """As in a database that was dumped and restored with its ledger, where every oid is another one."""
    before = corpus.dump(small)
    drop_all(small)
    small.execute(
        "CREATE TABLE copied AS TABLE things; DROP TABLE things; ALTER TABLE copied RENAME TO things;"
        "ALTER TABLE things ALTER COLUMN id SET NOT NULL; UPDATE bulkload.dropped SET relation = 1"
    )
    restore_all(small)
    assert corpus.dump(small) == before
    refuses(small, "INSERT INTO things (id) VALUES (1)", psycopg.errors.UniqueViolation)


def test_an_index_that_comes_up_while_it_is_to_be_built_is_taken(small: Connection, database: str) -> None:
    """The server finishes what a killed client began: whoever restores next waits for it, and finds it done."""
    before = corpus.dump(small)
    drop_all(small)
    with psycopg.connect(database) as orphan:
        orphan.execute("CREATE INDEX things_name ON things (name)")
        with ThreadPoolExecutor(1) as threads:
            with connect(database) as other:
                pid = other.info.backend_pid
                found = threads.submit(restore_all, other)
                wait_until(small, "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND pid <> %s", pid)
                orphan.commit()
                found.result(timeout=60)
    assert corpus.dump(small) == before
    assert away(small) == []


@pytest.mark.parametrize("name", ["things_name", "things_unique"])
def test_an_index_that_goes_while_it_is_looked_at_is_gone(small: Connection, database: str, name: str) -> None:
    """To describe an index may take a lock, which somebody who drops it has: it is as it was, or not there."""
    before = {index.name for index in list_objects(small, corpus.tables(small))[0].indexes}
    with psycopg.connect(database) as load, connect(database) as other, ThreadPoolExecutor(1) as threads:
        load.execute(f"DROP INDEX {name}".encode())
        found = threads.submit(list_objects, other, corpus.tables(small))
        time.sleep(0.1)
        load.commit()
        assert {index.name for index in found.result(timeout=60)[0].indexes} in (before, before - {name})


# --------------------------------------------------------------------------------------------------------- broken rows


def test_rows_that_broke_a_key_meanwhile_are_named_and_all_else_is_restored(small: Connection) -> None:
    """The ledger keeps what failed; when the rows are mended, the rest comes back."""
    before = corpus.dump(small)
    drop_all(small)
    small.execute(
        "INSERT INTO kinds VALUES (2, 'k1'), (2, 'other'), (3, NULL);"
        "INSERT INTO things VALUES (100, 77, 'N7', 1), (101, 78, 'x', -1), (102, 78, 'y', -2), (103, NULL, 'z', -3);"
        "INSERT INTO days VALUES (3, 3)"
    )
    with pytest.raises(RestoreError) as caught:
        restore_all(small)
    said = sorted(caught.value.failures)
    assert all("could not be listed" not in failure for failure in said)
    by_name = {failure.split(" of public.")[0]: failure for failure in said}
    assert "keys of several rows (id): 2 (3 rows), 3 (2 rows)" in by_name["key kinds_pkey"]
    assert "keys of several rows (name): k1 (2 rows)" in by_name["key kinds_once"]
    assert "keys of several rows (lower(name)): n7 (2 rows)" in by_name["index things_unique"]
    assert "keys of several rows (day, n): 3, 3 (2 rows)" in by_name["key days_1_pkey"]
    assert "Key (place)=(1) conflicts with key (place)=(1)" in by_name["constraint apart"]
    assert away(small) == ["apart", "days_1_pkey", "kinds_once", "kinds_pkey", "of_kind", "things_unique"]
    small.execute("DELETE FROM kinds WHERE name = 'other' OR name IS NULL OR (id, name) = (2, 'k1')")
    with pytest.raises(RestoreError) as caught:
        restore_all(small)
    (orphans,) = [failure for failure in caught.value.failures if "of_kind" in failure]
    assert "references that lead nowhere (kind): 78 (2 rows), 77 (1 rows)" in orphans
    assert away(small) == ["apart", "days_1_pkey", "of_kind", "things_unique"]
    small.execute(
        "DELETE FROM things WHERE id >= 100;"
        "DELETE FROM days WHERE ctid = (SELECT max(ctid) FROM days WHERE (day, n) = (3, 3))"
    )
    restore_all(small)
    assert corpus.dump(small) == before
    assert away(small) == []


def test_what_equality_does_not_tell_is_left_to_the_server_to_name(everything: Connection) -> None:
    """A reference that is null in part, and a period that several rows cover: no row is blamed that is right."""
    drop_all(everything)
    everything.execute("CREATE TABLE full_child (a int, b int)")
    everything.execute("CREATE TABLE full_parent (a int, b int, PRIMARY KEY (a, b))")
    everything.execute(
        "ALTER TABLE full_child ADD CONSTRAINT full_match FOREIGN KEY (a, b) REFERENCES full_parent MATCH FULL"
    )
    drop_by_hand(everything, relations_named(everything, "public", ["full_child"]), foreign_keys=True, keys=False)
    everything.execute("INSERT INTO full_child VALUES (1, NULL)")
    if everything.info.server_version >= 180000:
        everything.execute("INSERT INTO meals VALUES (0, '[1,2)', '[2020-01-08,2020-02-01)')")
    with pytest.raises(RestoreError) as caught:
        restore_all(everything)
    assert any("MATCH FULL does not allow mixing" in failure for failure in caught.value.failures)
    assert not any("lead nowhere" in failure for failure in caught.value.failures)
    everything.execute("DELETE FROM full_child")
    if everything.info.server_version >= 180000:
        assert away(everything) == ["full_match", "of_stay"]
        everything.execute("DELETE FROM meals WHERE id = 0")
    restore_all(everything)
    assert away(everything) == []


# --------------------------------------------------------------------------------------------------------- two at once


def test_two_restores_at_the_same_time_get_into_nobody_s_way(everything: Connection) -> None:
    """Each object comes back once; what the other one holds is told as busy."""
    conninfo = conninfo_of(everything)
    before = corpus.dump(everything)
    for _ in range(2):
        dropped = len(drop_all(everything))
        barrier = Barrier(3)

        def restore(barrier: Barrier = barrier) -> Recovery:
            with connect(conninfo) as other:
                barrier.wait(30)
                return restore_all(other)

        with ThreadPoolExecutor(3) as threads:
            found = [each.result(timeout=60) for each in [threads.submit(restore) for _ in range(3)]]
        assert sum(len(each.restored) for each in found) == dropped
        assert {len(each.restored) for each in found} <= {0, dropped}
        assert corpus.dump(everything) == before
        assert away(everything) == []


@record
class Thing:
    kind: int
    name: str


THINGS = Table("things", Thing, ("kind", "name"))
PLAN = Plan(THINGS)


def test_what_a_living_load_holds_is_left_alone(small: Connection, database: str) -> None:
    """Neither restore nor recover touches it, and another load is refused with its name, changing nothing."""
    small.execute("ALTER TABLE things ALTER COLUMN id SET DEFAULT 1")
    drop_all(small)
    load = as_a_load(small)
    with connect(database) as living:
        assert ledger.hold(living, load, session=True)
        there = away(small)
        for found in (recover(small), restore_all(small), recover(small, dry_run=True)):
            assert found.restored == []
            assert sorted(entry.name for entry in found.busy) == there
        for mode in (Mode.OPTIMIZED, Mode.STANDARD):
            with pytest.raises(ServerError, match=rf"load {load} \(.*, process \d+, since .*\) holds public\.things"):
                with start(small, PLAN, clear=True, mode=mode):
                    pass
        with pytest.raises(ServerError, match=r"holds public\.things"):
            held(small, corpus.tables(small))
        assert [line.state for line in ledger.loads(small, 1)] == ["running"]
        assert away(small) == there
        assert small.execute("SELECT count(*) FROM things").fetchone() == (50,)
    wait_until(small, "SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'advisory'")
    assert [line.state for line in ledger.loads(small, 1)] == ["interrupted"]
    assert sorted(entry.name for entry in recover(small, dry_run=True).restored) == there
    # What it does is committed, also on a connection that is not in autocommit mode.
    with psycopg.connect(database) as plain:
        assert sorted(entry.name for entry in recover(plain).restored) == there
        plain.rollback()
    assert away(small) == []


def test_a_session_is_as_it_was_after_a_take_over(small: Connection) -> None:
    """The connection is the caller's, and so are its settings."""
    small.execute("ALTER TABLE things ALTER COLUMN id SET DEFAULT 1")
    query = "SELECT name, setting FROM pg_settings ORDER BY name"
    small.execute("SET statement_timeout = '5min'; SET search_path = elsewhere, public; SET lock_timeout = '7s'")
    before = small.execute(query.encode()).fetchall()
    drop_by_hand(small, relations_named(small, "public", ["things"]), foreign_keys=True, keys=True)
    as_a_load(small)
    with start(small, PLAN, clear=True) as sink:
        sink.add(THINGS, Thing(1, "a"))
    assert away(small) == []
    assert small.execute(query.encode()).fetchall() == before


def test_what_changes_while_locks_are_waited_for_is_not_dropped(
    small: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is dropped by hand is what was locked."""
    before = corpus.dump(small)
    take = locks.take

    def late(connection: Connection, wanted: Iterable[locks.Lock]) -> None:
        connection.execute("CREATE TABLE later (id int REFERENCES things)")
        take(connection, wanted)

    monkeypatch.setattr(locks, "take", late)
    with pytest.raises(ServerError, match="were changed while their locks were waited for"):
        drop_by_hand(small, relations_named(small, "public", ["things"]), foreign_keys=True, keys=True)
    assert corpus.dump(small) == before
    assert away(small) == []


def test_a_load_that_clears_takes_over_what_a_dead_one_left(small: Connection) -> None:
    """In its own transaction: a failure leaves the old rows, and what is away still in the ledger."""
    small.execute("ALTER TABLE things ALTER COLUMN id SET DEFAULT 1")
    before = corpus.dump(small)
    small.execute("CREATE TABLE kept AS TABLE days")
    tables = relations_named(small, "public", ["things"])
    drop_by_hand(small, tables, foreign_keys=True, keys=True)
    load = as_a_load(small)
    there = away(small)
    assert there == ["apart", "of_kind", "things_name", "things_pkey", "things_unique"]
    for mode, clear in ((Mode.OPTIMIZED, False), (Mode.STANDARD, True), (Mode.STANDARD, False)):
        with pytest.raises(ServerError, match=rf"load {load} \(.*\) died and left away the .*: .*recover` puts them"):
            with start(small, PLAN, clear=clear, mode=mode):
                pass
    with pytest.raises(ServerError, match="things_pkey"):
        with start(small, PLAN, clear=True) as sink:
            sink.add(THINGS, Thing(1, "a"))
            sink.add(THINGS, Thing(1, "b"))
    assert away(small) == there
    assert small.execute("SELECT count(*) FROM things").fetchone() == (50,)
    assert [line.state for line in ledger.loads(small, 1)] == ["interrupted"]
    with start(small, PLAN, clear=True) as sink:
        sink.add(THINGS, Thing(1, "a"))
    assert away(small) == []
    assert [line.state for line in ledger.loads(small, 1)] == ["failed"]
    small.execute("DROP TABLE kept")
    assert corpus.dump(small) == before
    assert small.execute("SELECT kind, name FROM things").fetchall() == [(1, "a")]


def test_what_cannot_be_taken_over_undoes_the_load_and_says_why(small: Connection, database: str) -> None:
    """Something else has the name, or somebody restores it at this moment."""
    small.execute("ALTER TABLE things ALTER COLUMN id SET DEFAULT 1")
    drop_by_hand(small, relations_named(small, "public", ["things"]), foreign_keys=True, keys=True)
    load = as_a_load(small)
    there = away(small)
    small.execute("CREATE INDEX things_name ON things (id)")
    with pytest.raises(
        ServerError, match=r"does not come back: index things_name of public\.things: an index of that name"
    ):
        with start(small, PLAN, clear=True):
            pass
    assert small.execute("SELECT count(*) FROM things").fetchone() == (50,)
    assert away(small) == there
    small.execute("DROP INDEX things_name")
    entries = held(small, corpus.tables(small))
    with connect(database) as other:
        assert ledger.hold(other, load, session=True)
        with pytest.raises(ServerError, match=f"what load {load} left away is being put back by somebody else"):
            with transaction(small):
                take_over(small, entries)
    assert away(small) == there


# -------------------------------------------------------------------------------------------------------------- locks


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short attempts, so that the tests are short."""
    monkeypatch.setattr(locks, "_ATTEMPTS", 3)
    monkeypatch.setattr(locks, "_PATIENCE", "100ms")
    monkeypatch.setattr(locks, "_PAUSE", 0.2)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("what", ["load", "drop"])
def test_whoever_holds_a_lock_is_named_and_nothing_is_changed(small: Connection, database: str, what: str) -> None:
    """With process, user, application and state; readers get through while the lock is waited for."""
    small.execute("ALTER TABLE things ALTER COLUMN id SET DEFAULT 1")
    before = corpus.dump(small)
    conninfo = make_conninfo(database, application_name="a report")
    with psycopg.connect(conninfo) as holder, connect(database) as reader, ThreadPoolExecutor(1) as threads:
        holder.execute("SELECT count(*) FROM things")
        said = (
            rf"locking .*public.things.*: held by process {holder.info.backend_pid} \(user {holder.info.user}, "
            r"a report, idle in transaction since .*\) on things; nothing was changed: run it again"
        )

        def attempt() -> None:
            if what == "drop":
                drop_all(small)
            else:
                with start(small, PLAN, clear=True):
                    pass

        found = threads.submit(attempt)
        reads = 0
        while not found.done():
            assert reader.execute("SELECT count(*) FROM things").fetchone() == (50,)
            reads += 1
            time.sleep(0.05)
        with pytest.raises(ServerError, match=said) as caught:
            found.result()
        assert caught.value.sqlstate == psycopg.errors.LockNotAvailable.sqlstate
        assert reads >= 2
        holder.rollback()
    assert corpus.dump(small) == before
    assert away(small) == []
    assert small.execute("SELECT count(*) FROM things").fetchone() == (50,)
    assert small.execute("SELECT current_setting('lock_timeout')").fetchone() == ("0",)


@pytest.mark.usefixtures("hasty")
def test_a_load_goes_on_when_the_lock_is_let_go(
    small: Connection, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It told meanwhile whom it waited for."""
    small.execute("ALTER TABLE things ALTER COLUMN id SET DEFAULT 1")
    before = corpus.dump(small)
    with psycopg.connect(database) as holder, ThreadPoolExecutor(1) as threads:
        holder.execute("SELECT count(*) FROM things")

        def load() -> None:
            with start(small, PLAN, clear=True, drops=EVERYTHING) as sink:
                sink.add(THINGS, Thing(1, "a"))

        found = threads.submit(load)
        deadline = time.monotonic() + 30
        while "waiting for a lock held by process" not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        holder.rollback()
        found.result(timeout=60)
    assert corpus.dump(small) == before
    assert small.execute("SELECT name FROM things").fetchall() == [("a",)]


@pytest.mark.usefixtures("hasty")
def test_readers_get_through_while_a_load_by_batches_waits_to_empty_its_tables(
    small: Connection, database: str
) -> None:
    """As where all is one transaction; whoever is in the way is named."""
    small.execute("ALTER TABLE things ALTER COLUMN id SET DEFAULT 1")

    def load() -> None:
        with start(small, PLAN, mode=Mode.STANDARD, clear=True):
            pass

    with psycopg.connect(database) as holder, ThreadPoolExecutor(1) as threads:
        holder.execute("SELECT count(*) FROM things")
        found = threads.submit(load)
        assert reads_beside(found, database) >= 2
        said = rf"held by process {holder.info.backend_pid} .*; nothing was changed: run it again"
        with pytest.raises(ServerError, match=said):
            found.result()
        holder.rollback()
    load()
    assert small.execute("SELECT count(*) FROM things").fetchone() == (0,)
    assert small.execute("SELECT current_setting('lock_timeout')").fetchone() == ("0",)


def reads_beside(found: Future[Any], database: str) -> int:
    """How often somebody else could read the things until it was done; none of the reads waits for long."""
    reads = 0
    with psycopg.connect(database, autocommit=True) as reader:
        reader.execute("SET statement_timeout TO '20s'")
        while not found.done():
            assert reader.execute("SELECT count(*) FROM things").fetchone() == (50,)
            reads += 1
            time.sleep(0.05)
    return reads


@pytest.mark.usefixtures("hasty")
def test_readers_get_through_while_something_waits_to_be_put_back(
    small: Connection, database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A key, which nobody may read beside for a moment. It is told who reads, and waited for till he ends."""
    before = corpus.dump(small)
    drop_all(small)
    finish = Restoration._finish_indexes

    def told() -> bool:
        return f"waiting for a lock held by process {holder.info.backend_pid} " in caplog.text

    with psycopg.connect(database) as holder, ThreadPoolExecutor(2) as threads:

        def finish_beside(restoration: Restoration, indexes: Any) -> None:
            holder.execute("SELECT count(*) FROM things")
            finish(restoration, indexes)

        monkeypatch.setattr(Restoration, "_finish_indexes", finish_beside)
        found = threads.submit(restore_all, small)
        telling: Future[None] = Future()
        reading = threads.submit(reads_beside, telling, database)
        until = time.monotonic() + 30
        while not told() and not found.done() and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.3)
        telling.set_result(None)
        assert reading.result() >= 2
        assert told()
        assert not found.done()
        holder.rollback()
        assert found.result(timeout=60)
    assert corpus.dump(small) == before


@pytest.mark.usefixtures("hasty")
def test_what_cannot_be_put_back_for_a_lock_says_who_holds_it(
    small: Connection, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is put back the next time."""
    monkeypatch.setattr(locks, "_ATTEMPTS_TO_RESTORE", 2)
    before = corpus.dump(small)
    drop_all(small)
    prepare = Restoration.restore_foreign_keys
    with psycopg.connect(database) as holder:

        def read(restoration: Restoration) -> None:
            if restoration._foreign_keys:
                holder.execute("LOCK TABLE things IN ROW EXCLUSIVE MODE")
            prepare(restoration)

        monkeypatch.setattr(Restoration, "restore_foreign_keys", read)
        said = rf"foreign key .*: held by process {holder.info.backend_pid} .* on .*things; run it again when they"
        with pytest.raises(RestoreError, match=said):
            restore_all(small)
        monkeypatch.undo()
        holder.rollback()
    restore_all(small)
    assert corpus.dump(small) == before


def test_a_crew_that_is_stopped_ends_what_is_between_two_statements(database: str) -> None:
    """As a task that waits for a lock with pauses: an interrupt does not wait until it is over."""
    begun, ends = Barrier(2, timeout=30), list[str]()

    def work(connection: Connection) -> None:
        begun.wait()
        time.sleep(0.3)
        try:
            connection.execute("SELECT pg_sleep(60)")
            ends.append("slept")
        except psycopg.errors.QueryCanceled:
            ends.append("canceled")

    with pytest.raises(KeyboardInterrupt), crew(database, 1, lambda _connection: None) as builders:
        builders.submit("sleep", work)
        begun.wait()
        raise KeyboardInterrupt
    assert ends == ["canceled"]


def test_two_loads_in_crosswise_order_do_not_lock_each_other_out(small: Connection, database: str) -> None:
    """Locks are taken in one order, whatever the plans say: both loads end, one after the other."""
    small.execute("CREATE TABLE one (n int UNIQUE); CREATE TABLE two (n int UNIQUE)")
    tables = [Table(name, Numbers, ("n",)) for name in ("one", "two")]
    barrier = Barrier(2, timeout=2)

    def load(order: list[Table[Numbers]]) -> None:
        with connect(database) as connection:
            for n in range(5):
                with suppress(BrokenBarrierError):
                    barrier.wait()
                with start(connection, Plan(*order), clear=True, drops=EVERYTHING) as sink:
                    for table in order:
                        sink.add(table, Numbers(n=n))

    with ThreadPoolExecutor(2) as threads:
        for each in [threads.submit(load, tables), threads.submit(load, tables[::-1])]:
            each.result(timeout=60)
    assert small.execute("SELECT (SELECT array_agg(n) FROM one), (SELECT array_agg(n) FROM two)").fetchone() == (
        [4],
        [4],
    )


# ------------------------------------------------------------------------------------------------------------- rights


def test_a_role_that_may_not_create_the_ledger_is_told_so(small: Connection, database: str) -> None:
    """It owns the tables, and nothing is changed; with the ledger there, it is told what it may not write to."""
    with role(small, "GRANT CREATE ON SCHEMA public TO {role}") as name:
        small.execute(f"ALTER TABLE things OWNER TO {name}; ALTER TABLE kinds OWNER TO {name}".encode())
        before = corpus.dump(small)
        with as_role(database, name) as weak:
            with pytest.raises(
                ServerError, match=r"the schema bulkload needs the right CREATE on the database.*denied"
            ):
                drop_all(weak)
            assert corpus.dump(small) == before
            ledger.ensure(small)
            with pytest.raises(ServerError, match=r"writing to the ledger: permission denied for table .*Rights"):
                drop_all(weak)
            assert corpus.dump(small) == before
            assert away(weak) == []
            for right in LEDGER_RIGHTS:
                small.execute(right.replace("{role}", name).encode())
            assert {each.table_name for each in drop_all(weak)} == {"things", "kinds"}
            restore_all(weak)
            assert corpus.dump(small) == before
        small.execute("ALTER TABLE things OWNER TO CURRENT_USER; ALTER TABLE kinds OWNER TO CURRENT_USER")


def test_an_owner_who_may_create_nothing_in_the_schema_keeps_the_indexes(small: Connection, database: str) -> None:
    """They could not be made again: neither by hand nor at the end of a load. Foreign keys can."""
    ledger.ensure(small)
    small.execute("ALTER TABLE things ALTER COLUMN id SET DEFAULT 1; REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    with role(small, *LEDGER_RIGHTS) as name:
        small.execute(f"ALTER TABLE things OWNER TO {name}; ALTER TABLE kinds OWNER TO {name}".encode())
        before = corpus.dump(small)
        with as_role(database, name) as weak:
            tables = relations_named(weak, "public", ["things"])
            choice = drop_by_hand(weak, tables, foreign_keys=True, keys=True)
            assert [each.name for each in choice.dropped] == ["of_kind"]
            assert {each.reason for each in choice.kept} == {"this role may create nothing in the schema public"}
            restore_by_hand(weak, tables)
            assert corpus.dump(small) == before
            with start(weak, PLAN, clear=True, drops=EVERYTHING) as sink:
                sink.add(THINGS, Thing(1, "a"))
        assert corpus.dump(small) == before
        small.execute("ALTER TABLE things OWNER TO CURRENT_USER; ALTER TABLE kinds OWNER TO CURRENT_USER")


def test_a_role_that_owns_no_table_drops_nothing_and_loads_beside_the_ledger(small: Connection, database: str) -> None:
    """Each object is kept with the reason; that there is a ledger which it may not write keeps it from nothing."""
    small.execute("ALTER TABLE things ALTER COLUMN id SET DEFAULT 1")
    ledger.ensure(small)
    rights = "GRANT SELECT, INSERT, TRUNCATE ON ALL TABLES IN SCHEMA public TO {role}"
    before = corpus.dump(small)
    with role(small, rights, *LEDGER_RIGHTS) as name, as_role(database, name) as weak:
        choice = drop_by_hand(weak, corpus.tables(weak), foreign_keys=True, keys=True)
        assert choice.dropped == ()
        assert {each.reason for each in choice.kept} == {
            "one of its tables belongs to another role",
            "its table belongs to another role",
        }
    with role(small, rights) as name, as_role(database, name) as weak:
        with start(weak, PLAN, clear=True, drops=EVERYTHING) as sink:
            sink.add(THINGS, Thing(1, "a"))
        assert [entry.name for entry in ledger.outstanding(weak)] == []
    assert corpus.dump(small) == before
    assert small.execute("SELECT name FROM things").fetchall() == [("a",)]


def test_one_connection_is_not_enough_to_restore_and_that_is_said(
    small: Connection, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role that may have no more of them; what is away stays in the ledger, and comes back when it may."""
    monkeypatch.setattr(ConnectionPool, "connection", partialmethod(ConnectionPool.connection, timeout=0.5))
    before = corpus.picture(small)
    with role(small) as name:
        small.execute(
            f"ALTER TABLE things OWNER TO {name}; GRANT CREATE ON SCHEMA public TO {name};"
            f"GRANT CREATE ON DATABASE {servers.name_of(database)} TO {name}".encode()
        )
        conninfo = make_conninfo(database, user=name)
        try:
            weak = connect(conninfo)
        except ConnectError:
            pytest.skip("the server lets no role in without a password")
        with weak:
            drop_by_hand(weak, corpus.tables(weak), foreign_keys=False, keys=False)
            small.execute(f"ALTER ROLE {name} CONNECTION LIMIT 1".encode())
            with pytest.raises(ServerError, match="opening one more connection: "):
                restore_all(weak)
            assert away(weak) == ["things_name", "things_unique"]
            small.execute(f"ALTER ROLE {name} CONNECTION LIMIT 3".encode())
            restore_all(weak)
        small.execute(f"ALTER TABLE things OWNER TO {small.info.user}".encode())
        assert corpus.picture(small) == before
