"""Two contents held against each other, and what differs said in words."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from itertools import islice
from typing import TypeVar, cast

from bulkload import shown
from bulkload.gamedb.check.content import Content, Item, canonical

_K = TypeVar("_K")
_V = TypeVar("_V")

# A text is told whole up to this length; of a longer one, so much from where the two begin to differ.
_SHORT_TEXT = 40
_LONG_VALUE = 80
_NO_ITEMS: Mapping[int, Item] = {}


def differences(expected: Content, actual: Content, most: int = 10) -> list[str]:
    """What the database holds otherwise than it should, a line each; empty where it holds exactly what it should.

    Of each kind (items, mobs, …) the first `most` are told one by one and the rest is counted. Where items differ,
    the files and the database are read once more, to say in what. Raises SourceError and ServerError.
    """
    return [
        *_rows(expected.rows, actual.rows),
        *actual.faults,
        *_sets("stat_values", expected.stat_values, actual.stat_values),
        *_sets("criteria", expected.criteria, actual.criteria),
        *_sets("source_types", expected.source_types, actual.source_types),
        *_items(expected, actual, most),
        *_first(most, _table("mobs", expected.mobs, actual.mobs)),
        *_first(most, _table("sources", expected.sources, actual.sources)),
        *_first(most, _table("symbiant_items", expected.symbiant_items, actual.symbiant_items)),
    ]


def _rows(expected: Mapping[str, int], actual: Mapping[str, int]) -> Iterator[str]:
    for table in dict.fromkeys((*expected, *actual)):
        if expected.get(table) != actual.get(table):
            yield f"{table}: {expected.get(table, 0)} rows expected, {actual.get(table, 0)} found"


def _sets(table: str, expected: frozenset[_V], actual: frozenset[_V]) -> Iterator[str]:
    for found, verdict in ((expected - actual, "missing"), (actual - expected, "not expected")):
        if found:
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            yield f"{table}: {_words(min(found, key=canonical))}{more} {verdict}"


def _items(expected: Content, actual: Content, most: int) -> Iterator[str]:
    differing = sorted(
        aoid
        for aoid in expected.items.keys() | actual.items.keys()
        if expected.items.get(aoid) != actual.items.get(aoid)
    )
    told = differing[:most]
    both = [aoid for aoid in told if aoid in expected.items and aoid in actual.items]
    # Not for nothing: it means reading a file from end to end.
    wanted = expected.details(both) if both else _NO_ITEMS
    found = actual.details(both) if both else _NO_ITEMS
    for aoid in told:
        if aoid not in actual.items:
            yield f"AOID {aoid}: missing"
        elif aoid not in expected.items:
            yield f"AOID {aoid}: not expected"
        else:
            yield f"AOID {aoid}: {_told(wanted.get(aoid), found.get(aoid))}"
    if len(differing) > most:
        yield f"… and {len(differing) - most} more items"


def _table(table: str, expected: Mapping[_K, Collection[_V]], actual: Mapping[_K, Collection[_V]]) -> Iterator[str]:
    for key in dict.fromkeys((*expected, *actual)):
        wanted, found = expected.get(key, ()), actual.get(key, ())
        if len(wanted) == len(found) == 1:
            if canonical(wanted) != canonical(found):
                yield f"{table} {_words(key)}: {_told(*wanted, *found)}"
        elif len(wanted) != len(found):
            times = "missing" if not found else f"{len(found)} times, not {len(wanted)}" if wanted else "not expected"
            yield f"{table} {_words(key)}: {times}"


def _first(most: int, lines: Iterator[str]) -> Iterator[str]:
    yield from islice(lines, most)
    rest = sum(1 for _ in lines)
    if rest:
        yield f"… and {rest} more of these"


def _told(expected: object, actual: object) -> str:
    """The first thing that differs in the two values, and how many more there are."""
    lines = [line.removeprefix(".") for line in _differing("", expected, actual)]
    if not lines:
        # Two values of one digest cannot differ, and two digests of one value neither.
        return "changed while it was compared"
    return lines[0] if len(lines) == 1 else f"{lines[0]} (and {len(lines) - 1} more in it)"


def _differing(path: str, expected: object, actual: object) -> Iterator[str]:
    if canonical(expected) == canonical(actual):
        return
    wanted_set, found_set = _set(expected), _set(actual)
    if wanted_set is not None and found_set is not None:
        yield from _sets(path, wanted_set, found_set)
        return
    wanted, found = _parts(expected), _parts(actual)
    if wanted is None or found is None:
        yield f"{path}: {_side_by_side(expected, actual)}"
        return
    for part in dict.fromkeys((*wanted, *found)):
        if part not in found:
            yield f"{path}{part}: missing"
        elif part not in wanted:
            yield f"{path}{part}: not expected"
        else:
            yield from _differing(f"{path}{part}", wanted[part], found[part])


def _set(value: object) -> frozenset[object] | None:
    return cast("frozenset[object]", value) if isinstance(value, frozenset) else None


def _parts(value: object) -> Mapping[str, object] | None:
    """What a value consists of, by the words that lead to it; None for what is best told whole."""
    if isinstance(value, dict):
        return {f"[{key!r}]": part for key, part in cast("dict[str, object]", value).items()}
    if not isinstance(value, (tuple, list)):
        return None
    parts = cast("tuple[object, ...] | list[object]", value)
    fields = cast("tuple[str, ...] | None", getattr(parts, "_fields", None))
    if fields is not None:
        return {f".{field}": part for field, part in zip(fields, parts, strict=True)}
    if all(isinstance(part, (int, str)) for part in parts) and parts:
        return None
    return {f"[{index}]": part for index, part in enumerate(parts)}


def _side_by_side(expected: object, actual: object) -> str:
    if isinstance(expected, str) and isinstance(actual, str) and max(len(expected), len(actual)) > _SHORT_TEXT:
        pairs = zip(expected, actual, strict=False)
        at = next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(expected), len(actual)))
        expected, actual = expected[at : at + _SHORT_TEXT], actual[at : at + _SHORT_TEXT]
        return f"{_words(expected)} expected from character {at} on, {_words(actual)} found"
    return f"{_words(expected)} expected, {_words(actual)} found"


def _words(value: object) -> str:
    """A value as JSON would write it, which is how the reader knows it."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, Decimal):
        return str(value)
    text = canonical(value)
    return text if len(text) <= _LONG_VALUE else f"{text[:_LONG_VALUE]}…"
