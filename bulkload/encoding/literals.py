"""Arrays of arrays: unnest would flatten them, so that the inner ones travel as text.

The text is made of the bytes that COPY would send, not of the values, so that both store the same.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from bulkload.encoding.columns import ColumnType
from bulkload.encoding.fields import FIXED, NULL, array

# https://www.postgresql.org/docs/current/datatype-datetime.html, "Julian date": that of 2000-01-01, from which the
# binary formats count; it is read whatever the DateStyle, and of any year.
_EPOCH = 2_451_545
_DAY = 86_400_000_000
_MINUS = 0x4000
_SPECIAL = {0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}
_TEXT_OID = 25

Text = Callable[[bytes], str]


def array_of_literals(element: ColumnType, fields: Sequence[bytes]) -> bytes:
    """A binary array of text, of the fields of a column whose values are arrays of the element's type."""
    text = _decoded if element.labels is not None else _TEXTS.get(element.base, _decoded)
    return array(_TEXT_OID, [field if field == NULL else _literal(field, text) for field in fields])


def _literal(field: bytes, text: Text) -> bytes:
    data = ("{" + ",".join(_items(field, text)) + "}").encode()
    return struct.pack("!i", len(data)) + data


def _items(field: bytes, text: Text) -> Iterator[str]:
    (dimensions,) = struct.unpack_from("!i", field, 4)
    # Behind it: whether there are NULLs, the type, how many elements there are, and where they count from.
    at = 24
    for _ in range(struct.unpack_from("!i", field, 16)[0] if dimensions else 0):
        (length,) = struct.unpack_from("!i", field, at)
        at += 4
        if length < 0:
            yield "NULL"
            continue
        written = text(field[at : at + length])
        yield '"' + written.replace("\\", "\\\\").replace('"', '\\"') + '"'
        at += length


def _decoded(data: bytes) -> str:
    return data.decode()


def _number(code: str, data: bytes) -> str:
    # repr tells a float from its neighbours.
    return repr(struct.unpack(f"!{code}", data)[0])


def _date(data: bytes) -> str:
    return f"J{_EPOCH + struct.unpack('!i', data)[0]}"


def _timestamp(zone: str, data: bytes) -> str:
    days, microseconds = divmod(struct.unpack("!q", data)[0], _DAY)
    seconds, fraction = divmod(microseconds, 1_000_000)
    time = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{fraction:06}"
    return f"J{_EPOCH + days} {time}{zone}"


def _numeric(data: bytes) -> str:
    count, weight, sign, scale = struct.unpack_from("!HhHh", data)
    if sign in _SPECIAL:
        return _SPECIAL[sign]
    digits = "".join(f"{group:04}" for group in struct.unpack_from(f"!{count}h", data, 8))
    point = 4 * (weight + 1)
    fraction = digits[point:][:scale]
    return f"{'-' if sign == _MINUS else ''}{digits[:point] or 0}{'.' if fraction else ''}{fraction}"


_TEXTS: Mapping[str, Text] = {
    **{base: partial(_number, code) for base, code in FIXED.items()},
    "float4": partial(_number, "f"),
    "bool": lambda data: "t" if data == b"\x01" else "f",
    "bytea": lambda data: f"\\x{data.hex()}",
    "jsonb": lambda data: data[1:].decode(),
    "uuid": bytes.hex,
    "date": _date,
    "timestamp": partial(_timestamp, ""),
    "timestamptz": partial(_timestamp, "+00"),
    "numeric": _numeric,
}
"""How the bytes of a value are written; of types that are not here they are its text."""
