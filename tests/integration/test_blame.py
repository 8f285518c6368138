"""Records that only the server can refuse: they are set aside whole, and all others are in, in every mode."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkload import (
    Drop,
    Drops,
    Input,
    Job,
    Mode,
    RecordError,
    Rejects,
    RejectsError,
    Report,
    ServerError,
    Source,
    WithRejects,
    run,
)
from bulkload.workers import outbox, shares
from tests import orders

ServerConnection = psycopg.Connection[tuple[object, ...]]

NEVER = Drops(Drop.NEVER, Drop.NEVER, Drop.NEVER)
ALWAYS = Drops(Drop.ALWAYS, Drop.ALWAYS, Drop.ALWAYS)
ALL = 1_000_000
WAYS = [(Mode.STANDARD, 1), (Mode.OPTIMIZED, 1), (Mode.OPTIMIZED, 2), (Mode.ULTRA, 1), (Mode.ULTRA, 2)]
EVERY_WAY = pytest.mark.parametrize(("mode", "jobs"), WAYS, ids=lambda way: getattr(way, "value", way))


@pytest.fixture(autouse=True)
def workers_always_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the sources are; the savepoint is moved after a chunk or two."""
    monkeypatch.setattr(shares, "LEAST_BYTES", 0)
    monkeypatch.setattr(outbox, "LEAST_BATCH", 0)
    monkeypatch.setattr(outbox, "LEAST_KEPT", 3000)


@pytest.fixture
def shop(connection: ServerConnection) -> ServerConnection:
    """The tables of `tests.orders`."""
    connection.execute(orders.SCHEMA.encode())
    return connection


class Shop:
    """Loads orders, and tells what is in the tables."""

    def __init__(self, connection: ServerConnection, directory: Path) -> None:
        self.connection = connection
        self.file = directory / "rejects.jsonl"
        self._source = directory / "orders.json"

    def load(
        self, documents: Sequence[dict[str, Any]], mode: Mode, jobs: int, *, most: int = ALL, chunk: int = 20,
        job: Job[Any] = orders.JOB, clear: bool = True, drops: Drops = NEVER,
    ) -> Report:  # fmt: skip
        self._source.write_text(json.dumps(documents), encoding="utf-8")
        inputs = [Input(job, Source(str(self._source)))]
        with Rejects(self.file, most=most) as rejects:
            return run(
                self.connection, inputs, mode=mode, jobs=jobs, clear=clear or mode is Mode.ULTRA, chunk=chunk,
                rejects=rejects, drops=drops,
            )  # fmt: skip

    @property
    def rejected(self) -> list[dict[str, Any]]:
        """The lines of the file of rejects, in the order of the source."""
        lines = [json.loads(line) for line in self.file.read_text(encoding="utf-8").splitlines()]
        return sorted(lines, key=lambda line: line["position"])

    @property
    def content(self) -> list[tuple[object, ...]]:
        return self.connection.execute(orders.CONTENT.encode()).fetchall()

    @property
    def customers(self) -> list[tuple[object, ...]]:
        return self.connection.execute("SELECT name FROM customers ORDER BY 1").fetchall()

    def check_as_without(
        self, documents: Sequence[dict[str, Any]], bad: Sequence[int], job: Job[Any] = orders.JOB
    ) -> None:
        """Whether the tables are as a load of the good records alone leaves them."""
        assert [line["position"] for line in self.rejected] == [number + 1 for number in bad]
        assert [line["record"] for line in self.rejected] == [documents[number] for number in bad]
        found = self.content, self.customers
        good = [document for number, document in enumerate(documents) if number not in bad]
        self.load(good, Mode.OPTIMIZED, 1, most=0, job=job)
        assert found == (self.content, self.customers)


@pytest.fixture
def site(shop: ServerConnection, tmp_path: Path) -> Shop:
    """A shop, with a folder for its files."""
    return Shop(shop, tmp_path)


@EVERY_WAY
@pytest.mark.parametrize("kind", orders.BAD)
def test_a_refused_record_is_set_aside(site: Shop, mode: Mode, jobs: int, kind: str) -> None:
    """In the middle of a chunk, at the end of one, at the beginning and the end of all, with what belongs to it."""
    state, constraint, bad = orders.BAD[kind]
    documents = [orders.order(number) for number in range(58)]
    places = [1, 19, 27, 28, 57]
    for place in places:
        documents[place] = bad(place)
    report = site.load(documents, mode, jobs)
    assert {(line["sqlstate"], line["constraint"]) for line in site.rejected} == {(state, constraint)}
    assert [(source.read, source.loaded, source.rejected) for source in report.sources] == [(58, 53, 5)]
    assert report.tables["orders"].inserted == 53
    assert report.tables["lines"].inserted == 106
    site.check_as_without(documents, places)


@EVERY_WAY
@pytest.mark.parametrize("kind", ["domain", "foreign key", "check of a shared row", "statement trigger"])
def test_all_of_a_chunk_may_be_refused(site: Shop, mode: Mode, jobs: int, kind: str) -> None:
    """The chunks before and after it are in."""
    bad = orders.BAD[kind][2]
    documents = [orders.order(number) for number in range(60)]
    documents[20:40] = map(bad, range(20, 40))
    site.load(documents, mode, jobs)
    site.check_as_without(documents, range(20, 40))


@EVERY_WAY
def test_one_more_than_is_let_through_ends_the_load(site: Shop, mode: Mode, jobs: int) -> None:
    """The first reasons are told; what is one transaction is rolled back whole."""
    documents = [orders.order(number) for number in range(60)]
    for place, kind in zip((5, 30, 50), ("check", "foreign key", "row trigger"), strict=True):
        documents[place] = orders.BAD[kind][2](place)
    with pytest.raises(
        RejectsError, match=r"more than 2 .* record 6 \(number 5\): lines: .*lines_amount_check.*record 31"
    ):
        site.load(documents, mode, jobs, most=2)
    if mode is Mode.OPTIMIZED:
        assert site.content == []


@EVERY_WAY
@pytest.mark.parametrize("kind", ["unique constraint", "check", "check of a shared row", "not null"])
def test_with_none_let_through_the_record_is_named(site: Shop, mode: Mode, jobs: int, kind: str) -> None:
    """With its table, the constraint, the state, and what the server says; none of it is in."""
    state, constraint, bad = orders.BAD[kind]
    documents = [orders.order(number) for number in range(60)]
    documents[33] = bad(33)
    with pytest.raises(RecordError) as raised:
        site.load(documents, mode, jobs, most=0)
    error = raised.value
    assert (error.source, error.sqlstate, error.constraint) == ("orders.json", state, constraint)
    assert error.record.startswith("record 34 (number ")
    assert state in str(error)
    assert error.table in ("orders", "lines", "customers")
    assert 33 not in [number for number, *_ in site.content]


@EVERY_WAY
@pytest.mark.parametrize("kind", ["foreign key", "row trigger", "statement trigger"])
def test_with_none_let_through_the_record_is_named_as_far_as_it_can_be(
    site: Shop, mode: Mode, jobs: int, kind: str
) -> None:
    """In one transaction, which is lost, the chunk alone is known where the server names no row."""
    state, constraint, bad = orders.BAD[kind]
    documents = [orders.order(number) for number in range(60)]
    documents[33] = bad(33)
    with pytest.raises((RecordError, ServerError)) as raised:
        site.load(documents, mode, jobs, most=0)
    error = raised.value
    assert isinstance(error, (RecordError, ServerError))
    assert (error.sqlstate, error.constraint, error.table) == (state, constraint, "lines")
    # Worker processes were given chunks whose rows are written together.
    first, last = (1, 60) if jobs == 2 else (21, 40)
    which = f"record 34 (number {documents[33]['number']})"
    if mode is Mode.OPTIMIZED:
        which = f"one of record {first} (number {first - 1}) to record {last} (number {last - 1})"
    assert f"orders.json: {which}: " in str(error)


@pytest.mark.parametrize("mode", [Mode.STANDARD, Mode.ULTRA])
def test_a_deferred_constraint_is_checked_with_its_chunk(site: Shop, mode: Mode) -> None:
    """Where a chunk is a transaction: the records whose commit is refused are set aside."""
    site.connection.execute("ALTER TABLE orders ALTER CONSTRAINT orders_customer_id_fkey DEFERRABLE INITIALLY DEFERRED")
    site.connection.execute("ALTER TABLE lines ALTER CONSTRAINT lines_sku_fkey DEFERRABLE INITIALLY DEFERRED")
    documents = [orders.order(number) for number in range(60)]
    for place in (7, 30, 31):
        documents[place] = orders.BAD["foreign key"][2](place)
    site.load(documents, mode, 1)
    assert {(line["sqlstate"], line["constraint"]) for line in site.rejected} == {("23503", "lines_sku_fkey")}
    site.check_as_without(documents, [7, 30, 31])


@EVERY_WAY
def test_a_refused_last_version_lets_the_earlier_one_count(site: Shop, mode: Mode, jobs: int) -> None:
    """Unless that is refused as well; each record is counted once."""
    documents = [orders.order(number) for number in range(60)]
    documents[45] = orders.order(5, lines=[["p1", 13]])
    documents[47] = orders.order(7, weight=1)
    documents[50] = orders.order(7, lines=[["p99", 1]])
    documents[52] = orders.order(9, lines=[["p1", 4]])
    report = site.load(documents, mode, jobs, job=orders.REPLACING_JOB)
    (counts,) = report.sources
    assert (counts.read, counts.loaded, counts.superseded, counts.rejected) == (60, 56, 1, 3)
    assert [line["position"] for line in site.rejected] == [46, 48, 51]
    found = site.content
    site.load([each for place, each in enumerate(documents) if place not in (9, 45, 47, 50)], Mode.OPTIMIZED, 1)
    assert found == site.content


@EVERY_WAY
def test_of_versions_that_were_mended_the_last_one_counts(site: Shop, tmp_path: Path, mode: Mode, jobs: int) -> None:
    """In the order of the sources, though the file of rejects has them the other way round."""
    first, second, mended = (tmp_path / name for name in ("first.json", "second.json", "mended.json"))
    bad = [orders.order(7, lines=[["p1", 13]]), orders.order(8), orders.order(7, weight=1), orders.order(8, weight=1)]
    first.write_text(json.dumps(bad), encoding="utf-8")
    second.write_text(json.dumps([orders.order(3), orders.order(7, lines=[["p99", 1]])]), encoding="utf-8")
    with Rejects(site.file, most=ALL) as rejects:
        inputs = [Input(orders.REPLACING_JOB, Source(str(path))) for path in (first, second)]
        run(site.connection, inputs, mode=mode, jobs=jobs, clear=True, rejects=rejects, drops=NEVER)
    lines = [json.loads(line) for line in site.file.read_text(encoding="utf-8").splitlines()]
    sevens = [
        (line["file"], line["position"], line.get("superseded")) for line in lines if line["record"]["number"] == 7
    ]
    assert sevens == [("second.json", 2, None), ("first.json", 3, True), ("first.json", 1, True)]
    assert len(lines) == 4
    job = attrs.evolve(orders.REPLACING_JOB, read=WithRejects(orders.READ))
    for left, customer in ((set[int](), "second.json 2"), ({2}, "first.json 3"), ({2, 3}, "first.json 1")):
        texts = [
            {**line, "record": orders.order(7, customer=f"{line['file']} {line['position']}")}
            if line["record"]["number"] == 7 and line["position"] not in left else line
            for line in lines
        ]  # fmt: skip
        mended.write_text("".join(json.dumps(line) + "\n" for line in texts), encoding="utf-8")
        run(site.connection, [Input(job, Source(str(mended)))], rejects=Rejects(most=ALL))
        assert site.content[1][:2] == (7, customer)


@pytest.mark.parametrize("mode", [Mode.OPTIMIZED, Mode.STANDARD])
def test_a_refused_record_leaves_what_is_there(site: Shop, mode: Mode) -> None:
    """An order that is to be replaced by it stays, with its lines; others are replaced."""
    for jobs in (1, 2):
        before = [orders.order(number) for number in range(60)]
        site.load(before, Mode.OPTIMIZED, 1, job=orders.REPLACING_JOB)
        after = [orders.order(number, lines=[["p5", 5]]) for number in range(60)]
        good = [*after[:30], before[30], *after[31:]]
        after[30] = orders.BAD["foreign key"][2](30)
        site.load(after, mode, jobs, job=orders.REPLACING_JOB, clear=False)
        assert [line["position"] for line in site.rejected] == [31]
        found = site.content
        site.load(good, Mode.OPTIMIZED, 1)
        assert found == site.content


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("kind", orders.COLLIDING)
def test_what_was_dropped_and_cannot_be_made_again_leads_to_the_records(
    site: Shop, kind: str, jobs: int, caplog: pytest.LogCaptureFixture
) -> None:
    """All of it is undone and loaded once more, with nothing dropped; with none let through, that is the end."""
    state, constraint, bad = orders.BAD[kind]
    documents = [orders.order(number) for number in range(60)]
    documents[7] = orders.BAD["check"][2](7)
    for place in (19, 33):
        documents[place] = bad(place)
    report = site.load(documents, Mode.OPTIMIZED, jobs, drops=ALWAYS)
    assert "loading once more, with nothing dropped" in caplog.text
    assert [line["constraint"] for line in site.rejected] == ["lines_amount_check", constraint, constraint]
    assert (report.sources[0].read, report.sources[0].loaded) == (60, 57)
    site.check_as_without(documents, [7, 19, 33])
    with pytest.raises(ServerError, match=rf"{constraint}.*SQLSTATE {state}"):
        site.load(documents[10:], Mode.OPTIMIZED, jobs, most=0, drops=ALWAYS)
    assert len(site.content) == 57


def test_what_is_wrong_with_the_database_is_no_record_s_fault(site: Shop) -> None:
    """It ends the load, however many records are let through: all others would be refused as well."""
    site.connection.execute("ALTER SEQUENCE orders_id_seq MAXVALUE 10")
    for mode in (Mode.STANDARD, Mode.OPTIMIZED):
        with pytest.raises(ServerError, match="reached maximum value of sequence"):
            site.load([orders.order(number) for number in range(40)], mode, 1)
        assert site.rejected == []
    site.connection.execute("ALTER SEQUENCE orders_id_seq NO MAXVALUE")
    site.connection.execute("""
        CREATE OR REPLACE FUNCTION refuse_rows() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN missing; END'
    """)
    for mode in (Mode.STANDARD, Mode.OPTIMIZED):
        with pytest.raises(ServerError, match=r"missing.*SQLSTATE 42703"):
            site.load([orders.order(number) for number in range(40)], mode, 1)
        assert site.rejected == []


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    places=st.dictionaries(
        st.integers(1, 79).filter(lambda place: place % 20), st.sampled_from(sorted(orders.BAD)), max_size=40
    ),
    chunk=st.integers(1, 100),
    way=st.sampled_from(WAYS),
    replacing=st.booleans(),
)
def test_exactly_the_bad_records_are_rejected(
    site: Shop, places: dict[int, str], chunk: int, way: tuple[Mode, int], replacing: bool
) -> None:
    """Whichever they are, in whatever chunks."""
    job = orders.REPLACING_JOB if replacing else orders.JOB
    documents = [orders.order(number) for number in range(80)]
    for place, kind in places.items():
        # With a rule for its key an order replaces another; and of two on several connections, either may be the first.
        collides = kind in orders.COLLIDING and (replacing or way == (Mode.ULTRA, 2))
        documents[place] = orders.BAD["check" if collides else kind][2](place)
    site.load(documents, *way, chunk=chunk, job=job)
    site.check_as_without(documents, sorted(places), job)


@pytest.mark.parametrize(
    "drops", [NEVER, Drops(Drop.ALWAYS, Drop.NEVER, Drop.NEVER), ALWAYS], ids=["nothing", "indexes", "all"]
)
@pytest.mark.parametrize("most", [0, 5])
def test_a_deferred_constraint_ends_a_load_that_is_one_transaction(site: Shop, most: int, drops: Drops) -> None:
    """It is checked when all rows are in, and those of other chunks may be what is referred to."""
    site.connection.execute("ALTER TABLE orders ALTER CONSTRAINT orders_customer_id_fkey DEFERRABLE INITIALLY DEFERRED")
    site.connection.execute("ALTER TABLE lines ALTER CONSTRAINT lines_sku_fkey DEFERRABLE INITIALLY DEFERRED")
    documents = [orders.order(number) for number in range(60)]
    documents[30] = orders.BAD["foreign key"][2](30)
    with pytest.raises(ServerError, match=r"lines_sku_fkey.*SQLSTATE 23503"):
        site.load(documents, Mode.OPTIMIZED, 1, most=most, drops=drops)
    assert site.content == []


@pytest.mark.parametrize("bad", [0, 1])
def test_a_record_is_named_with_its_own_source(shop: ServerConnection, tmp_path: Path, bad: int) -> None:
    """Where none is let through, rows of several sources wait together for the server to see them."""
    inputs: list[Input] = []
    for number in range(2):
        documents = [orders.order(40 * number + place) for place in range(40)]
        if number == bad:
            documents[30] = orders.BAD["check"][2](40 * number + 30)
        file = tmp_path / f"orders {number}.json"
        file.write_text(json.dumps(documents), encoding="utf-8")
        inputs.append(Input(orders.JOB, Source(str(file))))
    named = rf"orders {bad}\.json: record 31 \(number {40 * bad + 30}\): lines: .*lines_amount_check"
    with pytest.raises(RecordError, match=named):
        run(shop, inputs, chunk=20, jobs=2, drops=NEVER)
    assert shop.execute(orders.CONTENT.encode()).fetchall() == []
