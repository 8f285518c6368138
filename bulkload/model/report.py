"""What a load did: rows a table, seconds a phase, records a source."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from contextlib import contextmanager

import attrs

from bulkload.model.plan import Plan
from bulkload.model.tables import Entity, Keep

logger = logging.getLogger("bulkload")


@attrs.define
class TableReport:
    """The rows of one table, by what became of them. The counts are the server's own."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    """Rows that existed and stayed as they were."""
    deleted: int = 0
    """Rows that belonged to what was replaced."""
    seconds: float = 0.0
    """Time the server took for this table's rows, encoding not included."""


@attrs.define
class SourceReport:
    """The records of one source: read = loaded + unchanged + skipped + superseded + rejected."""

    name: str
    loaded: int = 0
    unchanged: int = 0
    """Records that are the same as when they were loaded last, so that nothing of theirs was written."""
    skipped: int = 0
    """Records that the mapping has no row for."""
    superseded: int = 0
    """Records whose key came again later in the run: the last one counts."""
    rejected: int = 0

    @property
    def read(self) -> int:
        """Records in all."""
        return self.loaded + self.unchanged + self.skipped + self.superseded + self.rejected


@attrs.define
class Report:
    """The account of a load. It is filled while the load runs, and complete when it has ended."""

    tables: dict[str, TableReport] = attrs.field(factory=dict[str, TableReport])
    """By table, parents first; tables that nothing happened to are there with zeros."""
    sources: list[SourceReport] = attrs.field(factory=list[SourceReport])
    phases: dict[str, float] = attrs.field(factory=dict[str, float])
    """Seconds by phase, in the order in which the phases began. They add up to the whole but for small change."""
    workers: dict[str, float] = attrs.field(factory=dict[str, float])
    """Seconds by phase of all worker processes together, which ran beside the phases above."""
    cleared: list[str] = attrs.field(factory=list[str])
    """The tables that were emptied first."""
    resumed: int = 0
    """Records that were done with in an earlier run of the load, which this one went on with; counted above, too."""
    seconds: float = 0.0
    """From the first to the last statement."""
    _inner: float = attrs.field(default=0.0, init=False, repr=False)
    """Seconds of the phases inside the current one."""

    @property
    def rows(self) -> int:
        """Rows inserted or updated, in all."""
        return sum(table.inserted + table.updated for table in self.tables.values())

    @property
    def rejected(self) -> int:
        return sum(source.rejected for source in self.sources)

    @contextmanager
    def phase(self, name: str) -> Generator[None]:
        """Time what is done inside under this name; a phase that is entered again goes on.

        A phase within a phase is counted for itself alone.
        """
        self.phases.setdefault(name, 0.0)
        begin, outer, self._inner = time.perf_counter(), self._inner, 0.0
        try:
            yield
        finally:
            taken = time.perf_counter() - begin
            self.phases[name] += taken - self._inner
            self._inner = outer + taken


def log_tables(report: Report, plan: Plan) -> None:
    """A line of the log for each table that something happened to."""
    for relation in plan:
        table = report.tables[relation.name]
        if table == TableReport():
            continue
        entity = isinstance(relation, Entity)
        kind = (
            "shared keys upserted"
            if isinstance(relation.conflict, Keep) and entity
            else ("rows written" if entity else "relationships written")
        )
        logger.info(
            "%s: %s: %d inserted, %d updated, %d unchanged, %d deleted in %.2f s",
            kind, relation, table.inserted, table.updated, table.unchanged, table.deleted, table.seconds,
        )  # fmt: skip
