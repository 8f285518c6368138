"""Values of a fixed length to bytes, a whole column by one call."""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Sequence
from typing import NamedTuple, TypeGuard, cast

_INT8 = range(-(2**63), 2**63)


def packed(code: str, values: Sequence[object]) -> bytes:
    """The values, in the byte order of the network. Raises TypeError and OverflowError for what does not fit."""
    data = array(code, cast("Sequence[int]", values))
    if sys.byteorder == "little":
        data.byteswap()
    return data.tobytes()


def is_int8(value: object) -> TypeGuard[int]:
    """Whether it is a number that eight bytes hold."""
    return isinstance(value, int) and value in _INT8


def int8s(values: Sequence[object]) -> array[int] | None:
    """The values, where all of them are numbers that eight bytes hold."""
    try:
        return array("q", cast("Sequence[int]", values))
    except (TypeError, OverflowError):
        return None


class Lane(NamedTuple):
    """Where the values of a column are in rows that are all of one width.

    They are laid in by slices with a stride, one for each byte of a value, so that no step is taken for a value in
    Python: 55 ns a row of two integers, against 155 by `struct.pack` of a thousand rows (CPython 3.11).
    """

    code: str
    """As in `struct`."""
    offset: int
    """Of the first value."""
    width: int
    """Of a row."""

    def lay(self, rows: bytearray, values: Sequence[object]) -> None:
        """Put the values in their places. Raises as `packed` does."""
        self.put(rows, packed(self.code, values))

    def put(self, rows: bytearray, data: bytes) -> None:
        """Put values in their places that are packed already, one after the other."""
        size = struct.calcsize(f"!{self.code}")
        for byte in range(size):
            rows[self.offset + byte :: self.width] = data[byte::size]


class Packing:
    """Rows of values of these `struct` codes: before each its length, as four bytes; before each row the header."""

    def __init__(self, codes: Sequence[str], header: bytes) -> None:
        sizes = [struct.calcsize(f"!{code}") for code in codes]
        self._row = header + b"".join(struct.pack(f"!i{size}x", size) for size in sizes)
        begins = [len(header) + sum(sizes[:place]) + 4 * (place + 1) for place in range(len(sizes))]
        self.lanes = [Lane(code, begin, len(self._row)) for code, begin in zip(codes, begins, strict=True)]

    def rows(self, values: Sequence[Sequence[object] | None], count: int) -> bytes:
        """So many rows, one after the other, of one sequence of values for each code; zeros where there is none.

        Bytes are values that are packed already. Raises as `packed` does.
        """
        found = bytearray(self._row) * count
        for lane, column in zip(self.lanes, values, strict=True):
            if isinstance(column, bytes):
                lane.put(found, column)
            elif column is not None:
                lane.lay(found, column)
        return bytes(found)

    def cut(self, rows: bytes) -> list[bytes]:
        """Each of the rows by itself."""
        width = len(self._row)
        return [rows[at : at + width] for at in range(0, len(rows), width)]
