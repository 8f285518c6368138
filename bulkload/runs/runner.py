"""The run of jobs over their sources, into the database."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext

import attrs
from psycopg.pq import TransactionStatus

from bulkload.errors import ServerError
from bulkload.ledger import ledger
from bulkload.ledger.ledger import Line
from bulkload.mapping.blame import Blaming
from bulkload.mapping.census import check_versions
from bulkload.mapping.changes import Changes
from bulkload.mapping.chunks import DEFAULT_CHUNK, Mapper, Watch, unwatched
from bulkload.mapping.estimate import expected_rows
from bulkload.mapping.job import Input
from bulkload.mapping.passes import Passes, plan_of, spooled, unhurried_collector
from bulkload.model.mode import Mode
from bulkload.model.plan import Plan
from bulkload.model.report import Report
from bulkload.rebuild.choice import Drop, Drops
from bulkload.rows import fingerprints, ultra
from bulkload.rows.atomic import start
from bulkload.rows.finder import Finders
from bulkload.rows.load import Load
from bulkload.rows.stream import adapt
from bulkload.rows.ultra import Levers
from bulkload.runs import resuming
from bulkload.runs.outcome import Outcome
from bulkload.server import catalog, retries
from bulkload.server.connection import Connection, committing, refused, transaction
from bulkload.sources import checksums
from bulkload.sources.checksums import Checksums
from bulkload.sources.rejects import Rejects
from bulkload.workers.leader import Leader
from bulkload.workers.shares import shared_out, started
from bulkload.workers.writers import writers

logger = logging.getLogger("bulkload")


def run(
    connection: Connection,
    inputs: Sequence[Input],
    *,
    schema: str = "public",
    mode: Mode = Mode.OPTIMIZED,
    clear: bool = False,
    cascade: bool = False,
    chunk: int = DEFAULT_CHUNK,
    rejects: Rejects | None = None,
    prepare: Callable[[Connection], object] | None = None,
    finish: Callable[[Connection], object] | None = None,
    watch: Watch = unwatched,
    jobs: int = 1,
    executor: Executor | None = None,
    drops: Drops | None = None,
    levers: Levers | None = None,
    resume: bool = False,
) -> Report:
    """Load the sources, one after the other, into the tables of their jobs' plans.

    A record that cannot be read, mapped or fitted to its columns, or that the server refuses (for a constraint, say, or
    a trigger), is rejected whole: none of its rows is written. `rejects` says how many are let through (none, where it
    is not given) and keeps them. `prepare` is called before all else (to create tables, say) and `finish` when all rows
    are in, both inside the transaction where there is one. `chunk` records are mapped and written together.

    With `jobs` above 1, so many worker processes map and encode the records, where they pay and the mode is not
    `Mode.STANDARD`; this process writes, in its one transaction, and the rows are the same. Mappings that look rows up
    stay in this process. A job's functions and classes must be defined at the top level of a module; and since a
    process imports the program's main module anew, a script calls `run` under `if __name__ == "__main__":`. With an
    `executor` (`concurrent.futures.Executor`; that of a Dask client is one) the records are mapped there instead, and
    `jobs` is how many chunks it works on at a time. It is the caller's to shut down.

    `clear` and `cascade` empty tables first, as in `bulkload.start`. In `Mode.ULTRA`, which needs `clear` and a
    connection in autocommit mode, rows are written on `jobs` connections, and indexes are built side by side; `levers`
    are what else it may do. It is not atomic: see `bulkload.rows.ultra`.
    `drops` says what is taken away while rows come in, if the mode is not `Mode.STANDARD`. Where rows are in the way of
    what was dropped, a duplicate key say, `Mode.OPTIMIZED` undoes all and loads once more with nothing dropped, so that
    the records are found, if `rejects` lets any through.

    What a deadlock or a serialization failure undoes is done again, a few times: a batch in `Mode.STANDARD`, a
    transaction in `Mode.ULTRA`, and in `Mode.OPTIMIZED` the whole load, or what came after its last savepoint.

    In `Mode.STANDARD`, where a failure cannot undo what earlier chunks wrote, all sources are checked first, so that a
    reject too many or a file that is cut short is found before anything is written. Standard input is kept in a
    temporary file meanwhile.

    With `resume`, a load of the same sources into the same tables that was stopped amid its transactions, of
    `Mode.STANDARD` or `Mode.ULTRA`, is gone on with where it stopped, on whatever machine: the report and the rows are
    those of a load that was not; `Report.resumed` says how much was there. With `clear`, nothing is emptied again. The
    ledger knows the chunks that are in. Where nothing was stopped, all is loaded anew, which a log line says.

    A connection that is not in autocommit mode is for the time of the run, as in `bulkload.start`.

    Raises what `bulkload.start` does, SourceError, and RecordError or RejectsError for rejects beyond the limit; and
    ResumeError where the sources, the mappings (`Job.version`), what is asked for or the tables are not what they were.
    """
    _refuse(connection, inputs, mode, clear=clear, resume=resume)
    rejects = rejects if rejects is not None else Rejects()
    with (
        committing(connection),
        unhurried_collector(),
        spooled(inputs) as sources,
        checksums.checksums([each.source for each in inputs if resume or mode is not Mode.OPTIMIZED]) as taken,
        started(
            sources, processes := _processes(connection, mode, jobs), writing=mode is Mode.ULTRA, executor=executor
        ) as workers,
    ):
        again: int | None = None
        if resume:
            again = resuming.find(connection, inputs, taken, schema=schema, mode=mode, clear=clear)
        rejects.begin()
        report = Report()
        this = _Run(
            connection, inputs, sources, schema, mode, chunk, rejects, prepare, finish, watch, levers or Levers(),
            taken, again, workers, processes, Changes(connection, sources, clear=clear), clear=clear, cascade=cascade,
        )  # fmt: skip
        if mode is Mode.STANDARD and again is None:
            this.check_first(report)
        try:
            return this.load(drops or Drops(), report)
        except _RowsInTheWayError as error:
            logger.warning("%s: loading once more, with nothing dropped, so that the records to blame are found", error)
            rejects.restart()
            return this.load(Drops(Drop.NEVER, Drop.NEVER, Drop.NEVER), Report())


@attrs.define
class _Run:
    """The sources of a run, on their way into the database: what all of its steps have in common."""

    connection: Connection
    inputs: Sequence[Input]
    """As they were named."""
    sources: Sequence[Input]
    """As they are read."""
    schema: str
    mode: Mode
    chunk: int
    rejects: Rejects
    prepare: Callable[[Connection], object] | None
    finish: Callable[[Connection], object] | None
    watch: Watch
    levers: Levers
    taken: Checksums
    again: int | None
    """The load that is gone on with."""
    workers: Executor | None
    processes: int
    changes: Changes
    clear: bool = attrs.field(kw_only=True)
    cascade: bool = attrs.field(kw_only=True)

    @property
    def plan(self) -> Plan:
        return plan_of(self.inputs)

    def check_first(self, report: Report) -> None:
        """Raises what the run itself would raise for its sources."""
        # Together, so that a fault in the sources undoes what was prepared.
        with report.phase("check sources"), refused("COMMIT"), transaction(self.connection):
            if self.prepare is not None:
                self.prepare(self.connection)
                self.prepare = None
            self.changes.look_ahead(self.plan, self.schema)
            adapt(self.connection)
            with refused("reading the catalog"):
                targets = catalog.describe(self.connection, self.plan.described, self.schema)
            columns = {relation.name: target.columns for relation, target in targets.items()}
            finders = Finders(self.connection, targets, report, self.plan.relations if self.clear else ())
            check_versions(
                self.sources, self.changes.versions, columns, chunk=self.chunk, rejects=self.rejects,
                find=finders.find_id,
            )  # fmt: skip
        self.rejects.restart()
        logger.info("sources checked: nothing in them would end the load")

    def load(self, drops: Drops, report: Report) -> Report:
        """Load everything; where that is one transaction, again where others were in its way."""
        # A caller's own transaction is not undone by what fails in it.
        if self.mode is not Mode.OPTIMIZED or not _is_idle(self.connection):
            return self._once(drops, report)
        # Nothing of it is in, the sources are read again, and records rejected meanwhile are found again.
        return retries.retried(
            lambda: self._once(drops, Report()), self.rejects.restart, states=retries.DEADLOCKS,
            attempts=retries.WHOLE_ATTEMPTS,
        )  # fmt: skip

    def _once(self, drops: Drops, report: Report) -> Report:
        if self.mode is Mode.OPTIMIZED:
            with report.phase("find versions"):
                self.changes.look_ahead(self.plan, self.schema)
        outcome = Outcome(self.mode, [each.source for each in self.inputs], report, self.finish is not None)
        with outcome.told(), self._started(drops, report) as (load, line):
            outcome.load = load
            if self.again is not None:
                resuming.go_on(load, self.again, self.sources, self.rejects, clear=self.clear)
            else:
                resuming.begin(load, self.inputs, self.taken, schema=self.schema, clear=self.clear)
            # Whatever comes next is for a load in which nobody else writes any more.
            with report.phase("find versions"):
                self.changes.begin(load)
            with self._mapper(load, report) as mapper:
                passes = Passes(
                    self.changes.inputs, mapper, report, self.rejects, chunk=self.chunk, watch=self.watch,
                    versions=self.changes.versions, past=load.undo.past,
                )  # fmt: skip
                passes.run(load.flush, load.filled)
            with _rows_in_the_way(self.mode, self.rejects):
                load.complete()
            outcome.complete = True
            if self.finish is not None:
                with (
                    report.phase("finish"),
                    transaction(self.connection),
                    refused("the statements that end the load"),
                ):
                    self.finish(self.connection)
            outcome.ended = True
            if line is not None:
                line.done({"rows": report.rows, "rejected": report.rejected})
        return report

    @contextmanager
    def _started(self, drops: Drops, report: Report) -> Generator[tuple[Load, Line | None]]:
        """The load of that mode, or the one to go on with; with its line in the ledger where it keeps none itself."""
        fingerprints.ensure(self.connection)
        expected = None if self.mode is Mode.STANDARD else expected_rows(self.sources, self.changes.share)
        if self.mode is Mode.ULTRA:
            with ultra.start(
                self.connection, self.plan, schema=self.schema, drops=drops, levers=self.levers, expected=expected,
                prepare=self.prepare, report=report, jobs=self.processes, cascade=self.cascade, again=self.again,
            ) as load:  # fmt: skip
                yield load, None
            return
        # A caller's own transaction is the caller's: what a line says must not depend on it.
        idle = _is_idle(self.connection)
        tables = [f"{self.schema}.{relation.name}" for relation in self.plan]
        with ledger.line(self.connection, self.mode.value, tables, self.again) if idle else nullcontext() as line:

            def begin(opened: Connection) -> None:
                if line is not None:
                    line.hold(session=self.mode is Mode.STANDARD)
                if self.prepare is not None:
                    self.prepare(opened)

            with start(
                self.connection, self.plan, schema=self.schema, mode=self.mode, clear=self.clear and self.again is None,
                cascade=self.cascade, drops=drops, expected=expected, batch_rows=None, prepare=begin, report=report,
            ) as load:  # fmt: skip
                load.line = line.load if line is not None else None
                load.alone = idle
                yield load, line

    @contextmanager
    def _mapper(self, load: Load, report: Report) -> Generator[Mapper]:
        """Maps here, or by the executor where there is one."""
        columns = {relation.name: target.columns for relation, target in load.targets.items()}
        writing = self.mode is Mode.ULTRA
        executor, shared = self.workers, shared_out(self.changes.inputs, writing=writing)
        if executor is not None and not load.knows_keys_of(plan_of(shared.values())):
            logger.info(
                "one process maps all records: there are keys that are too many, or of a type, to be held in memory"
            )
            executor = None
        if executor is None:
            yield Blaming(load, columns, self.rejects, report)
            return
        async_commit = self.levers.async_commit
        with writers(load, self.processes, async_commit=async_commit) if writing else nullcontext() as several:
            leader = Leader(load, columns, self.rejects, report, shared, executor, self.processes, several)
            yield leader
            leader.finish()


def _is_idle(connection: Connection) -> bool:
    return connection.info.transaction_status == TransactionStatus.IDLE


def _refuse(connection: Connection, inputs: Sequence[Input], mode: Mode, *, clear: bool, resume: bool) -> None:
    if mode is Mode.ULTRA:
        ultra.refuse(connection, clear=clear)
    if resume:
        resuming.refuse(connection, inputs)


class _RowsInTheWayError(Exception):
    """What was dropped cannot be made again, for the rows that are in; all of it was rolled back."""


@contextmanager
def _rows_in_the_way(mode: Mode, rejects: Rejects) -> Generator[None]:
    try:
        yield
    except ServerError as error:
        if mode is Mode.OPTIMIZED and rejects.most > 0 and error.of_rows:
            raise _RowsInTheWayError(str(error)) from error
        raise


def _processes(connection: Connection, mode: Mode, jobs: int) -> int:
    """How many worker processes there may be."""
    match mode:
        case Mode.STANDARD:
            return min(jobs, 1)
        case Mode.OPTIMIZED:
            return jobs
        case Mode.ULTRA:
            return ultra.connections(catalog.stakes(connection), jobs)
