"""Rows to bytes, and no I/O: as binary COPY takes them, or as one array a column."""

from __future__ import annotations

import struct
from collections.abc import Container, Iterable, Sequence
from functools import cache
from itertools import chain, islice, repeat

from bulkload.columns import Column
from bulkload.errors import FitError
from bulkload.fields import FIXED, NULL, REFUSALS, Field, array, array_of_literals, field_of, misfit

# Rows packed by one call: measured flat from 500 to 5,000 rows, slower outside; the Struct of each row shape is kept.
_PACKED_ROWS = 1000


class Encoder:
    """Encodes the rows of one table for the columns given, in that order.

    Rows come as columns: one sequence of values for each, all of the same length.
    """

    def __init__(self, table: str, columns: Sequence[Column]) -> None:
        self.table = table
        self.columns = tuple(columns)
        self._fields = [field_of(table, column) for column in columns]
        self._row_header = struct.pack("!h", len(columns))
        codes = [FIXED.get(column.type.base) for column in columns]
        self._packing = [code for code in codes if code is not None]
        self._packable = len(self._packing) == len(codes)

    def rows(self, values: Sequence[Sequence[object]], first_row: int = 0) -> bytes:
        """The rows as binary COPY takes them, without the stream's header and trailer.

        Raises FitError, whose `row` counts from `first_row`.
        """
        if self._packable:
            try:
                return self._packed(values)
            except (struct.error, OverflowError):
                pass  # A NULL, or a value that does not fit: the general way tells them apart.
        fields = self.fields(values, first_row)
        return b"".join(chain.from_iterable(zip(repeat(self._row_header), *fields)))

    def fields(self, values: Sequence[Sequence[object]], first_row: int = 0) -> list[list[bytes]]:
        """The fields of each column. Raises FitError."""
        return [
            self._column(column, field, column_values, first_row)
            for column, field, column_values in zip(self.columns, self._fields, values, strict=True)
        ]

    def arrays(self, values: Sequence[Sequence[object]]) -> list[bytes]:
        """Each column as one binary array of `array_type(column)`, a parameter for `unnest`. Raises FitError."""
        return [
            array_of_literals(column_values) if column.type.element is not None
            else array(column.type.oid, fields)
            for column, column_values, fields in zip(self.columns, values, self.fields(values), strict=True)
        ]  # fmt: skip

    def check(self, values: Sequence[Sequence[object]], unsettled: Container[int]) -> None:
        """Raises FitError as `rows` would, of the columns in the places that are `unsettled` only for what is no id."""
        for place, (column, field, column_values) in enumerate(zip(self.columns, self._fields, values, strict=True)):
            if place in unsettled:
                if set(map(type, column_values)) != {int}:
                    self._column(column, field, [0 if type(value) is int else value for value in column_values], 0)
            elif not (self._packable and _packs(self._packing[place][0], column_values)):
                self._column(column, field, column_values, 0)

    def refuse_nulls(self, key: Sequence[str], values: Sequence[Sequence[object]]) -> None:
        """Raises FitError where a column of a key is null: such a row would never be found again."""
        for column, column_values in zip(self.columns, values, strict=True):
            if column.name in key and None in column_values:
                why, row = "it is part of the key by which the row is known", column_values.index(None)
                kind = column.type.name
                raise FitError(None, why, table=self.table, column=column.name, kind=kind, row=row)

    def _packed(self, values: Sequence[Sequence[object]]) -> bytes:
        codes = "".join(f"i{code}" for code, _ in self._packing)
        lengths = [size for _, size in self._packing]
        columns: list[Iterable[object]] = [repeat(len(values))]
        for length, column_values in zip(lengths, values, strict=True):
            columns += (repeat(length), column_values)
        flat = chain.from_iterable(zip(*columns))  # noqa: B905 - repeat is endless
        width = 1 + 2 * len(values)
        blocks: list[bytes] = []
        for start in range(0, len(values[0]), _PACKED_ROWS):
            count = min(_PACKED_ROWS, len(values[0]) - start)
            blocks.append(_row_struct(codes, count).pack(*islice(flat, width * count)))
        return b"".join(blocks)

    def _column(self, column: Column, field: Field, values: Sequence[object], first_row: int) -> list[bytes]:
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


def _packs(code: str, values: Sequence[object]) -> bool:
    try:
        struct.pack(f"!{len(values)}{code}", *values)
    except (struct.error, OverflowError):
        return False
    return True


@cache
def _row_struct(codes: str, rows: int) -> struct.Struct:
    return struct.Struct("!" + f"h{codes}" * rows)
