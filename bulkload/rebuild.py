"""Indexes, keys and foreign keys of emptied tables: away while rows stream in, back before the commit.

All of it is inside the transaction that emptied the tables, and under the locks which that took already: nobody sees
the tables without them, and a crash leaves the old rows with the old indexes. What comes back is compared with what
was there; a difference undoes the load.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import attrs
from psycopg import sql
from psycopg.rows import class_row

from bulkload import statements
from bulkload.errors import ServerError
from bulkload.report import Report
from bulkload.server import Connection, refused

logger = logging.getLogger("bulkload")

_SQL = statements.load("rebuild")

# Index builds of the largest tables of a full items database sort in memory with it; what a server was given for its
# own maintenance is left alone where it is more.
_BUILD_MEMORY = "256MB"


@attrs.frozen
class Definition:
    """An index or a constraint, in the server's own words."""

    schema: str
    table_name: str
    name: str
    definition: str

    @property
    def _text(self) -> sql.SQL:
        return sql.SQL(self.definition)  # pyright: ignore[reportArgumentType] - it is the server's, not a user's

    def statement(self, block: str) -> sql.Composed:
        """One of the statements of sql/rebuild.sql about a constraint."""
        return _SQL[block].format(
            table=sql.Identifier(self.schema, self.table_name), name=sql.Identifier(self.name), definition=self._text
        )

    @property
    def create_index(self) -> sql.SQL:
        """The statement that makes an index again."""
        return self._text

    @property
    def drop_index(self) -> sql.Composed:
        """The statement that drops it."""
        return _SQL["drop_index"].format(name=sql.Identifier(self.schema, self.name))


class Rebuild:
    """Takes away what slows a load, when it is made; `restore` puts it back.

    `relations` are the oids of tables that were emptied in this transaction, `unkeyed` those among them whose keys the
    load does not need. What is not known to come back exactly is left where it is.
    """

    def __init__(
        self, connection: Connection, relations: Sequence[int], unkeyed: Sequence[int], report: Report
    ) -> None:
        self._connection = connection
        self._report = report
        self._parameters = {"relations": list(relations), "unkeyed": list(unkeyed)}
        with report.phase("drop indexes"), refused("reading and dropping indexes and constraints"):
            self._before = self._catalog()
            self._foreign_keys = self._definitions("droppable_foreign_keys")
            self._keys = self._definitions("droppable_keys")
            self._indexes = self._definitions("droppable_indexes")
            for each in (*self._foreign_keys, *self._keys):
                connection.execute(each.statement("drop_constraint"))
            for each in self._indexes:
                connection.execute(each.drop_index)
        logger.info("dropped until the rows are in: %s", self._counts())

    def restore_indexes(self) -> None:
        """Put keys and indexes back. Raises ServerError, for a duplicate key too, which undoes the load."""
        with self._report.phase("build indexes"):
            with refused("checking deferred constraints"):
                self._connection.execute(_SQL["check_deferred"].text)
                self._connection.execute(_SQL["build_memory"].text, {"size": _BUILD_MEMORY})
            for each in self._keys:
                with refused(f"adding the key {each.name} to {each.schema}.{each.table_name}"):
                    self._connection.execute(each.statement("add_constraint"))
            for each in self._indexes:
                with refused(f"building the index {each.schema}.{each.name}"):
                    self._connection.execute(each.create_index)

    def restore_foreign_keys(self) -> None:
        """Put foreign keys back, and compare the catalog with what it was."""
        with self._report.phase("check foreign keys"):
            for each in self._foreign_keys:
                with refused(f"adding the foreign key {each.name} to {each.schema}.{each.table_name}"):
                    self._connection.execute(each.statement("add_constraint"))
            with refused("comparing the catalog"):
                after = self._catalog()
        if after != self._before:
            lost = "; ".join(sorted(set(self._before) ^ set(after)))
            raise ServerError(f"indexes and constraints would not be as they were, so nothing was changed: {lost}")
        seconds = self._report.phases["build indexes"] + self._report.phases["check foreign keys"]
        logger.info("restored: %s in %.2f s", self._counts(), seconds)

    def _definitions(self, block: str) -> list[Definition]:
        with self._connection.cursor(row_factory=class_row(Definition)) as cursor:
            return cursor.execute(_SQL[block].text, self._parameters).fetchall()

    def _catalog(self) -> list[str]:
        rows = self._connection.execute(_SQL["catalog"].text, self._parameters).fetchall()
        return [str(fact) for (fact,) in rows]

    def _counts(self) -> str:
        kinds: Mapping[str, int] = {
            "indexes": len(self._indexes), "keys": len(self._keys), "foreign keys": len(self._foreign_keys)
        }  # fmt: skip
        return ", ".join(f"{count} {kind}" for kind, count in kinds.items())
