"""What the items database holds, ids aside: the values that both readings end in, and the form in which they compare.

An item is one nested value. Only its digest is kept, so that a full set fits into memory; whoever must say what
differs reads the two values again (`Content.details`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from hashlib import blake2b
from typing import NamedTuple, TypeAlias, cast

import attrs

Json: TypeAlias = "bool | int | Decimal | str | list[Json] | dict[str, Json] | None"
"""A JSON value. Numbers with a point or an exponent are decimals: a float would hide a digit that was lost."""
Pair: TypeAlias = tuple[int, int]
"""A row of stat_values: stat and value."""
Criterion: TypeAlias = tuple[int, int, int]
"""A row of criteria: value1, value2, operator."""
MobKey: TypeAlias = tuple[str, "str | None"]
"""What tells mobs apart: name and playfield."""


# The parts of an item are named tuples: they are made by the million, and serialised as plain arrays.


class Term(NamedTuple):
    """A row of action_criteria."""

    order_index: int
    criterion: Criterion


class Action(NamedTuple):
    """A row of actions with its expression."""

    action: int | None
    criteria: tuple[Term, ...]


class Spell(NamedTuple):
    """A row of spells; its criteria are a set."""

    target: int | None
    tick_count: int | None
    tick_interval: int | None
    spell_id: int | None
    spell_format: str | None
    spell_params: Json
    criteria: frozenset[Criterion]


class SpellData(NamedTuple):
    """A row of spell_data with its spells, in the order of their ids."""

    event: int | None
    spells: tuple[Spell, ...]


class ShopHash(NamedTuple):
    """A row of shop_hash."""

    hash: str
    min_level: int | None
    max_level: int | None
    base_amount: int | None
    regen_amount: int | None
    regen_interval: int | None
    spawn_chance: int | None


class AttackDefense(NamedTuple):
    """A row of attack_defense with its two junctions."""

    attack: frozenset[Pair]
    defense: frozenset[Pair]


class AnimationMesh(NamedTuple):
    """A row of animation_mesh."""

    animation: Pair | None
    mesh: Pair | None


class Perk(NamedTuple):
    """A row of perks."""

    name: str | None
    perk_series: str | None
    counter: int | None
    type: str | None
    level_required: int | None
    ai_level_required: int | None
    professions: tuple[int, ...] | None
    breeds: tuple[int, ...] | None


class SourceKey(NamedTuple):
    """What tells sources apart."""

    type: str | None
    """The name of the type."""
    name: str
    mob: MobKey | None
    """The mob it stands for."""


class ItemSource(NamedTuple):
    """A row of item_sources with the source it refers to."""

    source: SourceKey
    drop_rate: Decimal | None
    min_ql: int | None
    max_ql: int | None
    conditions: str | None
    metadata: str | None
    """In canonical form, so that NULL and the JSON null are two things; so for those below."""


class Item(NamedTuple):
    """A row of items with all that hangs on it."""

    aoid: int
    name: str
    ql: int | None
    description: str | None
    item_class: int | None
    is_nano: bool | None
    stats: frozenset[Pair]
    attack_defense: AttackDefense | None
    animation_mesh: AnimationMesh | None
    actions: tuple[Action, ...]
    spell_data: tuple[SpellData, ...]
    shop_hash: tuple[ShopHash, ...]
    perk: Perk | None
    sources: tuple[ItemSource, ...]


class Mob(NamedTuple):
    """A row of mobs."""

    name: str
    level: int | None
    playfield: str | None
    location: str | None
    mob_names: tuple[str, ...] | None
    is_pocket_boss: bool | None
    metadata: str | None


class Source(NamedTuple):
    """A row of sources with the mob it stands for."""

    key: SourceKey
    metadata: str | None


class Symbiant(NamedTuple):
    """A row of the view symbiant_items."""

    name: str
    ql: int | None
    slot_id: int | None
    family: str | None


@attrs.frozen
class Content:
    """The content of an items database, as it should be (`expected`) or as it is (`actual`)."""

    items: Mapping[int, bytes]
    """The digest of each item, by AOID."""
    stat_values: frozenset[Pair]
    criteria: frozenset[Criterion]
    source_types: frozenset[str]
    """Their names."""
    mobs: Mapping[MobKey, tuple[Mob, ...]]
    """More than one under a key is a mistake; so for the two below."""
    sources: Mapping[SourceKey, tuple[Source, ...]]
    symbiant_items: Mapping[int | None, tuple[Symbiant, ...]]
    """By AOID."""
    rows: Mapping[str, int]
    """How many rows each table has."""
    faults: tuple[str, ...]
    """What is wrong in itself, whatever the source says: rows that nothing refers to, items that stand there twice."""
    details: Callable[[Collection[int]], Mapping[int, Item]] = attrs.field(eq=False, repr=False)
    """Reads the items with these AOIDs again, whole."""


# Python refuses to print an int of more digits.
_LONGEST_INTEGER = 4300


def _plain(value: object) -> object:
    """What the JSON encoder takes in place of a value that it does not know."""
    if isinstance(value, frozenset):
        return sorted(cast("frozenset[tuple[int, ...]]", value))
    if isinstance(value, Decimal):
        if not value.is_finite():
            return {"decimal": str(value)}
        # 1.0, 1e0 and 1 are one number, and jsonb does not keep which of them was written.
        if value == value.to_integral_value() and value.adjusted() < _LONGEST_INTEGER:
            return int(value)
        sign, digits, exponent = value.as_tuple()
        written = "".join(map(str, digits))
        significant = written.rstrip("0")
        return {"decimal": f"{'-' * sign}{significant}e{int(exponent) + len(written) - len(significant)}"}
    raise TypeError(f"{type(value).__name__} is no part of a content")


_ENCODER = json.JSONEncoder(
    default=_plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, check_circular=False
)


def canonical(value: object) -> str:
    """One text for all values that are the same: sets and keys sorted, numbers written one way."""
    return _ENCODER.encode(value)


def digest(text: str) -> bytes:
    """Sixteen bytes in place of a canonical text."""
    return blake2b(text.encode(), digest_size=16).digest()
