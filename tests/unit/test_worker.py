"""A chunk is mapped with nothing left of it in the process but the keys that were told of."""

from __future__ import annotations

import gc
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkload import BulkloadError, Input, Source, of_ddl
from bulkload.workers.exchange import FIRST_STAND_IN, Mapped, Sent, Short, Task, numbered, numbers, resolved
from bulkload.workers.worker import ChunkRows, Spec, map_chunk
from tests import mappings

COLUMNS = of_ddl(
    """
CREATE TABLE tags (
    id serial PRIMARY KEY,
    name varchar(8) NOT NULL
);
CREATE TABLE authors (
    id serial PRIMARY KEY,
    name text NOT NULL,
    tag_id int,
    age int
);
CREATE TABLE posts (
    id serial PRIMARY KEY,
    slug text NOT NULL,
    author_id int NOT NULL
);
CREATE TABLE lines (
    post_id int NOT NULL,
    tag_id int,
    number smallint NOT NULL
);
CREATE TABLE post_tags (
    post_id int,
    tag_id int,
    weight int
);
"""
)


def spec(job: object = mappings.UNTOLD_JOB) -> bytes:
    return pickle.dumps(Spec({0: Input(job, Source("posts.json"))}, COLUMNS))  # type: ignore[arg-type]


def task(*documents: dict[str, object], forget: bool = False, new: frozenset[str] = frozenset()) -> Task:
    data = [json.dumps(document).encode() for document in documents]
    records = Sent(range(1, len(data) + 1), list(map(len, data)), b"".join(data))
    return Task(0, records, {}, forget, new)


def post(slug: str, *tags: str) -> dict[str, object]:
    return {"slug": slug, "author": "a", "age": 1, "tags": tags, "lines": 0}


def keys(mapped: Mapped | Short, relation: str) -> tuple[list[object], list[object]]:
    """The stand-ins that were told of, counted from 0, and the values of the first column of the key."""
    assert isinstance(mapped, Mapped)
    found = [rows for rows in mapped.rows if rows.relation == relation]
    numbers = [number - FIRST_STAND_IN for rows in found for number in rows.values[0] if isinstance(number, int)]
    return list(numbers), [value for rows in found for value in rows.values[1]]


def test_a_key_is_told_of_once() -> None:
    """Those of rows to be kept are counted on from chunk to chunk, until the process is told to forget them."""
    first = map_chunk(spec(), task(post("p1", "x", "y"), forget=True))
    second = map_chunk(spec(), task(post("p2", "y", "z")))
    assert keys(first, "tags") == ([0, 1], ["x", "y"])
    assert keys(second, "tags") == ([2], ["z"])
    assert isinstance(first, Mapped)
    assert isinstance(second, Mapped)
    assert (first.before, second.before) == ({"tags": 0}, {"tags": 2})
    assert first.dictionary == second.dictionary
    # Those of rows to be brought up to date come with every chunk.
    assert keys(second, "authors") == ([0], ["a"])
    third = map_chunk(spec(), task(post("p3", "y"), forget=True))
    assert keys(third, "tags") == ([0], ["y"])
    assert isinstance(third, Mapped)
    assert third.dictionary != first.dictionary


def test_a_chunk_that_is_not_told_of_leaves_no_key() -> None:
    """Be it that ids run out, or that the mapping fails altogether."""
    map_chunk(spec(), task(post("p1", "x"), forget=True))
    short = map_chunk(spec(), task(post("p2", "y"), post("p3", "y"), new=frozenset({"posts"})))
    assert short == Short({"posts": 2})
    assert keys(map_chunk(spec(), task(post("p2", "y"))), "tags") == ([1], ["y"])
    with pytest.raises(BulkloadError):
        map_chunk(spec(mappings.LOOKING_JOB), task(post("p3", "z")))


def test_a_rejected_record_leaves_no_key() -> None:
    """The numbers go on as if it had not been there."""
    map_chunk(spec(), task(post("p1", "x"), forget=True))
    mapped = map_chunk(spec(), task(post("p2", "y", "far too long"), post("p3", "z")))
    assert keys(mapped, "tags") == ([1], ["z"])
    assert isinstance(mapped, Mapped)
    assert [position for position, _, _ in mapped.rejected] == [1]


def test_the_rows_of_a_chunk_are_let_go() -> None:
    """At once: the garbage collector comes seldom while a load runs, and a chunk is some megabytes."""
    gc.collect()
    gc.disable()
    try:
        map_chunk(spec(), task(post("p1", "x"), post("p2", "y"), forget=True))
        assert not [each for each in gc.get_objects() if isinstance(each, ChunkRows)]
    finally:
        gc.enable()


def test_a_process_forgets_keys_that_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it begins to count anew, and its memory is bounded, however many keys there are."""
    monkeypatch.setattr("bulkload.workers.worker._MOST_KEYS", 2)
    first = map_chunk(spec(), task(post("p1", "x", "y", "z"), forget=True))
    second = map_chunk(spec(), task(post("p2", "z")))
    assert keys(second, "tags") == ([0], ["z"])
    assert isinstance(first, Mapped)
    assert isinstance(second, Mapped)
    assert second.dictionary != first.dictionary


NUMBERS = st.integers(-(2**64), FIRST_STAND_IN - 1) | st.integers(FIRST_STAND_IN + 2**32, 2**65)
OTHERS = NUMBERS | st.none() | st.booleans() | st.floats() | st.text(max_size=1)
STAND_INS = st.integers(0, 2**32 - 1).map(lambda number: FIRST_STAND_IN + number)


@given(st.lists(STAND_INS))
def test_stand_ins_are_numbered_from_the_first(stand_ins: list[int]) -> None:
    """Packed, and put in their place where there are other values beside them."""
    packed = numbered(stand_ins)
    assert packed is not None
    assert list(numbers(packed)) == [each - FIRST_STAND_IN for each in stand_ins]
    told = list(range(100, 200))
    near = [min(each, FIRST_STAND_IN + 99) for each in stand_ins]
    assert resolved([None, 5, *near], told) == [None, 5, *(told[each - FIRST_STAND_IN] for each in near)]


@given(st.lists(STAND_INS), OTHERS)
def test_what_is_no_stand_in_is_not_numbered(stand_ins: list[object], other: object) -> None:
    """An id that is known from elsewhere, say, be it the largest or the smallest that there is."""
    for place in {0, len(stand_ins) // 2, len(stand_ins)}:
        assert numbered([*stand_ins[:place], other, *stand_ins[place:]]) is None
