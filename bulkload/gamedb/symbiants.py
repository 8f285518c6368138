"""symbiants.csv: which boss drops which symbiant, a line each."""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs

from bulkload import RecordError, Sink
from bulkload.gamedb.tables import (
    ITEM_SOURCES,
    ITEMS_BY_AOID,
    MOBS,
    SOURCE_TYPES,
    SOURCES,
    ItemOrigin,
    ItemSource,
    Mob,
    SourceType,
)

_AOID = re.compile(r"[?&;]AOID=([0-9]{1,10})\b", re.IGNORECASE)

# quality level, slot, family, boss name, playfield, location, mob names, level, empty, empty, link; the link's text
# may hold commas, and then spreads over further fields.
_FIELDS = 11
_LINK = 10


@attrs.frozen
class SymbiantDocument:
    """A line of symbiants.csv."""

    aoid: int
    boss: str
    playfield: str
    location: str
    mob_names: tuple[str, ...]
    level: int | None


def read_symbiant(fields: Sequence[str]) -> SymbiantDocument:
    """The line, from its fields. Raises RecordError."""
    if len(fields) < _FIELDS:
        raise RecordError(f"the line has {len(fields)} fields, where {_FIELDS} are expected")
    link = ",".join(fields[_LINK:])
    aoid = _AOID.search(link)
    if aoid is None:
        raise RecordError("the link holds no AOID", path="link")
    level = fields[7].strip()
    if level and not re.fullmatch(r"[+-]?[0-9]{1,10}", level):
        raise RecordError(f"{level!r} is not an integer", path="level")
    return SymbiantDocument(
        aoid=int(aoid[1]),
        boss=fields[3],
        playfield=fields[4],
        location=fields[5],
        mob_names=tuple(name for name in map(str.strip, fields[6].split(",")) if name),
        level=int(level) if level else None,
    )


def add_symbiant(sink: Sink, document: SymbiantDocument) -> None:
    """The rows of a line: the mob, the mob as a source, and the item as one of that source."""
    item = sink.find(ITEMS_BY_AOID, document.aoid)
    if item is None:
        raise RecordError(f"AOID {document.aoid} is not the AOID of an imported item", path="link")
    mob = sink.add(MOBS, Mob(document.boss, document.level, document.playfield, document.location, document.mob_names))
    kind = sink.add(SOURCE_TYPES, SourceType("mob"))
    source = sink.add(SOURCES, ItemOrigin(kind, mob, document.boss))
    sink.add(ITEM_SOURCES, ItemSource(item, source))
