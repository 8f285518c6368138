"""Rows of several chunks that are written together: a COPY costs two round trips, whatever it carries."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from bulkload.load import Load
from bulkload.plan import AnyRelation
from bulkload.report import Report
from bulkload.writers import Writers

LEAST_COPIED = 8 << 20
"""Bytes of a table's rows that are worth a COPY before there are no more to come."""

LEAST_BATCH = 8 << 20
"""Bytes of chunks that several connections write, a transaction at a time."""

Done = Callable[[], None]


class Outbox:
    """Writes new rows in the one transaction of a load, a table at a time."""

    def __init__(self, load: Load, report: Report) -> None:
        self._load = load
        self._report = report
        self._rows: dict[AnyRelation, list[bytes]] = {relation: [] for relation in load.plan}

    def put(self, relation: AnyRelation, rows: bytes, *, shared: bool) -> None:  # noqa: ARG002 - of several only
        """Encoded rows; `shared` are those that rows of other chunks may refer to."""
        if rows:
            self._rows[relation].append(rows)
        if sum(map(len, self._rows[relation])) >= LEAST_COPIED:
            self._write(relation)

    def end_chunk(self, done: Done) -> None:
        """All rows of a chunk are put; `done` is called when they cannot be lost but with all others."""
        done()

    def end_source(self) -> None:
        """All rows of a source are put; those of the next one can be written with them."""

    def empty(self) -> None:
        """Write everything."""
        for relation in self._rows:
            self._write(relation)

    def _write(self, relation: AnyRelation) -> None:
        rows, self._rows[relation] = self._rows[relation], []
        if not rows:
            return
        # A foreign key may have stayed.
        for reference in self._load.plan.references[relation]:
            if reference.entity is not relation and reference.entity in self._rows:
                self._write(reference.entity)
        self._load.write_encoded(relation, rows)


class SeveralOutbox(Outbox):
    """Has the rows of whole chunks written by several connections, but for those that other chunks may refer to."""

    def __init__(self, load: Load, report: Report, writers: Writers) -> None:
        super().__init__(load, report)
        self._writers = writers
        self._shared: dict[AnyRelation, list[bytes]] = {relation: [] for relation in load.plan}
        self._done: list[Done] = []
        self._size = 0

    def put(self, relation: AnyRelation, rows: bytes, *, shared: bool) -> None:
        """As in an Outbox."""
        if rows:
            (self._shared if shared else self._rows)[relation].append(rows)
            self._size += len(rows)

    def end_chunk(self, done: Done) -> None:
        """As in an Outbox."""
        self._done.append(done)
        if self._size >= LEAST_BATCH:
            self._send()

    def end_source(self) -> None:
        """As in an Outbox; but what was taken away from tables that no more rows come into may come back now."""
        self.empty()

    def empty(self) -> None:
        """Write everything, and wait until it is."""
        self._send()
        with self._report.phase("wait for writers"):
            self._writers.drain()

    def _send(self) -> None:
        for relation, rows in self._shared.items():
            # Before any other chunk can refer to them: those are written on connections of their own.
            if rows:
                self._load.write_encoded(relation, rows)
                rows.clear()
        batch = [(relation, b"".join(rows)) for relation, rows in self._rows.items() if rows]
        for rows in self._rows.values():
            rows.clear()
        done, self._done, self._size = self._done, [], 0
        if not batch:
            _all(done)
            return
        with self._report.phase("wait for writers"):
            self._writers.write(batch, partial(_all, done))


def _all(done: Iterable[Done]) -> None:
    for each in done:
        each()
