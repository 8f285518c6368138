"""Keys as Python compares them: values that are the same to the server's `=` are made the same."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from bulkload.encoding.columns import Column
from bulkload.model.tables import Key

EXACT_TYPES = frozenset({"int2", "int4", "int8", "text", "varchar", "bool", "uuid", "date", "timestamp", "timestamptz"})
"""Types of whose values that can be said. char(n), for one, is not among them: the server pads it."""


def normal(columns: Sequence[Column]) -> Callable[[Key], Key] | None:
    """A function that makes keys of these columns the same where they mean the same.

    None where they are so as they come. What is no value of its column stays what it is: the encoder refuses it.
    """
    makers = [_NORMAL.get(column.type.base) for column in columns]
    if not any(makers):
        return None
    if len(makers) == 1:
        return makers[0]

    def made(key: Key) -> Key:
        values = cast("tuple[object, ...]", key)
        return tuple(value if make is None else make(value) for make, value in zip(makers, values, strict=True))

    return made


def _uuid(value: object) -> object:
    """Text has many spellings of one."""
    if isinstance(value, uuid.UUID):
        return value
    try:
        return uuid.UUID(str(value))
    except ValueError:
        return value


def _utc(value: object) -> object:
    """Where clocks are put back, Python calls times of two zones different whatever they are (PEP 495)."""
    if not isinstance(value, dt.datetime) or value.tzinfo is None:
        return value
    try:
        return value.astimezone(dt.UTC)
    except OverflowError:
        return value


_NORMAL: Mapping[str, Callable[[Key], Key]] = {"uuid": _uuid, "timestamptz": _utc}
