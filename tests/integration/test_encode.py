"""What is encoded here is what the server reads: by COPY and by INSERT, for every type, the values come back."""

from __future__ import annotations

import datetime as dt
import enum
import string
import struct
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkload import Entity, FitError, Plan, SchemaError, Update, copy_rows, record, start
from bulkload.encoding.encode import Encoder
from bulkload.rows.stream import InsertWriter, adapt
from bulkload.server.catalog import describe_table

Connection = psycopg.Connection[tuple[object, ...]]

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
INT4 = st.integers(-(2**31), 2**31 - 1)
DECIMAL = st.decimals(allow_nan=True, allow_infinity=True, places=None).filter(
    lambda d: not d.is_finite() or (-1000 < d.adjusted() < 1000 and len(d.as_tuple().digits) < 1000)
)
JSON = st.recursive(
    st.none() | st.booleans() | INT4 | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


class Number(enum.IntEnum):
    ONE = 1


class Word(str, enum.Enum):  # noqa: UP042 - its str is its name
    A = "a"


@record
class Way:
    number: int
    way: int
    values_: object


TYPES: dict[str, st.SearchStrategy[Any]] = {
    "smallint": st.integers(-(2**15), 2**15 - 1),
    "integer": INT4,
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "real": st.floats(width=32),
    "double precision": st.floats(),
    "boolean": st.booleans(),
    "text": TEXT,
    "varchar(7)": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=7),
    "name": st.text(string.ascii_letters, max_size=63),
    "bytea": st.binary(),
    "uuid": st.uuids(),
    "date": st.dates(),
    "timestamp": st.datetimes(),
    "timestamptz": st.datetimes(timezones=st.timezones(), min_value=dt.datetime(1970, 1, 1)),
    "numeric": DECIMAL,
    "numeric(9,3)": st.decimals(-999999, 999999, places=3),
    "jsonb": JSON.filter(lambda value: value is not None),
    "integer[]": st.lists(INT4 | st.none()),
    "text[]": st.lists(TEXT | st.none()),
    "uuid[]": st.lists(st.uuids()),
    "mood": st.sampled_from(["sad", "so so", 'hap"py']),
    "mood[]": st.lists(st.sampled_from(["sad", "so so", 'hap"py'])),
    "percent": st.integers(0, 100),
}

EDGES: dict[str, Sequence[object]] = {
    "text": ["", "\\N", "\\.", "\t\r\n\b\f\v", "'\"\\", "é🜂", " x "],
    "integer[]": [[], [None], [1, None, -1]],
    "text[]": [[], [""], ["NULL", "null", None], ["{", "}", ",", '"', "\\", " a "], ["\n"]],
    "numeric": [Decimal(text) for text in (
        "0", "-0", "0.0", "0.000", "1E+20", "1E-20", "10000", "9999", "0.0001", "0.00001", "-12345.6789", "100.00",
        "12345678901234567890.123456789", "1E+3", "NaN", "Infinity", "-Infinity", "9E+131071", "-1E-16383",
    )],
    "date": [dt.date.min, dt.date.max, dt.date(2000, 1, 1)],
    "timestamp": [dt.datetime.min, dt.datetime.max],
}  # fmt: skip


@pytest.fixture
def typed(connection: Connection) -> Connection:
    """A table with a column of every type."""
    connection.execute("CREATE TYPE mood AS ENUM ('sad', 'so so', 'hap\"py')")
    connection.execute("CREATE DOMAIN percent AS smallint CHECK (VALUE BETWEEN 0 AND 100)")
    columns = ", ".join(f"c{number} {kind}" for number, kind in enumerate(TYPES))
    connection.execute(f"CREATE TABLE typed (id int, {columns})".encode())
    connection.execute("SET timezone = 'UTC'")
    adapt(connection)
    return connection


def same_json(sent: object, stored: object) -> bool:
    """As jsonb compares: 1.0 is 1, but true is not."""
    if isinstance(sent, list) and isinstance(stored, list):
        return len(sent) == len(stored) and all(map(same_json, sent, stored))
    if isinstance(sent, dict) and isinstance(stored, dict):
        return sent.keys() == stored.keys() and all(same_json(sent[key], stored[key]) for key in sent)
    if isinstance(sent, float) and isinstance(stored, int):
        stored = float(stored)
    return isinstance(sent, bool) == isinstance(stored, bool) and sent == stored


def select(connection: Connection, kind: str) -> list[object]:
    """What the column of a type holds, in the order in which it was written."""
    cast = "::text[]" if kind == "mood[]" else ""
    column = f"c{list(TYPES).index(kind)}{cast}"
    return [value for (value,) in connection.execute(f"SELECT {column} FROM typed ORDER BY id".encode())]


def same(kind: str, sent: object, stored: object) -> bool:
    """Whether the server has the value that was sent, as far as its type can tell."""
    if sent is None or stored is None:
        return sent is stored
    if kind in ("real", "double precision"):
        # The text of a real has as many digits as tell it from its neighbours.
        pack = struct.Struct("!f" if kind == "real" else "!d").pack
        return (sent != sent and stored != stored) or pack(sent) == pack(stored)
    if kind == "numeric":
        assert isinstance(sent, Decimal)
        assert isinstance(stored, Decimal)
        return stored.is_nan() if sent.is_nan() else sent == stored
    if kind == "jsonb":
        return same_json(sent, stored)
    if kind == "timestamptz":
        # Where clocks are put back, Python calls times of two zones different whatever they are (PEP 495).
        assert isinstance(sent, dt.datetime)
        return isinstance(stored, dt.datetime) and sent.astimezone(dt.UTC) == stored
    return sent == stored


def insert_rows(connection: Connection, column: str, values: Sequence[object]) -> None:
    target = describe_table(connection, "typed", "public")
    encoder, writer = Encoder("typed", [target.columns["id"], target.columns[column]]), InsertWriter()
    rows = writer.encode(encoder, [range(len(values)), values])
    assert writer.send(connection, target, encoder, rows) == len(values)


def copy_column(connection: Connection, column: str, values: Sequence[object]) -> None:
    assert copy_rows(connection, "typed", ("id", column), enumerate(values)) == len(values)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("write", [copy_column, insert_rows])
def test_values_come_back(typed: Connection, kind: str, write: Any) -> None:
    """Any value of a type, NULL among them, is stored as it is."""
    column = f"c{list(TYPES).index(kind)}"

    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.none() | TYPES[kind], max_size=20))
    def check(values: list[object]) -> None:
        typed.execute("TRUNCATE typed")
        write(typed, column, values)
        for sent, found in zip(values, select(typed, kind), strict=True):
            assert same(kind, sent, found), (sent, found)

    check()
    edges = EDGES.get(kind, [])
    typed.execute("TRUNCATE typed")
    write(typed, column, edges)
    stored = select(typed, kind)
    assert all(same(kind, sent, found) for sent, found in zip(edges, stored, strict=True)), (edges, stored)


ELEMENTS: dict[str, st.SearchStrategy[Any]] = {
    **{kind: values for kind, values in TYPES.items() if not kind.endswith("[]") and kind != "percent"},
    "integer": INT4 | st.booleans() | st.sampled_from(Number),
    "real": st.floats(width=32) | st.floats(-3e38, 3e38),
    "text": TEXT | st.sampled_from(Word),
    "bytea": st.binary() | st.binary().map(bytearray),
    "uuid": st.uuids() | st.uuids().map(str),
    "timestamptz": st.datetimes(timezones=st.timezones() | st.just(dt.timezone(dt.timedelta(hours=23, minutes=59)))),
    "numeric": DECIMAL | st.floats() | INT4 | st.sampled_from(EDGES["numeric"]),
    "numeric(9,3)": st.floats(-99999, 99999),
    "json": JSON,
    "jsonb": JSON | st.sampled_from(["5", "true", "x", '"x"', "null", {"a": 1}, ["x"], [[1], [None]]])
    | st.just(msgspec.Raw(b'{"a": 1.00, "b":[null , "\\"{}\\\\"]}')),
    "character(3)": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3),
}  # fmt: skip


@pytest.mark.parametrize("kind", ELEMENTS)
def test_arrays_are_the_same_by_either_way(typed: Connection, kind: str) -> None:
    """What COPY stores, INSERT does; and an UPDATE with it finds nothing to change."""
    typed.execute(f"CREATE TABLE ways (id serial PRIMARY KEY, number int, way int, values_ {kind}[])".encode())
    target = describe_table(typed, "ways", "public")
    encoder = Encoder("ways", [target.columns[name] for name in ("number", "way", "values_")])
    rows = Entity("ways", Way, ("number", "way", "values_"), conflict=Update(on=("number", "way")))
    differ = b"""
        SELECT a.values_::text, b.values_::text FROM ways a JOIN ways b USING (number) WHERE a.way = 1 AND b.way = 2
           AND (a.values_::text COLLATE "C" IS DISTINCT FROM b.values_::text
                OR array_dims(a.values_) IS DISTINCT FROM array_dims(b.values_))
    """

    @settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.none() | st.lists(st.none() | ELEMENTS[kind], max_size=4), min_size=1, max_size=12))
    def check(arrays: list[object]) -> None:
        typed.execute("TRUNCATE ways")
        copy_rows(typed, "ways", ("number", "way", "values_"), [(n, 1, each) for n, each in enumerate(arrays)])
        writer = InsertWriter()
        encoded = writer.encode(encoder, [range(len(arrays)), [2] * len(arrays), arrays])
        writer.send(typed, target, encoder, encoded)
        assert typed.execute(differ).fetchall() == []
        if kind == "json":
            return
        with start(typed, Plan(rows)) as load:
            load.extend(rows, [Way(n, way, each) for n, each in enumerate(arrays) for way in (1, 2)])
        assert (load.report.tables["ways"].updated, load.report.tables["ways"].inserted) == (0, 0)

    check()


@pytest.mark.parametrize(("kind", "values"), [("integer", [[1], [2]]), ("text", [["a"]]), ("text", [b"a"])])
def test_what_is_no_array_of_the_type_is_refused(typed: Connection, kind: str, values: object) -> None:
    """By either way, an array of arrays among them."""
    typed.execute(f"CREATE TABLE ways (values_ {kind}[])".encode())
    encoder = Encoder("ways", [describe_table(typed, "ways", "public").columns["values_"]])
    for way in (encoder.rows, encoder.arrays):
        with pytest.raises(FitError, match=r"ways\.values_"):
            way([[values]])


def test_json_text_is_stored_digit_by_digit(typed: Connection) -> None:
    """Raw JSON is not read as floats on its way: no digit of a number is lost."""
    text = b'{"a": 12345678901234567890.12345678901234567890, "b": 1e400}'
    copy_column(typed, f"c{list(TYPES).index('jsonb')}", [msgspec.Raw(text)])
    row = typed.execute(f"SELECT c{list(TYPES).index('jsonb')} ->> 'a' FROM typed".encode()).fetchone()
    assert row == ("12345678901234567890.12345678901234567890",)


def test_numeric_is_rounded_as_the_server_rounds(typed: Connection) -> None:
    """To the column's scale, half away from zero."""
    column = f"c{list(TYPES).index('numeric(9,3)')}"
    values = [Decimal("0.0005"), Decimal("-0.0005"), Decimal("1.23449"), 2.5, 7]
    copy_column(typed, column, values)
    stored = select(typed, "numeric(9,3)")
    assert stored == [Decimal(text) for text in ("0.001", "-0.001", "1.234", "2.500", "7.000")]


def test_a_type_without_an_encoder_is_named(connection: Connection) -> None:
    """It is said before the first row, with the column and what to do."""
    connection.execute("CREATE TABLE places (at point)")
    with pytest.raises(SchemaError, match=r"places.at is of the type point, for which bulkload has no binary encoder"):
        copy_rows(connection, "places", ("at",), [("(1,2)",)])


def test_uuids_may_be_text(typed: Connection) -> None:
    """JSON has no uuids: their text is taken as well."""
    column = f"c{list(TYPES).index('uuid')}"
    value = uuid.uuid4()
    copy_column(typed, column, [str(value)])
    assert typed.execute(f"SELECT {column} FROM typed".encode()).fetchone() == (value,)
