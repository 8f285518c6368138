"""What the records of earlier loads looked like, kept in the database that they were loaded into.

A fingerprint is a digest of a record, the id of the row that it is a version of, and the version that the row had when
the load was done with it. Every load that replaces a row writes it anew, be it the same, so that no other fingerprint
of the row counts any more: what counts is never older than what is in the tables.
"""

from __future__ import annotations

import logging
import struct
from array import array as packed_array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from operator import eq
from typing import NamedTuple, cast

import attrs
import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from bulkload import statements
from bulkload.encoding.packing import Packing
from bulkload.errors import ServerError
from bulkload.ledger import ledger
from bulkload.model.plan import AnyEntity
from bulkload.rows.stream import Array, copy_encoded
from bulkload.server.catalog import Target
from bulkload.server.connection import Connection, refused, transaction

logger = logging.getLogger("bulkload")

_SQL = statements.load("fingerprints")

DIGEST_BYTES = 16
NONE = bytes(DIGEST_BYTES)
"""Stands for a row that is not known to be the only one that its record makes."""

_PIECE = 1 << 16
"""Fingerprints that are kept in a piece, and encoded in one: 1.5 MB, and 2.9 encoded."""
_STORED_ROWS = 1 << 18
"""Fingerprints that are stored by a statement: some 30 MB for as long as it is sent."""

_INT8_OID = 20
_ELEMENTS = Packing(["q"], b"")
_ROWS = Packing(["I", "q", "I", f"{DIGEST_BYTES}s"], struct.pack("!h", 4))


def ensure(connection: Connection) -> None:
    """Create the table where there is none, unless the role may not; nothing in a transaction of the caller's.

    Raises ServerError.
    """
    if connection.info.transaction_status != TransactionStatus.IDLE or _usable(connection) is not None:
        return
    try:
        ledger.ensure(connection)
        with refused("creating bulkload.fingerprints"), transaction(connection):
            connection.execute(_SQL["one_maker"].text)
            connection.execute(_SQL["create_fingerprints"].text)
    except ServerError as error:
        if error.sqlstate != psycopg.errors.InsufficientPrivilege.sqlstate:
            raise
        logger.info("records that come again unchanged will be written again: %s", error)


def usable(connection: Connection) -> bool:
    """Whether there is a table for fingerprints, and this role may use it. Raises ServerError."""
    return _usable(connection) is True


def _usable(connection: Connection) -> bool | None:
    with refused("looking for bulkload.fingerprints"):
        row = connection.execute(_SQL["usable"].text).fetchone()
    return None if row is None or row[0] is None else row[0] is True


def tables(connection: Connection, targets: Sequence[Target]) -> str | None:
    """What these tables are, in words that are others when one of them was emptied, rewritten or made anew since.

    None where the versions of the rows of the first one are not this role's to read. Raises ServerError.
    """
    with refused("reading the catalog"):
        row = connection.execute(_SQL["tables"].text, {"relations": [each.oid for each in targets]}).fetchone()
    return str(row[0]) if row is not None and row[1] is True else None


def stored(connection: Connection, entity: AnyEntity, target: Target) -> bytes:
    """The digests of all records whose rows are as they were left, sorted, one after the other. Raises ServerError."""
    with refused(f"reading the fingerprints of {target}"), connection.cursor(binary=True) as cursor:
        row = cursor.execute(_statement("stored", entity, target), {"relation": target.oid}).fetchone()
    return row[0] if row is not None and isinstance(row[0], bytes) else b""


def remove(connection: Connection, target: Target, ids: Sequence[int]) -> None:
    """Have no fingerprint of these rows count, whatever their version is. Raises ServerError."""
    if _usable(connection) is not None:
        with refused(f"removing fingerprints of {target}"):
            connection.execute(_SQL["remove"].text, {"relation": target.oid, "ids": list(ids)})


@attrs.frozen(eq=False)
class _Notes:
    """Fingerprints that are not stored yet: 24 bytes each, and many in a piece.

    Many small pieces that stay would keep what is free between them from being used again, and so would large ones that
    are moved as they grow.
    """

    ids: packed_array[int] = attrs.field(factory=lambda: packed_array("q"))
    digests: bytearray = attrs.field(factory=bytearray)


class Noted(NamedTuple):
    """Some of them."""

    notes: _Notes
    first: int
    beyond: int


class Fingerprints:
    """The fingerprints that a load makes of the rows of some entities."""

    def __init__(self, connection: Connection, targets: Mapping[AnyEntity, Target]) -> None:
        self._connection = connection
        self._targets = targets
        self._noted: dict[AnyEntity, list[_Notes]] = {}
        self._dirty: set[AnyEntity] = set()

    @property
    def entities(self) -> Collection[AnyEntity]:
        """Those of which fingerprints are made."""
        return self._targets.keys()

    def note(self, entity: AnyEntity, ids: Sequence[int], digests: bytes) -> Noted:
        """Rows that are written, or are about to be, with the digests of their records, or `NONE`."""
        noted = self._noted.setdefault(entity, [])
        if not noted or len(noted[-1].ids) >= _PIECE:
            noted.append(_Notes())
        notes = noted[-1]
        first = len(notes.ids)
        notes.ids.extend(ids)
        notes.digests.extend(digests)
        return Noted(notes, first, len(notes.ids))

    @property
    def many(self) -> bool:
        """Whether so much is noted that it is better stored, where rows are not written again."""
        return sum(len(notes.ids) for noted in self._noted.values() for notes in noted) >= _STORED_ROWS

    def has_stored(self, entity: AnyEntity) -> bool:
        """Whether any of an entity were stored in this load."""
        return entity in self._dirty

    def note_all(self, rows: Iterable[tuple[AnyEntity, Sequence[int], bytes]]) -> None:
        """As `note`, of rows of several entities."""
        for each in rows:
            self.note(*each)

    def forget(self, noted: Noted) -> None:
        """The rows were not written after all."""
        notes, first, beyond = noted
        notes.digests[first * DIGEST_BYTES : beyond * DIGEST_BYTES] = NONE * (beyond - first)

    def store(self, of_one: Callable[[Target], bool] = lambda _target: False) -> None:
        """Store what was noted, in the transaction that the rows are written in, or after that. Raises ServerError.

        `of_one` says of a table that this is the transaction that writes all of its rows, outside any savepoint: then
        it is known which version they are.
        """
        noted, self._noted = self._noted, {}
        for entity, pieces in noted.items():
            self._dirty.add(entity)
            for ids, digests in _by_range([each for each in pieces if each.ids]):
                if of_one(self._targets[entity]) and _are_plain(ids, digests):
                    self._copy(entity, ids, digests)
                else:
                    self._insert(entity, ids, digests)

    def _copy(self, entity: AnyEntity, ids: Sequence[int], digests: bytes) -> None:
        """A quarter of the time of `_insert`, with no look at the rows: of one that is not there, none counts."""
        target = self._targets[entity]
        with refused(f"storing the fingerprints of {target}"):
            row = self._connection.execute(_SQL["this_version"].text).fetchone()
            assert row is not None  # noqa: S101 - it is a SELECT of one row
            blocks = _encoded(target.oid, ids, cast("int", row[0]), digests)
            copy_encoded(self._connection, _SQL["copy"].format(), blocks)

    def _insert(self, entity: AnyEntity, ids: Sequence[int], digests: bytes) -> None:
        target = self._targets[entity]
        parameters = {
            "relation": target.oid,
            "first": min(ids),
            "last": max(ids),
            "ids": _array(ids),
            "digests": digests,
            "none": NONE,
        }
        with refused(f"storing the fingerprints of {target}"):
            self._connection.execute(_statement("store", entity, target), parameters)

    def finish(self, of_one: Callable[[Target], bool]) -> None:
        """Store the rest, as in `store`, and remove what counts no longer; once more where that was undone.

        Raises ServerError.
        """
        noted = self._noted
        try:
            self._finish(of_one)
        except BaseException:
            self._noted = noted
            raise
        self._dirty.clear()

    def _finish(self, of_one: Callable[[Target], bool]) -> None:
        self._dirty.update(self._noted)
        for entity in sorted(self._dirty, key=lambda entity: entity.name):
            target = self._targets[entity]
            with refused(f"removing fingerprints of {target}"):
                self._connection.execute(_statement("sweep", entity, target), {"relation": target.oid})
        self.store(of_one)


def _are_plain(ids: Sequence[int], digests: bytes) -> bool:
    """Whether there is one digest for each row; it may be that some with a zero in them are not seen to be any."""
    ordered = sorted(ids)
    return 0 not in packed_array("Q", digests) and not any(map(eq, ordered, islice(ordered, 1, None)))


def _encoded(relation: int, ids: Sequence[int], version: int, digests: bytes) -> Iterator[bytes]:
    """Rows of the table of fingerprints, a block at a time."""
    for begin in range(0, len(ids), _PIECE):
        some = ids[begin : begin + _PIECE]
        count = len(some)
        data = digests[begin * DIGEST_BYTES : (begin + count) * DIGEST_BYTES]
        yield _ROWS.rows([[relation] * count, some, [version] * count, data], count)


def _by_range(pieces: Sequence[_Notes]) -> Iterator[tuple[Sequence[int], bytes]]:
    """The ids and digests of all rows, in the order of their notes, some at a time: all notes of a row together."""
    bounds = [(min(each.ids), max(each.ids)) for each in pieces]
    if not bounds:
        return
    count = -(-sum(len(each.ids) for each in pieces) // _STORED_ROWS)
    low, high = min(first for first, _ in bounds), max(last for _, last in bounds)
    width = (high - low) // count + 1
    for begin in range(low, high + 1, width):
        wanted = range(begin, begin + width)
        ids, digests = packed_array("q"), bytearray()
        for piece, (first, last) in zip(pieces, bounds, strict=True):
            if first in wanted and last in wanted:
                ids.extend(piece.ids)
                digests.extend(piece.digests)
            elif first < wanted.stop and last >= begin:
                for row, row_id in enumerate(piece.ids):
                    if row_id in wanted:
                        ids.append(row_id)
                        digests += piece.digests[row * DIGEST_BYTES : (row + 1) * DIGEST_BYTES]
        if ids:
            yield ids, bytes(digests)


def _array(ids: Sequence[int]) -> Array:
    # As an array has its elements: each behind its length.
    return Array(struct.pack("!iiIii", 1, 0, _INT8_OID, len(ids), 1) + _ELEMENTS.rows([ids], len(ids)))


def _statement(block: str, entity: AnyEntity, target: Target) -> sql.Composed:
    return _SQL[block].format(target=target.identifier, id=sql.Identifier(entity.id_column))
