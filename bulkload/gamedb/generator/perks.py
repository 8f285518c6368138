"""perks.json: perks that stand on items of the set."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from bulkload.gamedb.generator import numbering
from bulkload.gamedb.generator.dice import Dice
from bulkload.gamedb.generator.words import MATERIALS, PROGRAMS

_PROFESSIONS = (
    "Soldier",
    "Martial Artist",
    "Engineer",
    "Fixer",
    "Agent",
    "Adventurer",
    "Trader",
    "Bureaucrat",
    "Enforcer",
    "Doctor",
    "Nano-Technician",
    "Meta Physicist",
    "Keeper",
    "Shade",
)
_BREEDS = ("Solitus", "Opifex", "Nanomage", "Atrox")
_TYPES = ("SL", "AI", "LE", "sl", "Ai", "lE", "le", "Sl", "aI")
_COLUMNS = ("aoid", "name", "counter", "type", "professions", "breeds", "level", "aiTitle", "icon", "remark")
"""The last two are not stored."""
# How many perks the series have, one after another.
_LENGTHS = (10, 6, 10, 3, 10, 1)
_ROUND = tuple((series, counter) for series, length in enumerate(_LENGTHS) for counter in range(1, length + 1))
# One in so many stands on a nano, and one in so many on nothing.
_ODD_EVERY = 50
_ON_NANO = 17
_ON_NOTHING = 34
# With so many perks, the last of them stands where the first does.
_ENOUGH_FOR_TWICE = 10


def perks_text(perks: int, items: int, nanos: int, dice: Dice) -> Iterator[str]:
    """The text of perks.json, piece by piece."""
    columns = _shuffled(_COLUMNS, dice)
    yield f'{{"columns": {_json(columns)}, "values": ['
    for number in range(perks):
        standing = 0 if number == perks - 1 and perks >= _ENOUGH_FOR_TWICE else number
        row = _perk(number, _aoid(standing, perks, items, nanos), dice)
        yield "\n" if number == 0 else ",\n"
        yield _json([row[column] for column in columns])
    yield "\n]}\n"


def _perk(number: int, aoid: int, dice: Dice) -> Mapping[str, object]:
    rounds, place = divmod(number, len(_ROUND))
    series, counter = _ROUND[place]
    return {
        "aoid": aoid,
        "name": _series_name(rounds * len(_LENGTHS) + series),
        "counter": counter,
        "type": dice.pick(_TYPES),
        "professions": _some(_PROFESSIONS, dice),
        "breeds": _some(_BREEDS, dice),
        "level": _written(counter * (1 + dice.below(20)), dice),
        "aiTitle": _written(dice.below(31), dice),
        "icon": 10_000 + dice.below(5_000),
        "remark": dice.pick((None, "", "checked", "ask the “scribe”, please")),
    }


def _aoid(number: int, perks: int, items: int, nanos: int) -> int:
    """The AOID a perk stands on, another one for each."""
    rounds, place = divmod(number, _ODD_EVERY)
    if place == _ON_NANO and rounds < nanos:
        return numbering.nano_aoid(rounds, items)
    item = number * items // perks if perks <= items else number
    if place in (_ON_NANO, _ON_NOTHING) or item >= items or not numbering.keeps_its_aoid(item):
        return numbering.absent_aoid(number)
    return numbering.item_aoid(item)


def _series_name(number: int) -> str:
    first, second = divmod(number, len(MATERIALS))
    ordinal, first = divmod(first, len(PROGRAMS))
    return f"{MATERIALS[second]} {PROGRAMS[first]}" + (f" {ordinal + 1}" if ordinal else "")


def _written(value: int, dice: Dice) -> int | str | None:
    """A number as the real file may hold it."""
    kind = dice.random()
    return value if kind < 0.7 else str(value) if kind < 0.9 else None


def _some(names: Sequence[str], dice: Dice) -> list[str]:
    """A few of the names in their order, at times none at all; some spelled without the space or hyphen."""
    share = dice.random() * 0.6
    found = [name for name in names if dice.chance(share)]
    return [name.replace(" ", "").replace("-", "") if dice.chance(0.3) else name for name in found]


def _shuffled(names: Sequence[str], dice: Dice) -> list[str]:
    left = list(names)
    return [left.pop(dice.below(len(left))) for _ in names]


_json = json.JSONEncoder(ensure_ascii=False).encode
