"""Reads source files with nothing but the standard library; a full set does not fit into memory, so arrays stream."""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import NoReturn, TextIO, cast

from bulkload import SourceError, shown
from bulkload.gamedb.check.content import Json

# Read at once: large enough that few records lie across an edge and are decoded twice.
_CHUNK = 4 * 1024 * 1024
_LONGEST_INTEGER = 4000
_SPACE = re.compile(r"[ \t\n\r]*")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _whole(digits: str) -> int | Decimal:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else Decimal(digits)


_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse)
# For numbers of more digits than int() takes. Not the only one: a call for each number costs more than all the rest.
_PATIENT_DECODER = json.JSONDecoder(parse_float=Decimal, parse_int=_whole, parse_constant=_refuse)


def parsed(text: str) -> Json:
    """A JSON text as a value. Raises ValueError where it is none."""
    try:
        return cast(Json, _DECODER.decode(text))
    except json.JSONDecodeError:
        raise
    except ValueError:
        return cast(Json, _PATIENT_DECODER.decode(text))


def document(path: Path) -> Json:
    """A file that holds one JSON value. Raises SourceError."""
    with _reading(path), _opened(path) as file:
        return parsed(file.read())


def elements(path: Path) -> Iterator[Json]:
    """The elements of a file that holds one JSON array, one after the other. Raises SourceError."""
    with _reading(path), _opened(path) as file:
        window = _Window(file)
        if window.mark() != "[":
            raise ValueError("it does not begin with `[`")
        if window.peek() == "]":
            window.mark()
        else:
            mark = ","
            number = 0
            while mark == ",":
                number += 1
                try:
                    value = window.value()
                except json.JSONDecodeError as error:
                    # Its own position is one in the window, which tells nobody anything.
                    raise ValueError(f"element {number}: {error.msg}") from error
                yield value
                mark = window.mark()
            if mark != "]":
                raise ValueError(f"{shown(mark)} stands where a comma or `]` should" if mark else "it ends too early")
        if window.peek():
            raise ValueError("something follows the array")


def lines(path: Path) -> Iterator[list[str]]:
    """The lines of a CSV file that are not empty, as fields. Raises SourceError."""
    with _reading(path), _opened(path) as file:
        yield from filter(None, csv.reader(file))


class _Window:
    """The part of a file that is in memory, and how far it has been read."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._at = 0
        self._ended = False

    def peek(self) -> str:
        """The next character that is not white space, '' at the end of the file."""
        while True:
            space = _SPACE.match(self._text, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._read(_CHUNK)

    def mark(self) -> str:
        """The same, and goes past it."""
        mark = self.peek()
        self._at += len(mark)
        return mark

    def value(self) -> Json:
        """The next value, and goes past it."""
        size = _CHUNK
        while True:
            self.peek()
            try:
                value, end = self._decoded()
            except ValueError:
                # It may only lie across the edge of what is in memory.
                if self._ended:
                    raise
            else:
                # At the very edge a number may go on.
                if end < len(self._text) or self._ended:
                    self._at = end
                    return value
            # Ever more of it, so that a broken file is decoded a few times and not once a chunk.
            self._read(size)
            size *= 2

    def _decoded(self) -> tuple[Json, int]:
        try:
            return _DECODER.raw_decode(self._text, self._at)
        except json.JSONDecodeError:
            raise
        except ValueError:
            return _PATIENT_DECODER.raw_decode(self._text, self._at)

    def _read(self, size: int) -> None:
        more = self._file.read(size)
        self._ended = not more
        self._text = self._text[self._at :] + more
        self._at = 0


def _opened(path: Path) -> TextIO:
    # newline="": a carriage return inside a quoted field of a CSV file is a character like any other.
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


@contextmanager
def _reading(path: Path) -> Generator[None, None, None]:
    try:
        yield
    except (OSError, EOFError, zlib.error, csv.Error, ValueError, RecursionError) as error:
        raise SourceError(f"{path}: {error}") from error
