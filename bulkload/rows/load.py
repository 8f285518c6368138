"""The load: the one object with state. It takes rows as a `Sink` and writes them, a batch at a time."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, TypeVar, cast, overload

from bulkload.encoding.columns import Column
from bulkload.encoding.encode import Encoder
from bulkload.errors import ServerError
from bulkload.ledger.journal import Done
from bulkload.model.mode import Mode
from bulkload.model.plan import AnyEntity, AnyLookup, AnyRelation, Plan
from bulkload.model.records import Id
from bulkload.model.report import Report, TableReport, log_tables
from bulkload.model.tables import Entity, Keep, Key, Lookup, Table
from bulkload.rebuild.rebuild import Rebuilding
from bulkload.rows import ids
from bulkload.rows.finder import Finders
from bulkload.rows.fingerprints import Fingerprints
from bulkload.rows.keyed import KeyedRows, Settled
from bulkload.rows.merge import read_existing
from bulkload.rows.savepoints import Undo
from bulkload.rows.sink import Batch, Buffers
from bulkload.rows.stream import CopyWriter, InsertWriter, Writer
from bulkload.server.catalog import Target, analyze, grown
from bulkload.server.connection import Connection, pipelined, refused, transaction

R = TypeVar("R")

# Rows after which a load flushes by itself: enough that the round trips of a batch do not show.
BATCH_ROWS = 50_000


class Load(Buffers):
    """Rows on their way to the server; made by `start`.

    Rows wait in memory until there are `batch_rows` of them (None: until `flush`). Parents are written first.
    """

    def __init__(
        self,
        connection: Connection,
        plan: Plan,
        targets: Mapping[AnyRelation, Target],
        *,
        mode: Mode,
        report: Report,
        batch_rows: int | None,
        rebuild: Rebuilding | None = None,
    ) -> None:
        self.connection = connection
        self._rebuild = rebuild
        self.targets = targets
        self.line: int | None = None
        """Its line in the ledger, where it has one from the beginning."""
        self.mode = mode
        self.report = report
        self.undo = Undo(connection, report, atomic=mode is Mode.OPTIMIZED)
        self.emptied: frozenset[int] = frozenset()
        """The tables, by their oids, that were emptied in the one transaction of the load."""
        self.alone = False
        """Whether all that is done in that transaction is the load's own."""
        self._writer: Writer[Any] = InsertWriter() if mode is Mode.STANDARD else CopyWriter(self._is_frozen)
        self.encoders = {
            relation: Encoder(relation.name, [targets[relation].columns[name] for name in relation.written])
            for relation in plan
        }
        self._sequences = {
            relation: ids.Sequence(connection, targets[relation], relation)
            for relation in plan
            if isinstance(relation, Entity)
        }
        self._keyed = KeyedRows(connection, plan, targets, self.encoders, self._sequences, self._writer, mode, report)
        existing = {} if mode is Mode.STANDARD else read_existing(connection, plan, targets, report)
        self._complete = frozenset(existing)
        """The entities all of whose keys are known, because they were read and nobody else can add to them."""
        self._aliases: dict[AnyEntity, dict[int, int]] = {}
        """What the stand-ins that `add` handed out turned out to stand for."""
        self.finders = Finders(connection, targets, report)
        self._analyzed = False
        for relation in plan:
            report.tables.setdefault(relation.name, TableReport())
        super().__init__(plan, self._new_ids)
        for entity, keys in existing.items():
            self.known[entity].update(keys)
        self._batch_rows = self._room = batch_rows
        if batch_rows is not None:
            self._adders = {relation: self._counted(add) for relation, add in self._adders.items()}

    @overload
    def extend(self, relation: Entity[R], records: Iterable[R], /) -> list[Id[R]]: ...
    @overload
    def extend(self, relation: Table[R], records: Iterable[R], /) -> None: ...
    def extend(self, relation: Any, records: Iterable[Any], /) -> Any:
        """Add many rows at once."""
        added = self._extenders[relation](records)
        if self._batch_rows is not None and len(self) >= self._batch_rows:
            self.flush()
        return added

    def find(self, lookup: Lookup[R], /, *values: object) -> Id[R] | None:
        """The id of the row with these values in the lookup's columns; see `Sink.find`."""
        found = self.find_id(lookup, values)
        return None if found is None else Id[R](found)

    def find_id(self, lookup: AnyLookup, values: tuple[object, ...]) -> int | None:
        """What `find` finds, as a bare number."""
        return self.finders.find_id(lookup, values)

    def flush(self, done: Done | None = None) -> None:
        """Write the rows that wait; `done` are the records that they are all of, where that is known.

        Raises FitError for a value that does not fit its column, before anything of the batch is sent; ServerError
        for what the server refuses, when `undo` has undone what it can; the rows still wait.
        """
        if not len(self):
            self.undo.note(done)
            return
        with self.report.phase("encode"):
            payloads = {relation: self._encode(batch) for relation, batch in self.batches.items() if len(batch)}
        try:
            self.undo.whole(lambda: self._write_all(payloads), self.take_back, done)
        except ServerError:
            self.take_back()
            raise
        if self.fingerprints is not None and self.mode is not Mode.STANDARD:
            self.fingerprints.note_all(self.marked(self.fingerprints.entities))
        self._analyzed = False
        self.finders.forget(relation.name for relation, batch in self.batches.items() if len(batch))
        self.clear()
        self._room = self._batch_rows

    def is_of_one(self, target: Target) -> bool:
        """Whether all rows of a table are written by one transaction, outside any savepoint, since it was emptied."""
        return self.alone and not self.undo.kept and target.oid in self.emptied

    def _is_frozen(self, target: Target) -> bool:
        """Whether rows of a table are frozen as they are written.

        To transactions whose snapshots are older they show as soon as the load has committed; these would take the
        table for empty otherwise, and no more find what it held. It can be done neither behind a savepoint, nor beside
        an open cursor, nor to a partitioned table. Index builds and checks of foreign keys take 0.95 times the time
        (PostgreSQL 18). (https://www.postgresql.org/docs/current/sql-copy.html, FREEZE)
        """
        return self.is_of_one(target) and not target.partitioned

    def _write_all(self, payloads: Mapping[AnyRelation, Any]) -> None:
        self._keyed.begin()
        for relation, payload in payloads.items():
            begin = time.perf_counter()
            with self.report.phase("write rows" if relation.conflict is None else "write keyed rows"):
                self._write(self.batches[relation], payload)
            self.report.tables[relation.name].seconds += time.perf_counter() - begin
        self._keyed.end()
        if self.fingerprints is not None and self.mode is Mode.STANDARD:
            self.fingerprints.note_all(self.marked(self.fingerprints.entities))
            self.fingerprints.store()

    def knows_keys_of(self, relations: Iterable[AnyRelation]) -> bool:
        """Whether all keys of the entities among these are known, so that no server is needed to tell new ones."""
        return self._complete.issuperset(each for each in relations if isinstance(each, Entity) and each.conflict)

    @property
    def fingerprints(self) -> Fingerprints | None:
        """Where it keeps what the records looked like."""
        return self._keyed.fingerprints

    @fingerprints.setter
    def fingerprints(self, kept: Fingerprints | None) -> None:
        self._keyed.fingerprints = kept

    def take_ids(self, counts: Mapping[AnyEntity, int]) -> dict[AnyEntity, Sequence[int]]:
        """So many ids of each entity, for rows that are added elsewhere."""
        steps = [self._sequences[entity].taking(count) for entity, count in counts.items()]
        found = zip(counts, pipelined(self.connection, steps), strict=True)
        return {entity: self._sequences[entity].block(block) for entity, block in found}

    def some_ids(self, entity: AnyEntity, count: int) -> Sequence[int]:
        """So many ids of one entity, for rows that come a few at a time."""
        return self._sequences[entity].some(count)

    def write_encoded(self, relation: AnyRelation, rows: Iterable[bytes]) -> None:
        """Write new rows that were encoded elsewhere."""
        with self._writing(relation):
            self._keyed.send(relation, b"".join(rows))

    def write_settled(self, entity: AnyEntity, values: Sequence[Sequence[object]], settled: Settled) -> None:
        """Write rows that were added elsewhere, their ids as they were settled; they are there when it returns."""
        columns = [settled.ids, *values[1:]]
        owned = set(settled.owned)
        existing = [] if isinstance(entity.conflict, Keep) else [
            place for place in range(len(settled.ids)) if place not in owned
        ]  # fmt: skip
        with self._writing(entity):
            if owned:
                self._keyed.insert(entity, columns, settled.owned)
            if existing:
                self._keyed.treat_existing(entity, columns, existing)

    def write_keyed(self, relation: AnyRelation, values: Sequence[Sequence[object]]) -> None:
        """Write rows with a key and no id that were added elsewhere; they may exist."""
        columns = list(map(list, values))
        with self._writing(relation):
            self._keyed.treat_existing(relation, columns, self._keyed.match_and_insert(relation, columns))

    @contextmanager
    def _writing(self, relation: AnyRelation) -> Generator[None]:
        begin = time.perf_counter()
        whole = nullcontext() if self.mode is Mode.OPTIMIZED else transaction(self.connection)
        with self.report.phase("write rows" if relation.conflict is None else "write keyed rows"), whole:
            yield
        self.written(relation, 0, time.perf_counter() - begin)

    def written(self, relation: AnyRelation, count: int, seconds: float) -> None:
        """So many rows were written, elsewhere or here."""
        self.report.tables[relation.name].inserted += count
        self.report.tables[relation.name].seconds += seconds
        self._analyzed = False
        self.finders.forget([relation.name])

    @property
    def looks_again(self) -> bool:
        """As in `Buffers`; what is not locked until the end may go between two transactions."""
        return self.mode is Mode.STANDARD

    def marked(self, entities: Iterable[AnyEntity]) -> Iterator[tuple[AnyEntity, list[int], bytes]]:
        """As in `Buffers`, the ids being those that hold."""
        for entity, row_ids, marks in super().marked(entities):
            aliases = self._aliases.get(entity, {})
            yield entity, [aliases.get(each, each) for each in row_ids], marks

    def key_columns(self, relation: AnyRelation) -> Sequence[Column]:
        """As in `Buffers`."""
        return [self.targets[relation].columns[name] for name in relation.key]

    def repeated(self, relation: AnyRelation, key: Key) -> None:
        """The first version is written, so that the next batch can replace it."""
        if self._batch_rows is None:
            super().repeated(relation, key)
        self.flush()

    def filled(self, relations: Iterable[AnyRelation]) -> None:
        """No more rows will come into these tables: what was taken away from them may come back."""
        if self._rebuild is not None:
            self._rebuild.begin([self.targets[relation].oid for relation in relations])

    def complete(self) -> None:
        """Write what waits, put back what was taken away, and gather statistics: the tables are as they will be.

        It is done at the end of a load in any case; whoever wants to query the rows before the commit calls it first.
        """
        self.flush()
        if not self._analyzed:
            log_tables(self.report, self.plan)
        rebuild, self._rebuild = self._rebuild, None
        if rebuild is not None:
            rebuild.restore_indexes()
        with self._analyzing(rebuild):
            if self.fingerprints is not None:
                with self.report.phase("fingerprints"):
                    self.undo.whole(partial(self.fingerprints.finish, self.is_of_one))
        if rebuild is not None:
            rebuild.restore_foreign_keys()

    @contextmanager
    def _analyzing(self, rebuild: Rebuilding | None) -> Generator[None]:
        """Gather statistics of the tables that have grown, beside what is done in the block where that can be."""
        tables: list[Target] = []
        with self.report.phase("analyze"):
            if not self._analyzed:
                self._analyzed = True
                filled = [(self.targets[each], self.report.tables[each.name].inserted) for each in self.plan]
                with refused("reading the sizes of tables"):
                    tables = grown(self.connection, filled)
            if rebuild is None:
                analyze(self.connection, tables)
            with nullcontext() if rebuild is None else rebuild.analyzing(tables):
                yield

    def _counted(self, add: Any) -> Any:
        def counted(record: Any) -> Any:
            result = add(record)
            self._room = (self._room or 0) - 1
            if self._room <= 0:
                self.flush()
            return result

        return counted

    def _new_ids(self, entity: AnyEntity) -> Iterator[int]:
        # The key of a row may turn out to exist: a value of the sequence is drawn only for those that do not.
        if entity.conflict is not None and entity not in self._complete:
            return ids.stand_ins()
        return iter(self._sequences[entity])

    def _values(self, relation: AnyRelation, records: list[Any], row_ids: list[int]) -> list[list[object]]:
        """The columns of these rows, ids first for an entity, stand-ins replaced by what they stand for."""
        values: list[list[object]] = [list(row_ids)] if isinstance(relation, Entity) else []
        values += relation.values_of(records)
        offset = len(values) - len(relation.columns)
        for reference in self.plan.references[relation]:
            aliases = self._aliases.get(reference.entity)
            if aliases:
                place = offset + relation.columns.index(reference.column)
                values[place] = [aliases.get(value, value) for value in cast("list[int]", values[place])]
        return values

    def _encode(self, batch: Batch[Any]) -> Any:
        """The payload to send; for rows with a key, which may exist, this is but the check that they fit."""
        relation, encoder = batch.relation, self.encoders[batch.relation]
        if relation.conflict is None:
            return self._writer.encode(encoder, self._values(relation, batch.records, batch.ids))
        records = list(batch.keyed.values())
        row_ids = [self.known[relation][key] for key in batch.keyed] if isinstance(relation, Entity) else []
        values = self._values(relation, records, row_ids)
        encoder.refuse_nulls(relation.key, values)
        return self._writer.encode(encoder, values)

    def _write(self, batch: Batch[Any], payload: Any) -> None:
        relation = batch.relation
        renamed = any(self._aliases.get(reference.entity) for reference in self.plan.references[relation])
        if relation.conflict is None:
            if renamed:
                payload = self._encode(batch)
            self._keyed.send(relation, payload)
        elif relation in self._complete and len(batch.fresh) == len(batch.keyed) and not renamed:
            self._keyed.send(relation, payload)
        else:
            self._merge(batch)

    def _merge(self, batch: Batch[Any]) -> None:
        """Write rows whose keys may exist: find those that do, insert the others, treat the former by their rule."""
        relation = batch.relation
        entity = relation if isinstance(relation, Entity) else None
        keys, records = list(batch.keyed), list(batch.keyed.values())
        row_ids = [self.known[entity][key] for key in keys] if entity is not None else []
        # What they stood for in an earlier batch, or in one that was undone, need not be so.
        stale = self._aliases.get(entity, {}) if entity is not None else {}
        for handed_out in row_ids if stale else ():
            stale.pop(handed_out, None)
        values = self._values(relation, records, row_ids)
        if entity is not None and entity in self._complete:
            self._keyed.insert(relation, values, [row for row, key in enumerate(keys) if key in batch.fresh])
            existing = [row for row, key in enumerate(keys) if key not in batch.fresh]
        else:
            existing = self._keyed.match_and_insert(relation, values)
            if entity is not None and isinstance(entity.conflict, Keep):
                # The others were counted when they were met first.
                existing = [row for row in existing if keys[row] in batch.fresh]
        if entity is not None:
            for key, row_id in zip(keys, cast("list[int]", values[0]), strict=True):
                handed_out = self.known[entity][key]
                if handed_out != row_id:
                    self._aliases.setdefault(entity, {})[handed_out] = row_id
                    if not self.looks_again:
                        self.known[entity][key] = row_id
        self._keyed.treat_existing(relation, values, existing)
