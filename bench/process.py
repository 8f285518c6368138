"""Loads the items part one way, in a process of its own, and prints the seconds.

    python -m bench.process WAY CONNINFO DIRECTORY

WAY is a baseline or a mode of bulkload, CONNINFO says where the tables are, DIRECTORY has the source files. The seconds
are from the first record read until the view is fresh; starting Python and importing modules is not in them.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import psycopg

from bench.common import CORES
from bulkload import Input, Mode, Source, gamedb, run
from bulkload.mapping.passes import unhurried_collector

MODES = {mode.value for mode in Mode}


def by_bulkload(mode: Mode, dsn: str, files: gamedb.Files) -> None:
    """bulkload itself, in one of its modes."""
    inputs = [
        Input(gamedb.ITEMS_JOB, Source(str(files.items))),
        Input(gamedb.NANOS_JOB, Source(str(files.nanos))),
    ]
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


def main() -> None:
    way, dsn, directory = sys.argv[1:]
    load = partial(by_bulkload, Mode(way)) if way in MODES else by_baseline(way)
    files = gamedb.Files.within(Path(directory))
    begin = time.perf_counter()
    load(dsn, files)
    print(time.perf_counter() - begin)  # noqa: T201 - that is its result


if __name__ == "__main__":
    main()
