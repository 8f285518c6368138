"""A load from its first statement to its commit: the transaction around it, and what is emptied before."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import attrs
from psycopg import sql

from bulkload import statements
from bulkload.errors import ServerError, UsageError
from bulkload.ledger.ledger import Entry
from bulkload.model.mode import Mode
from bulkload.model.plan import AnyRelation, Plan
from bulkload.model.report import Report
from bulkload.rebuild import rebuild, recovery
from bulkload.rebuild.choice import Choice, Circumstances, Drop, Drops, Growth, choose
from bulkload.rebuild.rebuild import Rebuild
from bulkload.rows import ownership
from bulkload.rows.load import BATCH_ROWS, Load
from bulkload.rows.stream import adapt
from bulkload.server import catalog, locks, retries, rights
from bulkload.server.catalog import TableName, Target
from bulkload.server.connection import Connection, Step, committing, refused, transaction, whole
from bulkload.server.locks import Lock

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
    cascade: bool = False,
    drops: Drops | None = None,
    expected: Mapping[str, float] | None = None,
    batch_rows: int | None = BATCH_ROWS,
    prepare: Callable[[Connection], object] | None = None,
    report: Report | None = None,
) -> Generator[Load]:
    """A load into the plan's tables of a schema; what was added is in the database when the block ends.

    With `clear`, the tables are emptied first, seeded ones not; so are the plan's `dependents` that refer to them, and
    with `cascade` all other tables that do, which are a reason to change nothing without it. In
    `Mode.OPTIMIZED` all of that is one transaction (a savepoint, where the caller is in a transaction already): an
    exception inside the block, or a crash, leaves the database as it was. Indexes, keys and foreign keys are dropped
    and made again inside it where `drops` says so (None: where that is faster), which changes nothing but the time that
    it takes; `expected`, the rows to come by table, is what it goes by. Locks are taken before anything is changed.

    A connection that is in no transaction is in autocommit mode for the time of the block.

    `prepare` is called first, inside the transaction where there is one: it creates what is missing. The account is
    kept in `report`, of which `Load.report` has one anyway.

    Raises SchemaError where the database is not what the plan says, ServerError for what the server refuses.
    """
    if mode is Mode.ULTRA:
        raise UsageError("Mode.ULTRA is for run, which writes in several processes")
    report = report if report is not None else Report()
    adapt(connection)
    around: AbstractContextManager[object] = transaction(connection) if mode is Mode.OPTIMIZED else nullcontext()
    begin = time.perf_counter()
    with committing(connection), _committing(report, around):
        if prepare is not None:
            prepare(connection)
        drops = drops if drops is not None else Drops()
        if mode is Mode.OPTIMIZED:
            prepared = make_ready(connection, plan, schema, drops, expected, report, clear=clear, cascade=cascade)
            targets, emptied = prepared.targets, prepared.emptied
            away = Rebuild(connection, prepared.choice, report) if prepared.choice.dropped else None
        else:
            targets, away = _described(connection, plan, schema), None
            emptied = _emptied(connection, plan, targets, cascade=cascade) if clear else []
            rights.require(connection, plan, targets, emptied, clear=clear)
            _left_by_dead(connection, plan, targets, [])
            with transaction(connection):
                locks.take(connection, _locks_to_empty(emptied))
                _clear(connection, emptied, report)
        load = Load(connection, plan, targets, mode=mode, report=report, batch_rows=batch_rows, rebuild=away)
        if mode is Mode.OPTIMIZED:
            load.emptied = frozenset(table.relation for table in emptied)
        yield load
        load.complete()
    report.seconds = time.perf_counter() - begin
    logger.info("committed: %d rows in %.2f s", report.rows, report.seconds)


@attrs.frozen
class Prepared:
    """Tables that are ready for their rows: locked, emptied, and looked at for what slows a load."""

    targets: Mapping[AnyRelation, Target]
    emptied: Sequence[TableName]
    choice: Choice
    """What is to be taken away; it is there yet."""


def look_at(
    connection: Connection,
    plan: Plan,
    schema: str,
    drops: Drops,
    expected: Mapping[str, float] | None,
    *,
    clear: bool,
    cascade: bool,
    drop: bool = True,
) -> Prepared:
    """What a load would find and choose, with nothing locked or emptied."""
    targets = _described(connection, plan, schema)
    emptied = _emptied(connection, plan, targets, cascade=cascade) if clear else []
    rights.require(connection, plan, targets, emptied, clear=clear)
    drops = drops if drop else Drops(Drop.NEVER, Drop.NEVER, Drop.NEVER)
    return Prepared(targets, emptied, _chosen(connection, plan, targets, emptied, drops, expected))


def make_ready(
    connection: Connection,
    plan: Plan,
    schema: str,
    drops: Drops,
    expected: Mapping[str, float] | None,
    report: Report,
    *,
    clear: bool,
    cascade: bool,
    again: int | None = None,
) -> Prepared:
    """Take the locks, empty the tables where they are to be, and choose what is taken away; in a transaction.

    A load that is gone on with `again` has emptied them before; what it left away is left to it.
    """
    with report.phase("lock"):
        found = retries.retried(
            partial(_locked, connection, plan, schema, drops, expected, clear=clear, cascade=cascade, again=again),
            states={retries.CHANGED},
        )
    targets, emptied, choice = found.targets, found.emptied, found.choice
    left = _left_by_dead(connection, plan, targets, emptied, again)
    if again is None:
        _clear(connection, emptied, report)
    if left:
        recovery.take_over(connection, left)
        choice = _chosen(connection, plan, targets, emptied, drops, expected)
    return Prepared(targets, emptied, choice)


def _locked(
    connection: Connection,
    plan: Plan,
    schema: str,
    drops: Drops,
    expected: Mapping[str, float] | None,
    *,
    clear: bool,
    cascade: bool,
    again: int | None,
) -> Prepared:
    """What there is when the locks for it are taken; where others are needed then, those are let go."""
    with transaction(connection):
        found = look_at(connection, plan, schema, drops, expected, clear=clear, cascade=cascade)
        targets, emptied = found.targets, found.emptied
        # Before locks are waited for, which would be in the way of a load that runs.
        _left_by_dead(connection, plan, targets, emptied, again)
        taken = locks_of(plan, found)
        locks.take(connection, taken)
        # Who held them may have changed something, or made it anew under other oids: another load, say.
        choice = _chosen(connection, plan, targets, emptied, drops, expected)
        locked = Prepared(targets, emptied, choice)
        if not set(locks_of(plan, locked)) <= set(taken):
            raise ServerError(
                "indexes and constraints were changed while their locks were waited for; run it again",
                sqlstate=retries.CHANGED,
            )
    return locked


def locks_of(plan: Plan, prepared: Prepared) -> list[Lock]:
    """The locks that a load takes before it changes anything, in their order."""
    wanted = _locks_to_empty(prepared.emptied)
    keyed = [prepared.targets[relation] for relation in plan if relation.conflict is not None]
    wanted += [Lock(target.oid, target.schema, target.name, exclusive=False) for target in keyed]
    return locks.in_order([*wanted, *locks.of_objects(prepared.choice.dropped)])


def _locks_to_empty(tables: Iterable[TableName]) -> list[Lock]:
    return [Lock(table.relation, table.schema, table.name, exclusive=True) for table in tables]


def _described(connection: Connection, plan: Plan, schema: str) -> Mapping[AnyRelation, Target]:
    with refused("reading the catalog"):
        return catalog.describe(connection, plan.described, schema)


def _chosen(
    connection: Connection,
    plan: Plan,
    targets: Mapping[AnyRelation, Target],
    emptied: Collection[TableName],
    drops: Drops,
    expected: Mapping[str, float] | None,
) -> Choice:
    """What is taken away while rows come into the tables of a plan, and what stays."""
    cleared = {table.relation for table in emptied}
    filled = [relation for relation in plan if not relation.seeded]
    growth: dict[int, Growth] = {}
    found = rebuild.look_at(connection, sorted({*(targets[each].oid for each in filled), *cleared}))
    with refused("reading the catalog"):
        counted = catalog.estimated_rows(connection, *(targets[each] for each in filled))
        for each, existing in zip(filled, counted, strict=True):
            new = (expected or {}).get(each.name)
            # A table that was never analyzed may have any number of rows.
            growth[targets[each].oid] = Growth(
                existing, None if existing < 0 and targets[each].oid not in cleared else new
            )
    rules = {targets[each].oid: frozenset(each.key) for each in filled if each.key}
    # Of a table that is emptied, or empty, nothing is replaced.
    filled_before = [each for each in filled if targets[each].oid not in cleared and growth[targets[each].oid].existing]
    sought = {targets[each].oid: columns for each, columns in ownership.sought(plan, filled_before).items()}
    return choose(found, drops, Circumstances(found.relations, cleared, rules, sought, growth))


@contextmanager
def _committing(report: Report, around: AbstractContextManager[object]) -> Generator[None]:
    """The block inside the transaction, with the time that the commit takes told apart."""
    with refused("COMMIT"):
        with around:
            yield
            begin = time.perf_counter()
        report.phases["commit"] = time.perf_counter() - begin


def _left_by_dead(
    connection: Connection,
    plan: Plan,
    targets: Mapping[AnyRelation, Target],
    emptied: Collection[TableName],
    again: int | None = None,
) -> list[Entry]:
    """What loads that died left away of the tables, all of which are about to be emptied. Raises ServerError."""
    cleared = {table.relation for table in emptied}
    held = recovery.held(connection, {*(targets[each].oid for each in plan), *cleared})
    left = [entry for entry in held if entry.load != again]
    if any(entry.object.relation not in cleared for entry in left) or (left and not cleared):
        raise ServerError(
            f"load {left[0].load} ({left[0].client}) died and left away the {left[0]}, among others: "
            "`python -m bulkload recover` puts them back"
        )
    return left


def _emptied(
    connection: Connection, plan: Plan, targets: Mapping[AnyRelation, Target], *, cascade: bool
) -> list[TableName]:
    """The plan's tables, but for seeded ones, and all tables that refer to them.

    Raises UsageError for a seeded table among these, and for one of somebody else's where there is to be no `cascade`.
    """
    with refused("reading the catalog"):
        tables = catalog.referring_tables(connection, [targets[relation] for relation in plan if not relation.seeded])
    kept = {targets[relation].oid for relation in plan if relation.seeded}
    for table in tables:
        if table.relation in kept:
            raise UsageError(f"clearing would empty {table.schema}.{table.name}, which the schema seeds")
    others = outside(plan, targets, tables)
    if others and not cascade:
        with refused("reading the catalog"):
            keys = catalog.referring_keys(connection, others, tables)
        raise UsageError(
            f"clearing would empty tables that are not this load's: {'; '.join(keys)}; nothing was changed: --cascade "
            "(cascade=True) empties them, too"
        )
    return tables


def outside(plan: Plan, targets: Mapping[AnyRelation, Target], tables: Iterable[TableName]) -> list[TableName]:
    """Those of the tables that are neither the plan's nor its dependents."""
    own = {(target.schema, target.name) for target in targets.values()}
    own |= {(schema, name) for schema, _ in list(own) for name in plan.dependents}
    return [table for table in tables if (table.schema, table.name) not in own]


def _clear(connection: Connection, tables: Collection[TableName], report: Report) -> None:
    if not tables:
        return
    with report.phase("clear"):
        targets_list = sql.SQL(", ").join(table.identifier for table in tables)
        whole(connection, [Step("TRUNCATE", _SQL["truncate"].format(targets=targets_list))])
    report.cleared = [f"{table.schema}.{table.name}" for table in tables]
    logger.info("cleared: %s", ", ".join(report.cleared), extra={"tables": report.cleared})
