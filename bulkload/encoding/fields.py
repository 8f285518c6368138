"""One value to bytes: the binary format of each type, and why a value does not fit it.

The server does not say which document a value came from, and some drivers wrap a number that does not fit without
a word. So range, length, NUL and encoding are checked here, where the value can still be found in its record.

A *field* is what stands for one value in a binary COPY row and in a binary array alike: four bytes of length (-1 for
NULL), then the value. (https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format"; the values are those
of each type's `…_send` and `…_recv` function in src/backend/utils/adt.)
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import struct
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import cast

import msgspec

from bulkload.encoding.columns import VARHDRSZ, Column, ColumnType
from bulkload.errors import SchemaError

Field = Callable[[object], bytes]
"""Encodes one value that is not None. Raises one of REFUSALS where it does not fit."""

REFUSALS = (
    struct.error, TypeError, ValueError, AttributeError, KeyError, OverflowError, ArithmeticError, RecursionError,
)  # fmt: skip

NULL = b"\xff\xff\xff\xff"
_length = struct.Struct("!i").pack


class Misfit(ValueError):  # noqa: N818 - it says what is wrong with a value, and is caught here
    """Why a value does not fit; the text completes the sentence that begins with the value."""


FIXED: Mapping[str, str] = {"int2": "h", "int4": "i", "int8": "q", "float8": "d"}
"""The types whose values all have one length, so that they are packed together, by their codes in `struct`."""


def misfit(column: Column, field: Field, value: object) -> str | None:
    """Why the value does not fit the column: None where it does, '' where its type says it all."""
    if value is None:
        return "the column is NOT NULL" if column.not_null else None
    try:
        field(value)
    except Misfit as error:
        return str(error)
    except UnicodeEncodeError:
        return "it holds half of a surrogate pair, which is no character"
    except RecursionError:
        return "it is nested too deeply"
    except REFUSALS:
        return ""
    return None


def field_of(table: str, column: Column) -> Field:
    """The function that encodes the column's values. Raises SchemaError for a type that has none."""
    kind = column.type
    try:
        return _element(kind) if kind.element is None else partial(_list, kind.element.oid, _element(kind.element))
    except LookupError:
        raise SchemaError(
            f"{table}.{column.name} is of the type {kind.name}, for which bulkload has no binary encoder; "
            f"leave the column out of the plan, or load it as text and cast it in SQL"
        ) from None


def _element(kind: ColumnType) -> Field:
    if kind.labels is not None:
        return _Enum(frozenset(kind.labels))
    if kind.base in ("varchar", "bpchar") and kind.length is not None:
        return partial(_bounded_text, kind.length)
    if kind.base == "numeric" and kind.modifier >= VARHDRSZ:
        packed = kind.modifier - VARHDRSZ
        return partial(_numeric, packed >> 16 & 0xFFFF, packed & 0x7FF)
    return _FIELDS[kind.base]


def array_type(column: Column) -> str:
    """The type that `arrays` gives a column's values as.

    unnest would flatten an array of arrays, so that those travel as text and are cast back row by row.
    """
    return "text[]" if column.type.element is not None else f"{column.type.name}[]"


def array(element_oid: int, fields: Sequence[bytes]) -> bytes:
    has_null = NULL in fields
    if not fields:
        return struct.pack("!iiI", 0, 0, element_oid)
    return struct.pack("!iiIii", 1, has_null, element_oid, len(fields), 1) + b"".join(fields)


def _elements(values: object) -> Sequence[object]:
    if not isinstance(values, (list, tuple)):
        raise Misfit("it is not a list")
    return cast("Sequence[object]", values)


def _list(element_oid: int, field: Field, values: object) -> bytes:
    data = array(element_oid, [NULL if value is None else field(value) for value in _elements(values)])
    return _length(len(data)) + data


def _bool(value: object) -> bytes:
    if value is True:
        return b"\0\0\0\1\1"
    if value is False:
        return b"\0\0\0\1\0"
    raise Misfit("it is neither true nor false")


def _text(value: object) -> bytes:
    if not isinstance(value, str):
        raise Misfit("it is not text")
    if "\0" in value:
        raise Misfit("it holds a NUL character, which PostgreSQL cannot store")
    data = value.encode()
    return _length(len(data)) + data


def _bounded_text(most: int, value: object) -> bytes:
    if isinstance(value, str) and len(value) > most:
        raise Misfit(f"it is {len(value)} characters long")
    return _text(value)


class _Enum:
    def __init__(self, labels: frozenset[str]) -> None:
        self._labels = labels

    def __call__(self, value: object) -> bytes:
        if value not in self._labels:
            raise Misfit("it is not one of its labels")
        return _text(value)


def _bytea(value: object) -> bytes:
    if not isinstance(value, (bytes, bytearray)):
        raise Misfit("it is not bytes")
    return _length(len(value)) + value


def _json(prefix: bytes, value: object) -> bytes:
    # msgspec.Raw is JSON text already, and goes in as it is: no number is rounded on the way.
    if isinstance(value, msgspec.Raw):
        data = bytes(value)
        if not data.isascii():
            data.decode()
    else:
        data = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    if b"\\u" in data:
        _check_escapes(data)
    return _length(len(prefix) + len(data)) + prefix + data


def _check_escapes(data: bytes) -> None:
    """Refuse what a JSON text may say and jsonb cannot hold: an escaped NUL, half of a surrogate pair."""
    escaped = json.dumps(json.loads(data), ensure_ascii=False)
    escaped.encode()  # raises for a lone surrogate
    # json.dumps leaves an escape for control characters only, and doubles any backslash that is a real one.
    if "\\u0000" in escaped.replace("\\\\", ""):
        raise Misfit("it holds an escaped NUL character (\\u0000), which jsonb cannot store")


def _uuid(value: object) -> bytes:
    if not isinstance(value, uuid.UUID):
        value = uuid.UUID(str(value))
    return _length(16) + value.bytes


_EPOCH = dt.date(2000, 1, 1)
_EPOCH_TIME = dt.datetime(2000, 1, 1)  # noqa: DTZ001 - a timestamp without time zone
_EPOCH_UTC = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)


def _date(value: object) -> bytes:
    if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
        raise Misfit("it is not a date")
    return struct.pack("!ii", 4, (value - _EPOCH).days)


def _timestamp(value: object) -> bytes:
    if not isinstance(value, dt.datetime) or value.tzinfo is not None:
        raise Misfit("it is not a datetime without time zone")
    return _microseconds(value - _EPOCH_TIME)


def _timestamptz(value: object) -> bytes:
    if not isinstance(value, dt.datetime) or value.tzinfo is None:
        raise Misfit("it is not a datetime with a time zone")
    return _microseconds(value - _EPOCH_UTC)


def _microseconds(since: dt.timedelta) -> bytes:
    return struct.pack("!iq", 8, since // dt.timedelta(microseconds=1))


_NUMERIC_BASE_DIGITS = 4
# The signs of what has no digits; src/backend/utils/adt/numeric.c.
_NAN, _INFINITY, _MINUS_INFINITY = 0xC000, 0xD000, 0xF000
# How many digits there may be before and behind the point;
# https://www.postgresql.org/docs/current/datatype-numeric.html
_MOST_WHOLE, _MOST_FRACTION = 131_072, 16_383


def _numeric(precision: int, scale: int, value: object) -> bytes:
    """numeric(precision, scale); precision 0: any."""
    if isinstance(value, bool) or not isinstance(value, (int, float, decimal.Decimal)):
        raise Misfit("it is not a number")
    number = decimal.Decimal(repr(value)) if isinstance(value, float) else decimal.Decimal(value)
    if not number.is_finite():
        if precision and not number.is_nan():
            raise Misfit("it is infinite")
        sign = _NAN if number.is_nan() else _MINUS_INFINITY if number.is_signed() else _INFINITY
        return struct.pack("!ihhHh", 8, 0, 0, sign, 0)
    if precision:
        # As the server does: rounded half away from zero to the scale, then held against the precision.
        with decimal.localcontext(prec=2000):
            number = number.quantize(decimal.Decimal(1).scaleb(-scale), decimal.ROUND_HALF_UP)
        if number.adjusted() >= precision - scale and number:
            raise Misfit("it has more digits before the point")
    negative, digits, exponent = number.as_tuple()
    shown_scale = max(0, -int(exponent))
    # Before the zeros are written out: 1E+999999999 has a billion of them.
    if shown_scale > _MOST_FRACTION or len(digits) + int(exponent) > _MOST_WHOLE:
        raise Misfit(f"it has more than {_MOST_WHOLE:,} digits before the point, or {_MOST_FRACTION:,} behind it")
    text = "".join(map(str, digits)) + "0" * max(0, int(exponent))
    whole, fraction = (text[: len(text) - shown_scale], text[len(text) - shown_scale :]) if shown_scale else (text, "")
    if shown_scale > len(text):
        whole, fraction = "", text.rjust(shown_scale, "0")
    whole = whole.rjust(-(-len(whole) // _NUMERIC_BASE_DIGITS) * _NUMERIC_BASE_DIGITS, "0")
    fraction = fraction.ljust(-(-len(fraction) // _NUMERIC_BASE_DIGITS) * _NUMERIC_BASE_DIGITS, "0")
    groups = [int((whole + fraction)[at : at + 4]) for at in range(0, len(whole) + len(fraction), 4)]
    weight = len(whole) // _NUMERIC_BASE_DIGITS - 1
    body = struct.pack("!HhHh", len(groups), weight, 0x4000 if negative else 0, shown_scale)
    body += struct.pack(f"!{len(groups)}h", *groups)
    return _length(len(body)) + body


def _fixed(code: str) -> Field:
    return partial(struct.Struct(f"!i{code}").pack, struct.calcsize(f"!{code}"))


_FIELDS: Mapping[str, Field] = {
    **{base: _fixed(code) for base, code in FIXED.items()},
    # Not among FIXED: array.array takes a value beyond the range of a real for infinite.
    "float4": _fixed("f"),
    "bool": _bool,
    "text": _text,
    "varchar": _text,
    "bpchar": _text,
    "name": partial(_bounded_text, 63),
    "bytea": _bytea,
    "json": partial(_json, b""),
    "jsonb": partial(_json, b"\x01"),
    "uuid": _uuid,
    "date": _date,
    "timestamp": _timestamp,
    "timestamptz": _timestamptz,
    "numeric": partial(_numeric, 0, 0),
}
