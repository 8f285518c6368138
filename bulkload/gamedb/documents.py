"""The documents of items.json and nanos.json: their shape as it is in the files, for msgspec to decode and check.

Keys that are not stored (DBType, Version, UNK1, Sounds) are left out, and passed over. Statistics and criteria are rows
as they stand.
"""

from __future__ import annotations

import msgspec

from bulkload.gamedb.tables import Criterion, StatValue


class AttackDefense(msgspec.Struct, rename="pascal", gc=False):
    """What a weapon attacks and defends with."""

    attack: list[StatValue] | None = None
    defense: list[StatValue] | None = None


class AnimationMesh(msgspec.Struct, rename="pascal", gc=False):
    """How an item moves and looks."""

    animation: StatValue | None = None
    mesh: StatValue | None = None


class Action(msgspec.Struct, rename="pascal", gc=False):
    """What can be done with an item."""

    action: int
    criteria: list[Criterion] | None = None


class ActionData(msgspec.Struct, rename="pascal", gc=False):
    """The actions of an item."""

    actions: list[Action] | None = None


class Spell(msgspec.Struct, rename="pascal", gc=False):
    """The keys that every spell has; the further ones differ by SpellID."""

    target: int | None = None
    tick_count: int | None = None
    tick_interval: int | None = None
    spell_id: int | None = msgspec.field(default=None, name="SpellID")
    spell_format: str | None = None
    criteria: list[Criterion] | None = None


class SpellData(msgspec.Struct, rename="pascal", gc=False):
    """The spells that an event sets off, as JSON text: decoded twice, for their fixed keys and for their others."""

    event: int
    items: msgspec.Raw = msgspec.Raw(b"null")


class Hash(msgspec.Struct, rename="pascal", gc=False):
    """The hash of a shop."""

    text: str


class ShopHash(msgspec.Struct, rename="pascal", gc=False):
    """What a shop may sell."""

    hash: Hash
    min_level: int | None = None
    max_level: int | None = None
    base_amount: int | None = None
    regen_amount: int | None = None
    regen_interval: int | None = None
    spawn_chance: int | None = None


class ShopHashData(msgspec.Struct, rename="pascal", gc=False):
    """What shops may sell of an item."""

    items: list[ShopHash] | None = None


class Item(msgspec.Struct, rename="pascal", gc=False):
    """A record of items.json or nanos.json."""

    aoid: int = msgspec.field(name="AOID")
    name: str | None = None
    description: str | None = None
    stat_values: list[StatValue] | None = None
    attack_defense_data: AttackDefense | None = None
    animation_mesh: AnimationMesh | None = None
    action_data: ActionData | None = None
    spell_data: list[SpellData] | None = None
    shop_hash_data: ShopHashData | None = None
