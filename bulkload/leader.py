"""The leader of a load in several processes: hands out chunks, settles keys, and has the rows written.

Chunks are settled strictly in their order, so that the rows do not depend on which process is the faster one. What is
mapped elsewhere is as good as if it had been mapped here: a chunk whose process was lost is mapped once more.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from itertools import islice
from typing import cast

import attrs

from bulkload.blocks import Block, Ids, draw
from bulkload.chunks import Mapper, Progress, Watch
from bulkload.columns import Column
from bulkload.errors import BulkloadError, RecordError
from bulkload.exchange import Mapped, Rows, Settled, Short, Task, resolved
from bulkload.formats import Slice
from bulkload.job import Input
from bulkload.load import Load
from bulkload.mode import Mode
from bulkload.outbox import Outbox, SeveralOutbox
from bulkload.plan import AnyEntity, AnyRelation
from bulkload.rejects import Rejects
from bulkload.report import Report, SourceReport
from bulkload.source import Reader
from bulkload.tables import Entity, Keep, Key, Replace
from bulkload.worker import Spec, map_chunk
from bulkload.workers import WorkerDiedError
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
        self._ids = {entity: Ids() for entity in load.plan if isinstance(entity, Entity)}

    def run(
        self,
        each: Input,
        counts: SourceReport,
        size: int,
        write: Callable[[], None],
        watch: Watch,
        counted: Callable[[int], bool],
        on_reject: Callable[[int], None],
    ) -> None:
        """As `Mapper.run`."""
        number = next((number for number, one in self._shared.items() if one is each), None)
        if number is None:
            # Its rows may refer to any of them.
            self.finish()
            super().run(each, counts, size, write, watch, counted, on_reject)
            return
        with each.source.open() as reader:
            lists = each.job.read.split(reader, each.source.name)
            pieces = (piece for pieces in lists for piece in pieces if counted(piece.position))
            chunks = _Chunks(each, number, reader, pieces, min(size, _LARGEST_CHUNK))
            _Pass(
                self._into, self._rejects, self._report, self._submit, self._most, self._outbox, self._ids,
                self._dictionaries, chunks, counts, watch, on_reject,
            ).run()  # fmt: skip

    def finish(self) -> None:
        """Write all rows that wait; to be called when there are no more sources."""
        self._outbox.empty()

    def _submit(self, task: Task) -> Future[Mapped | Short]:
        return self._executor.submit(map_chunk, self._spec, task)


class _Chunks:
    """The chunks of an input."""

    def __init__(self, each: Input, number: int, reader: Reader, pieces: Iterator[Slice], size: int) -> None:
        self.each = each
        self.number = number
        self._reader = reader
        self._pieces = pieces
        self._size = size
        self._fault: BulkloadError | None = None

    def take(self) -> tuple[list[Slice], int]:
        """The next chunk, [] at the end, and how far the source was read for it."""
        if self._fault is not None:
            return [], self._reader.position
        taken: list[Slice] = []
        try:
            # One by one, so that those before a fault are not lost with it.
            for piece in islice(self._pieces, self._size):
                taken.append(piece)  # noqa: PERF402 - see above
        except BulkloadError as error:
            # What is wrong with the records before it comes first.
            self._fault = error
        return taken, self._reader.position

    def end(self) -> None:
        """Raises what was wrong with the source."""
        if self._fault is not None:
            raise self._fault


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
        chunks: _Chunks,
        counts: SourceReport,
        watch: Watch,
        on_reject: Callable[[int], None],
    ) -> None:
        self._load = load
        self._rejects = rejects
        self._report = report
        self._submit = submit
        self._most = most
        self._outbox = outbox
        self._ids = ids
        self._chunks = chunks
        self._counts = counts
        self._watch = watch
        self._on_reject = on_reject
        plan = chunks.each.job.plan
        self._by_name: dict[str, AnyRelation] = {relation.name: relation for relation in plan}
        self._entities = [relation for relation in plan if isinstance(relation, Entity)]
        # Where no key is there to begin with, those of rows that are to be replaced whole come once at most, as a rule.
        self._new: frozenset[str] = frozenset(
            entity.name for entity in self._entities if isinstance(entity.conflict, Replace) and not load.known[entity]
        )
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
        self._outbox.end_source()
        self._chunks.end()

    def _hand_out(self) -> None:
        while len(self._on_their_way) < self._most:
            with self._report.phase("read"):
                pieces, position = self._chunks.take()
            if not pieces:
                return
            with self._report.phase("hand out"):
                given = self._given(len(pieces), self._new)
                task = self._task(pieces, given)
                self._on_their_way.append(_OnItsWay(task, given, self._submit(task), position))

    def _task(self, pieces: Sequence[Slice], given: Mapping[AnyEntity, Sequence[Block]]) -> Task:
        label, data = self._chunks.each.job.read.label, [piece.data for piece in pieces]
        return Task(
            f"{label(pieces[0])} to {label(pieces[-1])} of {self._chunks.each.source.name}",
            self._chunks.number,
            [piece.position for piece in pieces],
            list(map(len, data)),
            b"".join(data),
            _bare(given),
            forget=False,
            new=self._new,
        )

    def _given(self, records: int, new: frozenset[str]) -> dict[AnyEntity, Sequence[Block]]:
        wanted = {
            entity: self._ids[entity] for entity in self._entities if entity.conflict is None or entity.name in new
        }
        draw(self._load, wanted, records)
        return {entity: ids.given(records) for entity, ids in wanted.items()}

    def _again(self, chunk: _OnItsWay, *, forget: bool = False) -> None:
        """Have it mapped once more, with other ids."""
        chunk.given = self._given(len(chunk.task.positions), self._new)
        chunk.task = chunk.task._replace(ids=_bare(chunk.given), new=self._new, forget=forget)
        chunk.future = self._submit(chunk.task)

    def _mapped(self, chunk: _OnItsWay) -> Mapped:
        """What became of the chunk, when it has been mapped. Raises what that failed with."""
        while True:
            with self._report.phase("wait for workers"):
                found = self._result(chunk)
            records = len(chunk.task.positions)
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
            if any(rows.keys and not self._all_new(rows) for rows in found.rows):
                # A key that came before: from now on nothing is taken for granted.
                self._new = frozenset[str]()
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
                f"{error} while it mapped {chunk.task.label}, and so did another one{changed}. Where memory has run "
                "out, use fewer jobs; where a record ends the mapping, leave it out"
            ) from error
        except BulkloadError:
            raise
        except Exception as error:
            raise BulkloadError(
                f"{chunk.task.label} could not be mapped elsewhere{changed}: {type(error).__name__}: {error}"
            ) from error

    def _all_new(self, rows: Rows) -> bool:
        known = self._load.known[self._entity(rows.relation)]
        return known.keys().isdisjoint(_keys(rows.keys[1:]))

    def _entity(self, name: str) -> AnyEntity:
        relation = self._by_name[name]
        assert isinstance(relation, Entity)  # noqa: S101 - ids are of entities
        return relation

    def _settle(self, chunk: _OnItsWay, mapped: Mapped) -> None:
        """Tell rows that exist from new ones, put ids in their places, and have them written."""
        for position, data, error in mapped.rejected:
            self._on_reject(position)
            if isinstance(error, RecordError):
                self._rejects.put(self._chunks.each.job.read, Slice(position, data), error)
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
            self._load.known[entity].update(zip(_keys(rows.keys[1:]), ids, strict=True))
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
        self._counts.loaded += len(chunk.task.positions) - rejected - mapped.skipped
        self._watch(Progress(self._chunks.each.source.name, chunk.position, self._counts.loaded))


def _bare(given: Mapping[AnyEntity, Sequence[Block]]) -> dict[str, list[Sequence[int]]]:
    return {entity.name: [block.ids for block in blocks] for entity, blocks in given.items()}


def _keys(columns: Sequence[Sequence[object]]) -> Sequence[Key]:
    """The keys of rows whose columns of the key these are."""
    return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
