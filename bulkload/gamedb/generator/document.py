"""One record of items.json or nanos.json, and how it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import attrs

Pair: TypeAlias = dict[str, int]
"""{Stat, RawValue}."""
Criterion: TypeAlias = dict[str, int]
"""{Value1, Value2, Operator}."""
Action: TypeAlias = dict[str, object]
"""{Action, Criteria}."""
Spell: TypeAlias = dict[str, object]
"""The six fixed keys and whatever else its SpellID has."""
Event: TypeAlias = dict[str, object]
"""{Items, Event}, the items being spells."""
Shelf: TypeAlias = dict[str, object]
"""One element of ShopHashData."""

INT_MIN = -(2**31)
INT_MAX = 2**31 - 1


@attrs.frozen
class Record:
    """What differs between records, before it takes the form that the files have."""

    aoid: int
    name: str | None
    description: str | None
    stats: Sequence[Pair]
    attack_defense: tuple[Sequence[Pair], Sequence[Pair]] | None = None
    """What it attacks with and what defends against it."""
    animation_mesh: tuple[Pair | None, Pair | None] | None = None
    actions: Sequence[Action] | None = None
    events: Sequence[Event] = ()
    shelves: Sequence[Shelf] | None = None
    """The shops that sell it."""
    unstored: Mapping[str, object] = attrs.field(factory=dict[str, object])
    """Top-level keys that the importer must pass over."""
    ascii: bool = False
    r"""Whether characters beyond ASCII are written as \u escapes."""


def pair(stat: int, value: int) -> Pair:
    """A stat and its value, as in StatValues."""
    return {"Stat": stat, "RawValue": value}


def criterion(value1: int, value2: int, operator: int) -> Criterion:
    """An operand or an operator of an expression in postfix order."""
    return {"Value1": value1, "Value2": value2, "Operator": operator}


def action(number: int, criteria: Sequence[Criterion]) -> Action:
    """What can be done with the item, and who may."""
    return {"Action": number, "Criteria": criteria}


def event(number: int, spells: Sequence[Spell]) -> Event:
    """What happens on that event."""
    return {"Items": spells, "Event": number}


def spell(
    spell_id: int,
    spell_format: str | None,
    parameters: Mapping[str, object],
    criteria: Sequence[Criterion] = (),
    *,
    target: int = 2,
    ticks: int = 1,
    interval: int = 0,
) -> Spell:
    """A spell: the parameters stand before the six fixed keys, as in the real files."""
    return {
        **parameters,
        "Criteria": criteria,
        "Target": target,
        "TickCount": ticks,
        "TickInterval": interval,
        "SpellID": spell_id,
        "SpellFormat": spell_format,
    }


def shelf(text: str, numbers: Sequence[int | None], further: Mapping[str, object]) -> Shelf:
    """One shop's terms: levels, amounts, interval and chance, then keys that are not stored."""
    keys = ("MinLevel", "MaxLevel", "BaseAmount", "RegenAmount", "RegenInterval", "SpawnChance")
    return {"Hash": {"Text": text}, **dict(zip(keys, numbers, strict=True)), **further}


def line(record: Record, db_type: int) -> str:
    """The record as JSON, on one line."""
    document = {
        "DBType": db_type,
        "AOID": record.aoid,
        "Version": 1_000_000,
        "UNK1": 51_000 + record.aoid % 24,
        "StatValues": record.stats,
        "Name": record.name,
        "Description": record.description,
        "AttackDefenseData": _named("Attack", "Defense", record.attack_defense),
        "AnimationMesh": _named("Animation", "Mesh", record.animation_mesh),
        "ActionData": None if record.actions is None else {"Actions": record.actions},
        "SpellData": record.events,
        "Sounds": None,
        "ShopHashData": None if record.shelves is None else {"Items": record.shelves},
        **record.unstored,
    }
    return (_escaped if record.ascii else _plain)(document)


def _named(first: str, second: str, parts: tuple[object, object] | None) -> dict[str, object] | None:
    return None if parts is None else {first: parts[0], second: parts[1]}


# The encoder of the standard library writes the same bytes in every version; those of other packages need not.
_plain = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode
_escaped = json.JSONEncoder(check_circular=False).encode
