"""Values become bytes or a reason why not, with no server at hand."""

from __future__ import annotations

import datetime as dt
import struct
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkload import FitError
from bulkload.encoding.columns import Column, type_of
from bulkload.encoding.encode import Encoder


def encode(kind: str, *values: object, not_null: bool = False) -> list[bytes]:
    return Encoder("t", [Column("c", type_of(kind), not_null)]).fields([values])[0]


# Deeper than Python writes JSON.
DEEP: list[object] = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        ("smallint", 32768, ""),
        ("smallint", -32769, ""),
        ("integer", 3_000_000_000, ""),
        ("integer", "7", ""),
        ("integer", 1.0, ""),
        ("bigint", 1 << 63, ""),
        ("real", 1e300, ""),
        ("real", "1", ""),
        ("boolean", "f", "it is neither true nor false"),
        ("boolean", 1, "it is neither true nor false"),
        ("text", 5, "it is not text"),
        ("text", "a\0b", "it holds a NUL character, which PostgreSQL cannot store"),
        ("text", "\ud800", "it holds half of a surrogate pair, which is no character"),
        ("varchar(3)", "four", "it is 4 characters long"),
        ("varchar(3)", "abc ", "it is 4 characters long"),
        ("char(3)", "four", "it is 4 characters long"),
        ("bytea", "text", "it is not bytes"),
        ("uuid", "no", ""),
        ("date", dt.datetime(2020, 1, 1), "it is not a date"),
        ("timestamp", dt.datetime(2020, 1, 1, tzinfo=dt.UTC), "it is not a datetime without time zone"),
        ("timestamptz", dt.datetime(2020, 1, 1), "it is not a datetime with a time zone"),
        ("numeric(5,2)", Decimal("999.995"), "it has more digits before the point"),
        ("numeric(5,2)", Decimal("Infinity"), "it is infinite"),
        ("numeric", "1", "it is not a number"),
        ("numeric", Decimal("1E+999999999"), "it has more than 131,072 digits before the point, or 16,383 behind it"),
        ("numeric", Decimal("-12E+131071"), "it has more than 131,072 digits"),
        ("numeric", Decimal("1E-16384"), "it has more than 131,072 digits before the point, or 16,383 behind it"),
        ("numeric", Decimal("1E-999999999"), "or 16,383 behind it"),
        ("jsonb", msgspec.Raw(b'{"a": "\\u0000"}'), "it holds an escaped NUL character (\\u0000)"),
        ("jsonb", msgspec.Raw(b'"\\ud800"'), "it holds half of a surrogate pair"),
        ("jsonb", msgspec.Raw(b'"\xff"'), ""),
        ("jsonb", float("nan"), ""),
        ("jsonb", "\0", "it holds an escaped NUL character"),
        ("jsonb", DEEP, "it is nested too deeply"),
        ("jsonb", msgspec.Raw(b"[" * 100_000 + b'"\\u0041"' + b"]" * 100_000), "it is nested too deeply"),
        ("integer[]", 5, "it is not a list"),
        ("integer[]", [1, 3_000_000_000], ""),
        ("text[]", ["a", "b\0"], "it holds a NUL character"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(kind: str, value: object, why: str) -> None:
    """Nothing is wrapped, cut or rounded without a word; the error names value, table, column, type, row and reason."""
    with pytest.raises(FitError) as caught:
        encode(kind, None, value)
    assert f"does not fit t.c ({type_of(kind).name})" in str(caught.value)
    assert why in str(caught.value)
    assert caught.value.value is value
    assert caught.value.row == 1


def test_a_number_that_python_does_not_write_is_refused_like_any_other() -> None:
    """The message says why it is not shown."""
    with pytest.raises(FitError, match=r"^int that is too long or too deep to be shown does not fit t.c \(integer\)$"):
        encode("integer", 10**5000)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("smallint", (-32768, 32767)),
        ("integer", (-(2**31), 2**31 - 1)),
        ("bigint", (-(2**63), 2**63 - 1)),
        ("varchar(4)", ("abcd", "ключ", "🜂🜂🜂🜂")),
        ("numeric(5,2)", (Decimal("999.994"), -999, 0, Decimal("NaN"))),
        ("jsonb", (msgspec.Raw(b'"\\\\u0000"'), "\\u0000", {"a": [1, None]})),
    ],
)
def test_the_extremes_fit(kind: str, values: tuple[object, ...]) -> None:
    """What the type can hold is not refused."""
    assert len(encode(kind, *values)) == len(values)


def test_null_is_refused_where_the_column_is_not_null() -> None:
    """The column's own constraint is known before the server says so."""
    with pytest.raises(FitError, match=r"null does not fit t.c \(text\): the column is NOT NULL"):
        encode("text", "a", None, not_null=True)


def test_rows_are_the_same_packed_and_field_by_field() -> None:
    """Rows of fixed length are packed a column at a time; a NULL among them takes the general way."""
    columns = [Column(name, type_of(kind)) for name, kind in (("a", "integer"), ("b", "bigint"), ("c", "smallint"))]
    encoder = Encoder("t", columns)
    values: list[list[Any]] = [list(range(2500)), list(range(2500)), [n % 7 for n in range(2500)]]
    row = struct.Struct("!hiiiqih")
    expected = b"".join(row.pack(3, 4, a, 8, b, 2, c) for a, b, c in zip(*values, strict=True))
    assert encoder.rows(values) == expected
    values[1][3] = None
    with_null = row.size - 8
    assert encoder.rows(values) == (
        expected[: 3 * row.size] + struct.pack("!hiiiih", 3, 4, 3, -1, 2, 3) + expected[4 * row.size :]
    )
    assert with_null == struct.calcsize("!hiiiih")


def test_a_misfit_among_packed_rows_is_found() -> None:
    """The one value is named, wherever it is."""
    encoder = Encoder("t", [Column("a", type_of("integer")), Column("b", type_of("integer"))])
    values: list[list[object]] = [list(range(5000)), list(range(5000))]
    values[1][4321] = 2**31
    with pytest.raises(FitError, match=r"2147483648 does not fit t.b \(integer\)") as caught:
        encoder.rows(values)
    assert caught.value.row == 4321


COLUMNS = {"integer": 7, "bigint": -(2**40), "smallint": 3, "double precision": 0.1, "text": "no", "boolean": True}


@given(st.data(), st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=7), st.integers(0, 5))
def test_rows_are_their_fields_one_after_the_other(data: st.DataObject, kinds: list[str], count: int) -> None:
    """Whatever columns of one length and of any stand side by side, and wherever a NULL is."""
    encoder = Encoder("t", [Column(f"c{place}", type_of(kind)) for place, kind in enumerate(kinds)])
    values: list[list[object]] = [
        data.draw(st.lists(st.sampled_from([COLUMNS[kind], None]), min_size=count, max_size=count)) for kind in kinds
    ]
    fields = encoder.fields(values)
    rows = [struct.pack("!h", len(kinds)) + b"".join(column[row] for column in fields) for row in range(count)]
    assert encoder.rows(values) == b"".join(rows)
