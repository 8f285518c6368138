"""What belongs to a row, and its deletion when the row is replaced."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from psycopg import sql

from bulkload import statements
from bulkload.model.plan import AnyEntity, AnyRelation, Plan, Reference
from bulkload.model.report import Report
from bulkload.model.tables import Entity, Replace
from bulkload.server.catalog import Target
from bulkload.server.connection import Connection, refused

_SQL = statements.load("load")


def owning(plan: Plan) -> Mapping[AnyRelation, tuple[Reference, ...]]:
    """By which references the rows of each table without a conflict rule belong to what they refer to.

    By those to entities that are replaced; else to entities whose rows belong to such; else by one to an entity that
    can be reached from those without this table, the first of its columns where there are several. What the other
    references are to is a part of its rows, or shared.
    """
    owners: dict[AnyRelation, tuple[Reference, ...]] = {}
    children: set[AnyRelation] = set()
    for relation in plan:
        if relation.conflict is not None:
            continue
        references = plan.references[relation]
        found = [each for each in references if isinstance(each.entity.conflict, Replace)]
        found = found or [each for each in references if each.entity in children]
        if found:
            children.add(relation)
        owners[relation] = tuple(found or _owning_parts(plan, relation, owners))
    return owners


def _owning_parts(
    plan: Plan, relation: AnyRelation, owners: Mapping[AnyRelation, tuple[Reference, ...]]
) -> Iterator[Reference]:
    """The same for rows that can belong to parts of others only: a spell of an event of an item, say."""
    # A tree belongs to its root.
    yield from (each for each in plan.references[relation] if each.entity is relation)
    loose = [each for each in plan.parts(relation) if each.entity is not relation]
    within = _reached(plan, {relation})
    rivals = [each for each in loose if each.entity in within and not _is_part(plan, relation, each.entity)]
    if not rivals:
        return
    owner = min(rivals, key=lambda each: not owners[each.entity])
    above: list[AnyRelation] = [owner.entity]
    for entity in above:
        above += [each.entity for each in owners[entity] if each.entity in owners and each.entity not in above]
    yield from (each for each in rivals if each is owner or each.entity in above[1:])


def _is_part(plan: Plan, relation: AnyRelation, without: AnyEntity) -> bool:
    """Whether rows of this table are parts of others that have nothing to do with an entity."""
    within = _reached(plan, {relation, without})
    return isinstance(relation, Entity) and any(each.relation in within for each in plan.referring(relation))


def _reached(plan: Plan, without: Collection[AnyRelation]) -> set[AnyRelation]:
    """What replaced rows lead to, from row to row along references either way, but not by way of these tables."""
    found: set[AnyRelation] = set()
    waiting = [relation for relation in plan.described if isinstance(relation.conflict, Replace)]
    while waiting:
        each = waiting.pop()
        if each in found or each in without:
            continue
        found.add(each)
        waiting += [part.entity for part in plan.parts(each)]
        if isinstance(each, Entity):
            waiting += [child.relation for child in plan.referring(each) if child.relation.conflict is None]
    return found


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
        parts = dict.fromkeys(
            part.entity for relation in (entity, *(each.relation for each in children)) for part in plan.parts(relation)
        )
        for reference in (*children, *(each for part in parts for each in plan.referring(part))):
            found.setdefault(reference.relation, set()).add(reference.column)
        owned = dict.fromkeys([*(child.relation for child in children), *parts])
        reached += [each for each in owned if isinstance(each, Entity) and each not in reached]
    return {relation: frozenset(columns) for relation, columns in found.items() if relation in filled}


class Ownership:
    """Deletes what belongs to rows, along the references of the plan, a statement a table.

    To a row belong the rows of tables without a conflict rule that refer to it, and its parts: the rows of entities
    without one that it or they refer to, unless another row, of whatever table of the plan, refers to those as well
    that does not belong to them (see `owning`), or they belong to another row. `bulkload.Replace` says it in full.
    """

    def __init__(
        self, connection: Connection, plan: Plan, targets: Mapping[AnyRelation, Target], report: Report
    ) -> None:
        self._connection = connection
        self._plan = plan
        self._targets = targets
        self._report = report
        self._owning = owning(plan)

    def lock(self, entity: AnyEntity, ids: Sequence[int]) -> None:
        """Have these rows changed by nobody else until the transaction ends. Raises ServerError."""
        target = self._targets[entity]
        statement = _SQL["lock_rows"].format(target=target.identifier, id=sql.Identifier(entity.id_column))
        with refused(f"locking rows of {target}"):
            self._connection.execute(statement, {"ids": list(ids)})

    def parts(self, entity: AnyEntity, ids: Sequence[int]) -> list[tuple[Reference, list[int]]]:
        """The rows that these rows refer to and may own; to be deleted, by `delete_parts`, when they no longer do."""
        return [(part, self._referred(part, entity.id_column, ids)) for part in self._plan.parts(entity)]

    def delete_parts(self, parts: list[tuple[Reference, list[int]]]) -> None:
        """Delete the rows that `parts` told of, where nothing else refers to them, with all that belongs to them."""
        for reference, ids in parts:
            entity = reference.entity
            alone = self._alone(entity, ids)
            if not alone:
                continue
            below = self.parts(entity, alone)
            for each in self._plan.referring(entity):
                if self._owns(each):
                    self._delete_referring(each, alone)
            self._delete_rows(entity, entity.id_column, alone)
            self.delete_parts(below)

    def delete_children(self, entity: AnyEntity, ids: Sequence[int]) -> None:
        """Delete the rows that refer to these and belong to them, with all that belongs to those in turn."""
        for reference in self._plan.referring(entity):
            if reference.relation.conflict is None and ids:
                self._delete_referring(reference, ids)

    def _delete_referring(self, reference: Reference, ids: Sequence[int]) -> None:
        child = reference.relation
        parts = [
            (other, self._referred(other, reference.column, ids))
            for other in self._plan.parts(child)
            if other != reference
        ]
        if isinstance(child, Entity):
            own_id = Reference(child, child.id_column, child)
            self.delete_children(child, self._referred(own_id, reference.column, ids))
        self._delete_rows(child, reference.column, ids)
        self.delete_parts(parts)

    def _owns(self, reference: Reference) -> bool:
        return reference in self._owning.get(reference.relation, ())

    def _alone(self, entity: AnyEntity, ids: Sequence[int]) -> Sequence[int]:
        """Those rows that belong to no row by a reference of their own, and to which nothing refers but their own."""
        target = self._targets[entity]
        for reference in self._owning[entity]:
            statement = _SQL["unowned_ids"].format(
                id=sql.Identifier(entity.id_column), target=target.identifier, column=sql.Identifier(reference.column)
            )
            ids = ids and self._ids(statement, ids, f"reading which rows of {target} belong to others")
        for reference in self._plan.referring(entity):
            if ids and not self._owns(reference):
                ids = self._unshared(reference, ids)
        return ids

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
