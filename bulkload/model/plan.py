"""A plan: the tables that a load writes, in an order in which every row's parents come first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

import attrs

from bulkload.errors import UsageError
from bulkload.model.records import fields_of
from bulkload.model.tables import Entity, Lookup, Relation, Replace, Update

# Relations of different records stand side by side in a plan.
AnyRelation = Relation[Any]
AnyEntity = Entity[Any]
AnyLookup = Lookup[Any]


@attrs.frozen
class Reference:
    """A column that holds the id of another relation's row."""

    relation: AnyRelation
    column: str
    entity: AnyEntity


class Plan:
    """The tables of a load. A value: it is made once, checked as far as that goes without a server, and never changes.

    The entities of its `lookups` may be referred to as well; they are not written, unless they are relations too.

    Raises UsageError where two relations have one name, a column is not a field of its record, a key is not among
    the columns, an `Id[…]` points at a record that no entity of the plan has, or tables refer to each other in a ring.
    """

    def __init__(
        self, *relations: AnyRelation, lookups: Iterable[AnyLookup] = (), dependents: Iterable[str] = ()
    ) -> None:
        self.lookups = tuple(lookups)
        """The ways in which its mappings find rows that exist."""
        self.dependents = frozenset(dependents)
        """Tables of the same schema that are nobody else's: where they refer to the plan's, they are cleared, too."""
        found = dict.fromkeys(lookup.entity for lookup in self.lookups)
        by_name: dict[str, AnyRelation] = {}
        entities: dict[type, AnyEntity] = {}
        for relation in dict.fromkeys([*relations, *found]):
            if by_name.setdefault(relation.name, relation) is not relation:
                raise UsageError(f"the plan has the table {relation} twice, with different meanings")
            if isinstance(relation, Entity) and entities.setdefault(relation.record, relation) is not relation:
                raise UsageError(f"{relation.record.__name__} is the record of two entities of the plan")
        self.references: Mapping[AnyRelation, tuple[Reference, ...]] = {
            relation: tuple(_references(relation, entities)) for relation in dict.fromkeys(relations)
        }
        """The references of each relation's columns."""
        for lookup in self.lookups:
            _check_columns(lookup.entity, lookup.on)
        self.relations: tuple[AnyRelation, ...] = tuple(_sorted(self.references))
        """The relations that are written, parents first."""
        self.described: tuple[AnyRelation, ...] = tuple(dict.fromkeys([*self.relations, *found]))
        """Those, and the entities that are only looked up."""
        for relation in self.relations:
            if isinstance(relation.conflict, Replace) and not isinstance(relation, Entity):
                raise UsageError(f"{relation}: Replace is for entities; nothing can belong to a row without an id")

    def __reduce__(self) -> tuple[object, ...]:
        return _plan, (tuple(self.references), self.lookups, self.dependents)

    @classmethod
    def union(cls, *plans: Plan) -> Plan:
        """One plan of the tables of several."""
        relations = dict.fromkeys(relation for plan in plans for relation in plan.relations)
        lookups = dict.fromkeys(lookup for plan in plans for lookup in plan.lookups)
        return cls(*relations, lookups=lookups, dependents=(name for plan in plans for name in plan.dependents))

    def __iter__(self) -> Iterator[AnyRelation]:
        return iter(self.relations)

    def referring(self, entity: AnyEntity) -> tuple[Reference, ...]:
        """The columns of the plan's relations that hold ids of this entity."""
        return tuple(
            reference
            for references in self.references.values()
            for reference in references
            if reference.entity is entity
        )

    def parts(self, relation: AnyRelation) -> tuple[Reference, ...]:
        """The columns of a relation that hold ids of entities without a conflict rule, which the plan writes, too."""
        return tuple(
            reference
            for reference in self.references.get(relation, ())
            if reference.entity.conflict is None and reference.entity in self.references
        )


def _plan(relations: Iterable[AnyRelation], lookups: Iterable[AnyLookup], dependents: Iterable[str]) -> Plan:
    return Plan(*relations, lookups=lookups, dependents=dependents)


def _references(relation: AnyRelation, entities: Mapping[type, AnyEntity]) -> Iterator[Reference]:
    _check_columns(relation, (*relation.columns, *relation.key))
    fields = fields_of(relation.record)
    for name in relation.key:
        if name not in relation.columns:
            raise UsageError(f"{relation}: the key column {name} is not among the columns")
    if isinstance(relation.conflict, Update):
        for name in relation.conflict.insert_only:
            if name not in relation.columns or name in relation.key:
                raise UsageError(f"{relation}: {name}, which is for new rows only, is not a column beside the key")
    for name in relation.columns:
        target = fields[name].target
        if target is None:
            continue
        if target not in entities:
            raise UsageError(f"{relation}.{name} refers to {target.__name__}, of which the plan has no entity")
        yield Reference(relation, name, entities[target])


def _check_columns(relation: AnyRelation, columns: Iterable[str]) -> None:
    fields = fields_of(relation.record)
    for name in columns:
        if name not in fields:
            raise UsageError(f"{relation}: the column {name} is not a field of {relation.record.__name__}")


def _sorted(references: Mapping[AnyRelation, tuple[Reference, ...]]) -> Iterator[AnyRelation]:
    # A table that refers to itself needs no order: a foreign key is checked when the statement ends.
    parents = {
        relation: [r.entity for r in found if r.entity is not relation and r.entity in references]
        for relation, found in references.items()
    }
    try:
        yield from TopologicalSorter(parents).static_order()
    except CycleError as error:
        ring = " → ".join(str(relation) for relation in error.args[1])
        raise UsageError(f"the tables refer to each other in a ring: {ring}") from error
