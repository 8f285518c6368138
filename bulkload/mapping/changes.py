"""What of the sources has changed since they were loaded last: looked for before a load begins, and once more in it."""

from __future__ import annotations

from collections.abc import Sequence

from bulkload.mapping.job import Input
from bulkload.mapping.sameness import Sameness, look, look_ahead
from bulkload.mapping.versions import Versions
from bulkload.model.plan import Plan
from bulkload.rows import fingerprints
from bulkload.rows.fingerprints import Fingerprints
from bulkload.rows.load import Load
from bulkload.server.connection import Connection


class Changes:
    """Which records of a run are unchanged.

    Before the load begins, since what it drops depends on how many rows will come, and the sources are better not read
    while locks are held; once more when nobody else writes any more, which as a rule finds the same.
    """

    def __init__(self, connection: Connection, sources: Sequence[Input], *, clear: bool) -> None:
        self._connection = connection
        self._sources = sources
        self._clear = clear
        self._sameness = Sameness(sources)
        self.versions: Versions | None = None
        """Those of the sources, where they had to be looked for."""

    @property
    def inputs(self) -> Sequence[Input]:
        """The sources, those marked of whose records fingerprints are made."""
        return self._sameness.inputs

    def look_ahead(self, plan: Plan, schema: str) -> None:
        """Look for unchanged records before the load begins. Raises ServerError and SourceError."""
        self._sameness, self.versions = Sameness(self._sources), None
        if not self._clear and fingerprints.usable(self._connection):
            self._find(look_ahead(self._connection, self._sources, plan, schema))

    def share(self, number: int) -> float:
        """The share of an input's records that are new or have changed, as far as that is known."""
        return 1.0 if self.versions is None else self.versions.changed(number)

    @property
    def findings(self) -> list[str]:
        """How many records of each source are unchanged, for a person to read."""
        versions = self.versions
        counts = [versions.unchanged(number) if versions is not None else 0 for number in range(len(self._sources))]
        return [
            f"{each.source.name}: {count:,} records are unchanged since they were imported last, and are left alone"
            for each, count in zip(self._sources, counts, strict=True)
            if count
        ]

    def begin(self, load: Load) -> None:
        """Look again, in the load, and have it keep fingerprints. Raises ServerError and SourceError."""
        now = Sameness(self._sources)
        if fingerprints.usable(self._connection):
            now = look(self._connection, self._sources, load.targets, emptied=self._clear)
            targets = {entity: load.targets[entity] for entity in now.entities}
            load.fingerprints = Fingerprints(self._connection, targets) if targets else None
        if now.judges_as(self._sameness):
            self._sameness = now
            if self.versions is not None:
                self.versions.restart()
        else:
            self._find(now)

    def _find(self, sameness: Sameness) -> None:
        self._sameness = sameness
        self.versions = Versions(sameness.inputs, sameness.stored) if sameness.stored else None
