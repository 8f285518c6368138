"""A load from its first statement to its commit: the transaction around it, and what is emptied before."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

from psycopg import sql

from bulkload import catalog, statements
from bulkload.catalog import Target
from bulkload.errors import UsageError
from bulkload.load import BATCH_ROWS, Load, Mode
from bulkload.plan import AnyRelation, Plan
from bulkload.rebuild import Rebuild
from bulkload.report import Report
from bulkload.server import Connection, refused, transaction
from bulkload.stream import adapt

logger = logging.getLogger("bulkload")

_SQL = statements.load("load")


@contextmanager
def start(
    connection: Connection,
    plan: Plan,
    *,
    schema: str = "public",
    mode: Mode = Mode.OPTIMIZED,
    clear: bool = False,
    batch_rows: int | None = BATCH_ROWS,
    prepare: Callable[[Connection], object] | None = None,
    report: Report | None = None,
) -> Generator[Load]:
    """A load into the plan's tables of a schema; what was added is in the database when the block ends.

    With `clear`, the tables are emptied first, those that refer to them included, seeded ones not. In
    `Mode.OPTIMIZED` all of that is one transaction (a savepoint, where the caller is in a transaction already): an
    exception inside the block, or a crash, leaves the database as it was. Indexes and foreign keys of the tables that
    were emptied are dropped and made again inside it, which changes nothing but the time that it takes.

    `prepare` is called first, inside the transaction where there is one: it creates what is missing. The account is
    kept in `report`, of which `Load.report` has one anyway.

    Raises SchemaError where the database is not what the plan says, ServerError for what the server refuses.
    """
    report = report if report is not None else Report()
    adapt(connection)
    whole: AbstractContextManager[object] = transaction(connection) if mode is Mode.OPTIMIZED else nullcontext()
    begin = time.perf_counter()
    with _committing(report, whole):
        if prepare is not None:
            prepare(connection)
        with refused("reading the catalog"):
            targets = catalog.describe(connection, plan.described, schema)
        if clear:
            clear_tables(connection, plan, targets, report)
        rebuild = _rebuild(connection, plan, targets, report) if clear and mode is Mode.OPTIMIZED else None
        load = Load(connection, plan, targets, mode=mode, report=report, batch_rows=batch_rows, rebuild=rebuild)
        yield load
        load.complete()
    report.seconds = time.perf_counter() - begin
    logger.info("committed: %d rows in %.2f s", report.rows, report.seconds)


def _rebuild(connection: Connection, plan: Plan, targets: Mapping[AnyRelation, Target], report: Report) -> Rebuild:
    emptied = [relation for relation in plan if not relation.seeded]
    # Keys by which rows are looked up while the load runs are needed there.
    unkeyed = [relation for relation in emptied if relation.conflict is None]
    return Rebuild(connection, [targets[each].oid for each in emptied], [targets[each].oid for each in unkeyed], report)


@contextmanager
def _committing(report: Report, whole: AbstractContextManager[object]) -> Generator[None]:
    """The block inside the transaction, with the time that the commit takes told apart."""
    with refused("COMMIT"):
        with whole:
            yield
            begin = time.perf_counter()
        report.phases["commit"] = time.perf_counter() - begin


def clear_tables(connection: Connection, plan: Plan, targets: Mapping[AnyRelation, Target], report: Report) -> None:
    """Empty the plan's tables, but for seeded ones, and all tables that refer to them."""
    with report.phase("clear"), refused("TRUNCATE"):
        tables = catalog.referring_tables(connection, [targets[relation] for relation in plan if not relation.seeded])
        kept = {targets[relation].oid for relation in plan if relation.seeded}
        for table in tables:
            if table.relation in kept:
                raise UsageError(f"clearing would empty {table.schema}.{table.name}, which the schema seeds")
        if tables:
            with transaction(connection):
                targets_list = sql.SQL(", ").join(table.identifier for table in tables)
                connection.execute(_SQL["truncate"].format(targets=targets_list))
        report.cleared = [f"{table.schema}.{table.name}" for table in tables]
    logger.info("cleared: %s", ", ".join(report.cleared), extra={"tables": report.cleared})
