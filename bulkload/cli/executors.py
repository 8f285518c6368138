"""Where a command has records mapped: in processes of its own, or by the workers of a Dask cluster."""

from __future__ import annotations

import os
from collections.abc import Generator
from concurrent.futures import Executor
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from bulkload.cli.output import tell
from bulkload.errors import UsageError

if TYPE_CHECKING:
    from bulkload.cli.arguments import Options

DASK = "dask"

# Seconds after which a scheduler that does not answer is taken not to be there.
_PATIENCE = "10s"


@contextmanager
def executor(options: Options) -> Generator[tuple[Executor | None, int]]:
    """What maps records, None for processes of the load's own, and how many chunks it works on at a time.

    Raises UsageError where there is no such cluster.
    """
    if getattr(options, "executor", "") != DASK:
        yield None, getattr(options, "jobs", None) or os.cpu_count() or 1
        return
    try:
        distributed = import_module("distributed")
    except ImportError as error:
        raise UsageError("--executor dask needs Dask: pip install 'bulkload[dask]'") from error
    try:
        client = distributed.Client(options.scheduler, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"--scheduler {options.scheduler}: no Dask scheduler answers there: {error}") from error
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise UsageError(f"--scheduler {options.scheduler}: the cluster has no workers; start some")
        tell(f"Dask cluster at {options.scheduler}: {threads} threads of {len(client.nthreads())} workers")
        # Not pure: a chunk is no key to a result that somebody may have already.
        yield client.get_executor(pure=False), options.jobs or threads
