"""Records mapped by the workers of a Dask cluster, which are processes of their own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from distributed import Client as _Client
from distributed import LocalCluster as _LocalCluster

from bulkload import Input, Job, Mode, Progress, Source, UsageError, gamedb, run
from bulkload.cli import main
from tests import mappings

# Half typed, as asynchronous as not.
Client: Any = _Client
LocalCluster: Any = _LocalCluster

ServerConnection = psycopg.Connection[tuple[object, ...]]

# Dask's own sockets, which it leaves to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")

SIZES = gamedb.Sizes(items=250, nanos=30, perks=25, symbiants=40)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A scheduler in this process, and two workers."""
    with LocalCluster(n_workers=2, threads_per_worker=2, processes=True, dashboard_address=":0") as found:
        yield found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> gamedb.Files:
    """A generated set."""
    return gamedb.generate(tmp_path_factory.mktemp("set"), SIZES, 1)


@pytest.fixture
def items(gamedb_database: str) -> Iterator[ServerConnection]:
    """An items database without items that is this test's own."""
    with psycopg.connect(gamedb_database, autocommit=True) as connection:
        yield connection


def differences(connection: ServerConnection, files: gamedb.Files) -> list[str]:
    expected = gamedb.expected(files.items, files.nanos, files.perks, files.symbiants)
    return gamedb.differences(expected, gamedb.actual(connection))


def arguments(files: gamedb.Files, conninfo: str, cluster: Any) -> list[str]:
    return [
        "import-all", "--dsn", conninfo, "--items-file", str(files.items), "--nanos-file", str(files.nanos),
        "--perks-file", str(files.perks), "--symbiants-file", str(files.symbiants), "--optimized", "--clear", "--yes",
        "--batch-size", "10", "--executor", "dask", "--scheduler", cluster.scheduler_address,
    ]  # fmt: skip


@pytest.mark.parametrize("mode", [[], ["--ultra"]], ids=["optimized", "ultra"])
def test_the_command_imports_by_a_cluster(
    items: ServerConnection, gamedb_database: str, files: gamedb.Files, cluster: Any,
    capsys: pytest.CaptureFixture[str], mode: list[str],
) -> None:  # fmt: skip
    """The content is that of the files; the output says who mapped them."""
    assert main([*arguments(files, gamedb_database, cluster), *mode]) == 0
    assert "4 threads of 2 workers" in capsys.readouterr().out
    assert differences(items, files) == []


@pytest.mark.parametrize("mode", [Mode.OPTIMIZED, Mode.ULTRA])
def test_a_worker_is_lost(items: ServerConnection, files: gamedb.Files, cluster: Any, mode: Mode) -> None:
    """In the middle: what it was to map is mapped by another one, and written once."""
    with Client(cluster.scheduler_address, set_as_default=False) as client:
        pids = list(client.run(os.getpid).values())
        assert os.getpid() not in pids
        moments = iter([False, False, True])

        def kill(_progress: Progress) -> None:
            if next(moments, False):
                os.kill(pids[0], signal.SIGKILL)

        jobs: list[tuple[Job[Any], Path]] = [(gamedb.ITEMS_JOB, files.items), (gamedb.NANOS_JOB, files.nanos)]
        inputs = [Input(job, Source(str(path))) for job, path in jobs]
        report = run(
            items, inputs, clear=True, chunk=5, jobs=4, mode=mode, watch=kill, executor=client.get_executor(pure=False)
        )
        client.wait_for_workers(2)
    assert next(moments, None) is None
    alone = run(items, inputs, clear=True, chunk=5)
    assert {name: table.inserted for name, table in report.tables.items()} == {
        name: table.inserted for name, table in alone.tables.items()
    }


def test_a_fault_in_a_cluster_undoes_the_load(connection: ServerConnection, cluster: Any, tmp_path: Path) -> None:
    """Its message is that of the mapping."""
    connection.execute(mappings.SCHEMA.encode())
    source = tmp_path / "posts.json"
    source.write_text('[{"slug": "a", "author": "a", "age": 1, "tags": [], "lines": 1}]', encoding="utf-8")
    with (
        Client(cluster.scheduler_address, set_as_default=False) as client,
        pytest.raises(UsageError, match=r"tags: a mapping looks up .* but its plan names no lookup"),
    ):
        run(
            connection, [Input(mappings.LOOKING_JOB, Source(str(source)))], jobs=2,
            executor=client.get_executor(pure=False),
        )  # fmt: skip
    assert connection.execute("SELECT count(*) FROM posts").fetchall() == [(0,)]


def test_what_keeps_a_cluster_from_being_used(
    files: gamedb.Files, gamedb_database: str, cluster: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Is told in one line, before anything is done."""
    given = arguments(files, gamedb_database, cluster)
    assert main([*given[:-1], "tcp://127.0.0.1:9"]) == 2
    assert "--scheduler tcp://127.0.0.1:9: no Dask scheduler answers there" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(given[:-2])
    assert "--executor dask and --scheduler go together" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([each for each in given if each != "--optimized"])
    assert "--executor dask needs --optimized" in capsys.readouterr().err
