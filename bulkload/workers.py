"""Worker processes on this machine, as an executor: how they start, what they are given, how they end.

A process that dies is replaced, and what it was doing is done again, once: what is run here depends on nothing that a
process did before.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Generator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeAlias, TypeVar, cast

import attrs

from bulkload.errors import BulkloadError
from bulkload.passes import unhurried_collector

P = ParamSpec("P")
T = TypeVar("T")

# The type of both ends of a pipe; to the stubs it depends on what goes each way, which here is anything.
Pipe: TypeAlias = "Connection[object, object]"

# Seconds that a process is given to end by itself, and then again when it was told to.
_PATIENCE = 5


class WorkerDiedError(BulkloadError):
    """A worker process is gone, and so was the one that was started in its place."""

    def __init__(self, how: str, *, started: bool) -> None:
        super().__init__(f"a worker process died ({how})")
        self.how = how
        self.started = started
        """Whether it had begun to work."""


@attrs.define
class _Call:
    future: Future[Any]
    call: tuple[Callable[..., object], tuple[object, ...], dict[str, object]]


class Processes(Executor):
    """So many worker processes. Functions and arguments that are submitted must pickle."""

    def __init__(self, count: int) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._stopped = False
        with _uninterrupted():
            self._hands = [_Hand(self._calls) for _ in range(count)]
        for hand in self._hands:
            hand.start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have it called. The future raises WorkerDiedError where the process is lost twice."""
        future = Future[T]()
        self._calls.put(_Call(future, (fn, args, kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as in the base class
        """No process is left when it returns. With `cancel_futures`, what they are doing is cut short."""
        if self._stopped:
            return
        self._stopped = True
        if cancel_futures:
            for hand in self._hands:
                hand.stop()
        for _ in self._hands:
            self._calls.put(None)
        if wait:
            for hand in self._hands:
                hand.join()


class _Hand(threading.Thread):
    """Speaks to one process at a time."""

    def __init__(self, calls: SimpleQueue[_Call | None]) -> None:
        super().__init__(name="bulkload-worker", daemon=True)
        self._calls = calls
        self._stopping = False
        self._process = _Process()

    def run(self) -> None:
        try:
            while (call := self._calls.get()) is not None:
                if self._stopping or not call.future.set_running_or_notify_cancel():
                    call.future.cancel()
                    continue
                try:
                    result = self._called(call)
                except Exception as error:  # noqa: BLE001 - raised by whoever waits for it
                    call.future.set_exception(error)
                else:
                    call.future.set_result(result)
        finally:
            self._process.end()

    def stop(self) -> None:
        """End the process, whatever it does."""
        self._stopping = True
        self._process.terminate()

    def _called(self, call: _Call) -> object:
        try:
            return self._process.call(call.call)
        except WorkerDiedError as error:
            # What cannot start would not start again.
            if self._stopping or not error.started:
                raise
            self._process.end()
            with _uninterrupted():
                self._process = _Process()
            return self._process.call(call.call)


class _Process:
    """A worker process, and this end of the pipe to it."""

    def __init__(self) -> None:
        # Not fork: a process with threads and an open connection must not be copied.
        context = get_context("spawn")
        pipe, theirs = context.Pipe()
        self._pipe = cast(Pipe, pipe)
        self._process = context.Process(target=serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._started = False

    def call(self, call: object) -> object:
        """What the call returned in the process. Raises what it raised, or WorkerDiedError."""
        try:
            if not self._started:
                self._pipe.recv()
                self._started = True
            self._pipe.send(call)
            ok, result = cast("tuple[bool, object]", self._pipe.recv())
        except (EOFError, OSError) as error:
            self._process.join(_PATIENCE)
            code = self._process.exitcode or 0
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise WorkerDiedError(how, started=self._started or code != 1) from error
        if ok:
            return result
        raise cast("Exception", result)

    def terminate(self) -> None:
        # It may be ended by another thread at this moment.
        with suppress(ValueError):
            self._process.terminate()

    def end(self) -> None:
        """See to it that the process is gone."""
        self._pipe.close()
        self._process.join(_PATIENCE)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(_PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()


def serve(pipe: Pipe) -> None:
    """What a worker process does: answer calls until the pipe is closed."""
    # Whoever started it is interrupted too, and ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError), unhurried_collector():
        pipe.send(None)
        while True:
            answer: tuple[bool, object]
            try:
                function, args, kwargs = cast("tuple[Callable[..., object], Any, Any]", pipe.recv())
                answer = True, function(*args, **kwargs)
            except (EOFError, BrokenPipeError, ConnectionResetError):
                raise
            except Exception as error:  # noqa: BLE001 - raised at the other end
                answer = False, _sendable(error)
            pipe.send(answer)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _sendable(error: Exception) -> Exception:
    with suppress(Exception):
        pickle.loads(pickle.dumps(error))  # noqa: S301 - of our own making
        return error
    return BulkloadError(f"{type(error).__name__}: {error}: {traceback.format_exc()}")


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
