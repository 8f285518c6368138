"""What the ledger says is away comes back, whatever state it was left in.

A crash may have left an index half built, a key's index without its key, a foreign key that is not validated, or a
table out of the log. So each object is looked for first, and only what it lacks is done; it is struck in the
transaction that does the last of it. All of that can be run again, and by anybody.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Protocol, TypeAlias

import psycopg
from psycopg.pq import TransactionStatus

from bulkload.errors import RestoreError, ServerError
from bulkload.ledger import ledger
from bulkload.ledger.ledger import Entry
from bulkload.rebuild import culprits
from bulkload.rebuild.builders import Builders
from bulkload.rebuild.choice import cost_of
from bulkload.rebuild.rebuild import BUILD_MEMORY, finishing, in_order, look_at
from bulkload.server import locks, retries
from bulkload.server.connection import Connection, Step, in_turn, pipelined, prepare_session, refused, whole
from bulkload.server.definitions import SQL, ForeignKey, Index, Kind, Logged, Survey

logger = logging.getLogger("bulkload")

# The server goes on with what a dead client began, until it notices: an index may come up meanwhile.
_IN_THE_WAY = retries.DEADLOCKS | {psycopg.errors.DuplicateTable.sqlstate}

_Work: TypeAlias = tuple[Entry, Sequence[Step]]
"""What is to be done for an entry, a transaction."""


class Restoration:
    """Puts back what some entries of the ledger say, on the connections of `builders`.

    `concurrently` builds indexes in a way that keeps nobody from writing, for tables in use.
    """

    def __init__(
        self, connection: Connection, entries: Sequence[Entry], builders: Builders, *, concurrently: bool
    ) -> None:
        self._connection = connection
        self._builders = builders
        self._concurrently = concurrently
        self.failures: list[str] = []
        """What could not be put back, with the reason."""
        self.restored: list[Entry] = []
        self._tables: list[tuple[Entry, Logged]] = []
        self._indexes: list[tuple[Entry, Index]] = []
        self._foreign_keys: list[tuple[Entry, ForeignKey]] = []
        self._build_failed: set[int] = set()
        self._struck: set[int] = set()
        self._entries: dict[int, Entry] = {}
        self._begun: set[int] = set()
        """The tables whose indexes are being built."""
        self._waiting: dict[int, list[tuple[Index, Index | None]]] = {}
        """The indexes of a table that is not logged yet, each with what there is of it."""
        for entry in entries:
            self._sort(entry)

    def run(self) -> None:
        """All of it. Raises RestoreError for what could not be put back, when all else is."""
        self.restore_indexes()
        self.restore_foreign_keys()

    def begin(self, relations: Iterable[int]) -> None:
        """Begin with the tables whose rows are in; those that others have begun with are passed over.

        A table that is out of the log is logged first: its indexes would be written to the log twice.
        """
        wanted = set(relations) - self._begun
        self._begun |= wanted
        if not wanted:
            return
        with plain_session(self._connection):
            there = {(each.schema, each.name): each for each in self._survey().indexes}
            weights = self._weights()
            unlogged = {each.relation: (entry, each) for entry, each in self._tables if each.relation in wanted}
            ready: list[tuple[Index, Index | None]] = []
            for each in in_order((each for _, each in self._indexes if each.relation in wanted), weights):
                place = self._waiting.setdefault(each.relation, []) if each.relation in unlogged else ready
                place.append((each, there.get((each.schema, each.name))))
            for entry, table in unlogged.values():
                self._builders.submit(str(table), self._logging(entry, table))
            self._build(ready)

    def restore_indexes(self) -> None:
        """Tables are logged again, then have their indexes, of which some are made keys.

        Raises nothing for what fails: it is noted, and raised when the foreign keys are back.
        """
        self.begin({*self._relations, *(each.relation for _, each in self._tables)})
        self._builders.wait()
        with plain_session(self._connection):
            over = self._build_failed | self._struck
            self._finish_indexes([(entry, each) for entry, each in self._indexes if entry.id not in over])

    def restore_foreign_keys(self) -> None:
        """Put foreign keys back. Raises RestoreError where something could not be put back."""
        with plain_session(self._connection):
            self._add_foreign_keys()
        if self.failures:
            raise RestoreError(self.failures)

    def _logging(self, entry: Entry, each: Logged) -> Callable[[Connection], None]:
        def log(connection: Connection) -> None:
            with self._noting(entry):
                steps = [Step(str(entry), each.restore), ledger.striking(entry)]
                locks.restoring(connection, each, steps)
                self._done(entry)
            self._build(self._waiting.pop(each.relation, []))

        return log

    def _build(self, indexes: Iterable[tuple[Index, Index | None]]) -> None:
        for each, present in indexes:
            self._builders.submit(str(each), self._building(self._entries[each.oid], each, present))

    def _weights(self) -> Callable[[Index], float]:
        """What an index will take to build, from the size of its table."""
        with refused("reading the sizes of tables"):
            rows = self._connection.execute(SQL["table_sizes"].text, {"relations": self._relations}).fetchall()
        sizes = {int(str(relation)): int(str(size)) for relation, size in rows}
        return lambda index: -sizes.get(index.relation, 0) * cost_of(index).build

    @property
    def _relations(self) -> list[int]:
        relations = [each.relation for _, each in self._indexes]
        return sorted({*relations, *(each.relation for _, each in self._foreign_keys)})

    def _sort(self, entry: Entry) -> None:
        if entry.relation is None:
            logger.warning("%s: its table is gone, and it with it", entry)
            pipelined(self._connection, [ledger.striking(entry)])
            return
        if entry.renamed:
            self._fail(entry, f"{entry}: its table is named {entry.table_now} now; give it its name back for a while")
            return
        match entry.object:
            case Logged() as each:
                self._tables.append((entry, each))
            case Index() as each:
                self._indexes.append((entry, each))
                self._entries[each.oid] = entry
            case ForeignKey() as each:
                self._foreign_keys.append((entry, each))

    def _survey(self) -> Survey:
        # Others may be building at this moment.
        return look_at(self._connection, self._relations)

    def _building(self, entry: Entry, each: Index, present: Index | None) -> Callable[[Connection], None]:
        # What takes a lock on the table that another build is in the way of is for the end.
        alone = each.promote is None and not finishing(each)
        beside = not each.partitioned and each.kind is not Kind.CONSTRAINT

        def attempt(connection: Connection, *, again: bool) -> None:
            steps = self._building_steps(entry, each, _found(connection, each) if again else present)
            if self._concurrently:
                for step in steps:
                    if step is steps[-1] and beside:
                        # That is several transactions of its own, and in nobody's way.
                        connection.execute(step.statement, step.parameters)
                    else:
                        locks.restoring(connection, each, [step])
            elif alone:
                locks.restoring(connection, each, [*steps, ledger.striking(entry)])
            elif steps:
                locks.restoring(connection, each, steps)

        def build(connection: Connection) -> None:
            with self._noting(entry, connection, each):
                _attempts(connection, attempt)
                if alone and not self._concurrently:
                    self._done(entry)

        return build

    def _building_steps(self, entry: Entry, each: Index, present: Index | None) -> list[Step]:
        """The statements that build it, none where it is there; what is left of a build that failed is dropped."""
        if present is not None and not each.same(present):
            raise ServerError(
                f"an index of that name is there, but another one ({present.definition}): rename or drop it"
            )
        if present is not None and (present.valid or present.partitioned):
            return []
        settings = {"path": "pg_catalog", "tablespace": each.tablespace}
        steps = [
            Step(str(entry), SQL["session_settings"].text, settings),
            Step(str(entry), each.build(concurrently=self._concurrently)),
        ]
        if present is not None:
            steps.insert(0, Step(str(entry), SQL["drop_index"].format(index=present.index)))
        return steps

    def _finish_indexes(self, indexes: Sequence[tuple[Entry, Index]]) -> None:
        there = {(each.schema, each.name): each for each in self._survey().indexes}
        keys: list[_Work] = []
        for entry, each in indexes:
            present = there.get((each.schema, each.name))
            if present is not None and present.kind is Kind.INDEX and each.promote is not None:
                keys.append((entry, [Step(str(entry), each.promote)]))
        for entry, error in _failing(self._connection, keys):
            self._note(entry, error)
        rest: list[_Work] = []
        for entry, each in indexes:
            if entry.id in self._build_failed:
                continue
            present = there.get((each.schema, each.name))
            done = present is not None and present.attached
            statements = each.marks if done else finishing(each)
            rest.append((entry, [*(Step(str(entry), each) for each in statements), ledger.striking(entry)]))
        failed = dict(_failing(self._connection, rest))
        for entry, _ in rest:
            if entry in failed:
                self._note(entry, failed[entry])
            else:
                self._done(entry)

    def _add_foreign_keys(self) -> None:
        there = {(each.relation, each.name): each for each in self._survey().foreign_keys}
        missing: list[_Work] = []
        for entry, each in self._foreign_keys:
            present = there.get((each.relation, each.name))
            if present is None:
                missing.append((entry, [Step(str(entry), each.add(unchecked=True))]))
            elif not each.same(present):
                self._note(
                    entry,
                    ServerError(f"a constraint of that name is there, but another one ({present.definition})"),
                )
        # One after the other: each takes two tables, and two of them crosswise would lock each other out.
        objects = {entry.id: each for entry, each in self._foreign_keys}
        for entry, error in _failing(self._connection, missing):
            with self._noting(entry, self._connection, objects[entry.id]):
                raise error
        for entry, each in self._foreign_keys:
            if entry.id not in self._build_failed:
                self._builders.submit(str(each), self._validating(entry, each))
        self._builders.wait()

    def _validating(self, entry: Entry, each: ForeignKey) -> Callable[[Connection], None]:
        def validate(connection: Connection) -> None:
            statements = [each.validate] if each.valid and not each.partitioned else []
            with self._noting(entry, connection, each):
                steps = [Step(str(entry), statement) for statement in (*statements, *each.marks)]
                retries.retried(partial(whole, connection, [*steps, ledger.striking(entry)]))
                self._done(entry)

        return validate

    def _done(self, entry: Entry) -> None:
        self._struck.add(entry.id)
        self.restored.append(entry)

    def _note(self, entry: Entry, error: ServerError) -> None:
        with self._noting(entry):
            raise error

    @contextmanager
    def _noting(
        self, entry: Entry, connection: Connection | None = None, each: Index | ForeignKey | None = None
    ) -> Generator[None]:
        """What fails is noted, with the rows to blame where there are some; the rest goes on."""
        try:
            yield
        except (psycopg.Error, ServerError) as error:
            reason = error if isinstance(error, ServerError) else ServerError.of(error, str(entry))
            blamed = ""
            if connection is not None and each is not None and not connection.closed:
                blamed = culprits.named(connection, each, reason.sqlstate)
            named = str(reason).startswith(str(entry))
            self._fail(entry, f"{reason}{blamed}" if named else f"{entry}: {reason}{blamed}")

    def _fail(self, entry: Entry, failure: str) -> None:
        self._build_failed.add(entry.id)
        self.failures.append(failure)
        logger.warning("not restored: %s", failure)


@contextmanager
def plain_session(connection: Connection) -> Generator[None]:
    """As `plain_names`, for a connection that may be in no transaction; nothing else of the session is changed."""
    doing = "reading settings"
    plain = Step(doing, SQL["session_settings"].text, {"path": "pg_catalog", "tablespace": ""})
    before, _ = pipelined(connection, [Step(doing, SQL["read_settings"].text), plain])
    path, tablespace = before.fetchone() or ("", "")
    try:
        yield
    finally:
        if not connection.closed:
            with refused("putting settings back"):
                connection.execute(SQL["session_settings"].text, {"path": path, "tablespace": tablespace})


def set_up_builder(connection: Connection, jobs: int = 1) -> None:
    """Set up a session that does nothing but restore, beside others of its kind, `jobs` in all.

    They share the memory of one build and the parallel workers that one session may have.
    """
    prepare_session(connection)
    doing = "setting up a session"
    pipelined(
        connection,
        [
            Step(doing, SQL["session_settings"].text, {"path": "pg_catalog", "tablespace": ""}),
            Step(doing, SQL["session_build_memory"].text, {"size": BUILD_MEMORY, "jobs": jobs}),
        ],
    )


class _Attempt(Protocol):
    def __call__(self, connection: Connection, *, again: bool) -> None: ...


def _attempts(connection: Connection, task: _Attempt) -> None:
    """Do it, and again where somebody was in the way."""
    attempts = count(1)
    retries.retried(lambda: task(connection, again=next(attempts) > 1), states=_IN_THE_WAY)


def _found(connection: Connection, each: Index) -> Index | None:
    """The index of that name, as it is now."""
    indexes = look_at(connection, [each.relation]).indexes
    return next((found for found in indexes if (found.schema, found.name) == (each.schema, each.name)), None)


def _failing(connection: Connection, works: Sequence[_Work]) -> list[tuple[Entry, ServerError]]:
    """Do each in a transaction of its own, all in as few round trips as there are failures; those that failed."""
    if connection.info.transaction_status != TransactionStatus.IDLE:
        # How long locks are waited for would hold for all of the transaction.
        return [(entry, error) for entry, steps in works if (error := _refusal(connection, entry, steps)) is not None]
    failed: list[tuple[Entry, ServerError]] = []
    left = list(works)
    while left:
        done, error = in_turn(connection, [locks.hurried(steps) for _, steps in left])
        if error is not None:
            entry, steps = left[done]
            if error.sqlstate in retries.CONFLICTS:
                error = _refusal(connection, entry, steps)
            failed += [(entry, error)] if error is not None else []
        left = left[done + 1 :]
    return failed


def _refusal(connection: Connection, entry: Entry, steps: Sequence[Step]) -> ServerError | None:
    try:
        locks.restoring(connection, entry.object, steps)
    except ServerError as error:
        return error
    return None
