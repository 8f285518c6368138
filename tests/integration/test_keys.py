"""Keys that mean the same are the same, however they are written: any value that is taken is found again."""

from __future__ import annotations

import datetime as dt
import enum
import json
import uuid
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkload import Entity, Input, Keep, Lookup, MemoryLoad, Mode, Plan, Source, Update, record, run, start
from bulkload.encoding.columns import Column, type_of
from bulkload.encoding.keys import EXACT_TYPES
from bulkload.workers import shares
from tests import mappings

Connection = psycopg.Connection[tuple[object, ...]]


class Number(enum.IntEnum):
    TWO = 2


class Word(str, enum.Enum):  # noqa: UP042 - the other kind
    A = "a"


class Text(str):
    __slots__ = ()


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=2)
WORDS = TEXT | st.sampled_from([Word.A, "a", "A", "a ", Text("a"), Text("b")])
BERLIN = ZoneInfo("Europe/Berlin")
# Clocks are put back at 1 h UTC.
PUT_BACK = st.builds(
    lambda minutes, zone: (dt.datetime(2024, 10, 27, tzinfo=dt.UTC) + dt.timedelta(minutes=minutes)).astimezone(zone),
    st.sampled_from(range(0, 180, 30)),
    st.sampled_from([BERLIN, dt.UTC, ZoneInfo("Europe/Paris"), dt.timezone(dt.timedelta(hours=2))]),
)  # fmt: skip
UUIDS = st.builds(
    lambda value, spell: spell(value),
    st.uuids() | st.integers(0xA0, 0xA3).map(lambda number: uuid.UUID(int=number << 120)),
    st.sampled_from([lambda v: v, str, lambda v: str(v).upper(), lambda v: v.hex, lambda v: v.urn, "{{{}}}".format]),
)  # fmt: skip


def integers(bits: int) -> st.SearchStrategy[Any]:
    few = st.sampled_from([0, 1, 2, True, False, Number.TWO, -1])
    return few | st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


ACCEPTED: dict[str, st.SearchStrategy[Any]] = {
    "int2": integers(16),
    "int4": integers(32),
    "int8": integers(64),
    "text": WORDS,
    "varchar": WORDS,
    "bool": st.booleans(),
    "uuid": UUIDS,
    "date": st.dates() | st.dates(dt.date(2024, 1, 1), dt.date(2024, 1, 3)),
    "timestamp": st.datetimes() | PUT_BACK.map(lambda value: value.replace(tzinfo=None)),
    "timestamptz": PUT_BACK | st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1), timezones=st.timezones()),
}


@record
class Row:
    k: Any
    n: int


def test_all_types_are_tried() -> None:
    """All that are held in memory."""
    assert ACCEPTED.keys() == EXACT_TYPES


@pytest.mark.parametrize("kind", ACCEPTED)
@pytest.mark.parametrize("rule", [Update(on=("k",)), Keep(on=("k", "n"))], ids=str)
def test_what_is_taken_is_found_again(connection: Connection, kind: str, rule: Keep | Update) -> None:
    """One row a value, be it met twice in a batch, in a load or in another one; alone, and as part of a key."""
    connection.execute("SET timezone = 'Europe/Berlin'")
    connection.execute(f"CREATE TABLE rows (id serial PRIMARY KEY, k {kind} NOT NULL, n int)".encode())
    rows = Entity("rows", Row, ("k", "n"), conflict=rule)
    by_key = Lookup(rows, on=rule.on)

    def load(values: list[object], mode: Mode, *, again: bool) -> None:
        with start(connection, Plan(rows, lookups=[by_key]), mode=mode) as into:
            into.extend(rows, [Row(value, 0) for value in values])
            if again:
                into.flush()
                into.extend(rows, [Row(value, 0) for value in reversed(values)])
            into.flush()
            for value in values:
                assert into.find(by_key, *(value, 0)[: len(rule.on)]) is not None, value

    @settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(ACCEPTED[kind], min_size=1, max_size=12))
    def check(values: list[object]) -> None:
        for mode in (Mode.OPTIMIZED, Mode.STANDARD):
            # There is no unique index, by which the server would find it out.
            connection.execute("TRUNCATE rows")
            for again in (False, True):
                load(values, mode, again=again)
                found = connection.execute("SELECT count(*), count(DISTINCT k) FROM rows").fetchone()
                assert found is not None
                assert found[0] == found[1], (mode, values)

    check()


def test_dates_that_python_cannot_hold(connection: Connection) -> None:
    """The server is asked for keys, where some of them cannot be read."""
    connection.execute("CREATE TABLE rows (id serial PRIMARY KEY, k date NOT NULL UNIQUE, n int)")
    connection.execute("INSERT INTO rows (k, n) VALUES ('infinity', 1), ('0044-03-15 BC', 1), ('2024-02-29', 1)")
    rows = Entity("rows", Row, ("k", "n"), conflict=Update(on=("k",)))
    with start(connection, Plan(rows)) as load:
        load.add(rows, Row(dt.date(2024, 2, 29), 2))
    found = connection.execute("SELECT k::text, n FROM rows ORDER BY k").fetchall()
    assert found == [("0044-03-15 BC", 1), ("2024-02-29", 2), ("infinity", 1)]


def test_uuids_of_documents_are_found_by_processes(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In chunks that spell them differently, and again."""
    monkeypatch.setattr(shares, "LEAST_BYTES", 0)
    connection.execute(
        "CREATE TABLE badges (id serial PRIMARY KEY, uid uuid NOT NULL UNIQUE, number int);"
        "CREATE TABLE owners (id serial PRIMARY KEY, uid uuid NOT NULL UNIQUE, badge_id int REFERENCES badges)"
    )
    uids = [uuid.UUID(int=number << 100 | 0xABC) for number in range(20)]
    documents = [
        {"owner": spell(uid), "badge": spell(uids[number % 3]), "number": number % 3}
        for spell in (str, lambda uid: str(uid).upper(), lambda uid: uid.hex)
        for number, uid in enumerate(uids)
    ]
    path = tmp_path / "owners.json"
    path.write_text(json.dumps(documents), encoding="utf-8")
    for _ in range(2):
        run(connection, [Input(mappings.OWNERS_JOB, Source(str(path)))], jobs=2, chunk=7)
        found = connection.execute(
            "SELECT o.uid, b.uid, b.number FROM owners o JOIN badges b ON b.id = badge_id ORDER BY 1"
        ).fetchall()
        assert found == [(uid, uids[number % 3], number % 3) for number, uid in enumerate(uids)]
        assert connection.execute("SELECT count(*) FROM badges").fetchone() == (3,)


def test_a_load_in_memory_knows_them_too() -> None:
    """Where it is given the columns."""
    rows = Entity("rows", Row, ("k", "n"), conflict=Keep(on=("k",)))
    by_key = Lookup(rows, on=("k",))
    columns = {"rows": {"k": Column("k", type_of("uuid")), "n": Column("n", type_of("integer"))}}
    load = MemoryLoad(Plan(rows, lookups=[by_key]), columns)
    uid = uuid.uuid4()
    first = load.add(rows, Row(str(uid), 1))
    assert load.add(rows, Row(uid, 2)) == first
    assert load.find(by_key, cast("object", uid.hex)) == first
