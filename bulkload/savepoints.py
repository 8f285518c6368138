"""What a refusal of the server undoes: one transaction of many, or what came after a savepoint."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

import attrs

from bulkload import retries, statements
from bulkload.errors import ServerError
from bulkload.report import Report
from bulkload.server import Connection, refused, transaction

_SQL = statements.load("load")


class Undo:
    """Undoes what a load wrote last, rows and counts, and leaves all before it.

    A load that is one transaction has a savepoint for that, where it is `kept`: one at a time, moved on by one round
    trip. Others have their transactions.
    """

    def __init__(self, connection: Connection, report: Report, *, atomic: bool) -> None:
        self._connection = connection
        self._report = report
        self.atomic = atomic
        self.kept = not atomic
        """Whether anything can be undone without the rest."""
        self._there = False
        self._counts = dict(report.tables)

    def set(self) -> None:
        """Move the savepoint on to here."""
        with refused("SAVEPOINT"):
            self._connection.execute(_SQL["next_savepoint" if self._there else "savepoint"].text)
        self._there = True
        self._count()

    def back(self) -> None:
        """To the savepoint, which stays."""
        with refused("ROLLBACK TO SAVEPOINT"):
            self._connection.execute(_SQL["back_to_savepoint"].text)
        self._uncount()

    def whole(self, write: Callable[[], object], undone: Callable[[], object] | None = None) -> None:
        """Have `write` write what is whole or undone, as in `unit`; again, where others were in its way and it was.

        `undone` is called before each further attempt. Raises ServerError; UnknownOutcomeError where a transaction may
        be in all the same.
        """
        if not self.kept:
            write()
            return

        def attempt() -> None:
            with self.unit():
                write()

        retries.retried(attempt, undone)

    @contextmanager
    def unit(self) -> Generator[None]:
        """What is written inside is written whole, or undone where that can be. Raises ServerError."""
        if not self.kept:
            yield
        elif self.atomic:
            self.set()
            try:
                yield
            except Exception:
                # The connection may be what is lost.
                with suppress(ServerError):
                    self.back()
                raise
        else:
            self._count()
            try:
                # A deferred constraint is checked at the end.
                with refused("COMMIT"), transaction(self._connection):
                    yield
            except Exception:
                self._uncount()
                raise

    def _count(self) -> None:
        self._counts = {name: attrs.evolve(table) for name, table in self._report.tables.items()}

    def _uncount(self) -> None:
        self._report.tables.update({name: attrs.evolve(table) for name, table in self._counts.items()})
