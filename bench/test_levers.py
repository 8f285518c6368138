"""What is each lever worth, alone and beside all others?

    BULKLOAD_BENCH_ITEMS=157000 BULKLOAD_BENCH_ROUNDS=2 pytest bench/test_levers.py -s --benchmark-json=levers.json

Each case imports into a fresh database. A round goes through all cases in turn and the next one begins elsewhere, so
that the drift of a shared machine hits all alike; a ratio is to the base case of the same round. BULKLOAD_BENCH_ITEMS
sets the size (default 20,000 items; a full set has 157,000), BULKLOAD_BENCH_ROUNDS the rounds (default 3, of a full set
1), BULKLOAD_BENCH_DROP what dropping means: `auto`, as by default, where it is worth it, or `always`. Worker processes
are started for sets of any size here, where an import leaves them out for small ones.
"""

from __future__ import annotations

import os
import statistics
from typing import Any

import attrs
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.common import CORES, ITEMS, counts, fresh, import_all, rounds
from bulkload import Input, Mode, embedded
from bulkload.rebuild.choice import Drop, Drops
from bulkload.rows.ultra import Levers
from bulkload.workers import shares

ON = Drop(os.environ.get("BULKLOAD_BENCH_DROP", "auto"))
OFF = Drop.NEVER
ROUNDS = rounds(full=1, small=3)


@attrs.frozen
class Case:
    """What is measured, and how an import is told to do it."""

    name: str
    indexes: Drop = ON
    foreign_keys: Drop = ON
    keys: Drop = ON
    jobs: int = CORES
    mode: Mode = Mode.ULTRA
    levers: Levers = attrs.field(factory=Levers)

    @property
    def options(self) -> dict[str, Any]:
        drops = Drops(self.indexes, self.foreign_keys, self.keys)
        return {"mode": self.mode, "drops": drops, "jobs": self.jobs, "levers": self.levers}


def atomic(
    name: str, *, indexes: Drop = OFF, foreign_keys: Drop = OFF, keys: Drop = OFF, jobs: int = 1
) -> Case:  # fmt: skip
    """An import in one transaction, on one connection."""
    return Case(name, indexes, foreign_keys, keys, jobs, Mode.OPTIMIZED)


FASTEST = Case(f"ultra, everything but unlogged, {CORES} connections")
BASE = atomic("atomic, one process, nothing dropped")
CASES = (
    BASE,
    atomic("  + indexes dropped", indexes=ON),
    atomic("  + foreign keys dropped", foreign_keys=ON),
    atomic("  + keys dropped", keys=ON),
    atomic("  + all three dropped", indexes=ON, foreign_keys=ON, keys=ON),
    atomic(f"  + worker processes ({CORES})", jobs=CORES),
    atomic("  + all three and worker processes", indexes=ON, foreign_keys=ON, keys=ON, jobs=CORES),
    FASTEST,
    Case("  - dropping indexes", indexes=OFF),
    Case("  - dropping foreign keys", foreign_keys=OFF),
    Case("  - dropping keys", keys=OFF),
    Case("  - dropping anything", indexes=OFF, foreign_keys=OFF, keys=OFF),
    Case("  - asynchronous commit", levers=Levers(async_commit=False)),
    Case("  - several connections", jobs=1),
    Case("  + unlogged", levers=Levers(unlogged=True)),
)


def test_what_each_lever_is_worth(
    benchmark: BenchmarkFixture, server: embedded.Server, inputs: list[Input], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seconds and the ratio to the base case, for each lever by itself and for everything without it."""
    monkeypatch.setattr(shares, "LEAST_BYTES", 0)
    took: dict[str, list[float]] = {case.name: [] for case in CASES}
    rows: dict[str, dict[str, int]] = {}

    # The first import of all finds a cold machine, and is nobody's.
    import_all(fresh(server, "levers"), inputs, FASTEST.options)

    def once() -> None:
        begin = len(took[BASE.name]) * len(CASES) // max(ROUNDS, 1)
        for case in (*CASES[begin:], *CASES[:begin]):
            conninfo = fresh(server, "levers")
            seconds, _ = import_all(conninfo, inputs, case.options)
            took[case.name].append(seconds)
            if case.name not in rows:
                rows[case.name] = counts(conninfo)
            print(f"{case.name.strip()}: {seconds:.2f} s", flush=True)  # noqa: T201 - a full set takes its time

    benchmark.pedantic(once, rounds=ROUNDS, iterations=1)  # type: ignore[no-untyped-call]
    assert all(found == rows[BASE.name] for found in rows.values())
    ratios = {
        name: statistics.median(one / base for one, base in zip(seconds, took[BASE.name], strict=True))
        for name, seconds in took.items()
    }
    medians = {name: statistics.median(seconds) for name, seconds in took.items()}
    table = [{"what": name.strip(), "seconds": medians[name], "ratio": ratios[name]} for name in took]
    benchmark.extra_info.update(items=ITEMS, rounds=ROUNDS, drop=ON.value, cores=CORES, levers=table)
    lines = [
        f"\n{ITEMS:,} items, {sum(rows[BASE.name].values()):,} rows, {ROUNDS} rounds, {CORES} cores, drops: {ON.value}",
        "",
        f"| {'what':<45} | seconds | ratio |",
        f"| {'-' * 45} | ------: | ----: |",
        *(f"| {name:<45} | {medians[name]:7.2f} | {ratios[name]:5.2f} |" for name in took),
    ]
    print("\n".join(lines))  # noqa: T201 - what a bench is for
