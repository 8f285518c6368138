"""The leader of a load in several processes: hands out chunks, settles keys, and writes what the workers have encoded.

Chunks are settled and written strictly in their order, so that the rows do not depend on which worker is the faster
one. A worker has at most one message that it has not answered; between two statements the leader looks for answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from multiprocessing.connection import wait

import attrs

from bulkload.chunks import Mapper, Progress, Watch
from bulkload.columns import Column
from bulkload.errors import BulkloadError, RecordError
from bulkload.exchange import Destination, Encoded, Failed, Mapped, Settle, Settled, Wanted
from bulkload.formats import Slice
from bulkload.job import Input
from bulkload.load import Load
from bulkload.plan import AnyEntity
from bulkload.rejects import Rejects
from bulkload.report import Report, SourceReport
from bulkload.source import Reader
from bulkload.tables import Entity
from bulkload.workers import WorkerProcess, packed

# Records of a chunk: less than in one process, since several chunks are in memory.
_LARGEST_CHUNK = 1000

# Chunks that one worker may hold mapped while it waits for the turn of the first of them.
_MOST_HELD = 2
# Chunks for each worker that may be on their way, those that wait to be written among them.
_MOST_ON_THEIR_WAY = 4


class Leader(Mapper):
    """Has the records of `shared` inputs, by number, mapped by worker processes, and maps those of others itself.

    With a `destination` the workers write the rows that are theirs alone.
    """

    def __init__(
        self,
        load: Load,
        columns: Mapping[str, Mapping[str, Column]],
        rejects: Rejects,
        report: Report,
        shared: Mapping[int, Input],
        workers: Sequence[WorkerProcess],
        destination: Destination | None = None,
    ) -> None:
        super().__init__(load, columns, load.find_id, rejects, report)
        self._into = load
        self._shared = shared
        self._workers = workers
        for each in workers:
            each.send((columns, destination))

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
            super().run(each, counts, size, write, watch, counted, on_reject)
            return
        with each.source.open() as reader:
            lists = each.job.read.split(reader, each.source.name)
            pieces = (piece for pieces in lists for piece in pieces if counted(piece.position))
            chunks = _Chunks(each, number, reader, pieces, min(size, _LARGEST_CHUNK))
            source = _Pass(self._into, self._rejects, self._report, self._workers, chunks, counts, watch, on_reject)
            source.run()
        for phase in {phase for worker in self._workers for phase in worker.seconds}:
            self._report.workers[phase] = sum(worker.seconds.get(phase, 0.0) for worker in self._workers)


class _Chunks:
    """The chunks of an input, the next one always read ahead."""

    def __init__(self, each: Input, number: int, reader: Reader, pieces: Iterator[Slice], size: int) -> None:
        self.each = each
        self.number = number
        self._reader = reader
        self._pieces = pieces
        self._size = size
        self._fault: BulkloadError | None = None
        self._next: list[Slice] = []
        self._position = 0

    def __bool__(self) -> bool:
        return bool(self._next)

    def read_ahead(self) -> None:
        if self._next or self._fault is not None:
            return
        try:
            self._next, self._position = list(islice(self._pieces, self._size)), self._reader.position
        except BulkloadError as error:
            # What is wrong with the records before it comes first.
            self._fault = error

    def take(self) -> tuple[list[Slice], int]:
        """The next chunk, and how far the source was read for it."""
        taken, self._next = self._next, []
        return taken, self._position

    def end(self) -> None:
        """Raises what was wrong with the source."""
        if self._fault is not None:
            raise self._fault


@attrs.define
class _OnItsWay:
    """A chunk that is not written yet."""

    records: int
    position: int
    """How far the source was read for it."""
    skipped: int = 0
    rejected: list[int] = attrs.field(factory=list[int])


class _Pass:
    """One source, from its first chunk to its last row."""

    def __init__(
        self,
        load: Load,
        rejects: Rejects,
        report: Report,
        workers: Sequence[WorkerProcess],
        chunks: _Chunks,
        counts: SourceReport,
        watch: Watch,
        on_reject: Callable[[int], None],
    ) -> None:
        self._load = load
        self._rejects = rejects
        self._report = report
        self._workers = workers
        self._chunks = chunks
        self._counts = counts
        self._watch = watch
        self._on_reject = on_reject
        self._entities: dict[str, AnyEntity] = {each.name: each for each in load.plan if isinstance(each, Entity)}
        self._on_their_way: dict[int, _OnItsWay] = {}
        self._mapped: dict[int, Mapped | Failed] = {}
        self._replies: dict[int, Settle] = {}
        self._encoded: dict[int, Encoded] = {}
        # Numbers of the next chunk to be handed out, settled, written.
        self._handed_out = self._settled = self._written = 0

    def run(self) -> None:
        """Raises what `Mapper.run` does, and what a worker fails with, in the order of the chunks."""
        self._read_ahead()
        self._hand_out()
        while self._chunks or self._on_their_way:
            encoded = self._encoded.pop(self._written, None)
            if encoded is None:
                self._exchange(patient=True)
            else:
                self._write(encoded)
        self._chunks.end()

    def _exchange(self, *, patient: bool) -> None:
        """Take what the workers have answered, and give them more to do; if `patient`, wait for an answer."""
        with self._report.phase("wait for workers"):
            ready = wait([worker.pipe for worker in self._workers], None if patient else 0)
        with self._report.phase("exchange with workers"):
            for worker in self._workers:
                if worker.pipe in ready:
                    self._receive(worker)
        with self._report.phase("settle keys"):
            while (mapped := self._mapped.pop(self._settled, None)) is not None:
                self._settle(mapped)
        self._hand_out()

    def _receive(self, worker: WorkerProcess) -> None:
        message = worker.receive()
        if isinstance(message, Wanted):
            worker.send(self._load.take_ids(self._entities[message.entity], message.number))
            return
        worker.busy = False
        if isinstance(message, Mapped):
            worker.holds.append(message.chunk)
            self._mapped[message.chunk] = message
        elif isinstance(message, Encoded):
            worker.holds.remove(message.chunk)
            worker.seconds = message.seconds
            self._encoded[message.chunk] = message
        elif isinstance(message, Failed):
            if message.chunk < self._settled:
                raise message.error
            self._mapped[message.chunk] = message

    def _settle(self, mapped: Mapped | Failed) -> None:
        if isinstance(mapped, Failed):
            raise mapped.error
        chunk = self._on_their_way[mapped.chunk]
        for position, data, error in mapped.rejected:
            chunk.rejected.append(position)
            if isinstance(error, RecordError):
                self._rejects.put(self._chunks.each.job.read, Slice(position, data), error)
        chunk.skipped = mapped.skipped
        settled: dict[str, Settled] = {}
        for fresh in mapped.fresh:
            entity = self._entities[fresh.entity]
            found = settled[fresh.entity] = self._load.settle(entity, fresh.keys, fresh.proposed)
            if fresh.values is not None and found.owned:
                # Before any other chunk can refer to them: those are written on connections of their own.
                columns: list[Sequence[object]] = [found.ids, *fresh.values]
                self._load.write_new(entity, [[column[place] for place in found.owned] for column in columns])
        self._replies[mapped.chunk] = Settle(mapped.chunk, settled)
        self._settled += 1

    def _hand_out(self) -> None:
        for worker in self._workers:
            if worker.busy:
                continue
            reply = next((chunk for chunk in worker.holds if chunk in self._replies), None)
            if reply is not None:
                with self._report.phase("exchange with workers"):
                    worker.send(self._replies.pop(reply))
                worker.busy = True
            elif (
                len(worker.holds) < _MOST_HELD
                and self._handed_out - self._written < _MOST_ON_THEIR_WAY * len(self._workers)
                and self._chunks
            ):
                self._hand_chunk(worker)

    def _read_ahead(self) -> None:
        with self._report.phase("read"):
            self._chunks.read_ahead()

    def _hand_chunk(self, worker: WorkerProcess) -> None:
        pieces, position = self._chunks.take()
        label = self._chunks.each.job.read.label
        worker.doing = f"{label(pieces[0])} to {label(pieces[-1])} of {self._chunks.each.source.name}"
        with self._report.phase("exchange with workers"):
            worker.send(*packed(self._handed_out, self._chunks.number, pieces))
        worker.busy = True
        self._on_their_way[self._handed_out] = _OnItsWay(len(pieces), position)
        self._handed_out += 1
        self._read_ahead()

    def _write(self, encoded: Encoded) -> None:
        by_name = {rows.relation: rows for rows in encoded.rows}
        for relation in self._load.plan:
            if relation.name in by_name:
                self._load.write_rows(relation, by_name.pop(relation.name))
                self._exchange(patient=False)
        chunk, counts = self._on_their_way.pop(encoded.chunk), self._counts
        self._written += 1
        for position in chunk.rejected:
            self._on_reject(position)
        counts.rejected += len(chunk.rejected)
        counts.skipped += chunk.skipped
        counts.loaded += chunk.records - len(chunk.rejected) - chunk.skipped
        self._watch(Progress(self._chunks.each.source.name, chunk.position, counts.loaded))
