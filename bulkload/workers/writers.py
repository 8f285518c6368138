"""Several connections that rows are written on, side by side: all rows of a batch of chunks in one transaction."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import partial

import psycopg

from bulkload.errors import ServerError
from bulkload.ledger import ledger
from bulkload.ledger.journal import Done
from bulkload.model.plan import AnyRelation
from bulkload.model.report import TableReport
from bulkload.rows.load import Load
from bulkload.rows.stream import CopyWriter
from bulkload.server import retries
from bulkload.server.connection import Connection, commit_asynchronously, connect, conninfo_of, refused, transaction

# Batches that may wait beyond those that are written at the moment.
_MOST_WAITING = 1

_PAUSE = 1.0
"""Seconds between two attempts to cancel what is written."""

Written = list[tuple[AnyRelation, int, float]]
"""Of each relation the rows that were written, and the seconds that took."""


class Writers:
    """Writes new rows of a load; made by `writers`."""

    def __init__(self, load: Load, count: int, *, async_commit: bool) -> None:
        self._load = load
        self._count = count
        self._async_commit = async_commit
        self._conninfo = conninfo_of(load.connection)
        self._copy = CopyWriter()
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="bulkload-writer")
        self._own = threading.local()
        self._connections: list[Connection] = []
        self._waiting: deque[tuple[Future[Written], Callable[[], None], Callable[[], None]]] = deque()

    def write(
        self,
        rows: Sequence[tuple[AnyRelation, bytes]],
        records: Done | None,
        done: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        """Have the rows of a batch written, parents first, which are all of some records.

        In a later call here `done` is called when they are in, or `lost` when the server has refused them. Raises what
        an earlier batch failed with, and then has not begun with this one.
        """
        while self._waiting and (len(self._waiting) >= self._count + _MOST_WAITING or self._waiting[0][0].done()):
            self._take()
        self._waiting.append((self._executor.submit(self._written, rows, records), done, lost))

    def drain(self) -> None:
        """Until everything is written. Raises what a batch failed with."""
        while self._waiting:
            self._take()

    def stop(self) -> None:
        """End what runs, and begin nothing more. No connection is left when it returns."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        # A statement that had yet to begin is not reached by the first of them.
        running = [future for future, *_ in self._waiting]
        while running := [future for future in running if not future.done()]:
            for connection in list(self._connections):
                with suppress(psycopg.Error):
                    connection.cancel_safe(timeout=_PAUSE)
            wait(running, timeout=_PAUSE)
        self._executor.shutdown()
        for connection in self._connections:
            connection.close()

    def _take(self) -> None:
        # It waits for as long as it is not done, so that `stop` knows of it where this is interrupted.
        future, done, lost = self._waiting[0]
        try:
            result = future.result()
        except ServerError:
            self._waiting.popleft()
            lost()
            raise
        self._waiting.popleft()
        for relation, count, seconds in result:
            self._load.written(relation, count, seconds)
        done()

    def _written(self, rows: Sequence[tuple[AnyRelation, bytes]], records: Done | None) -> Written:
        return retries.retried(partial(self._write, self._connection(), rows, records))

    def _write(
        self, connection: Connection, rows: Sequence[tuple[AnyRelation, bytes]], records: Done | None
    ) -> Written:
        journal = self._load.undo.journal
        written: Written = []
        with refused("writing the rows of a chunk"), transaction(connection):
            for relation, data in rows:
                begin = time.perf_counter()
                target, encoder = self._load.targets[relation], self._load.encoders[relation]
                count = self._copy.send(connection, target, encoder, data)
                written.append((relation, count, time.perf_counter() - begin))
            if journal is not None:
                journal.note(connection, records, {each.name: TableReport(count) for each, count, _ in written})
        return written

    def _connection(self) -> Connection:
        connection: Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = connect(self._conninfo)
            self._connections.append(connection)
            self._own.connection = connection
            if self._load.line is not None:
                # It lives as long as one of its connections does.
                ledger.hold_together(connection, self._load.line)
            if self._async_commit:
                commit_asynchronously(connection)
        return connection


@contextmanager
def writers(load: Load, count: int, *, async_commit: bool) -> Generator[Writers]:
    """So many connections at most, which are opened as they are needed, and gone when the block ends."""
    found = Writers(load, count, async_commit=async_commit)
    try:
        yield found
    finally:
        found.stop()
