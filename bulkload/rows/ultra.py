"""The load that is not atomic: many connections write, and what was taken away lies in the ledger until it is back.

Its first transaction empties the tables and takes away what slows a load, with the ledger's lines for it. From then on
a few chunks are a transaction; rows that chunks share are committed before others refer to them, so that the foreign
keys hold for whatever is in the tables when a load ends early. However it ends, what was taken away is put back: by the
load itself, or, where it was killed, by `recover`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial

import attrs
import psycopg
from psycopg.pq import TransactionStatus

from bulkload import statements
from bulkload.errors import BulkloadError, RestoreError, ServerError, UsageError, one_line
from bulkload.ledger import ledger
from bulkload.ledger.ledger import Catalog, Entry
from bulkload.model.mode import Mode
from bulkload.model.plan import Plan
from bulkload.model.report import Report
from bulkload.rebuild.builders import Builders, crew
from bulkload.rebuild.choice import Drops
from bulkload.rebuild.rebuild import Rebuilding, counts, drop, plain_names
from bulkload.rebuild.restore import Restoration, set_up_builder
from bulkload.rows import atomic
from bulkload.rows.atomic import Prepared
from bulkload.rows.load import Load
from bulkload.rows.stream import adapt
from bulkload.server import catalog
from bulkload.server.catalog import Stakes, TableName, Target
from bulkload.server.connection import (
    Connection,
    commit_asynchronously,
    commit_synchronously,
    committed,
    connect,
    conninfo_of,
    refused,
    transaction,
)
from bulkload.server.definitions import SQL, Logged, Object, differences, facts

logger = logging.getLogger("bulkload")

_SESSION = statements.load("session")

_MOST_CONNECTIONS = 60
"""Of one load, however many are free."""
_SPARED = 3
"""Connections that are left to others, whatever is free."""

_PATIENCE = 10.0
"""Seconds that a session is given to end."""
_PAUSE = 0.05
"""Seconds between two looks at it."""


@attrs.frozen
class Levers:
    """What makes a load that is not atomic faster, each at a price of its own."""

    async_commit: bool = True
    """Commits do not wait for the disk: a crash of the server may undo the last of them. The last commit of all waits,
    and makes safe what came before."""
    unlogged: bool = False
    """The tables are not written to the log while they are filled: a crash of the server empties them, and standbys
    have nothing of them until they are logged again."""
    despite_standbys: bool = False
    """Unlogged even where there are standbys."""


def connections(found: Stakes, jobs: int) -> int:
    """How many processes may write: what was asked for, as far as the server has connections free.

    Each has two: one that it writes on, and one that builds an index while others still write; one more asks how far
    these are. Raises ServerError where there is none.
    """
    free = min(found.free_connections - _SPARED, _MOST_CONNECTIONS)
    if free < 1:
        raise ServerError("the server has no connections free for a load on several; raise max_connections, or wait")
    most = max((free - 1) // 2, 1)
    if most < jobs:
        logger.warning("%d of %d jobs: the server has no more connections free", most, jobs)
    return min(most, jobs)


def refuse(connection: Connection, *, clear: bool) -> None:
    """Raises UsageError for what such a load cannot be."""
    if not clear:
        raise UsageError("Mode.ULTRA is for tables that are emptied: give clear=True")
    if not connection.autocommit or connection.info.transaction_status != TransactionStatus.IDLE:
        # Its other connections would wait without end for what this one does not commit.
        raise UsageError("Mode.ULTRA commits as it goes: give a connection in autocommit mode, outside a transaction")


@contextmanager
def start(
    connection: Connection,
    plan: Plan,
    *,
    schema: str,
    drops: Drops,
    levers: Levers,
    expected: Mapping[str, float] | None,
    prepare: Callable[[Connection], object] | None,
    report: Report,
    jobs: int,
    cascade: bool,
    again: int | None = None,
) -> Generator[Load]:
    """A load whose rows are written on several connections; see `atomic.start` for the one that is a transaction.

    With `again` it is that load, which was stopped, and nothing is emptied.

    Raises what that does; RestoreError where all rows are in, but something that was taken away is not back.
    """
    if levers.unlogged and not levers.despite_standbys and catalog.stakes(connection).standbys:
        raise UsageError("--unlogged: this server has standbys, which would have empty tables; --unlogged=insist")
    adapt(connection)
    begin = time.perf_counter()
    ledger.ensure(connection)
    session = _Session(conninfo_of(connection), connection.info.backend_pid)
    claim = _claim(
        connection, session, plan, schema, drops, levers, expected, prepare, report, jobs, again, cascade=cascade
    )
    try:
        if levers.async_commit:
            commit_asynchronously(connection)
        prepare_builder = partial(set_up_builder, jobs=jobs)
        with refused("a transaction of the load"), crew(session.conninfo, jobs, prepare_builder) as builders:
            load = Load(
                connection,
                plan,
                claim.prepared.targets,
                mode=Mode.ULTRA,
                report=report,
                batch_rows=None,
                rebuild=_Rebuild(connection, claim, report, builders),
            )
            load.line = claim.load
            yield load
            load.complete()
    except RestoreError:
        with suppress(ServerError):
            _end(connection, claim.load, "failed", {"rows": report.rows})
        raise
    except BaseException:
        _put_back(connection, session, claim.load, jobs)
        raise
    _end(connection, claim.load, "done", {"rows": report.rows})
    report.seconds = time.perf_counter() - begin
    logger.info("done: %d rows in %.2f s", report.rows, report.seconds)


@attrs.frozen
class _Session:
    """How to open another one like that of the load."""

    conninfo: str = attrs.field(repr=False)
    pid: int


@attrs.frozen
class _Claim:
    """What the first transaction of a load did."""

    load: int
    prepared: Prepared
    objects: Sequence[Object]
    before: Catalog


def _claim(
    connection: Connection,
    session: _Session,
    plan: Plan,
    schema: str,
    drops: Drops,
    levers: Levers,
    expected: Mapping[str, float] | None,
    prepare: Callable[[Connection], object] | None,
    report: Report,
    jobs: int,
    again: int | None,
    *,
    cascade: bool,
) -> _Claim:
    load: int | None = None
    away: list[Object] = []
    try:
        with refused("COMMIT"), transaction(connection):
            if prepare is not None:
                prepare(connection)
            prepared = atomic.make_ready(
                connection, plan, schema, drops, expected, report, clear=True, cascade=cascade, again=again
            )
            choice = prepared.choice
            with report.phase("drop indexes"):
                with plain_names(connection), refused("reading indexes and constraints"):
                    before = Catalog(list(choice.relations), facts(connection, choice.relations))
                if again is None:
                    load = ledger.begin(connection, "load", Mode.ULTRA.value, report.cleared, before)
                    ledger.hold_together(connection, load)
                else:
                    ledger.begin_again(connection, again, together=True)
                    load = again
                    away = [entry.object for entry in _away(connection, load)]
                    if away:
                        # Nothing more: of what is away, some may be half back.
                        choice = attrs.evolve(choice, foreign_keys=(), keys=(), indexes=())
                        before = ledger.catalog_of(connection, load)
                    else:
                        ledger.set_catalog(connection, load, before)
                with plain_names(connection):
                    _take_away(connection, load, choice.foreign_keys)
                    # Without the foreign keys, since these say which tables can be.
                    tables = _can_be_unlogged(connection, prepared.emptied) if levers.unlogged and again is None else []
                    _take_away(connection, load, [*tables, *choice.keys, *choice.indexes])
    except BaseException as error:
        if committed(error) is not True:
            report.cleared.clear()
        # It may have been committed all the same: an interrupt can come before the client is told.
        if load is not None:
            _put_back(connection, session, load, jobs)
        raise
    objects: list[Object] = [*away, *choice.foreign_keys, *tables, *choice.keys, *choice.indexes]
    logger.info("away until the rows are in, and written to the ledger: %s", counts(objects))
    return _Claim(load, prepared, objects, before)


def _take_away(connection: Connection, load: int, objects: Sequence[Object]) -> None:
    ledger.record(connection, load, objects)
    drop(connection, objects)


def _can_be_unlogged(connection: Connection, tables: Sequence[TableName]) -> list[Logged]:
    with refused("asking which tables can be unlogged"):
        parameters = {"relations": [table.relation for table in tables]}
        found = {oid for (oid,) in connection.execute(SQL["can_be_unlogged"].text, parameters).fetchall()}
    stay = [f"{table.schema}.{table.name}" for table in tables if table.relation not in found]
    if stay:
        logger.info(
            "these stay logged: %s (unlogged before, partitioned, published, of another role, or referred to by a "
            "foreign key that stays)", ", ".join(stay),
        )  # fmt: skip
    return [Logged(table.relation, table.schema, table.name) for table in tables if table.relation in found]


class _Rebuild(Rebuilding):
    """Puts back on several connections what a claim took away."""

    def __init__(self, connection: Connection, claim: _Claim, report: Report, builders: Builders) -> None:
        self._connection = connection
        self._claim = claim
        self._report = report
        self._builders = builders
        self._restoration = Restoration(connection, _away(connection, claim.load), builders, concurrently=False)

    def _rows(self, table: Target) -> int:
        return self._report.tables[table.name].inserted

    def begin(self, relations: Iterable[int]) -> None:
        self._restoration.begin(relations)

    def restore_indexes(self) -> None:
        with self._report.phase("build indexes"):
            self._restoration.restore_indexes()

    @contextmanager
    def analyzing(self, tables: Sequence[Target]) -> Generator[None]:
        # The largest first, so that no connection is left with it at the end.
        for table in sorted(tables, key=self._rows, reverse=True):
            self._builders.submit(f"statistics of {table}", partial(catalog.analyze, tables=[table]))
        yield
        self._builders.wait()

    def restore_foreign_keys(self) -> None:
        with self._report.phase("check foreign keys"):
            self._restoration.restore_foreign_keys()
            with transaction(self._connection), plain_names(self._connection), refused("comparing the catalog"):
                before = self._claim.before
                found = differences(before.facts, facts(self._connection, before.relations))
        if found:
            raise RestoreError(found, in_ledger=False)
        seconds = self._report.phases["build indexes"] + self._report.phases["check foreign keys"]
        logger.info("restored: %s in %.2f s", counts(self._claim.objects), seconds)


def _away(connection: Connection, load: int) -> list[Entry]:
    return [entry for entry in ledger.outstanding(connection) if entry.load == load]


def _put_back(connection: Connection, session: _Session, load: int, jobs: int) -> None:
    """The load has failed: its tables get back what they had. What cannot be done now is left to recover."""
    try:
        with _usable(connection, session, load) as opened:
            try:
                entries = _away(opened, load)
                if entries:
                    what = counts(entry.object for entry in entries)
                    logger.warning("putting back what the load took away: %s", what)
                    with crew(session.conninfo, jobs, partial(set_up_builder, jobs=jobs)) as builders:
                        Restoration(opened, entries, builders, concurrently=False).run()
            finally:
                # Also where that was interrupted in turn, so that it is not taken for a load that runs.
                with suppress(ServerError):
                    _end(opened, load, "failed")
    except (BulkloadError, psycopg.Error) as error:
        logger.warning(
            "indexes and constraints of load %d are not back: %s; the ledger has them: `python -m bulkload recover`",
            load, one_line(str(error)),
        )  # fmt: skip


@contextmanager
def _usable(connection: Connection, session: _Session, load: int) -> Generator[Connection]:
    """The connection; or another one, where it takes no more statements: it was interrupted amid one, or was lost."""
    with suppress(psycopg.Error):
        connection.rollback()
        # It may be lost on its way, which nobody has noticed; then it is closed now.
        connection.execute(_SESSION["session_runs"].text, {"pid": session.pid})
    if connection.broken:
        # Whoever ended the session may want no other one.
        raise ServerError("the session was ended")
    if not connection.closed and connection.info.transaction_status == TransactionStatus.IDLE:
        yield connection
        return
    connection.close()
    with connect(session.conninfo) as opened:
        # What it was about to commit is there or is not when its session has ended.
        until = time.monotonic() + _PATIENCE
        with refused("waiting for a session to end"):
            while (
                opened.execute(_SESSION["session_runs"].text, {"pid": session.pid}).fetchone()
                and time.monotonic() < until
            ):
                time.sleep(_PAUSE)
        ledger.hold_together(opened, load)
        yield opened


def _end(connection: Connection, load: int, state: str, progress: Mapping[str, object] | None = None) -> None:
    # Its commit is the first that waits for the disk; all others are safe with it.
    commit_synchronously(connection)
    ledger.end(connection, load, state, progress)
    ledger.let_go_together(connection, load)
