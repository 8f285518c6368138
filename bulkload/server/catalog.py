"""What the server says of the tables of a plan: asked once, when a load starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, cast

import attrs
from psycopg import sql
from psycopg.rows import class_row

from bulkload import statements
from bulkload.encoding.columns import Column, ColumnType
from bulkload.errors import SchemaError, ServerError
from bulkload.model.plan import AnyRelation
from bulkload.model.tables import Entity
from bulkload.server.connection import Connection, refused

_SQL = statements.load("catalog")
_SESSION = statements.load("session")
_LOAD = statements.load("load")

_GROWTH = 0.1
"""The share of a table's rows that must be new for its statistics to be gathered: autovacuum_analyze_scale_factor."""


@attrs.frozen
class Target:
    """A table of the plan as it is in the database."""

    oid: int
    schema: str
    name: str
    columns: Mapping[str, Column]
    unique_keys: frozenset[frozenset[str]]
    """The column sets that ON CONFLICT can name."""
    partitioned: bool

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


class TableName(NamedTuple):
    """A table in a schema, for a person to read."""

    schema: str
    name: str
    relation: int

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


@attrs.frozen
class _Row:
    relation: int
    table_name: str
    partitioned: bool
    name: str
    not_null: bool
    has_default: bool
    generated: bool
    type_name: str
    base: str
    type_oid: int
    typmod: int
    element_base: str | None
    element_oid: int | None
    element_name: str | None
    is_enum: bool
    labels: list[str]
    sequence: str | None

    def column(self) -> Column:
        labels = tuple(self.labels) if self.is_enum else None
        if self.element_base is None or self.element_oid is None:
            kind = ColumnType(self.type_name, self.base, self.type_oid, self.typmod, labels)
        else:
            element = ColumnType(self.element_name or "", self.element_base, self.element_oid, self.typmod, labels)
            kind = ColumnType(self.type_name, self.base, self.type_oid, self.typmod, None, element)
        return Column(self.name, kind, self.not_null, self.has_default, self.generated, self.sequence)


@attrs.frozen
class _UniqueKey:
    relation: int
    columns: list[str]


def describe(connection: Connection, relations: Iterable[AnyRelation], schema: str) -> dict[AnyRelation, Target]:
    """The tables of these relations in a schema, checked against what the relations say.

    Raises SchemaError, naming all that is missing: tables, columns, a sequence for an entity's id, a value for a
    column that is NOT NULL and has no default.
    """
    wanted = list(relations)
    found = _targets(connection, [relation.name for relation in wanted], schema)
    faults: list[str] = []
    for relation in wanted:
        if relation.name in found:
            faults += _faults(relation, found[relation.name])
        else:
            faults.append(f"there is no table {schema}.{relation.name}")
    if faults:
        raise SchemaError("; ".join(faults))
    return {relation: found[relation.name] for relation in wanted}


def parsed(connection: Connection, schema: str, name: str) -> tuple[str, str]:
    """The schema and the name of a table that is written as in SQL; `schema` where it names none.

    Raises SchemaError, and ServerError for what is no name.
    """
    with refused(f"reading the name {name}"):
        row = connection.execute(_SQL["parse_name"].text, {"name": name}).fetchone()
    parts = cast("list[str]", row[0]) if row is not None else []
    if len(parts) not in (1, 2):
        raise SchemaError(f"{name} is not the name of a table: write TABLE or SCHEMA.TABLE")
    return (parts[0], parts[1]) if len(parts) > 1 else (schema, parts[0])


def describe_table(connection: Connection, table: str, schema: str) -> Target:
    """One table. Raises SchemaError where there is none of that name."""
    found = _targets(connection, [table], schema)
    if table not in found:
        raise SchemaError(f"there is no table {schema}.{table}")
    return found[table]


def _targets(connection: Connection, tables: Sequence[str], schema: str) -> dict[str, Target]:
    columns: dict[str, dict[str, Column]] = {}
    oids: dict[str, int] = {}
    partitioned: set[str] = set()
    with connection.cursor(row_factory=class_row(_Row)) as cursor:
        for row in cursor.execute(_SQL["columns"].text, {"schema": schema, "tables": list(tables)}):
            columns.setdefault(row.table_name, {})[row.name] = row.column()
            oids[row.table_name] = row.relation
            if row.partitioned:
                partitioned.add(row.table_name)
    keys = _unique_keys(connection, list(oids.values()))
    return {
        table: Target(oid, schema, table, columns[table], frozenset(keys.get(oid, ())), table in partitioned)
        for table, oid in oids.items()
    }


def _faults(relation: AnyRelation, target: Target) -> Iterable[str]:
    written = set(relation.columns)
    if isinstance(relation, Entity):
        written.add(relation.id_column)
        id_column = target.columns.get(relation.id_column)
        if id_column is not None and id_column.sequence is None:
            yield f"{target}.{relation.id_column} draws from no sequence, which ids are taken from"
    for name in sorted(written):
        column = target.columns.get(name)
        if column is None:
            yield f"{target} has no column {name}"
        elif column.generated:
            yield f"{target}.{name} is a generated column, which cannot be written"
    for column in target.columns.values():
        if column.not_null and not column.has_default and not column.generated and column.name not in written:
            yield f"{target}.{column.name} is NOT NULL without a default, and the plan gives it no value"


def _unique_keys(connection: Connection, oids: Sequence[int]) -> dict[int, list[frozenset[str]]]:
    keys: dict[int, list[frozenset[str]]] = {}
    with connection.cursor(row_factory=class_row(_UniqueKey)) as cursor:
        for row in cursor.execute(_SQL["unique_keys"].text, {"relations": list(oids)}):
            keys.setdefault(row.relation, []).append(frozenset(row.columns))
    return keys


def existing_tables(connection: Connection, tables: Sequence[str], schema: str) -> set[str]:
    """Which of the tables named exist in the schema, whatever kind of relation they are."""
    parameters = {"schema": schema, "tables": list(tables)}
    rows = connection.execute(_SQL["existing_tables"].text, parameters).fetchall()
    return {str(name) for (name,) in rows}


def referring_tables(connection: Connection, targets: Iterable[Target]) -> list[TableName]:
    """These tables and all that refer to them by foreign keys, directly or through others, sorted by name."""
    oids = [target.oid for target in targets]
    with connection.cursor(row_factory=class_row(TableName)) as cursor:
        return cursor.execute(_SQL["referring_tables"].text, {"relations": oids}).fetchall()


def referring_keys(connection: Connection, tables: Iterable[TableName], referenced: Iterable[TableName]) -> list[str]:
    """How some tables refer to others, for a person to read."""
    parameters = {
        "relations": [table.relation for table in tables],
        "referenced": [table.relation for table in referenced],
    }
    return [str(text) for (text,) in connection.execute(_SQL["referring_keys"].text, parameters)]


def estimated_rows(connection: Connection, *targets: Target) -> list[int]:
    """The planner's estimate of each table's rows; -1 where it was never analyzed, and is not seen to be empty.

    Waits for nobody who has a table locked. Raises ServerError.
    """
    parameters = {"relations": [target.oid for target in targets]}
    rows = connection.execute(_SQL["estimate_rows"].text, parameters).fetchall()
    found = {oid: int(str(count)) for oid, count in rows}
    for target in targets:
        if target.oid not in found:
            raise ServerError(f"{target} is gone")
    return [found[target.oid] for target in targets]


def grown(connection: Connection, filled: Sequence[tuple[Target, int]]) -> list[Target]:
    """Those of the tables to which many rows came, for what they had. Raises psycopg.Error.

    As autovacuum has it, a few rows that come to many are no reason to gather statistics anew.
    """
    filled = [(target, new) for target, new in filled if new]
    believed = estimated_rows(connection, *(target for target, _ in filled))
    return [target for (target, new), old in zip(filled, believed, strict=True) if new > old * _GROWTH]


def analyze(connection: Connection, tables: Sequence[Target]) -> None:
    """Gather statistics of these tables for the planner. Raises ServerError."""
    if tables:
        targets = sql.SQL(", ").join(target.identifier for target in tables)
        with refused("ANALYZE"):
            connection.execute(_LOAD["analyze"].format(targets=targets))


def findings(connection: Connection, targets: Iterable[Target]) -> list[str]:
    """What about these tables may slow a load down, or change what it writes."""
    rows = connection.execute(_SQL["findings"].text, {"relations": [target.oid for target in targets]}).fetchall()
    return [str(text) for (text,) in rows]


@attrs.frozen
class Stakes:
    """What a load that is not atomic would risk on a server."""

    synchronous_commit: str
    fsync: str
    standbys: int
    others: int
    """Other sessions in the database."""
    free_connections: int


def stakes(connection: Connection) -> Stakes:
    """Asked before such a load."""
    with refused("reading the settings of the server"), connection.cursor(row_factory=class_row(Stakes)) as cursor:
        found = cursor.execute(_SESSION["stakes"].text).fetchone()
    if found is None:
        raise ServerError("the server says nothing of its settings")
    return found
