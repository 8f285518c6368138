"""What a run would do, before it does it: statements, locks, estimates, and what is found to be in its way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs
from psycopg import Rollback, sql

from bulkload import statements
from bulkload.mapping.changes import Changes
from bulkload.mapping.estimate import expected_rows
from bulkload.mapping.job import Input
from bulkload.mapping.passes import plan_of, spooled
from bulkload.model.mode import Mode
from bulkload.model.plan import Plan
from bulkload.rebuild.choice import COSTS, Choice, Drops
from bulkload.rebuild.rebuild import finishing, in_order
from bulkload.rows import atomic
from bulkload.rows.atomic import Prepared
from bulkload.server import catalog
from bulkload.server.connection import Connection, refused, transaction
from bulkload.server.definitions import Index

_LOAD = statements.load("load")
_LOCKS = statements.load("locks")


@attrs.frozen
class Preview:
    """A run that was not made."""

    expected: Mapping[str, float]
    """Rows to come by table, estimated from a sample of the sources."""
    locks: Sequence[str]
    """Which locks are taken, and who waits for them."""
    choice: Choice
    """What is taken away, and what stays for which reason."""
    statements: Sequence[str]
    """What is done to the tables, in its order: a chunk once, and without what is asked of the catalog or written to
    the ledger, and without the tables that `Levers.unlogged` makes UNLOGGED."""
    findings: Sequence[str]
    """What may be in the way."""

    @property
    def model(self) -> Sequence[str]:
        """What the choice was made by."""
        return [
            f"{kind}: {cost.maintain} µs for each new row while it is there, {cost.build} µs a row to make it anew"
            for kind, cost in COSTS.items()
        ]


def preview(
    connection: Connection,
    inputs: Sequence[Input],
    *,
    schema: str,
    mode: Mode,
    clear: bool,
    cascade: bool,
    drops: Drops,
    prepare: Callable[[Connection], object] | None,
) -> Preview:
    """What `run` would do with the same arguments. Changes nothing, and keeps nobody from the tables.

    Raises what that would raise before it reads its sources.
    """
    plan = plan_of(inputs)
    found: list[Preview] = []
    with spooled(inputs) as sources, transaction(connection):
        if prepare is not None:
            prepare(connection)
        changes = Changes(connection, sources, clear=clear)
        changes.look_ahead(plan, schema)
        expected = expected_rows(sources, changes.share)
        looked_at = atomic.look_at(
            connection, plan, schema, drops, expected, clear=clear, cascade=cascade, drop=mode is not Mode.STANDARD
        )
        with refused("reading the catalog"):
            findings = catalog.findings(connection, looked_at.targets.values())
            others = atomic.outside(plan, looked_at.targets, looked_at.emptied)
            findings += [
                f"emptied as well: {key}" for key in catalog.referring_keys(connection, others, looked_at.emptied)
            ]
        found.append(
            Preview(
                expected={relation.name: expected.get(relation.name, 0.0) for relation in plan},
                locks=list(_locks(plan, looked_at, mode)),
                choice=looked_at.choice,
                statements=[each.as_string(connection) for each in _statements(plan, looked_at, mode)],
                findings=[*findings, *changes.findings],
            )
        )
        raise Rollback
    return found[0]


def _locks(plan: Plan, looked_at: Prepared, mode: Mode) -> Iterator[str]:
    if mode is Mode.STANDARD:
        if looked_at.emptied:
            yield f"ACCESS EXCLUSIVE on {_names(looked_at)} while they are emptied: readers and writers wait for that"
        yield "ROW EXCLUSIVE on the tables that are written, for a batch: nobody waits but who writes the same keys"
        return
    for lock in atomic.locks_of(plan, looked_at):
        until = "until the commit" if mode is Mode.OPTIMIZED else "until the tables are emptied"
        who = "readers and writers wait" if lock.exclusive else "writers wait, readers do not"
        kind = "ACCESS EXCLUSIVE" if lock.exclusive else "SHARE ROW EXCLUSIVE"
        yield f"{kind} on {lock} {until}: {who}"


def _statements(plan: Plan, looked_at: Prepared, mode: Mode) -> Iterator[sql.Composable]:
    yield from _before(plan, looked_at, mode)
    if mode is not Mode.STANDARD:
        for relation in plan:
            columns = sql.SQL(", ").join(map(sql.Identifier, relation.written))
            yield _LOAD["copy"].format(target=looked_at.targets[relation].identifier, columns=columns)
    yield from _after(plan, looked_at, mode)


def _before(plan: Plan, looked_at: Prepared, mode: Mode) -> Iterator[sql.Composable]:
    if mode is not Mode.STANDARD:
        for lock in atomic.locks_of(plan, looked_at):
            block = _LOCKS["lock_exclusive" if lock.exclusive else "lock_for_keys"]
            yield block.format(targets=sql.Identifier(lock.schema, lock.table_name))
    if looked_at.emptied:
        yield _LOAD["truncate"].format(targets=sql.SQL(", ").join(table.identifier for table in looked_at.emptied))
    for each in looked_at.choice.dropped:
        if not (isinstance(each, Index) and each.attached):
            yield each.drop


def _after(plan: Plan, looked_at: Prepared, mode: Mode) -> Iterator[sql.Composable]:
    choice = looked_at.choice
    built = in_order((*choice.keys, *choice.indexes))
    for index in built:
        yield from filter(None, (index.build(), index.promote))
    for index in built:
        yield from finishing(index)
    targets = sql.SQL(", ").join(looked_at.targets[relation].identifier for relation in plan)
    yield _LOAD["analyze"].format(targets=targets)
    for key in choice.foreign_keys:
        apart = mode is Mode.ULTRA and key.valid and not key.partitioned
        yield key.add(unchecked=apart)
        yield from ([key.validate] if apart else [])
        yield from key.marks


def _names(looked_at: Prepared) -> str:
    return ", ".join(f"{table.schema}.{table.name}" for table in looked_at.emptied)
