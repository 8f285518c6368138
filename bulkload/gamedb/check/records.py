"""A record of items.json or nanos.json as the item that it must become.

A key that is missing says the same as null, and null in place of a list the same as an empty one. Any other value of
another shape than the format's makes the whole record a misfit.
"""

from __future__ import annotations

from collections.abc import Iterable

from bulkload.gamedb.check import fitting
from bulkload.gamedb.check.content import (
    Action,
    AnimationMesh,
    AttackDefense,
    Criterion,
    Item,
    Json,
    Pair,
    ShopHash,
    Spell,
    SpellData,
    Term,
)
from bulkload.gamedb.check.fitting import elements_or_none, integer, integer_or_null, members

_LONGEST_NAME = 128
_LONGEST_DESCRIPTION = 8192
_LONGEST_FORMAT = 512
_LONGEST_HASH = 4
_QUALITY_LEVEL = 54
_ITEM_CLASS = 76
_NOT_A_PARAMETER = frozenset({"Target", "TickCount", "TickInterval", "SpellID", "SpellFormat", "Criteria"})


def aoid(record: Json) -> int:
    """The number that the record is known by. Raises Misfit where it has none."""
    return integer(members(record).get("AOID"))


def item(record: Json, *, is_nano: bool) -> Item:
    """The item with all that its own record says; perks and sources come from other files. Raises Misfit."""
    fields = members(record)
    stats = [_pair(value) for value in elements_or_none(fields.get("StatValues"))]
    return Item(
        aoid=integer(fields.get("AOID")),
        name=_text_or_empty(fields.get("Name"), _LONGEST_NAME),
        # Stat 54 of a nano is not its quality level; an item without one, or with 0, is of the lowest.
        ql=1 if is_nano else _last(stats, _QUALITY_LEVEL) or 1,
        description=_text_or_empty(fields.get("Description"), _LONGEST_DESCRIPTION),
        item_class=_last(stats, _ITEM_CLASS) or 0,
        is_nano=is_nano,
        stats=frozenset(stats),
        attack_defense=_attack_defense(fields.get("AttackDefenseData")),
        animation_mesh=_animation_mesh(fields.get("AnimationMesh")),
        actions=_actions(fields.get("ActionData")),
        spell_data=tuple(_spell_data(value) for value in elements_or_none(fields.get("SpellData"))),
        shop_hash=_shop_hash(fields.get("ShopHashData")),
        perk=None,
        sources=(),
    )


def _text_or_empty(value: Json, most: int) -> str:
    return "" if value is None else fitting.text(value, most)


def _last(stats: Iterable[Pair], wanted: int) -> int | None:
    found = None
    for stat, value in stats:
        if stat == wanted:
            found = value
    return found


def _pair(value: Json) -> Pair:
    fields = members(value)
    return integer(fields.get("Stat")), integer(fields.get("RawValue"))


def _pairs(value: Json) -> frozenset[Pair]:
    return frozenset(_pair(element) for element in elements_or_none(value))


def _pair_or_null(value: Json) -> Pair | None:
    return None if value is None else _pair(value)


def _attack_defense(value: Json) -> AttackDefense | None:
    if value is None:
        return None
    fields = members(value)
    return AttackDefense(_pairs(fields.get("Attack")), _pairs(fields.get("Defense")))


def _animation_mesh(value: Json) -> AnimationMesh | None:
    if value is None:
        return None
    fields = members(value)
    return AnimationMesh(_pair_or_null(fields.get("Animation")), _pair_or_null(fields.get("Mesh")))


def _criterion(value: Json) -> Criterion:
    fields = members(value)
    return integer(fields.get("Value1")), integer(fields.get("Value2")), integer(fields.get("Operator"))


def _actions(value: Json) -> tuple[Action, ...]:
    if value is None:
        return ()
    return tuple(_action(element) for element in elements_or_none(members(value).get("Actions")))


def _action(value: Json) -> Action:
    fields = members(value)
    criteria = elements_or_none(fields.get("Criteria"))
    return Action(
        integer(fields.get("Action")),
        tuple(Term(place, _criterion(criterion)) for place, criterion in enumerate(criteria)),
    )


def _spell_data(value: Json) -> SpellData:
    fields = members(value)
    spells = tuple(_spell(element) for element in elements_or_none(fields.get("Items")))
    return SpellData(integer(fields.get("Event")), spells)


def _spell(value: Json) -> Spell:
    fields = members(value)
    spell_format = fields.get("SpellFormat")
    return Spell(
        target=integer_or_null(fields.get("Target")),
        tick_count=integer_or_null(fields.get("TickCount")),
        tick_interval=integer_or_null(fields.get("TickInterval")),
        spell_id=integer_or_null(fields.get("SpellID")),
        spell_format=None if spell_format is None else fitting.text(spell_format, _LONGEST_FORMAT),
        spell_params=fitting.json({key: inner for key, inner in fields.items() if key not in _NOT_A_PARAMETER}),
        criteria=frozenset(_criterion(element) for element in elements_or_none(fields.get("Criteria"))),
    )


def _shop_hash(value: Json) -> tuple[ShopHash, ...]:
    if value is None:
        return ()
    return tuple(_shop_hash_row(element) for element in elements_or_none(members(value).get("Items")))


def _shop_hash_row(value: Json) -> ShopHash:
    fields = members(value)
    return ShopHash(
        hash=fitting.text(members(fields.get("Hash")).get("Text"), _LONGEST_HASH),
        min_level=integer_or_null(fields.get("MinLevel")),
        max_level=integer_or_null(fields.get("MaxLevel")),
        base_amount=integer_or_null(fields.get("BaseAmount")),
        regen_amount=integer_or_null(fields.get("RegenAmount")),
        regen_interval=integer_or_null(fields.get("RegenInterval")),
        spawn_chance=integer_or_null(fields.get("SpawnChance")),
    )
