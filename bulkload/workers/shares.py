"""Which inputs of a run can be mapped in other processes, and where these come from."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager

from bulkload.errors import UsageError
from bulkload.mapping.job import Input, Job
from bulkload.model.tables import Entity, Replace
from bulkload.workers.processes import Processes

logger = logging.getLogger("bulkload")

# Bytes of sources below which processes are not worth their start: of 39 MB, on two cores, no gain showed.
LEAST_BYTES = 32 << 20


@contextmanager
def started(
    inputs: Sequence[Input], jobs: int, *, writing: bool = False, executor: Executor | None = None
) -> Generator[Executor | None]:
    """What maps these inputs: the `executor`, or so many processes, which are gone when the block ends.

    None where processes would not pay. Raises UsageError for a job that cannot be sent to another process.
    """
    if jobs < 1:
        raise UsageError(f"jobs is {jobs}; it is the number of processes that map, at least 1")
    mine = shared_out(inputs, writing=writing)
    if not mine or (jobs == 1 and executor is None):
        yield None
        return
    _check_pickling(mine)
    if executor is not None:
        yield executor
        return
    size = sum(each.source.size or 0 for each in mine.values())
    if size < LEAST_BYTES:
        logger.debug("no worker processes for %d bytes", size)
        yield None
        return
    processes = Processes(jobs)
    try:
        yield processes
    except BaseException:
        processes.shutdown(cancel_futures=True)
        raise
    finally:
        processes.shutdown()


def shared_out(inputs: Sequence[Input], *, writing: bool) -> dict[int, Input]:
    """Those of the inputs, by number, that can be mapped elsewhere, and whose rows can be written by several if so."""
    return {number: each for number, each in enumerate(inputs) if _can_be_shared_out(each.job, writing=writing)}


def _can_be_shared_out(job: Job[object], *, writing: bool) -> bool:
    # What is looked up is known to the leader alone; so is what a key stands for in which there is another one. A
    # shared row is written before the chunk that it came with, so that it may refer to nothing in that.
    return not job.plan.lookups and not any(
        (reference.entity.conflict is not None and reference.column in relation.key)
        or (writing and relation.conflict is not None and not isinstance(relation.conflict, Replace))
        for relation, references in job.plan.references.items()
        for reference in references
        if isinstance(relation, Entity)
    )


def _check_pickling(inputs: Mapping[int, Input]) -> None:
    for each in inputs.values():
        try:
            pickle.dumps(each.job)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise UsageError(
                f"the job {each.job.name} cannot be sent to worker processes: {error}; define its functions and "
                "classes at the top level of a module, or give jobs=1"
            ) from error
