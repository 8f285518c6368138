"""The border to the driver: how its connections are opened, and how its errors become ours."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager

import psycopg
from psycopg import IsolationLevel
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from bulkload import statements
from bulkload.errors import ConnectError, ServerError, one_line

_SQL = statements.load("session")

Connection = psycopg.Connection[tuple[object, ...]]


@contextmanager
def refused(doing: str, table: str = "") -> Generator[None]:
    """Turn the driver's errors into ServerError; `doing` says what was tried, and `table` to which, where it is one."""
    try:
        yield
    except psycopg.Error as error:
        raise ServerError.of(error, doing, table) from error


def connect(conninfo: str) -> Connection:
    """A connection in autocommit mode. Raises ConnectError; the message never holds the password.

    Session settings that a server or role may have been given for its web requests, and which would end a load half
    way, are lifted for this session alone.
    """
    # libpq ends the password at the first @, and would quote the rest as the name of a host.
    if re.match(r"postgres(?:ql)?://[^/?]*@[^/?]*@", conninfo):
        raise ConnectError("the connection string is wrong: an @ in a user's name or password is written as %40")
    try:
        # What the string says itself holds; but text is UTF-8, whatever the client's locale is.
        given = conninfo_to_dict(conninfo)
        defaults: dict[str, str | int] = {"fallback_application_name": "bulkload", "keepalives_idle": 30}
        missing = {name: value for name, value in defaults.items() if name not in given}
        connection = psycopg.connect(make_conninfo(conninfo, client_encoding="utf8", **missing), autocommit=True)
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
    """Lift the limits of time that would end a load half way, for a session of this package's own."""
    with refused("setting up the session"):
        connection.execute(_SQL["settings"].text)


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
    """A transaction that sees what others commit while it runs, whatever the session's default; or a savepoint."""
    idle = connection.info.transaction_status == TransactionStatus.IDLE
    before = connection.isolation_level
    if idle:
        connection.isolation_level = IsolationLevel.READ_COMMITTED
    try:
        with connection.transaction():
            yield
    finally:
        if idle and not connection.closed and connection.info.transaction_status == TransactionStatus.IDLE:
            connection.isolation_level = before
