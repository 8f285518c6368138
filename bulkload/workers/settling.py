"""What rows that were mapped elsewhere stand for: which of them exist, and the ids in place of their stand-ins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, cast

from bulkload.encoding.keys import normal
from bulkload.model.plan import AnyEntity, AnyRelation, Plan
from bulkload.model.report import Report
from bulkload.model.tables import Entity, Keep, Key
from bulkload.rows.keyed import Settled
from bulkload.rows.load import Load
from bulkload.workers.exchange import Mapped, Rows, resolved
from bulkload.workers.new_keys import NewKeys
from bulkload.workers.outbox import Pending

Dictionaries = dict[tuple[bytes, str], list[int]]
"""By process and entity, the ids of the keys that the process told of, in its order."""


class Settlement(NamedTuple):
    """Of a chunk."""

    settled: Mapping[str, Settled]
    """By relation, those with a conflict rule."""
    ids: Mapping[str, Sequence[int]]
    """What stand-ins count, by entity."""


class Settler:
    """Settles the keys of chunks, in their order."""

    def __init__(
        self, load: Load, report: Report, plan: Plan, dictionaries: Dictionaries, new: dict[AnyEntity, NewKeys]
    ) -> None:
        self._load = load
        self._report = report
        self._dictionaries = dictionaries
        self._new = new
        self._by_name: dict[str, AnyRelation] = {relation.name: relation for relation in plan}

    def entity(self, name: str) -> AnyEntity:
        """The entity of a name."""
        relation = self._by_name[name]
        assert isinstance(relation, Entity)  # noqa: S101 - ids are of entities
        return relation

    def knows(self, mapped: Mapped) -> bool:
        """Whether all keys are known that the process takes to be."""
        return all(len(self._told(mapped.dictionary, name)) == count for name, count in mapped.before.items())

    def came_before(self, mapped: Mapped) -> bool:
        """Whether one of the keys did that were taken to be new."""
        return any(self._came_before(self.entity(rows.relation), rows) for rows in mapped.rows if rows.keys)

    def settle(self, mapped: Mapped, pending: Pending) -> Settlement:
        """Tell rows that exist from new ones."""
        with self._report.phase("settle keys"):
            settled = {
                rows.relation: self._settled(self.entity(rows.relation), rows, pending)
                for rows in mapped.rows
                if isinstance(self._by_name[rows.relation], Entity) and self._by_name[rows.relation].conflict
            }
            ids = {name: each.ids for name, each in settled.items()}
            for name in mapped.before:
                told = self._told(mapped.dictionary, name)
                told.extend(ids.get(name, ()))
                ids[name] = told
        return Settlement(settled, ids)

    def forget(self, chunks: Iterable[Pending]) -> None:
        """Nothing of these chunks is in; or nothing but what others may refer to."""
        forget(self._load, self._new, self._dictionaries, chunks)

    def may_exist(self, mapped: Mapped, settlement: Settlement) -> bool:
        """Whether there are rows that are not just to be written."""
        return any(self._may_exist(self._by_name[rows.relation], settlement) for rows in mapped.rows)

    def new_rows(self, rows: Rows, settlement: Settlement) -> tuple[AnyRelation, bytes, bool]:
        """Rows that are just to be written, encoded, and whether rows of other chunks may refer to them."""
        relation = self._by_name[rows.relation]
        if not self._is_shared(rows):
            return relation, self._encoded(rows, settlement), False
        ids, owned = settlement.settled[relation.name]
        if not owned:
            return relation, b"", True
        values = [ids, *self._values(rows, settlement)[1:]]
        return relation, self._load.encoders[relation].rows([[each[place] for place in owned] for each in values]), True

    def write_all(self, mapped: Mapped, settlement: Settlement) -> None:
        """Write the rows of a chunk, some of which may exist. Raises ServerError."""
        for rows in mapped.rows:
            self._write(rows, settlement)

    def _write(self, rows: Rows, settlement: Settlement) -> None:
        relation = self._by_name[rows.relation]
        if relation.conflict is None or rows.keys:
            self._load.write_encoded(relation, [self._encoded(rows, settlement)])
        elif isinstance(relation, Entity):
            values = self._values(rows, settlement)
            self._load.write_settled(relation, values, settlement.settled[rows.relation])
        else:
            self._load.write_keyed(relation, self._values(rows, settlement))

    def _came_before(self, entity: AnyEntity, rows: Rows) -> bool:
        new = self._new.get(entity)
        return new is None or new.has_any(self._keys(entity, rows.keys[1:]))

    def _told(self, dictionary: bytes, entity: str) -> list[int]:
        return self._dictionaries.setdefault((dictionary, entity), [])

    def _settled(self, entity: AnyEntity, rows: Rows, pending: Pending) -> Settled:
        if rows.keys:
            ids, keys = cast("Sequence[int]", rows.keys[0]), self._keys(entity, rows.keys[1:])
            self._new[entity].add(keys, ids)
            pending.own.append((entity, keys))
            return Settled(ids, range(len(ids)))
        keys = self._keys(entity, [rows.values[entity.written.index(name)] for name in entity.key])
        known = self._load.known[entity]
        found = list(map(known.get, keys))
        owned = [place for place, identifier in enumerate(found) if identifier is None]
        if owned:
            for place, identifier in zip(owned, self._load.some_ids(entity, len(owned)), strict=True):
                found[place] = known[keys[place]] = identifier
            pending.shared.append((entity, [keys[place] for place in owned]))
        return Settled(cast("list[int]", found), owned)

    def _keys(self, entity: AnyEntity, columns: Sequence[Sequence[object]]) -> Sequence[Key]:
        """The keys of rows whose columns of the key these are."""
        keys = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
        made = normal(self._load.key_columns(entity))
        return keys if made is None else list(map(made, keys))

    def _is_shared(self, rows: Rows) -> bool:
        relation = self._by_name[rows.relation]
        return isinstance(relation, Entity) and relation.conflict is not None and not rows.keys

    def _may_exist(self, relation: AnyRelation, settlement: Settlement) -> bool:
        if isinstance(relation, Entity):
            changes = relation.conflict is not None and not isinstance(relation.conflict, Keep)
            return changes and len(settlement.settled[relation.name].owned) < len(settlement.settled[relation.name].ids)
        return relation.conflict is not None

    def _encoded(self, rows: Rows, settlement: Settlement) -> bytes:
        with self._report.phase("fill in ids"):
            if rows.values:
                return self._load.encoders[self._by_name[rows.relation]].rows(self._values(rows, settlement))
            return rows.filled(settlement.ids)

    def _values(self, rows: Rows, settlement: Settlement) -> list[Sequence[object]]:
        relation, values = self._by_name[rows.relation], list(rows.values)
        for reference in self._load.plan.references[relation]:
            if reference.entity.name in settlement.ids:
                place = relation.written.index(reference.column)
                values[place] = resolved(values[place], settlement.ids[reference.entity.name])
        return values


def forget(load: Load, new: Mapping[AnyEntity, NewKeys], dictionaries: Dictionaries, chunks: Iterable[Pending]) -> None:
    """As `Settler.forget`, for chunks of any plan."""
    for pending in chunks:
        if pending.noted is not None and load.fingerprints is not None:
            load.fingerprints.forget(pending.noted)
        for entity, keys in [*pending.own, *(() if pending.shared_in else pending.shared)]:
            if entity in new:
                new[entity].remove(keys)
            else:
                for key in keys:
                    del load.known[entity][key]
        if not pending.shared_in:
            # Processes take these keys for known.
            dictionaries.clear()


def take_new(load: Load, new: Mapping[AnyEntity, NewKeys]) -> None:
    """Rows were written by the load itself: have the keys among theirs that were all new so far."""
    for entity, keys in new.items():
        known = load.known[entity]
        keys.add(list(known), list(known.values()))
        known.clear()


def know(load: Load, new: dict[AnyEntity, NewKeys], relations: Iterable[AnyRelation]) -> None:
    """Have the load itself tell the keys of these entities that exist from new ones."""
    for relation in relations:
        if isinstance(relation, Entity) and relation in new:
            load.known[relation].update(new.pop(relation).items())
