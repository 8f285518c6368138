"""Rows of several chunks that are written together: a COPY costs two round trips, whatever it carries.

A chunk whose rows are refused is given back, with all others that are undone with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import attrs

from bulkload.encoding.encode import count_rows
from bulkload.errors import RecordError, ServerError
from bulkload.ledger.journal import Done, together
from bulkload.mapping.job import Input
from bulkload.model.plan import AnyEntity, AnyRelation
from bulkload.model.report import Report
from bulkload.model.tables import Key
from bulkload.rows.fingerprints import Noted
from bulkload.rows.load import Load
from bulkload.workers.exchange import Sent, Told
from bulkload.workers.writers import Writers

LEAST_COPIED = 8 << 20
"""Bytes of a table's rows that are worth a COPY before there are no more to come: of 20,000 items, 18 COPYs instead of
the 55 of 2 MiB, for 20 MB of memory."""

MOST_COPIED = 32 << 20
"""Bytes of the rows of all tables that may wait for more of theirs, however many tables there are: with twice as many a
full set of items takes 15 MB more."""

MOST_HELD = 32 << 20
"""Bytes that chunks keep while any of their rows wait, however few: sources that are sent along, and keys."""

_PER_RECORD = 128
"""Of these, what is kept of a record beside its own bytes: its key, where it stands, and what is noted of it."""

LEAST_BATCH = 16 << 20
"""Bytes of chunks that several connections write, a transaction at a time: a full set of items takes 825 round trips
instead of the 1,339 of 8 MiB."""

LEAST_KEPT = 32 << 20
"""Bytes of chunks behind which the savepoint is moved, in a load that has one: so much is undone by a refusal."""


@attrs.define(eq=False)
class Pending:
    """A chunk whose rows are on their way to the server."""

    number: int
    """Of the input, from 0."""
    input: Input
    records: Sent | Told
    rejected: Mapping[int, RecordError]
    """Those that could not be mapped, by position."""
    skipped: int
    done: Callable[[Pending], None]
    """Called when the rows cannot be lost but with all others, or with what is given back."""
    own: list[tuple[AnyEntity, Sequence[Key]]] = attrs.field(factory=list[tuple[AnyEntity, Sequence[Key]]])
    """Keys that are known since it was settled, of rows that are its own."""
    shared: list[tuple[AnyEntity, Sequence[Key]]] = attrs.field(factory=list[tuple[AnyEntity, Sequence[Key]]])
    """Such keys of rows that other chunks may refer to."""
    noted: Noted | None = None
    """The fingerprints of its records."""
    whole: bool = False
    """Whether all its rows are put."""
    counted: bool = False
    """Whether `done` was called."""
    shared_in: bool = False
    """Whether the shared rows are in, whatever comes of the others."""

    @property
    def loaded(self) -> int:
        """How many of its records have rows."""
        return len(self.records.positions) - len(self.rejected) - self.skipped

    @property
    def records_done(self) -> Done:
        """What the journal is told when all its rows are in."""
        return Done(self.number, self.records.positions, self.skipped, self.rejected)

    @property
    def held(self) -> int:
        """Bytes that it keeps for as long as any of its rows may be refused."""
        sent = len(self.records.data) if isinstance(self.records, Sent) else 0
        return sent + _PER_RECORD * len(self.records.positions)

    def count(self) -> None:
        self.counted = True
        self.done(self)


class Outbox:
    """Writes new rows in the one transaction of a load, a table at a time."""

    def __init__(self, load: Load, report: Report) -> None:
        self._load = load
        self._report = report
        self._rows: dict[AnyRelation, list[tuple[Pending, bytes]]] = {relation: [] for relation in load.plan}
        self._sizes: dict[AnyRelation, int] = dict.fromkeys(load.plan, 0)
        """Their bytes."""
        self._pending: list[Pending] = []
        """What a refusal undoes; the chunk whose rows are put is the last."""
        self._size = 0
        """Bytes that wait; with a savepoint, those that came after it."""
        self._held = 0
        """Bytes that chunks keep of which not all is written."""
        self._refused: list[tuple[Pending, bytes]] = []

    def begin(self, chunk: Pending) -> None:
        """Rows of a chunk are about to be put, or written."""
        if not self._load.undo.kept:
            self._pending.clear()
        elif not self._pending:
            self._load.undo.set()
        self._pending.append(chunk)
        self._held += chunk.held

    def put(self, relation: AnyRelation, rows: bytes, *, shared: bool) -> None:  # noqa: ARG002 - of several only
        """Encoded rows; `shared` are those that rows of other chunks may refer to. Raises ServerError."""
        if rows:
            self._rows[relation].append((self._pending[-1], rows))
            self._size += len(rows)
            self._sizes[relation] += len(rows)
        if self._sizes[relation] >= LEAST_COPIED:
            self._write(relation)

    def end(self, *, written: bool = False) -> None:  # noqa: ARG002 - of several only
        """All rows of the chunk are put; or `written`, and nothing of it waits. Raises ServerError."""
        self._pending[-1].whole = True
        self._pending[-1].count()
        if self._held >= MOST_HELD or (self._load.undo.kept and self._size >= LEAST_KEPT):
            self.empty()
        while self._size >= MOST_COPIED and not self._load.undo.kept:
            # No more than must be: while this process writes, it hands nothing out.
            self._write(max(self._sizes, key=self._sizes.__getitem__))

    def end_source(self) -> None:
        """All rows of a source are put. Those of the next one can be written with them, where none can be refused."""
        if self._load.undo.kept:
            self.empty()

    def empty(self) -> None:
        """Write everything. Raises ServerError."""
        for relation in self._rows:
            self._write(relation)
        self._pending = [chunk for chunk in self._pending if not chunk.whole]
        self._size = self._held = 0

    def give_back(self) -> list[Pending]:
        """The chunks of which nothing is in, after a refusal; they are forgotten here. Raises ServerError."""
        self._load.undo.back()
        for rows in self._rows.values():
            rows.clear()
        self._sizes = dict.fromkeys(self._sizes, 0)
        chunks, self._pending, self._size, self._held = self._pending, [], 0, 0
        return chunks

    def refused(self, error: ServerError) -> tuple[list[Pending], ServerError]:
        """The chunks that a refusal may be about, with the row counted among those of one where it is named."""
        chunks = list(dict.fromkeys(chunk for chunk, _ in self._refused)) or self._pending
        if error.copied is not None:
            table, row = error.copied
            for chunk, data in self._refused:
                count = count_rows(data)
                if row < count:
                    return [chunk], error.with_row((table, row))
                row -= count
        return chunks, error.with_row(None)

    def _write(self, relation: AnyRelation) -> None:
        rows, self._rows[relation] = self._rows[relation], []
        size, self._sizes[relation] = self._sizes[relation], 0
        if not rows:
            return
        # A foreign key may have stayed.
        for reference in self._load.plan.references[relation]:
            if reference.entity is not relation and reference.entity in self._rows:
                self._write(reference.entity)
        try:
            self._load.write_encoded(relation, [data for _, data in rows])
        except ServerError:
            self._refused = rows
            raise
        if not self._load.undo.kept:
            self._size -= size


class SeveralOutbox(Outbox):
    """Has the rows of whole chunks written by several connections, but for those that other chunks may refer to."""

    def __init__(self, load: Load, report: Report, writers: Writers) -> None:
        super().__init__(load, report)
        self._writers = writers
        self._shared: dict[AnyRelation, list[bytes]] = {relation: [] for relation in load.plan}
        self._lost: list[Pending] = []

    def begin(self, chunk: Pending) -> None:
        """As in an Outbox."""
        self._pending.append(chunk)

    def put(self, relation: AnyRelation, rows: bytes, *, shared: bool) -> None:
        """As in an Outbox."""
        if rows and shared:
            self._shared[relation].append(rows)
        elif rows:
            self._rows[relation].append((self._pending[-1], rows))
        self._size += len(rows)

    def end(self, *, written: bool = False) -> None:
        """As in an Outbox."""
        if written:
            # It is committed: it must not be given back, and written once more, for what is refused of others.
            self._pending.pop().count()
            return
        self._pending[-1].whole = True
        if self._size >= LEAST_BATCH:
            self._send()

    def end_source(self) -> None:
        """As in an Outbox; but what was taken away from tables that no more rows come into may come back now."""
        self.empty()

    def empty(self) -> None:
        """Write everything, and wait until it is. Raises ServerError, of what others have written, too."""
        self._send()
        with self._report.phase("wait for writers"):
            self._writers.drain()

    def give_back(self) -> list[Pending]:
        """As in an Outbox, when all that is written elsewhere is in or refused."""
        for rows in self._rows.values():
            rows.clear()
        for encoded in self._shared.values():
            encoded.clear()
        waiting = True
        while waiting:
            try:
                self._writers.drain()
                waiting = False
            except ServerError as error:
                if not error.of_rows:
                    raise
        chunks = [*self._lost, *self._pending]
        self._lost, self._pending, self._size = [], [], 0
        return chunks

    def _send(self) -> None:
        # Before any other chunk can refer to them: those are written on connections of their own.
        if any(self._shared.values()):
            self._load.undo.whole(self._write_shared)
        for encoded in self._shared.values():
            encoded.clear()
        chunks = [chunk for chunk in self._pending if chunk.whole]
        for chunk in chunks:
            chunk.shared_in = True
        batch = [(relation, b"".join(data for _, data in rows)) for relation, rows in self._rows.items() if rows]
        done = together([chunk.records_done for chunk in chunks])
        if batch or (done is not None and self._load.undo.journal is not None):
            with self._report.phase("wait for writers"):
                self._writers.write(batch, done, partial(_count, chunks), partial(self._lost.extend, chunks))
        else:
            _count(chunks)
        for rows in self._rows.values():
            rows.clear()
        self._pending, self._size = [chunk for chunk in self._pending if not chunk.whole], 0

    def _write_shared(self) -> None:
        for relation, encoded in self._shared.items():
            if encoded:
                self._load.write_encoded(relation, encoded)


def _count(chunks: Sequence[Pending]) -> None:
    for each in chunks:
        each.count()
