"""Records as they stand in a source, and the window through which a source is cut into them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple

from bulkload.errors import SourceError
from bulkload.sources.source import Reader


class Slice(NamedTuple):
    """One record as it stands in its source, not looked into."""

    position: int
    """Which one, from 1: of JSON the number of the record, of CSV the number of the line that it begins in."""
    data: bytes
    """Its bytes, without what separates records."""


class Extract(NamedTuple):
    """A part of a source's content that whoever reads it can cut into the same records."""

    begin: int
    end: int
    """Where it stands, in bytes of the content."""
    first: int
    """The position of its first record; the others follow it without a gap."""
    records: int
    """How many there are."""
    cut: Callable[[bytes], Sequence[bytes]]
    """Cuts these bytes into records, as they were cut before. Raises ValueError for others."""

    def slices(self, data: bytes) -> list[Slice]:
        """The records. Raises ValueError where these are not the bytes that were cut before."""
        records = self.cut(data)
        if len(records) != self.records:
            raise ValueError(f"{len(records)} records instead of {self.records}")
        return list(map(Slice, self.positions, records))

    @property
    def positions(self) -> range:
        """Those of its records."""
        return range(self.first, self.first + self.records)


class Stretch(list[Slice]):
    """Records that stand together in a source, and can be had again from their place alone."""

    def __init__(self, extract: Extract, slices: Iterable[Slice]) -> None:
        super().__init__(slices)
        self.extract = extract


class Keys(NamedTuple):
    """The keys of records that stand together in a source, which are not cut out of it."""

    extract: Extract
    keys: Sequence[Hashable | None]


class Window:
    """The part of a source that is in memory: bytes read and not yet given out.

    It grows only while a single record does not fit, up to a limit.
    """

    def __init__(self, reader: Reader, name: str, unit: str, window: int, limit: int) -> None:
        self.name = name
        self.unit = unit
        """What `number` counts: 'record' or 'line'."""
        self.number: int = 1
        """The position of the next slice."""
        self.data = b""
        self.at = 0
        """Where in `data` the next byte not yet given out is."""
        self.ended = False
        """Whether the source has no more than what is in `data`."""
        self._reader = reader
        self._window = window
        self._limit = limit

    def fill(self) -> None:
        """Reads on; what was given out is let go. Raises SourceError where the record at hand is over the limit."""
        rest = self.data[self.at :]
        # A record that does not fit is read at twice the size each time, so that long ones are not looked at over and
        # over; and never past the limit, so that one over it is never seen whole.
        wanted = min(max(self._window, len(rest)), self._limit + 1 - len(rest))
        if wanted <= 0:
            raise self.error(
                f"{self.unit} {self.number}, at byte {self.offset}, goes on for more than {self._limit:,} bytes; "
                "look there for a quote or bracket left open"
            )
        more = self._reader.read(wanted)
        self.ended = len(more) < wanted
        self.data = rest + more if rest else more
        self.at = 0

    @property
    def offset(self) -> int:
        """Where in the source's content the next byte not yet given out is."""
        return self._reader.offset - len(self.data) + self.at

    def error(self, what: str) -> SourceError:
        """A SourceError that names the source."""
        return SourceError(f"{self.name}: {what}")
