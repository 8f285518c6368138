"""The run of jobs over their sources, into the database."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext

from psycopg.pq import TransactionStatus

from bulkload import catalog, ledger, retries, ultra
from bulkload.atomic import start
from bulkload.blame import Blaming
from bulkload.census import check
from bulkload.choice import Drop, Drops
from bulkload.chunks import DEFAULT_CHUNK, Mapper, Watch, unwatched
from bulkload.errors import ServerError
from bulkload.estimate import expected_rows
from bulkload.job import Input
from bulkload.leader import Leader
from bulkload.ledger import Line
from bulkload.load import Load
from bulkload.merge import Finder
from bulkload.mode import Mode
from bulkload.passes import Passes, plan_of, spooled, unhurried_collector
from bulkload.plan import AnyLookup, Plan
from bulkload.rejects import Rejects
from bulkload.report import Report
from bulkload.server import Connection, refused, transaction
from bulkload.shares import shared_out, started
from bulkload.stream import adapt
from bulkload.ultra import Levers
from bulkload.writers import writers

logger = logging.getLogger("bulkload")


def run(
    connection: Connection,
    inputs: Sequence[Input],
    *,
    schema: str = "public",
    mode: Mode = Mode.OPTIMIZED,
    clear: bool = False,
    chunk: int = DEFAULT_CHUNK,
    rejects: Rejects | None = None,
    prepare: Callable[[Connection], object] | None = None,
    finish: Callable[[Connection], object] | None = None,
    watch: Watch = unwatched,
    jobs: int = 1,
    executor: Executor | None = None,
    drops: Drops | None = None,
    levers: Levers | None = None,
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

    In `Mode.ULTRA`, which needs `clear` and a connection in autocommit mode, rows are written on `jobs` connections,
    and indexes are built side by side; `levers` are what else it may do. It is not atomic: see `bulkload.ultra`.
    `drops` says what is taken away while rows come in, if the mode is not `Mode.STANDARD`. Where rows are in the way of
    what was dropped, a duplicate key say, `Mode.OPTIMIZED` undoes all and loads once more with nothing dropped, so that
    the records are found, if `rejects` lets any through.

    What a deadlock or a serialization failure undoes is done again, a few times: a batch in `Mode.STANDARD`, a
    transaction in `Mode.ULTRA`, and in `Mode.OPTIMIZED` the whole load, or what came after its last savepoint.

    In `Mode.STANDARD`, where a failure cannot undo what earlier chunks wrote, all sources are checked first, so that a
    reject too many or a file that is cut short is found before anything is written. Standard input is kept in a
    temporary file meanwhile.

    Raises what `bulkload.start` does, SourceError, and RecordError or RejectsError for rejects beyond the limit.
    """
    if mode is Mode.ULTRA:
        ultra.refuse(connection, clear=clear)
    # A caller's own transaction is not undone by what fails in it.
    whole = mode is Mode.OPTIMIZED and connection.info.transaction_status == TransactionStatus.IDLE
    report, plan = Report(), plan_of(inputs)
    rejects = rejects if rejects is not None else Rejects()
    with (
        unhurried_collector(),
        spooled(inputs) as sources,
        started(
            sources, processes := _processes(connection, mode, jobs), writing=mode is Mode.ULTRA, executor=executor
        ) as workers,
    ):
        if mode is Mode.STANDARD:
            # Together, so that a fault in the sources undoes what was prepared.
            with report.phase("check sources"), refused("COMMIT"), transaction(connection):
                if prepare is not None:
                    prepare(connection)
                    prepare = None
                _check_first(connection, sources, plan, schema, rejects, clear=clear, chunk=chunk)

        def load_all(drops: Drops, report: Report) -> Report:
            if not whole:
                return load_once(drops, report)
            # Nothing of it is in, the sources are read again, and records rejected meanwhile are found again.
            return retries.retried(
                lambda: load_once(drops, Report()), rejects.restart, states=retries.DEADLOCKS,
                attempts=retries.WHOLE_ATTEMPTS,
            )  # fmt: skip

        def load_once(drops: Drops, report: Report) -> Report:
            with _started(
                connection, sources, plan, schema=schema, mode=mode, clear=clear, drops=drops,
                levers=levers or Levers(), prepare=prepare, report=report, processes=processes,
            ) as (load, line):  # fmt: skip
                with _told_what_is_in(load, report):
                    # Whatever comes next is for a load in which nobody else writes any more.
                    with _mapper(load, rejects, report, sources, workers, processes, levers or Levers()) as mapper:
                        Passes(sources, mapper, report, chunk=chunk, watch=watch).run(load.flush, load.filled)
                    with _rows_in_the_way(mode, rejects):
                        load.complete()
                if finish is not None:
                    with report.phase("finish"), transaction(connection), refused("the statements that end the load"):
                        finish(connection)
                if line is not None:
                    line.done({"rows": report.rows, "rejected": report.rejected})
            return report

        try:
            return load_all(drops or Drops(), report)
        except _RowsInTheWayError as error:
            logger.warning("%s: loading once more, with nothing dropped, so that the records to blame are found", error)
            rejects.restart()
            return load_all(Drops(Drop.NEVER, Drop.NEVER, Drop.NEVER), Report())


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


@contextmanager
def _started(
    connection: Connection,
    sources: Sequence[Input],
    plan: Plan,
    *,
    schema: str,
    mode: Mode,
    clear: bool,
    drops: Drops,
    levers: Levers,
    prepare: Callable[[Connection], object] | None,
    report: Report,
    processes: int,
) -> Generator[tuple[Load, Line | None]]:
    """The load of that mode, with its line in the ledger where it keeps none itself."""
    expected = None if mode is Mode.STANDARD else expected_rows(sources)
    if mode is Mode.ULTRA:
        with ultra.start(
            connection, plan, schema=schema, drops=drops, levers=levers, expected=expected, prepare=prepare,
            report=report, jobs=processes,
        ) as load:  # fmt: skip
            yield load, None
        return
    # A caller's own transaction is the caller's: what a line says must not depend on it.
    idle = connection.info.transaction_status == TransactionStatus.IDLE
    tables = [f"{schema}.{relation.name}" for relation in plan]
    with ledger.line(connection, mode.value, tables) if idle else nullcontext() as line:

        def begin(opened: Connection) -> None:
            if line is not None:
                line.hold(session=mode is Mode.STANDARD)
            if prepare is not None:
                prepare(opened)

        with start(
            connection, plan, schema=schema, mode=mode, clear=clear, drops=drops, expected=expected, batch_rows=None,
            prepare=begin, report=report,
        ) as load:  # fmt: skip
            yield load, line


@contextmanager
def _mapper(
    load: Load,
    rejects: Rejects,
    report: Report,
    inputs: Sequence[Input],
    executor: Executor | None,
    jobs: int,
    levers: Levers,
) -> Generator[Mapper]:
    """Maps here, or by the executor where there is one."""
    columns = {relation.name: target.columns for relation, target in load.targets.items()}
    writing = load.mode is Mode.ULTRA
    shared = shared_out(inputs, writing=writing)
    if executor is not None and not load.knows_keys_of(plan_of(shared.values())):
        logger.info(
            "one process maps all records: there are keys that are too many, or of a type, to be held in memory"
        )
        executor = None
    if executor is None:
        yield Blaming(load, columns, rejects, report)
        return
    with writers(load, jobs, async_commit=levers.async_commit) if writing else nullcontext() as several:
        leader = Leader(load, columns, rejects, report, shared, executor, jobs, several)
        yield leader
        leader.finish()


def _processes(connection: Connection, mode: Mode, jobs: int) -> int:
    """How many worker processes there may be."""
    match mode:
        case Mode.STANDARD:
            return min(jobs, 1)
        case Mode.OPTIMIZED:
            return jobs
        case Mode.ULTRA:
            return ultra.connections(catalog.stakes(connection), jobs)


@contextmanager
def _told_what_is_in(load: Load, report: Report) -> Generator[None]:
    """Where a failure does not undo what was written, say what that is."""
    try:
        yield
    except BaseException:
        written = {source.name: source.loaded for source in report.sources if source.loaded}
        if written and load.mode is not Mode.OPTIMIZED:
            records = ", ".join(f"{count:,} records of {name}" for name, count in written.items())
            logger.warning("batches written before the failure stay: %s; run the import again to go on", records)
        raise


def _check_first(
    connection: Connection,
    inputs: Sequence[Input],
    plan: Plan,
    schema: str,
    rejects: Rejects,
    *,
    clear: bool,
    chunk: int,
) -> None:
    """Raises what the run itself would raise for its sources."""
    adapt(connection)
    with refused("reading the catalog"):
        targets = catalog.describe(connection, plan.described, schema)
    finders: dict[AnyLookup, Finder] = {}

    def find(lookup: AnyLookup, values: tuple[object, ...]) -> int | None:
        if clear and lookup.entity in plan.relations:
            return None
        if lookup not in finders:
            finders[lookup] = Finder(connection, lookup, targets[lookup.entity])
        return finders[lookup].find(values)

    columns = {relation.name: target.columns for relation, target in targets.items()}
    check(inputs, columns, chunk=chunk, rejects=rejects, find=find)
    rejects.restart()
    logger.info("sources checked: nothing in them would end the load")
