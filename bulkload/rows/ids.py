"""Ids before rows: blocks of values from the sequences that the tables' own id columns draw from."""

from __future__ import annotations

import collections.abc
from collections.abc import Iterable, Iterator
from itertools import chain, count
from typing import cast

from psycopg.types.numeric import Int8

from bulkload import statements
from bulkload.errors import SchemaError
from bulkload.model.plan import AnyEntity
from bulkload.server.catalog import Target
from bulkload.server.connection import Connection, Cursor, Step, pipelined

_SQL = statements.load("load")

# A block starts small, so that a small load burns few values, and doubles up to this, so that a large one asks seldom.
_FIRST_BLOCK = 256
_LARGEST_BLOCK = 16384


class StandIn(int):
    """Stands for an id that the server has yet to tell. Equal to itself alone: a sequence may give the same number."""

    __slots__ = ()
    __eq__ = object.__eq__
    __hash__ = object.__hash__


def stand_ins() -> Iterator[StandIn]:
    """Stand-ins, as many as are wanted."""
    return map(StandIn, count(-1, -1))


class Sequence:
    """The ids of one entity: an endless iterator over `nextval`, a block a round trip.

    The values are drawn by the server one by one, so INCREMENT, CACHE and other sessions that draw from the sequence
    are honoured; what a load leaves over is never handed out again. Raises ServerError where the sequence is used up.
    """

    def __init__(self, connection: Connection, target: Target, entity: AnyEntity) -> None:
        sequence = target.columns[entity.id_column].sequence
        if sequence is None:
            raise SchemaError(f"{target}.{entity.id_column} draws from no sequence, which ids are taken from")
        self._connection = connection
        self._name = sequence
        self._table = str(target)
        self._next_block = _FIRST_BLOCK
        self._left: collections.abc.Sequence[int] = ()

    def __iter__(self) -> Iterator[int]:
        # iter() with a sentinel that no block equals: blocks for ever, and every step of it outside the interpreter.
        return chain.from_iterable(iter(self._block, None))

    def _block(self) -> Iterable[int]:
        return self.take(self._size())

    def _size(self) -> int:
        count = self._next_block
        self._next_block = min(2 * count, _LARGEST_BLOCK)
        return count

    def some(self, count: int) -> collections.abc.Sequence[int]:
        """The next `count` ids; what a block leaves over is for the next call."""
        if len(self._left) < count:
            self._left = [*self._left, *self.take(max(self._size(), count - len(self._left)))]
        some, self._left = self._left[:count], self._left[count:]
        return some

    def take(self, count: int) -> collections.abc.Sequence[int]:
        """A block of `count` ids."""
        (found,) = pipelined(self._connection, [self.taking(count)])
        return self.block(found)

    def taking(self, count: int) -> Step:
        """The step that takes a block of `count` ids."""
        parameters = {"sequence": self._name, "count": Int8(count)}
        return Step(f"taking {count} ids for {self._table} from {self._name}", _SQL["take_ids"].text, parameters)

    def block(self, found: Cursor) -> collections.abc.Sequence[int]:
        """The ids that `taking` took."""
        row = found.fetchone()
        if row is None:
            raise SchemaError(f"{self._name} gave no ids")
        first, last, step, scattered = row
        if scattered is not None:
            return cast("list[int]", scattered)
        return range(cast("int", first), cast("int", last) + 1, cast("int", step))
