"""Tables as values: what a row of each is made of, and what a conflict with an existing row means.

An `Entity` has an id of its own, which `Sink.add` returns; a `Table` holds rows that nobody refers to. Both are
compared by identity and never change; nothing in here talks to a server.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Generic, TypeVar, cast

import attrs

R = TypeVar("R")


@attrs.frozen
class Keep:
    """What exists stays: a row whose key is there already is not written, and its id is the existing row's."""

    on: tuple[str, ...]
    """The columns of the key."""


@attrs.frozen
class Update:
    """What exists is brought up to date: the row keeps its id, and is written only where a column differs."""

    on: tuple[str, ...]
    """The columns of the key; all others are set."""


@attrs.frozen
class Replace:
    """What exists is replaced whole: the row keeps its id, and all that belongs to it is deleted and written anew.

    What belongs to a row is what its mapping made beside it: rows of tables without a conflict rule that refer to it,
    and rows of entities without one that it, or those rows, refer to. Rows with a conflict rule have an identity of
    their own and stay.
    """

    on: tuple[str, ...]
    """The columns of the key."""


Conflict = Keep | Update | Replace


def _columns(value: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    return tuple(value)


@attrs.frozen(eq=False)
class Relation(Generic[R]):
    """What `Table` and `Entity` have in common."""

    name: str
    """The table's name, as it is stored (no quotes); the schema is given when a load starts."""
    record: type[R]
    """The class of its rows."""
    columns: tuple[str, ...] = attrs.field(converter=_columns)
    """The columns that the record fills, each named like its field; the id is not among them."""
    conflict: Conflict | None = attrs.field(default=None, kw_only=True)
    """What to do with a row whose key exists; None: every row is new."""
    seeded: bool = attrs.field(default=False, kw_only=True)
    """Whether the schema itself comes with rows in it, so that clearing must leave it alone."""

    @property
    def key(self) -> tuple[str, ...]:
        """The columns of the conflict rule; () where there is none."""
        return self.conflict.on if self.conflict is not None else ()

    def __str__(self) -> str:
        return self.name


@attrs.frozen(eq=False)
class Table(Relation[R]):
    """Rows that nobody refers to."""


@attrs.frozen(eq=False)
class Entity(Relation[R]):
    """Rows with an id, taken from the sequence that the id column draws from."""

    id_column: str = attrs.field(default="id", kw_only=True)
    """The column of the id."""


@attrs.frozen(eq=False)
class Lookup(Generic[R]):
    """A way to find the rows of an entity that are in the database: `sink.find(lookup, *values)`."""

    entity: Entity[R]
    on: tuple[str, ...] = attrs.field(converter=_columns)
    """The columns to find them by."""


Key = object
"""The value of a key: of its column where it has one, a tuple of them where it has several."""


def key_getter(columns: tuple[str, ...]) -> Callable[[object], Key]:
    """A function from a record to its key."""
    return cast(Callable[[object], Key], attrgetter(*columns))
