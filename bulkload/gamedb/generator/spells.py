"""Spells and the expressions that say on whom they work."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bulkload.gamedb.generator.dice import Dice
from bulkload.gamedb.generator.document import Criterion, Spell, criterion, spell
from bulkload.gamedb.generator.words import PLACES, SKILLS

_SKILLS = tuple(SKILLS.items())
# The skills that criteria ask for: all of them would give more distinct criteria than the real set has.
_ASKED = tuple(SKILLS)[:36]
_EQUAL, _LESS, _MORE, _OR, _AND, _NOT = 0, 1, 2, 3, 4, 42
_TRAILER = {"Version": 0, "Patch": None, "Unknown2": 9}


def expression(dice: Dice, operands: int) -> list[Criterion]:
    """An expression in postfix order; each operand after the first is joined to what stands before it."""
    found: list[Criterion] = []
    for joined in range(operands):
        found.append(_operand(dice))
        if joined:
            found.append(criterion(0, 0, _AND if dice.chance(0.85) else _OR))
    if operands and dice.chance(0.02):
        found.append(criterion(0, 0, _NOT))
    return found


def _operand(dice: Dice) -> Criterion:
    kind = dice.random()
    if kind < 0.72:
        return criterion(dice.pick(_ASKED), 5 + 5 * dice.low(220), _MORE)
    if kind < 0.80:
        return criterion(54, 1 + dice.low(220), _MORE)
    if kind < 0.86:
        return criterion(60, 1 + dice.below(15), _EQUAL)
    if kind < 0.90:
        return criterion(33, 1 + dice.below(4), _EQUAL)
    if kind < 0.95:
        return criterion(455, 2 ** dice.below(20), _LESS)
    return criterion(dice.pick(_ASKED), -dice.below(40), _LESS)


def random_spell(dice: Dice, guarded: float) -> Spell:
    """A spell; that share of them works on some only."""
    criteria = expression(dice, 1 + dice.low(4)) if dice.chance(guarded) else []
    return dice.pick(_MAKERS)(dice, criteria)


def _modify(dice: Dice, criteria: Sequence[Criterion]) -> Spell:
    stat, label = dice.pick(_SKILLS)
    amount = dice.low(900) - 60
    return spell(
        53045,
        "Adds {|b|}{Amount}{|/b|} to {Stat}",
        {"Stat": stat, "Amount": amount, **_TRAILER, "SpellDescription": f"Adds {{|b|}}{amount}{{|/b|}} to {label}"},
        criteria,
    )


def _flag(dice: Dice, criteria: Sequence[Criterion]) -> Spell:
    parameters = {"A": dice.below(32), "B": 20_000 + dice.low(400), **_TRAILER, "SpellDescription": None}
    return spell(53035, None, parameters, criteria)


def _texture(dice: Dice, criteria: Sequence[Criterion]) -> Spell:
    texture, location = 9_000 + dice.low(4_000), dice.below(5)
    said = f"Paint location {location} with {texture}."
    parameters = {"Texture": texture, "Location": location, "C": 0, **_TRAILER, "SpellDescription": said}
    return spell(53039, "Paint location {Location} with {Texture}.", parameters, criteria)


def _hit(dice: Dice, criteria: Sequence[Criterion]) -> Spell:
    least = -dice.low(3_000)
    parameters = {"Stat": 27, "MinValue": least, "MaxValue": least // 2, "ModifierStat": 0, **_TRAILER}
    # Over time as often as at once.
    ticks, interval = (1, 0) if dice.chance(0.5) else (2 + dice.below(12), 100 * (1 + dice.low(30)))
    return spell(53002, None, parameters, criteria, target=3, ticks=ticks, interval=interval)


def _show(dice: Dice, criteria: Sequence[Criterion]) -> Spell:
    shades = {letter: dice.below(256) for letter in "BCDEFG"}
    return spell(53030, None, {"Effect": 13_000 + dice.low(900), **shades, **_TRAILER}, criteria, target=3)


def _lock(dice: Dice, criteria: Sequence[Criterion]) -> Spell:
    stat, label = dice.pick(_SKILLS)
    seconds = 5 + 5 * dice.low(60)
    said = f"{label} rests for {seconds} s."
    parameters = {"A": dice.below(10), "Skill": stat, "Duration": seconds, **_TRAILER, "SpellDescription": said}
    return spell(53033, "{Skill} rests for {Duration} s.", parameters, criteria)


def _say(dice: Dice, criteria: Sequence[Criterion]) -> Spell:
    text = f"A cold wind blows from {dice.pick(PLACES)}."
    return spell(53044, None, {"Text": text, "A": 0, "C": 0, **_TRAILER, "SpellDescription": None}, criteria, target=3)


def _summon(dice: Dice, criteria: Sequence[Criterion]) -> Spell:
    creature = {"Hash": dice.pick(("WOLF", "OWL", "CRAB", "MOTH")), "Level": {"Min": 1, "Max": 1 + dice.low(220)}}
    parameters = {"Creature": creature, "Slots": [dice.below(8), dice.below(8)], **_TRAILER, "SpellDescription": None}
    return spell(53064, "Calls {Creature}.", parameters, criteria, target=dice.pick((1, 2, 3)))


# Each as often as it stands here, out of a hundred.
_MAKERS: Sequence[Callable[[Dice, Sequence[Criterion]], Spell]] = (
    *[_modify] * 61,
    *[_flag] * 10,
    *[_texture] * 9,
    *[_hit] * 6,
    *[_show] * 5,
    *[_lock] * 4,
    *[_say] * 3,
    *[_summon] * 2,
)
