"""Several connections that build indexes and check foreign keys side by side."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from typing import Protocol

import psycopg
from psycopg_pool import ConnectionPool

from bulkload import statements
from bulkload.server.connection import Connection, refused
from bulkload.server.silence import Watched

logger = logging.getLogger("bulkload")

_SQL = statements.load("rebuild")

Task = Callable[[Connection], None]

_TOLD_EVERY = 10.0
"""Seconds between two lines of the log about how far the builds are."""

_PAUSE = 0.1
"""Seconds between two attempts to end what runs."""

_PATIENCE = 10.0
"""Seconds that one more connection is waited for, where the server is full, or gone."""


class Builders(Protocol):
    """Runs tasks that build something on a connection."""

    def submit(self, what: str, task: Task) -> None:
        """Have a task run; `what` names it in the log."""
        ...

    def wait(self) -> None:
        """Until all tasks are done."""
        ...


class Alone(Builders):
    """Runs each task at once, on the one connection: inside its transaction, where it is in one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def submit(self, what: str, task: Task) -> None:
        logger.debug("%s", what)
        task(self._connection)

    def wait(self) -> None:
        pass


class Crew(Builders):
    """Runs tasks side by side, each on a connection of its own while it runs; the first submitted are the first begun.

    A task deals with its own errors of the server; whatever else it raises is raised by `wait`.
    """

    def __init__(self, pool: ConnectionPool[Connection], count: int) -> None:
        self._pool = pool
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="bulkload-builder")
        self._futures: list[Future[None]] = []
        self._done = 0
        self._submitted = 0
        self._running: dict[int, tuple[str, Connection]] = {}
        self._stopped = False
        self._lock = threading.Lock()

    def submit(self, what: str, task: Task) -> None:
        with self._lock:
            self._submitted += 1
            self._futures.append(self._executor.submit(self._run, what, task))

    def wait(self) -> None:
        begin = time.monotonic()
        # A task may submit others.
        while pending := self._take():
            while pending:
                done, pending = wait(pending, timeout=_TOLD_EVERY)
                for each in done:
                    each.result()
                if pending:
                    self._tell(time.monotonic() - begin)

    def _take(self) -> set[Future[None]]:
        with self._lock:
            taken = set(self._futures)
            self._futures.clear()
        return taken

    def stop(self) -> None:
        """End what runs, and begin nothing more."""
        with self._lock:
            self._stopped = True
        self._executor.shutdown(wait=False, cancel_futures=True)
        # Again and again: a task may be between two statements, as while it waits for a lock with pauses.
        while running := self._at_work():
            for connection in running:
                # It may have ended at this moment.
                with suppress(psycopg.Error):
                    connection.cancel_safe()
            time.sleep(_PAUSE)
        self._executor.shutdown()

    def _at_work(self) -> list[Connection]:
        with self._lock:
            return [connection for _, connection in self._running.values()]

    def _run(self, what: str, task: Task) -> None:
        with ExitStack() as stack:
            with refused("opening one more connection"):
                connection = stack.enter_context(self._pool.connection())
            with self._lock:
                if self._stopped:
                    return
                self._running[threading.get_ident()] = (what, connection)
            begin = time.perf_counter()
            try:
                task(connection)
            finally:
                with self._lock:
                    del self._running[threading.get_ident()]
                    self._done += 1
            logger.debug("%s: done in %.2f s", what, time.perf_counter() - begin)

    def _tell(self, seconds: float) -> None:
        with self._lock:
            running = list(self._running.values())
            done, left = self._done, self._submitted - self._done
        pids = [connection.info.backend_pid for _, connection in running]
        shares = list[float]()
        # Where there is no connection for it, the builds go on untold.
        with suppress(psycopg.Error), self._pool.connection(timeout=1) as connection:
            rows = connection.execute(_SQL["build_progress"].text, {"pids": pids}).fetchall()
            shares = [float(str(share)) for (share,) in rows]
        finished = done + sum(shares)
        eta = f", about {seconds / finished * (done + left - finished):.0f} s to go" if finished > 0 else ""
        names = ", ".join(what for what, _ in running)
        logger.info("restoring: %d of %d done%s; at work on %s", done, done + left, eta, names)


@contextmanager
def crew(conninfo: str, count: int, prepare: Callable[[Connection], None]) -> Generator[Crew]:
    """A crew with `count` connections at most, which are opened as they are needed and `prepare`d."""
    pool = ConnectionPool[Connection](
        conninfo,
        # One more than there are tasks at a time, to ask how far they are.
        min_size=1,
        max_size=count + 1,
        connection_class=Watched,
        timeout=_PATIENCE,
        kwargs={"autocommit": True},
        configure=prepare,
        name="bulkload-builders",
        open=False,
    )
    with pool:
        found = Crew(pool, count)
        try:
            yield found
        finally:
            found.stop()
