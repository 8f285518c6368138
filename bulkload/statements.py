"""Named SQL blocks, read from the `.sql` files where the statements of this package live.

A file holds blocks one after the other. A line `-- name --` opens a block, the comment lines below it say
what the statement is for, and the statement runs to the next such line:

    -- estimate_rows --
    -- Rows that the planner believes a table has; -1 where it was never analyzed.
    SELECT reltuples::bigint FROM pg_class WHERE oid = %(relation)s

Values are psycopg parameters (`%(relation)s`); identifiers are placeholders in braces (`{target}`) that
`Block.format` fills with `psycopg.sql` objects. No statement is put together from strings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import LiteralString, cast

import attrs
from psycopg import sql

_VALUE = re.compile(r"%[(sbt]")
_HEADING = re.compile(r"^-- ([a-z][a-z0-9_]*) --[ \t]*$", re.MULTILINE)


@attrs.frozen
class Block:
    """One named statement (or script) of a `.sql` file."""

    name: str
    """What the heading calls it."""
    text: LiteralString
    """The statement, its leading comment included, so that the server's log shows it too."""
    file: Path
    """Where it was read."""
    line: int
    """The line of its heading, from 1."""

    def format(self, **identifiers: sql.Composable) -> sql.Composed:
        """The statement with its `{placeholders}` filled in."""
        parts = list(_parts(sql.SQL(self.text).format(**identifiers)))
        # Not what the parts say, among them what a server wrote of its own names.
        if _VALUE.search(self.text) or any(isinstance(part, sql.Placeholder) for part in parts):
            parts = [_with_plain_percents(part) if isinstance(part, sql.Identifier) else part for part in parts]
        return sql.Composed(parts)

    def __str__(self) -> str:
        return f"{self.name} ({self.file.name}:{self.line})"


class Statements(Mapping[str, Block]):
    """The blocks of one `.sql` file, by name.

    >>> Statements(directory() / "catalog.sql")["relations"].name
    'relations'
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        text = file.read_text(encoding="utf-8")
        headings = list(_HEADING.finditer(text))
        ends = [heading.start() for heading in headings[1:]] + [len(text)]
        self._blocks: dict[str, Block] = {}
        for heading, end in zip(headings, ends, strict=True):
            name = heading[1]
            if name in self._blocks:
                raise ValueError(f"{file}: the block {name!r} is there twice")
            # The one place where text becomes LiteralString: it comes from a reviewed file of the package (or of
            # the program that embeds it), never from data.
            # (mypy takes every str for one; pyright does not.)
            statement = cast(LiteralString, text[heading.end() : end].strip())  # type: ignore[redundant-cast]
            self._blocks[name] = Block(name, statement, file, text.count("\n", 0, heading.start()) + 1)

    def __getitem__(self, name: str) -> Block:
        return self._blocks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._blocks)

    def __len__(self) -> int:
        return len(self._blocks)


def _parts(composed: sql.Composed) -> Iterator[sql.Composable]:
    for part in composed:
        if isinstance(part, sql.Composed):
            yield from _parts(part)
        else:
            yield part


def _with_plain_percents(name: sql.Identifier) -> sql.SQL:
    """A name in a statement that takes values, where the driver reads a single percent sign as the place of one."""
    text = cast(LiteralString, name.as_string().replace("%", "%%"))  # type: ignore[redundant-cast]
    return sql.SQL(text)


def directory() -> Path:
    """The folder of this package's own `.sql` files: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "sql"
    return inside if inside.is_dir() else package.parent / "sql"


@cache
def load(name: str) -> Statements:
    """The blocks of `sql/NAME.sql` of this package, read once; `name` may hold a folder (`gamedb/check`)."""
    return Statements(directory() / f"{name}.sql")
