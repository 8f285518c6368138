"""Loads the items part one way, or all of a set, in a process of its own, and prints the seconds.

    python -m bench.process WAY CONNINFO DIRECTORY

WAY is a baseline or a mode of bulkload, or `whole`: all four files in one transaction. CONNINFO says where the tables
are, DIRECTORY has the source files. The seconds are from the first record read until the view is fresh; starting Python
and importing modules is not in them.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import psycopg

from bench.common import CORES
from bulkload import Input, Job, Mode, Source, gamedb, run
from bulkload.mapping.passes import unhurried_collector

MODES = {mode.value for mode in Mode}

ITEMS_PART = (gamedb.ITEMS_JOB, gamedb.NANOS_JOB)
WHOLE = (*ITEMS_PART, gamedb.PERKS_JOB, gamedb.SYMBIANTS_JOB)


def by_bulkload(mode: Mode, jobs: Sequence[Job[Any]], dsn: str, files: gamedb.Files) -> None:
    """bulkload itself, in one of its modes."""
    paths = (files.items, files.nanos, files.perks, files.symbiants)
    inputs = [Input(job, Source(str(path))) for job, path in zip(jobs, paths, strict=False)]
    with psycopg.connect(dsn, autocommit=True) as connection:
        run(connection, inputs, mode=mode, clear=True, jobs=CORES, finish=gamedb.refresh_views)


def by_baseline(name: str) -> Callable[[str, gamedb.Files], None]:
    """One of bench.baselines; like bulkload, with a slow garbage collector and the view refreshed in the end."""
    load = cast("Callable[[str, gamedb.Files], None]", importlib.import_module(f"bench.baselines.{name}").load)

    def loaded(dsn: str, files: gamedb.Files) -> None:
        with unhurried_collector():
            load(dsn, files)
        with psycopg.connect(dsn, autocommit=True) as connection:
            gamedb.refresh_views(connection)

    return loaded


def _loader(way: str) -> Callable[[str, gamedb.Files], None]:
    if way == "whole":
        return partial(by_bulkload, Mode.OPTIMIZED, WHOLE)
    return partial(by_bulkload, Mode(way), ITEMS_PART) if way in MODES else by_baseline(way)


def main() -> None:
    way, dsn, directory = sys.argv[1:]
    load = _loader(way)
    files = gamedb.Files.within(Path(directory))
    begin = time.perf_counter()
    load(dsn, files)
    print(time.perf_counter() - begin)  # noqa: T201 - that is its result


if __name__ == "__main__":
    main()
