"""What a refusal of the server undoes: one transaction of many, or what came after a savepoint."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

import attrs

from bulkload import statements
from bulkload.errors import ServerError
from bulkload.ledger.journal import Done, Journal, Past, changes
from bulkload.model.report import Report
from bulkload.server import retries
from bulkload.server.connection import Connection, committed, refused, transaction

_SQL = statements.load("load")


class Undo:
    """Undoes what a load wrote last, rows and counts, and leaves all before it.

    A load that is one transaction has a savepoint for that, where it is `kept`: one at a time, moved on by one round
    trip. Others have their transactions, and a `journal` of them where the ledger can be written.
    """

    def __init__(self, connection: Connection, report: Report, *, atomic: bool) -> None:
        self._connection = connection
        self._report = report
        self.atomic = atomic
        self.kept = not atomic
        """Whether anything can be undone without the rest."""
        self.journal: Journal | None = None
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

    @property
    def past(self) -> Past | None:
        """What an earlier run of the load has done, where this one goes on with it."""
        return self.journal.past if self.journal is not None else None

    def note(self, done: Done | None) -> None:
        """There is nothing to be written of these records, but that they are done with. Raises ServerError."""
        if self.journal is not None and done is not None and done.positions:
            self.whole(lambda: None, done=done)

    def whole(
        self, write: Callable[[], object], undone: Callable[[], object] | None = None, done: Done | None = None
    ) -> None:
        """Have `write` write what is whole or undone, as in `unit`; again, where others were in its way and it was.

        `undone` is called before each further attempt. Raises ServerError; UnknownOutcomeError where a transaction may
        be in all the same.
        """
        if not self.kept:
            write()
            return

        def attempt() -> None:
            with self.unit(done):
                write()

        retries.retried(attempt, undone)

    @contextmanager
    def unit(self, done: Done | None = None) -> Generator[None]:
        """What is written inside is written whole, or undone where that can be. Raises ServerError.

        `done` are the records that it is all of; the journal says so in the same transaction.
        """
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
                    if self.journal is not None:
                        self.journal.note(self._connection, done, changes(self._counts, self._report.tables))
            except BaseException as error:
                if committed(error) is not True:
                    self._uncount()
                raise

    def _count(self) -> None:
        self._counts = {name: attrs.evolve(table) for name, table in self._report.tables.items()}

    def _uncount(self) -> None:
        self._report.tables.update({name: attrs.evolve(table) for name, table in self._counts.items()})
