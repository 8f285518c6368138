"""Loads whose records are mapped in worker processes: the rows are those of one process, and no process is left."""

from __future__ import annotations

import errno
import gc
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import attrs
import psycopg
import pytest

from bulkload import (
    BulkloadError,
    Input,
    Job,
    Mode,
    Progress,
    Rejects,
    Report,
    Source,
    SourceError,
    UsageError,
    gamedb,
    run,
)
from bulkload.workers import leader, outbox, processes, shares
from bulkload.workers.exchange import Mapped, Short, Task
from tests import mappings

ServerConnection = psycopg.Connection[tuple[object, ...]]

SIZES = gamedb.Sizes(items=250, nanos=30, perks=25, symbiants=40)


@pytest.fixture(autouse=True)
def workers_always_pay(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """However small the sources are. After each test, no process is left."""
    monkeypatch.setattr(shares, "LEAST_BYTES", 0)
    monkeypatch.setattr(outbox, "LEAST_BATCH", 0)
    yield
    assert multiprocessing.active_children() == []


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> gamedb.Files:
    """A generated set."""
    return gamedb.generate(tmp_path_factory.mktemp("set"), SIZES, 1)


@pytest.fixture
def items(gamedb_database: str) -> Iterator[ServerConnection]:
    """An items database without items that is this test's own."""
    with psycopg.connect(gamedb_database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def posts(connection: ServerConnection) -> ServerConnection:
    """The tables of `tests.mappings`."""
    connection.execute(mappings.SCHEMA.encode())
    return connection


def inputs(files: gamedb.Files, version: str = "") -> list[Input]:
    pairs: list[tuple[Job[Any], Path]] = [
        (gamedb.ITEMS_JOB, files.items),
        (gamedb.NANOS_JOB, files.nanos),
        (gamedb.PERKS_JOB, files.perks),
        (gamedb.SYMBIANTS_JOB, files.symbiants),
    ]
    return [Input(attrs.evolve(job, version=version), Source(str(path))) for job, path in pairs]


def load(connection: ServerConnection, files: gamedb.Files, *, version: str = "", **options: Any) -> Report:
    return run(connection, inputs(files, version), finish=gamedb.refresh_views, **options)


def differences(connection: ServerConnection, files: gamedb.Files) -> list[str]:
    expected = gamedb.expected(files.items, files.nanos, files.perks, files.symbiants)
    return gamedb.differences(expected, gamedb.actual(connection))


def counts(report: Report) -> object:
    """All that a report counts."""
    return report.sources, {name: attrs.evolve(table, seconds=0.0) for name, table in report.tables.items()}


@pytest.mark.parametrize(("jobs", "chunk"), [(2, 7), (3, 40)])
def test_the_rows_are_those_of_one_process(items: ServerConnection, files: gamedb.Files, jobs: int, chunk: int) -> None:
    """Into emptied tables and over what is there, and so are the counts."""
    for clear in (True, False, True):
        # By another version of the mapping, no record is taken for unchanged.
        report = load(items, files, clear=clear, chunk=chunk, jobs=jobs, version=f"{clear} in several")
        assert differences(items, files) == []
        serial = load(items, files, clear=clear, chunk=chunk, version=f"{clear} in one")
        assert counts(report) == counts(serial)
        assert set(report.workers) == {"map", "encode"}


def post(slug: str, author: str, age: int, *tags: str, lines: int = 0) -> dict[str, Any]:
    return {"slug": slug, "author": author, "age": age, "tags": tags, "lines": lines}


def documents(start: int) -> list[dict[str, Any]]:
    """With keys that all share, rejects of every kind in the middle, versions, and records to be skipped."""
    many = [
        post(f"p{number % 70}", f"a{number % 5}", start + number, *{f"t{number % 11}", f"t{number % 3}"})
        for number in range(start, start + 100)
    ]
    many[10] = post("p10", "a1", start, "a tag too long")
    many[20] = post("new", "a1", start, lines=2**15)
    many[30] = post("skip", "a1", start)
    many[40] = {"slug": "p40"}
    many[99] = post("p29", "a3", 2**31, "t1", "only here")
    return many


CONTENT = """
    SELECT p.slug, a.name, a.age, s.name,
           array_agg(DISTINCT (l.number, t.name)), array_agg(DISTINCT (u.name, pt.weight))
    FROM posts p JOIN authors a ON a.id = author_id LEFT JOIN tags s ON s.id = a.tag_id
    LEFT JOIN lines l ON l.post_id = p.id LEFT JOIN tags t ON t.id = l.tag_id
    LEFT JOIN post_tags pt ON pt.post_id = p.id LEFT JOIN tags u ON u.id = pt.tag_id
    GROUP BY p.id, a.id, s.id ORDER BY 1
"""


@pytest.mark.parametrize("chunk", [3, 20, 5000])
def test_all_rules_and_rejects_are_as_in_one_process(posts: ServerConnection, tmp_path: Path, chunk: int) -> None:
    """Content, counts, messages and the file of rejects, over an earlier import as well."""
    found: list[list[object]] = []
    for jobs in (1, 2):
        results: list[object] = []
        posts.execute("TRUNCATE tags, authors, posts, lines, post_tags")
        for number, start in enumerate((0, 50)):
            source = tmp_path / f"{number}.json"
            source.write_text(json.dumps(documents(start)), encoding="utf-8")
            file = tmp_path / f"rejects{jobs}"
            with Rejects(file, most=100) as rejects:
                each = [Input(mappings.POSTS_JOB, Source(str(source)))]
                report = run(posts, each, chunk=chunk, rejects=rejects, jobs=jobs)
            results += [counts(report), [str(error) for error in rejects.errors], rejects.count, file.read_text()]
            results.append(posts.execute(CONTENT.encode()).fetchall())
            results.append(posts.execute("SELECT name FROM tags ORDER BY 1").fetchall())
        found.append(results)
    assert found[0] == found[1]


def test_a_key_may_come_again_in_a_later_chunk(posts: ServerConnection, tmp_path: Path) -> None:
    """Then the later record replaces the earlier one."""
    source = tmp_path / "posts.json"
    many = [post(f"p{n % 10}", f"a{n % 3}", n, f"t{n % 4}", lines=n) for n in range(100)]
    source.write_text(json.dumps(many), encoding="utf-8")
    found: list[object] = []
    for jobs in (1, 2):
        posts.execute("TRUNCATE tags, authors, posts, lines, post_tags")
        report = run(posts, [Input(mappings.UNTOLD_JOB, Source(str(source)))], chunk=10, jobs=jobs)
        found.append((counts(report), posts.execute(CONTENT.encode()).fetchall()))
    assert found[0] == found[1]


def test_the_limit_of_rejects_ends_the_load_at_the_same_record(posts: ServerConnection, tmp_path: Path) -> None:
    """The first of them in the order of the source, whichever worker is faster."""
    source = tmp_path / "posts.json"
    source.write_text(json.dumps(documents(0)), encoding="utf-8")
    messages: set[str] = set()
    for jobs in (1, 2, 3):
        with pytest.raises(BulkloadError) as raised:
            run(posts, [Input(mappings.UNTOLD_JOB, Source(str(source)))], chunk=3, jobs=jobs)
        messages.add(str(raised.value))
    assert len(messages) == 1
    assert "record 11 (slug 'p10')" in messages.pop()
    assert posts.execute("SELECT count(*) FROM tags").fetchall() == [(0,)]


class Repeating(ThreadPoolExecutor):
    """Loses the first result of each call, and calls again."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        def twice() -> Any:
            fn(*args, **kwargs)
            return fn(*args, **kwargs)

        return super().submit(twice)


@pytest.mark.parametrize("mode", [Mode.OPTIMIZED, Mode.ULTRA])
@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor, Repeating])
def test_any_executor_maps(
    items: ServerConnection, files: gamedb.Files, kind: type[ThreadPoolExecutor | ProcessPoolExecutor], mode: Mode
) -> None:
    """What it gives back is written here, and it is left running."""
    options: dict[str, Any] = {"mp_context": get_context("spawn")} if kind is ProcessPoolExecutor else {}
    with kind(2, **options) as executor:
        report = load(items, files, clear=True, chunk=10, jobs=2, executor=executor, mode=mode)
        assert executor.submit(os.getpid).result()
    assert differences(items, files) == []
    assert counts(report) == counts(load(items, files, clear=True, chunk=10))


def test_records_that_need_more_ids_than_those_before(posts: ServerConnection, tmp_path: Path) -> None:
    """Are mapped again with as many, and their rows keep their order."""
    source = tmp_path / "posts.json"
    sizes = [1, 0, 700, 0, 3000, 1, 0]
    texts = [{"slug": f"p{number}", "parts": list(range(size))} for number, size in enumerate(sizes)]
    source.write_text(json.dumps(texts), encoding="utf-8")
    posts.execute("CREATE TABLE parts (id serial PRIMARY KEY, slug text NOT NULL, number int NOT NULL)")
    run(posts, [Input(mappings.PARTS_JOB, Source(str(source)))], chunk=1, jobs=2)
    for number, size in enumerate(sizes):
        rows = posts.execute("SELECT number FROM parts WHERE slug = %s ORDER BY id", [f"p{number}"]).fetchall()
        assert [value for (value,) in rows] == list(range(size))


class Recording(ThreadPoolExecutor):
    """Keeps what is called, and what comes back."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self.tasks: list[Task] = []
        self.futures: list[Future[Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.tasks.append(args[1])
        self.futures.append(future := super().submit(fn, *args, **kwargs))
        return future


def test_no_chunk_is_mapped_again_but_for_ids(items: ServerConnection, files: gamedb.Files) -> None:
    """And then once: what processes know of keys is in the order of their chunks again."""
    with Recording(2) as executor:
        run(items, inputs(files)[:2], clear=True, chunk=10, jobs=2, executor=executor)
    short = [future for future in executor.futures if isinstance(future.result(), Short)]
    chunks = {(task.input, task.records.positions[0]) for task in executor.tasks}
    assert short
    assert len(executor.tasks) == len(chunks) + len(short)


def test_what_was_mapped_is_let_go(items: ServerConnection, files: gamedb.Files) -> None:
    """When its rows are handed over: those that wait for more of their table keep nothing but themselves in memory."""
    alive: list[int] = []

    def mapped() -> set[int]:
        return {id(each) for each in gc.get_objects() if isinstance(each, Mapped)}

    gc.collect()
    # What tests that failed in a load have left in their tracebacks.
    before = mapped()

    def count(_progress: Progress) -> None:
        alive.append(len(mapped() - before))

    run(items, inputs(files), chunk=5, jobs=2, watch=count)
    assert len(alive) > 50
    # Those on their way, and the one whose rows were handed over last.
    assert max(alive) <= leader._MOST_ON_THEIR_WAY * 2 + 1


@pytest.mark.parametrize("most", [1, outbox.MOST_COPIED])
def test_what_waits_is_bounded(
    items: ServerConnection, files: gamedb.Files, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Rows wait for more of their table; but not where those of all tables together are too many."""
    monkeypatch.setattr(outbox, "MOST_COPIED", most)
    written: list[object] = []

    def count(_progress: Progress) -> None:
        written.extend(items.execute("SELECT count(*) FROM items").fetchone() or ())

    report = run(items, inputs(files)[:1], chunk=10, jobs=2, watch=count)
    assert written[:3] == ([0, 10, 20] if most == 1 else [0, 0, 0])
    assert items.execute("SELECT count(*) FROM items").fetchone() == (report.sources[0].loaded,)


def test_sources_do_not_wait_for_small_tables(
    items: ServerConnection, files: gamedb.Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What went along with a chunk is kept for as long as any of its rows waits, and tables with few rows wait long."""
    monkeypatch.setattr(outbox, "LEAST_COPIED", 4000)
    monkeypatch.setattr(outbox, "MOST_HELD", most := 100_000)
    held: list[int] = []

    def count(_progress: Progress) -> None:
        held.append(sum(each.held for each in gc.get_objects() if isinstance(each, outbox.Pending)))

    with ThreadPoolExecutor(1) as executor:
        run(items, inputs(files), chunk=5, executor=executor, watch=count, finish=gamedb.refresh_views)
    assert differences(items, files) == []
    assert most / 2 < max(held) < 1.5 * most


# --- What goes wrong ---


def kill_workers() -> None:
    for child in multiprocessing.active_children():
        child.kill()


@pytest.mark.parametrize("mode", [Mode.OPTIMIZED, Mode.ULTRA])
def test_what_a_killed_worker_did_is_done_again(items: ServerConnection, files: gamedb.Files, mode: Mode) -> None:
    """By another process, and once: the rows and the counts are those of one process."""
    moments = iter([False, True])

    def kill(_progress: Progress) -> None:
        if next(moments, False):
            kill_workers()

    report = run(items, inputs(files), clear=True, chunk=10, jobs=2, watch=kill, mode=mode, finish=gamedb.refresh_views)
    assert differences(items, files) == []
    assert counts(report) == counts(load(items, files, clear=True, chunk=10))


def test_workers_that_are_killed_again_undo_the_load(items: ServerConnection, files: gamedb.Files) -> None:
    """The message says what it was at, which may be any of the sources by then; the old content is whole."""
    load(items, files)
    message = (
        r"a worker process died \(signal 9\) while it mapped record \d+ .* of (items|nanos).json, "
        "and so did another one; no"
    )
    with pytest.raises(BulkloadError, match=message):
        run(items, inputs(files), clear=True, chunk=10, jobs=2, watch=lambda _progress: kill_workers())
    assert differences(items, files) == []


def test_a_mapping_that_ends_its_process(posts: ServerConnection, tmp_path: Path) -> None:
    """So does a worker that ends by itself."""
    source = tmp_path / "posts.json"
    source.write_text(json.dumps([post("a", "a", 1), post("end", "a", 1)]), encoding="utf-8")
    with pytest.raises(
        BulkloadError, match=r"died \(exit code 3\) while it mapped record 2 \(slug .end.\) to record 2"
    ):
        run(posts, [Input(mappings.ENDING_JOB, Source(str(source)))], chunk=1, jobs=2)
    assert posts.execute("SELECT count(*) FROM posts").fetchall() == [(0,)]


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("change", ["grows", "is cut"])
def test_a_source_that_changes_meanwhile(
    items: ServerConnection, files: gamedb.Files, tmp_path: Path, jobs: int, change: str
) -> None:
    """It is read more than once, by one process and another: what is not the same each time is not loaded."""
    file = tmp_path / "items.json"
    content = files.items.read_bytes()
    file.write_bytes(content)

    def disturb(_progress: Progress) -> None:
        file.write_bytes(content + b"\n" if change == "grows" else content[: len(content) // 2])

    with pytest.raises(SourceError, match=r"items\.json: (was changed while|ends inside record)"):
        run(items, [Input(gamedb.ITEMS_JOB, Source(str(file)))], chunk=10, jobs=jobs, watch=disturb)
    assert items.execute("SELECT count(*) FROM items").fetchall() == [(0,)]


def test_an_interrupt_leaves_no_process(items: ServerConnection, files: gamedb.Files) -> None:
    """And no row."""
    children: list[int] = []

    def interrupt(_progress: Progress) -> None:
        children.extend(child.pid or 0 for child in multiprocessing.active_children())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(items, inputs(files), chunk=10, jobs=2, watch=interrupt)
    assert len(children) == 2
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)
    assert items.execute("SELECT count(*) FROM items").fetchall() == [(0,)]


LEADER = """
import os, signal, sys
import psycopg
from bulkload import Input, Source, gamedb, run
from bulkload.workers import shares

if __name__ == "__main__":
    shares.LEAST_BYTES = 0
    with psycopg.connect(sys.argv[1]) as connection:
        inputs = [Input(gamedb.ITEMS_JOB, Source(sys.argv[2]))]
        run(connection, inputs, chunk=10, jobs=2, watch=lambda _progress: os.kill(os.getpid(), signal.SIGKILL))
"""


def test_workers_end_with_their_leader(gamedb_database: str, files: gamedb.Files, tmp_path: Path) -> None:
    """Whatever ends it. The pipe that all of them write to is at its end when the last one is gone."""
    script = tmp_path / "leader.py"
    script.write_text(LEADER, encoding="utf-8")
    command = [sys.executable, str(script), gamedb_database, str(files.items)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_script_without_a_guard_is_told_of_it(gamedb_database: str, files: gamedb.Files, tmp_path: Path) -> None:
    """Its worker processes would run it once more."""
    script = tmp_path / "leader.py"
    script.write_text(LEADER.replace('__name__ == "__main__"', "True"), encoding="utf-8")
    command = [sys.executable, str(script), gamedb_database, str(files.items)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert b"died (exit code 1) as it started; a script that calls run with jobs has to do so under" in done.stderr


def test_a_process_that_cannot_be_started_leaves_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is room for some of them only, say. `workers_always_pay` sees to what is left."""
    started: list[object] = []

    class Second(processes._Process):
        def __init__(self) -> None:
            if started:
                raise OSError("no room for another process")
            super().__init__()
            started.append(self)

    monkeypatch.setattr(processes, "_Process", Second)
    with pytest.raises(BulkloadError, match=r"2 worker processes could not be started \(no room .*; use fewer jobs"):
        processes.Processes(2)
    assert len(started) == 1


def test_a_thread_that_cannot_be_started_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor the threads that were started before it."""
    start = processes._Hand.start

    def start_first(hand: processes._Hand) -> None:
        if hands():
            raise RuntimeError("can't start new thread")
        start(hand)

    monkeypatch.setattr(processes._Hand, "start", start_first)
    with pytest.raises(BulkloadError, match="2 worker processes could not be started"):
        processes.Processes(2)
    assert hands() == []


def hands() -> list[str]:
    """The threads that speak to worker processes."""
    return [thread.name for thread in threading.enumerate() if isinstance(thread, processes._Hand)]


def test_a_process_that_cannot_be_replaced_ends_the_load(
    items: ServerConnection, files: gamedb.Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the machine is out of memory, say, which is what the first one died of. Nobody waits for its answers."""
    load(items, files)

    def fail(_process: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    def kill(_progress: Progress) -> None:
        monkeypatch.setattr(processes._Process, "__init__", fail)
        kill_workers()

    message = (
        r"^a worker process died \(signal 9\), and no other one could be started in its place \(\[Errno 12\] Cannot "
        r"allocate memory\); use fewer jobs, or give the machine more memory"
    )
    with pytest.raises(BulkloadError, match=message):
        run(items, inputs(files), clear=True, chunk=10, jobs=2, watch=kill)
    assert hands() == []
    assert differences(items, files) == []


def test_a_call_that_does_not_pickle_fails_alone() -> None:
    """Others go on; and once no process can be had, none is waited for."""
    with processes.Processes(1) as executor:
        wrong, right = executor.submit(lambda: 0), executor.submit(os.getpid)
        with pytest.raises(Exception, match="pickle"):
            wrong.result(30)
        assert right.result(30) != os.getpid()
        (hand,) = executor._hands
        executor._calls.fail(BulkloadError("no process"))
        with pytest.raises(BulkloadError, match="no process"):
            executor.submit(os.getpid).result(30)
    assert not hand.is_alive()


def test_a_job_that_cannot_be_sent(items: ServerConnection, files: gamedb.Files) -> None:
    """It is refused before anything is done, however small its source is."""
    each = [Input(mappings.LAMBDA_JOB, Source(str(files.items)))]
    with pytest.raises(
        UsageError, match=r"the job lambda cannot be sent to worker processes: .*; define its functions"
    ):
        run(items, each, jobs=2, clear=True)
    with pytest.raises(UsageError, match="jobs is 0"):
        run(items, each, jobs=0)
    assert run(items, each, mode=Mode.STANDARD, jobs=2).sources[0].loaded > 0


def test_a_fault_that_is_no_records_is_raised(posts: ServerConnection, tmp_path: Path) -> None:
    """With the message that the worker's exception had."""
    source = tmp_path / "posts.json"
    source.write_text(json.dumps([post("a", "a", 1)]), encoding="utf-8")
    with pytest.raises(UsageError, match=r"tags: a mapping looks up .* but its plan names no lookup"):
        run(posts, [Input(mappings.LOOKING_JOB, Source(str(source)))], jobs=2)
