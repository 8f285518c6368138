"""The two files that add to the items: perks.json and symbiants.csv."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from bulkload import SourceError
from bulkload.gamedb.check import files, fitting
from bulkload.gamedb.check.content import Json, Mob, Perk
from bulkload.gamedb.check.fitting import Misfit, elements, integer, members

_LONGEST_PERK_NAME = 128
_LONGEST_MOB_NAME = 255
_LONGEST_PLAYFIELD = 100
_LONGEST_LOCATION = 255

_PROFESSIONS = {
    "soldier": 1,
    "martialartist": 2,
    "engineer": 3,
    "fixer": 4,
    "agent": 5,
    "adventurer": 6,
    "trader": 7,
    "bureaucrat": 8,
    "enforcer": 9,
    "doctor": 10,
    "nanotechnician": 11,
    "metaphysicist": 12,
    "keeper": 14,
    "shade": 15,
}
_BREEDS = {"solitus": 1, "opifex": 2, "nanomage": 3, "atrox": 4}
_PERK_TYPES = frozenset({"SL", "AI", "LE"})
_HIGHEST_COUNTER = 10
_PERK_COLUMNS = ("aoid", "name", "counter", "type", "professions", "breeds", "level", "aiTitle")

# More digits fit no column, and int() takes only so many.
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,20}")
_AOID_IN_LINK = re.compile(r"[?&;]AOID=([0-9]+)", re.IGNORECASE)
# quality level, slot, family, boss name, playfield, location, mob names, level, two empty ones, then the link.
_LINK = 10


def perks(path: Path) -> dict[int, Perk]:
    """The perks of the file by AOID, those that cannot go in left out; the last one of an AOID counts."""
    try:
        table = members(files.document(path))
        names = elements(table.get("columns"))
        rows = elements(table.get("values"))
        places = {name: names.index(name) for name in _PERK_COLUMNS}
    except ValueError as error:
        raise SourceError(f"{path}: it is not a table of perks: {error}") from error
    found: dict[int, Perk] = {}
    for row in rows:
        try:
            values = elements(row)
            if len(values) != len(names):
                continue
            fields = {name: values[place] for name, place in places.items()}
            found[integer(fields["aoid"])] = _perk(fields)
        except Misfit:
            continue
    return found


def _perk(fields: Mapping[str, Json]) -> Perk:
    name = fitting.text(fields["name"], _LONGEST_PERK_NAME)
    kind = fields["type"]
    counter = integer(fields["counter"])
    if not isinstance(kind, str) or kind.upper() not in _PERK_TYPES or not 1 <= counter <= _HIGHEST_COUNTER:
        raise Misfit("no perk")
    return Perk(
        name=name,
        perk_series=name,
        counter=counter,
        type=kind.upper(),
        level_required=_level(fields["level"]),
        ai_level_required=_level(fields["aiTitle"]),
        professions=_ids(fields["professions"], _PROFESSIONS),
        breeds=_ids(fields["breeds"], _BREEDS),
    )


def _level(value: Json) -> int:
    if value is None:
        return 0
    return integer(_number(value) if isinstance(value, str) else value)


def _number(text: str) -> int:
    text = text.strip()
    if not _WHOLE_NUMBER.fullmatch(text):
        raise Misfit("no number")
    return int(text)


def _ids(names: Json, known: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(_id(name, known) for name in elements(names))


def _id(name: Json, known: Mapping[str, int]) -> int:
    if not isinstance(name, str):
        raise Misfit("no name")
    found = known.get(name.lower().replace(" ", "").replace("-", ""))
    if found is None:
        raise Misfit("an unknown name")
    return found


class Drop(NamedTuple):
    """A line of symbiants.csv: this mob leaves that item behind."""

    aoid: int
    mob: Mob


def drops(path: Path) -> list[Drop]:
    """The lines of the file in their order, those that cannot go in left out."""
    found: list[Drop] = []
    for fields in files.lines(path):
        try:
            found.append(_drop(fields))
        except Misfit:
            continue
    return found


def _drop(fields: list[str]) -> Drop:
    # The text of the link holds commas and is not quoted, so that it goes on in further fields.
    link = _AOID_IN_LINK.search(",".join(fields[_LINK:]))
    if link is None:
        raise Misfit("no AOID")
    _, _, _, name, playfield, location, names, level = fields[:8]
    return Drop(
        aoid=integer(_number(link[1])),
        mob=Mob(
            name=fitting.text(name, _LONGEST_MOB_NAME),
            level=integer(_number(level)) if level.strip() else None,
            playfield=fitting.text(playfield, _LONGEST_PLAYFIELD),
            location=fitting.text(location, _LONGEST_LOCATION),
            mob_names=tuple(fitting.text(each) for each in map(str.strip, names.split(",")) if each),
            is_pocket_boss=True,
            metadata=None,
        ),
    )
