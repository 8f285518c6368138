"""A server with the settings of a fresh installation, and the files of a set."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.common import ITEMS
from bulkload import Input, Source, embedded, gamedb


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Server]:
    """With the settings of a fresh installation."""
    with embedded.start(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[Input]:
    """A set of BULKLOAD_BENCH_ITEMS items."""
    files = gamedb.generate(tmp_path_factory.mktemp("set"), gamedb.Sizes.of(ITEMS))
    pairs = (
        (gamedb.ITEMS_JOB, files.items),
        (gamedb.NANOS_JOB, files.nanos),
        (gamedb.PERKS_JOB, files.perks),
        (gamedb.SYMBIANTS_JOB, files.symbiants),
    )
    return [Input(job, Source(str(path))) for job, path in pairs]
