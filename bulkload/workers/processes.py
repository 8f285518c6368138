"""Worker processes on this machine, as an executor: how they start, what they are given, how they end.

A process that dies is replaced, and what it was doing is done again, once: what is run here depends on nothing that a
process did before.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeAlias, TypeVar, cast

import attrs

from bulkload.errors import BulkloadError
from bulkload.mapping.passes import unhurried_collector

P = ParamSpec("P")
T = TypeVar("T")

# The type of both ends of a pipe; to the stubs it depends on what goes each way, which here is anything.
Pipe: TypeAlias = "Connection[object, object]"

# Calls that a process has at a time, one to answer and one to go on with, so that it never waits for the next.
_AT_A_TIME = 2

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
    attempts: int = 0
    """How often it was begun."""


class _Calls:
    """What waits for a process that is free, until there is none to be had any more; None ends one."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[_Call | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._failure: Exception | None = None

    def put(self, call: _Call | None) -> None:
        with self._lock:
            if call is None or self._failure is None:
                self._waiting.put(call)
            else:
                call.future.set_exception(self._failure)

    def get(self, *, block: bool) -> _Call | None:
        """Raises Empty where nothing waits."""
        return self._waiting.get(block=block)

    def fail(self, error: Exception) -> None:
        """Whoever waits for an answer now, or will, is told."""
        with self._lock:
            self._failure = error
            waiting = [self._waiting.get_nowait() for _ in range(self._waiting.qsize())]
            for call in waiting:
                if call is None:
                    self._waiting.put(None)
                elif call.future.set_running_or_notify_cancel():
                    call.future.set_exception(error)


class Processes(Executor):
    """So many worker processes. Functions and arguments that are submitted must pickle.

    Raises BulkloadError where the machine has no room for so many.
    """

    def __init__(self, count: int) -> None:
        self._calls = _Calls()
        self._stopped = False
        self._hands: list[_Hand] = []
        try:
            with _uninterrupted():
                for _ in range(count):
                    self._hands.append(_Hand(self._calls))
            for hand in self._hands:
                hand.start()
        except BaseException as error:
            # The machine has room for some of them only: none is left.
            for hand in self._hands:
                hand.stop()
                self._calls.put(None)
            for hand in self._hands:
                hand.end_process()
            if isinstance(error, (OSError, RuntimeError)):
                raise BulkloadError(
                    f"{count} worker processes could not be started ({error}); use fewer jobs"
                ) from error
            raise

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have it called.

        The future raises WorkerDiedError where the process is lost twice, and BulkloadError where there is no other.
        """
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

    def __init__(self, calls: _Calls) -> None:
        super().__init__(name="bulkload-worker", daemon=True)
        self._calls = calls
        self._stopping = False
        self._ended = False
        self._process = _Process()

    def run(self) -> None:
        sent: deque[_Call] = deque()
        try:
            while self._send(sent) or sent:
                if not sent:
                    continue
                try:
                    self._answer(sent)
                except WorkerDiedError as error:
                    self._begin_again(sent, error)
        except Exception as error:  # noqa: BLE001 - raised by those who wait, of whom none would hear of it otherwise
            for call in sent:
                call.future.set_exception(error)
            self._calls.fail(error)
        finally:
            self._process.end()

    def end_process(self) -> None:
        """See to it that the process is gone, also of a thread that could not be started."""
        if self.ident is not None:
            self.join()
        self._process.end()

    def stop(self) -> None:
        """End the process, whatever it does."""
        self._stopping = True
        self._process.terminate()

    def _send(self, sent: deque[_Call]) -> bool:
        """Give the process as many calls as it may have, and wait for one where it has none; False at the end."""
        while len(sent) < _AT_A_TIME and not self._ended:
            try:
                call = self._calls.get(block=not sent)
            except Empty:
                break
            if call is None:
                self._ended = True
            elif self._stopping or not call.future.set_running_or_notify_cancel():
                call.future.cancel()
            else:
                self._give(call, sent)
        return not self._ended

    def _give(self, call: _Call, sent: deque[_Call]) -> None:
        try:
            self._process.send(call.call)
        except Exception as error:  # noqa: BLE001 - whatever it does not pickle with
            call.future.set_exception(error)
        else:
            sent.append(call)

    def _answer(self, sent: deque[_Call]) -> None:
        # By itself, so that no result stays in memory until the next one has come.
        ok, result = self._process.receive()
        future = sent.popleft().future
        if ok:
            future.set_result(result)
        else:
            future.set_exception(cast("Exception", result))

    def _begin_again(self, sent: deque[_Call], error: WorkerDiedError) -> None:
        """The process is gone: another one does what it had to do, but for what two of them died of."""
        sent[0].attempts += 1
        # What cannot start would not start again.
        self._stopping = self._stopping or not error.started
        if self._stopping:
            while sent:
                sent.popleft().future.set_exception(error)
        elif sent[0].attempts > 1:
            sent.popleft().future.set_exception(error)
        self._process.end()
        if not self._stopping:
            try:
                with _uninterrupted():
                    self._process = _Process()
            except OSError as failure:
                raise BulkloadError(
                    f"{error}, and no other one could be started in its place ({failure}); use fewer jobs, or give the "
                    "machine more memory or processes"
                ) from failure
            for call in sent:
                self._process.send(call.call)


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
        self._ended = False

    def send(self, call: object) -> None:
        """Have it called. Where the process is gone, it is `receive` that says so."""
        with suppress(OSError):
            self._pipe.send(call)

    def receive(self) -> tuple[bool, object]:
        """Whether the next call returned, with what, or what it raised. Raises WorkerDiedError."""
        try:
            if not self._started:
                self._pipe.recv()
                self._started = True
            answer = self._pipe.recv_bytes()
        except (EOFError, OSError) as error:
            code = self._exit_code()
            how = f"signal {-code}" if code and code < 0 else f"exit code {'unknown' if code is None else code}"
            raise WorkerDiedError(how, started=self._started or code != 1) from error
        try:
            return cast("tuple[bool, object]", pickle.loads(answer))  # noqa: S301 - of a process of this one's own
        except Exception as error:  # noqa: BLE001 - whatever the import of a module raises
            return False, error

    def _exit_code(self) -> int | None:
        """Of the process, which is at its end; None where it does not come to it."""
        self._process.join(_PATIENCE)
        # The system tells it once: where another thread of the program was told, it takes a moment to be known here.
        for _ in range(100):
            if (code := self._process.exitcode) is not None:
                return code
            time.sleep(0.01)
        return None

    def terminate(self) -> None:
        # It may be ended by another thread at this moment.
        with suppress(ValueError):
            self._process.terminate()

    def end(self) -> None:
        """See to it that the process is gone."""
        if self._ended:
            return
        self._ended = True
        self._pipe.close()
        self._process.join(_PATIENCE)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(_PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        # As above: then it is the other thread that learns of the end, and this one may not yet know.
        with suppress(ValueError):
            self._process.close()


def serve(pipe: Pipe) -> None:
    """What a worker process does: answer calls until the pipe is closed."""
    # Whoever started it is interrupted too, and ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    threading.Thread(target=_end_with_parent, daemon=True).start()
    calls: SimpleQueue[Any] = SimpleQueue()
    # The next call is read while one is worked on; its answer is sent before that, so that what died is known.
    threading.Thread(target=_read, args=(pipe, calls), daemon=True).start()
    with suppress(BrokenPipeError, ConnectionResetError), unhurried_collector():
        pipe.send(None)
        while (call := calls.get()) is not None:
            try:
                function, args, kwargs = pickle.loads(call)  # noqa: S301 - of the process that started this one
                answer = True, function(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - raised at the other end
                answer = False, _sendable(error)
            pipe.send(answer)


def _read(pipe: Pipe, calls: SimpleQueue[Any]) -> None:
    with suppress(EOFError, OSError):
        while True:
            calls.put(pipe.recv_bytes())
    calls.put(None)


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
