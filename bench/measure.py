"""What a way of loading costs: its time, the memory of both sides, and the log that the server writes.

Each case is a process of its own, so that its memory is its own. Linux only, where the kernel keeps these figures.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import psycopg

from bulkload import embedded

ROOT = Path(__file__).parent.parent
"""Where `python -m bench…` works."""

MEGABYTE = 1 << 20

_PROC = Path("/proc")
_PAUSE = 0.05
"""Seconds between two looks."""


@attrs.frozen
class Cost:
    """What one run cost. Memory is in bytes."""

    seconds: float
    """As the process told on its standard output; of one that told nothing, its whole life."""
    largest_process: int
    """The peak of the client's largest process: resident pages, as the kernel keeps it (VmHWM)."""
    all_processes: int
    """The peak of all of the client's processes together: resident pages (VmRSS), at the most at one look."""
    largest_backend: int
    """The peak of the server's largest process: pages of its own (RssAnon), without the shared buffers, at one look."""
    wal: int
    """Bytes of write-ahead log."""


def cost(command: Sequence[str], server: embedded.Server) -> Cost:
    """Run a command that loads into a database of this server, where nobody else does anything."""
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        wal = _wal(connection)
        begin = time.perf_counter()
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            watch = _Watch(process.pid, postmaster(server))
            thread = threading.Thread(target=watch.run, daemon=True)
            thread.start()
            told, _ = process.communicate()
            took = time.perf_counter() - begin
            watch.ended.set()
            thread.join()
        if process.returncode != 0:
            raise subprocess.CalledProcessError(process.returncode, list(command), told)
        wal = _wal(connection) - wal
    return Cost(float(told or took), watch.largest_process, watch.all_processes, watch.largest_backend, wal)


def processor_seconds(pid: int) -> float:
    """Of a process, those it has started, and those of them that have ended, in ticks of a hundredth, as a rule."""
    return sum(_ticks(each) for each in (pid, *_descendants(pid))) / os.sysconf("SC_CLK_TCK")


class _Watch:
    """Looks at a process and those it has started, and at those of the server, until told that it has ended."""

    def __init__(self, client: int, postmaster: int) -> None:
        self._client = client
        self._postmaster = postmaster
        self._known: set[int] = set()
        self.ended = threading.Event()
        self.largest_process = 0
        self.all_processes = 0
        self.largest_backend = 0

    def run(self) -> None:
        while not self.ended.wait(_PAUSE):
            found = {pid: status for pid in (self._client, *_descendants(self._client)) if (status := _status(pid))}
            # A process that has just been started may still be in its parent's memory; it counts from the second look.
            of_client = [status for pid, status in found.items() if pid in self._known]
            self._known = set(found)
            self.largest_process = max([self.largest_process, *(status["VmHWM"] for status in of_client)])
            together = sum(status["VmRSS"] for status in of_client)
            self.all_processes = max(self.all_processes, self.largest_process, together)
            backends = [_status(pid) for pid in _children(self._postmaster)]
            self.largest_backend = max([self.largest_backend, *(status.get("RssAnon", 0) for status in backends)])


def _wal(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'").fetchone()
    assert row is not None
    return int(row[0])


def postmaster(server: embedded.Server) -> int:
    """The server's first process, whose children all others are."""
    return int((server.directory / "data" / "postmaster.pid").read_text().partition("\n")[0])


def _descendants(pid: int) -> Iterator[int]:
    for child in _children(pid):
        yield child
        yield from _descendants(child)


def _children(pid: int) -> list[int]:
    try:
        # A process belongs to the thread that started it.
        return [
            int(child)
            for task in (_PROC / str(pid) / "task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:  # it has ended
        return []


def _ticks(pid: int) -> int:
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:  # it has ended
        return 0
    # After the name, which may hold anything: utime, stime, cutime, cstime are fields 14 to 17 (proc_pid_stat(5)).
    return sum(map(int, stat.rpartition(")")[2].split()[11:15]))


def _status(pid: int) -> dict[str, int]:
    """The sizes that the kernel keeps of a process, in bytes; none of one that has ended."""
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return {}
    sizes = (line.split() for line in lines if line.endswith(" kB"))
    return {name.rstrip(":"): int(size) * 1024 for name, size, _ in sizes}
