"""What belongs to a row, and its deletion when the row is replaced."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from psycopg import sql

from bulkload import statements
from bulkload.catalog import Target
from bulkload.plan import AnyEntity, AnyRelation, Plan, Reference
from bulkload.report import Report
from bulkload.server import Connection, refused
from bulkload.tables import Entity, Replace

_SQL = statements.load("load")


def sought(plan: Plan, filled: Collection[AnyRelation]) -> Mapping[AnyRelation, frozenset[str]]:
    """The columns by which rows are found that belong to those that may be replaced, where these relations have rows.

    An index that begins with one of them is what keeps a replacement from reading whole tables.
    """
    found: dict[AnyRelation, set[str]] = {}
    reached: list[AnyEntity] = [
        each for each in filled if isinstance(each.conflict, Replace) and isinstance(each, Entity)
    ]
    for entity in reached:
        children = [each for each in plan.referring(entity) if each.relation.conflict is None]
        parts = [
            part
            for relation in (entity, *(child.relation for child in children))
            for part in plan.references[relation]
            if part.entity.conflict is None
        ]
        for reference in (*children, *parts):
            found.setdefault(reference.relation, set()).add(reference.column)
        owned = dict.fromkeys([*(child.relation for child in children), *(part.entity for part in parts)])
        reached += [each for each in owned if isinstance(each, Entity) and each not in reached]
    return {relation: frozenset(columns) for relation, columns in found.items() if relation in filled}


class Ownership:
    """Deletes what belongs to rows, along the references of the plan, a statement a table.

    To a row belong the rows of tables without a conflict rule that refer to it, and the rows of entities without one
    that it or they refer to, unless another row refers to those as well. `Replace` in `bulkload.tables` says it in
    full.
    """

    def __init__(
        self, connection: Connection, plan: Plan, targets: Mapping[AnyRelation, Target], report: Report
    ) -> None:
        self._connection = connection
        self._plan = plan
        self._targets = targets
        self._report = report

    def lock(self, entity: AnyEntity, ids: Sequence[int]) -> None:
        """Have these rows changed by nobody else until the transaction ends. Raises ServerError."""
        target = self._targets[entity]
        statement = _SQL["lock_rows"].format(target=target.identifier, id=sql.Identifier(entity.id_column))
        with refused(f"locking rows of {target}"):
            self._connection.execute(statement, {"ids": list(ids)})

    def parts(self, entity: AnyEntity, ids: Sequence[int]) -> list[tuple[Reference, list[int]]]:
        """The rows that these rows refer to and own; to be deleted, by `delete_parts`, when they no longer do."""
        return [
            (reference, self._referred(reference, entity.id_column, ids))
            for reference in self._plan.references[entity]
            if reference.entity.conflict is None
        ]

    def delete_parts(self, parts: list[tuple[Reference, list[int]]]) -> None:
        """Delete the rows that `parts` told of, with all that belongs to them."""
        for reference, ids in parts:
            self._delete(reference, ids)

    def delete_children(self, entity: AnyEntity, ids: Sequence[int], but: AnyRelation | None = None) -> None:
        """Delete the rows that refer to these and belong to them, with all that belongs to those in turn."""
        for reference in self._plan.referring(entity):
            child = reference.relation
            if child.conflict is not None or child is but or not ids:
                continue
            parts = [
                (other, self._referred(other, reference.column, ids))
                for other in self._plan.references[child]
                if other.entity.conflict is None and other.entity is not entity
            ]
            if isinstance(child, Entity):
                own_id = Reference(child, child.id_column, child)
                self.delete_children(child, self._referred(own_id, reference.column, ids))
            self._delete_rows(child, reference.column, ids)
            self.delete_parts(parts)

    def _delete(self, reference: Reference, ids: Sequence[int]) -> None:
        entity = reference.entity
        unshared = self._unshared(reference, ids) if ids else []
        if not unshared:
            return
        parts = self.parts(entity, unshared)
        self.delete_children(entity, unshared, but=reference.relation)
        self._delete_rows(entity, entity.id_column, unshared)
        self.delete_parts(parts)

    def _referred(self, reference: Reference, key: str, ids: Sequence[int]) -> list[int]:
        target = self._targets[reference.relation]
        statement = _SQL["referred_ids"].format(
            column=sql.Identifier(reference.column), target=target.identifier, key=sql.Identifier(key)
        )
        return self._ids(statement, ids, f"reading what belongs to rows of {target}")

    def _unshared(self, reference: Reference, ids: Sequence[int]) -> list[int]:
        target = self._targets[reference.entity]
        statement = _SQL["unshared_ids"].format(
            id=sql.Identifier(reference.entity.id_column),
            target=target.identifier,
            referring=self._targets[reference.relation].identifier,
            column=sql.Identifier(reference.column),
        )
        return self._ids(statement, ids, f"reading which rows of {target} are still referred to")

    def _ids(self, statement: sql.Composed, ids: Sequence[int], doing: str) -> list[int]:
        with refused(doing):
            rows = self._connection.execute(statement, {"ids": list(ids)}).fetchall()
        return [identifier for (identifier,) in rows if isinstance(identifier, int)]

    def _delete_rows(self, relation: AnyRelation, key: str, ids: Sequence[int]) -> None:
        target = self._targets[relation]
        statement = _SQL["delete_rows"].format(target=target.identifier, key=sql.Identifier(key))
        with refused(f"deleting from {target}", target.name):
            deleted = self._connection.execute(statement, {"ids": list(ids)}).rowcount
        self._report.tables[relation.name].deleted += deleted
