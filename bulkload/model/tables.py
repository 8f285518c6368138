"""Tables as values: what a row of each is made of, and what a conflict with an existing row means.

An `Entity` has an id of its own, which `Sink.add` returns; a `Table` holds rows that nobody refers to. Both are
compared by identity and never change; nothing in here talks to a server.

They pickle by reference: what arrives in another process is the very object that its modules have made there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Generic, TypeVar, cast
from weakref import WeakValueDictionary

import attrs

from bulkload.errors import UsageError
from bulkload.model.records import column_of

R = TypeVar("R")


def _columns(value: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    return tuple(value)


@attrs.frozen
class Keep:
    """What exists stays: a row whose key is there already is not written, and its id is the existing row's."""

    on: tuple[str, ...] = attrs.field(converter=_columns)
    """The columns of the key."""


@attrs.frozen
class Update:
    """What exists is brought up to date: the row keeps its id, and is written only where a column differs."""

    on: tuple[str, ...] = attrs.field(converter=_columns)
    """The columns of the key."""
    insert_only: tuple[str, ...] = attrs.field(default=(), converter=_columns, kw_only=True)
    """Columns that a new row is given and an existing one keeps: when it was seen first, say. All others are set."""


@attrs.frozen
class Replace:
    """What exists is replaced whole: the row keeps its id, and all that belongs to it is deleted and written anew.

    What belongs to a row is what its mapping made beside it: rows of tables without a conflict rule that refer to it,
    and its parts, rows of entities without one that it, or those rows, refer to; to parts, rows belong in the same way.
    Rows with a conflict rule have an identity of their own and stay.

    A part stays that any other row of the plan's tables refers to, or that belongs to another row. So a row that refers
    to several belongs to those that are replaced, and not to their parts: that of a table `wear(item_id, part_id)` is
    the item's, and keeps the part when another item goes that had it, too. Where a table links parts with each other,
    its rows belong to those that items lead to without it; to the first of its columns where that is said of both.
    """

    on: tuple[str, ...] = attrs.field(converter=_columns)
    """The columns of the key."""


Conflict = Keep | Update | Replace

# What is compared by identity and alive in this process, by its class and values.
_living: WeakValueDictionary[object, _ByReference] = WeakValueDictionary()


class _ByReference:
    """Compared by identity, and pickled by values to what has them in the process that unpickles."""

    __slots__ = ()

    def __attrs_post_init__(self) -> None:
        _living.setdefault((type(self), *self._state().values()), self)

    def __reduce__(self) -> tuple[object, ...]:
        """Raises UsageError where another object has the same values: it could not be told which is meant."""
        state = self._state()
        if _living.get((type(self), *state.values())) is not self:
            raise UsageError(
                f"{self} is there twice with the same meaning; define it once, so that it can be sent to processes"
            )
        return _with_values, (type(self), state)

    def _state(self) -> Mapping[str, object]:
        return {field.name: getattr(self, field.name) for field in attrs.fields(cast(Any, type(self)))}


def _with_values(kind: type[_ByReference], state: Mapping[str, object]) -> _ByReference:
    living = _living.get((kind, *state.values()))
    return living if living is not None else kind(**state)


@attrs.frozen(eq=False)
class Relation(_ByReference, Generic[R]):
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

    @property
    def written(self) -> tuple[str, ...]:
        """The columns of the table that are written: the id first, for an entity."""
        return self.columns

    def values_of(self, records: Sequence[R]) -> list[list[object]]:
        """The values of these records, a list for each of `columns`."""
        return [column_of(name)(records) for name in self.columns]

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

    @property
    def written(self) -> tuple[str, ...]:
        return (self.id_column, *self.columns)


@attrs.frozen(eq=False)
class Lookup(_ByReference, Generic[R]):
    """A way to find the rows of an entity that are in the database: `sink.find(lookup, *values)`."""

    entity: Entity[R]
    on: tuple[str, ...] = attrs.field(converter=_columns)
    """The columns to find them by."""


Key = object
"""The value of a key: of its column where it has one, a tuple of them where it has several."""


def key_getter(columns: tuple[str, ...]) -> Callable[[object], Key]:
    """A function from a record to its key."""
    return cast(Callable[[object], Key], attrgetter(*columns))
