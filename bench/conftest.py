"""A server with the settings of a fresh installation, the files of a set, and the gate.

    pytest bench/test_ladder.py --benchmark-json=ladder.json
    pytest bench/test_ladder.py --compare=ladder.json

The second run fails where a ratio has become more than 15 % worse than it was in the first, and says which.
"""

from __future__ import annotations

import compileall
import json
from argparse import ArgumentTypeError
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import cast

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import bulkload
from bench import gate
from bench.common import ITEMS
from bulkload import Input, Source, embedded, gamedb


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--compare",
        type=_results,
        metavar="FILE",
        help="the --benchmark-json of an earlier run, to hold the ratios against",
    )


def pytest_configure() -> None:
    """Compile the modules, as they are where they were installed: worker processes may be told to leave no files."""
    compileall.compile_dir(Path(bulkload.__file__).parent, quiet=1)


def _results(file: str) -> object:
    # Read at once: the run whose ratios it is for may take an hour.
    try:
        return json.loads(Path(file).read_text())
    except OSError as error:
        raise ArgumentTypeError(str(error)) from error


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Hold the ratios of a bench against those of the earlier run, when it has passed."""
    result = yield
    results = cast("Mapping[str, object] | None", pyfuncitem.config.getoption("compare"))
    benchmark = cast("BenchmarkFixture | None", pyfuncitem.funcargs.get("benchmark"))
    if results is not None and benchmark is not None and "ratios" in benchmark.extra_info:
        before = gate.earlier(results, pyfuncitem.name)
        if before is None:
            pytest.fail(f"the earlier run has no ratios of {pyfuncitem.name}", pytrace=False)
        found = gate.worse(before, cast("gate.Info", benchmark.extra_info))
        if found:
            pytest.fail("\n".join(["worse than in the earlier run:", *found]), pytrace=False)
    return result


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Server]:
    """With the settings of a fresh installation."""
    with embedded.start(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> gamedb.Files:
    """A set of BULKLOAD_BENCH_ITEMS items."""
    return gamedb.generate(tmp_path_factory.mktemp("set"), gamedb.Sizes.of(ITEMS))


@pytest.fixture(scope="session")
def inputs(files: gamedb.Files) -> list[Input]:
    """The same, with the job of each file."""
    pairs = (
        (gamedb.ITEMS_JOB, files.items),
        (gamedb.NANOS_JOB, files.nanos),
        (gamedb.PERKS_JOB, files.perks),
        (gamedb.SYMBIANTS_JOB, files.symbiants),
    )
    return [Input(job, Source(str(path))) for job, path in pairs]
