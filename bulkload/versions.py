"""Records that come in several versions: which of them count is known before the first is mapped."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

from bulkload.job import Input
from bulkload.plan import AnyEntity


class Place(NamedTuple):
    """A record of a run."""

    input: int
    """The number of its input, from 0."""
    position: int
    """As `Slice.position`."""


class Versions:
    """The versions of records that have the same key, and the one of each that counts: the last that is not rejected.

    What does not count is never mapped, so that the rows are the same as if it had not been there, whatever the
    chunks are. The price is a first reading of the sources for the keys alone: 0.14 s for 22,000 records (39 MB).
    """

    def __init__(self, inputs: Sequence[Input]) -> None:
        self._earlier: dict[Place, Place] = {}
        """The version before each one that has one."""
        self._left_out: set[Place] = set()
        self._revived: set[Place] = set()
        last: dict[AnyEntity, dict[Hashable, Place]] = {}
        for number, each in enumerate(inputs):
            if each.job.identity is None:
                continue
            places = last.setdefault(each.job.identity, {})
            for key, place in _keys(number, each):
                earlier = places.get(key)
                if earlier is not None:
                    self._earlier[place] = earlier
                    self._left_out.add(earlier)
                places[key] = place

    def left_out(self, number: int) -> set[int]:
        """The positions in an input that a later version supersedes."""
        return {place.position for place in self._left_out if place.input == number}

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


def _keys(number: int, each: Input) -> Iterator[tuple[Hashable, Place]]:
    key_of = each.job.read.identify
    with each.source.open() as reader:
        for pieces in each.job.read.split(reader, each.source.name):
            for piece in pieces:
                key = key_of(piece)
                if key is not None:
                    yield key, Place(number, piece.position)
