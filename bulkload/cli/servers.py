"""Which server a command uses."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bulkload import embedded
from bulkload.cli.output import tell
from bulkload.server.connection import Connection, connect, describe

if TYPE_CHECKING:
    from bulkload.cli.arguments import Options

# The variables that say where a server is; https://www.postgresql.org/docs/current/libpq-envars.html
_LIBPQ_VARIABLES = ("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE", "PGSERVICEFILE")


@contextmanager
def connection(options: Options) -> Generator[Connection]:
    """A connection to the server that the user named, or to an embedded one. The first line printed says which."""
    conninfo = options.dsn or os.environ.get("DATABASE_URL")
    if conninfo is None and any(os.environ.get(name) for name in _LIBPQ_VARIABLES):
        conninfo = ""
    if conninfo is not None:
        with connect(conninfo) as opened:
            tell(describe(opened))
            yield opened
        return
    with embedded.start(embedded.DIRECTORY) as server:
        tell(f"embedded PostgreSQL {server.version}, its data in {server.directory}")
        with connect(server.conninfo) as opened:
            yield opened
