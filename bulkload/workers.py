"""The worker processes of a load, as their leader sees them: how they start, how they are spoken to, how they end."""

from __future__ import annotations

import logging
import pickle
import signal
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import get_context, resource_tracker
from typing import cast

from bulkload import worker
from bulkload.errors import BulkloadError, UsageError
from bulkload.exchange import Encoded, Pipe, Work, receive_large
from bulkload.job import Input, Job
from bulkload.tables import Entity

logger = logging.getLogger("bulkload")

# Bytes of sources below which workers are not worth their start: of 39 MB, on two cores, the gain was within the noise.
LEAST_BYTES = 32 << 20

# Seconds that a worker is given to end by itself, and then again when it was told to.
_PATIENCE = 5


class WorkerProcess:
    """A worker process, and the leader's end of the pipe to it."""

    def __init__(self, inputs: bytes, *, writing: bool = False) -> None:
        self._writing = writing
        # Not fork: a process with threads and an open connection must not be copied.
        context = get_context("spawn")
        pipe, theirs = context.Pipe()
        self.pipe = cast(Pipe, pipe)
        self.process = context.Process(target=worker.main, args=(theirs, inputs), daemon=True)
        self.process.start()
        theirs.close()
        self.busy = True
        """Whether it has yet to answer."""
        self.holds: list[int] = []
        """The chunks that it has mapped and not handed over."""
        self.doing = ""
        """What it does, for a message."""
        self.seconds: Mapping[str, float] = {}
        """What its phases took so far."""

    def send(self, message: object, data: bytes | None = None) -> None:
        """Send a message, and the bytes that follow it. Raises BulkloadError where the process is gone."""
        try:
            self.pipe.send(message)
            if data is not None:
                self.pipe.send_bytes(data)
        except OSError as error:
            raise self._death() from error

    def receive(self) -> object:
        """Its next message. Raises BulkloadError where the process is gone."""
        try:
            message = self.pipe.recv()
            return receive_large(self.pipe, message) if isinstance(message, Encoded) else message
        except (EOFError, OSError) as error:
            raise self._death() from error

    def end(self, patience: float = _PATIENCE) -> None:
        """See to it that the process is gone."""
        self.pipe.close()
        self.process.join(patience)
        if self.process.is_alive():
            self.process.terminate()
            self.process.join(_PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process.close()

    def _death(self) -> BulkloadError:
        self.process.join(_PATIENCE)
        code = self.process.exitcode or 0
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        if not self.doing and code == 1:
            return BulkloadError(
                f"a worker process died ({how}) as it started; a script that calls run with jobs has to do so under "
                "`if __name__ == '__main__':`"
            )
        when = f"while it mapped {self.doing}" if self.doing else "as it started"
        changed = "" if self._writing else "; nothing was changed"
        return BulkloadError(
            f"a worker process died ({how}) {when}{changed}. Where memory has run out, use fewer jobs; "
            "where a record ends the mapping, leave it out"
        )


@contextmanager
def started(inputs: Sequence[Input], jobs: int, *, writing: bool = False) -> Generator[list[WorkerProcess]]:
    """So many worker processes for these inputs; none where they would not pay. They are gone when the block ends.

    Raises UsageError for a job that cannot be sent to another process, before any is started.
    """
    if jobs < 1:
        raise UsageError(f"jobs is {jobs}; it is the number of processes that map, at least 1")
    mine = shared_out(inputs, writing=writing)
    if jobs == 1 or not mine:
        yield []
        return
    sent = _pickled(mine)
    size = sum(each.source.size or 0 for each in mine.values())
    if size < LEAST_BYTES:
        logger.debug("no worker processes for %d bytes", size)
        yield []
        return
    processes: list[WorkerProcess] = []
    try:
        with _uninterrupted():
            processes.extend(WorkerProcess(sent, writing=writing) for _ in range(jobs))
        with needed(processes):
            yield processes
    finally:
        for each in processes:
            each.end()


@contextmanager
def needed(processes: list[WorkerProcess]) -> Generator[None]:
    """A block that needs the processes: when it ends they are gone, and the list is empty. It may be inside another."""
    try:
        yield
    except BaseException:
        for each in processes:
            each.process.terminate()
        raise
    finally:
        # All of them first, so that they end side by side.
        for each in processes:
            each.pipe.close()
        while processes:
            processes.pop().end()


def shared_out(inputs: Sequence[Input], *, writing: bool) -> dict[int, Input]:
    """Those of the inputs, by number, whose records can be mapped, or mapped and written, in worker processes."""
    return {number: each for number, each in enumerate(inputs) if _can_be_shared_out(each.job, writing=writing)}


def _can_be_shared_out(job: Job[object], *, writing: bool) -> bool:
    # What is looked up is known to the leader alone; so is what a key stands for in which there is another one. A
    # shared row is written before the chunk that it came with, so that it may refer to nothing in that.
    return not job.plan.lookups and not any(
        (reference.entity.conflict is not None and reference.column in relation.key)
        or (writing and worker.is_shared(relation))
        for relation, references in job.plan.references.items()
        for reference in references
        if isinstance(relation, Entity)
    )


def _pickled(inputs: Mapping[int, Input]) -> bytes:
    for each in inputs.values():
        try:
            pickle.dumps(each.job)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise UsageError(
                f"the job {each.job.name} cannot be sent to worker processes: {error}; define its functions and "
                "classes at the top level of a module, or give jobs=1"
            ) from error
    return pickle.dumps(inputs)


@contextmanager
def _uninterrupted() -> Generator[None]:
    """SIGINT held back: a process inherits that, and so is not interrupted before it can ignore the signal."""
    # It would let the signal through again where it starts its own process inside the block.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def packed(chunk: int, number: int, pieces: Sequence[tuple[int, bytes]]) -> tuple[Work, bytes]:
    """Records of an input as a message: the bytes as one piece, which costs least."""
    data = [piece[1] for piece in pieces]
    return Work(chunk, number, [piece[0] for piece in pieces], list(map(len, data))), b"".join(data)
