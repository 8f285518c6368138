"""What a role must be allowed to do for a load: asked before anything is changed.

The server asks statement by statement, which is too late where a table was emptied in a transaction before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from bulkload import statements
from bulkload.errors import SchemaError
from bulkload.model.plan import AnyEntity, AnyRelation, Plan
from bulkload.model.tables import Entity, Replace, Update
from bulkload.server.catalog import TableName, Target
from bulkload.server.connection import Connection, refused

_SQL = statements.load("catalog")


def require(
    connection: Connection,
    plan: Plan,
    targets: Mapping[AnyRelation, Target],
    emptied: Iterable[TableName],
    *,
    clear: bool,
) -> None:
    """Raises SchemaError, with the statements that grant all that is missing.

    Of a seeded table nothing but SELECT is asked for, since the rows that a load needs are there as a rule.
    """
    wanted = [(targets[relation].oid, privilege) for relation, privilege in _wanted(plan, clear=clear)]
    wanted += [(table.relation, "TRUNCATE") for table in emptied]
    sequences = [
        targets[relation].columns[relation.id_column].sequence
        for relation in plan
        if isinstance(relation, Entity) and not relation.seeded
    ]
    parameters = {
        "relations": [oid for oid, _ in wanted],
        "privileges": [privilege for _, privilege in wanted],
        "sequences": sequences,
    }
    with refused("reading which rights this role has"):
        missing = [str(grant) for (grant,) in connection.execute(_SQL["missing_rights"].text, parameters)]
    if missing:
        raise SchemaError(f"this role lacks rights that the load needs; have the owner run: {'; '.join(missing)}")


def _wanted(plan: Plan, *, clear: bool) -> Iterator[tuple[AnyRelation, str]]:
    for lookup in plan.lookups:
        yield lookup.entity, "SELECT"
    for relation in plan:
        if not relation.seeded:
            yield relation, "INSERT"
        if relation.conflict is not None:
            yield relation, "SELECT"
        # Where all is emptied, there may be nothing to be brought up to date.
        if isinstance(relation.conflict, (Update, Replace)) and not clear:
            yield relation, "UPDATE"
        if isinstance(relation, Entity) and isinstance(relation.conflict, Replace) and not clear:
            for part in owned(plan, relation):
                yield part, "SELECT"
                yield part, "DELETE"


def owned(plan: Plan, entity: AnyEntity) -> set[AnyRelation]:
    """The tables whose rows belong to rows of an entity, as `bulkload.rows.ownership` deletes them."""
    found: set[AnyRelation] = set()
    waiting: list[AnyRelation] = [entity]
    while waiting:
        each = waiting.pop()
        beside = [reference.entity for reference in plan.references[each]]
        below = [reference.relation for reference in plan.referring(each)] if isinstance(each, Entity) else []
        for part in (*beside, *below):
            if part.conflict is None and part in plan.references and part not in found:
                found.add(part)
                waiting.append(part)
    return found
