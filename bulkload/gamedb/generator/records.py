"""Ordinary items and nanos: how much of what a record holds.

The shares were set so that 157,000 items and 13,000 nanos give the rows a table that the real set gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from bulkload.gamedb.generator import numbering
from bulkload.gamedb.generator.dice import Dice
from bulkload.gamedb.generator.document import Action, Event, Pair, Record, Shelf, action, event, line, pair, shelf
from bulkload.gamedb.generator.oddities import oddity
from bulkload.gamedb.generator.spells import expression, random_spell
from bulkload.gamedb.generator.symbiants import Symbiant
from bulkload.gamedb.generator.words import (
    GARMENTS,
    MATERIALS,
    PLACES,
    PROGRAMS,
    QUALITIES,
    SKILLS,
    THINGS,
    TOOLS,
    WEAPONS,
    Phrases,
)

_ITEM_TYPE = 1_000_020
_NANO_TYPE = 1_040_005


@attrs.frozen
class _Values:
    """What values a stat takes: `count` of them from `least` on, `step` apart, in that share of the records."""

    stat: int
    share: float
    least: int
    count: int
    step: int = 1


@attrs.frozen
class _Kind:
    """A sort of record. Each tuple of counts holds one as often as it is met."""

    nouns: Sequence[str]
    stats: Sequence[_Values]
    actions: Sequence[int] = (0,)
    operands: Sequence[int] = (0,)
    """Of the expression of an action."""
    events: Sequence[int] = (0,)
    spells: Sequence[int] = (0,)
    """Of an event."""
    guarded: float = 0.0
    """The share of spells that work on some only."""
    armed: bool = False
    """Whether it has AttackDefenseData."""
    sold: float = 0.0
    """The share that shops sell."""


# The stats that nearly every item has.
_COMMON = (
    _Values(2, 1.0, 15, 1),
    _Values(23, 1.0, 10_000, 90, 127),
    _Values(76, 0.94, 0, 6),
    _Values(30, 1.0, 1, 160, 4),
    _Values(0, 1.0, -2_147_483_648, 900, 4_133),
    _Values(88, 0.99, 0, 20),
    _Values(2, 0.85, 1, 900, 7),
    _Values(12, 0.93, 9_000, 6_500),
    _Values(54, 1.0, 1, 300),
    _Values(74, 0.97, 10, 20_000, 45),
    _Values(79, 0.97, 10_000, 9_500),
)
_WORN = (
    *_COMMON,
    _Values(298, 1.0, 2, 20, 32),
    _Values(1, 0.7, 100_000, 30, 25_000),
    _Values(4, 0.8, 1, 30),
    _Values(211, 0.7, 10, 40, 10),
    _Values(352, 0.5, 50, 6, 25),
)
_HELD = (
    *_WORN,
    _Values(286, 1.0, 1, 1_900),
    _Values(285, 1.0, 2, 1_900, 2),
    _Values(287, 0.9, 1, 120, 5),
    _Values(294, 1.0, 80, 400, 5),
    _Values(436, 0.7, 90, 12),
    _Values(420, 0.4, 0, 6),
)
_RUN = (
    _Values(54, 1.0, 1, 999),
    _Values(407, 1.0, 5, 1_500),
    _Values(75, 1.0, 10, 800),
    _Values(8, 0.9, 500, 3_000, 100),
    _Values(211, 1.0, 10, 600, 5),
    _Values(294, 1.0, 100, 300, 10),
    _Values(79, 1.0, 10_000, 3_500),
    _Values(287, 0.8, 5, 40),
    _Values(30, 1.0, 1, 160, 4),
    _Values(0, 1.0, 1, 400, 8),
    _Values(551, 0.8, 0, 20),
    _Values(131, 0.9, 1, 600, 3),
    _Values(128, 0.9, 1, 600, 3),
    _Values(76, 0.6, 0, 4),
)

_ARM = _Kind(WEAPONS, _HELD, (1,), (1, 2, 2, 2, 3, 4), (0, 0, 1), (1, 1, 2, 3), 0.06, armed=True, sold=0.01)
_GARB = _Kind(
    GARMENTS, _WORN, (1,) * 19 + (2,), (0, 1, 2, 2, 3, 3, 4), (1, 1, 1, 2), (1, 2, 2, 2, 3, 5, 8), 0.08, sold=0.01
)
_TOOL = _Kind(TOOLS, _COMMON, (1, 1, 2), (0, 1, 2, 3), (1, 2, 2), (1, 1, 1, 2), 0.2, sold=0.02)
_THING = _Kind(THINGS, _COMMON, sold=0.01)
_GRAFT = _Kind((), _WORN, (1,), (2, 3, 3, 4), (1,), (4, 5, 6, 8), 0.04)
_PROGRAM = _Kind(PROGRAMS, _RUN, (1,), (2, 3, 4, 5, 6), (1, 1, 2), (1, 2, 2, 4, 6, 8), 0.35)
# Of a hundred items that are no symbiants.
_KINDS = (_ARM,) * 18 + (_GARB,) * 38 + (_TOOL,) * 17 + (_THING,) * 27


def item_lines(items: int, dice: Dice) -> Iterator[str]:
    """The records of items.json."""
    phrases = Phrases.of(dice)
    for number in range(items):
        aoid = numbering.item_aoid(number)
        if numbering.is_symbiant(number):
            symbiant = Symbiant.of(numbering.symbiant_place(number))
            record = _record(aoid, symbiant.name, _GRAFT, dice, phrases)
            told = {54: symbiant.quality, 298: symbiant.slot_id}
            stats = [pair(each["Stat"], told.get(each["Stat"], each["RawValue"])) for each in record.stats]
            record = attrs.evolve(record, stats=stats)
        else:
            kind = dice.pick(_KINDS)
            record = _record(aoid, _name(kind, dice), kind, dice, phrases)
        yield line(oddity(number, record), _ITEM_TYPE)


def nano_lines(nanos: int, items: int, dice: Dice) -> Iterator[str]:
    """The records of nanos.json that go with so many items."""
    phrases = Phrases.of(dice)
    for number in range(nanos):
        aoid = numbering.nano_aoid(number, items)
        record = _record(aoid, _name(_PROGRAM, dice), _PROGRAM, dice, phrases)
        yield line(oddity(number, record), _NANO_TYPE)


def _record(aoid: int, name: str, kind: _Kind, dice: Dice, phrases: Phrases) -> Record:
    return Record(
        aoid,
        name,
        phrases.text(dice),
        _stats(kind.stats, dice),
        (_skills(dice), _skills(dice)) if kind.armed and dice.chance(0.95) else None,
        _looks(dice) if dice.chance(0.6 if kind.armed else 0.02) else None,
        _actions(kind, dice),
        _events(kind, dice),
        [_shelf(dice) for _ in range(1 + dice.low(4))] if dice.chance(kind.sold) else None,
        {"Sounds": {"Volume": 5, "Samples": [{"Key": 3, "Value": -dice.below(2**31)}]}} if dice.chance(0.02) else {},
    )


def _name(kind: _Kind, dice: Dice) -> str:
    noun = dice.pick(kind.nouns)
    form = dice.below(4)
    if form == 0:
        return f"{dice.pick(QUALITIES)} {noun}"
    if form == 1:
        return f"{noun} of {dice.pick(PLACES)}"
    middle = f"{dice.pick(QUALITIES)} {dice.pick(MATERIALS)} {noun}"
    return middle if form == 2 else f"{middle} from {dice.pick(PLACES)}"


def _stats(values: Sequence[_Values], dice: Dice) -> list[Pair]:
    return [
        pair(each.stat, each.least + dice.low(each.count) * each.step) for each in values if dice.chance(each.share)
    ]


_SKILL_STATS = tuple(SKILLS)


def _skills(dice: Dice) -> list[Pair]:
    """The skills that a weapon uses, or that parry it, each with its weight."""
    return [pair(dice.pick(_SKILL_STATS), 10 * (1 + dice.below(10))) for _ in range(1 + dice.low(3))]


def _looks(dice: Dice) -> tuple[Pair | None, Pair | None]:
    """Animation and mesh, either of which may be missing."""
    which = dice.below(10)
    return (
        pair(13, dice.low(700)) if which else None,
        pair(12, 9_000 + dice.low(6_500)) if which != 1 else None,
    )


def _actions(kind: _Kind, dice: Dice) -> list[Action] | None:
    count = dice.pick(kind.actions)
    if not count:
        return None
    return [action(dice.pick((3, 6, 6, 8)), expression(dice, dice.pick(kind.operands))) for _ in range(count)]


def _events(kind: _Kind, dice: Dice) -> list[Event]:
    return [
        event(dice.pick((0, 2, 14, 14)), [random_spell(dice, kind.guarded) for _ in range(dice.pick(kind.spells))])
        for _ in range(dice.pick(kind.events))
    ]


def _shelf(dice: Dice) -> Shelf:
    """A shop's terms: its hash has one letter to four."""
    text = "".join([dice.pick("ABCDEFGHKLMNPRSTVWXZ0123456789") for _ in range(1 + dice.below(4))])
    least = 1 + dice.low(250)
    amounts = [least, least + dice.low(50), dice.below(20), dice.below(5), 60 * dice.below(60), dice.below(101)]
    return shelf(text, [None if dice.chance(0.05) else amount for amount in amounts], {"UNK2": dice.below(9)})
