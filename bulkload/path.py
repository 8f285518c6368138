"""Where in a document a value stands."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import cast

import attrs
import msgspec


def path_of(document: object, value: object) -> str:
    """The path in a decoded document to the very object `value`, as in `StatValues[2].RawValue`.

    '' where it is not there, and where it is there more than once: Python has only one object for None, for a small
    number or a short text, and a guess which of them is meant may be wrong. Looks into msgspec Structs (by the names
    in the source), attrs and dataclass objects, mappings, lists and tuples.
    """
    found = ""
    # Not recursive: a document may be nested more deeply than Python calls may be.
    waiting = [("", document)]
    while waiting:
        path, each = waiting.pop()
        if each is value and path:
            if found:
                return ""
            found = path
        waiting += [(path + step if path else step.removeprefix("."), inner) for step, inner in _inside(each)]
    return found


def _inside(value: object) -> Iterator[tuple[str, object]]:
    """The parts of a value, with their steps in a path."""
    if isinstance(value, Mapping):
        for key, inner in cast("Mapping[object, object]", value).items():
            yield (f".{key}" if isinstance(key, str) else f"[{key!r}]"), inner
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(cast("Sequence[object]", value)):
            yield f"[{index}]", inner
    else:
        for attribute, name in _names(type(value)):
            # A field that was never set has no value.
            if hasattr(value, attribute):
                yield f".{name}", getattr(value, attribute)


def _names(kind: type[object]) -> Iterable[tuple[str, str]]:
    """The fields of a class: the attribute, and the name in the source."""
    if issubclass(kind, msgspec.Struct):
        return zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)
    if attrs.has(kind):
        return [(field.name, field.name) for field in attrs.fields(kind)]
    if dataclasses.is_dataclass(kind):
        return [(field.name, field.name) for field in dataclasses.fields(kind)]
    return ()
