"""The tables of the items database, as values."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bulkload import Entity, Id, Keep, Lookup, Plan, Replace, Table, Update, record


class StatValue(msgspec.Struct, rename={"stat": "Stat", "value": "RawValue"}, frozen=True, gc=False):
    """A statistic with its value, as it stands in a document; one row for each pair, shared by all that refer to it."""

    stat: int
    value: int


class Criterion(msgspec.Struct, rename="pascal", frozen=True, gc=False):
    """One element of a condition, as it stands in a document; one row for each triple, shared by all of them."""

    value1: int
    value2: int
    operator: int


@record
class AttackDefense:
    """What a weapon attacks and defends with; the row itself holds nothing."""


@record
class AttackDefenseStat:
    """A statistic of an attack, or of a defense."""

    attack_defense_id: Id[AttackDefense]
    stat_value_id: Id[StatValue]


@record
class AnimationMesh:
    """How an item moves and looks."""

    animation_id: Id[StatValue] | None
    mesh_id: Id[StatValue] | None


@record
class Item:
    """An item or a nano program."""

    aoid: int
    name: str
    ql: int
    description: str
    item_class: int
    is_nano: bool
    atkdef_id: Id[AttackDefense] | None
    animation_mesh_id: Id[AnimationMesh] | None


@record
class ItemStat:
    """A statistic of an item."""

    item_id: Id[Item]
    stat_value_id: Id[StatValue]


@record
class Action:
    """What can be done with an item."""

    action: int
    item_id: Id[Item]


@record
class ActionCriterion:
    """An element of an action's condition, which is an expression in postfix order."""

    action_id: Id[Action]
    criterion_id: Id[Criterion]
    order_index: int


@record
class SpellData:
    """The spells that an event of an item sets off."""

    event: int


@record
class ItemSpellData:
    """An event of an item."""

    item_id: Id[Item]
    spell_data_id: Id[SpellData]


@record
class Spell:
    """An effect."""

    target: int | None
    tick_count: int | None
    tick_interval: int | None
    spell_id: int | None
    spell_format: str | None
    spell_params: msgspec.Raw
    """All other keys of the spell, as one JSON object."""


@record
class SpellDataSpell:
    """A spell of an event."""

    spell_data_id: Id[SpellData]
    spell_id: Id[Spell]


@record
class SpellCriterion:
    """An element of a spell's condition."""

    spell_id: Id[Spell]
    criterion_id: Id[Criterion]


@record
class ShopHash:
    """What a shop may sell."""

    hash: str
    min_level: int | None
    max_level: int | None
    base_amount: int | None
    regen_amount: int | None
    regen_interval: int | None
    spawn_chance: int | None


@record
class ItemShopHash:
    """A shop hash of an item."""

    item_id: Id[Item]
    shop_hash_id: Id[ShopHash]


@record
class Perk:
    """A perk that is bought as an item; one row an item."""

    item_id: Id[Item]
    name: str
    perk_series: str
    counter: int
    type: str
    level_required: int
    ai_level_required: int
    professions: Sequence[int]
    breeds: Sequence[int]


@record
class Mob:
    """A boss, and where it is."""

    name: str
    level: int | None
    playfield: str
    location: str
    mob_names: Sequence[str]


@record
class SourceType:
    """A kind of source."""

    name: str


@record
class ItemOrigin:
    """Where items come from."""

    source_type_id: Id[SourceType]
    source_id: Id[Mob]
    """The id of the mob: of this kind are all sources that this package knows."""
    name: str


@record
class ItemSource:
    """An item of a source."""

    item_id: Id[Item]
    source_id: Id[ItemOrigin]


STAT_VALUES = Entity("stat_values", StatValue, ("stat", "value"), conflict=Keep(on=("stat", "value")))
CRITERIA = Entity(
    "criteria", Criterion, ("value1", "value2", "operator"), conflict=Keep(on=("value1", "value2", "operator"))
)
ATTACK_DEFENSE = Entity("attack_defense", AttackDefense, ())
ATTACK_STATS = Table("attack_defense_attack", AttackDefenseStat, ("attack_defense_id", "stat_value_id"))
DEFENSE_STATS = Table("attack_defense_defense", AttackDefenseStat, ("attack_defense_id", "stat_value_id"))
ANIMATION_MESH = Entity("animation_mesh", AnimationMesh, ("animation_id", "mesh_id"))
ITEMS = Entity(
    "items",
    Item,
    ("aoid", "name", "ql", "description", "item_class", "is_nano", "atkdef_id", "animation_mesh_id"),
    conflict=Replace(on=("aoid",)),
)
ITEM_STATS = Table("item_stats", ItemStat, ("item_id", "stat_value_id"))
ACTIONS = Entity("actions", Action, ("action", "item_id"))
ACTION_CRITERIA = Table("action_criteria", ActionCriterion, ("action_id", "criterion_id", "order_index"))
SPELL_DATA = Entity("spell_data", SpellData, ("event",))
ITEM_SPELL_DATA = Table("item_spell_data", ItemSpellData, ("item_id", "spell_data_id"))
SPELLS = Entity("spells", Spell, ("target", "tick_count", "tick_interval", "spell_id", "spell_format", "spell_params"))
SPELL_DATA_SPELLS = Table("spell_data_spells", SpellDataSpell, ("spell_data_id", "spell_id"))
SPELL_CRITERIA = Table("spell_criteria", SpellCriterion, ("spell_id", "criterion_id"))
SHOP_HASHES = Entity(
    "shop_hash",
    ShopHash,
    ("hash", "min_level", "max_level", "base_amount", "regen_amount", "regen_interval", "spawn_chance"),
)
ITEM_SHOP_HASHES = Table("item_shop_hash", ItemShopHash, ("item_id", "shop_hash_id"))
PERKS = Table(
    "perks",
    Perk,
    (
        "item_id", "name", "perk_series", "counter", "type", "level_required", "ai_level_required", "professions",
        "breeds",
    ),
    conflict=Update(on=("item_id",)),
)  # fmt: skip
MOBS = Entity(
    "mobs", Mob, ("name", "level", "playfield", "location", "mob_names"), conflict=Update(on=("name", "playfield"))
)
SOURCE_TYPES = Entity("source_types", SourceType, ("name",), conflict=Keep(on=("name",)), seeded=True)
SOURCES = Entity(
    "sources",
    ItemOrigin,
    ("source_type_id", "source_id", "name"),
    conflict=Update(on=("source_type_id", "source_id")),
)
ITEM_SOURCES = Table("item_sources", ItemSource, ("item_id", "source_id"), conflict=Keep(on=("item_id", "source_id")))

ITEMS_BY_AOID = Lookup(ITEMS, on=("aoid",))
ITEMS_BY_KIND = Lookup(ITEMS, on=("aoid", "is_nano"))

ITEM_PLAN = Plan(
    STAT_VALUES, CRITERIA, ATTACK_DEFENSE, ATTACK_STATS, DEFENSE_STATS, ANIMATION_MESH, ITEMS, ITEM_STATS, ACTIONS,
    ACTION_CRITERIA, SPELL_DATA, ITEM_SPELL_DATA, SPELLS, SPELL_DATA_SPELLS, SPELL_CRITERIA, SHOP_HASHES,
    ITEM_SHOP_HASHES,
    dependents=(PERKS.name, ITEM_SOURCES.name),
)  # fmt: skip
PERK_PLAN = Plan(PERKS, lookups=[ITEMS_BY_KIND])
SYMBIANT_PLAN = Plan(MOBS, SOURCE_TYPES, SOURCES, ITEM_SOURCES, lookups=[ITEMS_BY_AOID])
