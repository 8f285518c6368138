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
    return _only([path for path, each in _parts(document) if each is value])


def path_like(data: bytes, value: object) -> str:
    """The path in a JSON record to what `value` was made of, where that can be nothing else; else ''.

    For values that are no longer the very object of the document, since their mapping decoded a part of it anew: what
    equals the value, or an object that holds all its keys and more.
    """
    try:
        document = msgspec.json.decode(data)
        sought = msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    return _only([path for path, each in _parts(document) if _alike(each, sought)])


def _alike(part: object, sought: object) -> bool:
    same_kind = type(part) is type(sought)
    if isinstance(sought, dict) and isinstance(part, dict):
        keys, whole = cast("dict[str, object]", sought), cast("dict[str, object]", part)
        return all(key in whole and whole[key] == inner for key, inner in keys.items())
    return same_kind and part == sought


def _only(paths: list[str]) -> str:
    return paths[0] if len(paths) == 1 else ""


def _parts(document: object) -> Iterator[tuple[str, object]]:
    """All that is in a document, itself left out, with its path."""
    # Not recursive: a document may be nested more deeply than Python calls may be.
    waiting = [("", document)]
    while waiting:
        path, each = waiting.pop()
        if path:
            yield path, each
        waiting += [(path + step if path else step.removeprefix("."), inner) for step, inner in _inside(each)]


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
