"""Records that come again: the unchanged are known and left alone, and the content is as if all were written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import attrs
import psycopg
import pytest
from psycopg import sql

from bulkload import (
    Drops,
    Input,
    Job,
    JsonRecords,
    Mode,
    Plan,
    RecordError,
    Rejects,
    RejectsError,
    Report,
    Sink,
    Source,
    UsageError,
    gamedb,
    run,
    start,
)
from bulkload.rows import fingerprints
from bulkload.runs.preview import preview
from bulkload.workers import shares
from tests import mappings, orders

Connection = psycopg.Connection[tuple[object, ...]]
Load = Callable[..., Report]

SIZES = gamedb.Sizes(items=120, nanos=20, perks=15, symbiants=20)

# How a load is done: its mode, and whether records are mapped elsewhere.
WAYS = pytest.mark.parametrize(
    ("mode", "elsewhere"),
    [(Mode.STANDARD, False), (Mode.OPTIMIZED, False), (Mode.OPTIMIZED, True)],
    ids=["standard", "optimized", "elsewhere"],
)
MODES = pytest.mark.parametrize("mode", [Mode.STANDARD, Mode.OPTIMIZED], ids=lambda mode: mode.name.lower())

JOB = attrs.evolve(orders.REPLACING_JOB, version="1")
CONTENT = """
    SELECT o.number, c.name, o.code, array_agg((l.sku, l.amount)::text ORDER BY l.sku, l.amount)
    FROM orders o JOIN customers c ON c.id = customer_id LEFT JOIN lines l ON l.order_id = o.id GROUP BY o.id, c.id
    ORDER BY 1
"""


@pytest.fixture
def shop(connection: Connection) -> Connection:
    """The tables of `tests.orders`."""
    connection.execute(orders.SCHEMA.encode())
    return connection


@pytest.fixture
def items(gamedb_database: str) -> Iterator[Connection]:
    """An items database without items that is this test's own."""
    with psycopg.connect(gamedb_database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads records by a job, from a file of JSON Lines."""

    def loaded(
        connection: Connection, records: Sequence[Mapping[str, Any]], job: Job[Any] = JOB, **options: Any
    ) -> Report:
        path = tmp_path / "records.json"
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        report = run(connection, [Input(job, Source(str(path)))], **{"chunk": 3, **options})
        assert [source.read for source in report.sources] == [len(records)]
        return report

    return loaded


def content(connection: Connection) -> list[tuple[object, ...]]:
    return connection.execute(CONTENT.encode()).fetchall()


def said(records: Sequence[Mapping[str, Any]]) -> list[tuple[object, ...]]:
    """What must be there for these orders, of which the last of a number counts."""
    last = {record["number"]: record for record in records}
    return [
        (number, each["customer"], each["code"], [f"({sku},{amount})" for sku, amount in sorted(each["lines"])])
        for number, each in sorted(last.items())
    ]


def fates(report: Report) -> tuple[int, int, int, int]:
    """Loaded, unchanged, superseded, rejected."""
    (source,) = report.sources
    return source.loaded, source.unchanged, source.superseded, source.rejected


def versions(connection: Connection, tables: Sequence[str]) -> set[tuple[object, ...]]:
    """The very versions of all rows of these tables."""
    return {
        (table, *row)
        for table in tables
        for row in connection.execute(sql.SQL("SELECT ctid, xmin FROM {}").format(sql.Identifier(table)))
    }


ORDERS = [orders.order(number) for number in range(20)]


# --- Nothing has changed ---


@WAYS
def test_the_same_files_twice_write_nothing(
    items: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode, elsewhere: bool
) -> None:
    """Not one row of any table has another version after the second import, and all records are accounted for."""
    monkeypatch.setattr(shares, "LEAST_BYTES", 0)
    files = gamedb.generate(tmp_path, SIZES, 1)
    jobs: list[Job[Any]] = [gamedb.ITEMS_JOB, gamedb.NANOS_JOB, gamedb.PERKS_JOB, gamedb.SYMBIANTS_JOB]
    paths = (files.items, files.nanos, files.perks, files.symbiants)
    inputs = [Input(job, Source(str(path))) for job, path in zip(jobs, paths, strict=True)]
    with ThreadPoolExecutor(1) if elsewhere else nullcontext() as executor:
        first = run(items, inputs, mode=mode, chunk=50, executor=executor, finish=gamedb.refresh_views)
        before = versions(items, list(first.tables))
        again = run(items, inputs, mode=mode, chunk=50, executor=executor)
    assert versions(items, list(first.tables)) == before
    assert {(t.inserted, t.updated, t.deleted) for t in again.tables.values()} == {(0, 0, 0)}
    for source, once in zip(again.sources[:2], first.sources[:2], strict=True):
        assert (source.loaded, source.unchanged) == (0, once.loaded)
        assert source.read == once.read
    assert gamedb.differences(gamedb.expected(*paths), gamedb.actual(items)) == []


@pytest.mark.parametrize("elsewhere", [False, True])
def test_rows_of_emptied_tables_are_known_again(
    shop: Connection, load: Load, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    """There the load knows what version its rows are, and does not look at them; so it is of several versions, too."""
    monkeypatch.setattr(shares, "LEAST_BYTES", 0)
    records = [*ORDERS, orders.order(3, lines=[["p9", 5]])]
    with ThreadPoolExecutor(1) if elsewhere else nullcontext() as executor:
        for _ in range(2):
            assert fates(load(shop, records, clear=True, executor=executor)) == (20, 0, 1, 0)
            kept = shop.execute(
                "SELECT f.row_id FROM bulkload.fingerprints f JOIN orders o ON o.id = f.row_id AND "
                "o.xmin = f.row_version WHERE f.relation = 'orders'::regclass ORDER BY 1"
            ).fetchall()
            assert kept == shop.execute("SELECT id FROM orders ORDER BY 1").fetchall()
            assert shop.execute("SELECT count(*) FROM bulkload.fingerprints").fetchall() == [(20,)]
        assert fates(load(shop, records, executor=executor)) == (0, 20, 1, 0)
    assert content(shop) == said(records)


@WAYS
def test_what_is_new_or_changed_is_written_and_nothing_else(
    shop: Connection, load: Load, monkeypatch: pytest.MonkeyPatch, mode: Mode, elsewhere: bool
) -> None:
    """Changed, new, superseded and rejected records beside unchanged ones, and then all of it the other way round."""
    monkeypatch.setattr(shares, "LEAST_BYTES", 0)
    bad = orders.order(30, lines=[["p1", 13]])
    changed = orders.order(4, lines=[["p9", 5]])
    late = orders.order(5, customer="late")
    second = [orders.order(31), *ORDERS[:4], orders.order(4), changed, late, bad, *ORDERS[6:], late]
    options: dict[str, Any] = {"mode": mode, "executor": None}
    with ThreadPoolExecutor(1) if elsewhere else nullcontext() as options["executor"]:
        load(shop, ORDERS, **options)
        before = versions(shop, ["orders", "lines"])
        report = load(shop, second, rejects=Rejects(most=1), **options)
        assert fates(report) == (3, 18, 2, 1)
        # An order with two lines is three rows; of those of 4 and 5 none is left.
        assert len(versions(shop, ["orders", "lines"]) & before) == 18 * 3
        assert content(shop) == said([*ORDERS, orders.order(31), changed, late])
        assert fates(load(shop, second[::-1], rejects=Rejects(most=1), **options)) == (1, 20, 2, 1)
        # What came first in the file is now what counts.
        assert content(shop) == said([*ORDERS, orders.order(31), orders.order(4), late])


def test_a_rejected_record_lets_the_version_before_it_count(shop: Connection, load: Load) -> None:
    """It may be the one that is there already, however often that comes."""
    bad = orders.order(3, lines=[["p1", 13]])
    assert fates(load(shop, [*ORDERS, bad], rejects=Rejects(most=1))) == (20, 0, 0, 1)
    assert fates(load(shop, [*ORDERS, bad], rejects=Rejects(most=1))) == (0, 20, 0, 1)
    assert content(shop) == said(ORDERS)


@MODES
def test_clearing_and_failing_leave_no_false_fingerprint(shop: Connection, load: Load, mode: Mode) -> None:
    """After a load that cleared all is new; after one that failed, what is there is what the last one left."""
    load(shop, ORDERS, mode=mode)
    assert fates(load(shop, ORDERS, mode=mode, clear=True)) == (20, 0, 0, 0)
    changed = [orders.order(number, customer="other") for number in range(20)]
    with pytest.raises((RecordError, RejectsError)):
        load(shop, [*changed, orders.order(30, lines=[["p1", 13]])], mode=mode)
    # In standard mode, the batches before it are in.
    there = [row[1] == "other" for row in content(shop)]
    assert any(there) == (mode is Mode.STANDARD)
    assert fates(load(shop, ORDERS, mode=mode)) == (sum(there), 20 - sum(there), 0, 0)
    assert content(shop) == said(ORDERS)


def test_a_load_without_atomicity_is_known_again(shop: Connection, load: Load) -> None:
    """What `Mode.ULTRA` wrote, on other connections, the next load finds unchanged."""
    load(shop, ORDERS, mode=Mode.ULTRA, clear=True)
    assert fates(load(shop, ORDERS)) == (0, 20, 0, 0)


def test_a_preview_tells_what_is_unchanged_and_what_is_emptied(shop: Connection, load: Load, tmp_path: Path) -> None:
    """Rows to come are those of records that changed; with `clear`, all of them, and other tables are named."""
    load(shop, ORDERS)
    path = tmp_path / "next.json"
    path.write_text(json.dumps([*ORDERS[:15], *(orders.order(number) for number in range(20, 25))]), encoding="utf-8")
    inputs = [Input(JOB, Source(str(path)))]
    options: dict[str, Any] = {"schema": "public", "mode": Mode.OPTIMIZED, "prepare": None}
    found = preview(shop, inputs, clear=False, cascade=False, drops=Drops(), **options)
    assert found.findings[-1] == "next.json: 15 records are unchanged since they were imported last, and are left alone"
    assert found.expected["orders"] == pytest.approx(5, rel=0.2)
    shop.execute("CREATE TABLE notes (order_id int REFERENCES orders)")
    with pytest.raises(UsageError, match=r"public.notes, whose notes_order_id_fkey refers to public.orders;"):
        preview(shop, inputs, clear=True, cascade=False, drops=Drops(), **options)
    found = preview(shop, inputs, clear=True, cascade=True, drops=Drops(), **options)
    assert found.findings[-1] == "emptied as well: public.notes, whose notes_order_id_fkey refers to public.orders"
    assert any('"notes"' in each for each in found.statements if "TRUNCATE" in each)
    assert "ACCESS EXCLUSIVE on public.notes until the commit: readers and writers wait" in found.locks
    assert found.expected["orders"] == pytest.approx(20, rel=0.2)


# --- What others did, and what is not the same ---

MEDDLING = {
    "a row is updated": "UPDATE orders SET code = 'mine' WHERE number = 7",
    "a row is deleted": "DELETE FROM lines USING orders o WHERE o.id = order_id AND number = 7;"
    "DELETE FROM orders WHERE number = 7",
    "a row comes back from a copy": "CREATE TABLE copy AS SELECT id, number, customer_id, begins, ends, weight "
    "FROM orders WHERE number = 7; UPDATE lines SET order_id = (SELECT id FROM orders WHERE number = 8), amount = 50 "
    "FROM orders o WHERE o.id = order_id AND number = 7; DELETE FROM orders WHERE number = 7;"
    "INSERT INTO orders (id, number, customer_id, begins, ends, weight) SELECT * FROM copy",
}


@MODES
@pytest.mark.parametrize("statement", MEDDLING.values(), ids=MEDDLING.keys())
def test_a_row_that_is_not_as_it_was_left_is_written_again(
    shop: Connection, load: Load, mode: Mode, statement: str
) -> None:
    """And the others are not."""
    load(shop, ORDERS)
    shop.execute(statement.encode())
    assert fates(load(shop, ORDERS, mode=mode)) == (1, 19, 0, 0)
    assert [row for row in content(shop) if row[0] != 8] == [row for row in said(ORDERS) if row[0] != 8]


@pytest.mark.parametrize(
    "statement", ["TRUNCATE lines", "CREATE TABLE l AS TABLE lines; TRUNCATE lines; INSERT INTO lines TABLE l"]
)
def test_a_table_that_was_emptied_has_all_records_written_again(shop: Connection, load: Load, statement: str) -> None:
    """Whatever is in it now: it may be what a dump had."""
    load(shop, ORDERS)
    shop.execute(statement.encode())
    assert fates(load(shop, ORDERS)) == (20, 0, 0, 0)
    assert content(shop) == said(ORDERS)


def test_what_others_did_to_rows_that_belong_to_it_stays(shop: Connection, load: Load) -> None:
    """Until the record changes, or somebody deletes the fingerprints."""
    load(shop, ORDERS)
    shop.execute("DELETE FROM lines USING orders o WHERE o.id = order_id AND number IN (7, 8)")
    changed = [*ORDERS[:7], orders.order(7, customer="new"), *ORDERS[8:]]
    assert fates(load(shop, changed)) == (1, 19, 0, 0)
    assert [row for row in content(shop) if row[0] != 8] == [row for row in said(changed) if row[0] != 8]
    assert content(shop)[8][3] == ["(,)"]
    shop.execute("TRUNCATE bulkload.fingerprints")
    assert fates(load(shop, changed)) == (20, 0, 0, 0)
    assert content(shop) == said(changed)


@MODES
def test_a_connection_that_is_not_in_autocommit_mode_commits_all_the_same(
    shop: Connection, database: str, load: Load, mode: Mode
) -> None:
    """Where it is in a transaction, that is its caller's; and it is then as it was before."""
    with psycopg.connect(database) as plain:
        assert fates(load(plain, ORDERS[:5], mode=mode)) == (5, 0, 0, 0)
        assert content(shop) == said(ORDERS[:5])
        plain.execute("SELECT")
        assert fates(load(plain, ORDERS[5:], mode=mode)) == (15, 0, 0, 0)
        assert content(shop) == said(ORDERS[:5])
        plain.rollback()
        with start(plain, JOB.plan, mode=mode) as loop:
            orders.replace_order(loop, orders.order(6))
        assert content(shop) == said([*ORDERS[:5], orders.order(6)])
        assert not plain.autocommit


def test_a_loop_of_ones_own_has_its_records_written_again(shop: Connection, load: Load) -> None:
    """It replaces rows that a job's fingerprints tell of, even where the row itself stays the same."""
    load(shop, ORDERS)
    with start(shop, JOB.plan) as loop:
        orders.replace_order(loop, orders.order(7, lines=[["p9", 5]]))
    assert fates(load(shop, ORDERS)) == (1, 19, 0, 0)
    assert content(shop) == said(ORDERS)


@MODES
def test_a_trigger_may_keep_a_replaced_row_as_it_is(shop: Connection, load: Load, mode: Mode) -> None:
    """What belongs to it is replaced all the same, and what it was made of before is not taken for what is there."""
    load(shop, ORDERS)
    changed = [*ORDERS[:7], orders.order(7, lines=[["p9", 5]]), *ORDERS[8:]]
    shop.execute("CREATE FUNCTION keep_row() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    shop.execute("CREATE TRIGGER frozen BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION keep_row()")
    for records in (changed, ORDERS):
        assert fates(load(shop, records, mode=mode)) == (1, 19, 0, 0)
        assert fates(load(shop, records, mode=mode)) == (0, 20, 0, 0)
        assert content(shop) == said(records)


def test_another_mapping_has_all_records_written_again(shop: Connection, load: Load) -> None:
    """Another version of it, another name; and one that says of no version is never taken for the same."""
    load(shop, ORDERS)
    unnamed = attrs.evolve(JOB, version="", add=without_lines)
    assert fates(load(shop, ORDERS, unnamed)) == fates(load(shop, ORDERS, unnamed)) == (20, 0, 0, 0)
    for job in (attrs.evolve(JOB, version="2", add=without_lines), attrs.evolve(JOB, name="others", add=without_lines)):
        assert fates(load(shop, ORDERS, job)) == (20, 0, 0, 0)
        assert fates(load(shop, ORDERS, job)) == (0, 20, 0, 0)
    assert [row[3] for row in content(shop)] == [["(,)"]] * 20


def without_lines(sink: Sink, document: dict[str, Any]) -> None:
    orders.replace_order(sink, document | {"lines": []})


@pytest.mark.parametrize(("piece", "elsewhere"), [(1, False), (1, True), (1 << 16, True)])
def test_records_that_make_one_row_together_are_never_taken_for_unchanged(
    shop: Connection, load: Load, monkeypatch: pytest.MonkeyPatch, piece: int, elsewhere: bool
) -> None:
    """Which of them has the last word depends on which of them come; however fingerprints are stored."""
    monkeypatch.setattr(fingerprints, "_PIECE", piece)
    monkeypatch.setattr(fingerprints, "_STORED_ROWS", piece)
    monkeypatch.setattr(shares, "LEAST_BYTES", 0)
    job = attrs.evolve(JOB, add=two_in_one)
    options: dict[str, Any] = {"jobs": 2} if elsewhere else {}
    with ThreadPoolExecutor(1) if elsewhere else nullcontext() as options["executor"]:
        for numbers in ([2, 3, 4, 5], [2, 4], [3, 5], [2, 3, 4, 5]):
            records = [orders.order(number) for number in numbers]
            load(shop, records, job, chunk=1, clear=numbers == [2, 3, 4, 5], **options)
            last = {number // 2: f"c{number % 7}" for number in numbers}
            assert [row[:2] for row in content(shop)] == [(2 * half, name) for half, name in last.items()]


@WAYS
def test_a_row_that_a_job_without_a_version_wrote_last_is_written_again(
    shop: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode, elsewhere: bool
) -> None:
    """In the same load, and from records whose keys are not known before they are mapped."""
    monkeypatch.setattr(shares, "LEAST_BYTES", 0)
    told, untold = tmp_path / "told.json", tmp_path / "untold.json"
    told.write_text(json.dumps(orders.order(7)))
    untold.write_text(json.dumps(orders.order(7, customer="last")))
    keyless = attrs.evolve(JOB, name="keyless", version="", read=JsonRecords(dict[str, Any]))
    first, last = Input(JOB, Source(str(told))), Input(keyless, Source(str(untold)))
    with ThreadPoolExecutor(1) if elsewhere else nullcontext() as executor:
        run(shop, [first, last], mode=mode, executor=executor)
        assert content(shop) == said([orders.order(7, customer="last")])
        assert fates(run(shop, [first], mode=mode, executor=executor)) == (1, 0, 0, 0)
        assert content(shop) == said([orders.order(7)])


def two_in_one(sink: Sink, document: dict[str, Any]) -> None:
    number = document["number"] // 2 * 2
    orders.replace_order(sink, document | {"number": number, "begins": 10 * number, "ends": 10 * number + 9})


def test_a_mapping_that_shares_what_it_updates_writes_all(connection: Connection, load: Load) -> None:
    """Of two records with one author, it is the last one in a file that says how old that is."""
    connection.execute(mappings.SCHEMA.encode())
    posts = [{"slug": f"p{n}", "author": "one", "age": n, "tags": [f"t{n}"], "lines": n} for n in range(3)]
    load(connection, posts, mappings.POSTS_JOB)
    assert fates(load(connection, posts[:2], mappings.POSTS_JOB)) == (2, 0, 0, 0)
    assert connection.execute("SELECT age FROM authors").fetchall() == [(1,)]


def test_a_table_that_is_filled_by_others_too_has_all_written(shop: Connection, tmp_path: Path) -> None:
    """Or rows of theirs, which go with an order that is replaced, would come twice."""
    files = [tmp_path / "orders.json", tmp_path / "gifts.json"]
    files[0].write_text(json.dumps(ORDERS[:2]), encoding="utf-8")
    files[1].write_text(json.dumps([{"number": 1}]), encoding="utf-8")
    gifts = Job("gifts", Plan(orders.LINES, lookups=[orders.BY_NUMBER]), orders.READ, orders.add_gift)
    inputs = [Input(job, Source(str(path))) for job, path in zip((JOB, gifts), files, strict=True)]
    for _ in range(2):
        report = run(shop, inputs)
        assert report.sources[0].loaded == 2
        assert content(shop) == said([ORDERS[0], orders.order(1, lines=[*ORDERS[1]["lines"], ["p5", 7]])])


# --- Rights ---


def test_a_role_that_may_not_keep_fingerprints_writes_all(shop: Connection, load: Load) -> None:
    """And what it writes is no longer taken for what a role that may had written."""
    load(shop, ORDERS)
    shop.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO pg_monitor")
    shop.execute("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO pg_monitor")
    other = [orders.order(7, lines=[["p9", 5]])]
    shop.execute("SET ROLE pg_monitor")
    for _ in range(2):
        assert fates(load(shop, other)) == (1, 0, 0, 0)
    shop.execute("RESET ROLE")
    assert content(shop) == said([*ORDERS, *other])
    assert fates(load(shop, ORDERS)) == (1, 19, 0, 0)
    assert content(shop) == said(ORDERS)
