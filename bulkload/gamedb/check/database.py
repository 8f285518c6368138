"""What is in the database: read in the order of the items by a few streams at once, and put together item by item."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import chain, groupby
from operator import itemgetter
from typing import TypeVar

import attrs
import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow, tuple_row

from bulkload import ServerError, load_statements
from bulkload.gamedb.check import files
from bulkload.gamedb.check.content import (
    Action,
    AnimationMesh,
    AttackDefense,
    Content,
    Criterion,
    Item,
    ItemSource,
    Mob,
    Pair,
    Perk,
    ShopHash,
    Source,
    SourceKey,
    Spell,
    SpellData,
    Symbiant,
    Term,
    canonical,
    digest,
)

_K = TypeVar("_K")
_V = TypeVar("_V")

# Rows that a stream fetches at once. Six are open together, and a row takes a kilobyte or two.
_FETCHED = 2000


def actual(connection: psycopg.Connection, schema: str = "public") -> Content:
    """What the database holds, seen in one snapshot unless the connection is in a transaction already.

    The connection must stay open for as long as the content is compared: what differs is read again. Raises
    ServerError.
    """
    reader = _Reader(connection, schema)
    with _refusals(), _snapshot(connection):
        digests: dict[int, bytes] = {}
        twice: set[int] = set()
        for item in reader.items(None):
            if item.aoid in digests:
                twice.add(item.aoid)
            digests[item.aoid] = digest(canonical(item))
        faults = [
            f"{table}: id {first}{_and_more(count)} without {lack}"
            for table, lack, count, first in reader.rows("orphans")
            if count
        ]
        if twice:
            faults.append(f"items: AOID {min(twice)}{_and_more(len(twice))} in several rows")
        return Content(
            items=digests,
            stat_values=frozenset(reader.stat_values().values()),
            criteria=frozenset(reader.criteria().values()),
            source_types=frozenset(name for (name,) in reader.rows("source_types")),
            mobs=_grouped(((mob.name, mob.playfield), mob) for mob in map(_mob, reader.rows("mobs"))),
            sources=_grouped((source.key, source) for source in map(_source, reader.rows("sources"))),
            symbiant_items=_grouped((aoid, Symbiant(*columns)) for aoid, *columns in reader.rows("symbiant_items")),
            rows=dict(reader.rows("rows")),
            faults=tuple(faults),
            details=reader.details,
        )


def _and_more(count: int) -> str:
    return f" and {count - 1} more" if count > 1 else ""


@contextmanager
def _refusals() -> Generator[None, None, None]:
    try:
        yield
    except psycopg.Error as error:
        raise ServerError.of(error, "reading the content") from error


@contextmanager
def _snapshot(connection: psycopg.Connection) -> Generator[None, None, None]:
    if connection.info.transaction_status != TransactionStatus.IDLE:
        # The caller's own transaction: its isolation is the caller's choice, and cannot be changed any more.
        with connection.transaction():
            yield
        return
    isolation, read_only = connection.isolation_level, connection.read_only
    connection.isolation_level, connection.read_only = psycopg.IsolationLevel.REPEATABLE_READ, True
    try:
        with connection.transaction():
            yield
    finally:
        # Of a connection that broke nothing can be set, and nothing need be.
        if not connection.closed:
            connection.isolation_level, connection.read_only = isolation, read_only


@attrs.frozen
class _Reader:
    """Runs the statements and makes values of their rows."""

    connection: psycopg.Connection
    schema: str

    def rows(self, block: str, **parameters: object) -> list[TupleRow]:
        """All rows of a statement."""
        with self.connection.cursor(row_factory=tuple_row) as cursor:
            return cursor.execute(self._statement(block), parameters).fetchall()

    def stream(self, block: str, items: Sequence[int] | None) -> Generator[TupleRow, None, None]:
        """The rows of a statement as the server makes them."""
        with self.connection.cursor(f"bulkload_check_{block}", row_factory=tuple_row) as cursor:
            cursor.execute(self._statement(block), {"items": items}, binary=True)
            # Not by iterating the cursor, which costs as much a row as all that is done with the row.
            while rows := cursor.fetchmany(_FETCHED):
                yield from rows

    def stat_values(self) -> dict[int, Pair]:
        """The table, by id."""
        return {row_id: (stat, value) for row_id, stat, value in self.rows("stat_values")}

    def criteria(self) -> dict[int, Criterion]:
        """The table, by id."""
        return {row_id: (value1, value2, operator) for row_id, value1, value2, operator in self.rows("criteria")}

    def items(self, ids: Sequence[int] | None) -> Iterator[Item]:
        """The items with these ids, None all, in the order of their ids."""
        shared = _Shared(self.stat_values(), self.criteria())
        self.rows("prefer_whole_result")
        with ExitStack() as opened:

            def stream(block: str) -> Iterator[TupleRow]:
                return opened.enter_context(closing(self.stream(block, ids)))

            stats = _ByItem(stream("item_stats"))
            actions = _ByItem(stream("actions"))
            spells = _ByItem(stream("spells"))
            shop_hash = _ByItem(stream("shop_hash"))
            sources = _ByItem(stream("item_sources"))
            for row in stream("items"):
                item_id, *columns = row[:7]
                aoid, name, ql, description, item_class, is_nano = columns
                yield Item(
                    aoid,
                    name,
                    ql,
                    description,
                    item_class,
                    is_nano,
                    shared.pairs(chain.from_iterable(found for _, found in stats.of(item_id))),
                    shared.attack_defense(*row[7:10]),
                    shared.animation_mesh(*row[10:13]),
                    tuple(shared.action(*columns) for _, *columns in actions.of(item_id)),
                    shared.spell_data(spells.of(item_id)),
                    tuple(ShopHash(*columns) for _, *columns in shop_hash.of(item_id)),
                    _perk(row[13:]),
                    tuple(sorted(map(_item_source, sources.of(item_id)), key=canonical)),
                )

    def details(self, wanted: Collection[int]) -> Mapping[int, Item]:
        """See `Content.details`."""
        with _refusals(), _snapshot(self.connection):
            ids = [item_id for (item_id,) in self.rows("item_ids", aoids=list(wanted))]
            return {item.aoid: item for item in self.items(ids)}

    def _statement(self, block: str) -> sql.Composed:
        return load_statements("gamedb/check")[block].format(schema=sql.Identifier(self.schema))


class _ByItem:
    """Hands out the rows of a stream item by item; the items must be asked for in their order."""

    def __init__(self, rows: Iterator[TupleRow]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    def of(self, item_id: int) -> list[TupleRow]:
        """The rows whose first column is this id. Those of ids that were passed over are dropped."""
        found: list[TupleRow] = []
        row = self._next
        while row is not None and row[0] <= item_id:
            if row[0] == item_id:
                found.append(row)
            row = next(self._rows, None)
        self._next = row
        return found


@attrs.frozen
class _Shared:
    """The shared tables, by which ids become values. An id that is not there adds nothing: it shows as missing."""

    stat_values: Mapping[int, Pair]
    by_criterion: Mapping[int, Criterion]

    def pairs(self, ids: Iterable[int]) -> frozenset[Pair]:
        return frozenset(filter(None, map(self.stat_values.get, ids)))

    def criteria(self, ids: Iterable[int] | None) -> frozenset[Criterion]:
        return frozenset(filter(None, map(self.by_criterion.get, ids or ())))

    def attack_defense(
        self, row_id: int | None, attack: Sequence[int] | None, defense: Sequence[int] | None
    ) -> AttackDefense | None:
        return None if row_id is None else AttackDefense(self.pairs(attack or ()), self.pairs(defense or ()))

    def animation_mesh(self, row_id: int | None, animation: int | None, mesh: int | None) -> AnimationMesh | None:
        return None if row_id is None else AnimationMesh(self._pair(animation), self._pair(mesh))

    def _pair(self, row_id: int | None) -> Pair | None:
        return None if row_id is None else self.stat_values.get(row_id)

    def action(self, action: int | None, ids: Sequence[int] | None, places: Sequence[int] | None) -> Action:
        found = zip(places or (), ids or (), strict=True)
        return Action(
            action,
            tuple(Term(place, self.by_criterion[row_id]) for place, row_id in found if row_id in self.by_criterion),
        )

    def spell_data(self, rows: Iterable[TupleRow]) -> tuple[SpellData, ...]:
        return tuple(
            SpellData(event, tuple(self._spell(row) for row in spells if row[3] is not None))
            for (_, event), spells in groupby(rows, key=itemgetter(1, 2))
        )

    def _spell(self, row: TupleRow) -> Spell:
        target, tick_count, tick_interval, spell_id, spell_format, params, criteria = row[4:]
        return Spell(
            target,
            tick_count,
            tick_interval,
            spell_id,
            spell_format,
            None if params is None else files.parsed(params),
            self.criteria(criteria),
        )


def _perk(row: TupleRow) -> Perk | None:
    item_id, name, perk_series, counter, kind, level_required, ai_level_required, professions, breeds = row
    if item_id is None:
        return None
    ids = _tuple(professions), _tuple(breeds)
    return Perk(name, perk_series, counter, kind, level_required, ai_level_required, *ids)


def _item_source(row: TupleRow) -> ItemSource:
    _, kind, name, mob, playfield, drop_rate, min_ql, max_ql, conditions, metadata = row
    key = _source_key(kind, name, mob, playfield)
    return ItemSource(key, drop_rate, min_ql, max_ql, conditions, _metadata(metadata))


def _mob(row: TupleRow) -> Mob:
    name, level, playfield, location, mob_names, is_pocket_boss, metadata = row
    return Mob(name, level, playfield, location, _tuple(mob_names), is_pocket_boss, _metadata(metadata))


def _source(row: TupleRow) -> Source:
    *key, metadata = row
    return Source(_source_key(*key), _metadata(metadata))


def _source_key(kind: str | None, name: str, mob: str | None, playfield: str | None) -> SourceKey:
    return SourceKey(kind, name, None if mob is None else (mob, playfield))


def _tuple(values: list[_V] | None) -> tuple[_V, ...] | None:
    return None if values is None else tuple(values)


def _metadata(text: str | None) -> str | None:
    return None if text is None else canonical(files.parsed(text))


def _grouped(pairs: Iterable[tuple[_K, _V]]) -> Mapping[_K, tuple[_V, ...]]:
    found: dict[_K, tuple[_V, ...]] = {}
    for key, value in pairs:
        found[key] = (*found.get(key, ()), value)
    return found
