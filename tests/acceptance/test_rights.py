"""The least rights: a role that owns what it made needs no more, another exactly the grants that README lists."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.acceptance.test_commands import Site, all_files, complaint, content, name_of, rows, snapshot

ROLE = f"acceptance_loader_{os.getpid()}"
GRANTS = {
    "CONNECT": "GRANT CONNECT ON DATABASE {database} TO {role}",
    "USAGE": "GRANT USAGE ON SCHEMA public TO {role}",
    "SELECT": "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
    "INSERT": "GRANT INSERT ON ALL TABLES IN SCHEMA public TO {role}",
    "UPDATE": "GRANT UPDATE ON ALL TABLES IN SCHEMA public TO {role}",
    "DELETE": "GRANT DELETE ON ALL TABLES IN SCHEMA public TO {role}",
    "SEQUENCE": "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}",
    "TRUNCATE": "GRANT TRUNCATE ON ALL TABLES IN SCHEMA public TO {role}",
    "VIEW": "ALTER MATERIALIZED VIEW symbiant_items OWNER TO {role}",
    "LEDGER": "GRANT CREATE ON DATABASE {database} TO {role}",
}
STANDARD, OPTIMIZED = (), ("--optimized",)
CLEAR, OPTIMIZED_CLEAR = ("--clear",), ("--optimized", "--clear")
ULTRA = ("--optimized", "--ultra", "--clear", "--yes")
# What is said where a grant is missing, and the imports that need it.
MISSING: dict[str, tuple[str, Sequence[Sequence[str]]]] = {
    "CONNECT": ("does not have CONNECT privilege", [STANDARD]),
    "USAGE": ("permission denied for schema public", [CLEAR, OPTIMIZED]),
    "SELECT": ("GRANT SELECT ON public.action_criteria, ", [STANDARD, OPTIMIZED]),
    "INSERT": ("GRANT INSERT ON public.action_criteria, ", [CLEAR, OPTIMIZED, ULTRA]),
    "UPDATE": ("GRANT UPDATE ON public.items, public.mobs, public.perks, public.sources TO ", [STANDARD, OPTIMIZED]),
    "DELETE": ("GRANT DELETE ON public.action_criteria, ", [STANDARD, OPTIMIZED]),
    "SEQUENCE": ("GRANT USAGE ON SEQUENCE public.actions_id_seq, ", [CLEAR, OPTIMIZED, ULTRA]),
    "TRUNCATE": ("GRANT TRUNCATE ON public.action_criteria, ", [CLEAR, OPTIMIZED_CLEAR, ULTRA]),
    "VIEW": ("the materialized view public.symbiant_items belongs to ", [STANDARD, OPTIMIZED, ULTRA]),
    "LEDGER": ("the schema bulkload needs the right CREATE on the database", [ULTRA]),
}


def execute(conninfo: str, statement: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(statement.encode())


def objects(conninfo: str) -> list[tuple[object, ...]]:
    """Tables, indexes, sequences and constraints of the schema `mine`."""
    return rows(
        conninfo,
        "SELECT relname, relkind::text FROM pg_class WHERE relnamespace = 'mine'::regnamespace "
        "UNION ALL SELECT conname, contype::text FROM pg_constraint WHERE connamespace = 'mine'::regnamespace "
        "ORDER BY 1, 2",
    )


@pytest.fixture
def loader(filled: str) -> Iterator[str]:
    """A role that may do nothing in the database with the small set; how to connect as it."""
    database = name_of(filled)
    execute(filled, f"DROP SCHEMA bulkload CASCADE; REVOKE ALL ON DATABASE {database} FROM PUBLIC")
    execute(filled, f"REVOKE ALL ON SCHEMA public FROM PUBLIC; CREATE ROLE {ROLE} LOGIN")
    try:
        yield make_conninfo(filled, user=ROLE)
    finally:
        # What it made or was given is others' now, so that the database can be looked at to the end.
        execute(filled, f"REASSIGN OWNED BY {ROLE} TO CURRENT_USER; DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")


def grant(conninfo: str, but: str = "") -> None:
    for name, statement in GRANTS.items():
        if name != but:
            execute(conninfo, statement.format(database=name_of(conninfo), role=ROLE))


@pytest.mark.parametrize("mode", [STANDARD, OPTIMIZED, CLEAR, OPTIMIZED_CLEAR, ULTRA], ids=" ".join)
def test_the_grants_are_enough(site: Site, filled: str, loader: str, small: Path, mode: Sequence[str]) -> None:
    """Of a role that owns none of the tables, in every mode; the rows are those of anybody's import."""
    grant(filled)
    before = content(filled)
    done = site.run("import-all", "-q", "--dsn", loader, *mode, *all_files(small))
    assert (done.code, done.err) == (0, "")
    assert content(filled) == before


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_grant_is_told_before_anything_is_changed(
    site: Site, filled: str, loader: str, small: Path, name: str
) -> None:
    """In one line that names the right and the object; nothing is emptied for it."""
    grant(filled, but=name)
    words, modes = MISSING[name]
    before = snapshot(filled)
    for mode in modes:
        done = site.run("import-all", "-q", "--dsn", loader, *mode, *all_files(small))
        assert done.code == 1
        message = complaint(done)
        assert words in message
        after = snapshot(filled)
        # The line that says of the load that it failed is in a ledger of its own making.
        ledger = {"bulkload.dropped", "bulkload.chunks", "bulkload.fingerprints", "objects", "schemas", "constraints"}
        assert {key: value for key, value in after.items() if key not in ledger} == {
            key: value for key, value in before.items() if key not in ledger
        }


def test_a_plain_owner_needs_no_superuser(site: Site, empty: str, small: Path) -> None:
    """It creates the schema, imports in every mode, drops indexes and restores them, recovers, and asks for status."""
    database = name_of(empty)
    execute(empty, f"CREATE ROLE {ROLE} LOGIN; GRANT CREATE ON DATABASE {database} TO {ROLE}")
    try:
        dsn = make_conninfo(empty, user=ROLE)
        there = ("--dsn", dsn, "--schema", "mine")
        assert site.run("create-schema", *there).code == 0
        definitions = objects(empty)
        contents: list[object] = []
        for mode in (STANDARD, OPTIMIZED, CLEAR, OPTIMIZED_CLEAR, ULTRA):
            done = site.run("import-all", "-q", *there, *mode, *all_files(small))
            assert (done.code, done.err) == (0, "")
            contents.append(content(empty, "mine"))
        assert all(each == contents[0] for each in contents)
        assert "items" in str(contents[0])
        assert objects(empty) == definitions
        assert "dropped: " in site.run("indexes", "drop", *there, "--foreign-keys", "--keys").out
        assert objects(empty) != definitions
        assert site.run("indexes", "restore", *there).code == 0
        assert objects(empty) == definitions
        assert "nothing is away" in site.run("recover", "--dsn", dsn).out
        assert "ultra" in site.run("status", "--dsn", dsn).out
    finally:
        execute(empty, f"DROP OWNED BY {ROLE} CASCADE; DROP ROLE {ROLE}")
