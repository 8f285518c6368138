"""What the tests of faults share: how many rounds there are, what came of them, and faults at a chosen step."""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
import pytest
from psycopg.abc import PQGen
from psycopg.pq import PipelineStatus

T = TypeVar("T")

Connection = psycopg.Connection[tuple[object, ...]]

ROUNDS = int(os.environ.get("BULKLOAD_FAULT_ROUNDS", "1"))
"""Rounds of each kind of fault in each place."""

# In CI, what decides is the same each time, as far as a clock lets it.
CHANCE = random.Random(0 if os.environ.get("CI") else None)  # noqa: S311 - no secret

TALLY: Counter[tuple[str, str]] = Counter()
"""How often each kind of fault had each outcome."""


def count(fault: str, outcome: str) -> None:
    """One more round."""
    TALLY[fault, outcome] += 1


def table() -> Iterator[str]:
    """The tally, a kind of fault a line."""
    outcomes = sorted({outcome for _, outcome in TALLY})
    width = max(len(fault) for fault, _ in TALLY)
    yield f"{'fault':{width}} {'rounds':>8}" + "".join(f"{outcome:>12}" for outcome in outcomes)
    for fault in sorted({fault for fault, _ in TALLY}):
        numbers = [TALLY[fault, outcome] for outcome in outcomes]
        yield f"{fault:{width}} {sum(numbers):>8}" + "".join(f"{number or '':>12}" for number in numbers)
    yield f"{'all':{width}} {sum(TALLY.values()):>8}"


class Injector:
    """Lets something happen at one step of all that this process asks servers for; `at` counts from 0.

    A step is whatever the driver waits for: the begin of a transaction, a statement, a piece of COPY, a commit.
    `interrupt` is Ctrl-C before it; `cut before` and `cut after` end the session at the server, the latter so that the
    client never hears what came of the step.
    """

    KINDS = ("interrupt", "cut before", "cut after")

    def __init__(self, admin: Connection, kind: str, at: int | None) -> None:
        self._admin = admin
        self._kind = kind
        self._at = at
        self._lock = threading.Lock()
        self.steps = 0

    @contextmanager
    def __call__(self) -> Generator[None]:
        """While this lasts."""
        wait = psycopg.Connection.wait

        def faulty(connection: psycopg.Connection[Any], gen: PQGen[T], *rest: Any, **named: Any) -> T:
            if not self._due(connection):
                return wait(connection, gen, *rest, **named)
            if self._kind == "interrupt":
                raise KeyboardInterrupt
            if self._kind == "cut after":
                answer = wait(connection, gen, *rest, **named)
                self._cut(connection)
                if connection.pgconn.pipeline_status is not PipelineStatus.OFF:
                    return answer  # the driver finds out at its next step
                raise psycopg.OperationalError("the connection is lost")
            self._cut(connection)
            return wait(connection, gen, *rest, **named)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(psycopg.Connection, "wait", faulty)
            yield

    def _due(self, connection: psycopg.Connection[Any]) -> bool:
        if connection is self._admin or (
            # Only the main thread is interrupted.
            self._kind == "interrupt" and threading.current_thread() is not threading.main_thread()
        ):
            return False
        with self._lock:
            self.steps += 1
            return self.steps - 1 == self._at

    def _cut(self, connection: psycopg.Connection[Any]) -> None:
        self._admin.execute("SELECT pg_terminate_backend(%s, 10000)", [connection.info.backend_pid])
