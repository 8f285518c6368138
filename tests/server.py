"""The PostgreSQL server that the tests run on.

It is the one that BULKLOAD_TEST_DSN names (its user must be allowed to create databases); or else one in Docker, where
a Docker engine answers, from the image BULKLOAD_TEST_IMAGE (postgres:17); or else the embedded one.
"""

from __future__ import annotations

import gc
import os
import secrets
import tempfile
import warnings
from collections.abc import Generator
from contextlib import closing, contextmanager
from enum import Enum
from functools import cache
from pathlib import Path

import psycopg
import requests
from docker import DockerClient
from docker.errors import DockerException
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.docker_client import get_docker_host

from bulkload import embedded

_DSN = os.environ.get("BULKLOAD_TEST_DSN", "")
_IMAGE = os.environ.get("BULKLOAD_TEST_IMAGE", "postgres:17")

# Nothing here outlives the run, so that nothing needs to be safe on disk.
_HASTY = {"fsync": "off", "full_page_writes": "off"}


class Kind(Enum):
    """Where the server comes from."""

    NAMED = "named"
    DOCKER = "docker"
    EMBEDDED = "embedded"


@cache
def chosen() -> Kind:
    """The kind of server that this run uses."""
    if _DSN:
        return Kind.NAMED
    return Kind.DOCKER if _docker_answers() else Kind.EMBEDDED


def description() -> str:
    """What is chosen, for the head of the report; no password is shown."""
    match chosen():
        case Kind.NAMED:
            named = conninfo_to_dict(_DSN)
            return f"the one of BULKLOAD_TEST_DSN ({named.get('host', 'local')}:{named.get('port', 5432)})"
        case Kind.DOCKER:
            return f"Docker, image {_IMAGE}"
        case Kind.EMBEDDED:
            return "embedded PostgreSQL (no BULKLOAD_TEST_DSN, no Docker engine answers)"


@contextmanager
def running() -> Generator[str]:
    """Start the server; how to connect to it as a user who may create databases."""
    match chosen():
        case Kind.NAMED:
            yield _DSN
        case Kind.DOCKER:
            options = " ".join(f"-c {name}={value}" for name, value in _HASTY.items())
            container = PostgresContainer(_IMAGE, driver=None).with_command(f"postgres {options}")
            with container:
                yield container.get_connection_url()
        case Kind.EMBEDDED:
            with (
                tempfile.TemporaryDirectory(prefix="bulkload-") as directory,
                embedded.start(Path(directory), _HASTY) as server,
            ):
                yield server.conninfo


@contextmanager
def database(server: str, template: str = "template0") -> Generator[str]:
    """A database of its own, made as a copy and dropped at the end; how to connect to it."""
    # Runs at the same time on one server do not get into each other's way.
    name = f"bulkload_test_{os.getpid()}_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        # Other encodings than the template's are for template0 alone.
        encoding = sql.SQL("ENCODING 'UTF8'" if template == "template0" else "")
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {} {}")
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(template), encoding))
        try:
            yield make_conninfo(server, dbname=name)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def name_of(conninfo: str) -> str:
    """The name of the database that a conninfo string is about."""
    return str(conninfo_to_dict(conninfo)["dbname"])


def _docker_answers() -> bool:
    host = get_docker_host() or "unix:///var/run/docker.sock"
    if host.startswith("unix://") and not Path(host.removeprefix("unix://")).exists():
        return False
    with warnings.catch_warnings():
        # Where nobody answers, the library leaves its socket open, and that would be reported as some test's error.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            # With a version given, the client does not ask for it when it is made, and can be closed.
            with closing(DockerClient(host, version="1.41", timeout=5)) as client:
                return bool(client.ping())
        except (DockerException, requests.RequestException):
            return False
        finally:
            gc.collect()
