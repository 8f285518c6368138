"""The ledger: which loads there were, and what they took away and have not put back.

It is the schema `bulkload` of the database that is loaded, never a file beside it: a crash of the client, or of its
machine, leaves all that `recover` needs. What is dropped outside the one transaction of a load is written down in the
transaction that drops it, and struck in the one that brings it back.

A load is alive as long as it holds the advisory lock of its id, which the server lets go when the session ends,
however that comes about.
"""

from __future__ import annotations

import datetime as dt
import getpass
import json
import logging
import os
import platform
from collections.abc import Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from importlib.metadata import version

import attrs
import msgspec
import psycopg
from psycopg.pq import TransactionStatus
from psycopg.types.numeric import Int4

from bulkload import statements
from bulkload.errors import ServerError
from bulkload.server.connection import Connection, Cursor, Step, pipelined, records, refused, transaction
from bulkload.server.definitions import Object, from_json, oids, reading_family, to_json

logger = logging.getLogger("bulkload")

_SQL = statements.load("ledger")

WRITING = "writing to the ledger"

# The first half of the advisory locks' keys: no other program is likely to use it.
CLASS = Int4(0x62756C6B)


@attrs.frozen
class Entry:
    """An object that is away."""

    id: int
    load: int
    load_kind: str
    """`load`, or `drop` where a person took it away by hand."""
    client: str
    started: dt.datetime
    alive: bool
    """Whether the load that took it away still runs, or somebody puts it back at this moment."""
    relation: int | None
    """The oid that its table has today; None where it is gone."""
    table_now: str | None
    """The name that its table has today."""
    kind: str
    schema: str
    table_name: str
    name: str
    definition: str

    @property
    def object(self) -> Object:
        found = from_json(self.kind, self.definition)
        return found if self.relation is None else attrs.evolve(found, relation=self.relation)

    @property
    def renamed(self) -> bool:
        """Whether its table has another name now."""
        return self.table_now not in {None, f"{self.schema}.{self.table_name}"}

    def __str__(self) -> str:
        return f"{self.kind} {self.name} of {self.schema}.{self.table_name}"


@attrs.frozen
class LoadLine:
    """A load, or a drop by hand, as the ledger knows it."""

    id: int
    kind: str
    mode: str
    tables: list[str]
    client: str
    version: str
    started: dt.datetime
    ended: dt.datetime | None
    progress: dict[str, object]
    dropped: int
    """How many objects it took away are not back."""
    loaded: int
    """Records that are in, of a load of several transactions."""
    state: str
    """`running`, `interrupted`, `done` or `failed`."""


def exists(connection: Connection) -> bool:
    """Whether the database has a ledger."""
    with refused("looking for the ledger"):
        row = connection.execute(_SQL["ledger_exists"].text).fetchone()
    return row is not None and row[0] is True


def ensure(connection: Connection) -> None:
    """Create the ledger where there is none. Raises ServerError where the role may not."""
    if exists(connection):
        return
    doing = "creating the ledger (the schema bulkload needs the right CREATE on the database)"
    with refused(doing), transaction(connection):
        connection.execute(_SQL["one_at_a_time"].text, {"class": CLASS})
        connection.execute(_SQL["create_ledger"].text)


class Catalog(msgspec.Struct, frozen=True):
    """What there is of some tables, and must be again when a load has ended."""

    relations: list[int]
    """The oids of the tables and their partitions."""
    facts: dict[str, str]
    """As of `definitions.facts`."""


def begin(connection: Connection, kind: str, mode: str, tables: Iterable[str], catalog: Catalog | None = None) -> int:
    """A new line of the ledger; its id.

    Old lines go with it: see the statement.
    """
    parameters = {
        "kind": kind, "mode": mode, "tables": sorted(tables), "client": _client(), "version": version("bulkload"),
        "catalog": None if catalog is None else _json(catalog), "class": CLASS,
    }  # fmt: skip
    with refused(WRITING):
        row = connection.execute(_SQL["begin_load"].text, parameters).fetchone()
    if row is None or not isinstance(row[0], int):
        raise ServerError("the ledger took no line: has somebody put a rule or trigger on bulkload.loads?")
    return row[0]


def begin_again(connection: Connection, load: int, *, together: bool) -> None:
    """A load that was stopped runs again, here and nowhere else; in a transaction.

    Gives the sign of life for the session: as `hold_together` or as `hold`. Raises ServerError where somebody else is
    at it.
    """
    with refused(WRITING):
        row = connection.execute(_SQL["lock_load"].text, {"class": CLASS, "load": load}).fetchone()
        if row != (True,):
            raise ServerError(f"load {load} runs, or somebody else goes on with it; run this again when it has ended")
        connection.execute(_SQL["begin_again"].text, {"load": load, "client": _client()})
    if together:
        hold_together(connection, load)
    elif not hold(connection, load, session=True):
        raise ServerError(f"load {load} was taken for dead, and what it took away is being put back")


def catalog_of(connection: Connection, load: int) -> Catalog:
    """What was given to `begin`, or to `set_catalog` since."""
    with refused("reading the ledger"):
        row = connection.execute(_SQL["catalog_of"].text, {"load": load}).fetchone()
    return msgspec.convert(row[0] if row is not None else None, Catalog)


def set_catalog(connection: Connection, load: int, catalog: Catalog) -> None:
    """All that a load took away is back: what is there now is what must be there again."""
    with refused(WRITING):
        connection.execute(_SQL["set_catalog"].text, {"load": load, "catalog": _json(catalog)})


def _json(catalog: Catalog) -> str:
    return msgspec.json.encode(catalog).decode()


@contextmanager
def line(connection: Connection, mode: str, tables: Iterable[str], again: int | None) -> Generator[Line | None]:
    """The line of a load that takes nothing away outside of a transaction; None where this role may not write it.

    The line says that the load runs from the start, and that it is done in the transaction that the load calls
    `Line.done` in. Where that never comes, it says that the load has failed, or, if nobody is left to write that,
    shows as interrupted. With `again`, it is the line of a load that is gone on with, and alive from the start.
    """
    try:
        with transaction(connection):
            if again is not None:
                begin_again(connection, again, together=False)
            else:
                ensure(connection)
            load = again if again is not None else begin(connection, "load", mode, tables)
    except ServerError as error:
        if again is not None or error.sqlstate != psycopg.errors.InsufficientPrivilege.sqlstate:
            raise
        logger.info("the ledger has no line of this load: %s", error)
        yield None
        return
    found = Line(connection, load, held=again is not None)
    try:
        yield found
    except BaseException:
        if not connection.closed and connection.info.transaction_status == TransactionStatus.IDLE:
            with transaction(connection):
                end(connection, load, "failed")
        raise
    finally:
        found.release()


@attrs.define
class Line:
    """A line of the ledger."""

    _connection: Connection
    load: int
    _held: bool = attrs.field(alias="held")
    """Whether the session gives the sign of life."""

    def hold(self, *, session: bool) -> None:
        """Show that the load is alive: until its transaction ends, or until it is done, where it has several."""
        if not self._held:
            hold(self._connection, self.load, session=session)
            self._held = session

    def release(self) -> None:
        """End what `hold` began for the session."""
        idle = not self._connection.closed and self._connection.info.transaction_status == TransactionStatus.IDLE
        if self._held and idle:
            with transaction(self._connection):
                let_go(self._connection, self.load)

    def done(self, progress: Mapping[str, object]) -> None:
        """The load is done, if the transaction is committed that the connection is in."""
        end(self._connection, self.load, "done", progress)


def end(connection: Connection, load: int, state: str, progress: Mapping[str, object] | None = None) -> None:
    """How a load ended: `done` or `failed`."""
    parameters = {"load": load, "state": state, "progress": json.dumps(progress or {})}
    with refused(WRITING):
        connection.execute(_SQL["end_load"].text, parameters)


def hold(connection: Connection, load: int, *, session: bool) -> bool:
    """Give the sign of life of a load, for the session or the transaction; False where somebody else gives it."""
    block = "hold" if session else "hold_in_transaction"
    with refused("taking the advisory lock of a load"):
        row = connection.execute(_SQL[block].text, {"class": CLASS, "load": Int4(load)}).fetchone()
    return row is not None and row[0] is True


def let_go(connection: Connection, load: int) -> None:
    """End the sign of life that `hold` gave for the session."""
    with refused("releasing the advisory lock of a load"):
        connection.execute(_SQL["let_go"].text, {"class": CLASS, "load": Int4(load)})


def hold_together(connection: Connection, load: int) -> None:
    """Give the sign of life of a load on several connections, for the session; the load lives until the last one ends.

    Raises ServerError where the load was taken for dead, and somebody puts back what it took away.
    """
    with refused("taking the advisory lock of a load"):
        row = connection.execute(_SQL["hold_together"].text, {"class": CLASS, "load": Int4(load)}).fetchone()
    if row is None or row[0] is not True:
        raise ServerError(f"load {load} was taken for dead, and what it took away is being put back")


def let_go_together(connection: Connection, load: int) -> None:
    """End the sign of life that `hold_together` gave."""
    with refused("releasing the advisory lock of a load"):
        connection.execute(_SQL["let_go_together"].text, {"class": CLASS, "load": Int4(load)})


def record(connection: Connection, load: int, objects: Iterable[Object]) -> None:
    """Write down what is about to be taken away; to be called in the transaction that does it."""
    lines = [
        {
            "load": load, "relation": each.relation, "kind": each.kind.value, "schema": each.schema,
            "table": each.table_name, "name": each.name, "definition": to_json(each),
        }
        for each in objects
    ]  # fmt: skip
    with refused(WRITING), connection.cursor() as cursor:
        cursor.executemany(_SQL["record_dropped"].text, lines)


def striking(entry: Entry) -> Step:
    """It is back; a step of the transaction that brought it."""
    return Step(WRITING, _SQL["strike"].text, {"id": entry.id})


def outstanding(connection: Connection, relations: Collection[int] | None = None) -> list[Entry]:
    """What is away, of these tables (by their oids) or of all; nothing where there is no ledger."""
    if not exists(connection):
        return []
    (found,) = pipelined(connection, [_reading("outstanding", relations)])
    return _entries(found)


@attrs.frozen
class AtWork:
    """A load that runs, and one of the tables that it fills."""

    load: int
    client: str
    started: dt.datetime
    table_name: str


def looked_up(connection: Connection, relations: Collection[int]) -> tuple[list[AtWork], list[Entry]]:
    """The loads that run on these tables or partitions of them, as far as they can be seen, and what is away there."""
    members, there = pipelined(
        connection, [reading_family(relations), Step("looking for the ledger", _SQL["ledger_exists"].text)]
    )
    if there.fetchone() != (True,):
        return [], []
    everything = oids(members)
    running, away = pipelined(connection, [_reading("at_work", everything), _reading("outstanding", everything)])
    return [msgspec.convert(row, AtWork) for row in records(running)], _entries(away)


def _reading(block: str, relations: Collection[int] | None) -> Step:
    parameters = {"class": CLASS, "relations": None if relations is None else list(relations)}
    return Step("reading the ledger", _SQL[block].text, parameters)


def _entries(found: Cursor) -> list[Entry]:
    return [msgspec.convert(row, Entry) for row in records(found)]


def loads(connection: Connection, count: int) -> list[LoadLine]:
    """The last loads, the newest first."""
    if not exists(connection):
        return []
    with refused("reading the ledger"):
        found = connection.execute(_SQL["loads"].text, {"class": CLASS, "count": count})
    return [msgspec.convert(row, LoadLine) for row in records(found)]


def _client() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    return f"{user}@{platform.node()}, process {os.getpid()}"
