"""What does a line with a round trip of 20 ms cost?

    BULKLOAD_BENCH_ITEMS=20000 pytest bench/test_line.py -s --benchmark-json=line.json

Each way loads the items part through the proxy of bench/line.py, which holds each block back for 0 or for 10 ms, in
turn; the ratio is to the line of 0 ms of the same round. The fastest of the baselines and the fastest with an ORM are
there to compare with. BULKLOAD_BENCH_ITEMS sets the size (default 20,000 items; a full set has 157,000),
BULKLOAD_BENCH_ROUNDS the rounds (default 3, of a full set 1).
"""

from __future__ import annotations

import statistics
import time

import psycopg
from pytest_benchmark.fixture import BenchmarkFixture

from bench.common import ITEMS, by_process, empty, fresh, markdown, rounds, tell
from bench.line import Line
from bench.measure import cost
from bulkload import embedded, gamedb

ROUNDS = rounds(full=1, small=3)
DELAY = 0.010
WAYS = ("optimized", "ultra", "csv_files", "orm_ultra")


def test_what_a_line_costs(benchmark: BenchmarkFixture, server: embedded.Server, files: gamedb.Files) -> None:
    """Seconds on a short line and on a long one, and their ratio."""
    took: dict[tuple[str, float], list[float]] = {(way, delay): [] for way in WAYS for delay in (0.0, DELAY)}
    trips: dict[str, int] = {}
    round_trip: list[float] = []

    # The first import of all finds a cold machine, and is nobody's.
    cost(by_process("optimized", empty(server, "line"), files), server)

    def once() -> None:
        for (way, delay), seconds in took.items():
            empty(server, "line")
            with Line(server.conninfo, delay) as line:
                through = line.conninfo("line")
                seconds.append(cost(by_process(way, through, files), server).seconds)
                trips[way] = line.round_trips
                if delay:
                    round_trip.append(answer(through))

    benchmark.pedantic(once, rounds=ROUNDS, iterations=1)  # type: ignore[no-untyped-call]
    ratios = {
        way: statistics.median(long / short for short, long in zip(took[way, 0.0], took[way, DELAY], strict=True))
        for way in WAYS
    }
    measured = statistics.median(round_trip) * 1000
    medians = {key: statistics.median(seconds) for key, seconds in took.items()}
    benchmark.extra_info.update(
        items=ITEMS, rounds=ROUNDS, round_trip_ms=measured, ratios=ratios, round_trips=trips,
        seconds={way: [medians[way, delay] for delay in (0.0, DELAY)] for way in WAYS},
    )  # fmt: skip
    tell(f"\n{ITEMS:,} items, {ROUNDS} rounds; the answer to SELECT 1 took {measured:.1f} ms on the long line\n")
    rows = [
        [way, f"{medians[way, 0.0]:.2f}", f"{medians[way, DELAY]:.2f}", f"{ratios[way]:.2f}", f"{trips[way]:,}"]
        for way in WAYS
    ]
    tell(markdown(("way", "seconds, 0 ms", "seconds, 20 ms", "ratio", "round trips"), rows))


def test_the_proxy_is_no_bottleneck(server: embedded.Server) -> None:
    """A large COPY takes little longer through it than straight."""
    conninfo = fresh(server, "proxy")
    block = b"".join(b"%d\t%d\n" % (number, -number) for number in range(20_000))
    took: dict[str, list[float]] = {"straight": [], "proxy": []}
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("CREATE TABLE copied (one int, other int)")
    for _ in range(3):
        with Line(server.conninfo) as line:
            for name, dsn in (("straight", conninfo), ("proxy", line.conninfo("proxy"))):
                with psycopg.connect(dsn, autocommit=True) as connection:
                    connection.execute("TRUNCATE copied")
                    begin = time.perf_counter()
                    with connection.cursor() as cursor, cursor.copy("COPY copied FROM STDIN") as copy:
                        for _ in range(100):
                            copy.write(block)
                    took[name].append(time.perf_counter() - begin)
    ratio = statistics.median(proxy / straight for straight, proxy in zip(took["straight"], took["proxy"], strict=True))
    straight = statistics.median(took["straight"])
    tell(f"\n2,000,000 rows by COPY: {straight:.2f} s, through the proxy {ratio:.2f} times that")
    assert ratio < 1.5


def answer(conninfo: str) -> float:
    """The seconds until the server answers."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        found: list[float] = []
        for _ in range(10):
            begin = time.perf_counter()
            connection.execute("SELECT 1")
            found.append(time.perf_counter() - begin)
    return statistics.median(found)
