"""The rows that others share (stat_values, criteria), made a batch at a time through SQLAlchemy, their ids kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, Table, insert, select

from bench.baselines.models import Base
from bench.baselines.records import Pair, Record, Triple

STAT_VALUES = Base.metadata.tables["stat_values"]
CRITERIA = Base.metadata.tables["criteria"]


class Shared:
    """What is there already is read once, at the beginning; from then on nobody else adds any."""

    def __init__(self, connection: Connection) -> None:
        self.stat_values: dict[Pair, int] = {
            (stat, value): number for number, stat, value in connection.execute(select(STAT_VALUES))
        }
        self.criteria: dict[Triple, int] = {
            (value1, value2, operator): number
            for number, value1, value2, operator in connection.execute(select(CRITERIA))
        }

    def add(self, batch: Iterable[Record], connection: Connection) -> None:
        """Insert what the batch refers to and is not there."""
        pairs, triples = missing(batch, self.stat_values, self.criteria)
        stat_values = inserted(connection, STAT_VALUES, [{"stat": stat, "value": value} for stat, value in pairs])
        self.stat_values |= zip(pairs, stat_values, strict=True)
        criteria = inserted(
            connection,
            CRITERIA,
            [{"value1": value1, "value2": value2, "operator": operator} for value1, value2, operator in triples],
        )
        self.criteria |= zip(triples, criteria, strict=True)


def missing(
    batch: Iterable[Record], stat_values: dict[Pair, int], criteria: dict[Triple, int]
) -> tuple[list[Pair], list[Triple]]:
    """The stats and criteria that the records refer to and that are not known yet."""
    pairs: dict[Pair, None] = {}
    triples: dict[Triple, None] = {}
    for record in batch:
        pairs |= dict.fromkeys(pair for pair in record.pairs if pair not in stat_values)
        triples |= dict.fromkeys(triple for triple in record.triples if triple not in criteria)
    return list(pairs), list(triples)


def inserted(connection: Connection, table: Table, rows: Sequence[dict[str, object]]) -> Sequence[int]:
    """The ids of new rows, in their order: SQLAlchemy puts many of them into one INSERT … RETURNING."""
    if not rows:
        return []
    statement = insert(table).returning(table.c.id, sort_by_parameter_order=True)
    return connection.execute(statement, rows).scalars().all()
