"""Failures that pass by themselves: which they are, and how what they ended is done again.

Only what was undone whole is done again, so often and no more, after pauses that grow and are left to chance, so that
those who were in each other's way do not meet again: "full jitter" of
https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/. Each time it is told.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable, Collection
from typing import TypeVar

import psycopg
from psycopg import errors

from bulkload.errors import ServerError, one_line

logger = logging.getLogger("bulkload")

T = TypeVar("T")

CONFLICTS: frozenset[str | None] = frozenset(
    {errors.DeadlockDetected.sqlstate, errors.SerializationFailure.sqlstate, errors.LockNotAvailable.sqlstate}
)
"""The SQLSTATEs of what ends a transaction for the sake of another one: 40P01, 40001, 55P03."""

CHANGED = "40001"
"""What a decision rests on is not so any more; the server's own word for it is serialization_failure."""

DEADLOCKS = CONFLICTS - {errors.LockNotAvailable.sqlstate}
"""Those after which a whole load is done again; where it was a lock that was not to be had, it has waited for that."""

ATTEMPTS = 5
"""Of a transaction that is one of many."""
WHOLE_ATTEMPTS = 3
"""Of a load that is one transaction."""

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0
_PATIENCE = 30.0
"""Seconds that a server is given to let us in."""

# libpq tells no SQLSTATE of a connection that failed. It would be 57P03 or 53300; these are the words for it of a
# server that speaks English, and another one is not waited for.
_FULL_OR_STARTING = re.compile(
    r"the database system is |too many (?:clients|connections)|remaining connection slots are reserved"
)
_LOSSES = ("08", "57P")
"""What the SQLSTATEs begin with of what ends a session: failures of the connection, and shutdowns."""
_GONE = re.compile(r"refused|No such file or directory|server closed the connection|reset by peer")


def pause(attempt: int) -> float:
    """Seconds before the attempt that comes after this one, counted from 1."""
    return random.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (attempt - 1)))  # noqa: S311 - no secret


def retried(
    task: Callable[[], T],
    undone: Callable[[], object] | None = None,
    *,
    states: Collection[str | None] = CONFLICTS,
    attempts: int = ATTEMPTS,
) -> T:
    """What `task` returns, done again where it fails with one of these SQLSTATEs and has left nothing of itself.

    `undone` is called before each further attempt. Raises what the last one does.
    """
    attempt = 1
    while True:
        try:
            return task()
        except (ServerError, psycopg.Error) as error:
            if error.sqlstate not in states or attempt == attempts:
                raise
            seconds = pause(attempt)
            attempt += 1
            reason = one_line(str(error))
            logger.warning("%s; trying again in %.1f s (attempt %d of %d)", reason, seconds, attempt, attempts)
        if undone is not None:
            undone()
        time.sleep(seconds)


def is_loss(error: psycopg.Error) -> bool:
    """Whether the connection is lost, so that what was asked last may have been done or not."""
    return error.sqlstate is None or error.sqlstate.startswith(_LOSSES)


def let_in(connect: Callable[[], T], told: Callable[[psycopg.Error], str]) -> T:
    """The connection that `connect` opens, tried again for a while where the server is full, or on its way up.

    A server that is down is not waited for, unless it was seen to be about to go. `told` makes the message of an error.
    Raises what `connect` does.
    """
    until, attempt, seen = time.monotonic() + _PATIENCE, 1, False
    while True:
        try:
            return connect()
        except psycopg.OperationalError as error:
            seen = seen or _FULL_OR_STARTING.search(str(error)) is not None
            passes = seen and (_FULL_OR_STARTING.search(str(error)) or _GONE.search(str(error)))
            seconds = pause(attempt)
            if not passes or time.monotonic() + seconds > until:
                raise
            logger.warning("cannot connect: %s; trying again in %.1f s", told(error), seconds)
        attempt += 1
        time.sleep(seconds)
