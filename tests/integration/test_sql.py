"""Every statement in sql/ is one that the server understands."""

from __future__ import annotations

import re

import psycopg
import pytest
from psycopg import sql

from bulkload.statements import directory, load

# Stand-ins for what is filled in: a table of the items database, its columns, and a source of rows.
PLACES: dict[str, sql.Composable] = {
    "target": sql.SQL("items"),
    "targets": sql.SQL("items, actions"),
    "columns": sql.SQL("id, aoid"),
    "values": sql.SQL("source.id, source.aoid"),
    "source": sql.SQL("unnest(ARRAY[1], ARRAY[2]) WITH ORDINALITY AS source(id, aoid, place)"),
    "key": sql.SQL("id"),
    "id": sql.SQL("id"),
    "order": sql.SQL("source.id"),
    "on": sql.SQL("target.id = source.id"),
    "assignments": sql.SQL("aoid = source.aoid"),
    "before": sql.SQL("target.aoid"),
    "after": sql.SQL("source.aoid"),
    "column": sql.SQL("item_id"),
    "referring": sql.SQL("actions"),
    "limit": sql.SQL("1"),
    "schema": sql.SQL("public"),
    "table": sql.SQL("items"),
    "name": sql.SQL("items_pkey"),
    "definition": sql.SQL("PRIMARY KEY (id)"),
    "keys": sql.SQL("aoid"),
    "condition": sql.SQL("aoid IS NOT NULL"),
    "referenced": sql.SQL("actions"),
    "match": sql.SQL("parent.item_id = child.aoid"),
}
OTHER = {
    "match_keys": {"id": sql.SQL("target.id")},
    "match_and_lock_keys": {"id": sql.SQL("target.id"), "order": sql.SQL("target.id")},
    "referred_ids": {"column": sql.SQL("atkdef_id")},
    "unowned_ids": {"column": sql.SQL("atkdef_id")},
}
# Scripts and commands that PREPARE does not take; other tests run them.
NOT_PREPARED = {
    "tables", "indexes", "views", "refresh_views", "create_schema", "set_path", "lock_for_keys", "truncate", "analyze",
    "copy", "copy_csv", "copy_frozen", "drop_constraint", "drop_index", "add_constraint", "check_deferred",
    "lock_exclusive", "create_ledger", "add_constraint_only", "add_foreign_key_unchecked", "validate_foreign_key",
    "promote_key", "attach_index", "comment_index", "comment_constraint", "cluster_on", "replica_identity",
    "set_statistics", "set_unlogged", "set_logged", "async_commit", "sync_commit", "begin", "commit", "savepoint",
    "release", "undo", "next_savepoint", "back_to_savepoint", "no_statement_timeout", "create_fingerprints",
}  # fmt: skip

BLOCKS = [
    (str(file.relative_to(directory()).with_suffix("")), name)
    for file in sorted(directory().rglob("*.sql"))
    for name in load(str(file.relative_to(directory()).with_suffix("")))
    if name not in NOT_PREPARED
]


@pytest.mark.parametrize(("file", "name"), BLOCKS)
def test_a_statement_is_understood(gamedb_database: str, file: str, name: str) -> None:
    """PREPARE finds misspelt columns and wrong types without running anything."""
    block = load(file)[name]
    text = block.text
    if re.search(r"(?<!\{)\{[a-z]+\}", text):
        composed = block.format(**{**PLACES, **OTHER.get(name, {})}).as_string()
    else:
        composed = text
    # Parameters by name become $1, $2, …; a doubled percent sign is one.
    numbers: dict[str, str] = {}
    prepared = re.sub(
        r"%\((\w+)\)s", lambda match: numbers.setdefault(match[1], f"${len(numbers) + 1}"), composed
    ).replace("%%", "%")
    with psycopg.connect(gamedb_database) as connection:
        connection.execute(load("ledger")["create_ledger"].text)
        connection.execute(load("fingerprints")["create_fingerprints"].text)
        connection.execute(f"PREPARE statement AS {prepared}".encode())
