"""Every shape of the public API as a user writes it, and the mistakes that a type checker must reject.

Checked by mypy and pyright, never run. A line marked `# wrong` must be an error to both; test_typing.py sees to that.
"""

from __future__ import annotations

import bulkload
from bulkload import Entity, Id, Keep, Lookup, MemoryLoad, Plan, Sink, Table, record


@record
class StatValue:
    stat: int
    value: int


@record
class Item:
    aoid: int
    name: str


@record
class ItemStat:
    item_id: Id[Item]
    stat_value_id: Id[StatValue] | None


STATS = Entity("stat_values", StatValue, ("stat", "value"), conflict=Keep(on=("stat", "value")))
ITEMS = Entity("items", Item, ("aoid", "name"))
ITEM_STATS = Table("item_stats", ItemStat, ("item_id", "stat_value_id"))
BY_AOID = Lookup(ITEMS, on=("aoid",))
PLAN = Plan(STATS, ITEMS, ITEM_STATS, lookups=[BY_AOID])


def right(sink: Sink, connection: bulkload.Connection) -> None:
    item: Id[Item] = sink.add(ITEMS, Item(1, "a"))
    stat = sink.add(STATS, StatValue(1, 2))
    sink.add(ITEM_STATS, ItemStat(item, stat))
    sink.add(ITEM_STATS, ItemStat(item, None))
    sink.extend(ITEM_STATS, (ItemStat(item, stat) for _ in range(2)))
    found: Id[Item] | None = sink.find(BY_AOID, 1)
    if found is not None:
        sink.add(ITEM_STATS, ItemStat(found, Id[StatValue](3)))
    with bulkload.start(connection, PLAN) as load:
        right(load, connection)
    memory = MemoryLoad(PLAN)
    right(memory, connection)
    rows: list[ItemStat] = memory.rows(ITEM_STATS)
    ids: list[Id[Item]] = memory.ids(ITEMS)
    del rows, ids


def wrong(sink: Sink, item: Id[Item], stat: Id[StatValue]) -> None:
    ItemStat(stat, item)  # wrong: swapped foreign keys
    ItemStat(1, stat)  # wrong: a bare int as an id
    sink.add(ITEMS, StatValue(1, 2))  # wrong: a record of another table
    sink.add(ITEM_STATS, ItemStat(item, stat)).bit_length()  # wrong: the result of a Table
    sink.extend(ITEM_STATS, [Item(1, "a")])  # wrong: records of another table
    ItemStat(sink.find(BY_AOID, 1), stat)  # wrong: it may be None
    Item(1, "a").name = "b"  # wrong: records are not to be changed
    Lookup(ITEM_STATS, on=("item_id",))  # wrong: a Table has no ids to find
