"""Indexes and constraints as values: what the catalog says of one, and the statements that drop it and bring it back.

What `pg_get_indexdef` and `pg_get_constraintdef` do not say is kept beside their text: comments, the CLUSTER mark, the
replica identity, statistics targets, the tablespace, and what an index of a partition is attached to. All of it is
plain data, so that it can lie in a ledger until another process, on another machine, brings the object back.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from enum import Enum
from typing import TypeAlias

import attrs
import msgspec
from psycopg import sql

from bulkload import statements
from bulkload.server.connection import Connection, Cursor, Step, pipelined, records, whole

SQL = statements.load("rebuild")


class Kind(Enum):
    """What an object is."""

    INDEX = "index"
    KEY = "key"
    """A primary key or unique constraint over a B-tree."""
    CONSTRAINT = "constraint"
    """An exclusion constraint, or a key WITHOUT OVERLAPS: its index cannot be built before it."""
    FOREIGN_KEY = "foreign key"
    LOGGED = "logged"
    """That a table is written to the log."""


@attrs.frozen
class Index:
    """An index, with its constraint where it has one. The fields are the columns of `indexes` in sql/rebuild.sql."""

    kind: Kind
    oid: int
    relation: int
    schema: str
    table_name: str
    name: str
    definition: str
    constraint_name: str
    constraint_definition: str
    is_primary: bool
    deferrable: bool
    deferred: bool
    method: str
    is_unique: bool
    valid: bool
    clustered: bool
    replica_identity: bool
    partitioned: bool
    tablespace: str
    tablespace_open: bool
    schema_open: bool
    storage: list[str] | None
    comment: str | None
    constraint_comment: str | None
    statistics: list[str]
    keys: list[str]
    predicate: str | None
    parent_schema: str
    parent_name: str
    owned: bool
    default_identity: bool
    published: bool
    of_extension: bool
    dependents: list[str]
    foreign_keys: list[int]

    @property
    def table(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.table_name)

    @property
    def index(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    @property
    def attached(self) -> bool:
        """Whether it is part of a partitioned table's index, with which it is dropped."""
        return bool(self.parent_name)

    @property
    def drop(self) -> sql.Composed:
        """The statement that takes it away, with what is attached to it."""
        if self.kind is Kind.INDEX:
            return SQL["drop_index"].format(index=self.index)
        return SQL["drop_constraint"].format(table=self.table, name=sql.Identifier(self.constraint_name))

    def build(self, *, concurrently: bool = False) -> sql.SQL | sql.Composed:
        """The statement that makes the index; a key's without the key, which is for `promote`."""
        name = sql.Identifier(self.constraint_name)
        if self.kind is not Kind.INDEX and (self.partitioned or self.kind is Kind.CONSTRAINT):
            block = "add_constraint_only" if self.partitioned else "add_constraint"
            definition = server_text(self.constraint_definition)
            return SQL[block].format(table=self.table, name=name, definition=definition)
        if concurrently and not self.partitioned:
            return server_text(re.sub(r"^(CREATE (?:UNIQUE )?INDEX) ", r"\1 CONCURRENTLY ", self.definition))
        return server_text(self.definition)

    @property
    def promote(self) -> sql.Composed | None:
        """The statement that makes a key of the index that was built; None where there is nothing to do."""
        if self.kind is not Kind.KEY or self.partitioned:
            return None
        deferral = "DEFERRABLE" if self.deferrable else ""
        if self.deferred:
            deferral += " INITIALLY DEFERRED"
        return SQL["promote_key"].format(
            table=self.table,
            name=sql.Identifier(self.constraint_name),
            kind=sql.SQL("PRIMARY KEY" if self.is_primary else "UNIQUE"),
            index=sql.Identifier(self.name),
            deferral=sql.SQL(deferral),
        )

    @property
    def attach(self) -> sql.Composed | None:
        """The statement that makes it part of the partitioned table's index; None where it was none."""
        if not self.attached:
            return None
        parent = sql.Identifier(self.parent_schema, self.parent_name)
        return SQL["attach_index"].format(parent=parent, index=self.index)

    @property
    def marks(self) -> list[sql.Composed]:
        """The statements that say of it what its definition does not."""
        found: list[sql.Composed] = []
        if self.comment is not None:
            found.append(SQL["comment_index"].format(index=self.index, comment=sql.Literal(self.comment)))
        if self.constraint_comment is not None:
            found.append(_comment_constraint(self.table, self.constraint_name, self.constraint_comment))
        if self.clustered:
            found.append(SQL["cluster_on"].format(table=self.table, index=sql.Identifier(self.name)))
        if self.replica_identity:
            found.append(SQL["replica_identity"].format(table=self.table, index=sql.Identifier(self.name)))
        for each in self.statistics:
            column, target = map(sql.Literal, map(int, each.split()))
            found.append(SQL["set_statistics"].format(index=self.index, column=column, target=target))
        return found

    def same(self, other: Index) -> bool:
        """Whether the other is this index as it was built, whatever else is said of it."""
        return self.definition == other.definition and self.method == other.method

    def __str__(self) -> str:
        return f"{self.kind.value} {self.schema}.{self.name}"


@attrs.frozen
class ForeignKey:
    """A foreign key. The fields are the columns of `foreign_keys` in sql/rebuild.sql."""

    oid: int
    relation: int
    referenced: int
    schema: str
    table_name: str
    name: str
    definition: str
    valid: bool
    comment: str | None
    partitioned: bool
    referenced_schema: str
    referenced_table: str
    keys: list[str]
    referenced_keys: list[str]
    owned: bool
    of_extension: bool
    switched_off: bool
    partitions_differ: bool
    several_keys: bool

    kind = Kind.FOREIGN_KEY

    @property
    def table(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.table_name)

    @property
    def drop(self) -> sql.Composed:
        """The statement that takes it away."""
        return SQL["drop_constraint"].format(table=self.table, name=sql.Identifier(self.name))

    @property
    def temporal(self) -> bool:
        """Whether periods are to be covered, and not values found."""
        return " PERIOD " in self.definition

    def add(self, *, unchecked: bool = False) -> sql.Composed:
        """The statement that brings it back; `unchecked` leaves the rows that are there to `validate`."""
        # PostgreSQL 18 validates a temporal key by overlaps: a period that is covered in part would pass.
        later = unchecked and self.valid and not self.partitioned and not self.temporal
        block = "add_foreign_key_unchecked" if later else "add_constraint"
        definition = server_text(self.definition)
        return SQL[block].format(table=self.table, name=sql.Identifier(self.name), definition=definition)

    @property
    def validate(self) -> sql.Composed:
        """The statement that checks the rows that are there."""
        return SQL["validate_foreign_key"].format(table=self.table, name=sql.Identifier(self.name))

    @property
    def marks(self) -> list[sql.Composed]:
        """The statements that say of it what its definition does not."""
        return [] if self.comment is None else [_comment_constraint(self.table, self.name, self.comment)]

    def same(self, other: ForeignKey) -> bool:
        """Whether the other is this foreign key, checked or not."""
        return self.definition.removesuffix(" NOT VALID") == other.definition.removesuffix(" NOT VALID")

    def __str__(self) -> str:
        return f"foreign key {self.name} of {self.schema}.{self.table_name}"


@attrs.frozen
class Logged:
    """A table that was written to the log, before it was made UNLOGGED."""

    relation: int
    schema: str
    table_name: str

    kind = Kind.LOGGED
    name = "LOGGED"

    @property
    def table(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.table_name)

    @property
    def drop(self) -> sql.Composed:
        """The statement that leaves the table out of the log."""
        return SQL["set_unlogged"].format(table=self.table)

    @property
    def restore(self) -> sql.Composed:
        """The statement that writes it to the log."""
        return SQL["set_logged"].format(table=self.table)

    def __str__(self) -> str:
        return f"logged state of {self.schema}.{self.table_name}"


Object: TypeAlias = Index | ForeignKey | Logged
"""What can be taken away from a table and put back."""


@attrs.frozen
class Survey:
    """The indexes and foreign keys of some tables and their partitions."""

    relations: tuple[int, ...]
    indexes: tuple[Index, ...]
    foreign_keys: tuple[ForeignKey, ...]


def survey(connection: Connection, relations: Sequence[int]) -> Survey:
    """What these tables have, read with plain names in force (see `rebuild.plain_names`). Raises ServerError."""
    doing = "reading indexes and constraints"
    settings, members = pipelined(connection, [Step(doing, SQL["read_settings"].text), reading_family(relations)])
    everything = oids(members)
    path, tablespace = settings.fetchone() or ("", "")
    parameters = {"relations": list(everything)}
    _, indexes, foreign_keys, _ = whole(
        connection,
        [
            Step(doing, SQL["local_settings"].text, {"path": "pg_catalog", "tablespace": ""}),
            Step(doing, SQL["indexes"].text, parameters),
            Step(doing, SQL["foreign_keys"].text, parameters),
            Step(doing, SQL["local_settings"].text, {"path": path, "tablespace": tablespace}),
        ],
    )
    return Survey(
        everything,
        tuple(msgspec.convert(row, Index) for row in records(indexes)),
        tuple(msgspec.convert(row, ForeignKey) for row in records(foreign_keys)),
    )


def family(connection: Connection, relations: Collection[int]) -> tuple[int, ...]:
    """These tables and all their partitions."""
    (members,) = pipelined(connection, [reading_family(relations)])
    return oids(members)


def reading_family(relations: Collection[int]) -> Step:
    """The step that asks for these tables and all their partitions."""
    return Step("reading the catalog", SQL["family"].text, {"relations": list(relations)})


def oids(members: Cursor) -> tuple[int, ...]:
    """The tables that `reading_family` asked for."""
    return tuple(sorted(int(str(oid)) for (oid,) in members.fetchall()))


def facts(connection: Connection, relations: Sequence[int]) -> dict[str, str]:
    """All that a rebuild must leave as it was, by object; to be asked with `plain_names` in force."""
    rows = connection.execute(SQL["catalog"].text, {"relations": list(relations)}).fetchall()
    return {str(name): str(said) for name, said in rows}


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """What is not as it was, an object a line."""
    return [
        f"{name}: was {before.get(name, 'not there')!r}, is {after.get(name, 'not there')!r}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def to_json(each: Object) -> str:
    """The object as it lies in the ledger."""
    return msgspec.json.encode(each).decode()


def from_json(kind: str, text: str) -> Object:
    """The object of a line of the ledger."""
    match Kind(kind):
        case Kind.FOREIGN_KEY:
            return msgspec.json.decode(text, type=ForeignKey)
        case Kind.LOGGED:
            return msgspec.json.decode(text, type=Logged)
        case _:
            return msgspec.json.decode(text, type=Index)


def server_text(text: str) -> sql.SQL:
    """A statement, or a part of one, that the server itself wrote."""
    return sql.SQL(text)  # pyright: ignore[reportArgumentType] - it is the server's, not a user's


def _comment_constraint(table: sql.Identifier, name: str, comment: str) -> sql.Composed:
    return SQL["comment_constraint"].format(name=sql.Identifier(name), table=table, comment=sql.Literal(comment))
