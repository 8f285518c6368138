"""Ids in blocks, for chunks that are mapped elsewhere: each is given more than it should need; what is left is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bulkload.model.plan import AnyEntity
from bulkload.rows.load import Load

# A block that is drawn starts small, so that a small load burns few values, and doubles up to this.
_FIRST_DRAW, _LARGEST_DRAW = 1024, 65536

# Ids that a chunk is given beyond those of the one with the most so far, as a share and as a number.
_SPARE_SHARE, _SPARE = 0.25, 64


class Block(NamedTuple):
    """Ids in the order of their sequence, which rows of a record come in, too."""

    drawn: int
    """How many were drawn before."""
    ids: Sequence[int]

    def cut(self, count: int) -> tuple[Block, Block]:
        """The first so many, and the others."""
        return Block(self.drawn, self.ids[:count]), Block(self.drawn + count, self.ids[count:])


class Ids:
    """The ids that chunks are given for rows that are theirs alone."""

    def __init__(self) -> None:
        self._drawn = 0
        self._next_draw = _FIRST_DRAW
        self._left: list[Block] = []
        self._per_record = 1.0
        """The most that a chunk used."""

    def given(self, records: int) -> list[Block]:
        """Ids for a chunk of so many records; there have to be enough."""
        given, self._left = _cut(sorted(self._left), self._wanted(records))
        return given

    def lacking(self, records: int) -> int:
        """How many are to be drawn for a chunk of so many records; 0 where there are enough."""
        missing = self._wanted(records) - sum(len(block.ids) for block in self._left)
        return max(missing, self._next_draw) if missing > 0 else 0

    def soon_lacking(self, records: int) -> int:
        """The same for a chunk and the next one, where some were drawn before: others are drawn at this moment."""
        return self.lacking(records) or (self.lacking(2 * records) if self._drawn else 0)

    def drawn(self, ids: Sequence[int]) -> None:
        """Ids that were drawn."""
        self._next_draw = min(2 * self._next_draw, _LARGEST_DRAW)
        self._left.append(Block(self._drawn, ids))
        self._drawn += len(ids)

    def _wanted(self, records: int) -> int:
        return int(self._per_record * records * (1 + _SPARE_SHARE)) + _SPARE

    def used(self, given: Sequence[Block], count: int, records: int) -> None:
        """A chunk used so many of those that it was given."""
        self._needed(count, records)
        self._left += _cut(given, count)[1]

    def short(self, given: Sequence[Block], count: int, records: int) -> None:
        """A chunk used none of those that it was given, since it needs so many, of this or of another entity."""
        self._needed(count, records)
        self._left += given

    def _needed(self, count: int, records: int) -> None:
        self._per_record = max(self._per_record, count / records)


def draw(load: Load, all_ids: Mapping[AnyEntity, Ids], records: int) -> None:
    """Have enough of each entity's ids for a chunk of so many records, in one round trip where some are lacking."""
    if not any(ids.lacking(records) for ids in all_ids.values()):
        return
    counts = {entity: ids.soon_lacking(records) for entity, ids in all_ids.items()}
    taken = load.take_ids({entity: count for entity, count in counts.items() if count})
    for entity, ids in taken.items():
        all_ids[entity].drawn(ids)


def _cut(blocks: Sequence[Block], count: int) -> tuple[list[Block], list[Block]]:
    """The first so many ids, and the others."""
    first, place = list[Block](), 0
    while place < len(blocks) and count >= len(blocks[place].ids):
        first.append(blocks[place])
        count -= len(blocks[place].ids)
        place += 1
    if not count or place == len(blocks):
        return first, list(blocks[place:])
    head, tail = blocks[place].cut(count)
    return [*first, head], [tail, *blocks[place + 1 :]]
