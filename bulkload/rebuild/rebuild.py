"""Indexes and constraints: away while rows stream in, back before the commit.

All of it is inside the one transaction of the load, and under locks that it holds already: nobody sees the tables
without them, and a crash leaves the old rows with the old indexes. What comes back is compared with what was there; a
difference undoes the load.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import psycopg
from psycopg import sql

from bulkload.errors import ServerError
from bulkload.model.report import Report
from bulkload.rebuild.choice import Choice
from bulkload.server.catalog import Target, analyze
from bulkload.server.connection import Connection, Step, pipelined, refused
from bulkload.server.definitions import SQL, Index, Kind, Object, Survey, differences, facts, survey

logger = logging.getLogger("bulkload")

# Index builds of the largest tables of a full items database sort in memory with it; what a server was given for its
# own maintenance is left alone where it is more.
BUILD_MEMORY = "256MB"


_LOOKS = 20
_PAUSE = 0.1
"""Seconds between two looks at a catalog that changes."""


class Rebuilding(Protocol):
    """What was taken away for a load, and comes back at its end."""

    def begin(self, relations: Iterable[int]) -> None:
        """All rows of these tables are in."""
        ...

    def restore_indexes(self) -> None:
        """Put keys and indexes back, when all rows are in."""
        ...

    def analyzing(self, tables: Sequence[Target]) -> AbstractContextManager[None]:
        """Gather statistics of these tables, whose indexes are back: beside what is done in the block, where there are
        connections for that. Raises ServerError."""
        ...

    def restore_foreign_keys(self) -> None:
        """Put foreign keys back, and compare the catalog with what it was."""
        ...


class Rebuild(Rebuilding):
    """Takes away what was chosen, when it is made; `restore_indexes` and `restore_foreign_keys` put it back."""

    def __init__(self, connection: Connection, choice: Choice, report: Report) -> None:
        self._connection = connection
        self._choice = choice
        self._report = report
        with report.phase("drop indexes"), plain_names(connection):
            with refused("reading indexes and constraints"):
                self._before = facts(connection, choice.relations)
            drop(connection, choice.dropped)
        logger.info("dropped until the rows are in: %s", counts(choice.dropped))

    def begin(self, relations: Iterable[int]) -> None:
        """The one connection is busy with the rows of other tables."""

    def restore_indexes(self) -> None:
        """Put keys and indexes back. Raises ServerError, for a duplicate key too, which undoes the load."""
        with self._report.phase("build indexes"), plain_names(self._connection):
            steps = [
                Step("checking deferred constraints", SQL["check_deferred"].text),
                Step("setting maintenance_work_mem", SQL["build_memory"].text, {"size": BUILD_MEMORY}),
            ]
            tablespace = ""
            for each in in_order((*self._choice.keys, *self._choice.indexes)):
                doing = f"building the {each} of {each.schema}.{each.table_name}"
                if each.tablespace != tablespace:
                    steps.append(local_names(doing, tablespace := each.tablespace))
                steps += [Step(doing, statement) for statement in (each.build(), each.promote) if statement is not None]
            for each in (*self._choice.keys, *self._choice.indexes):
                doing = f"putting back what else there was to the {each}"
                steps += [Step(doing, statement) for statement in finishing(each)]
            pipelined(self._connection, steps)

    @contextmanager
    def analyzing(self, tables: Sequence[Target]) -> Generator[None]:
        """The one connection does it before."""
        analyze(self._connection, tables)
        yield

    def restore_foreign_keys(self) -> None:
        """Put foreign keys back, and compare the catalog with what it was."""
        with self._report.phase("check foreign keys"), plain_names(self._connection):
            adding = [(f"adding the {each}", each) for each in self._choice.foreign_keys]
            pipelined(
                self._connection,
                [Step(doing, statement) for doing, each in adding for statement in (each.add(), *each.marks)],
            )
            with refused("comparing the catalog"):
                found = differences(self._before, facts(self._connection, self._choice.relations))
        if found:
            raise ServerError(
                f"indexes and constraints would not be as they were, so nothing was changed: {'; '.join(found)}"
            )
        seconds = self._report.phases["build indexes"] + self._report.phases["check foreign keys"]
        logger.info("restored: %s in %.2f s", counts(self._choice.dropped), seconds)


def look_at(connection: Connection, relations: Sequence[int]) -> Survey:
    """The indexes and constraints of tables that are not locked. Raises ServerError."""
    attempt = 1
    while True:
        try:
            return survey(connection, relations)
        except ServerError as error:
            # The server renders a definition from the catalog of this moment: where somebody has dropped it since the
            # query began, that is an internal error ("cache lookup failed").
            if error.sqlstate != psycopg.errors.InternalError_.sqlstate or attempt == _LOOKS:
                raise
            attempt += 1
            time.sleep(_PAUSE)


def drop(connection: Connection, objects: Iterable[Object]) -> None:
    """Take these away, in this order."""
    pipelined(
        connection,
        [
            Step(f"dropping the {each}", each.drop)
            for each in objects
            if not (isinstance(each, Index) and each.attached)
        ],
    )


def in_order(indexes: Iterable[Index], weight: Callable[[Index], float] = lambda _index: 0.0) -> list[Index]:
    """The order to build them in: unique ones first, since they can fail, then by weight."""
    return sorted(indexes, key=lambda each: (not each.is_unique, weight(each)))


def finishing(each: Index) -> list[sql.Composed]:
    """What is left to do for an index when all are built: a part is attached to the whole, marks are made again."""
    return [*filter(None, (each.attach,)), *each.marks]


@contextmanager
def plain_names(connection: Connection) -> Generator[None]:
    """Definitions are read, and run, with search_path set to pg_catalog alone: whatever it is, they say the same.

    For a connection in a transaction; the settings are put back at the end.
    """
    doing = "reading settings"
    before, _ = pipelined(connection, [Step(doing, SQL["read_settings"].text), local_names(doing)])
    path, tablespace = before.fetchone() or ("", "")
    yield
    settings = {"path": path, "tablespace": tablespace}
    pipelined(connection, [Step("putting settings back", SQL["local_settings"].text, settings)])


def local_names(doing: str, tablespace: str = "") -> Step:
    """Plain names in a transaction, and where its next index is created; '' is the database's own."""
    return Step(doing, SQL["local_settings"].text, {"path": "pg_catalog", "tablespace": tablespace})


def counts(objects: Iterable[Object]) -> str:
    """How many of each kind."""
    names = {
        Kind.INDEX: "indexes",
        Kind.KEY: "keys",
        Kind.CONSTRAINT: "other constraints",
        Kind.FOREIGN_KEY: "foreign keys",
        Kind.LOGGED: "tables unlogged",
    }
    kinds = [each.kind for each in objects]
    found = [f"{kinds.count(kind)} {name}" for kind, name in names.items() if kind in kinds]
    return ", ".join(found) or "nothing"
