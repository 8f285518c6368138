"""The rows that keep a unique index from being built, or a foreign key from holding."""

from __future__ import annotations

import psycopg
from psycopg import sql

from bulkload.errors import one_line
from bulkload.server.connection import Connection
from bulkload.server.definitions import SQL, ForeignKey, Index, server_text


def named(connection: Connection, each: Index | ForeignKey, sqlstate: str) -> str:
    """The keys that are to blame, for a person who must mend them; '' where it is about something else."""
    if sqlstate == psycopg.errors.UniqueViolation.sqlstate and isinstance(each, Index):
        columns = sql.SQL(", ").join(map(server_text, each.keys))
        condition = server_text(each.predicate) if each.predicate else sql.SQL("true")
        statement = SQL["duplicate_keys"].format(keys=columns, table=each.table, condition=condition)
        what = f"; keys of several rows ({', '.join(each.keys)}): "
    elif isinstance(each, ForeignKey) and each.temporal:
        return ""  # several rows together may cover a period: the server names the first one that is not covered
    elif sqlstate == psycopg.errors.ForeignKeyViolation.sqlstate and isinstance(each, ForeignKey):
        pairs = list(zip(each.keys, each.referenced_keys, strict=True))
        statement = SQL["orphans"].format(
            keys=sql.SQL(", ").join(sql.SQL("child.{}").format(server_text(key)) for key in each.keys),
            table=each.table,
            condition=sql.SQL(" AND ").join(
                sql.SQL("child.{} IS NOT NULL").format(server_text(key)) for key in each.keys
            ),
            referenced=sql.Identifier(each.referenced_schema, each.referenced_table),
            match=sql.SQL(" AND ").join(
                sql.SQL("parent.{} = child.{}").format(server_text(there), server_text(here)) for here, there in pairs
            ),
        )
        what = f"; references that lead nowhere ({', '.join(each.keys)}): "
    else:
        return ""
    try:
        rows = connection.execute(statement).fetchall()
    except psycopg.Error as error:
        return one_line(f"; the rows to blame could not be listed: {error}")
    # Other rules than those of equality, as of MATCH FULL, name none.
    return what + ", ".join(f"{key} ({count} rows)" for key, count in rows) if rows else ""
