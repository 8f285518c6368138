"""Rows to bytes, and no I/O: as binary COPY takes them, or as one array a column."""

from __future__ import annotations

import struct
from collections.abc import Container, Iterable, Sequence
from itertools import chain, repeat

import attrs

from bulkload.encoding.columns import Column
from bulkload.encoding.fields import FIXED, NULL, REFUSALS, array, field_of, misfit
from bulkload.encoding.literals import array_of_literals
from bulkload.encoding.packing import Lane, Packing, packed
from bulkload.errors import FitError


@attrs.frozen
class _Run:
    """Adjacent columns whose values have a fixed length, or one column of another type."""

    places: slice
    packing: Packing | None


class Encoder:
    """Encodes the rows of one table for the columns given, in that order.

    Rows come as columns: one sequence of values for each, all of the same length.
    """

    def __init__(self, table: str, columns: Sequence[Column]) -> None:
        self.table = table
        self.columns = tuple(columns)
        self._fields = [field_of(table, column) for column in columns]
        self._row_header = struct.pack("!h", len(columns))
        self._codes = [FIXED.get(column.type.base) for column in columns]
        self._runs = list(self._in_runs())

    def _in_runs(self) -> Iterable[_Run]:
        begin = 0
        while begin < len(self._codes):
            end = begin
            while end < len(self._codes) and self._codes[end] is not None:
                end += 1
            end = max(end, begin + 1)
            codes = [code for code in self._codes[begin:end] if code is not None]
            yield _Run(slice(begin, end), Packing(codes, b"" if begin else self._row_header) if codes else None)
            begin = end

    def rows(self, values: Sequence[Sequence[object]], first_row: int = 0) -> bytes:
        """The rows as binary COPY takes them, without the stream's header and trailer.

        Raises FitError, whose `row` counts from `first_row`.
        """
        parts: list[Iterable[bytes]] = []
        for run in self._runs:
            if run.packing is not None:
                try:
                    rows = run.packing.rows(values[run.places], len(values[0]))
                except (TypeError, OverflowError):
                    pass  # A NULL, or a value that does not fit: the general way tells them apart.
                else:
                    if len(self._runs) == 1:
                        return rows
                    parts.append(run.packing.cut(rows))
                    continue
            if not parts:
                parts.append(repeat(self._row_header))
            parts += self._columns(run.places, values, first_row)
        return b"".join(chain.from_iterable(zip(*parts)))  # noqa: B905 - repeat is endless

    def with_gaps(self, values: Sequence[Sequence[object]], gaps: Container[int]) -> tuple[bytes, list[Lane]] | None:
        """The rows, with zeros in the columns of these places, and where each column is.

        None where rows are not of one length, or a value does not fit.
        """
        packing = self._runs[0].packing
        if packing is None or len(self._runs) > 1:
            return None
        try:
            return packing.rows(
                [None if place in gaps else column for place, column in enumerate(values)], len(values[0])
            ), packing.lanes
        except (TypeError, OverflowError):
            return None

    def fields(self, values: Sequence[Sequence[object]], first_row: int = 0) -> list[list[bytes]]:
        """The fields of each column. Raises FitError."""
        return self._columns(slice(None), values, first_row)

    def arrays(self, values: Sequence[Sequence[object]]) -> list[bytes]:
        """Each column as one binary array of `array_type(column)`, a parameter for `unnest`. Raises FitError."""
        return [
            array_of_literals(column.type.element, fields) if column.type.element is not None
            else array(column.type.oid, fields)
            for column, fields in zip(self.columns, self.fields(values), strict=True)
        ]  # fmt: skip

    def check(self, values: Sequence[Sequence[object]], unsettled: Container[int]) -> None:
        """Raises FitError as `rows` would, of the columns in the places that are `unsettled` only for what is no id."""
        for place, column_values in enumerate(values):
            if place in unsettled:
                if set(map(type, column_values)) != {int}:
                    self._column(place, [0 if type(value) is int else value for value in column_values], 0)
            elif not _packs(self._codes[place], column_values):
                self._column(place, column_values, 0)

    def refuse_nulls(self, key: Sequence[str], values: Sequence[Sequence[object]]) -> None:
        """Raises FitError where a column of a key is null: such a row would never be found again."""
        for column, column_values in zip(self.columns, values, strict=True):
            if column.name in key and None in column_values:
                why, row = "it is part of the key by which the row is known", column_values.index(None)
                kind = column.type.name
                raise FitError(None, why, table=self.table, column=column.name, kind=kind, row=row)

    def _columns(self, places: slice, values: Sequence[Sequence[object]], first_row: int) -> list[list[bytes]]:
        return [self._column(place, values[place], first_row) for place in range(*places.indices(len(self.columns)))]

    def _column(self, place: int, values: Sequence[object], first_row: int) -> list[bytes]:
        column, field = self.columns[place], self._fields[place]
        try:
            if column.not_null:
                return [field(value) for value in values]
            return [NULL if value is None else field(value) for value in values]
        except REFUSALS:
            for row, value in enumerate(values, first_row):
                why = misfit(column, field, value)
                if why is not None:
                    kind = column.type.name
                    raise FitError(value, why, table=self.table, column=column.name, kind=kind, row=row) from None
            raise


def _packs(code: str | None, values: Sequence[object]) -> bool:
    if code is None:
        return False
    try:
        packed(code, values)
    except (TypeError, OverflowError):
        return False
    return True


def count_rows(rows: bytes) -> int:
    """How many rows there are in what binary COPY takes."""
    count = at = 0
    while at < len(rows):
        (fields,) = struct.unpack_from("!h", rows, at)
        at += 2
        for _ in range(fields):
            (length,) = struct.unpack_from("!i", rows, at)
            # A NULL has the length -1, and no bytes.
            at += 4 + max(length, 0)
        count += 1
    return count
