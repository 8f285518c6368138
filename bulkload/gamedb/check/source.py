"""What the source files say must be in the database: the rules of the mapping, written a second time.

It shares nothing with the loader, on purpose: a mistake in one of the two shows as a difference. A record that cannot
go in is passed over here as it is there, so the last one of its AOID that fits is the one that counts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import attrs

from bulkload.gamedb.check import companions, files, records
from bulkload.gamedb.check.companions import Drop
from bulkload.gamedb.check.content import (
    Content,
    Criterion,
    Item,
    ItemSource,
    Mob,
    MobKey,
    Pair,
    Perk,
    Source,
    SourceKey,
    Symbiant,
    canonical,
    digest,
)
from bulkload.gamedb.check.fitting import Misfit

_SOURCE_TYPES = frozenset({"item", "npc", "mob", "mission", "vendor"})
_SLOT = 298
_NO_METADATA = canonical({})
_SYMBIANT_NAME = re.compile(r", ([A-Za-z]+) Unit [A-Za-z]+\Z")


def expected(items: Path | None, nanos: Path | None, perks: Path | None, symbiants: Path | None) -> Content:
    """What a database must hold that was empty before these files were imported; None is a file that was not.

    The item files are read as streams; of each item a digest stays and what the shared tables hold of it. Raises
    SourceError where a file cannot be read.
    """
    drops = companions.drops(symbiants) if symbiants is not None else []
    source = _Source(items, nanos, companions.perks(perks) if perks is not None else {}, _item_sources(drops))
    kept: dict[int, _Kept] = {}
    keep = _Keeper()
    for item in source.items():
        kept[item.aoid] = keep(item)
    stat_values = frozenset(pair for each in kept.values() for pair in each.stat_values)
    criteria = frozenset(criterion for each in kept.values() for criterion in each.criteria)
    # A line says something only if its item is there; of those that name one mob, the last says what it is like.
    mobs = {_key(drop.mob): drop.mob for drop in drops if drop.aoid in kept}
    symbiant_items: Mapping[int | None, tuple[Symbiant, ...]] = {
        aoid: (each.symbiant,) for aoid, each in kept.items() if each.symbiant is not None
    }
    singles = {
        "stat_values": len(stat_values),
        "criteria": len(criteria),
        "mobs": len(mobs),
        "sources": len(mobs),
        "source_types": len(_SOURCE_TYPES),
    }
    return Content(
        items={aoid: each.digest for aoid, each in kept.items()},
        stat_values=stat_values,
        criteria=criteria,
        source_types=_SOURCE_TYPES,
        mobs={key: (mob,) for key, mob in mobs.items()},
        sources={_source_key(mob): (Source(_source_key(mob), _NO_METADATA),) for mob in mobs.values()},
        symbiant_items=symbiant_items,
        rows={**_Rows.total(each.rows for each in kept.values()), **singles},
        faults=(),
        details=source.details,
    )


@attrs.frozen
class _Source:
    """The files, the small ones read already."""

    items_file: Path | None
    nanos_file: Path | None
    perks: Mapping[int, Perk]
    sources: Mapping[int, tuple[ItemSource, ...]]
    """Where each item comes from, by AOID."""

    def items(self, wanted: Collection[int] | None = None) -> Iterator[Item]:
        """The items of all records that fit, in the order of the import; `wanted` are the AOIDs, None all."""
        for path, is_nano in ((self.items_file, False), (self.nanos_file, True)):
            for record in files.elements(path) if path is not None else ():
                try:
                    aoid = records.aoid(record)
                    if wanted is not None and aoid not in wanted:
                        continue
                    item = records.item(record, is_nano=is_nano)
                except Misfit:
                    continue
                perk = None if is_nano else self.perks.get(aoid)
                sources = self.sources.get(aoid, ())
                yield item._replace(perk=perk, sources=sources) if perk or sources else item

    def details(self, wanted: Collection[int]) -> Mapping[int, Item]:
        return {item.aoid: item for item in self.items(frozenset(wanted))}


def _item_sources(drops: Iterable[Drop]) -> Mapping[int, tuple[ItemSource, ...]]:
    found: dict[int, dict[SourceKey, ItemSource]] = {}
    for aoid, mob in drops:
        key = _source_key(mob)
        found.setdefault(aoid, {})[key] = ItemSource(key, None, None, None, None, _NO_METADATA)
    return {aoid: tuple(sorted(sources.values(), key=canonical)) for aoid, sources in found.items()}


def _key(mob: Mob) -> MobKey:
    return mob.name, mob.playfield


def _source_key(mob: Mob) -> SourceKey:
    return SourceKey("mob", mob.name, _key(mob))


class _Rows(NamedTuple):
    """How many rows of its own an item makes, a table."""

    items: int
    item_stats: int
    attack_defense: int
    attack_defense_attack: int
    attack_defense_defense: int
    animation_mesh: int
    actions: int
    action_criteria: int
    spell_data: int
    item_spell_data: int
    spells: int
    spell_data_spells: int
    spell_criteria: int
    shop_hash: int
    item_shop_hash: int
    perks: int
    item_sources: int

    @classmethod
    def of(cls, item: Item) -> _Rows:
        attack_defense = item.attack_defense
        spells = sum(len(data.spells) for data in item.spell_data)
        return cls(
            items=1,
            item_stats=len(item.stats),
            attack_defense=attack_defense is not None,
            attack_defense_attack=len(attack_defense.attack) if attack_defense else 0,
            attack_defense_defense=len(attack_defense.defense) if attack_defense else 0,
            animation_mesh=item.animation_mesh is not None,
            actions=len(item.actions),
            action_criteria=sum(len(action.criteria) for action in item.actions),
            spell_data=len(item.spell_data),
            item_spell_data=len(item.spell_data),
            spells=spells,
            spell_data_spells=spells,
            spell_criteria=sum(len(spell.criteria) for data in item.spell_data for spell in data.spells),
            shop_hash=len(item.shop_hash),
            item_shop_hash=len(item.shop_hash),
            perks=item.perk is not None,
            item_sources=len(item.sources),
        )

    @classmethod
    def total(cls, many: Iterable[_Rows]) -> Mapping[str, int]:
        totals = dict.fromkeys(cls._fields, 0)
        for rows, times in Counter(many).items():
            for table, count in zip(cls._fields, rows, strict=True):
                totals[table] += count * times
        return totals


class _Kept(NamedTuple):
    """What stays of an item. A later one of the same AOID takes its place whole, the shared values included."""

    digest: bytes
    rows: _Rows
    stat_values: tuple[Pair, ...]
    criteria: tuple[Criterion, ...]
    symbiant: Symbiant | None


class _Keeper:
    """Makes what stays of an item; equal parts are one object, or 170,000 items would take up gigabytes."""

    def __init__(self) -> None:
        self._rows: dict[_Rows, _Rows] = {}
        self._pairs: dict[Pair, Pair] = {}
        self._criteria: dict[Criterion, Criterion] = {}

    def __call__(self, item: Item) -> _Kept:
        rows, pairs, criteria = _Rows.of(item), _pairs_of(item), _criteria_of(item)
        return _Kept(
            digest(canonical(item)),
            self._rows.setdefault(rows, rows),
            tuple(map(self._pairs.setdefault, pairs, pairs)),
            tuple(map(self._criteria.setdefault, criteria, criteria)),
            _symbiant(item),
        )


def _pairs_of(item: Item) -> set[Pair]:
    pairs = set(item.stats)
    if item.attack_defense:
        pairs |= item.attack_defense.attack | item.attack_defense.defense
    if item.animation_mesh:
        pairs.update(pair for pair in item.animation_mesh if pair is not None)
    return pairs


def _criteria_of(item: Item) -> set[Criterion]:
    criteria = {term.criterion for action in item.actions for term in action.criteria}
    return criteria.union(*(spell.criteria for data in item.spell_data for spell in data.spells))


def _symbiant(item: Item) -> Symbiant | None:
    name = None if item.is_nano else _SYMBIANT_NAME.search(item.name)
    if name is None:
        return None
    slots = [value for stat, value in item.stats if stat == _SLOT]
    return Symbiant(item.name, item.ql, max(slots, default=None), name[1])
