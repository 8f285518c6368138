"""Rows with a key, which may exist: those that do are treated by their rule, the others inserted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from bulkload import statements
from bulkload.encoding.encode import Encoder
from bulkload.errors import ServerError, UsageError
from bulkload.model.mode import Mode
from bulkload.model.plan import AnyEntity, AnyRelation, Plan
from bulkload.model.report import Report
from bulkload.model.tables import Entity, Keep, Replace
from bulkload.rows import fingerprints, ids
from bulkload.rows.fingerprints import Fingerprints
from bulkload.rows.merge import Merge, lockable
from bulkload.rows.ownership import Ownership
from bulkload.rows.stream import Writer
from bulkload.server import retries
from bulkload.server.catalog import Target
from bulkload.server.connection import Connection, refused

_LOCKS = statements.load("locks")

# How often keys that other sessions insert at the same time are looked up again before that is called a fault.
_MOST_ROUNDS = 5

Columns = list[list[object]]
"""The values of rows, a list for each column that is written, the ids first."""


class Settled(NamedTuple):
    """What the keys of an entity's rows stand for."""

    ids: Sequence[int]
    """The id that holds, for each key."""
    owned: Sequence[int]
    """The places of the keys that are new."""


class KeyedRows:
    """Writes rows of the relations of a load, some of which have a conflict rule."""

    def __init__(
        self,
        connection: Connection,
        plan: Plan,
        targets: Mapping[AnyRelation, Target],
        encoders: Mapping[AnyRelation, Encoder],
        sequences: Mapping[AnyEntity, ids.Sequence],
        writer: Writer[Any],
        mode: Mode,
        report: Report,
    ) -> None:
        self._connection = connection
        self._targets = targets
        self._encoders = encoders
        self._sequences = sequences
        self._writer = writer
        self._mode = mode
        self._report = report
        self._ownership = Ownership(connection, plan, targets, report)
        self._merges = {
            relation: Merge(connection, relation, targets[relation], encoders[relation])
            for relation in plan
            if relation.conflict is not None
        }
        self.fingerprints: Fingerprints | None = None
        """Those that the load makes."""
        keyed = {relation: targets[relation] for relation in self._merges}
        self._lockable = lockable(connection, keyed) if mode is Mode.STANDARD and keyed else frozenset[AnyRelation]()
        self._not_locked: list[tuple[AnyRelation, Columns, dict[int, int]]] = []
        """What was found of the batch and others may delete, with the rows that have it and their ids."""
        self._own = {
            relation: [
                relation.written.index(each.column) for each in plan.references[relation] if each.entity is relation
            ]
            for relation in plan
        }
        """The places of the columns that refer to rows of the same table."""

    def send(self, relation: AnyRelation, payload: object) -> None:
        """Insert rows that the writer has encoded."""
        sent = self._writer.send(self._connection, self._targets[relation], self._encoders[relation], payload)
        self._report.tables[relation.name].inserted += sent

    def match_and_insert(self, relation: AnyRelation, values: Columns) -> list[int]:
        """Puts the ids that hold in place of those that were handed out; returns the rows that existed."""
        merge = self._merges[relation]
        lock = self._mode is Mode.STANDARD
        if lock and (self._own[relation] or not merge.has_arbiter):
            # Nothing but a lock keeps others from inserting the same key where there is no unique index on it; and no
            # row must go in that refers to one of another session's making.
            target = self._targets[relation]
            with refused(f"locking {target} against other writers"):
                self._connection.execute(_LOCKS["lock_for_keys"].format(targets=target.identifier))
            lock = False
        locked = lock and relation in self._lockable
        for _ in range(_MOST_ROUNDS):
            if self._own[relation]:
                existing = self._identified(relation, values)
            else:
                existing = self._matched(relation, values, lock=locked)
            if self.insert(relation, values, [row for row in range(len(values[0])) if row not in existing]):
                if existing and lock and not locked:
                    self._not_locked.append((relation, values, existing))
                return sorted(existing)
        raise UsageError(f"{self._targets[relation]}: other sessions keep inserting and deleting the same keys")

    def begin(self) -> None:
        """A batch is about to be written."""
        self._not_locked.clear()

    def end(self) -> None:
        """A batch was written. Raises ServerError where what it refers to is gone, so that it is written once more."""
        for relation, values, existing in self._not_locked:
            if not existing.items() <= self._merges[relation].match(values).items():
                target = self._targets[relation]
                raise ServerError(f"{target}: another session deleted rows that were found", sqlstate=retries.CHANGED)

    def insert(self, relation: AnyRelation, values: Sequence[Sequence[object]], rows: Sequence[int]) -> bool:
        """Insert these rows; False where another session inserted some of their keys meanwhile."""
        if not rows:
            return True
        some = _only(values, rows)
        if self._mode is not Mode.STANDARD:
            self.send(relation, self._writer.encode(self._encoders[relation], some))
            return True
        inserted = self._merges[relation].insert(some)
        self._report.tables[relation.name].inserted += inserted
        return inserted == len(rows)

    def treat_existing(self, relation: AnyRelation, values: Sequence[Sequence[object]], rows: Sequence[int]) -> None:
        """Have these rows treated by their rule."""
        if isinstance(relation.conflict, Keep):
            self._report.tables[relation.name].unchanged += len(rows)
        elif rows:
            some = _only(values, rows)
            row_ids = cast("list[int]", some[0]) if isinstance(relation, Entity) else []
            self._bring_up_to_date(relation, row_ids, len(rows), self._encoders[relation].arrays(some))

    def _matched(self, relation: AnyRelation, values: Columns, *, lock: bool = False) -> dict[int, int]:
        """The rows that exist, with their ids. Fills in the ids, new ones for the others."""
        existing = self._merges[relation].match(values, lock=lock)
        if isinstance(relation, Entity):
            row_ids = values[0]
            for row, identifier in existing.items():
                row_ids[row] = identifier
            new = [row for row in range(len(row_ids)) if row not in existing]
            for row, identifier in zip(new, self._sequences[relation].take(len(new)) if new else (), strict=True):
                row_ids[row] = identifier
        return existing

    def _identified(self, relation: AnyRelation, values: Columns) -> dict[int, int]:
        """As `_matched`, of rows that refer to each other, which may be what makes their keys."""
        of_key = [place for place in self._own[relation] if relation.written[place] in relation.key]
        found: dict[object, object] = {}
        existing: dict[int, int] = {}
        for rows in _generations(values, of_key):
            for place in of_key:
                for row in rows:
                    values[place][row] = found.get(values[place][row], values[place][row])
            some = _only(values, rows)
            existing |= {rows[place]: identifier for place, identifier in self._matched(relation, some).items()}
            for row, identifier in zip(rows, some[0], strict=True):
                found[values[0][row]] = values[0][row] = identifier
        for place in self._own[relation]:
            values[place] = [found.get(value, value) for value in values[place]]
        return existing

    def _bring_up_to_date(
        self, relation: AnyRelation, row_ids: Sequence[int], count: int, arrays: Sequence[bytes]
    ) -> None:
        table, parts = self._report.tables[relation.name], []
        if isinstance(relation.conflict, Replace) and isinstance(relation, Entity):
            if self._mode is Mode.STANDARD:
                # Who replaces the same ones waits, and then sees, and deletes, what belongs to them by now.
                self._ownership.lock(relation, row_ids)
            parts = self._ownership.parts(relation, row_ids)
            self._ownership.delete_children(relation, row_ids)
        updated = self._merges[relation].update(arrays)
        table.updated += updated
        # Without an id, all rows that have the key are written.
        table.unchanged += max(count - updated, 0)
        self._ownership.delete_parts(parts)
        if isinstance(relation.conflict, Replace) and isinstance(relation, Entity):
            # A trigger keeps the rows from being written, or this transaction has written them before: they stay the
            # versions that they were.
            made = self.fingerprints if self._mode is Mode.OPTIMIZED else None
            if updated < count or (made is not None and made.has_stored(relation)):
                fingerprints.remove(self._connection, self._targets[relation], row_ids)


def _generations(values: Sequence[Sequence[object]], places: Sequence[int]) -> Iterable[list[int]]:
    """The rows, each after those that it refers to in these places. Such a row was there first, or had no id yet."""
    depths: dict[object, int] = {}
    generations: list[list[int]] = []
    for row, identifier in enumerate(values[0]):
        depth = max((depths.get(values[place][row], -1) for place in places), default=-1) + 1
        depths[identifier] = depth
        if depth == len(generations):
            generations.append([])
        generations[depth].append(row)
    return generations


def _only(values: Sequence[Sequence[object]], rows: Sequence[int]) -> Columns:
    return [[column[row] for row in rows] for column in values]
