"""The floors: the rows of a finished database put into a new one by PostgreSQL's own programs.

They read no documents, map nothing and draw no ids, so that no loader of documents can be expected to pass them.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

import attrs
import psycopg
from psycopg import sql

from bench.common import program
from bulkload import gamedb

RESTORE_2 = "pg_restore -j2"
RESTORE_1 = "pg_restore -j1"
COPY = "COPY"
_JOBS = {RESTORE_2: 2, RESTORE_1: 1}


@attrs.frozen
class Floors:
    """What is kept of a finished database, as each floor wants it."""

    dump: Path
    """By pg_dump, a directory."""
    script: Path
    """Copies every table from a file of the server's."""

    @classmethod
    def of(cls, conninfo: str, tables: Iterable[str], directory: Path) -> Floors:
        """Dump a database, and write each of these tables to a file."""
        floors = cls(directory / "dump", directory / "copy.sql")
        # What bulkload notes of its loads is no part of the content.
        command = [program("pg_dump"), "-Fd", "-j2", "--exclude-schema=bulkload", f"--file={floors.dump}", conninfo]
        subprocess.run(command, check=True)
        rows = directory / "rows"
        rows.mkdir()
        statements: list[str] = []
        with psycopg.connect(conninfo, autocommit=True) as connection:
            for table in tables:
                name, file = sql.Identifier(table), sql.Literal(str(rows / table))
                connection.execute(sql.SQL("COPY {} TO {} (FORMAT binary)").format(name, file))
                statements.append(
                    sql.SQL("COPY {} FROM {} (FORMAT binary);\n").format(name, file).as_string(connection)
                )
        floors.script.write_text("".join(statements))
        return floors

    def prepare(self, name: str, conninfo: str) -> None:
        """Make what the floor expects in a new database: nothing, or the tables without keys and indexes."""
        if name == COPY:
            command = [program("pg_restore"), "--section=pre-data", f"--dbname={conninfo}", str(self.dump)]
            subprocess.run(command, check=True)
            with psycopg.connect(conninfo, autocommit=True) as connection:
                gamedb.refresh_views(connection)

    def command(self, name: str, conninfo: str) -> list[str]:
        """The command that fills the database."""
        if name == COPY:
            options = ["--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1"]
            return [program("psql"), *options, f"--dbname={conninfo}", f"--file={self.script}"]
        return [program("pg_restore"), f"--jobs={_JOBS[name]}", f"--dbname={conninfo}", str(self.dump)]
