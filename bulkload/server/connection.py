"""The border to the driver: how its connections are opened, and how its errors become ours."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import accumulate
from typing import LiteralString, cast

import attrs
import psycopg
from psycopg import IsolationLevel, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import PipelineStatus, TransactionStatus

from bulkload import statements
from bulkload.errors import ConnectError, ServerError, UnknownOutcomeError, one_line
from bulkload.server import retries
from bulkload.server.silence import KEEPALIVES, Session, Watched

_SQL = statements.load("session")

# What a commit without an answer was told to do.
_UNKNOWN = "COMMIT, whose answer was lost with the connection: all that it was for is in, or nothing of it"
# What is noted of an interrupt amid a commit.
_IN = "it came while a transaction was committed, and that is in"
_MAYBE_IN = "it came while a transaction was committed, and whether that is in is not known"

Connection = psycopg.Connection[tuple[object, ...]]
Cursor = psycopg.Cursor[tuple[object, ...]]


@contextmanager
def refused(doing: str, table: str = "") -> Generator[None]:
    """Turn the driver's errors into ServerError; `doing` says what was tried, and `table` to which, where it is one."""
    try:
        yield
    except psycopg.Error as error:
        raise ServerError.of(error, doing, table) from error


def connect(conninfo: str) -> Connection:
    """A connection in autocommit mode. Raises ConnectError; the message never holds the password.

    A server that is full, or starting, is tried again for half a minute. Session settings that a server or role may
    have been given for its web requests, and which would end a load half way, are lifted for this session alone. A
    connection that is lost on its way ends, see `bulkload.server.silence`.
    """
    # libpq ends the password at the first @, and would quote the rest as the name of a host.
    if re.match(r"postgres(?:ql)?://[^/?]*@[^/?]*@", conninfo):
        raise ConnectError("the connection string is wrong: an @ in a user's name or password is written as %40")
    try:
        # What the string says itself holds; but text is UTF-8, whatever the client's locale is.
        given = conninfo_to_dict(conninfo)
        defaults: dict[str, str | int] = {"fallback_application_name": "bulkload", **KEEPALIVES}
        missing = {name: value for name, value in defaults.items() if name not in given}
        whole_conninfo = make_conninfo(conninfo, client_encoding="utf8", **missing)
        connection = retries.let_in(lambda: Watched.connect(whole_conninfo, autocommit=True), _without_secrets)
    except psycopg.OperationalError as error:
        raise ConnectError(f"cannot connect: {_without_secrets(error)}") from None
    except psycopg.ProgrammingError as error:
        # libpq quotes the faulty part of the string, which may be the password.
        reason = 'missing "="' if "missing" in str(error) else "it is not understood"
        raise ConnectError(
            f"the connection string is wrong: {reason}; see libpq's page on connection strings"
        ) from None
    prepare_session(connection)
    return connection


def prepare_session(connection: Connection) -> None:
    """Lift the limits of time that would end a load half way, for a session of this package's own.

    Of itself, the server ends it soon when the client is gone, so that others get its locks.
    """
    steps = [Step("setting up the session", _SQL[name].text) for name in ("no_statement_timeout", "settings")]
    row = pipelined(connection, steps)[1].fetchone()
    if row is not None and isinstance(connection, Watched):
        pid, since = cast("tuple[int, int]", row[1:])
        # The number that a pooler gives is not that of the server's process, which is another one later.
        connection.session = Session(pid, since) if pid == connection.info.backend_pid else None


def commit_asynchronously(connection: Connection) -> None:
    """Commits of the session do not wait for the disk: a crash of the server may undo the last of them."""
    with refused("setting synchronous_commit"):
        connection.execute(_SQL["async_commit"].text)


def commit_synchronously(connection: Connection) -> None:
    """Commits wait as the session was set to; the next one makes safe what others committed before it, too."""
    with refused("setting synchronous_commit"):
        connection.execute(_SQL["sync_commit"].text)


def conninfo_of(connection: Connection) -> str:
    """How to open more connections like this one. It holds the password: it is to be shown to nobody."""
    password = connection.info.password
    return make_conninfo(connection.info.dsn, **({"password": password} if password else {}))


def _without_secrets(error: psycopg.Error) -> str:
    text = one_line(str(error))
    # What stands where a port should be may be a piece of a password.
    text = re.sub(r'value ".*" for connection option', "value for connection option", text)
    return text.removeprefix("connection failed: ").removeprefix("connection to server ")


def describe(connection: Connection) -> str:
    """Where a connection leads, for a person: never with the password."""
    info = connection.info
    where = info.host if info.host.startswith("/") else f"{info.host}:{info.port}"
    return f"PostgreSQL {_version(info.server_version)} at {where}, database {info.dbname}, user {info.user}"


def _version(number: int) -> str:
    """As in `18.6`. https://www.postgresql.org/docs/current/libpq-status.html#LIBPQ-PQSERVERVERSION"""
    return f"{number // 10000}.{number % 10000}"


@contextmanager
def transaction(connection: Connection) -> Generator[None]:
    """A transaction that sees what others commit while it runs, whatever the session's default; or a savepoint.

    Raises UnknownOutcomeError where the connection is lost amid the commit. Of an interrupt amid it, a note says what
    came of that, as `committed` tells.
    """
    idle = connection.info.transaction_status == TransactionStatus.IDLE
    before = connection.isolation_level
    if idle:
        connection.isolation_level = IsolationLevel.READ_COMMITTED
    committing = False
    try:
        with connection.transaction():
            yield
            committing = idle
    except psycopg.OperationalError as error:
        if committing and retries.is_loss(error):
            raise UnknownOutcomeError.of(error, _UNKNOWN) from error
        raise
    except psycopg.Error:
        raise
    except BaseException as error:
        if committing:
            _note_commit(error, connection)
        raise
    finally:
        if idle and not connection.closed and connection.info.transaction_status == TransactionStatus.IDLE:
            connection.isolation_level = before


@contextmanager
def committing(connection: Connection) -> Generator[None]:
    """A connection that commits what it does, unless it is in a transaction of the caller's already.

    Of one that is not in autocommit mode, the first query would begin a transaction that nobody ends.
    """
    if connection.autocommit or connection.info.transaction_status != TransactionStatus.IDLE:
        yield
        return
    connection.autocommit = True
    try:
        yield
    finally:
        if not connection.closed and connection.info.transaction_status == TransactionStatus.IDLE:
            connection.autocommit = False


def _note_commit(error: BaseException, connection: Connection) -> None:
    """An interrupt makes the driver cancel what it waits for; a commit may be past that, and wait for a standby."""
    match connection.info.transaction_status:
        case TransactionStatus.IDLE:
            # libpq begins each statement without an error of its own; what was cancelled in time has one.
            if not connection.pgconn.error_message:
                error.add_note(_IN)
        case TransactionStatus.INTRANS | TransactionStatus.INERROR:
            # It was not begun.
            pass
        case _:
            error.add_note(_MAYBE_IN)


def committed(error: BaseException) -> bool | None:
    """Whether a failure came amid a commit that is done all the same; None where that is not known."""
    notes = getattr(error, "__notes__", ())
    return True if _IN in notes else None if _MAYBE_IN in notes else False


@attrs.frozen
class Step:
    """A statement among others that are sent together."""

    doing: str
    """What it is for, as in `refused`."""
    statement: sql.SQL | sql.Composed | LiteralString
    parameters: Mapping[str, object] | None = None


def pipelined(connection: Connection, steps: Iterable[Step]) -> list[Cursor]:
    """Run statements one after the other, in one round trip; the cursor of each, with its result.

    Raises ServerError, which names what the statement that failed was for; those after it are not run. For a connection
    in a transaction: outside of one they are one themselves. An interrupt may close the connection.
    """
    cursors, error = _sent(connection, list(steps))
    if error is not None:
        raise error from error.__cause__
    return cursors


def whole(connection: Connection, steps: Iterable[Step]) -> list[Cursor]:
    """As `pipelined`, in a transaction of their own; or a savepoint, in one: where one fails, none was run."""
    cursors, error = _in_turn(connection, [list(steps)])
    if error is not None:
        raise error from error.__cause__
    return cursors[1:-1]


def in_turn(connection: Connection, groups: Sequence[Sequence[Step]]) -> tuple[int, ServerError | None]:
    """Run groups of statements, each as by `whole`, in one round trip: up to the first group that fails.

    Returns how many were done, and why the next one was not.
    """
    cursors, error = _in_turn(connection, groups)
    if error is None:
        return len(groups), None
    ends = accumulate(len(group) + 2 for group in groups)
    return sum(end <= _run(cursors) for end in ends), error


def records(cursor: Cursor) -> list[dict[str, object]]:
    """The rows of a result, each by the names of its columns."""
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _in_turn(connection: Connection, groups: Sequence[Sequence[Step]]) -> tuple[list[Cursor], ServerError | None]:
    idle = connection.info.transaction_status == TransactionStatus.IDLE
    begin, end = (_SQL[name].text for name in (("begin", "commit") if idle else ("savepoint", "release")))
    steps: list[Step] = []
    for first, *others in groups:
        # They are named after what they are for.
        last = others[-1] if others else first
        steps += [attrs.evolve(first, statement=begin, parameters=None), first, *others]
        steps.append(attrs.evolve(last, statement=end, parameters=None))
    done = False
    try:
        cursors, error = _sent(connection, steps)
        done = error is None
    except BaseException as interrupt:
        if idle:
            interrupt.add_note(_MAYBE_IN)
        raise
    finally:
        if not done and not connection.closed:
            # What went wrong is what is told, as by the driver's own transactions.
            with suppress(psycopg.Error, ServerError):
                if idle:
                    connection.rollback()
                elif connection.info.transaction_status == TransactionStatus.INERROR:
                    doing = "going back to a savepoint"
                    pipelined(connection, [Step(doing, _SQL[name].text) for name in ("undo", "release")])
    return cursors, error


def _sent(connection: Connection, steps: Sequence[Step]) -> tuple[list[Cursor], ServerError | None]:
    cursors: list[Cursor] = []
    first: psycopg.Error | None = None
    try:
        with connection.pipeline():
            try:
                for step in steps:
                    cursors.append(connection.cursor())
                    # The driver takes a statement for prepared also where that was passed over after a failure.
                    cursors[-1].execute(step.statement, step.parameters, prepare=False)
            except psycopg.Error as error:
                # The end of the pipeline has an error, too: that the rest was not run.
                first = error
    except psycopg.Error as error:
        if error.__context__ is not None and not isinstance(error.__context__, Exception):
            # An interrupt before the results were fetched; the driver tells that it cannot go on without them.
            raise error.__context__ from None
        first = first or error
    finally:
        # Interrupted amid the end of a pipeline, it would wait for ever for the answer to its next statement.
        if not connection.closed and connection.pgconn.pipeline_status != PipelineStatus.OFF:
            connection.close()
    while isinstance(first, psycopg.errors.PipelineAborted) and isinstance(first.__context__, psycopg.Error):
        first = first.__context__
    if first is None:
        return cursors, None
    refusal = ServerError.of(first, steps[min(_run(cursors), len(steps) - 1)].doing)
    refusal.__cause__ = first
    return cursors, refusal


def _run(cursors: Iterable[Cursor]) -> int:
    """How many statements of a pipeline were run: those that have their results."""
    return sum(cursor.pgresult is not None for cursor in cursors)
