"""What a source format is: how bytes are cut into records, and how one record is decoded.

The two are apart so that a source can be cut in one process and its records decoded in others.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Protocol, TypeAlias, TypeVar

from bulkload.csv_records import CsvRecords
from bulkload.json_records import JsonRecords
from bulkload.path import path_of
from bulkload.slices import Slice
from bulkload.source import Reader

__all__ = ["AnyFormat", "CsvRecords", "Format", "JsonRecords", "Slice", "path_of"]

D_co = TypeVar("D_co", covariant=True)


class Format(Protocol[D_co]):
    """How a source is read. Formats are values: they pickle, hold no state, and can be used for many sources."""

    def split(self, reader: Reader, name: str) -> Iterator[list[Slice]]:
        """The records in their order, in lists as they are read; memory is bounded, whatever the size of the source.

        `name` is what messages call the source. Raises SourceError where the source as a whole is damaged.
        """
        ...

    def decode(self, piece: Slice) -> D_co:
        """What a record says. Raises RecordError, with a reason and, where there is one, the path in the record."""
        ...

    def identify(self, piece: Slice) -> Hashable | None:
        """The key of which the record is a version, or None where there is none to be seen. Never raises."""
        ...

    def label(self, piece: Slice) -> str:
        """How a message names a record, as in `record 153 (AOID 21805)`. Never raises."""
        ...

    def as_json(self, piece: Slice) -> bytes:
        """The record as one JSON value on one line, for a file of rejects. Never raises."""
        ...


AnyFormat: TypeAlias = Format[object]
"""A format, whatever its records decode to."""
