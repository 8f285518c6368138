"""The mapping of an item's or a nano's document to rows."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count, repeat

import msgspec

from bulkload import Id, RecordError, Sink
from bulkload.gamedb import documents, tables
from bulkload.gamedb.tables import (
    Action,
    ActionCriterion,
    AnimationMesh,
    AttackDefense,
    AttackDefenseStat,
    Item,
    ItemShopHash,
    ItemSpellData,
    ItemStat,
    ShopHash,
    Spell,
    SpellCriterion,
    SpellData,
    SpellDataSpell,
    StatValue,
)

_QUALITY_LEVEL = 54
_ITEM_CLASS = 76

_fixed_keys = msgspec.json.Decoder(list[documents.Spell] | None)
_all_keys = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_encode = msgspec.json.Encoder().encode
_FIXED_KEYS = tuple(documents.Spell.__struct_encode_fields__)


def add_item(sink: Sink, document: documents.Item) -> None:
    """The rows of a record of items.json."""
    _add(sink, document, is_nano=False)


def add_nano(sink: Sink, document: documents.Item) -> None:
    """The rows of a record of nanos.json. Stat 54 means something else there: a nano's quality level is 1."""
    _add(sink, document, is_nano=True)


def _add(sink: Sink, document: documents.Item, *, is_nano: bool) -> None:
    stats = document.stat_values or ()
    last = {stat.stat: stat.value for stat in stats}
    item = sink.add(
        tables.ITEMS,
        Item(
            aoid=document.aoid,
            name=document.name or "",
            ql=1 if is_nano else last.get(_QUALITY_LEVEL) or 1,
            description=document.description or "",
            item_class=last.get(_ITEM_CLASS, 0),
            is_nano=is_nano,
            atkdef_id=_add_attack_defense(sink, document.attack_defense_data),
            animation_mesh_id=_add_animation_mesh(sink, document.animation_mesh),
        ),
    )
    sink.extend(tables.ITEM_STATS, map(ItemStat, repeat(item), _stat_values(sink, stats)))
    if document.action_data is not None:
        _add_actions(sink, item, document.action_data.actions or ())
    for number, data in enumerate(document.spell_data or ()):
        _add_spell_data(sink, item, data, number)
    if document.shop_hash_data is not None:
        for shop_hash in document.shop_hash_data.items or ():
            sink.add(tables.ITEM_SHOP_HASHES, ItemShopHash(item, sink.add(tables.SHOP_HASHES, _shop_hash(shop_hash))))


def _stat_values(sink: Sink, stats: Iterable[StatValue]) -> Iterable[Id[StatValue]]:
    """The distinct statistics: the same one can stand twice in a record."""
    return dict.fromkeys(sink.extend(tables.STAT_VALUES, stats))


def _add_attack_defense(sink: Sink, data: documents.AttackDefense | None) -> Id[AttackDefense] | None:
    if data is None:
        return None
    row = sink.add(tables.ATTACK_DEFENSE, AttackDefense())
    for relation, stats in ((tables.ATTACK_STATS, data.attack), (tables.DEFENSE_STATS, data.defense)):
        sink.extend(relation, map(AttackDefenseStat, repeat(row), _stat_values(sink, stats or ())))
    return row


def _add_animation_mesh(sink: Sink, data: documents.AnimationMesh | None) -> Id[AnimationMesh] | None:
    if data is None:
        return None
    animation, mesh = (
        None if stat is None else sink.add(tables.STAT_VALUES, stat) for stat in (data.animation, data.mesh)
    )
    return sink.add(tables.ANIMATION_MESH, AnimationMesh(animation, mesh))


def _add_actions(sink: Sink, item: Id[Item], actions: Iterable[documents.Action]) -> None:
    for data in actions:
        action = sink.add(tables.ACTIONS, Action(data.action, item))
        # The criteria are an expression in postfix order: none is left out because it was there before.
        sink.extend(
            tables.ACTION_CRITERIA,
            map(ActionCriterion, repeat(action), sink.extend(tables.CRITERIA, data.criteria or ()), count()),
        )


def _add_spell_data(sink: Sink, item: Id[Item], data: documents.SpellData, number: int) -> None:
    row = sink.add(tables.SPELL_DATA, SpellData(data.event))
    sink.add(tables.ITEM_SPELL_DATA, ItemSpellData(item, row))
    try:
        read = _fixed_keys.decode(data.items)
        if not read:
            return
        params = map(_params, _all_keys.decode(data.items))
    except msgspec.ValidationError as error:
        reason, _, where = str(error).partition(" - at `$")
        raise RecordError(reason.replace("`", ""), path=f"SpellData[{number}].Items{where.rstrip('`')}") from error
    spells = sink.extend(tables.SPELLS, map(_spell, read, params))
    sink.extend(tables.SPELL_DATA_SPELLS, map(SpellDataSpell, repeat(row), spells))
    for spell, fixed in zip(spells, read, strict=True):
        if fixed.criteria:
            distinct = dict.fromkeys(sink.extend(tables.CRITERIA, fixed.criteria))
            sink.extend(tables.SPELL_CRITERIA, map(SpellCriterion, repeat(spell), distinct))


def _params(keys: dict[str, msgspec.Raw]) -> msgspec.Raw:
    """The JSON object of all keys of a spell but the fixed ones, their values as they stand in the file."""
    for key in _FIXED_KEYS:
        keys.pop(key, None)
    return msgspec.Raw(_encode(keys))


def _spell(fixed: documents.Spell, params: msgspec.Raw) -> Spell:
    return Spell(fixed.target, fixed.tick_count, fixed.tick_interval, fixed.spell_id, fixed.spell_format, params)


def _shop_hash(data: documents.ShopHash) -> ShopHash:
    return ShopHash(
        data.hash.text,
        data.min_level,
        data.max_level,
        data.base_amount,
        data.regen_amount,
        data.regen_interval,
        data.spawn_chance,
    )
