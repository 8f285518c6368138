"""Several loads at once on the same tables, beside a backend that reads and writes them: all of it is in, once."""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, cast

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from bulkload import Drop, Drops, Input, Mode, Report, Source, run
from bulkload.server import locks, retries
from bulkload.server.connection import Connection, connect
from tests import ultra_jobs
from tests.faults import count

NEVER = Drops(Drop.NEVER, Drop.NEVER, Drop.NEVER)
WORDS = [f"word {n}" for n in range(40)]
CONTENT = """
    SELECT slug, version, ARRAY(SELECT text FROM sentences s JOIN sentence_words j ON j.sentence_id = s.id
                                JOIN words w ON w.id = j.word_id WHERE s.page_id = p.id ORDER BY s.number)
    FROM pages p ORDER BY 1
"""
# Among them all: what refers to nothing, or belongs to nobody.
ORPHANS = """
    SELECT (SELECT count(*) FROM sentences WHERE page_id NOT IN (SELECT id FROM pages))
         + (SELECT count(*) FROM sentence_words WHERE word_id NOT IN (SELECT id FROM words))
         + (SELECT count(*) FROM sentences s WHERE NOT EXISTS (SELECT FROM sentence_words WHERE sentence_id = s.id))
"""


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short attempts, and as many of them as are needed."""
    monkeypatch.setattr(locks, "_ATTEMPTS", 300)
    monkeypatch.setattr(locks, "_PATIENCE", "500ms")
    monkeypatch.setattr(locks, "_PAUSE", 0.05)
    monkeypatch.setattr(retries, "_FIRST_PAUSE", 0.02)
    monkeypatch.setattr(retries, "ATTEMPTS", 20)


@pytest.fixture
def pages(connection: Connection) -> Generator[Connection]:
    connection.execute(ultra_jobs.SCHEMA)
    yield connection
    query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    until = time.monotonic() + 30
    while found := connection.execute(query).fetchall():
        assert time.monotonic() < until, found
        time.sleep(0.02)


def documents(number: int) -> list[dict[str, Any]]:
    """Those of one load: half of them are in another load, too, where they say the same."""
    chance = random.Random(number)  # noqa: S311 - no secret
    own = [
        {"slug": f"page {number}-{n}", "version": n, "words": chance.sample(WORDS, 6)} for n in range(80)
    ]  # fmt: skip
    shared = random.Random(99)  # noqa: S311 - no secret
    both = [{"slug": f"page of all {n}", "version": n, "words": shared.sample(WORDS, 6)} for n in range(80)]
    mixed = own + both
    chance.shuffle(mixed)
    return mixed


class Beside:
    """A backend that adds words and pages in short transactions, in any order, and reads whole pages."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.added: list[tuple[str, int, list[str]]] = []
        self.failures: list[BaseException] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        chance = random.Random(5)  # noqa: S311 - no secret
        try:
            with psycopg.connect(self._conninfo, autocommit=True) as connection:
                while not self._over.is_set():
                    page = (f"beside {len(self.added)}", 1, chance.sample([*WORDS, "of its own"], 4))
                    # Where it and a load lock each other out, it may be the one that the server picks.
                    with suppress(psycopg.errors.DeadlockDetected):
                        self._add(connection, page)
                        self.added.append(page)
                        broken = connection.execute(ORPHANS).fetchone()
                        assert broken == (0,)
        except BaseException as error:
            self.failures.append(error)

    def _add(self, connection: Connection, page: tuple[str, int, list[str]]) -> None:
        slug, version, words = page
        with connection.transaction():
            # Not in the order of the loads.
            for word in words:
                connection.execute("INSERT INTO words (text) VALUES (%s) ON CONFLICT DO NOTHING", [word])
                time.sleep(0.001)
            connection.execute("INSERT INTO pages (slug, version) VALUES (%s, %s)", [slug, version])
            for number, word in enumerate(words):
                connection.execute(
                    "WITH s AS (INSERT INTO sentences (page_id, number) SELECT id, %s FROM pages WHERE slug = %s"
                    " RETURNING id) INSERT INTO sentence_words SELECT s.id, w.id FROM s, words w WHERE w.text = %s",
                    [number, slug, word],
                )


@pytest.mark.parametrize(
    "modes",
    [(Mode.STANDARD, Mode.STANDARD), (Mode.OPTIMIZED, Mode.OPTIMIZED), (Mode.STANDARD, Mode.OPTIMIZED)],
    ids=["standard", "optimized", "one of each"],
)
def test_loads_at_once_beside_a_backend(
    pages: Connection, database: str, tmp_path: Path, modes: Sequence[Mode]
) -> None:
    """No key is there twice, no row is lost, no page is seen or left half; what locks each other out is done again."""
    sources: list[Path] = []
    expected: dict[str, Mapping[str, Any]] = {}
    for number, _ in enumerate(modes):
        sources.append(tmp_path / f"{number}.json")
        sources[-1].write_text(json.dumps(documents(number)))
        expected |= {each["slug"]: each for each in documents(number)}
    failures: list[BaseException] = []
    reports: list[Report] = []
    together = threading.Barrier(len(modes), timeout=30)
    # So that a deadlock is found soon, by whichever of them.
    conninfo = make_conninfo(database, options="-c deadlock_timeout=50ms")

    def work(path: Path, mode: Mode) -> None:
        try:
            with connect(conninfo) as connection:
                together.wait()
                reports.append(run(connection, [Input(ultra_jobs.PAGES_JOB, Source(str(path)))], mode=mode, chunk=10))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=each) for each in zip(sources, modes, strict=True)]
    with Beside(conninfo) as beside:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures + beside.failures
    found = pages.execute(CONTENT).fetchall()
    wanted = [(each["slug"], each["version"], each["words"]) for each in expected.values()]
    assert found == sorted([*wanted, *beside.added])
    texts = [text for (text,) in pages.execute("SELECT text FROM words ORDER BY 1")]
    assert texts == sorted({word for _, _, words in found for word in cast("list[str]", words)})
    assert pages.execute(ORPHANS).fetchone() == (0,)
    by_loads = sum(report.tables["pages"].inserted for report in reports)
    assert by_loads == len(expected)
    count(f"two loads at once, {' and '.join(mode.value for mode in modes)}", "all in, once")


def test_the_second_of_two_loads_tells_whom_it_waits_for(
    pages: Connection, database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And goes on when the first one has ended, with what that has shared."""
    path = tmp_path / "pages.json"
    path.write_text(json.dumps(documents(1)))
    with caplog.at_level(logging.WARNING), connect(database) as first, connect(database) as second:
        failures: list[BaseException] = []
        reports: list[Report] = []

        def work() -> None:
            try:
                reports.append(run(second, [Input(ultra_jobs.PAGES_JOB, Source(str(path)))], drops=NEVER))
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=work)

        def overtake(_progress: object) -> None:
            if not thread.is_alive() and not reports:
                thread.start()
                told = (
                    f"waiting for a lock held by process {first.info.backend_pid} (user {first.info.user}, bulkload, "
                )
                until = time.monotonic() + 30
                while told not in caplog.text:
                    assert time.monotonic() < until, caplog.text
                    time.sleep(0.01)

        run(first, [Input(ultra_jobs.PAGES_JOB, Source(str(path)))], watch=overtake, drops=NEVER)
        thread.join()
        assert not failures
    assert reports[0].tables["pages"].inserted == 0
    assert reports[0].tables["words"].inserted == 0
    assert pages.execute(CONTENT).fetchall() == sorted(
        (each["slug"], each["version"], each["words"]) for each in documents(1)
    )


def test_two_loads_that_replace_the_same_record_do_so_one_after_the_other(
    pages: Connection, database: str, tmp_path: Path
) -> None:
    """What belongs to it in the end is what one of them has, and that once."""
    inputs = [given(tmp_path / str(n), [{"slug": "p", "version": n, "words": [f"a{n}", f"b{n}"]}]) for n in range(3)]
    run(pages, inputs[0], mode=Mode.STANDARD)
    done: list[Report] = []

    def load(each: list[Input]) -> None:
        with connect(database) as connection:
            done.append(run(connection, each, mode=Mode.STANDARD))

    threads = [threading.Thread(target=load, args=[each]) for each in inputs[1:]]
    with connect(database) as holder, holder.transaction():
        holder.execute("SELECT FROM pages FOR UPDATE")
        for thread in threads:
            thread.start()
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        until = time.monotonic() + 30
        while pages.execute(waiting).fetchone() != (2,):
            assert time.monotonic() < until
            time.sleep(0.02)
    for thread in threads:
        thread.join()
    assert [report.rejected for report in done] == [0, 0]
    found = pages.execute(CONTENT.encode()).fetchall()
    assert any(found == [("p", n, [f"a{n}", f"b{n}"])] for n in (1, 2))


def given(folder: Path, documents: Sequence[Mapping[str, Any]]) -> list[Input]:
    folder.mkdir()
    path = folder / "pages.json"
    path.write_text(json.dumps(documents), encoding="utf-8")
    return [Input(ultra_jobs.PAGES_JOB, Source(str(path)))]
