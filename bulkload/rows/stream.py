"""Encoded rows to the server: by COPY, or by INSERT where COPY is not to be used."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Generic, Protocol, TypeVar

from psycopg import sql
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

from bulkload import statements
from bulkload.encoding.encode import Encoder
from bulkload.encoding.fields import array_type
from bulkload.errors import SchemaError, SourceError
from bulkload.server import catalog
from bulkload.server.catalog import Target
from bulkload.server.connection import Connection, refused

P = TypeVar("P")

_SQL = statements.load("load")

# https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format": signature, flags, length of the extension.
_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
_TRAILER = struct.pack("!h", -1)

_KEEPS_END_MARKS = 180_000
"""The first version of the server that takes a line `\\.` in CSV for a value."""
_END_MARK = re.compile(rb"[\r\n]\\\.[\r\n]")

# Rows of copy_rows that are encoded by one call, in blocks as the encoder packs them.
_BLOCK_ROWS = 2000


class Array(bytes):
    """A parameter that is encoded already: an array in binary form, its type given by a cast in the statement."""


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Array) -> Buffer:
        return obj


class Source:
    """Rows as one array a column, joined into rows by `unnest`: `{source}` of the statements in sql/load.sql."""

    def __init__(self, encoder: Encoder, *, place: bool = False) -> None:
        self.names = [sql.Identifier(column.name) for column in encoder.columns]
        arrays = [sql.SQL("{}::{}").format(sql.Placeholder(), _type(array_type(c))) for c in encoder.columns]
        names = [*self.names, sql.Identifier("place")] if place else self.names
        self.relation = sql.SQL("unnest({}){} AS source({})").format(
            sql.SQL(", ").join(arrays),
            sql.SQL(" WITH ORDINALITY" if place else ""),
            sql.SQL(", ").join(names),
        )
        self.values = [
            sql.SQL("source.{}::{}").format(name, _type(column.type.name))
            for name, column in zip(self.names, encoder.columns, strict=True)
        ]


def _type(name: str) -> sql.SQL:
    # The type's name comes from format_type, which quotes what must be quoted.
    return sql.SQL(name)  # pyright: ignore[reportArgumentType]


class Writer(Protocol, Generic[P]):
    """Encodes rows of a table into a payload of its own kind, and sends that."""

    def encode(self, encoder: Encoder, values: Sequence[Sequence[object]]) -> P: ...

    def send(self, connection: Connection, target: Target, encoder: Encoder, payload: P) -> int:
        """Returns the server's own count of rows."""
        ...


class CopyWriter(Writer[bytes]):
    """Rows by COPY in the binary format; frozen, in a table of which `frozen` says so."""

    def __init__(self, frozen: Callable[[Target], bool] = lambda _target: False) -> None:
        self._frozen = frozen

    def encode(self, encoder: Encoder, values: Sequence[Sequence[object]]) -> bytes:
        return encoder.rows(values)

    def send(self, connection: Connection, target: Target, encoder: Encoder, payload: bytes) -> int:
        return _copy(connection, target, encoder, [payload], frozen=self._frozen(target))


class InsertWriter(Writer[list[bytes]]):
    """Rows by INSERT … SELECT FROM unnest(…): one parameter a column, however many rows."""

    def encode(self, encoder: Encoder, values: Sequence[Sequence[object]]) -> list[bytes]:
        return encoder.arrays(values)

    def send(self, connection: Connection, target: Target, encoder: Encoder, payload: list[bytes]) -> int:
        source = Source(encoder)
        statement = _SQL["insert_rows"].format(
            target=target.identifier,
            columns=sql.SQL(", ").join(source.names),
            values=sql.SQL(", ").join(source.values),
            source=source.relation,
        )
        with refused(f"INSERT into {target}", target.name):
            return connection.execute(statement, parameters(payload)).rowcount


def parameters(arrays: Iterable[bytes]) -> list[Array]:
    """Encoded arrays as parameters of a statement."""
    return [Array(array) for array in arrays]


def adapt(connection: Connection) -> None:
    """Teach a connection to send `Array` as it is."""
    connection.adapters.register_dumper(Array, _ArrayDumper)


def _copy(
    connection: Connection, target: Target, encoder: Encoder, blocks: Iterable[bytes], *, frozen: bool = False
) -> int:
    statement = _SQL["copy_frozen" if frozen else "copy"].format(
        target=target.identifier,
        columns=sql.SQL(", ").join(sql.Identifier(column.name) for column in encoder.columns),
    )
    with refused(f"COPY into {target}", target.name):
        return copy_encoded(connection, statement, blocks)


def copy_encoded(connection: Connection, statement: sql.Composed, blocks: Iterable[bytes]) -> int:
    """COPY rows that are encoded, a block at a time; returns the server's own count of them."""
    with connection.cursor() as cursor:
        with cursor.copy(statement) as copy:
            copy.write(_HEADER)
            for block in blocks:
                copy.write(block)
            copy.write(_TRAILER)
        return cursor.rowcount


def copy_rows(
    connection: Connection,
    table: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    schema: str = "public",
) -> int:
    """COPY rows into one table: the floor that everything else stands on, for rows that need no ids.

    Each row is a sequence of values for `columns`, in that order. They are encoded for the types that the server's
    catalog names, a block at a time, so an iterator of any length does. Returns the number of rows.

    Raises SchemaError where the table or a column is missing, FitError for a value that does not fit its column (its
    `row` counts from 0), ServerError for what the server refuses. The caller's transaction is left to the caller.
    """
    with refused(f"reading the catalog about {table}"):
        target = catalog.describe_table(connection, table, schema)
    missing = [name for name in columns if name not in target.columns]
    if missing:
        raise SchemaError(f"{target} has no column {', '.join(missing)}")
    encoder = Encoder(target.name, [target.columns[name] for name in columns])
    return _copy(connection, target, encoder, _blocks(encoder, iter(rows)))


def copy_csv(
    connection: Connection, target: Target, columns: Sequence[str], blocks: Iterable[bytes], *, header: bool, name: str
) -> int:
    """COPY text in CSV, a block at a time, `header` saying that its first line is one; returns the number of rows.

    `name` is what messages call it. Raises ServerError.
    """
    statement = _SQL["copy_csv"].format(
        target=target.identifier,
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
        header=sql.SQL("true" if header else "false"),
    )
    if connection.info.server_version < _KEEPS_END_MARKS:
        blocks = without_end_marks(blocks, name)
    with refused(f"{name}: COPY into {target}", target.name), connection.cursor() as cursor:
        with cursor.copy(statement) as copy:
            for block in blocks:
                copy.write(block)
        return cursor.rowcount


def without_end_marks(blocks: Iterable[bytes], name: str) -> Iterator[bytes]:
    r"""The blocks. Raises SourceError at a line that is `\.`, which ends the data for servers before PostgreSQL 18.

    They pass over what is behind it, without a word. (https://www.postgresql.org/docs/17/sql-copy.html, "CSV Format")
    """
    seen = b"\n"
    for block in blocks:
        seen = seen[-3:] + block
        if _END_MARK.search(seen):
            break
        yield block
    if _END_MARK.search(seen + b"\n"):
        raise SourceError(f"{name}: a line that is \\. would end the data for this server; put it in quotes")


def _blocks(encoder: Encoder, rows: Iterable[Sequence[object]]) -> Iterable[bytes]:
    iterator, done = iter(rows), 0
    while block := list(islice(iterator, _BLOCK_ROWS)):
        yield encoder.rows(list(zip(*block, strict=True)), first_row=done)
        done += len(block)
