"""The chunks of an input, as they are handed out to processes that map them."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple, Protocol

from bulkload.errors import BulkloadError
from bulkload.mapping.chunks import Selection
from bulkload.mapping.job import Input
from bulkload.sources.formats import Slice
from bulkload.sources.slices import Extract
from bulkload.sources.source import Reader
from bulkload.workers.exchange import Sent, Told


class Handout(NamedTuple):
    """The records of a chunk."""

    records: Sent | Told
    position: int
    """How far the source was read for it."""


class Handouts(Protocol):
    """The chunks of an input."""

    def take(self) -> Handout | None:
        """The next one; None at the end."""
        ...

    def end(self) -> None:
        """Raises what was wrong with the source."""
        ...


class Reading:
    """Chunks of so many records, which are read here and go along."""

    def __init__(self, selection: Selection, reader: Reader, size: int) -> None:
        self._reader = reader
        self._size = size
        each, counted = selection.input, selection.counted
        lists = each.job.read.split(reader, each.source.name)
        self._pieces: Iterator[Slice] = (piece for pieces in lists for piece in pieces if counted(piece.position))
        self._fault: BulkloadError | None = None

    def take(self) -> Handout | None:
        if self._fault is not None:
            return None
        taken: list[Slice] = []
        try:
            # One by one, so that those before a fault are not lost with it.
            for piece in islice(self._pieces, self._size):
                taken.append(piece)  # noqa: PERF402 - see above
        except BulkloadError as error:
            # What is wrong with the records before it comes first.
            self._fault = error
        if not taken:
            return None
        data = [piece.data for piece in taken]
        sent = Sent([piece.position for piece in taken], list(map(len, data)), b"".join(data))
        return Handout(sent, self._reader.position)

    def end(self) -> None:
        if self._fault is not None:
            raise self._fault


class Telling:
    """Chunks of at most so many records, of which it is told where they stand."""

    def __init__(self, selection: Selection, size: int) -> None:
        self._handouts = self._cut(selection, size)

    def take(self) -> Handout | None:
        return next(self._handouts, None)

    def end(self) -> None:
        """Nothing: it was read before."""

    def _cut(self, selection: Selection, size: int) -> Iterator[Handout]:
        taken: list[Extract] = []
        positions: list[int] = []
        for extract in selection.extracts:
            found = list(filter(selection.counted, extract.positions))
            if positions and len(positions) + len(found) > size:
                yield self._handout(taken, positions)
                taken, positions = [], []
            # More than fit are cut from it again and again.
            while len(found) > size:
                yield self._handout([extract], found[:size])
                found = found[size:]
            if found:
                taken.append(extract)
                positions += found
        if positions:
            yield self._handout(taken, positions)

    def _handout(self, extracts: Sequence[Extract], positions: Sequence[int]) -> Handout:
        every = range(positions[0], positions[-1] + 1)
        told = Told(every if len(every) == len(positions) else positions, extracts)
        return Handout(told, extracts[-1].end)


@contextmanager
def handouts(selection: Selection, size: int, *, told: bool) -> Generator[Handouts]:
    """The chunks of a selection: `told` where they stand, as far as that is known, or read here."""
    if told and selection.extracts:
        yield Telling(selection, size)
        return
    with selection.input.source.open() as reader:
        yield Reading(selection, reader, size)


def label(records: Sent | Told, each: Input) -> str:
    """What a message calls the records of a chunk. Raises SourceError where they cannot be read any more."""
    pieces = records.slices(each.source)
    first, last = (each.job.read.label(piece) for piece in (pieces[0], pieces[-1]))
    return f"{first} to {last} of {each.source.name}"
