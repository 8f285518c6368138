"""What goes to the processes that map chunks, and what comes back.

Of a JSON file that is not compressed, a process on this machine is told where its records stand, once that is known
from the search for versions: nobody reads them for it.

What a chunk alone cannot know is the id of a row that it shares with others: such rows are sent by their keys, and
what refers to them holds stand-ins instead of ids, or gaps in rows that are encoded already. A process sends no key
twice, and says how many it takes to be known; where the leader does not have those, the chunk is mapped again with
none. So a chunk can be mapped anywhere, and again where a process is lost.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Final, NamedTuple, cast

from bulkload.encoding.packing import Lane
from bulkload.errors import SchemaError
from bulkload.sources.slices import Extract, Slice
from bulkload.sources.source import Source

FIRST_STAND_IN = 2**63
"""Stands for the first key of an entity, the next number for the second one, and so on.

It is above all that a sequence can give, so that a stand-in is never taken for an id.
"""

_NUMBERS: Final = "I"
"""How the numbers of keys are packed; as `array.array` has it."""
_UPPER = array(_NUMBERS, [FIRST_STAND_IN >> 32]).tobytes()


class Sent(NamedTuple):
    """Records of a source, that go along."""

    positions: Sequence[int]
    lengths: Sequence[int]
    data: bytes
    """Their bytes, all in one piece."""

    def slices(self, source: Source) -> list[Slice]:  # noqa: ARG002 - as of those that do not go along
        """The records."""
        ends = pairwise(accumulate(self.lengths, initial=0))
        cut = (self.data[begin:end] for begin, end in ends)
        return list(map(Slice, self.positions, cut))


class Told(NamedTuple):
    """Records of a source, which the process reads itself."""

    positions: Sequence[int]
    """Those that are meant; a range where they are all that the extracts have."""
    extracts: Sequence[Extract]

    def slices(self, source: Source) -> list[Slice]:
        """The records. Raises SourceError."""
        found: list[Slice] = []
        for extract in self.extracts:
            try:
                found += extract.slices(source.part(extract.begin, extract.end))
            except ValueError as error:
                raise source.changed() from error
        if len(found) == len(self.positions):
            return found
        positions = frozenset(self.positions)
        return [piece for piece in found if piece.position in positions]


class Task(NamedTuple):
    """The records of a chunk, to be mapped."""

    input: int
    """Which of the inputs they are from."""
    records: Sent | Told
    ids: Mapping[str, Sequence[Sequence[int]]]
    """The ids for the rows of each entity that nobody else has, in blocks."""
    forget: bool
    """Whether no key is known of an earlier chunk."""
    new: frozenset[str]
    """The entities with a conflict rule of which all keys are taken to be new: their rows have ids of their own."""


class Gap(NamedTuple):
    """A column that is left open in encoded rows."""

    entity: str
    """Whose ids go in."""
    lane: Lane
    numbers: bytes
    """For each row the number of the key whose id goes in, from 0."""


class Rows(NamedTuple):
    """The rows of a relation: encoded, or as columns where that cannot be done yet."""

    relation: str
    copied: bytes = b""
    """As binary COPY takes them."""
    gaps: Sequence[Gap] = ()
    values: Sequence[Sequence[object]] = ()
    """All columns, instead, the ids first; stand-ins among them."""
    keys: Sequence[Sequence[object]] = ()
    """The ids and the columns of the key, of rows whose keys are taken to be new."""

    def filled(self, ids: Mapping[str, Sequence[int]]) -> bytes:
        """The encoded rows, with the ids of each entity's keys in their gaps. Raises SchemaError for one too large."""
        if not self.gaps:
            return self.copied
        rows = bytearray(self.copied)
        for gap in self.gaps:
            try:
                gap.lane.lay(rows, list(map(ids[gap.entity].__getitem__, numbers(gap.numbers))))
            except OverflowError:
                raise SchemaError(
                    f"{self.relation}: an id of {gap.entity} does not fit the column that refers to it; widen that"
                ) from None
        return bytes(rows)


class Mapped(NamedTuple):
    """What became of a chunk."""

    rows: Sequence[Rows]
    """Parents first."""
    rejected: Sequence[tuple[int, bytes, Exception]]
    """Position, bytes and RecordError, in the order in which they were rejected."""
    skipped: int
    used: Mapping[str, int]
    """How many it took of the ids of each entity."""
    dictionary: bytes
    """Names the keys that stand-ins count: those of rows to be kept go on from chunk to chunk of a process."""
    before: Mapping[str, int]
    """How many keys of each of those entities came before those of this chunk."""
    seconds: Mapping[str, float]
    """What its phases took."""
    marks: bytes = b""
    """The digests for the rows of the job's identity, as `Buffers.marks_of`; none where no fingerprints are made."""


class Short(NamedTuple):
    """The chunk needs more ids than it was given. Nothing came of it."""

    used: Mapping[str, int]
    """How many it takes of each entity."""


def numbered(stand_ins: Iterable[object]) -> bytes | None:
    """The numbers of the keys that these stand for; None where there is something else among them."""
    try:
        # Halves of eight bytes each, of which the upper one says that it is a stand-in: 20 ns, and 55 to subtract.
        halves = memoryview(array("Q", cast("Iterable[int]", stand_ins))).cast("B").cast(_NUMBERS)
    except (TypeError, OverflowError):
        return None
    lower, upper = (halves[::2], halves[1::2]) if sys.byteorder == "little" else (halves[1::2], halves[::2])
    return lower.tobytes() if upper.tobytes() == _UPPER * len(upper) else None


def numbers(packed: bytes) -> array[int]:
    """What `numbered` packed."""
    found = array(_NUMBERS)
    found.frombytes(packed)
    return found


def resolved(values: Sequence[object], ids: Sequence[int]) -> list[object]:
    """The values of a column, ids instead of stand-ins."""
    return [
        ids[value - FIRST_STAND_IN] if isinstance(value, int) and value >= FIRST_STAND_IN else value for value in values
    ]
