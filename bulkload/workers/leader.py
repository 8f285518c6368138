"""The leader of a load in several processes: hands out chunks, settles keys, and has the rows written.

Chunks are settled strictly in their order, so that the rows do not depend on which process is the faster one. What is
mapped elsewhere is as good as if it had been mapped here: a chunk whose process was lost is mapped once more.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import partial

import attrs

from bulkload.encoding.columns import Column
from bulkload.errors import BulkloadError, RecordError, ServerError
from bulkload.mapping.blame import Blaming
from bulkload.mapping.chunks import Chunk, Progress, Selection, Watch, Write
from bulkload.mapping.job import Input
from bulkload.model.mode import Mode
from bulkload.model.plan import AnyEntity
from bulkload.model.report import Report, SourceReport
from bulkload.model.tables import Entity, Replace
from bulkload.rows.fingerprints import NONE
from bulkload.rows.load import Load
from bulkload.sources.formats import Slice
from bulkload.sources.rejects import Rejects
from bulkload.workers.blocks import Block, Ids, draw
from bulkload.workers.exchange import Mapped, Short, Task
from bulkload.workers.handout import Handouts, handouts, label
from bulkload.workers.new_keys import NewKeys
from bulkload.workers.outbox import Outbox, Pending, SeveralOutbox
from bulkload.workers.processes import Processes, WorkerDiedError
from bulkload.workers.settling import Dictionaries, Settler, forget, know, take_new
from bulkload.workers.worker import Spec, map_chunk
from bulkload.workers.writers import Writers

# Records of a chunk: less than in one process, since several chunks are in memory, and few enough for what is made of
# them to stay in a core's cache. Of items, processes need a tenth more time with 1000, the leader a quarter with 250.
_LARGEST_CHUNK = 500

# Chunks for each process that may be on their way, those that wait for their turn among them.
_MOST_ON_THEIR_WAY = 4


class Leader(Blaming):
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
        super().__init__(load, columns, rejects, report)
        self._shared = shared
        self._told = isinstance(executor, Processes)
        entities = [relation for relation in load.plan if isinstance(relation, Entity)]
        spec = pickle.dumps(Spec(shared, columns))

        def submit(task: Task) -> Future[Mapped | Short]:
            return executor.submit(map_chunk, spec, task)

        self._way = _Way(
            load,
            rejects,
            report,
            submit,
            jobs,
            _MOST_ON_THEIR_WAY * jobs,
            Outbox(load, report) if writers is None else SeveralOutbox(load, report, writers),
            {entity: Ids() for entity in entities},
            # Where no key is there to begin with, those of rows that are to be replaced whole come once at most, as a
            # rule; and so where those that are there are of this load.
            {
                each: NewKeys()
                for each in entities
                if isinstance(each.conflict, Replace) and (not load.known[each] or load.undo.past is not None)
            },
        )
        take_new(load, self._way.new)

    def run(
        self,
        selection: Selection,
        counts: SourceReport,
        size: int,
        write: Write,
        watch: Watch,
    ) -> None:
        """As `Mapper.run`."""
        if selection.number not in self._shared:
            # Its rows may refer to any of them.
            self.finish()
            know(self._into, self._way.new, selection.input.job.plan)
            super().run(selection, counts, size, write, watch)
            return
        with handouts(selection, min(size, _LARGEST_CHUNK), told=self._told) as chunks:
            _Pass(self._way, self, selection, chunks, counts, watch).run()

    def finish(self) -> None:
        """Write all rows that wait; to be called when there are no more sources. Raises what `run` does."""
        try:
            self._way.outbox.empty()
        except ServerError as error:
            named = self.named_of(error)
            if named is error:
                raise
            raise named from error

    def named_of(self, error: ServerError) -> RecordError | ServerError:
        """As `named`, of rows of several chunks."""
        chunks, refusal = self._way.outbox.refused(error)
        if not error.of_rows or not chunks or any(pending.input is not chunks[0].input for pending in chunks):
            return error
        forget(self._into, self._way.new, self._way.dictionaries, chunks)
        return self.named(_chunk(chunks), refusal)


@attrs.frozen
class _Way:
    """What all passes of a load go through on their way to the server."""

    load: Load
    rejects: Rejects
    report: Report
    submit: Callable[[Task], Future[Mapped | Short]]
    first: int
    """Chunks of a source that are on their way until one of them is back."""
    most: int
    """Chunks that may be on their way."""
    outbox: Outbox
    ids: Mapping[AnyEntity, Ids]
    new: dict[AnyEntity, NewKeys]
    """The keys of entities of which all were new so far."""
    dictionaries: Dictionaries = attrs.field(factory=dict[tuple[bytes, str], list[int]])


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
        self, way: _Way, here: Leader, selection: Selection, chunks: Handouts, counts: SourceReport, watch: Watch
    ) -> None:
        self._way = way
        self._here = here
        self._selection = selection
        self._chunks = chunks
        self._counts = counts
        self._watch = watch
        plan = selection.input.job.plan
        self._settler = Settler(way.load, way.report, plan, way.dictionaries, way.new)
        self._entities = [relation for relation in plan if isinstance(relation, Entity)]
        self._on_their_way: deque[_OnItsWay] = deque()
        self._learned = False
        """Whether any chunk told how many ids its records need."""

    def run(self) -> None:
        """Raises what `Mapper.run` does, and what a process fails with, in the order of the chunks."""
        try:
            self._hand_out()
            while self._on_their_way:
                chunk = self._on_their_way[0]
                mapped = self._mapped(chunk)
                with self._refused_again_here():
                    self._settle(chunk, mapped)
                self._on_their_way.popleft()
                self._hand_out()
        finally:
            for each in self._on_their_way:
                each.future.cancel()
        with self._refused_again_here():
            self._way.outbox.end_source()
        self._chunks.end()

    def _hand_out(self) -> None:
        while len(self._on_their_way) < (self._way.most if self._learned else self._way.first):
            with self._way.report.phase("read"):
                handout = self._chunks.take()
            if handout is None:
                return
            with self._way.report.phase("hand out"):
                records = handout.records
                given = self._given(len(records.positions))
                task = Task(self._selection.number, records, _bare(given), forget=False, new=self._all_new)
                self._on_their_way.append(_OnItsWay(task, given, self._way.submit(task), handout.position))

    def _given(self, records: int) -> dict[AnyEntity, Sequence[Block]]:
        theirs = [each for each in self._entities if each.conflict is None or each in self._way.new]
        wanted = {entity: self._way.ids[entity] for entity in theirs}
        draw(self._way.load, wanted, records)
        return {entity: ids.given(records) for entity, ids in wanted.items()}

    @property
    def _all_new(self) -> frozenset[str]:
        return frozenset(entity.name for entity in self._way.new)

    def _again(self, chunk: _OnItsWay, *, forget: bool = False) -> None:
        """Have it mapped once more, with other ids."""
        chunk.given = self._given(len(chunk.task.records.positions))
        chunk.task = chunk.task._replace(ids=_bare(chunk.given), new=self._all_new, forget=forget)
        chunk.future = self._way.submit(chunk.task)

    def _mapped(self, chunk: _OnItsWay) -> Mapped:
        """What became of the chunk, when it has been mapped. Raises what that failed with."""
        while True:
            with self._way.report.phase("wait for workers"):
                found = self._result(chunk)
            self._learned = True
            records = len(chunk.task.records.positions)
            for entity, blocks in chunk.given.items():
                ids, count = self._way.ids[entity], found.used.get(entity.name, 0)
                if isinstance(found, Short):
                    ids.short(blocks, count, records)
                else:
                    ids.used(blocks, count, records)
            if isinstance(found, Short):
                # By itself: the keys of chunks that the process maps before it does so come later here.
                self._again(chunk, forget=True)
                continue
            if not self._settler.knows(found):
                # The answer in which the process told of them was lost, or comes later.
                self._again(chunk, forget=True)
                continue
            for phase, seconds in found.seconds.items():
                self._way.report.workers[phase] = self._way.report.workers.get(phase, 0.0) + seconds
            if self._settler.came_before(found):
                # From now on nothing is taken for granted.
                know(self._way.load, self._way.new, self._way.load.plan)
                self._again(chunk, forget=True)
                continue
            return found

    def _result(self, chunk: _OnItsWay) -> Mapped | Short:
        changed = "; nothing was changed" if self._way.load.mode is Mode.OPTIMIZED else ""
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

    def _settle(self, chunk: _OnItsWay, mapped: Mapped) -> None:
        """Tell rows that exist from new ones, put ids in their places, and have them written."""
        for position, data, error in mapped.rejected:
            self._selection.reject(position)
            if isinstance(error, RecordError):
                self._way.rejects.put(self._selection.input.job.read, Slice(position, data), error)
        rejected = {position: error for position, _, error in mapped.rejected if isinstance(error, RecordError)}
        # Not the chunk itself: what was mapped would stay in memory for as long as any of its rows waits.
        done = partial(self._done, position=chunk.position)
        pending = Pending(
            self._selection.number, self._selection.input, chunk.task.records, rejected, mapped.skipped, done
        )
        self._way.outbox.begin(pending)
        settlement = self._settler.settle(mapped, pending)
        identity, fingerprints = self._selection.input.job.identity, self._way.load.fingerprints
        undo = self._way.load.undo
        if fingerprints is not None and identity is not None and identity in fingerprints.entities:
            settled = settlement.settled.get(identity.name)
            row_ids = settled.ids if settled is not None else ()
            pending.noted = fingerprints.note(identity, row_ids, mapped.marks or NONE * len(row_ids))
        if written := self._settler.may_exist(mapped, settlement):
            # What belongs to a row that is replaced is deleted first: it has to be there.
            self._way.outbox.empty()
            write = partial(self._settler.write_all, mapped, settlement)
            undo.whole(write, done=pending.records_done)
        else:
            for rows in mapped.rows:
                relation, data, shared = self._settler.new_rows(rows, settlement)
                self._way.outbox.put(relation, data, shared=shared)
                # Between two of them, so that nobody waits for something to do.
                self._hand_out()
        self._way.outbox.end(written=written)
        if fingerprints is not None and fingerprints.many and identity in self._way.new and not undo.kept:
            # Of keys that are all new, no row is written twice.
            self._way.outbox.empty()
            with self._way.report.phase("fingerprints"):
                fingerprints.store(self._way.load.is_of_one)

    def _done(self, pending: Pending, position: int) -> None:
        """The rows of a chunk are written; the source was read so far for it."""
        self._counts.rejected += len(pending.rejected)
        self._counts.skipped += pending.skipped
        self._counts.loaded += pending.loaded
        self._watch(Progress(self._selection.input.source.name, position, self._counts.loaded))

    @contextmanager
    def _refused_again_here(self) -> Generator[None]:
        """What the server refuses inside is mapped and written by this process, a chunk at a time, to find why."""
        try:
            yield
        except ServerError as error:
            if not error.of_rows:
                raise
            if not self._way.load.undo.kept:
                raise self._here.named_of(error) from error
            chunks = self._way.outbox.give_back()
            self._settler.forget(chunks)
            for pending in chunks:
                self._write_here(pending)

    def _write_here(self, pending: Pending) -> None:
        chunk = _chunk([pending])
        self._here.map(chunk, self._way.load.flush)
        take_new(self._way.load, self._way.new)
        if pending.counted:
            self._counts.skipped -= pending.skipped
            self._counts.loaded -= pending.loaded
        else:
            self._counts.rejected += len(pending.rejected)
        for number in chunk.rejected:
            self._selection.reject(chunk.pieces[number].position)
        self._counts.rejected += len(chunk.rejected)
        self._counts.skipped += len(chunk.skipped)
        self._counts.loaded += len(chunk.pieces) - len(chunk.rejected) - len(chunk.skipped)


def _chunk(chunks: Sequence[Pending]) -> Chunk:
    """The records of these, all of one source, that could be mapped."""
    each = chunks[0].input
    pieces = [
        piece
        for pending in chunks
        for piece in pending.records.slices(each.source)
        if piece.position not in pending.rejected
    ]
    before = {position: error for pending in chunks for position, error in pending.rejected.items()}
    return Chunk(chunks[0].number, each, pieces, before=before)


def _bare(given: Mapping[AnyEntity, Sequence[Block]]) -> dict[str, list[Sequence[int]]]:
    return {entity.name: [block.ids for block in blocks] for entity, blocks in given.items()}
