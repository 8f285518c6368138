"""The leader of a load in several processes: hands out chunks, settles keys, and has the rows written.

Chunks are settled strictly in their order, so that the rows do not depend on which process is the faster one. What is
mapped elsewhere is as good as if it had been mapped here: a chunk whose process was lost is mapped once more.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import cast

import attrs

from bulkload.blocks import Block, Ids
from bulkload.chunks import Mapper, Progress, Selection, Watch
from bulkload.columns import Column
from bulkload.errors import BulkloadError, RecordError
from bulkload.exchange import Mapped, Rows, Settled, Short, Task, resolved
from bulkload.formats import Slice
from bulkload.handout import Handouts, handouts, label
from bulkload.job import Input
from bulkload.load import Load
from bulkload.mode import Mode
from bulkload.new_keys import NewKeys
from bulkload.outbox import Outbox, SeveralOutbox
from bulkload.plan import AnyEntity, AnyRelation
from bulkload.rejects import Rejects
from bulkload.report import Report, SourceReport
from bulkload.tables import Entity, Keep, Key, Replace
from bulkload.worker import Spec, map_chunk
from bulkload.workers import Processes, WorkerDiedError
from bulkload.writers import Writers

# Records of a chunk: less than in one process, since several chunks are in memory.
_LARGEST_CHUNK = 1000

# Chunks for each process that may be on their way, those that wait for their turn among them.
_MOST_ON_THEIR_WAY = 4


class Leader(Mapper):
    """Has the records of `shared` inputs, by number, mapped by `executor`, and maps those of others itself.

    `jobs` is how many chunks it maps at a time. With `writers`, rows that chunks do not share are written by them.
    """

    def __init__(
        self,
        load: Load,
        columns: Mapping[str, Mapping[str, Column]],
        rejects: Rejects,
        report: Report,
        shared: Mapping[int, Input],
        executor: Executor,
        jobs: int,
        writers: Writers | None = None,
    ) -> None:
        super().__init__(load, columns, load.find_id, rejects, report)
        self._into = load
        self._shared = shared
        self._executor = executor
        self._most = _MOST_ON_THEIR_WAY * jobs
        self._outbox = Outbox(load, report) if writers is None else SeveralOutbox(load, report, writers)
        self._spec = pickle.dumps(Spec(shared, columns))
        self._dictionaries: dict[tuple[bytes, str], list[int]] = {}
        # Where no key is there to begin with, those of rows that are to be replaced whole come once at most, as a rule.
        self._new: dict[AnyEntity, NewKeys] = {
            entity: NewKeys()
            for entity in load.plan
            if isinstance(entity, Entity) and isinstance(entity.conflict, Replace) and not load.known[entity]
        }
        self._ids = {entity: Ids(load, entity) for entity in load.plan if isinstance(entity, Entity)}

    def run(
        self,
        selection: Selection,
        counts: SourceReport,
        size: int,
        write: Callable[[], None],
        watch: Watch,
    ) -> None:
        """As `Mapper.run`."""
        if selection.number not in self._shared:
            know(self._into, self._new, selection.input.job.plan)
            super().run(selection, counts, size, write, watch)
            return
        with handouts(selection, min(size, _LARGEST_CHUNK), told=isinstance(self._executor, Processes)) as chunks:
            _Pass(
                self._into, self._rejects, self._report, self._submit, self._most, self._outbox, self._ids,
                self._dictionaries, self._new, selection, chunks, counts, watch,
            ).run()  # fmt: skip

    def _submit(self, task: Task) -> Future[Mapped | Short]:
        return self._executor.submit(map_chunk, self._spec, task)


@attrs.define
class _OnItsWay:
    """A chunk that is not written yet."""

    task: Task
    given: Mapping[AnyEntity, Sequence[Block]]
    future: Future[Mapped | Short]
    position: int
    """How far the source was read for it."""


class _Pass:
    """One source, from its first chunk to its last row."""

    def __init__(
        self,
        load: Load,
        rejects: Rejects,
        report: Report,
        submit: Callable[[Task], Future[Mapped | Short]],
        most: int,
        outbox: Outbox,
        ids: Mapping[AnyEntity, Ids],
        dictionaries: dict[tuple[bytes, str], list[int]],
        new: dict[AnyEntity, NewKeys],
        selection: Selection,
        chunks: Handouts,
        counts: SourceReport,
        watch: Watch,
    ) -> None:
        self._load = load
        self._rejects = rejects
        self._report = report
        self._submit = submit
        self._most = most
        self._outbox = outbox
        self._ids = ids
        self._selection = selection
        self._chunks = chunks
        self._counts = counts
        self._watch = watch
        plan = selection.input.job.plan
        self._by_name: dict[str, AnyRelation] = {relation.name: relation for relation in plan}
        self._entities = [relation for relation in plan if isinstance(relation, Entity)]
        self._new = new
        self._dictionaries = dictionaries
        self._on_their_way: deque[_OnItsWay] = deque()

    def run(self) -> None:
        """Raises what `Mapper.run` does, and what a process fails with, in the order of the chunks."""
        try:
            self._hand_out()
            while self._on_their_way:
                chunk = self._on_their_way[0]
                self._settle(chunk, self._mapped(chunk))
                self._on_their_way.popleft()
                self._hand_out()
        finally:
            for each in self._on_their_way:
                each.future.cancel()
        self._outbox.empty()
        self._chunks.end()

    def _hand_out(self) -> None:
        while len(self._on_their_way) < self._most:
            with self._report.phase("read"):
                handout = self._chunks.take()
            if handout is None:
                return
            with self._report.phase("hand out"):
                records = handout.records
                given = self._given(len(records.positions))
                task = Task(self._selection.number, records, _bare(given), forget=False, new=self._all_new)
                self._on_their_way.append(_OnItsWay(task, given, self._submit(task), handout.position))

    def _given(self, records: int) -> dict[AnyEntity, Sequence[Block]]:
        return {
            entity: self._ids[entity].given(records)
            for entity in self._entities
            if entity.conflict is None or entity in self._new
        }

    @property
    def _all_new(self) -> frozenset[str]:
        return frozenset(entity.name for entity in self._new)

    def _again(self, chunk: _OnItsWay, *, forget: bool = False) -> None:
        """Have it mapped once more, with other ids."""
        chunk.given = self._given(len(chunk.task.records.positions))
        chunk.task = chunk.task._replace(ids=_bare(chunk.given), new=self._all_new, forget=forget)
        chunk.future = self._submit(chunk.task)

    def _mapped(self, chunk: _OnItsWay) -> Mapped:
        """What became of the chunk, when it has been mapped. Raises what that failed with."""
        while True:
            with self._report.phase("wait for workers"):
                found = self._result(chunk)
            records = len(chunk.task.records.positions)
            used: Mapping[str, int] = {} if isinstance(found, Short) else found.used
            for entity, blocks in chunk.given.items():
                self._ids[entity].used(blocks, used.get(entity.name, 0), records)
            if isinstance(found, Short):
                entity = self._entity(found.entity)
                self._ids[entity].short(chunk.given[entity], records)
                self._again(chunk)
                continue
            if any(len(self._told(found.dictionary, name)) != count for name, count in found.before.items()):
                # The answer in which the process told of them was lost, or comes later.
                self._again(chunk, forget=True)
                continue
            for phase, seconds in found.seconds.items():
                self._report.workers[phase] = self._report.workers.get(phase, 0.0) + seconds
            if any(rows.keys and self._came_before(rows) for rows in found.rows):
                # From now on nothing is taken for granted.
                know(self._load, self._new, self._load.plan)
                self._again(chunk, forget=True)
                continue
            return found

    def _result(self, chunk: _OnItsWay) -> Mapped | Short:
        changed = "; nothing was changed" if self._load.mode is Mode.OPTIMIZED else ""
        try:
            return chunk.future.result()
        except WorkerDiedError as error:
            if not error.started:
                raise BulkloadError(
                    f"{error} as it started; a script that calls run with jobs has to do so under "
                    "`if __name__ == '__main__':`"
                ) from error
            raise BulkloadError(
                f"{error} while it mapped {self._label(chunk)}, and so did another one{changed}. Where memory has run "
                "out, use fewer jobs; where a record ends the mapping, leave it out"
            ) from error
        except BulkloadError:
            raise
        except Exception as error:
            raise BulkloadError(
                f"{self._label(chunk)} could not be mapped elsewhere{changed}: {type(error).__name__}: {error}"
            ) from error

    def _label(self, chunk: _OnItsWay) -> str:
        return label(chunk.task.records, self._selection.input)

    def _came_before(self, rows: Rows) -> bool:
        """Whether one of the keys did that were taken to be new."""
        new = self._new.get(self._entity(rows.relation))
        return new is None or new.has_any(_keys(rows.keys[1:]))

    def _entity(self, name: str) -> AnyEntity:
        relation = self._by_name[name]
        assert isinstance(relation, Entity)  # noqa: S101 - ids are of entities
        return relation

    def _settle(self, chunk: _OnItsWay, mapped: Mapped) -> None:
        """Tell rows that exist from new ones, put ids in their places, and have them written."""
        for position, data, error in mapped.rejected:
            self._selection.reject(position)
            if isinstance(error, RecordError):
                self._rejects.put(self._selection.input.job.read, Slice(position, data), error)
        with self._report.phase("settle keys"):
            settled = {
                rows.relation: self._settled(self._entity(rows.relation), rows)
                for rows in mapped.rows
                if isinstance(self._by_name[rows.relation], Entity) and self._by_name[rows.relation].conflict
            }
            ids = {name: each.ids for name, each in settled.items()}
            for name in mapped.before:
                told = self._told(mapped.dictionary, name)
                told.extend(ids.get(name, ()))
                ids[name] = told
        if any(self._may_exist(rows, settled) for rows in mapped.rows):
            # What belongs to a row that is replaced is deleted first: it has to be there.
            self._outbox.empty()
            for rows in mapped.rows:
                self._write(rows, settled, ids)
        else:
            for rows in mapped.rows:
                relation = self._by_name[rows.relation]
                self._outbox.put(relation, self._new_rows(relation, rows, settled, ids), shared=self._is_shared(rows))
                # Between two of them, so that nobody waits for something to do.
                self._hand_out()
        self._outbox.end_chunk(partial(self._done, chunk, mapped))

    def _told(self, dictionary: bytes, entity: str) -> list[int]:
        """The ids of the keys that a process told of, in its order."""
        return self._dictionaries.setdefault((dictionary, entity), [])

    def _settled(self, entity: AnyEntity, rows: Rows) -> Settled:
        if rows.keys:
            ids = cast("Sequence[int]", rows.keys[0])
            self._new[entity].add(_keys(rows.keys[1:]), ids)
            return Settled(ids, range(len(ids)))
        return self._load.settle(entity, _keys([rows.values[entity.written.index(name)] for name in entity.key]))

    def _is_shared(self, rows: Rows) -> bool:
        relation = self._by_name[rows.relation]
        return isinstance(relation, Entity) and relation.conflict is not None and not rows.keys

    def _may_exist(self, rows: Rows, settled: Mapping[str, Settled]) -> bool:
        """Whether there are rows among these that are not just to be written."""
        relation = self._by_name[rows.relation]
        if isinstance(relation, Entity):
            changes = relation.conflict is not None and not isinstance(relation.conflict, Keep)
            return changes and len(settled[rows.relation].owned) < len(settled[rows.relation].ids)
        return relation.conflict is not None

    def _new_rows(
        self, relation: AnyRelation, rows: Rows, settled: Mapping[str, Settled], ids: Mapping[str, Sequence[int]]
    ) -> bytes:
        if self._is_shared(rows):
            owned = settled[relation.name].owned
            if not owned:
                return b""
            values = [settled[relation.name].ids, *self._values(rows, ids)[1:]]
            return self._load.encoders[relation].rows([[column[place] for place in owned] for column in values])
        return self._encoded(rows, ids)

    def _write(self, rows: Rows, settled: Mapping[str, Settled], ids: Mapping[str, Sequence[int]]) -> None:
        relation = self._by_name[rows.relation]
        if relation.conflict is None or rows.keys:
            self._load.write_encoded(relation, [self._encoded(rows, ids)])
        elif isinstance(relation, Entity):
            self._load.write_settled(relation, self._values(rows, ids), settled[relation.name])
        else:
            self._load.write_keyed(relation, self._values(rows, ids))

    def _encoded(self, rows: Rows, ids: Mapping[str, Sequence[int]]) -> bytes:
        with self._report.phase("fill in ids"):
            if rows.values:
                return self._load.encoders[self._by_name[rows.relation]].rows(self._values(rows, ids))
            return rows.filled(ids)

    def _values(self, rows: Rows, ids: Mapping[str, Sequence[int]]) -> list[Sequence[object]]:
        relation, values = self._by_name[rows.relation], list(rows.values)
        for reference in self._load.plan.references[relation]:
            if reference.entity.name in ids:
                place = relation.written.index(reference.column)
                values[place] = resolved(values[place], ids[reference.entity.name])
        return values

    def _done(self, chunk: _OnItsWay, mapped: Mapped) -> None:
        """The rows of a chunk are written."""
        rejected = len(mapped.rejected)
        self._counts.rejected += rejected
        self._counts.skipped += mapped.skipped
        self._counts.loaded += len(chunk.task.records.positions) - rejected - mapped.skipped
        self._watch(Progress(self._selection.input.source.name, chunk.position, self._counts.loaded))


def know(load: Load, new: dict[AnyEntity, NewKeys], relations: Iterable[AnyRelation]) -> None:
    """Have the load itself tell the keys of these entities that exist from new ones."""
    for relation in relations:
        if isinstance(relation, Entity) and relation in new:
            load.known[relation].update(new.pop(relation).items())


def _bare(given: Mapping[AnyEntity, Sequence[Block]]) -> dict[str, list[Sequence[int]]]:
    return {entity.name: [block.ids for block in blocks] for entity, blocks in given.items()}


def _keys(columns: Sequence[Sequence[object]]) -> Sequence[Key]:
    """The keys of rows whose columns of the key these are."""
    return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
