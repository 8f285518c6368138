"""What mappings look up is found a chunk at a time, whatever there is to be found."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from bulkload import (
    Entity,
    Id,
    Input,
    Job,
    JsonRecords,
    Keep,
    Lookup,
    Mode,
    Plan,
    RecordError,
    Rejects,
    Report,
    Sink,
    Skip,
    Source,
    Table,
    record,
    run,
    start,
)
from bulkload.rows import merge
from bulkload.rows.finder import Finders
from bulkload.rows.stream import adapt
from bulkload.server import catalog

Connection = psycopg.Connection[tuple[object, ...]]

MAKERS = [uuid.UUID(int=number) for number in range(3)]

SCHEMA = """
    CREATE TABLE parts (id serial PRIMARY KEY, code int, maker uuid);
    CREATE TABLE stock (part_id int REFERENCES parts, count int);
    INSERT INTO parts (code, maker)
    SELECT code, lpad((code % 3)::text, 32, '0')::uuid FROM generate_series(1, 1000) AS code;
    ANALYZE parts;
"""
ROWS = 1000


@record
class Part:
    code: int | None
    maker: uuid.UUID | None


@record
class Stock:
    part_id: Id[Part]
    count: int


PARTS = Entity("parts", Part, ("code", "maker"), conflict=Keep(on=("code", "maker")))
STOCK = Table("stock", Stock, ("part_id", "count"))
BY_CODE = Lookup(PARTS, on=("code",))
BY_BOTH = Lookup(PARTS, on=("code", "maker"))
READ = JsonRecords(dict[str, Any])


def add_stock(sink: Sink, document: dict[str, Any]) -> None:
    """By the code alone, or with the maker where one is named."""
    code, maker = document["code"], document.get("maker")
    part = sink.find(BY_CODE, code) if maker is None else sink.find(BY_BOTH, code, maker)
    if part is None:
        raise Skip
    sink.add(STOCK, Stock(part, document["count"]))


def add_part(sink: Sink, document: dict[str, Any]) -> None:
    """The stock of a part that was there; then one more part, which is not to be found yet."""
    part = sink.find(BY_CODE, document["code"])
    if part is not None:
        sink.add(STOCK, Stock(part, document["count"]))
    sink.add(PARTS, Part(document["new"], MAKERS[0]))


@record
class Slot:
    at: dt.datetime


@record
class Tag:
    name: str


@record
class Note:
    tag_id: Id[Tag]
    count: int


TAGS = Entity("tags", Tag, ("name",), conflict=Keep(on=("name",)))
NOTES = Table("notes", Note, ("tag_id", "count"))
BY_NAME = Lookup(TAGS, on=("name",))


def add_note(sink: Sink, document: dict[str, Any]) -> None:
    """Of a tag that is there."""
    tag = sink.find(BY_NAME, document["code"])
    if tag is None:
        raise Skip
    sink.add(NOTES, Note(tag, document["count"]))


NOTES_JOB = Job("notes", Plan(NOTES, lookups=[BY_NAME]), READ, add_note)
STOCK_JOB = Job("stock", Plan(STOCK, lookups=[BY_CODE, BY_BOTH]), READ, add_stock)
PARTS_JOB = Job("parts", Plan(STOCK, PARTS, lookups=[BY_CODE]), READ, add_part)

Load = Callable[..., Report]


@pytest.fixture
def parts(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """More of them than are held in memory."""
    monkeypatch.setattr("bulkload.rows.merge._MOST_KEYS", ROWS - 1)
    connection.execute(SCHEMA)
    return connection


@pytest.fixture(params=[Mode.STANDARD, Mode.OPTIMIZED], ids=str)
def load(parts: Connection, tmp_path: Path, request: pytest.FixtureRequest) -> Load:
    """Loads documents, ten at a time."""

    def load(
        documents: Sequence[dict[str, Any]], job: Job[Any] = STOCK_JOB, size: int = 10, rejects: Rejects | None = None
    ) -> Report:
        file = tmp_path / "stock.json"
        file.write_text(json.dumps(documents), encoding="utf-8")
        return run(parts, [Input(job, Source(str(file)))], mode=request.param, chunk=size, rejects=rejects)

    return load


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """For how many keys the server was asked, each time."""
    sizes: list[int] = []
    match = merge.Merge.match

    def counted(self: merge.Merge, values: merge.Values, *, lock: bool = False) -> dict[int, int]:
        sizes.append(len(values[0]))
        return match(self, values, lock=lock)

    monkeypatch.setattr(merge.Merge, "match", counted)
    return sizes


def stock(connection: Connection) -> list[tuple[object, ...]]:
    return connection.execute("SELECT code, count FROM stock JOIN parts ON id = part_id ORDER BY count").fetchall()


def of(*codes: object, **others: object) -> list[dict[str, Any]]:
    return [{"code": code, "count": number, **others} for number, code in enumerate(codes)]


def test_a_chunk_asks_once(parts: Connection, load: Load, asked: list[int]) -> None:
    """For what its records look up, each but once, where the table has many more rows than there are records."""
    codes = [5, 7, 5, 2000, *range(11, 17), *range(21, 26), *range(21, 26)]
    report = load(of(*codes))
    assert stock(parts) == [(code, number) for number, code in enumerate(codes) if code != 2000]
    assert report.sources[0].skipped == 1
    # In STANDARD mode the sources are checked first, and each is asked for alone.
    assert asked[-2:] == [9, 5]
    assert {*asked[:-2]} <= {1}


def test_makers_are_found_however_they_are_written(parts: Connection, load: Load, asked: list[int]) -> None:
    """By two columns, of which one is known by several spellings."""
    load([*of(4, 5, maker=str(MAKERS[1])), {"code": 7, "maker": str(MAKERS[1]).upper(), "count": 2}])
    assert stock(parts) == [(4, 0), (7, 2)]
    assert asked[-1] == 3
    assert {*asked[:-1]} <= {1}


def test_the_newest_of_several(parts: Connection, load: Load) -> None:
    """As one lookup alone would find it."""
    parts.execute("INSERT INTO parts (code) VALUES (5), (5)")
    load(of(5))
    assert parts.execute("SELECT part_id FROM stock").fetchall() == [(ROWS + 2,)]


def test_what_does_not_fit_its_column_is_a_reject(parts: Connection, load: Load, asked: list[int]) -> None:
    """As where it is looked up alone; and nobody else is asked for once more. Nor is null equal to null."""
    parts.execute("INSERT INTO parts (code) VALUES (NULL)")
    with Rejects(most=2) as rejects:
        report = load(of(5, 2**40, None, "six", 9), rejects=rejects)
    assert stock(parts) == [(5, 0), (9, 4)]
    assert (report.sources[0].skipped, report.sources[0].rejected) == (1, 2)
    # Once for all that fit, then for each that does not, as often as it is mapped.
    assert asked.count(3) == 1
    assert set(asked) == {1, 3}


@pytest.mark.parametrize("first", [8, 8.0])
def test_what_python_calls_equal_is_told_apart(parts: Connection, load: Load, first: float) -> None:
    """Whichever comes first."""
    with Rejects(most=1) as rejects:
        load(of(first, 8 if isinstance(first, float) else 8.0), rejects=rejects)
    assert [code for code, _ in stock(parts)] == [8]


def test_an_hour_that_comes_twice_is_told_apart(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python calls these times equal, since they are of one zone; the server does not."""
    monkeypatch.setattr("bulkload.rows.merge._MOST_KEYS", 1)
    connection.execute("CREATE TABLE slots (id serial PRIMARY KEY, at timestamptz)")
    connection.execute("INSERT INTO slots (at) VALUES ('2021-10-31 00:30Z'), ('2021-10-31 01:30Z'); ANALYZE slots")
    slots = Entity("slots", Slot, ("at",), conflict=Keep(on=("at",)))
    by_time = Lookup(slots, on=("at",))
    times = [dt.datetime(2021, 10, 31, 2, 30, fold=fold, tzinfo=ZoneInfo("Europe/Berlin")) for fold in (0, 1, 0)]
    with start(connection, Plan(slots, lookups=[by_time])) as load:
        load.finders.look_ahead([by_time], lambda: {by_time: [(time,) for time in times[:1]]})
        assert [load.find(by_time, time) for time in times] == [1, 2, 1]


def test_what_was_asked_for_is_kept_for_one_chunk(parts: Connection, asked: list[int]) -> None:
    """What a load looks up would all be in memory otherwise."""
    targets = catalog.describe(parts, [PARTS], "public")
    adapt(parts)
    finders = Finders(parts, targets, Report())
    finders.look_ahead([BY_CODE], lambda: {BY_CODE: [(1,), (2,)]})
    finders.look_ahead([BY_CODE], lambda: {BY_CODE: [(3,), (4,)]})
    assert [finders.find_id(BY_CODE, (code,)) for code in (3, 4, 1)] == [3, 4, 1]
    assert asked == [2, 2, 1]


def test_a_lookup_that_no_mapping_uses_reads_nothing(
    parts: Connection, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan may name more than its mapping needs."""
    monkeypatch.setattr("bulkload.rows.merge._MOST_KEYS", ROWS)
    read: list[Sequence[str]] = []
    read_keys = merge.read_keys

    def counted(connection: Any, target: Any, id_column: str, key: Sequence[str]) -> Any:
        read.append(key)
        return read_keys(connection, target, id_column, key)

    monkeypatch.setattr("bulkload.rows.finder.read_keys", counted)
    load(of(5, 7))
    assert stock(parts) == [(5, 0), (7, 1)]
    assert {*read} == {("code",)}


def test_of_fewer_all_are_read(
    parts: Connection, load: Load, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is asked then, nor mapped twice."""
    monkeypatch.setattr("bulkload.rows.merge._MOST_KEYS", ROWS)
    mapped: list[int] = []

    def add(sink: Sink, document: dict[str, Any]) -> None:
        mapped.append(document["count"])
        add_stock(sink, document)

    load(of(5, 7, 2000), job=Job("stock", STOCK_JOB.plan, READ, add))
    assert stock(parts) == [(5, 0), (7, 1)]
    assert asked == []
    assert mapped in ([0, 1, 2], [0, 1, 2, 0, 1, 2])


def test_a_table_is_counted_before_it_is_read(parts: Connection) -> None:
    """Where nobody has analyzed it: so many rows in memory would be what is to be avoided."""
    parts.execute("CREATE TABLE others AS TABLE parts")
    target = catalog.describe_table(parts, "others", "public")
    executed: list[object] = []

    class Telling(psycopg.Cursor[tuple[object, ...]]):
        def execute(self, *arguments: Any, **others: Any) -> Any:
            executed.append(arguments[0])
            return super().execute(*arguments, **others)

    parts.cursor_factory = Telling
    assert merge.read_keys(parts, target, "id", ["code"]) is None
    assert len(executed) == 2
    parts.execute("DELETE FROM others WHERE id = 1")
    keys = merge.read_keys(parts, target, "id", ["code"])
    assert keys == {code: code for code in range(2, ROWS + 1)}


@pytest.mark.parametrize("mode", [Mode.OPTIMIZED, Mode.ULTRA], ids=str)
def test_what_the_server_refuses_is_the_fault_of_one_record(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    """A character that the database's encoding has not: nobody else's lookup fails with it."""
    monkeypatch.setattr("bulkload.rows.merge._MOST_KEYS", 1)
    name = f"latin_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING LATIN1 LOCALE 'C'".encode())
    try:
        with psycopg.connect(server, dbname=name, client_encoding="utf8", autocommit=True) as connection:
            connection.execute("CREATE TABLE tags (id serial PRIMARY KEY, name text)")
            connection.execute("CREATE TABLE notes (tag_id int REFERENCES tags, count int)")
            connection.execute("INSERT INTO tags (name) VALUES ('a'), ('b'); ANALYZE tags")
            file = tmp_path / "notes.json"
            file.write_text(json.dumps([*of("a", "漢", "b", "a"), *of("b")]), encoding="utf-8")
            inputs = [Input(NOTES_JOB, Source(str(file)))]
            with Rejects(most=1) as rejects:
                report = run(connection, inputs, mode=mode, clear=True, rejects=rejects)
            found = connection.execute(
                "SELECT name, count FROM notes JOIN tags ON id = tag_id ORDER BY notes.ctid"
            ).fetchall()
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
    assert (report.sources[0].loaded, report.sources[0].rejected) == (4, 1)
    assert "record 2: character with byte sequence" in str(rejects.errors[0])
    assert found == [("a", 0), ("b", 2), ("a", 3), ("b", 0)]


def test_a_chunk_finds_what_the_one_before_wrote(parts: Connection, load: Load) -> None:
    """And not what it writes itself."""
    documents = [{"code": 3001 + number // 2, "new": 3001 + number, "count": number} for number in range(20)]
    load(documents, job=PARTS_JOB)
    # The second chunk looks for 3006 to 3010, which the first one made.
    assert stock(parts) == [(3001 + number // 2, number) for number in range(10, 20)]
    assert parts.execute("SELECT count(*) FROM parts WHERE code > 3000").fetchone() == (20,)


def test_a_record_that_cannot_be_mapped_is_rejected_once(parts: Connection, load: Load, tmp_path: Path) -> None:
    """What it is asked beforehand is no second chance, and no second fault."""
    with Rejects(tmp_path / "rejects.jsonl", most=2) as rejects:
        report = load([*of(5, [6], 9), {"count": 3}], rejects=rejects)
    assert stock(parts) == [(5, 0), (9, 2)]
    assert (report.sources[0].rejected, report.sources[0].loaded) == (2, 2)
    assert [type(error) for error in rejects.errors] == [RecordError, RecordError]
    assert "KeyError: 'code'" in str(rejects.errors[1])
