"""How near is an import to the floor: pg_restore of the same database, which reads no JSON and maps nothing?

    BULKLOAD_BENCH_ITEMS=157000 pytest bench/test_floor.py -s --benchmark-json=floor.json

Each round imports in one transaction, imports on several connections (`--ultra`), and restores, in turn, so that the
ratios hold on a machine whose speed drifts. Both imports have as many worker processes as there are cores.
BULKLOAD_BENCH_ITEMS sets the size (default 20,000 items; a full set has 157,000), BULKLOAD_BENCH_ROUNDS the rounds
(default 3).
"""

from __future__ import annotations

import statistics
import subprocess
import time
from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

from bench.common import CORES, ITEMS, counts, fresh, import_all, program, rounds
from bulkload import Input, Mode, embedded


def restore(conninfo: str, dump: Path, jobs: int) -> float:
    """The seconds that pg_restore takes."""
    begin = time.perf_counter()
    command = [program("pg_restore"), f"--jobs={jobs}", f"--dbname={conninfo}", str(dump)]
    subprocess.run(command, check=True)
    return time.perf_counter() - begin


def test_imports_against_restore(
    benchmark: BenchmarkFixture, server: embedded.Server, inputs: list[Input], tmp_path: Path
) -> None:
    """The ratio of an import to pg_restore -j2, round by round: in one transaction, and on several connections."""
    dump = tmp_path / "dump"
    took: dict[str, list[float]] = {"optimized": [], "ultra": [], "restore": []}

    def once() -> None:
        rows: list[dict[str, int]] = []
        for mode in (Mode.OPTIMIZED, Mode.ULTRA):
            conninfo = fresh(server, "imported")
            seconds, _ = import_all(conninfo, inputs, {"mode": mode, "jobs": CORES})
            took[mode.value].append(seconds)
            rows.append(counts(conninfo))
        if not dump.exists():
            subprocess.run([program("pg_dump"), "-Fd", "-j2", f"--file={dump}", conninfo], check=True)
        conninfo = fresh(server, "restored")
        took["restore"].append(restore(conninfo, dump, 2))
        rows.append(counts(conninfo))
        assert rows[0] == rows[1] == rows[2]

    benchmark.pedantic(once, rounds=rounds(full=3, small=3), iterations=1)  # type: ignore[no-untyped-call]
    medians = {name: statistics.median(seconds) for name, seconds in took.items()}
    benchmark.extra_info.update(
        items=ITEMS, cores=CORES, **{f"{name}_seconds": seconds for name, seconds in medians.items()}
    )
    print(f"\n{ITEMS:,} items, {CORES} cores: pg_restore -j2 {medians['restore']:.1f} s")  # noqa: T201 - what a bench is for
    medians_of_ratios = benchmark.extra_info["ratios"] = {}
    for name in ("optimized", "ultra"):
        ratios = [one / floor for one, floor in zip(took[name], took["restore"], strict=True)]
        medians_of_ratios[name] = statistics.median(ratios)
        print(  # noqa: T201 - what a bench is for
            f"import --{name} {medians[name]:.1f} s, ratio {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )
