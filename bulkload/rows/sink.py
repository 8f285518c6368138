"""Where a mapping puts its rows: the `Sink` it is written against, and the buffers behind every kind of it.

`Buffers` does no I/O. It hands out ids, settles which record of a key counts, and keeps the rows of the current batch
until their owner (a load, or a user's test) takes them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar, cast, overload

from bulkload.encoding import keys
from bulkload.encoding.columns import Column
from bulkload.errors import UsageError
from bulkload.model.plan import AnyEntity, AnyRelation, Plan
from bulkload.model.records import Id, with_values_of
from bulkload.model.tables import Entity, Keep, Key, Lookup, Replace, Table, Update, key_getter
from bulkload.rows.fingerprints import NONE

R = TypeVar("R")


class Sink(Protocol):
    """What a mapping needs of a load. Nothing is sent while a row is added; an id is final when it is returned.

    In a load whose transactions are a batch each (`Mode.STANDARD`), and in worker processes, the id of a row with a
    conflict rule is a stand-in, a number that is nobody's id; ids go into records, into fields that are annotated as
    such, and nowhere else.
    """

    @overload
    def add(self, relation: Entity[R], record: R, /) -> Id[R]: ...
    @overload
    def add(self, relation: Table[R], record: R, /) -> None: ...
    @overload
    def extend(self, relation: Entity[R], records: Iterable[R], /) -> list[Id[R]]: ...
    @overload
    def extend(self, relation: Table[R], records: Iterable[R], /) -> None: ...
    def find(self, lookup: Lookup[R], /, *values: object) -> Id[R] | None:
        """The id of the row with these values in the lookup's columns, or None where the database has none.

        Sees what earlier batches wrote, not the rows of the current one. Where several rows match, the newest id.
        """
        ...


class Batch(Generic[R]):
    """The rows of one relation that wait to be written."""

    def __init__(self, relation: AnyRelation) -> None:
        self.relation = relation
        self.records: list[R] = []
        """Rows in the order they were added; those of a relation with a key are in `keyed` instead."""
        self.ids: list[int] = []
        """Their ids, for an entity."""
        self.keyed: dict[Key, R] = {}
        """The row that counts for each key of a relation with a conflict rule."""
        self.fresh: dict[Key, int] = {}
        """The ids handed out for keys that were not known before this batch."""

    def __len__(self) -> int:
        return len(self.records) or len(self.keyed)

    def clear(self) -> None:
        # In place: the functions that add rows hold on to these lists.
        self.records.clear()
        self.ids.clear()
        self.keyed.clear()
        self.fresh.clear()


Add = Callable[[Any], Any]
"""Adds a record to its batch; returns its id where it has one."""
Extend = Callable[[Iterable[Any]], Any]
"""Adds many; returns their ids where they have some."""


class Buffers(ABC):
    """A sink that keeps what is added. `new_ids` gives an endless iterator of ids for an entity."""

    def __init__(
        self,
        plan: Plan,
        new_ids: Callable[[AnyEntity], Iterator[int]],
        known: Mapping[AnyEntity, dict[Key, int]] | None = None,
    ) -> None:
        self.plan = plan
        self.batches: dict[AnyRelation, Batch[Any]] = {relation: Batch(relation) for relation in plan.relations}
        self.known: dict[AnyEntity, dict[Key, int]] = dict(known or {})
        """The id, or what stands for it, of each key that was met or read, for the entities with a conflict rule."""
        self.marks: dict[Key, bytes] = {}
        """The digests of records, by the keys of the rows of the batch that they are versions of."""
        self._adders: dict[AnyRelation, Add] = {}
        self._extenders: dict[AnyRelation, Extend] = {}
        for relation, batch in self.batches.items():
            self._adders[relation], self._extenders[relation] = self._ways_in(relation, batch, new_ids)

    @overload
    def add(self, relation: Entity[R], record: R, /) -> Id[R]: ...
    @overload
    def add(self, relation: Table[R], record: R, /) -> None: ...
    def add(self, relation: Any, record: Any, /) -> Any:
        """Add a row. Raises KeyError for a relation that is not in the plan."""
        return self._adders[relation](record)

    @overload
    def extend(self, relation: Entity[R], records: Iterable[R], /) -> list[Id[R]]: ...
    @overload
    def extend(self, relation: Table[R], records: Iterable[R], /) -> None: ...
    def extend(self, relation: Any, records: Iterable[Any], /) -> Any:
        """Add many rows at once; the same as adding one after the other, for a fraction of its cost."""
        return self._extenders[relation](records)

    def marked(self, entities: Iterable[AnyEntity]) -> Iterator[tuple[AnyEntity, list[int], bytes]]:
        """The ids and digests of the batch's rows, for those of the entities that it has rows of."""
        for entity in entities:
            if keyed := self.batches[entity].keyed:
                yield entity, list(map(self.known[entity].__getitem__, keyed)), self.marks_of(entity)

    def marks_of(self, entity: AnyEntity) -> bytes:
        """The digest for each row of an entity in the batch; `NONE` for one that no record alone stands for."""
        return b"".join(self.marks.get(key, NONE) for key in self.batches[entity].keyed)

    @abstractmethod
    def find(self, lookup: Lookup[R], /, *values: object) -> Id[R] | None:
        """The id of the row with these values in the lookup's columns; see `Sink.find`."""

    def __len__(self) -> int:
        """How many rows wait."""
        return sum(map(len, self.batches.values()))

    def discard(self) -> None:
        """Forget the rows of the batch, and the ids that were handed out for keys first met in it."""
        for relation, batch in self.batches.items():
            if isinstance(relation, Entity) and batch.fresh:
                known = self.known[relation]
                for key in batch.fresh:
                    del known[key]
        Buffers.clear(self)

    def take_back(self) -> None:
        """The batch was undone, and is still to be written: keys first met in it have the ids that were handed out."""
        for relation, batch in self.batches.items():
            if isinstance(relation, Entity) and batch.fresh:
                self.known[relation].update(batch.fresh)

    def clear(self) -> None:
        """Begin a new batch: the rows of this one were taken."""
        self.marks.clear()
        for batch in self.batches.values():
            batch.clear()

    def _ways_in(
        self, relation: AnyRelation, batch: Batch[Any], new_ids: Callable[[AnyEntity], Iterator[int]]
    ) -> tuple[Add, Extend]:
        # Functions made once a relation: what is looked up for every row costs more than the row.
        if not isinstance(relation, Entity):
            if relation.conflict is None:
                return batch.records.append, batch.records.extend
            key_of = self.key_of(relation) or key_getter(relation.key)
            put = _keyed_table_adder(batch, key_of, self._met_again(relation, batch.keyed))
            return put, _one_by_one(put)
        ids = new_ids(relation)
        if relation.conflict is None:
            return _entity_adder(batch, ids), _entity_extender(batch, ids)
        add = self._keyed_adder(relation, batch, ids)
        if not isinstance(relation.conflict, Keep) or self.looks_again:
            return add, _one_by_one(add)
        return add, _keeping(batch, self.key_of(relation), self.known[relation], ids)

    def _keyed_adder(self, relation: AnyEntity, batch: Batch[Any], ids: Iterator[int]) -> Add:
        key_of, keyed, fresh = self.key_of(relation), batch.keyed, batch.fresh
        known = self.known.setdefault(relation, {})
        keeps, met_again = isinstance(relation.conflict, Keep), self._met_again(relation, keyed)

        def keep(record: Any) -> int:
            key = record if key_of is None else key_of(record)
            identifier = known.get(key)
            if identifier is None:
                identifier = known[key] = fresh[key] = next(ids)
                keyed[key] = record
            return identifier

        def update(record: Any) -> int:
            key = record if key_of is None else key_of(record)
            identifier = known.get(key)
            if identifier is None:
                identifier = known[key] = fresh[key] = next(ids)
            if met_again is not None and key in keyed:
                record = met_again(key, record)
            keyed[key] = record
            return identifier

        def keep_again(record: Any) -> int:
            key = record if key_of is None else key_of(record)
            identifier = known.get(key)
            if identifier is None:
                identifier = known[key] = fresh[key] = next(ids)
            if key not in keyed:
                keyed[key] = record
            return identifier

        if not keeps:
            return update
        return keep_again if self.looks_again else keep

    def _met_again(self, relation: AnyRelation, keyed: Mapping[Key, Any]) -> Callable[[Key, Any], Any] | None:
        """What makes the row that counts of one whose key is in the batch; None where it is as good as it comes."""
        conflict = relation.conflict
        if isinstance(conflict, Replace):

            def repeated(key: Key, record: Any) -> Any:
                self.repeated(relation, key)
                return record

            return repeated
        if isinstance(conflict, Update) and conflict.insert_only:
            return lambda key, record: with_values_of(record, keyed[key], conflict.insert_only)
        return None

    @property
    def looks_again(self) -> bool:
        """Whether others may delete what earlier batches found, so that each has to bring all that it refers to."""
        return False

    def key_of(self, relation: AnyRelation) -> Callable[[Any], Key] | None:
        """What makes the key of a record, as it is in `known`; None where that is the record itself."""
        key_of, made = key_getter(relation.key), keys.normal(self.key_columns(relation))
        return key_of if made is None else lambda record: made(key_of(record))

    def key_columns(self, relation: AnyRelation) -> Sequence[Column]:  # noqa: ARG002 - for those who know them
        """The columns of the key, where they are known."""
        return ()

    def repeated(self, relation: AnyRelation, key: Key) -> None:
        """Called for a row to be replaced whole that is met again in one batch. Raises UsageError."""
        raise UsageError(
            f"{relation}: the key {key!r} came twice in one batch, and what belongs to each cannot be told apart; "
            f"name the entity as the job's identity, so that only the last record of a key is mapped"
        )


def _entity_adder(batch: Batch[Any], ids: Iterator[int]) -> Add:
    append, append_id = batch.records.append, batch.ids.append

    def add(record: Any) -> int:
        identifier = next(ids)
        append_id(identifier)
        append(record)
        return identifier

    return add


def _entity_extender(batch: Batch[Any], ids: Iterator[int]) -> Extend:
    def extend(records: Iterable[Any]) -> list[int]:
        rows = list(records)
        new = list(islice(ids, len(rows)))
        batch.ids.extend(new)
        batch.records.extend(rows)
        return new

    return extend


def _keeping(
    batch: Batch[Any], key_of: Callable[[Any], Key] | None, known: dict[Key, int], ids: Iterator[int]
) -> Extend:
    keyed, fresh = batch.keyed, batch.fresh

    def extend(records: Iterable[Any]) -> list[int]:
        rows = list(records)
        keys = rows if key_of is None else list(map(key_of, rows))
        found = list(map(known.get, keys))
        # None, or an id that is 0.
        if not all(found):
            for place, key in enumerate(keys):
                if found[place] is None:
                    identifier = known.get(key)
                    if identifier is None:
                        identifier = known[key] = fresh[key] = next(ids)
                        keyed[key] = rows[place]
                    found[place] = identifier
        return cast("list[int]", found)

    return extend


def _one_by_one(add: Add) -> Extend:
    def extend(records: Iterable[Any]) -> list[Any]:
        return list(map(add, records))

    return extend


def _keyed_table_adder(
    batch: Batch[Any], key_of: Callable[[Any], Key], met_again: Callable[[Key, Any], Any] | None
) -> Add:
    keyed = batch.keyed
    if isinstance(batch.relation.conflict, Keep):

        def put_first(record: Any) -> None:
            keyed.setdefault(key_of(record), record)

        return put_first

    def put_last(record: Any) -> None:
        keyed[key_of(record)] = record

    def put(record: Any) -> None:
        key = key_of(record)
        keyed[key] = met_again(key, record) if met_again is not None and key in keyed else record

    return put_last if met_again is None else put
