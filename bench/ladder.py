"""The rungs of the ladder: each way of loading, what it cost, and the table of all."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from enum import Enum

import attrs

from bench import floors
from bench.common import markdown
from bench.measure import MEGABYTE, Cost


class Kind(Enum):
    """What a way is here for."""

    BASELINE = "what people do instead"
    BULKLOAD = "bulkload"
    FLOOR = "floor"


@attrs.frozen
class Way:
    """A way of loading."""

    name: str
    """As bench.process or bench.floors knows it."""
    label: str
    kind: Kind
    most: int | None = None
    """The most items that it is run with, where more would take too long for what they would show."""


WAYS = (
    Way("orm_standard", "SQLAlchemy ORM, a flush an entity", Kind.BASELINE, most=5_000),
    Way("orm_optimized", "SQLAlchemy ORM, six flushes a batch", Kind.BASELINE, most=20_000),
    Way("core_insertmanyvalues", "SQLAlchemy Core, insertmanyvalues", Kind.BASELINE, most=20_000),
    Way("orm_ultra", "SQLAlchemy ORM, two flushes a batch, COPY", Kind.BASELINE),
    Way("jsonb_staging", "jsonb staging table, SQL", Kind.BASELINE),
    Way("csv_files", "CSV files, COPY", Kind.BASELINE),
    Way("standard", "bulkload, standard", Kind.BULKLOAD),
    Way("optimized", "bulkload, optimized", Kind.BULKLOAD),
    Way("ultra", "bulkload, ultra", Kind.BULKLOAD),
    Way(floors.RESTORE_1, "pg_restore -j1", Kind.FLOOR),
    Way(floors.RESTORE_2, "pg_restore -j2", Kind.FLOOR),
    Way(floors.COPY, "server-side COPY, no constraints", Kind.FLOOR),
)


@attrs.define
class Rung:
    """What a way cost."""

    way: Way
    statements: int
    round_trips: int
    costs: list[Cost] = attrs.field(factory=list[Cost])
    """A round each."""

    @property
    def seconds(self) -> float:
        return statistics.median(cost.seconds for cost in self.costs)

    def ratio(self, floor: Rung) -> float:
        """To the floor of the same round."""
        pairs = zip(self.costs, floor.costs, strict=True)
        return statistics.median(cost.seconds / least.seconds for cost, least in pairs)

    def figures(self, floor: Rung, records: int, rows: int) -> dict[str, float]:
        """All there is to say of it; bytes are peaks of all rounds."""
        return {
            "seconds": self.seconds,
            "ms_a_record": self.seconds * 1000 / records,
            "ratio": self.ratio(floor),
            "rows_a_second": rows / self.seconds,
            "largest_process": max(cost.largest_process for cost in self.costs),
            "all_processes": max(cost.all_processes for cost in self.costs),
            "largest_backend": max(cost.largest_backend for cost in self.costs),
            "wal": statistics.median(cost.wal for cost in self.costs),
            "statements": self.statements,
            "round_trips": self.round_trips,
        }


def table(ways: Sequence[Way], figures: Mapping[str, Mapping[str, float]]) -> str:
    """In Markdown, a line a way; a way without figures was not run."""
    heads = (
        "way", "ms a record", "ratio", "rows/s", "largest process MB", "all processes MB", "largest backend MB",
        "WAL MB", "statements", "round trips",
    )  # fmt: skip
    return markdown(heads, [[way.label, *_cells(figures.get(way.name), len(heads) - 1)] for way in ways])


def _cells(found: Mapping[str, float] | None, count: int) -> list[str]:
    if found is None:
        return ["not run at this size", *[""] * (count - 1)]
    sizes = [found[name] / MEGABYTE for name in ("largest_process", "all_processes", "largest_backend", "wal")]
    return [
        f"{found['ms_a_record']:.3f}",
        f"{found['ratio']:.2f}",
        f"{found['rows_a_second']:,.0f}",
        # Of a process that ends before it has been looked at twice, nothing is known.
        *(f"{size:,.0f}" if size else "-" for size in sizes),
        f"{found['statements']:,.0f}",
        f"{found['round_trips']:,.0f}",
    ]
