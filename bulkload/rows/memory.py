"""A load without a database: for the tests of a mapping, and for checking records before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any, TypeVar, cast

from bulkload.encoding.columns import Column
from bulkload.encoding.encode import Encoder
from bulkload.encoding.keys import normal
from bulkload.errors import SchemaError
from bulkload.model.plan import AnyLookup, AnyRelation, Plan
from bulkload.model.records import Id
from bulkload.model.tables import Entity, Key, Lookup, Relation, key_getter
from bulkload.rows.sink import Batch, Buffers

R = TypeVar("R")

Find = Callable[[AnyLookup, tuple[object, ...]], int | None]


class MemoryLoad(Buffers):
    """A sink that keeps its rows in memory. Ids count from 1 for each entity.

        load = MemoryLoad(PLAN)
        add_item(load, document)
        assert load.rows(ITEM_STATS) == [ItemStat(Id(1), Id(1))]

    With `columns` (of `bulkload.of_ddl`, or a server's), `check` refuses what would not fit them.
    """

    def __init__(self, plan: Plan, columns: Mapping[str, Mapping[str, Column]] | None = None) -> None:
        self._columns = columns or {}
        super().__init__(plan, lambda _entity: count(1))
        self.find_elsewhere: Find | None = None
        """Where to look for a row that was not added here."""
        self._encoders = {
            relation: _encoder(relation, columns[relation.name])
            for relation in plan
            if columns is not None and relation.name in columns and relation.columns
        }
        self._index: dict[AnyLookup, dict[Key, int]] = {lookup: {} for lookup in plan.lookups}
        self._indexed: dict[AnyLookup, int] = dict.fromkeys(plan.lookups, 0)

    def rows(self, relation: Relation[R]) -> list[R]:
        """The rows that were added to a relation."""
        batch = cast(Batch[R], self.batches[relation])
        return list(batch.records) if relation.conflict is None else list(batch.keyed.values())

    def ids(self, entity: Entity[R]) -> list[Id[R]]:
        """The ids of the rows of an entity, in the order of `rows`."""
        return [Id[R](identifier) for identifier in self._ids(entity)]

    def find(self, lookup: Lookup[R], /, *values: object) -> Id[R] | None:
        """The id of the newest row with these values, among all that were added."""
        found = self.find_id(lookup, values)
        return None if found is None else Id[R](found)

    def find_id(self, lookup: AnyLookup, values: tuple[object, ...]) -> int | None:
        """What `find` finds, as a bare number."""
        self._index_batch(lookup)
        key = values[0] if len(values) == 1 else values
        made = normal(self._key_columns(lookup.entity, lookup.on))
        found = self._index[lookup].get(key if made is None else made(key))
        if found is None and self.find_elsewhere is not None:
            found = self.find_elsewhere(lookup, values)
        return found

    def check(self) -> None:
        """Raises FitError for the first value that does not fit its column."""
        for relation, encoder in self._encoders.items():
            rows = self.rows(relation)
            if not rows:
                continue
            values = relation.values_of(rows)
            encoder.refuse_nulls(relation.key, values)
            encoder.rows(values)

    def clear(self) -> None:
        """Forget the rows, but not what can be looked up."""
        for lookup in self._index:
            self._index_batch(lookup)
        super().clear()
        self._indexed = dict.fromkeys(self._indexed, 0)

    def key_columns(self, relation: AnyRelation) -> Sequence[Column]:
        """As in `Buffers`."""
        return self._key_columns(relation, relation.key)

    def _key_columns(self, relation: AnyRelation, names: Sequence[str]) -> Sequence[Column]:
        known = self._columns.get(relation.name, {})
        return [known[name] for name in names] if all(name in known for name in names) else ()

    def _ids(self, entity: Entity[Any]) -> list[int]:
        if entity.conflict is None:
            return self.batches[entity].ids
        return [self.known[entity][key] for key in self.batches[entity].keyed]

    def _index_batch(self, lookup: AnyLookup) -> None:
        if lookup.entity not in self.batches or self._indexed[lookup] == len(self.batches[lookup.entity]):
            return
        key_of, index = key_getter(lookup.on), self._index[lookup]
        made = normal(self._key_columns(lookup.entity, lookup.on)) or _as_it_comes
        added = dict(zip(self._ids(lookup.entity), self.rows(lookup.entity), strict=True))
        # A row whose key is met again keeps its id: what it was found by before no longer leads to it.
        for key in [key for key, identifier in index.items() if identifier in added]:
            del index[key]
        index.update({made(key_of(row)): identifier for identifier, row in added.items()})
        self._indexed[lookup] = len(added)


def _as_it_comes(key: Key) -> Key:
    return key


def _encoder(relation: AnyRelation, columns: Mapping[str, Column]) -> Encoder:
    missing = [name for name in relation.columns if name not in columns]
    if missing:
        raise SchemaError(f"{relation} has no column {', '.join(missing)}")
    return Encoder(relation.name, [columns[name] for name in relation.columns])
