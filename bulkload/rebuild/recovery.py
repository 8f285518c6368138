"""What a person does about indexes and constraints: take them away, put them back, and put right what a crash left."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from itertools import groupby

import attrs

from bulkload import statements
from bulkload.errors import RestoreError, SchemaError, ServerError
from bulkload.ledger import ledger
from bulkload.ledger.ledger import Entry
from bulkload.rebuild.builders import Alone, crew
from bulkload.rebuild.choice import Choice, Circumstances, Drop, Drops, choose
from bulkload.rebuild.rebuild import drop, look_at, plain_names
from bulkload.rebuild.restore import Restoration, set_up_builder
from bulkload.server import catalog, locks
from bulkload.server.connection import Connection, committing, conninfo_of, refused, transaction
from bulkload.server.definitions import Survey, family

logger = logging.getLogger("bulkload")

_SQL = statements.load("rebuild")


@attrs.define
class Recovery:
    """What was found away, and what became of it."""

    restored: list[Entry] = attrs.field(factory=list[Entry])
    busy: list[Entry] = attrs.field(factory=list[Entry])
    """Left alone: their load still runs, or somebody else puts them back."""
    by_hand: list[Entry] = attrs.field(factory=list[Entry])
    """Left alone by `recover`: a person took them away."""
    loads: list[int] = attrs.field(factory=list[int])
    """The loads that are whole again."""


def relations_named(connection: Connection, schema: str, tables: Collection[str]) -> list[int]:
    """The oids of these tables, each written as in SQL, or of all of a schema where none is named.

    Raises SchemaError for a table that there is none of, ServerError for what is no name.
    """
    named: list[tuple[str, str | None]] = [catalog.parsed(connection, schema, table) for table in tables]
    found: list[int] = []
    for table_schema, table in named or [(schema, None)]:
        with refused("reading the catalog"):
            parameters = {"schema": table_schema, "table": table}
            rows = connection.execute(_SQL["tables_named"].text, parameters).fetchall()
        if not rows:
            what = f"table {table_schema}.{table}" if table is not None else f"table in the schema {table_schema}"
            raise SchemaError(f"there is no {what}; a name is written as in SQL, quoted where it must be")
        found += [int(str(oid)) for (oid,) in rows]
    return found


def list_objects(connection: Connection, relations: Sequence[int]) -> tuple[Survey, list[Entry]]:
    """What these tables have, and what of theirs is away."""
    found = look_at(connection, relations)
    return found, ledger.outstanding(connection, found.relations)


def drop_by_hand(connection: Connection, relations: Sequence[int], *, foreign_keys: bool, keys: bool) -> Choice:
    """Take the indexes of these tables away, on request also foreign keys from and to them, and their keys.

    One transaction with the ledger's lines: all of it is gone and written down, or nothing has changed. What would not
    come back exactly stays; the choice says why. Raises ServerError.
    """
    ledger.ensure(connection)
    drops = Drops(
        Drop.ALWAYS, Drop.ALWAYS if foreign_keys else Drop.NEVER, Drop.ALWAYS if keys else Drop.NEVER
    )  # fmt: skip
    with transaction(connection):
        choice = _chosen(connection, relations, drops)
        taken = locks.of_objects(choice.dropped)
        locks.take(connection, taken)
        # What was there before the locks may have changed while they were waited for.
        choice = _chosen(connection, relations, drops)
        if not set(locks.of_objects(choice.dropped)) <= set(taken):
            raise ServerError("indexes and constraints were changed while their locks were waited for; run it again")
        if choice.dropped:
            tables = {f"{each.schema}.{each.table_name}" for each in choice.dropped}
            load = ledger.begin(connection, "drop", "by hand", tables)
            ledger.record(connection, load, choice.dropped)
            with plain_names(connection):
                drop(connection, choice.dropped)
            ledger.end(connection, load, "done")
    return choice


def restore_by_hand(connection: Connection, relations: Collection[int]) -> Recovery:
    """Put back what is away of these tables and their partitions, whoever took it away, but for a load that runs.

    Raises RestoreError for what could not be put back; all else is.
    """
    entries = ledger.outstanding(connection, family(connection, relations))
    # What was dropped by hand of tables that are gone would stay in the ledger otherwise: it can be named no more.
    gone = [each for each in ledger.outstanding(connection) if each.relation is None and each.load_kind == "drop"]
    return _put_back(connection, [*entries, *gone])


def recover(connection: Connection, *, dry_run: bool = False) -> Recovery:
    """Put back what loads that died left away. With `dry_run` it is only told.

    Raises RestoreError for what could not be put back; all else is.
    """
    with committing(connection):
        entries = ledger.outstanding(connection)
        by_hand = [entry for entry in entries if entry.load_kind == "drop"]
        of_loads = [entry for entry in entries if entry.load_kind == "load"]
        if dry_run:
            dead = [entry for entry in of_loads if not entry.alive]
            return Recovery(restored=dead, busy=[entry for entry in of_loads if entry.alive], by_hand=by_hand)
        found = _put_back(connection, of_loads)
        found.by_hand = by_hand
        return found


def held(connection: Connection, relations: Collection[int]) -> list[Entry]:
    """What loads that died left away of these tables. Raises ServerError where a load that lives holds one of them."""
    running, away = ledger.looked_up(connection, relations)
    for each in running:
        raise ServerError(
            f"load {each.load} ({each.client}, since {each.started:%Y-%m-%d %H:%M}) fills {each.table_name}: "
            "run this again when it has ended"
        )
    entries = [entry for entry in away if entry.load_kind == "load"]
    for entry in entries:
        if entry.alive:
            raise ServerError(
                f"load {entry.load} ({entry.client}, since {entry.started:%Y-%m-%d %H:%M}) holds "
                f"{entry.schema}.{entry.table_name}: its indexes are away until it ends; run this again then"
            )
    return entries


def take_over(connection: Connection, entries: Sequence[Entry]) -> None:
    """Put back, inside the transaction that emptied their tables, what loads that died left away.

    Raises ServerError, which undoes the transaction.
    """
    logger.warning("putting back what loads that died left away: %d indexes and constraints", len(entries))
    dead = sorted({entry.load for entry in entries})
    for load in dead:
        # So that nobody sets out to do the same, and then finds it done.
        if not ledger.hold(connection, load, session=False):
            raise ServerError(f"what load {load} left away is being put back by somebody else; run this again then")
    try:
        Restoration(connection, entries, Alone(connection), concurrently=False).run()
    except RestoreError as error:
        raise ServerError(
            f"what loads that died left away does not come back: {'; '.join(error.failures)}; try `python -m bulkload "
            "recover`, which restores what they left away of other tables, too"
        ) from error
    left = {entry.load for entry in ledger.outstanding(connection)}
    for load in dead:
        if load not in left:
            ledger.end(connection, load, "failed", {"recovered": True})


def _chosen(connection: Connection, relations: Sequence[int], drops: Drops) -> Choice:
    found = look_at(connection, relations)
    # Foreign keys lead to tables that were not named.
    others = {oid for each in found.foreign_keys for oid in (each.relation, each.referenced)}
    return choose(found, drops, Circumstances(filled={*found.relations, *others}, by_hand=True))


def _put_back(connection: Connection, entries: Sequence[Entry]) -> Recovery:
    recovery, failures = Recovery(), list[str]()
    for load, group in groupby(sorted(entries, key=lambda entry: (entry.load, entry.id)), lambda entry: entry.load):
        wanted = {entry.id for entry in group}
        if not ledger.hold(connection, load, session=True):
            recovery.busy += [entry for entry in entries if entry.id in wanted]
            continue
        try:
            # Somebody else may have put some of it back before the lock was ours.
            left = [entry for entry in ledger.outstanding(connection) if entry.id in wanted]
            failures += _restore(connection, left, recovery)
            if not any(entry.load == load for entry in ledger.outstanding(connection)):
                ledger.end(connection, load, "failed", {"recovered": True})
                recovery.loads += {entry.load for entry in left if entry.load_kind == "load"}
        finally:
            if not connection.closed:
                ledger.let_go(connection, load)
    if failures:
        raise RestoreError(failures)
    return recovery


def _restore(connection: Connection, entries: Sequence[Entry], recovery: Recovery) -> list[str]:
    # The tables are somebody's: whoever writes to them goes on writing. Two builds of that kind would wait for each
    # other, so it is one at a time.
    with crew(conninfo_of(connection), 1, set_up_builder) as builders:
        restoration = Restoration(connection, entries, builders, concurrently=True)
        try:
            restoration.run()
        except RestoreError:
            logger.warning("%d of %d objects could not be put back", len(restoration.failures), len(entries))
        recovery.restored += restoration.restored
    return restoration.failures
