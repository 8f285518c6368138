"""The locks of a load: taken before anything is changed, in one order, and not waited for without end.

A lock that is waited for keeps everybody out who comes after, readers too. So each attempt is short, the next one
comes after a pause in which the others get through, and who holds the lock is told.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby

import attrs
from psycopg import sql
from psycopg.pq import TransactionStatus

from bulkload import statements
from bulkload.errors import ServerError
from bulkload.server import retries
from bulkload.server.connection import Connection, Step, refused, whole
from bulkload.server.definitions import ForeignKey, Object

logger = logging.getLogger("bulkload")

_SQL = statements.load("locks")

_ATTEMPTS = 12
_ATTEMPTS_TO_RESTORE = 150
"""Ten minutes: a table without its indexes is worse than a command that takes long."""
_PATIENCE = "3s"
"""Of one attempt; whoever queues behind it waits no longer than that."""
_PAUSE = 1.0
"""Seconds between attempts."""


@attrs.frozen
class Lock:
    """A lock on a table: in full, or against other writers only."""

    relation: int
    schema: str
    table_name: str
    exclusive: bool
    """Nobody else reads or writes (ACCESS EXCLUSIVE); or nobody else writes (SHARE ROW EXCLUSIVE)."""

    def __str__(self) -> str:
        return f"{self.schema}.{self.table_name}"


def take(connection: Connection, locks: Iterable[Lock]) -> None:
    """Take the locks, for the transaction that the connection is in, by the oids of the tables.

    Raises ServerError where somebody does not let go; it names them.
    """
    wanted = in_order(locks)
    if not wanted:
        return
    doing = f"locking {', '.join(map(str, wanted))}"
    steps: list[Step] = []
    for exclusive, group in groupby(wanted, key=lambda lock: lock.exclusive):
        tables = sql.SQL(", ").join(sql.Identifier(each.schema, each.table_name) for each in group)
        steps.append(Step(doing, _SQL["lock_exclusive" if exclusive else "lock_for_keys"].format(targets=tables)))
    _repeated(connection, doing, wanted, steps, _ATTEMPTS, "nothing was changed: ")


def restoring(connection: Connection, each: Object, steps: Sequence[Step]) -> None:
    """Run what puts an object back, as by `whole`, and again where somebody is in the way of its locks.

    Raises ServerError, which names them in the end.
    """
    _repeated(connection, steps[0].doing, of_objects([each]), steps, _ATTEMPTS_TO_RESTORE, "")


def hurried(steps: Sequence[Step]) -> list[Step]:
    """Statements of a transaction of their own that wait for locks no longer than an attempt; then they fail."""
    return [Step(steps[0].doing, _SQL["lock_patience"].text, {"patience": _PATIENCE}), *steps]


def _repeated(
    connection: Connection, doing: str, wanted: Sequence[Lock], steps: Sequence[Step], attempts: int, outcome: str
) -> None:
    steps = hurried(steps)
    if connection.info.transaction_status != TransactionStatus.IDLE:
        with refused("reading settings"):
            (before,) = connection.execute(_SQL["patience_now"].text).fetchone() or ("0",)
        steps.append(Step(doing, _SQL["lock_patience"].text, {"patience": before}))
    for attempt in range(1, attempts + 1):
        try:
            whole(connection, steps)
        except ServerError as error:
            if error.sqlstate not in retries.CONFLICTS:
                raise
            holders = _holders(connection, wanted)
            if attempt == attempts:
                raise ServerError(
                    f"{doing}: held by {holders}; {outcome}run it again when they are done, or end them with "
                    "pg_terminate_backend",
                    sqlstate=error.sqlstate,
                ) from error
            logger.warning("waiting for a lock held by %s (attempt %d of %d)", holders, attempt, attempts)
            time.sleep(_PAUSE)
        else:
            return


def _holders(connection: Connection, wanted: Iterable[Lock]) -> str:
    parameters = {
        "exclusive": [lock.relation for lock in wanted if lock.exclusive],
        "shared": [lock.relation for lock in wanted if not lock.exclusive],
    }
    with refused("asking who holds a lock"):
        rows = connection.execute(_SQL["holders"].text, parameters).fetchall()
    return "; ".join(str(text) for (text,) in rows) or "somebody who has gone meanwhile"


def in_order(locks: Iterable[Lock]) -> list[Lock]:
    """The order in which every load takes them; of two locks on one table, the stronger."""
    strongest = {lock.relation: lock for lock in sorted(locks, key=lambda lock: lock.exclusive)}
    return [strongest[relation] for relation in sorted(strongest)]


def of_objects(objects: Collection[Object]) -> list[Lock]:
    """The locks that taking these away needs: of a foreign key, on both tables."""
    found = [Lock(each.relation, each.schema, each.table_name, exclusive=True) for each in objects]
    found += [
        Lock(each.referenced, each.referenced_schema, each.referenced_table, exclusive=True)
        for each in objects
        if isinstance(each, ForeignKey)
    ]
    return found
