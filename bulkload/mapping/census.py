"""The check of sources without a load: every record read, mapped and fitted, and none written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bulkload.encoding.columns import Column
from bulkload.ledger.journal import Done
from bulkload.mapping.chunks import DEFAULT_CHUNK, Mapper, Watch, unwatched
from bulkload.mapping.job import Input
from bulkload.mapping.passes import Passes, plan_of, spooled, unhurried_collector
from bulkload.mapping.versions import Versions
from bulkload.model.plan import AnyRelation, Plan
from bulkload.model.report import Report, TableReport
from bulkload.model.tables import Key
from bulkload.rows.memory import Find, MemoryLoad
from bulkload.sources.rejects import Rejects

Columns = Mapping[str, Mapping[str, Column]]
"""The columns of each table, by table and name."""


def check(
    inputs: Sequence[Input],
    columns: Columns,
    *,
    chunk: int = DEFAULT_CHUNK,
    rejects: Rejects | None = None,
    find: Find | None = None,
    watch: Watch = unwatched,
) -> Report:
    """Read, map and fit all records as `bulkload.run` would; the report counts the rows that would come of them.

    `columns` are those of the tables (`bulkload.of_ddl`, or a server's). `find` looks up what only a database
    would know.

    Raises SourceError, and RecordError or RejectsError for rejects beyond the limit of `rejects`.
    """
    rejects = rejects if rejects is not None else Rejects()
    with unhurried_collector(), spooled(inputs) as sources:
        rejects.begin()
        return check_versions(
            sources, None, columns, chunk=chunk, rejects=rejects, find=find, watch=watch
        )  # fmt: skip


def check_versions(
    sources: Sequence[Input],
    versions: Versions | None,
    columns: Columns,
    *,
    chunk: int,
    rejects: Rejects,
    find: Find | None,
    watch: Watch = unwatched,
) -> Report:
    """As `check`, of sources whose versions were looked for; what is unchanged among them is not looked at."""
    report = Report()
    census = _Census(plan_of(sources), columns, find, report)
    mapper = Mapper(census, columns, census.find_id, rejects, report)
    passes = Passes(
        sources, mapper, report, rejects, chunk=chunk, watch=watch, versions=versions, done="fit to be loaded"
    )
    passes.run(census.count)
    return report


class _Census(MemoryLoad):
    """Counts rows instead of keeping them, and remembers the keys of those that have one."""

    def __init__(self, plan: Plan, columns: Columns, find: Find | None, report: Report) -> None:
        super().__init__(plan, columns)
        self.find_elsewhere = find
        self._tables = report.tables
        # What the schema comes with is no row of the sources.
        self._tables.update((relation.name, TableReport()) for relation in plan if not relation.seeded)
        self._keys: dict[AnyRelation, set[Key]] = {relation: set() for relation in plan if relation.conflict}

    def count(self, _done: Done) -> None:
        """Count the rows of the chunk, and forget them. Raises FitError."""
        self.check()
        for relation, batch in self.batches.items():
            if relation.seeded:
                continue
            if relation.conflict is None:
                self._tables[relation.name].inserted += len(batch)
            else:
                self._keys[relation].update(batch.keyed)
                self._tables[relation.name].inserted = len(self._keys[relation])
        self.clear()
