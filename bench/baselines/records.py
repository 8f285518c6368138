"""What all baselines read: the records of items.json and nanos.json, once, as plain values.

Reading and mapping are not what they differ in, so each gets them at their fastest: split and decoded by msgspec into
typed objects, of each AOID only the last record, what is distinct made distinct. What is left is how rows get ids and
how they get to the server.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeAlias, TypeVar

import attrs
import msgspec

from bulkload.gamedb import Files, documents
from bulkload.gamedb.tables import StatValue

T = TypeVar("T")

Pair: TypeAlias = tuple[int, int]
"""A stat with its value."""
Triple: TypeAlias = tuple[int, int, int]
"""An element of a condition."""
Shelf: TypeAlias = tuple[str, int | None, int | None, int | None, int | None, int | None, int | None]
"""A row of shop_hash."""
SHELF = ("hash", "min_level", "max_level", "base_amount", "regen_amount", "regen_interval", "spawn_chance")
"""Its columns."""

_QUALITY_LEVEL = 54
_ITEM_CLASS = 76


class _Key(msgspec.Struct):
    aoid: int = msgspec.field(name="AOID")


_split = msgspec.json.Decoder(list[msgspec.Raw])
_read_key = msgspec.json.Decoder(_Key)
_read_item = msgspec.json.Decoder(documents.Item)
_read_spells = msgspec.json.Decoder(list[documents.Spell] | None)
_read_params = msgspec.json.Decoder(list[dict[str, msgspec.Raw]] | None)


@attrs.define
class Spell:
    """A row of spells, and its distinct criteria."""

    fixed: documents.Spell
    params: Mapping[str, msgspec.Raw]
    criteria: Sequence[Triple]


@attrs.define
class Record:
    """An item or a nano with all that hangs on it."""

    aoid: int
    name: str
    ql: int
    description: str
    item_class: int
    is_nano: bool
    stats: Sequence[Pair]
    attack_defense: tuple[Sequence[Pair], Sequence[Pair]] | None
    animation_mesh: tuple[Pair | None, Pair | None] | None
    actions: Sequence[tuple[int, Sequence[Triple]]]
    spell_data: Sequence[tuple[int, Sequence[Spell]]]
    shelves: Sequence[Shelf]

    @property
    def pairs(self) -> Iterator[Pair]:
        """All stats that it refers to; some come more than once."""
        yield from self.stats
        for pairs in self.attack_defense or ():
            yield from pairs
        for pair in self.animation_mesh or ():
            if pair is not None:
                yield pair

    @property
    def triples(self) -> Iterator[Triple]:
        """All criteria that it refers to; some come more than once."""
        for _, criteria in self.actions:
            yield from criteria
        for _, spells in self.spell_data:
            for spell in spells:
                yield from spell.criteria


def records(files: Files) -> Iterator[Record]:
    """Of each AOID the last record of both files: the others are superseded whole."""
    latest: dict[int, tuple[msgspec.Raw, bool]] = {}
    for path, is_nano in ((files.items, False), (files.nanos, True)):
        for raw in _split.decode(path.read_bytes()):
            latest[_read_key.decode(raw).aoid] = raw, is_nano
    for raw, is_nano in latest.values():
        yield _record(_read_item.decode(raw), is_nano=is_nano)


def batches(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """So many at a time."""
    iterator = iter(values)
    while batch := list(islice(iterator, size)):
        yield batch


def json_text(params: Mapping[str, msgspec.Raw]) -> str:
    """A spell's parameters as they go into a jsonb column."""
    return msgspec.json.encode(params).decode()


def _record(item: documents.Item, *, is_nano: bool) -> Record:
    last = {stat.stat: stat.value for stat in item.stat_values or ()}
    armed, looks, actions, shelves = (
        item.attack_defense_data,
        item.animation_mesh,
        item.action_data,
        item.shop_hash_data,
    )
    return Record(
        aoid=item.aoid,
        name=item.name or "",
        ql=1 if is_nano else last.get(_QUALITY_LEVEL) or 1,
        description=item.description or "",
        item_class=last.get(_ITEM_CLASS, 0),
        is_nano=is_nano,
        stats=_pairs(item.stat_values),
        attack_defense=(_pairs(armed.attack), _pairs(armed.defense)) if armed else None,
        animation_mesh=(_pair(looks.animation), _pair(looks.mesh)) if looks else None,
        actions=[(each.action, _triples(each.criteria)) for each in (actions and actions.actions) or ()],
        spell_data=[(data.event, _spells(data.items)) for data in item.spell_data or ()],
        shelves=[_shelf(each) for each in (shelves and shelves.items) or ()],
    )


def _pair(stat: StatValue | None) -> Pair | None:
    return (stat.stat, stat.value) if stat else None


def _pairs(stats: Iterable[StatValue] | None) -> Sequence[Pair]:
    return list(dict.fromkeys([(stat.stat, stat.value) for stat in stats or ()]))


def _triples(criteria: Iterable[documents.Criterion] | None) -> Sequence[Triple]:
    return [(each.value1, each.value2, each.operator) for each in criteria or ()]


def _spells(raw: msgspec.Raw) -> list[Spell]:
    return list(map(_spell, _read_spells.decode(raw) or (), _read_params.decode(raw) or ()))


def _spell(fixed: documents.Spell, params: dict[str, msgspec.Raw]) -> Spell:
    for key in documents.Spell.__struct_encode_fields__:
        params.pop(key, None)
    return Spell(fixed, params, list(dict.fromkeys(_triples(fixed.criteria))))


def _shelf(each: documents.ShopHash) -> Shelf:
    return (
        each.hash.text, each.min_level, each.max_level, each.base_amount, each.regen_amount, each.regen_interval,
        each.spawn_chance,
    )  # fmt: skip
