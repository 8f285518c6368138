"""CSV sources: lines of fields with commas between them, and no header."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import attrs
import msgspec

from bulkload.errors import RecordError
from bulkload.sources.slices import Slice, Window
from bulkload.sources.source import Reader

D = TypeVar("D")

# Bytes read at once. From 64 KiB on the time is that of the pattern, whatever the size.
_WINDOW = 1 << 18

# The longest record. It is what a quote left open looks like, and a field alone may have but 128 KiB (the limit of
# Python's csv module, which is the process's own to change).
_LIMIT = 1 << 20

# The fields of a line, as far as they are right: it stops before a quote that is not closed, or anything but a comma
# behind one that is.
_FIELD = rb'(?:"(?:[^"]++|"")*+"|[^",\n][^,\n]*+|)'
_FIELDS = re.compile(rb"%b(?:,%b)*+" % (_FIELD, _FIELD))


@attrs.frozen
class CsvRecords(Generic[D]):
    """CSV without a header, as RFC 4180 has it: commas, quotes, line breaks of either kind, also inside quotes.

    Blank lines count for nothing. The text is UTF-8.
    """

    _decode: Callable[[list[str]], D]
    """What a record says, from its fields. It may raise RecordError."""

    def split(self, reader: Reader, name: str) -> Iterator[list[Slice]]:
        """Records by the line that they begin in, from 1. Raises SourceError where a quote is never closed."""
        return split(reader, name)

    def decode(self, piece: Slice) -> D:
        """Raises RecordError: not UTF-8, not CSV, or as the function for the fields says."""
        try:
            fields = next(csv.reader([piece.data.decode()], strict=True))
        except UnicodeDecodeError as error:
            bad = piece.data[error.start : error.end]
            raise RecordError(f"not UTF-8: {bad!r} at byte {error.start} of the record; convert the file") from error
        except csv.Error as error:
            raise RecordError(f"not CSV: {error}") from error
        return self._decode(fields)

    def identify(self, piece: Slice) -> None:
        """None."""

    def label(self, piece: Slice) -> str:
        """As in `line 7`."""
        return f"line {piece.position}"

    def as_json(self, piece: Slice) -> bytes:
        """The text of the record as a JSON string; bytes that are not UTF-8 are replaced."""
        return msgspec.json.encode(piece.data.decode(errors="replace"))


def split(reader: Reader, name: str, window: int = _WINDOW, limit: int = _LIMIT) -> Iterator[list[Slice]]:
    """The records of a source, read `window` bytes at a time; a record has at most `limit` bytes."""
    text = Window(reader, name, "line", window, limit)
    while not text.ended:
        text.fill()
        records: list[Slice] = []
        while text.at < len(text.data) and (end := _end_of_record(text)) is not None:
            record = text.data[text.at : end]
            # Not of form feeds and the like, which may be a field.
            if record.strip(b" \t\r\n"):
                records.append(Slice(text.number, record.rstrip(b"\r\n")))
            text.number += record.count(b"\n")
            text.at = end
        if records:
            yield records


def _end_of_record(text: Window) -> int | None:
    """Where the record at hand ends, its line break included; None where the window ends first."""
    fields = _FIELDS.match(text.data, text.at)
    at = text.at if fields is None else fields.end()
    if text.data[at : at + 1] == b'"':
        if not text.ended:
            return None
        line = text.number + text.data.count(b"\n", text.at, at)
        raise text.error(f"a quote opened in line {line} is not closed to the end of the file; close it, or double it")
    # Behind a closing quote only a line break may stand here; a record with anything else goes to the end of its line,
    # and is refused when it is decoded.
    end = text.data.find(b"\n", at)
    if end >= 0:
        return end + 1
    return len(text.data) if text.ended else None
