"""What all tests share: a server for the session, and a database of its own for each test that wants one."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator

import psycopg
import pytest
from hypothesis import settings

from bulkload import statements
from tests import faults
from tests import server as servers


def pytest_configure() -> None:
    # A run that is told to end, by `timeout` say, ends like an interrupted one: what it has started is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A shell has its background jobs ignore interrupts, and they would hand that on to the processes that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


# A shared machine may be slow at any moment. What decides whether a change is taken must be the same twice; examples of
# chance are for whoever runs the tests at home.
settings.register_profile("home", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "home")


def pytest_report_header() -> str:
    return f"server: {servers.description()}"


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are started without coverage, which never lets go of a lock that it was interrupted with, and hangs."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture(scope="session")
def server() -> Generator[str]:
    """How to connect to the server as a user who may create databases."""
    with servers.running() as conninfo:
        yield conninfo


@pytest.fixture(scope="session")
def template(server: str) -> Generator[str]:
    """The name of an empty database, to be copied."""
    with servers.database(server) as conninfo:
        yield servers.name_of(conninfo)


@pytest.fixture(scope="session")
def gamedb_template(server: str) -> Generator[str]:
    """The name of a database with the items database's empty tables, to be copied."""
    with servers.database(server) as conninfo:
        blocks = statements.load("gamedb/schema")
        with psycopg.connect(conninfo) as connection:
            for name in ("tables", "indexes", "views"):
                connection.execute(blocks[name].text)
        yield servers.name_of(conninfo)


@pytest.fixture
def database(server: str, template: str) -> Generator[str]:
    """How to connect to an empty database that is this test's own."""
    with servers.database(server, template) as conninfo:
        yield conninfo


@pytest.fixture
def gamedb_database(server: str, gamedb_template: str) -> Generator[str]:
    """How to connect to an items database without items that is this test's own."""
    with servers.database(server, gamedb_template) as conninfo:
        yield conninfo


@pytest.fixture
def connection(database: str) -> Generator[psycopg.Connection[tuple[object, ...]]]:
    """A connection to this test's empty database, in autocommit mode."""
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if faults.TALLY:
        terminalreporter.section("faults and what came of them")
        for line in faults.table():
            terminalreporter.write_line(line)
