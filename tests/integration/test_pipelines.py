"""Many statements in one round trip: which of them were run, and what is told of the one that was refused."""

from __future__ import annotations

import os
import signal
import threading
import time

import psycopg
import pytest
from psycopg.pq import PipelineStatus, TransactionStatus

from bench.line import Line
from bulkload import ServerError
from bulkload.server.connection import Connection, Step, conninfo_of, in_turn, pipelined, whole


@pytest.fixture
def numbers(connection: Connection) -> Connection:
    connection.execute("CREATE TABLE numbers (number int PRIMARY KEY)")
    return connection


def add(number: int) -> Step:
    return Step(f"adding {number}", "INSERT INTO numbers VALUES (%(number)s)", {"number": number})


def found(connection: Connection) -> list[object]:
    return [number for (number,) in connection.execute("SELECT number FROM numbers ORDER BY number")]


def test_results_come_in_the_order_of_the_statements(numbers: Connection) -> None:
    """Each statement sees what those before it did, and its cursor has its own result."""
    counted = Step("counting", "SELECT count(*) FROM numbers")
    first, _, second = pipelined(numbers, [counted, add(1), counted])
    assert (first.fetchone(), second.fetchone()) == ((0,), (1,))


@pytest.mark.parametrize("count", [3, 300])
def test_the_one_that_is_refused_is_named(numbers: Connection, count: int) -> None:
    """However many there are: what the refused one was for is told, with its SQLSTATE, and none of the others stays."""
    steps = [*map(add, range(count)), add(count // 2), *map(add, range(count, 2 * count))]
    with pytest.raises(ServerError, match=f"^adding {count // 2}: .*already exists") as error:
        pipelined(numbers, steps)
    assert error.value.sqlstate == psycopg.errors.UniqueViolation.sqlstate
    assert found(numbers) == []
    assert numbers.info.transaction_status == TransactionStatus.IDLE


def test_a_savepoint_is_all_that_is_undone(numbers: Connection) -> None:
    """In a transaction, what was done before stays, and the transaction goes on."""
    with numbers.transaction():
        pipelined(numbers, [add(1)])
        with pytest.raises(ServerError, match=r"^adding 1: "):
            whole(numbers, [add(2), add(1)])
        whole(numbers, [add(3)])
    assert found(numbers) == [1, 3]


def test_failures_can_be_many(numbers: Connection) -> None:
    """The session knows its statements also after it has met each of them in a failure more than once."""
    whole(numbers, [add(1)])
    with numbers.transaction():
        for number in range(2, 12):
            with pytest.raises(ServerError, match=r"^adding 1: "):
                whole(numbers, [add(1), add(number)])
            whole(numbers, [add(number)])
    assert found(numbers) == list(range(1, 12))


@pytest.mark.parametrize("inside", [False, True])
def test_groups_before_a_failure_are_done(numbers: Connection, *, inside: bool) -> None:
    """Each group is a transaction or a savepoint of its own: those before the refused one are done, no other is."""
    groups = [[add(1), add(2)], [add(3)], [add(4), add(1)], [add(5)]]
    if inside:
        with numbers.transaction():
            done, error = in_turn(numbers, groups)
    else:
        done, error = in_turn(numbers, groups)
    assert done == 2
    assert error is not None
    assert str(error).startswith("adding 1: ")
    assert found(numbers) == [1, 2, 3]


def test_what_is_only_found_at_the_commit_is_told(numbers: Connection) -> None:
    """A constraint that is checked at the end of its transaction fails that group and no other."""
    numbers.execute("CREATE TABLE others (number int REFERENCES numbers DEFERRABLE INITIALLY DEFERRED)")
    orphan = Step("adding an orphan", "INSERT INTO others VALUES (9)")
    done, error = in_turn(numbers, [[add(1)], [orphan], [add(2)]])
    assert done == 1
    assert error is not None
    assert error.sqlstate == psycopg.errors.ForeignKeyViolation.sqlstate
    assert found(numbers) == [1]


def test_transactions_see_what_others_commit(numbers: Connection) -> None:
    """Whatever isolation the session is set to, as in every transaction of this package."""
    numbers.execute("SET default_transaction_isolation TO serializable")
    (level,) = whole(numbers, [Step("asking", "SHOW transaction_isolation")])
    assert level.fetchone() == ("read committed",)


def test_a_lost_session_is_told(numbers: Connection, database: str) -> None:
    """What was committed before is counted, and nothing is said to be done that may not be."""
    kill = Step("ending", "SELECT pg_terminate_backend(pg_backend_pid())")
    done, error = in_turn(numbers, [[add(1)], [kill], [add(2)]])
    assert done <= 1
    assert error is not None
    with psycopg.connect(database) as other:
        assert found(other) == [1]


def test_a_closed_connection_is_told(numbers: Connection) -> None:
    """As any other refusal of the driver."""
    numbers.close()
    with pytest.raises(ServerError, match=r"^adding 1: "):
        whole(numbers, [add(1)])


def test_an_interrupt_ends_what_runs(numbers: Connection) -> None:
    """Ctrl-C cancels the statement, nothing of its group stays, and the connection can be used."""
    sleep = Step("sleeping", "SELECT pg_sleep(60)")

    def interrupt() -> None:
        with psycopg.connect(conninfo_of(numbers), autocommit=True) as watcher:
            running = "SELECT FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'"
            while watcher.execute(running, [numbers.info.backend_pid]).fetchone() is None:
                time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        whole(numbers, [add(1), sleep, add(2)])
    thread.join()
    assert numbers.pgconn.pipeline_status == PipelineStatus.OFF
    assert found(numbers) == []


def test_a_round_trip_is_enough(numbers: Connection, server: str) -> None:
    """Any number of statements, their transaction included, cost one turn of the line."""
    with Line(server) as line, psycopg.connect(line.conninfo(numbers.info.dbname), autocommit=True) as far:
        before = line.round_trips
        whole(far, map(add, range(50)))
        assert line.round_trips - before == 1
    assert found(numbers) == list(range(50))
