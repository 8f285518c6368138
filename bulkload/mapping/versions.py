"""Records that come in several versions: which of them count is known before the first is mapped."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from bulkload.encoding.packing import int8s, is_int8
from bulkload.mapping.job import Input
from bulkload.mapping.sameness import Digests, digester
from bulkload.model.plan import AnyEntity
from bulkload.sources.formats import WithRejects, split_keys
from bulkload.sources.slices import Extract, Keys, Stretch

# Of the 8 bytes for the place of a record.
_POSITION_BITS = 48


class Place(NamedTuple):
    """A record of a run."""

    input: int
    """The number of its input, from 0."""
    position: int
    """As `Slice.position`."""


class Versions:
    """The versions of records that have the same key, and the one of each that counts: the last that is not rejected.

    The last is the one that was met last; in a file of rejects, which has them as they were tried, as its lines say.

    What does not count is never mapped, so that the rows are the same as if it had not been there, whatever the
    chunks are. The price is a first reading of the sources for the keys alone: 0.42 s for 157,000 records (267 MB).
    """

    def __init__(self, inputs: Sequence[Input], stored: Mapping[int, Digests] | None = None) -> None:
        """`stored` are the fingerprints of earlier loads, of inputs by number."""
        self.states = [each.source.state for each in inputs]
        """Of the sources, before they were read."""
        self._stored = stored or {}
        self._same: dict[int, bytearray] = {}
        """By input and position, whether a record is unchanged."""
        self._records: dict[int, int] = {}
        """How many an input has, where they were counted."""
        self._earlier: dict[Place, Place] = {}
        """The version before each one that has one."""
        self._revived: set[Place] = set()
        self._extracts: dict[int, list[Extract]] = {}
        met: dict[AnyEntity, _Met] = {}
        for number, each in enumerate(inputs):
            if each.job.identity is not None:
                self._read(number, each, met.setdefault(each.job.identity, _Met()))
        for keys in met.values():
            self._earlier.update(keys.earlier())
        self._left_out: set[Place] = set()
        self.restart()

    def restart(self) -> None:
        """Nothing was rejected yet."""
        self._revived.clear()
        self._left_out = set(self._earlier.values())

    def extracts(self, number: int) -> Sequence[Extract]:
        """Where the records of an input stand in its file; empty where that is not known of all of them."""
        return self._extracts.get(number, ())

    def left_out(self, number: int) -> set[int]:
        """The positions in an input that a later version supersedes."""
        return {place.position for place in self._left_out if place.input == number}

    def is_same(self, number: int) -> Callable[[int], bool]:
        """Whether the record at a position of an input is as it was loaded last."""
        same = self._same.get(number, b"")
        return lambda position: position < len(same) and same[position] == 1

    def unchanged(self, number: int, done: Collection[int] = ()) -> int:
        """How many records of an input count and are as they were loaded last, those that are `done` left out."""
        left_out = self.left_out(number)
        return sum(
            position not in left_out and position not in done
            for position, same in enumerate(self._same.get(number, b""))
            if same
        )

    def changed(self, number: int) -> float:
        """The share of an input's records that are to be mapped."""
        records = self._records.get(number, 0)
        return 1 - self.unchanged(number) / records if records else 1.0

    def reject(self, number: int, position: int) -> None:
        """A record cannot go in: the version before it counts instead, if there is one."""
        earlier = self._earlier.get(Place(number, position))
        if earlier is not None:
            self._revived.add(earlier)

    def take_revived(self) -> dict[int, set[int]]:
        """The positions, by input, of the versions that count since the last call. They are left out no longer."""
        revived: dict[int, set[int]] = {}
        for place in self._revived:
            revived.setdefault(place.input, set()).add(place.position)
        self._left_out -= self._revived
        self._revived = set()
        return revived

    def _read(self, number: int, each: Input, met: _Met) -> None:
        key_of, read = each.job.read.identify, each.job.read
        extracts: list[Extract] | None = []
        stored, same, records = self._stored.get(number), bytearray(), 0
        digest = digester(each.seed)
        with each.source.open() as reader:
            # Of what is held against nothing, the keys will do.
            lists = (
                split_keys(read, reader, each.source.name) if stored is None else read.split(reader, each.source.name)
            )
            for pieces in lists:
                if isinstance(pieces, (Stretch, Keys)) and extracts is not None and reader.plain:
                    extracts.append(pieces.extract)
                else:
                    extracts = None
                if isinstance(pieces, Keys):
                    met.add(number, pieces.extract.positions, pieces.keys)
                    records += len(pieces.keys)
                    continue
                if isinstance(read, WithRejects):
                    met.older.update(Place(number, piece.position) for piece in filter(read.superseded, pieces))
                met.add(number, [piece.position for piece in pieces], list(map(key_of, pieces)))
                records += len(pieces)
                if stored is not None:
                    for position, data in pieces:
                        if digest(data) in stored:
                            same.extend(bytes(position + 1 - len(same)))
                            same[position] = 1
        self._records[number], self._same[number] = records, same
        self._extracts[number] = extracts or []


class _Met:
    """The keys that were met, and where.

    Of numbers, 16 bytes are kept for each, and 40 more for a moment, when they are sorted; of others, a dictionary.
    """

    def __init__(self) -> None:
        self._numbers = array("q")
        self._places = array("Q")
        self._last: dict[Hashable, Place] = {}
        self._earlier: dict[Place, Place] = {}
        self.older: set[Place] = set()
        """Versions that are older than the one of their key that was met before them in the same input."""
        self._older_last: dict[Hashable, Place] = {}
        """The last of these that was met, of keys of which no other one was met since."""

    def add(self, number: int, positions: Sequence[int], keys: Sequence[Hashable | None]) -> None:
        """Add the keys of records of an input; None for one that has none."""
        numbers = int8s(keys)
        if numbers is not None:
            self._numbers.extend(numbers)
            self._places.extend([number << _POSITION_BITS | position for position in positions])
            return
        for position, key in zip(positions, keys, strict=True):
            if is_int8(key):
                self.add(number, [position], [key])
            elif key is not None:
                self._add(key, Place(number, position))

    def earlier(self) -> dict[Place, Place]:
        """The place of the version before each one that has one."""
        twice = {number for number, next_one in pairwise(sorted(self._numbers)) if number == next_one}
        if twice:
            for number, packed in zip(self._numbers, self._places, strict=True):
                if number in twice:
                    self._add(number, Place(packed >> _POSITION_BITS, packed & (1 << _POSITION_BITS) - 1))
        return self._earlier

    def _add(self, key: Hashable, place: Place) -> None:
        before = self._last.get(key)
        if before is not None and before.input == place.input and place in self.older:
            newer = self._older_last.get(key, before)
            if newer in self._earlier:
                self._earlier[place] = self._earlier[newer]
            self._earlier[newer] = self._older_last[key] = place
            return
        if before is not None:
            self._earlier[place] = before
        self._last[key] = place
        self._older_last.pop(key, None)
