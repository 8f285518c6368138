"""A load that was stopped is gone on with: rows, rejects and report are those of one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
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
    ResumeError,
    ServerError,
    Source,
    UsageError,
    gamedb,
    run,
)
from bulkload.ledger import journal, ledger
from bulkload.rebuild import recovery
from bulkload.rebuild.choice import Drop, Drops
from bulkload.rebuild.rebuild import plain_names
from bulkload.server.connection import connect
from bulkload.server.definitions import facts
from bulkload.workers import outbox, shares
from tests import ultra_jobs
from tests.faults import CHANCE, ROUNDS, Connection, Injector, count

ALWAYS = Drops(Drop.ALWAYS, Drop.ALWAYS, Drop.ALWAYS)
SIZES = gamedb.Sizes(items=200, nanos=20, perks=20, symbiants=30)
JOBS: Sequence[Job[Any]] = (gamedb.ITEMS_JOB, gamedb.NANOS_JOB, gamedb.PERKS_JOB, gamedb.SYMBIANTS_JOB)

# Kills itself when so many chunks are in.
KILLED = """
import os, signal, sys
from pathlib import Path
import psycopg
from bulkload import Input, Mode, Rejects, Source, gamedb, run
from bulkload.workers import outbox, shares
from bulkload.rebuild.choice import Drop, Drops

if __name__ == "__main__":
    shares.LEAST_BYTES = outbox.LEAST_BATCH = 0
    _, conninfo, mode, jobs, chunks, rejects, *paths = sys.argv
    left = int(chunks)

    def watch(_progress):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    jobs_of = (gamedb.ITEMS_JOB, gamedb.NANOS_JOB, gamedb.PERKS_JOB, gamedb.SYMBIANTS_JOB)
    inputs = [Input(job, Source(path)) for job, path in zip(jobs_of, paths, strict=True)]
    with psycopg.connect(conninfo, autocommit=True) as connection, Rejects(Path(rejects), most=9) as set_aside:
        run(connection, inputs, mode=Mode(mode), clear=True, chunk=11, jobs=int(jobs), rejects=set_aside, watch=watch,
            drops=Drops(Drop.ALWAYS, Drop.ALWAYS, Drop.ALWAYS), finish=gamedb.refresh_views)
"""


@pytest.fixture(autouse=True)
def workers_always_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the sources are."""
    monkeypatch.setattr(shares, "LEAST_BYTES", 0)
    monkeypatch.setattr(outbox, "LEAST_BATCH", 0)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> gamedb.Files:
    """A generated set with numbers that come several times, and records that cannot go in."""
    made = gamedb.generate(tmp_path_factory.mktemp("set"), SIZES, 1)
    records = json.loads(made.items.read_text(encoding="utf-8"))
    records += [{**record, "Name": f"again {number}"} for number, record in enumerate(records[:40])]
    records[60] = {**records[60], "Name": "n" * 129}
    records[100] = {"Name": "without a number"}
    # The last version of its number: the one before counts.
    records[-1] = {**records[-1], "StatValues": [{"Stat": 1, "RawValue": 2**31}]}
    made.items.write_text(json.dumps(records), encoding="utf-8")
    return made


def paths(files: gamedb.Files) -> list[Path]:
    return [files.items, files.nanos, files.perks, files.symbiants]


def inputs(files: gamedb.Files) -> list[Input]:
    return [Input(job, Source(str(path))) for job, path in zip(JOBS, paths(files), strict=True)]


def counts(report: Report) -> object:
    """What a report says, but for times, and for rows that were met again, which depend on what is a chunk."""
    return report.sources, {name: (table.inserted, table.deleted) for name, table in report.tables.items()}


def catalog_of(connection: Connection) -> dict[str, str]:
    tables = "SELECT oid::bigint FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
    relations = [int(str(oid)) for (oid,) in connection.execute(tables).fetchall()]
    with connection.transaction(), plain_names(connection):
        return facts(connection, relations)


def differences(connection: Connection, files: gamedb.Files) -> list[str]:
    return gamedb.differences(gamedb.expected(*paths(files)), gamedb.actual(connection))


def loaded(connection: Connection, files: gamedb.Files, rejects: Path, **options: Any) -> tuple[Report, list[str]]:
    """A load, and what its rejects say."""
    given: dict[str, Any] = {"clear": True, "drops": ALWAYS, "finish": gamedb.refresh_views, **options}
    with Rejects(rejects, most=9) as set_aside:
        report = run(connection, inputs(files), rejects=set_aside, **given)
    assert set_aside.count == 3
    return report, sorted(map(str, set_aside.errors))


@pytest.fixture(scope="module")
def undisturbed() -> dict[Mode, object]:
    """What came of loads that were not stopped, by mode."""
    return {}


@pytest.mark.parametrize(
    ("mode", "jobs", "chunks", "then"),
    [
        (Mode.STANDARD, 1, 4, {"chunk": 7}),
        (Mode.STANDARD, 1, 24, {"chunk": 500}),
        (Mode.ULTRA, 1, 9, {"chunk": 50, "jobs": 2}),
        (Mode.ULTRA, 2, 3, {"chunk": 5, "jobs": 3}),
        (Mode.ULTRA, 2, 22, {"chunk": 30, "jobs": 1, "recovered": True}),
    ],
    ids=lambda value: value.value if isinstance(value, Mode) else str(value),
)
@pytest.mark.usefixtures("unmeasured")
def test_a_load_that_is_killed_is_gone_on_with(
    gamedb_database: str, files: gamedb.Files, tmp_path: Path, undisturbed: dict[Mode, object],
    mode: Mode, jobs: int, chunks: int, then: dict[str, Any],
) -> None:  # fmt: skip
    """With other chunks and jobs; nothing of it is done twice, and what was taken away is back, once."""
    with connect(gamedb_database) as connection:
        before, rejects = catalog_of(connection), tmp_path / "rejects"
        if mode not in undisturbed:
            report, said = loaded(connection, files, rejects, mode=mode, chunk=13)
            undisturbed[mode] = counts(report), said, sorted(rejects.read_bytes().splitlines())
        script = tmp_path / "killed.py"
        script.write_text(KILLED, encoding="utf-8")
        command = [sys.executable, script, gamedb_database, mode.value, jobs, chunks, rejects, *paths(files)]
        done = subprocess.run(list(map(str, command)), capture_output=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        wait_for_the_end(connection)
        (stopped,) = journal.unfinished(connection)
        assert bool(ledger.outstanding(connection)) is (mode is Mode.ULTRA)
        if then.get("recovered"):
            recovery.recover(connection)
        rejects.unlink()
        report, said = loaded(
            connection, files, rejects, mode=mode, resume=True, chunk=then["chunk"], jobs=then.get("jobs", 1)
        )
        found = counts(report), said, sorted(rejects.read_bytes().splitlines())
        assert found == undisturbed[mode]
        assert 0 < report.resumed < sum(source.read for source in report.sources)
        assert differences(connection, files) == []
        assert catalog_of(connection) == before
        assert ledger.outstanding(connection) == []
        assert journal.unfinished(connection) == []
        line = ledger.loads(connection, 1)[0]
        assert (line.id, line.state, line.progress["rows"]) == (stopped.id, "done", report.rows)


def wait_for_the_end(connection: Connection) -> None:
    """Until no other session is at work: the server may yet have to learn that its client is dead."""
    others = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    until = time.monotonic() + 60
    while found := connection.execute(others).fetchall():
        assert time.monotonic() < until, found
        time.sleep(0.05)


# --- At every step ---


def pages(total: int) -> list[dict[str, Any]]:
    """Pages that share words; one in eight has a text that fits no word."""
    return [
        {"slug": f"p{n}", "version": n, "words": [f"w{n % 13}", f"v{n}" + "x" * (20 * (n % 8 == 3)), f"w{n % 3}"]}
        for n in range(total)
    ]


PAGES = """
    SELECT p.slug, p.version, array_agg(w.text ORDER BY s.number)
    FROM pages p LEFT JOIN sentences s ON s.page_id = p.id LEFT JOIN sentence_words sw ON sw.sentence_id = s.id
    LEFT JOIN words w ON w.id = sw.word_id GROUP BY p.slug, p.version ORDER BY p.version
"""
DONE = """
    SELECT n FROM bulkload.chunks c, unnest(c.done) AS r, generate_series(lower(r), upper(r) - 1) AS n
    WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(c.rejected) AS e WHERE (e ->> 'position')::int = n)
      AND c.load = (SELECT max(load) FROM bulkload.chunks) ORDER BY n
"""
WORDS = "SELECT count(*) FROM words"


def page_input(folder: Path, many: object, job: Job[Any] = ultra_jobs.PAGES_JOB) -> list[Input]:
    source = folder / "pages.json"
    source.write_text(json.dumps(many), encoding="utf-8")
    return [Input(job, Source(str(source)))]


@pytest.fixture
def small(database: str) -> Iterator[Connection]:
    """Empty tables for pages, and a connection that is never cut."""
    with connect(database) as admin:
        admin.execute(ultra_jobs.SCHEMA.encode())
        # Of no plan, and emptied with the pages.
        admin.execute("CREATE TABLE remarks (page_id int REFERENCES pages); CREATE INDEX ON remarks (page_id)")
        yield admin


@pytest.mark.parametrize("kind", Injector.KINDS)
@pytest.mark.parametrize("mode", [Mode.STANDARD, Mode.ULTRA], ids=lambda mode: mode.value)
def test_a_fault_at_any_step_leaves_a_load_that_can_be_gone_on_with(
    small: Connection, database: str, tmp_path: Path, mode: Mode, kind: str
) -> None:
    """A record is in where the journal says so, and nowhere else; then the rest goes in, or all where nothing was."""
    given = page_input(tmp_path, pages(40))
    options: dict[str, Any] = {"mode": mode, "clear": True, "cascade": True, "chunk": 6, "drops": ALWAYS}
    injector = Injector(small, kind, None)
    with connect(database) as connection, injector():
        wanted = counts(run(connection, given, rejects=Rejects(most=9), **options))
    catalog = catalog_of(small)
    rows = small.execute(PAGES.encode()).fetchall()
    assert len(rows) == 35
    words = small.execute(WORDS).fetchall()
    steps = range(injector.steps)
    for at in sorted(CHANCE.sample(steps, min(3 * ROUNDS, len(steps)))):
        small.execute("DROP SCHEMA bulkload CASCADE")
        injector = Injector(small, kind, at)
        with suppress(BulkloadError, psycopg.Error, KeyboardInterrupt), connect(database) as connection, injector():
            run(connection, given, rejects=Rejects(most=9), **options)
        wait_for_the_end(small)
        begun = ledger.exists(small) and bool(journal.unfinished(small))
        if begun:
            done = [n for (n,) in small.execute(DONE.encode()).fetchall()]
            found = [int(str(version)) + 1 for _, version, _ in small.execute(PAGES.encode()).fetchall()]
            assert found == done
        with connect(database) as connection:
            report = run(connection, given, rejects=Rejects(most=9), resume=True, **{**options, "chunk": 9})
        assert counts(report) == wanted
        assert small.execute(PAGES.encode()).fetchall() == rows
        assert small.execute(WORDS).fetchall() == words
        if not begun:
            # One of a table that nothing refers to any more may be left, where all was begun anew.
            recovery.recover(small)
        assert catalog_of(small) == catalog
        assert ledger.outstanding(small) == []
        count(f"{kind} a step of a load, then resume ({mode.value})", "gone on" if begun else "anew")


def stop_after(chunks: int) -> Callable[[Progress], None]:
    """Watches a load, and ends it when so many chunks are in."""
    left = [chunks]

    def watch(_progress: Progress) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise InterruptedError

    return watch


def stopped(connection: Connection, given: Sequence[Input], chunks: int = 2, **options: Any) -> None:
    """A load of which so many chunks are in."""
    with pytest.raises(InterruptedError):
        run(connection, given, **{"mode": Mode.STANDARD, "chunk": 5, "watch": stop_after(chunks), **options})


def good_pages(total: int) -> list[dict[str, Any]]:
    return [{"slug": f"p{n}", "version": n, "words": [f"w{n % 5}"]} for n in range(total)]


def test_what_has_changed_is_named_and_nothing_is_done(
    small: Connection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Sources, mappings, what is asked for, tables; when it is as it was, the load goes on, from another place too."""
    given = page_input(tmp_path, good_pages(30))
    path = Path(given[0].source.path)
    content = path.read_bytes()
    stopped(small, given)
    assert "stay: 10 records of pages.json, 35 rows inserted; run the import again with --resume" in caplog.text

    def refused(words: str, sources: Sequence[Input] = given, **options: Any) -> None:
        with pytest.raises(ResumeError, match=words) as caught:
            run(small, sources, **{"mode": Mode.STANDARD, "resume": True, **options})
        assert str(caught.value).startswith("load 1 (")
        assert small.execute("SELECT count(*), max(version) FROM pages").fetchall() == [(10, 9)]
        assert journal.past(small, 1).records == 10

    path.write_bytes(content + b"\n")
    refused(f"pages.json had {len(content):,} bytes, and has {len(content) + 1:,}")
    path.write_bytes(content.replace(b"p29", b"q29"))
    refused("pages.json has another content: its SHA-256 was [0-9a-f]{16}…, and is ")
    path.write_bytes(content)
    newer = attrs.evolve(ultra_jobs.PAGES_JOB, version="2")
    refused("the mapping pages was of version '', and is of '2'", [Input(newer, given[0].source)])
    other = attrs.evolve(ultra_jobs.PAGES_JOB, name="visits")
    refused("pages.json is given for visits, in place of pages.json for pages", [Input(other, given[0].source)])
    refused(r"it reads 1 sources \(pages.json\), and 2 are given", [*given, *given])
    refused("its mode was standard, and is optimized", mode=Mode.OPTIMIZED)
    refused("its mode was standard, and is ultra; schema and clear were public and False", mode=Mode.ULTRA, clear=True)
    small.execute("ALTER TABLE words ALTER text DROP NOT NULL")
    refused("column public.words.text was character varying.12. not null, and is character varying.12.")
    small.execute("ALTER TABLE words ALTER text SET NOT NULL; ALTER TABLE pages ADD extra int")
    refused("column public.pages.extra was not there, and is integer")
    small.execute("ALTER TABLE pages DROP extra; BEGIN; CREATE TABLE kept AS TABLE sentence_words")
    small.execute("DELETE FROM sentence_words; COMMIT")
    refused("table public.sentence_words is empty, and 10 rows of the load were in it")
    small.execute("INSERT INTO sentence_words TABLE kept; ALTER TABLE sentence_words RENAME TO old")
    small.execute("CREATE TABLE sentence_words (LIKE old INCLUDING ALL); INSERT INTO sentence_words TABLE old")
    refused("table public.sentence_words was made anew")
    small.execute("DROP TABLE sentence_words; ALTER TABLE old RENAME TO sentence_words")

    moved = path.rename(tmp_path / "elsewhere.json")
    report = run(small, [Input(given[0].job, Source(str(moved)))], mode=Mode.STANDARD, resume=True)
    assert (report.resumed, report.sources[0].loaded) == (10, 30)
    assert small.execute(PAGES.encode()).fetchall() == [(f"p{n}", n, [f"w{n % 5}"]) for n in range(30)]


def test_where_nothing_was_stopped_it_starts_anew_and_says_so(
    small: Connection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a ledger, after a load that is done, and after one of which nothing is in; also in one transaction."""
    given = page_input(tmp_path, good_pages(12))
    for mode in (Mode.STANDARD, Mode.OPTIMIZED, Mode.ULTRA, Mode.STANDARD):
        caplog.clear()
        emptied = mode is Mode.ULTRA
        report = run(small, given, mode=mode, clear=emptied, cascade=emptied, resume=True)
        assert "nothing to resume: no load into these tables was stopped; loading anew" in caplog.text
        # What the load before it has left is not written again.
        assert (report.resumed, report.sources[0].loaded + report.sources[0].unchanged) == (0, 12)
    with pytest.raises(InterruptedError):
        run(small, given, clear=True, cascade=True, watch=stop_after(1))
    given = page_input(tmp_path, good_pages(13)[::-1])
    small.execute("TRUNCATE bulkload.fingerprints")
    stopped(small, given)
    # What came into the tables since makes another content of them than that of one load.
    run(small, given)
    assert journal.unfinished(small) == []
    caplog.clear()
    assert run(small, given, mode=Mode.STANDARD, resume=True).resumed == 0
    assert "nothing to resume" in caplog.text


def test_a_load_is_gone_on_with_once(small: Connection, database: str, tmp_path: Path) -> None:
    """Who comes second is told so, and changes nothing; stopped again, it is gone on with again."""
    given = page_input(tmp_path, good_pages(40))
    for mode in (Mode.STANDARD, Mode.ULTRA):
        options: dict[str, Any] = {"mode": mode, "clear": True, "cascade": True, "resume": True, "chunk": 5}
        stopped(small, given, mode=mode, clear=True, cascade=True)
        told: list[str] = []

        def watch(_progress: Progress, told: list[str] = told, options: dict[str, Any] = options) -> None:
            if not told:
                with connect(database) as other, pytest.raises(ServerError) as caught:
                    run(other, given, **options)
                told.append(str(caught.value))
            else:
                raise InterruptedError

        with pytest.raises(InterruptedError):
            run(small, given, watch=watch, **options)
        assert "runs; run this again when it has ended" in told[0]
        with connect(database) as other:
            report = run(other, given, **options)
        assert (report.resumed, report.sources[0].loaded, report.tables["pages"].inserted) == (20, 40, 40)
        assert small.execute(PAGES.encode()).fetchall() == [(f"p{n}", n, [f"w{n % 5}"]) for n in range(40)]


def test_tables_that_were_emptied_are_not_gone_on_with(small: Connection, tmp_path: Path) -> None:
    """Though by now there are rows in them, of a load that the ledger does not know."""
    given = page_input(tmp_path, good_pages(30))
    stopped(small, given)
    small.execute("TRUNCATE pages, words, sentences, sentence_words, remarks")
    small.execute("INSERT INTO pages (slug, version) VALUES ('other', 99)")
    with pytest.raises(ResumeError, match=r"table public\.pages was emptied or rewritten"):
        run(small, given, mode=Mode.STANDARD, resume=True)
    assert small.execute("SELECT slug FROM pages").fetchall() == [("other",)]


def test_what_was_unchanged_is_so_when_a_load_is_gone_on_with(small: Connection, tmp_path: Path) -> None:
    """What the first run has written counts as loaded, though by now it is as it was loaded last."""
    job = attrs.evolve(ultra_jobs.PAGES_JOB, version="1")
    run(small, page_input(tmp_path, good_pages(40), job), mode=Mode.STANDARD)
    many = [{**page, "words": ["new"]} if n % 2 else page for n, page in enumerate(good_pages(40))]
    given = page_input(tmp_path, many, job)
    stopped(small, given)
    report = run(small, given, mode=Mode.STANDARD, resume=True)
    source = report.sources[0]
    assert (report.resumed, source.loaded, source.unchanged, source.read) == (10, 20, 20, 40)
    rows = [(f"p{n}", n, ["new" if n % 2 else f"w{n % 5}"]) for n in range(40)]
    assert small.execute(PAGES.encode()).fetchall() == rows


def test_what_cannot_be_read_again_is_not_gone_on_with(small: Connection, tmp_path: Path) -> None:
    """A pipe: it is said, and the load is no one that can be."""
    ((job, source),) = [(each.job, each.source) for each in page_input(tmp_path, good_pages(20))]
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["/bin/sh", "-c", 'cat "$0" > "$1"', source.path, str(pipe)]):
        stopped(small, [Input(job, Source(str(pipe)))])
    assert journal.unfinished(small) == []
    with pytest.raises(ResumeError, match="it read pages from standard input or a pipe"):
        run(small, [Input(job, source)], mode=Mode.STANDARD, resume=True)
    for path in ("-", str(pipe)):
        with pytest.raises(UsageError, match="cannot be gone on with where a load stopped: name a file"):
            run(small, [Input(job, Source(path))], mode=Mode.STANDARD, resume=True)
    with small.transaction(), pytest.raises(UsageError, match="outside of a transaction"):
        run(small, [Input(job, source)], mode=Mode.STANDARD, resume=True)


@pytest.mark.parametrize("least_batch", [0, 1 << 30])
def test_the_journal_has_each_record_once(
    small: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least_batch: int
) -> None:
    """Also where rows that come again, and records that the server refuses, are written on other ways than the rest."""
    monkeypatch.setattr(outbox, "LEAST_BATCH", least_batch)
    small.execute("ALTER TABLE words ADD CHECK (text <> 'bad'); ALTER TABLE sentences ADD CHECK (number <> 3)")
    many = [
        {
            "slug": f"p{n % 30}",
            "version": n,
            "words": ["bad" if n in {38, 71} else f"w{n}", *(["more"] * (3 if n == 52 else 0))],
        }
        for n in range(80)
    ]
    given = page_input(tmp_path, many, ultra_jobs.UNTOLD_PAGES_JOB)
    for jobs in (1, 2):
        report = run(
            small, given, mode=Mode.ULTRA, clear=True, cascade=True, chunk=4, jobs=jobs, rejects=Rejects(most=9),
            drops=Drops(),
        )  # fmt: skip
        assert (report.sources[0].loaded, report.sources[0].rejected) == (77, 3)
        line = ledger.loads(small, 1)[0]
        past = journal.past(small, line.id)
        assert (past.inputs[0].loaded, sorted(past.inputs[0].rejected)) == (77, [39, 53, 72])
        assert list(past.inputs[0].done) == [*range(1, 81)]
        assert {name: table.inserted for name, table in past.tables.items()} == {
            name: table.inserted for name, table in report.tables.items() if table.inserted
        }


def test_old_lines_go_but_for_those_that_are_needed(small: Connection, tmp_path: Path) -> None:
    """90 days, and the last 100: a load that can be gone on with, or has something away, stays however old it is."""
    given = page_input(tmp_path, good_pages(20))
    stopped(small, given)
    insert = "INSERT INTO bulkload.loads (kind, mode, tables, state, client, version) SELECT 'load', 'optimized', "
    small.execute(f"{insert} '{{}}', 'done', 'c', '1' FROM generate_series(1, 120)".encode())
    small.execute(f"{insert} '{{}}', 'running', 'dead', '1' FROM generate_series(1, 2)".encode())
    small.execute(
        "INSERT INTO bulkload.dropped (load, relation, kind, schema_name, table_name, name, definition) "
        "VALUES (9, 1, 'index', 's', 't', 'n', '{}')"
    )
    ids = "SELECT array_agg(id ORDER BY id) FROM bulkload.loads"
    run(small, page_input(tmp_path, [{"slug": 1, "city": "c", "country": "k", "day": 1}], ultra_jobs.VISITS_JOB))
    assert small.execute(ids).fetchall() == [([*range(1, 125)],)]
    small.execute("UPDATE bulkload.loads SET started = now() - interval '91 days' WHERE id <> 12")
    run(small, page_input(tmp_path, [{"slug": 1, "city": "c", "country": "k", "day": 1}], ultra_jobs.VISITS_JOB))
    assert small.execute(ids).fetchall() == [([1, 9, 12, *range(25, 126)],)]
    small.execute("DELETE FROM bulkload.dropped")
    page_input(tmp_path, good_pages(20))
    assert run(small, given, mode=Mode.STANDARD, resume=True).resumed == 10


def test_a_role_that_may_not_write_the_journal_is_told_so(
    small: Connection, database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It loads all the same, and goes on with nothing: the rights are named."""
    given = page_input(tmp_path, good_pages(20))
    role = f"reader_{os.getpid()}"
    small.execute(f"CREATE ROLE {role} LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}".encode())
    try:
        small.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}".encode())
        ledger.ensure(small)
        small.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA bulkload TO {role}".encode())
        small.execute(f"REVOKE INSERT ON bulkload.chunks FROM {role}".encode())
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(f"SET SESSION AUTHORIZATION {role}".encode())
            with caplog.at_level("INFO"):
                stopped(connection, given)
            assert (
                "cannot be gone on with where it is stopped: this role lacks INSERT on bulkload.chunks" in caplog.text
            )
            assert (
                "stay: 10 records of pages.json, 35 rows inserted; run the import again to load all of it"
                in caplog.text
            )
            assert small.execute("SELECT count(*) FROM pages").fetchall() == [(10,)]
            small.execute("TRUNCATE pages CASCADE")
            stopped(small, given)
            with pytest.raises(ServerError, match=r"load 2 cannot be gone on .* lacks INSERT on bulkload\.chunks"):
                run(connection, given, mode=Mode.STANDARD, resume=True)
            # Everybody may know of it; but reasons of rejects hold what is in records.
            small.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA bulkload FROM {role}".encode())
            assert [each.loaded for each in journal.unfinished(connection)] == [10]
            assert [line.loaded for line in ledger.loads(connection, 1)] == [10]
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT rejected FROM bulkload.chunks")
    finally:
        small.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())
