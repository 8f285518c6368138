"""The chunk: a slice of a source, whose records are mapped, checked and written together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice

import attrs

from bulkload.encoding.columns import Column
from bulkload.errors import BulkloadError, FitError, RecordError
from bulkload.ledger.journal import Done
from bulkload.mapping.job import Input, Skip
from bulkload.mapping.sameness import digester
from bulkload.model.plan import AnyLookup, Plan
from bulkload.model.report import Report, SourceReport
from bulkload.model.tables import key_getter
from bulkload.rows.finder import Finders, Sought
from bulkload.rows.memory import Find, MemoryLoad
from bulkload.rows.sink import Buffers
from bulkload.sources.formats import Slice, key_of
from bulkload.sources.path import path_like, path_of
from bulkload.sources.rejects import Rejects
from bulkload.sources.slices import Extract

DEFAULT_CHUNK = 5000
"""Records of a chunk: some 130,000 rows of the items database."""


@attrs.frozen
class Progress:
    """How far a run is, told after every chunk."""

    source: str
    """The name of the source that is being read."""
    bytes_read: int
    """Of its size on disk."""
    records: int
    """Loaded from it so far."""


@attrs.frozen
class Selection:
    """Records of an input that are to be mapped, in one pass over its source."""

    number: int
    """Of the input, from 0."""
    input: Input
    counted: Callable[[int], bool]
    """Whether the record at a position is among them."""
    reject: Callable[[int], None]
    """Told the position of each record that cannot go in."""
    extracts: Sequence[Extract] = ()
    """Where the records stand in the source; empty where that is not known."""


Watch = Callable[[Progress], None]
Write = Callable[[Done], None]
"""Writes the rows of these records, which are all that wait."""


def unwatched(_progress: Progress) -> None:
    """Nobody watches."""


class Mapper:
    """Maps the records of an input's source, a chunk at a time, into the buffers of a load.

    `columns` are those of each table, by which a record with a value that does not fit is told from the others; `find`
    answers its mapping's lookups meanwhile. `finders` are told what a chunk looks up before it is mapped.
    """

    def __init__(
        self,
        load: Buffers,
        columns: Mapping[str, Mapping[str, Column]],
        find: Find,
        rejects: Rejects,
        report: Report,
        finders: Finders | None = None,
    ) -> None:
        self._load = load
        self._columns = columns
        self._find = find
        self._rejects = rejects
        self._report = report
        self._finders = finders

    def run(
        self,
        selection: Selection,
        counts: SourceReport,
        size: int,
        write: Write,
        watch: Watch,
    ) -> None:
        """Map the records, and write them, `size` at a time.

        `write` takes the rows from the buffers, or raises FitError and has written nothing: then the records to blame
        are rejected, and the others of the chunk are mapped again.
        """
        each, counted = selection.input, selection.counted
        with each.source.open() as reader:
            lists = each.job.read.split(reader, each.source.name)
            pieces = (piece for pieces in lists for piece in pieces if counted(piece.position))
            while True:
                with self._report.phase("read"):
                    chunk = Chunk(selection.number, each, list(islice(pieces, size)))
                if not chunk.pieces:
                    return
                self.map(chunk, write)
                for number in chunk.rejected:
                    selection.reject(chunk.pieces[number].position)
                counts.rejected += len(chunk.rejected)
                counts.skipped += len(chunk.skipped)
                counts.loaded += len(chunk.pieces) - len(chunk.rejected) - len(chunk.skipped)
                watch(Progress(each.source.name, reader.position, counts.loaded))

    def map(self, chunk: Chunk, write: Write) -> None:
        """Map the records of one chunk, and write them; as in `run`."""
        if self._finders is not None:
            with self._report.phase("map"):
                self._finders.look_ahead(chunk.each.job.plan.lookups, chunk.sought)
        while True:
            with self._report.phase("map"):
                self._map(chunk, range(len(chunk.pieces)))
            try:
                chunk.write(range(len(chunk.pieces)), write)
            except FitError as error:
                with self._report.phase("map"):
                    self._reject_misfits(chunk, error)
            else:
                return

    def _left(self, chunk: Chunk) -> list[int]:
        """The records that are not set aside."""
        return [
            number
            for number in range(len(chunk.pieces))
            if number not in chunk.rejected and number not in chunk.skipped
        ]

    def _map(self, chunk: Chunk, numbers: Sequence[int]) -> None:
        """Map these records, but for those set aside, until no more of them turn out to be."""
        add, decode = chunk.each.job.add, chunk.each.job.read.decode
        marker = _Marker(chunk.each, self._load) if chunk.each.seed else None
        again = True
        while again:
            self._load.discard()
            again = False
            if marker is not None:
                marker.begin()
            for number in numbers:
                if number in chunk.rejected or number in chunk.skipped:
                    continue
                try:
                    document = decode(chunk.pieces[number])
                    if marker is not None:
                        marker.add(chunk.pieces[number], document)
                    else:
                        add(self._load, document)
                except Skip:
                    chunk.skipped.add(number)
                except RecordError as error:
                    self._reject(chunk, number, error)
                    again = True
                except BulkloadError:
                    raise
                except Exception as error:  # noqa: BLE001 - the user's code: what it raises is about this record
                    self._reject(chunk, number, RecordError(f"the mapping failed: {_named(error)}"), cause=error)
                    again = True

    def _reject_misfits(self, chunk: Chunk, error: FitError) -> None:
        """Reject each record of which a value does not fit, found by mapping them one by one."""
        job = chunk.each.job
        alone = MemoryLoad(job.plan, self._columns)
        alone.find_elsewhere = self._find
        before = len(chunk.rejected)
        for number in self._left(chunk):
            piece = chunk.pieces[number]
            alone.discard()
            document = job.read.decode(piece)
            job.add(alone, document)
            try:
                alone.check()
            except FitError as misfit:
                path = path_of(document, misfit.value) or path_like(piece.data, misfit.value)
                self._reject(chunk, number, misfit, path)
        if len(chunk.rejected) == before:
            raise error

    def _reject(
        self, chunk: Chunk, number: int, error: RecordError, path: str = "", cause: Exception | None = None
    ) -> None:
        piece, read = chunk.pieces[number], chunk.each.job.read
        placed = error.at(chunk.each.source.name, read.label(piece), path)
        placed.__cause__ = cause or error
        chunk.rejected[number] = placed
        self._rejects.put(read, piece, placed)


class _Marker:
    """Gives rows the digests of their records, where one can tell that a record makes this one row and no other does.

    That is where the key of the row is what the format takes for that of the record: of those a run maps one each.
    """

    def __init__(self, each: Input, load: Buffers) -> None:
        assert each.job.identity is not None  # noqa: S101 - what has a seed has an identity
        self._digest = digester(each.seed)
        self._identify = key_of(each.job.read)
        self._key_of = key_getter(each.job.identity.key)
        self._rows = load.batches[each.job.identity].keyed
        self._marks = load.marks
        self._add, self._load = each.job.add, load
        self.begin()

    def begin(self) -> None:
        """The batch is a new one."""
        self._before = 0

    def add(self, piece: Slice, document: object) -> None:
        """Add the rows of a record. Raises what its mapping does."""
        # Before the mapping, which may change the document.
        record_key = self._identify(piece, document)
        self._add(self._load, document)
        before, self._before = self._before, len(self._rows)
        if self._before == before + 1:
            key = next(reversed(self._rows))
            if self._key_of(self._rows[key]) == record_key:
                self._marks[key] = self._digest(piece.data)


@attrs.define
class Chunk:
    """What becomes of the records of a chunk, by their place in it."""

    number: int
    """Of the input, from 0."""
    each: Input
    pieces: list[Slice]
    rejected: dict[int, RecordError] = attrs.field(factory=dict[int, RecordError])
    skipped: set[int] = attrs.field(factory=set[int])
    before: Mapping[int, RecordError] = attrs.field(factory=dict[int, RecordError])
    """Records that were rejected before, and are not among the pieces, by position."""
    _written: set[int] = attrs.field(factory=set[int], init=False)

    def sought(self) -> dict[AnyLookup, list[Sought]]:
        """What the mappings of its records look up, as far as they come where nothing is found."""
        job = self.each.job
        seeker = _Seeker(job.plan)
        for piece in self.pieces:
            # It is mapped once more, and what is wrong with it is told then.
            with suppress(Exception):
                job.add(seeker, job.read.decode(piece))
            seeker.discard()
        return {lookup: list(values) for lookup, values in seeker.sought.items()}

    def write(self, numbers: Iterable[int], write: Write) -> None:
        """Have these records written; and with them, for good, those that were set aside since the last time."""
        new = sorted({*numbers, *self.rejected, *self.skipped} - self._written)
        rejected = {self.pieces[number].position: self.rejected[number] for number in new if number in self.rejected}
        positions = [self.pieces[number].position for number in new]
        if self.before:
            positions, rejected = sorted([*self.before, *positions]), {**self.before, **rejected}
        write(Done(self.number, positions, sum(number in self.skipped for number in new), rejected))
        self._written.update(new)
        self.before = {}


class _Seeker(MemoryLoad):
    """Finds nothing, and remembers what was to be found."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.sought: dict[AnyLookup, dict[Sought, None]] = {}

    def find_id(self, lookup: AnyLookup, values: Sought) -> None:
        """None."""
        self.sought.setdefault(lookup, {})[values] = None


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
