"""Rows with a key: which of them exist, the insertion of those that do not, the update of those that do."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, cast

import psycopg
from psycopg import sql

from bulkload import statements
from bulkload.encoding.columns import Column
from bulkload.encoding.encode import Encoder
from bulkload.encoding.keys import EXACT_TYPES, normal
from bulkload.model.plan import AnyEntity, AnyRelation, Plan
from bulkload.model.report import Report
from bulkload.model.tables import Entity, Key, Replace, Update
from bulkload.rows.stream import Source, parameters
from bulkload.server.catalog import Target, estimated_rows
from bulkload.server.connection import Connection, refused

logger = logging.getLogger("bulkload")

_SQL = statements.load("load")

# Keys of one table that are held in memory: some 200 bytes each (pairs of integers). Beyond, the server is asked for
# the keys of each batch.
_MOST_KEYS = 1_000_000

Values = Sequence[Sequence[object]]
"""One sequence a column."""


class Merge:
    """The statements for one relation with a conflict rule.

    `encoder` is for all columns that are written, the id first where there is one; `Values` are in that order.
    """

    def __init__(self, connection: Connection, relation: AnyRelation, target: Target, encoder: Encoder) -> None:
        self._connection = connection
        self._target = target
        self._encoder = encoder
        self._keys = Encoder(relation.name, [target.columns[name] for name in relation.key])
        self._key_places = [[column.name for column in encoder.columns].index(name) for name in relation.key]
        self._id = sql.Identifier(relation.id_column) if isinstance(relation, Entity) else None
        self._whole = isinstance(relation.conflict, Replace)
        self._insert_only = relation.conflict.insert_only if isinstance(relation.conflict, Update) else ()
        self.has_arbiter = frozenset(relation.key) in target.unique_keys
        """Whether a unique index guards the key, so that ON CONFLICT can be used."""

    def match(self, values: Values, *, lock: bool = False) -> dict[int, int]:
        """The rows (counted from 0) whose key exists, with the ids of those that have it: the newest, if several do.

        Without an id column the ids are 0. With `lock`, nobody deletes these rows until the transaction ends.
        """
        arrays = self._keys.arrays([values[place] for place in self._key_places])
        with refused(f"looking up keys of {self._target}"):
            rows = self._connection.execute(self._match[lock], parameters(arrays)).fetchall()
        found: dict[int, int] = {}
        for place, identifier in cast("list[tuple[int, int]]", rows):
            found[place - 1] = max(identifier, found.get(place - 1, identifier))
        return found

    def insert(self, values: Values) -> int:
        """Insert rows whose key was not there; returns how many were, which is fewer where one came in between."""
        source = Source(self._encoder)
        block = _SQL["insert_new_keys"] if self.has_arbiter else _SQL["insert_rows"]
        statement = block.format(
            target=self._target.identifier,
            columns=sql.SQL(", ").join(source.names),
            values=sql.SQL(", ").join(source.values),
            source=source.relation,
            key=sql.SQL(", ").join(source.names[place] for place in self._key_places),
            order=sql.SQL(", ").join(sql.SQL("source.{}").format(source.names[place]) for place in self._key_places),
            id=source.names[0],
        )
        with refused(f"INSERT into {self._target}", self._target.name):
            return self._connection.execute(statement, parameters(self._encoder.arrays(values))).rowcount

    def update(self, arrays: Iterable[bytes]) -> int:
        """Bring rows that exist up to date, given as `Encoder.arrays`; returns how many were written.

        Those that do not differ are not; but of rows that are replaced whole, all are, since what belongs to them may.
        """
        if self._update is None:
            return 0
        with refused(f"UPDATE of {self._target}", self._target.name):
            return self._connection.execute(self._update, parameters(arrays)).rowcount

    @cached_property
    def _match(self) -> Mapping[bool, sql.Composed]:
        """Without and with locks, which are taken in the order of the keys."""
        source = Source(self._keys, place=True)
        parts = {
            "source": source.relation,
            "target": self._target.identifier,
            "id": sql.SQL("target.{}").format(self._id) if self._id is not None else sql.SQL("0"),
            "on": _equal(source.names, source.values),
        }
        order = sql.SQL(", ").join(sql.SQL("target.{}").format(name) for name in source.names)
        return {
            False: _SQL["match_keys"].format(**parts),
            True: _SQL["match_and_lock_keys"].format(**parts, order=order),
        }

    @cached_property
    def _update(self) -> sql.Composed | None:
        source = Source(self._encoder)
        found_by = {0} if self._id is not None else set(self._key_places)
        staying = {*found_by, *self._key_places}
        places = [
            place
            for place, column in enumerate(self._encoder.columns)
            if place not in staying and column.name not in self._insert_only
        ]
        if self._whole and not places:
            places = self._key_places
        if not places:
            return None
        comparable = ["text" if self._encoder.columns[place].type.base == "json" else "" for place in places]
        before = [
            sql.SQL("target.{}" + ("::text" if cast else "")).format(source.names[place])
            for place, cast in zip(places, comparable, strict=True)
        ]
        after = [
            sql.SQL("{}" + ("::text" if cast else "")).format(source.values[place])
            for place, cast in zip(places, comparable, strict=True)
        ]
        return _SQL["replace_rows" if self._whole else "update_rows"].format(
            target=self._target.identifier,
            source=source.relation,
            assignments=sql.SQL(", ").join(
                sql.SQL("{} = {}").format(source.names[place], source.values[place]) for place in places
            ),
            on=_equal([source.names[p] for p in sorted(found_by)], [source.values[p] for p in sorted(found_by)]),
            before=sql.SQL(", ").join(before),
            after=sql.SQL(", ").join(after),
        )


def _equal(names: Iterable[sql.Identifier], values: Iterable[sql.Composed]) -> sql.Composed:
    pairs = zip(names, values, strict=True)
    return sql.SQL(" AND ").join(sql.SQL("target.{} = {}").format(name, value) for name, value in pairs)


def read_keys(connection: Connection, target: Target, id_column: str, key: Sequence[str]) -> dict[Key, int] | None:
    """The id of every key of a table, the newest where several rows have it; None where there are too many to hold.

    Also None for a key whose values Python does not compare as the server does, or cannot hold.
    """
    columns = [target.columns[name] for name in key]
    if not can_be_held(connection, target, key):
        return None
    with refused(f"reading the keys of {target}"):
        statement = _SQL["read_keys"].format(
            id=sql.Identifier(id_column),
            key=sql.SQL(", ").join(map(sql.Identifier, key)),
            target=target.identifier,
            limit=sql.Placeholder("limit"),
        )
        with connection.cursor(binary=True) as cursor:
            cursor.execute(statement, {"limit": _MOST_KEYS + 1})
            try:
                rows = cast("list[tuple[Any, ...]]", cursor.fetchall())
            except psycopg.DataError:
                # A date before the year 1, or infinity.
                return None
    if len(rows) > _MOST_KEYS:
        return None
    return _by_key(rows, columns)


def can_be_held(connection: Connection, target: Target, key: Sequence[str]) -> bool:
    """Whether the keys of a table can be held in memory, as far as that can be said without reading them.

    Raises ServerError.
    """
    if not EXACT_TYPES.issuperset(target.columns[name].type.base for name in key):
        return False
    with refused(f"counting the rows of {target}"):
        believed = estimated_rows(connection, target)[0]
        if believed >= 0:
            return believed <= _MOST_KEYS
        # To read them would take the memory that is to be saved.
        statement = _SQL["count_rows"].format(target=target.identifier, limit=sql.Placeholder("limit"))
        row = connection.execute(statement, {"limit": _MOST_KEYS + 1}).fetchone()
    return row is None or int(str(row[0])) <= _MOST_KEYS


def _by_key(rows: Sequence[tuple[Any, ...]], columns: Sequence[Column]) -> dict[Key, int]:
    made = normal(columns)
    if made is not None:
        return {made(row[1] if len(columns) == 1 else row[1:]): row[0] for row in rows}
    if len(columns) == 1:
        return {value: identifier for identifier, value in rows}
    return {row[1:]: row[0] for row in rows}


def read_existing(
    connection: Connection, plan: Plan, targets: Mapping[AnyRelation, Target], report: Report
) -> dict[AnyEntity, dict[Key, int]]:
    """As `read_keys`, of all entities with a conflict rule whose keys can be held."""
    keyed = [relation for relation in plan if relation.conflict is not None]
    if not keyed:
        return {}
    with report.phase("read existing rows"):
        existing: dict[AnyEntity, dict[Key, int]] = {}
        for relation in keyed:
            if isinstance(relation, Entity):
                keys = read_keys(connection, targets[relation], relation.id_column, relation.key)
                if keys is not None:
                    existing[relation] = keys
    rows = sum(map(len, existing.values()))
    logger.info("existing rows read: %d", rows, extra={"rows": rows})
    return existing


def lockable(connection: Connection, relations: Mapping[AnyRelation, Target]) -> frozenset[AnyRelation]:
    """Those relations of whose tables this role may lock rows. Raises ServerError."""
    with refused("reading which rights this role has"):
        rows = connection.execute(_SQL["lockable"].text, {"relations": [each.oid for each in relations.values()]})
        found = {oid for (oid,) in rows}
    return frozenset(relation for relation, target in relations.items() if target.oid in found)
