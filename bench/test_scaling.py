"""What would more cores make of it, and more machines?

    BULKLOAD_BENCH_ITEMS=157000 pytest bench/test_scaling.py -s --benchmark-json=scaling.json

An import in one transaction by the leader alone, by two worker processes, and by one and two workers of a Dask cluster
on this machine: the seconds, and the processor seconds of the process that leads, of all workers together, and of the
server. From these the seconds are computed where each of the three has cores of its own: what comes before and after
the rows takes the time that it took here, and in between the slowest of the three decides: the leader, the one
connection that writes, or the workers by their number. BULKLOAD_BENCH_ITEMS sets the size (default 20,000 items; a full
set has 157,000), BULKLOAD_BENCH_ROUNDS the rounds (default 3, of a full set 1).
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any

import attrs
import pytest
from distributed import Client as _Client
from distributed.deploy.subprocess import SubprocessCluster as _SubprocessCluster
from pytest_benchmark.fixture import BenchmarkFixture

from bench.common import CORES, ITEMS, counts, fresh, import_all, markdown, rounds, tell
from bench.measure import postmaster, processor_seconds
from bulkload import Input, Mode, Report, embedded
from bulkload.workers import shares

# Half typed, as asynchronous as not.
Client: Any = _Client
SubprocessCluster: Any = _SubprocessCluster

ROUNDS = rounds(full=1, small=3)
WORKERS = (1, 2, 4, 8)
"""What is computed for."""
AROUND = ("check sources", "find versions", "lock", "clear", "drop indexes",
          "build indexes", "check foreign keys", "analyze", "finish")  # fmt: skip
"""The phases before and after the rows of an import in one transaction."""


@attrs.frozen
class Spent:
    """What one import took. All in seconds, those of processors but for the first two."""

    seconds: float
    around: float
    """Of these, before and after the rows."""
    leader: float
    workers: float
    writer: float
    """The server, while rows were written."""
    server: float
    """The server in all."""

    def computed(self, workers: int) -> float:
        """The seconds with so many workers, and cores for each of them, the leader and the server."""
        return self.around + max(self.leader, self.writer, self.workers / workers)


@contextmanager
def processes(jobs: int) -> Generator[tuple[dict[str, Any], Callable[[], float]]]:
    """How an import is told to use processes of its own, and what they have spent so far."""
    yield {"jobs": jobs}, lambda: sum(os.times()[2:4])


@contextmanager
def cluster(workers: int) -> Generator[tuple[dict[str, Any], Callable[[], float]]]:
    """The same for the workers of a Dask cluster; its scheduler is another process, which is not counted."""
    with (
        SubprocessCluster(n_workers=workers, threads_per_worker=1) as found,
        Client(found.scheduler_address, set_as_default=False) as client,
    ):
        client.wait_for_workers(workers)
        pids: Iterable[int] = list(client.run(os.getpid).values())
        options = {"jobs": workers, "executor": client.get_executor(pure=False)}
        yield options, lambda: sum(map(processor_seconds, pids))


ALONE = "the leader alone"
WAYS: dict[str, Callable[[], Any]] = {
    ALONE: lambda: processes(1),
    "2 processes": lambda: processes(2),
    "1 Dask worker": lambda: cluster(1),
    "2 Dask workers": lambda: cluster(2),
}
BASE = "2 processes"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_what_more_cores_would_make_of_it(
    benchmark: BenchmarkFixture, server: embedded.Server, inputs: list[Input], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seconds of each way, their parts, and what comes of these with more cores."""
    monkeypatch.setattr(shares, "LEAST_BYTES", 0)
    spent: dict[str, list[Spent]] = {name: [] for name in WAYS}
    rows: list[dict[str, int]] = []

    def once() -> None:
        for name, way in WAYS.items():
            conninfo = fresh(server, "scaling")
            with way() as (options, of_workers):
                spent[name].append(_import(server, conninfo, inputs, options, of_workers))
            rows.append(counts(conninfo))
            tell(f"{name}: {spent[name][-1].seconds:.1f} s")

    benchmark.pedantic(once, rounds=ROUNDS, iterations=1)  # type: ignore[no-untyped-call]
    assert all(each == rows[0] for each in rows)
    medians = {name: _median(found) for name, found in spent.items()}
    ratios = {
        name: statistics.median(one.seconds / base.seconds for one, base in zip(found, spent[BASE], strict=True))
        for name, found in spent.items()
    }
    parts = {name: attrs.asdict(each) for name, each in medians.items()}
    benchmark.extra_info.update(items=ITEMS, rounds=ROUNDS, cores=CORES, ratios=ratios, spent=parts)
    heads = (
        "records mapped by", "seconds", "around rows", "CPU of leader", "of workers", "of server", "for rows",
        *(f"computed, {workers}" for workers in WORKERS),
    )  # fmt: skip
    table = [
        [
            name,
            *(f"{value:.1f}" for value in (each.seconds, each.around, each.leader, each.workers, each.server)),
            f"{each.writer:.1f}",
            *("" if name == ALONE else f"{each.computed(workers):.1f}" for workers in WORKERS),
        ]
        for name, each in medians.items()
    ]
    tell(f"\n{ITEMS:,} items, {ROUNDS} rounds, {CORES} cores; computed for so many workers and cores for all\n")
    tell(markdown(heads, table))


def _import(
    server: embedded.Server,
    conninfo: str,
    inputs: list[Input],
    options: dict[str, Any],
    of_workers: Callable[[], float],
) -> Spent:
    main = postmaster(server)
    before, ours, theirs = processor_seconds(main), time.process_time(), of_workers()
    last = before

    def watch(_progress: object) -> None:
        nonlocal last
        last = processor_seconds(main)

    seconds, report = import_all(conninfo, inputs, {"mode": Mode.OPTIMIZED, "watch": watch, **options})
    # What a process that is just ending has spent is nowhere until the postmaster has seen to it.
    time.sleep(1)
    around = _around(report)
    # What finds versions is the leader, at work all of its time, and is counted there.
    leader = time.process_time() - ours - report.phases["find versions"]
    return Spent(seconds, around, leader, of_workers() - theirs, last - before, processor_seconds(main) - before)


def _around(report: Report) -> float:
    return sum(report.phases.get(name, 0.0) for name in AROUND)


def _median(found: list[Spent]) -> Spent:
    return Spent(*(statistics.median(values) for values in zip(*map(attrs.astuple, found), strict=True)))
