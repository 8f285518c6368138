"""Names and values that try to be SQL: they are names and values in every statement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg import sql

from bulkload import (
    Drop,
    Drops,
    Entity,
    Id,
    Input,
    Job,
    JsonRecords,
    Mode,
    Plan,
    Replace,
    Sink,
    Source,
    Table,
    record,
    run,
)

ServerConnection = psycopg.Connection[tuple[object, ...]]

SCHEMA = 's "q" %s {x}.y; DROP TABLE t; --'
# The longest that a name can be, in characters of two bytes.
OWNERS = "é" * 31
PARTS = "p'' \"%(ids)s\" {0} \\ \t/* "
ID = 'i "d" %s {target}; '
RULE = "r' %s {} \" ; --"
VALUE = "v'); DROP TABLE t; -- %s {x} \\ \" $$ \t é"


@record
class Owner:
    select: str


@record
class Part:
    order: Id[Owner]
    user: str


class Document(msgspec.Struct):
    select: str
    users: list[str]


OWNER = Entity(OWNERS, Owner, ("select",), conflict=Replace(on=("select",)), id_column=ID)
PART = Table(PARTS, Part, ("order", "user"))


def add(sink: Sink, document: Document) -> None:
    owner = sink.add(OWNER, Owner(document.select))
    for user in document.users:
        sink.add(PART, Part(owner, user))


JOB = Job("parts", Plan(OWNER, PART), JsonRecords(Document, key="select"), add, identity=OWNER)


@pytest.fixture
def parts(connection: ServerConnection) -> ServerConnection:
    """The tables, with keys, a foreign key and indexes of such names."""
    names: dict[str, Any] = {
        name: sql.Identifier(value)
        for name, value in {"s": SCHEMA, "id": ID, "rule": RULE, "key": f"k{RULE}", "refers": f"f{RULE}"}.items()
    }
    names |= {"owners": sql.Identifier(SCHEMA, OWNERS), "parts": sql.Identifier(SCHEMA, PARTS)}
    for statement in (
        "CREATE SCHEMA {s}",
        'CREATE TABLE {owners} ({id} serial CONSTRAINT {key} PRIMARY KEY, "select" text NOT NULL UNIQUE)',
        'CREATE TABLE {parts} ("order" int NOT NULL CONSTRAINT {refers} REFERENCES {owners}, "user" text)',
        'CREATE INDEX {rule} ON {parts} ("user") WHERE "user" <> \'%s {{}}\'',
    ):
        connection.execute(sql.SQL(statement).format(**names))
    return connection


def content(connection: ServerConnection) -> list[tuple[object, ...]]:
    query = sql.SQL('SELECT o."select", p."user" FROM {} o JOIN {} p ON p."order" = o.{} ORDER BY 1, 2')
    tables = sql.Identifier(SCHEMA, OWNERS), sql.Identifier(SCHEMA, PARTS)
    return connection.execute(query.format(*tables, sql.Identifier(ID))).fetchall()


def definitions(connection: ServerConnection) -> list[tuple[object, ...]]:
    query = (
        "SELECT c.relname, pg_get_indexdef(c.oid) FROM pg_class c WHERE relnamespace = quote_ident(%(s)s)::regnamespace"
        " AND relkind = 'i' UNION ALL SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = quote_ident(%(s)s)::regnamespace ORDER BY 1, 2"
    )
    return connection.execute(query, {"s": SCHEMA}).fetchall()


@pytest.mark.parametrize("mode", Mode)
def test_any_name_and_any_value(parts: ServerConnection, tmp_path: Path, mode: Mode) -> None:
    """They are loaded, found, replaced and dropped under those names, and are as they were."""
    before = definitions(parts)
    file = tmp_path / "n'a %s {me}.json"
    drops = None if mode is Mode.STANDARD else Drops(Drop.ALWAYS, Drop.ALWAYS, Drop.ALWAYS)
    documents = [{"select": f"{VALUE}{number}", "users": [VALUE, ""]} for number in range(5)]
    file.write_text(json.dumps(documents), encoding="utf-8")
    run(parts, [Input(JOB, Source(str(file)))], schema=SCHEMA, mode=mode, drops=drops, clear=True, chunk=2)
    assert content(parts) == [(f"{VALUE}{number}", user) for number in range(5) for user in ("", VALUE)]
    assert definitions(parts) == before
    file.write_text(json.dumps([{"select": f"{VALUE}3", "users": ["new"]}]), encoding="utf-8")
    again = Mode.OPTIMIZED if mode is Mode.ULTRA else mode
    run(parts, [Input(JOB, Source(str(file)))], schema=SCHEMA, mode=again)
    assert content(parts)[-3:] == [(f"{VALUE}3", "new"), (f"{VALUE}4", ""), (f"{VALUE}4", VALUE)]
    assert definitions(parts) == before
