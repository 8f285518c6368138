"""The commands about indexes, the ledger and recovery, as a user meets them: processes, and only their effects."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

PYTHON = os.environ.get("BULKLOAD_ACCEPTANCE_PYTHON", sys.executable)
PATIENCE = 120.0

SCHEMA = """
CREATE TABLE kinds (id int PRIMARY KEY, name text CONSTRAINT kinds_once UNIQUE);
CREATE TABLE "Odd things" (id int PRIMARY KEY, kind int CONSTRAINT of_kind REFERENCES kinds, name text);
CREATE INDEX things_name ON "Odd things" (name);
CREATE INDEX "things %s {x}" ON "Odd things" (lower(name)) WHERE name <> '%s';
COMMENT ON INDEX things_name IS 'told';
CREATE SCHEMA other;
CREATE TABLE other.days (day int CONSTRAINT days_once UNIQUE);
INSERT INTO kinds SELECT n, 'k' || n FROM generate_series(1, 5) AS n;
INSERT INTO "Odd things" SELECT n, 1 + n % 5, 'n' || n FROM generate_series(1, 500) AS n;
"""

CATALOG = """
SELECT indexdef, obj_description(format('%I.%I', schemaname, indexname)::regclass, 'pg_class') FROM pg_indexes
WHERE schemaname IN ('public', 'other')
UNION ALL
SELECT conname || ' ' || pg_get_constraintdef(oid), convalidated::text FROM pg_constraint
WHERE connamespace IN ('public'::regnamespace, 'other'::regnamespace) AND contype <> 'n'
ORDER BY 1
"""


class Done(NamedTuple):
    """What a command did that can be seen from outside."""

    code: int
    out: str
    err: str


def begin(database: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a command on the database."""
    kept = {name: value for name, value in os.environ.items() if name != "DATABASE_URL" and not name.startswith("PG")}
    return subprocess.Popen(
        [PYTHON, "-m", "bulkload", *arguments, "--dsn", database],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**kept, "COLUMNS": "120"},
        text=True,
    )


def end(process: subprocess.Popen[str]) -> Done:
    """Wait for its end. No command ever shows a traceback."""
    with process:
        out, err = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in out + err
    return Done(process.returncode, out, err)


def run(database: str, *arguments: str) -> Done:
    """Run a command to its end."""
    return end(begin(database, *arguments))


def ask(database: str, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    with psycopg.connect(database, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def things(database: str) -> str:
    """How to connect to a database with some tables."""
    ask(database, SCHEMA)
    return database


def away(database: str) -> list[str]:
    """The names that the ledger has."""
    return [name for (name,) in ask(database, "SELECT name FROM bulkload.dropped ORDER BY name")]


def test_indexes_are_listed_dropped_and_restored(things: str) -> None:
    """Each step says what it does and what is next; in the end all is as it was."""
    ask(things, "CREATE INDEX looks ON kinds (name) WHERE name ~ '[a-z]' AND name <> '[/x]'")
    before = ask(things, CATALOG)
    done = run(things, "indexes", "list")
    assert done.code == 0, done.err
    for name in ("kinds_once", "kinds_pkey", "things_name", "things %s {x}", "of_kind", "'[a-z]'", "'[/x]'"):
        assert name in done.out
    assert run(things, "status").code == 0

    done = run(things, "indexes", "drop", '"Odd things"', "--foreign-keys", "--keys")
    assert done.code == 0, done.err
    assert re.findall(r"(?m)^dropped: the (.*)$", done.out) == [
        "foreign key of_kind of public.Odd things",
        "key public.Odd things_pkey",
        "index public.things %s {x}",
        "index public.things_name",
    ]
    assert "put them back: python -m bulkload indexes restore" in done.out
    assert away(things) == ["Odd things_pkey", "of_kind", "things %s {x}", "things_name"]

    done = run(things, "status")
    assert done.code == 0, done.err
    assert "away: the index things_name of public.Odd things (load 1, " in done.out
    assert "put back what was dropped by hand: python -m bulkload indexes restore" in done.out
    done = run(things, "recover")
    assert done.code == 0, done.err
    assert done.out.count("left alone, since it was dropped by hand (see indexes restore)") == 4
    assert len(away(things)) == 4

    done = run(things, "indexes", "restore", "kinds")
    assert done.code == 0
    assert "nothing is away" in done.out
    done = run(things, "indexes", "restore")
    assert done.code == 0, done.err
    assert done.out.count("restored: the ") == 4
    assert "run the import again" not in done.out
    assert ask(things, CATALOG) == before
    assert away(things) == []


def test_tables_of_another_schema_are_named_as_in_sql(things: str) -> None:
    """By the schema's flag, or with the name; what does not exist, or is no name, is said."""
    before = ask(things, CATALOG)
    assert "dropped: the key other.days_once" in run(things, "indexes", "drop", "other.days", "--keys").out
    assert "restored: the key days_once of other.days" in run(things, "indexes", "restore", "--schema", "other").out
    assert ask(things, CATALOG) == before
    for table, reason in {
        "nothing": "there is no table public.nothing",
        "Odd": "there is no table public.odd",
        "a.b.c": "a.b.c is not the name of a table",
        '"': "reading the name",
    }.items():
        done = run(things, "indexes", "drop", table)
        assert done.code == 1
        assert reason in done.err
    assert ask(things, CATALOG) == before


def test_what_stays_is_told_with_the_reason(things: str) -> None:
    """Of the kinds that were asked for."""
    ask(things, "CREATE VIEW grouped AS SELECT id, name, count(*) FROM kinds GROUP BY id")
    done = run(things, "indexes", "drop", "kinds", "--keys")
    assert done.code == 0
    assert "kept: the key public.kinds_pkey: view public.grouped depends on it" in done.out
    assert "of_kind" not in re.sub("since|which.*", "", done.out)
    assert "dropped: the key public.kinds_once" in done.out


def test_rows_that_broke_a_key_meanwhile_give_exit_code_4(things: str) -> None:
    """They are named, all else is restored; when they are mended, the same command finishes."""
    before = ask(things, CATALOG)
    assert run(things, "indexes", "drop", "--foreign-keys", "--keys").code == 0
    ask(things, """INSERT INTO kinds VALUES (7, 'k1'); INSERT INTO "Odd things" VALUES (1000, 99, 'x')""")
    done = run(things, "indexes", "restore")
    assert done.code == 4
    assert "keys of several rows (name): k1 (2 rows)" in done.err
    assert "references that lead nowhere (kind): 99 (1 rows)" in done.err
    assert "mend the rows" in done.err
    assert away(things) == ["kinds_once", "of_kind"]
    ask(things, """DELETE FROM kinds WHERE id = 7; DELETE FROM "Odd things" WHERE id = 1000""")
    done = run(things, "indexes", "restore")
    assert done.code == 0, done.err
    assert ask(things, CATALOG) == before


def test_what_a_dead_load_left_is_recovered(things: str) -> None:
    """A dry run only tells; then it comes back, and the import that died is to be run again."""
    before = ask(things, CATALOG)
    assert run(things, "indexes", "drop", "--foreign-keys", "--keys").code == 0
    count = len(away(things))
    ask(things, "UPDATE bulkload.loads SET kind = 'load', state = 'running', ended = NULL")
    assert "put back what loads that died left away: python -m bulkload recover" in run(things, "status").out
    done = run(things, "recover", "--dry-run")
    assert done.code == 0
    assert done.out.count("would be restored: the ") == count
    assert len(away(things)) == count
    with psycopg.connect(things, autocommit=True) as living:
        living.execute("SELECT pg_advisory_lock(x'62756C6B'::int, 1)")
        for arguments in (("recover",), ("indexes", "restore")):
            done = run(things, *arguments)
            assert done.code == 0
            assert done.out.count("left alone, since load 1 (") == count
        assert len(away(things)) == count
    done = run(things, "recover")
    assert done.code == 0
    assert done.out.count("restored: the ") == count
    assert "load 1 left nothing away any more; to have its data whole, run the import again" in done.out
    assert ask(things, CATALOG) == before
    assert "nothing is away" in run(things, "recover").out


def test_two_restores_at_the_same_time_both_succeed(things: str) -> None:
    """Each object comes back once."""
    before = ask(things, CATALOG)
    ask(things, """INSERT INTO "Odd things" SELECT n, 1, 'n' || n FROM generate_series(501, 50000) AS n""")
    assert run(things, "indexes", "drop", "--foreign-keys", "--keys").code == 0
    count = len(away(things))
    both = [end(process) for process in [begin(things, "indexes", "restore") for _ in range(2)]]
    assert [done.code for done in both] == [0, 0], both
    assert sum(done.out.count("\nrestored: the ") for done in both) == count
    assert ask(things, CATALOG) == before


def test_a_role_without_rights_is_told_which(things: str) -> None:
    """And nothing is changed."""
    role = f"weak_{os.getpid()}"
    ask(things, f"CREATE ROLE {role}; ALTER TABLE kinds OWNER TO {role}; GRANT CREATE ON SCHEMA public TO {role}")
    try:
        before = ask(things, CATALOG)
        weak = make_conninfo(things, options=f"-crole={role}")
        done = run(weak, "indexes", "drop", "kinds", "--keys", "--foreign-keys")
        assert done.code == 1
        assert "the schema bulkload needs the right CREATE on the database" in done.err
        assert ask(things, CATALOG) == before
    finally:
        ask(things, f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")
