"""Secondary indexes dropped before a load and built after it, as many importers do; keys and foreign keys stay.

Nothing remembers them where the load fails.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from bulkload import Statements

_SQL = Statements(Path(__file__).with_name("indexes.sql"))


@contextmanager
def dropped(dsn: str) -> Generator[None]:
    """The secondary indexes are away inside."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        found = connection.execute(_SQL["secondary"].text).fetchall()
        names = sql.SQL(", ").join(sql.Identifier(name) for name, _ in found)
        connection.execute(_SQL["drop"].format(indexes=names))
        yield
        connection.execute(_SQL["set_memory"].text)
        # One script: on a long line, a statement at a time would cost more than the smaller indexes.
        connection.execute(";\n".join(definition for _, definition in found))
