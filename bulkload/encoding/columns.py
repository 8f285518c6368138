"""What a column holds: the part of the catalog's word that an encoder needs.

Built from the catalog of a server (`bulkload.server.catalog`) or from the text of a CREATE TABLE (`of_ddl`), so that
values can be checked against a schema with no server at hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

VARHDRSZ = 4
"""What the catalog adds to the length of a varchar or char in atttypmod."""


@attrs.frozen
class ColumnType:
    """A type, its domain resolved, as PostgreSQL names it."""

    name: str
    """As in a CREATE TABLE: `character varying(128)`."""
    base: str
    """As in pg_type: `varchar`; `_int4` for an array."""
    oid: int
    modifier: int = -1
    """atttypmod: of a length, or of precision and scale; -1 for none."""
    labels: tuple[str, ...] | None = None
    """The labels of an enum."""
    element: ColumnType | None = None
    """The type of the elements, for an array."""

    @property
    def length(self) -> int | None:
        """The most characters that fit, for varchar and char."""
        bounded = self.base in ("varchar", "bpchar") and self.modifier >= VARHDRSZ
        return self.modifier - VARHDRSZ if bounded else None


@attrs.frozen
class Column:
    """A column of a table."""

    name: str
    type: ColumnType
    not_null: bool = False
    has_default: bool = False
    """Whether the server fills it where a row does not say: a default, an identity."""
    generated: bool = False
    """GENERATED ALWAYS AS (…) STORED: never written."""
    sequence: str | None = None
    """The sequence it draws from, quoted and qualified as the server says, ready for a cast to regclass."""


# The types whose oid is the same on every server: those of src/include/catalog/pg_type.dat.
_BUILT_IN: Mapping[str, tuple[str, int, int]] = {
    # as written: (pg_type name, oid, oid of its array)
    "boolean": ("bool", 16, 1000),
    "bytea": ("bytea", 17, 1001),
    "bigint": ("int8", 20, 1016),
    "smallint": ("int2", 21, 1005),
    "integer": ("int4", 23, 1007),
    "text": ("text", 25, 1009),
    "json": ("json", 114, 199),
    "real": ("float4", 700, 1021),
    "double precision": ("float8", 701, 1022),
    "character": ("bpchar", 1042, 1014),
    "character varying": ("varchar", 1043, 1015),
    "date": ("date", 1082, 1182),
    "timestamp": ("timestamp", 1114, 1115),
    "timestamptz": ("timestamptz", 1184, 1185),
    "numeric": ("numeric", 1700, 1231),
    "uuid": ("uuid", 2950, 2951),
    "jsonb": ("jsonb", 3802, 3807),
}
_ALIASES = {
    "int": "integer", "int4": "integer", "int2": "smallint", "int8": "bigint", "serial": "integer",
    "bigserial": "bigint", "smallserial": "smallint", "bool": "boolean", "varchar": "character varying",
    "char": "character", "float4": "real", "float8": "double precision", "decimal": "numeric",
    "timestamp with time zone": "timestamptz", "timestamp without time zone": "timestamp",
}  # fmt: skip


def type_of(text: str) -> ColumnType:
    """A built-in type from its SQL spelling, as in `varchar(128)` or `integer[]`. Raises ValueError for others."""
    match = re.fullmatch(r"([a-z][a-z0-9 ]*?)\s*(?:\((\d+)(?:\s*,\s*(\d+))?\))?(\[\])?", text.strip().lower())
    written = _ALIASES.get(match[1], match[1]) if match else ""
    if match is None or written not in _BUILT_IN:
        raise ValueError(f"{text!r} is not a built-in type that bulkload encodes")
    base, oid, array_oid = _BUILT_IN[written]
    modifier, suffix = -1, ""
    if match[2]:
        first, second = int(match[2]), int(match[3] or 0)
        modifier = (first << 16 | second) + VARHDRSZ if base == "numeric" else first + VARHDRSZ
        suffix = f"({first},{second})" if base == "numeric" else f"({first})"
    scalar = ColumnType(written + suffix, base, oid, modifier)
    if match[4] is None:
        return scalar
    return ColumnType(scalar.name + "[]", f"_{base}", array_oid, modifier, element=scalar)


_CREATE = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+) \((.*?)^\);", re.MULTILINE | re.DOTALL)
_COLUMN = re.compile(
    r"^\s+([a-z_]\w*)\s+(.+?)(?=\s+(?:NOT NULL|NULL|PRIMARY KEY|UNIQUE|DEFAULT|REFERENCES|CHECK|GENERATED)\b|,?\s*$)"
)
_CONSTRAINT = re.compile(r"^\s*(?:PRIMARY KEY|UNIQUE|FOREIGN KEY|CONSTRAINT|CHECK|EXCLUDE)\b")


def of_ddl(text: str) -> dict[str, dict[str, Column]]:
    """The columns of each table that a script creates, by table and name.

    Reads the plain style of hand-written schema files: unquoted names, a column a line. It knows the built-in types
    alone, and is for checking values without a server; a load always asks the server.
    """
    tables: dict[str, dict[str, Column]] = {}
    for create in _CREATE.finditer(re.sub(r"--[^\n]*", "", text)):
        columns: dict[str, Column] = {}
        for line in create[2].splitlines():
            column = None if _CONSTRAINT.match(line) else _COLUMN.match(line)
            if column is None:
                continue
            name, rest = column[1], line[column.end() :]
            serial = "serial" in column[2]
            columns[name] = Column(
                name,
                type_of(column[2]),
                not_null=serial or "NOT NULL" in rest or "PRIMARY KEY" in rest,
                has_default=serial or "DEFAULT" in rest,
            )
        for key in re.finditer(r"^\s*PRIMARY KEY \(([^)]*)\)", create[2], re.MULTILINE):
            for name in map(str.strip, key[1].split(",")):
                columns[name] = attrs.evolve(columns[name], not_null=True)
        tables[create[1]] = columns
    return tables
