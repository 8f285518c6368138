"""The keys of rows that were all new so far: of a long load the one thing that grows with it, and so packed."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from bulkload.encoding.packing import int8s, is_int8
from bulkload.model.tables import Key

# Numbers of a sorted run that is not merged any more: 10 MB while it is made.
_LARGEST_RUN = 1 << 18

_PIECE = 1 << 16
"""Keys that are kept in one piece. One that grew on and on would be moved again and again, and leave holes in memory
that are too small for what comes next."""


class NewKeys:
    """Keys and the ids that they got. Of numbers that is 24 bytes a key, of others a dictionary."""

    def __init__(self) -> None:
        self._pieces: list[tuple[array[int], array[int]]] = []
        """Numbers, and their ids."""
        self._runs: list[array[int]] = []
        """The same numbers, sorted; few of them, since those of a length are merged."""
        self._others: dict[Key, int] = {}

    def has_any(self, keys: Sequence[Key]) -> bool:
        """Whether one of these is among them."""
        if not self._others.keys().isdisjoint(keys):
            return True
        numbers = sorted(int8s(keys) or filter(is_int8, keys))
        return bool(numbers) and any(_meet(run, numbers) for run in self._runs)

    def add(self, keys: Sequence[Key], ids: Sequence[int]) -> None:
        """Add keys that are not among them."""
        if not self._pieces or len(self._pieces[-1][0]) >= _PIECE:
            self._pieces.append((array("q"), array("q")))
        numbers, numbers_ids = self._pieces[-1]
        before = len(numbers)
        if (added := int8s(keys)) is not None:
            numbers.extend(added)
            numbers_ids.extend(ids)
        else:
            for key, identifier in zip(keys, ids, strict=True):
                if is_int8(key):
                    numbers.append(key)
                    numbers_ids.append(identifier)
                else:
                    self._others[key] = identifier
        run = sorted(numbers[before:])
        while self._runs and len(self._runs[-1]) <= len(run) and len(run) < _LARGEST_RUN:
            run = sorted([*self._runs.pop(), *run])
        if run:
            self._runs.append(array("q", run))

    def remove(self, keys: Iterable[Key]) -> None:
        """Remove keys that are among them, at the cost of looking at all."""
        gone = set(keys)
        for place, (numbers, ids) in enumerate(self._pieces):
            kept = [row for row, number in enumerate(numbers) if number not in gone]
            if len(kept) < len(numbers):
                self._pieces[place] = array("q", map(numbers.__getitem__, kept)), array("q", map(ids.__getitem__, kept))
        runs = (array("q", (number for number in run if number not in gone)) for run in self._runs)
        self._runs = [run for run in runs if run]
        for key in gone & self._others.keys():
            del self._others[key]

    def items(self) -> Iterator[tuple[Key, int]]:
        """All keys, with their ids."""
        for numbers, ids in self._pieces:
            yield from zip(numbers, ids, strict=True)
        yield from self._others.items()


def _meet(run: array[int], numbers: Sequence[int]) -> bool:
    """Whether two sorted runs have a number in common."""
    # As a rule they are apart: records come in the order of their keys.
    if numbers[-1] < run[0] or run[-1] < numbers[0]:
        return False
    for number in numbers:
        place = bisect_left(run, number)
        if place < len(run) and run[place] == number:
            return True
    return False
