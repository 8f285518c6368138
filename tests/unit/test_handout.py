"""Chunks are handed out whole: each record that counts once, in its order, wherever its process reads it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkload import Input, Source
from bulkload.errors import SourceError
from bulkload.mapping.chunks import Selection
from bulkload.sources.json_split import split
from bulkload.sources.slices import Slice, Stretch
from bulkload.workers.exchange import Told
from bulkload.workers.handout import Handout, Handouts, handouts, label
from tests import mappings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("handout")


def selection(file: Path, window: int, left_out: set[int]) -> tuple[Selection, list[Slice]]:
    """What is to be mapped of a file; with all of its records."""
    source = Source(str(file))
    with source.open() as reader:
        lists = list(split(reader, source.name, window))
    extracts = [pieces.extract for pieces in lists if isinstance(pieces, Stretch)]
    assert len(extracts) == len(lists)
    each = Input(mappings.UNTOLD_JOB, source)
    found = Selection(0, each, lambda position: position not in left_out, lambda _position: None, extracts)
    return found, [piece for pieces in lists for piece in pieces]


def all_of(chunks: Handouts) -> list[Handout]:
    found = list(iter(chunks.take, None))
    chunks.end()
    return found


@given(
    st.integers(0, 30), st.booleans(), st.integers(1, 200), st.integers(1, 12), st.sets(st.integers(1, 30)),
    st.booleans(),
)  # fmt: skip
def test_each_record_that_counts_is_in_one_chunk(
    folder: Path, count: int, array: bool, window: int, size: int, left_out: set[int], told: bool
) -> None:
    """Be they told of or sent, and whatever the windows that the source was read through."""
    records = [json.dumps({"slug": f"p{number}", "text": "\n]},{" * (number % 7)}) for number in range(count)]
    file = folder / "posts.json"
    file.write_text("[" + " ,\n".join(records) + "]" if array else "{}\n" + "\n".join(records), encoding="utf-8")
    chosen, every = selection(file, window, left_out)
    with handouts(chosen, size, told=told) as chunks:
        found = all_of(chunks)
    wanted = [piece for piece in every if piece.position not in left_out]
    assert [piece for each in found for piece in each.records.slices(chosen.input.source)] == wanted
    assert [position for each in found for position in each.records.positions] == [one.position for one in wanted]
    assert all(0 < len(each.records.positions) <= size for each in found)
    assert [each.position for each in found] == sorted(each.position for each in found)
    if told and every:
        assert all(isinstance(each.records, Told) for each in found)


@pytest.mark.parametrize("content", ['{"slug": "a"}\n', '{"slug": "a", "author": "one line, and as long as two"}\n'])
def test_a_file_that_is_not_what_it_was(folder: Path, content: str) -> None:
    """It is shorter, or it has not as many records in that place: none of them is taken for another one."""
    file = folder / "changing.json"
    file.write_text('{"slug": "a"}\n{"slug": "b", "author": "c"}\n', encoding="utf-8")
    chosen, _ = selection(file, 1000, set())
    with handouts(chosen, 10, told=True) as chunks:
        (chunk,) = all_of(chunks)
    assert label(chunk.records, chosen.input) == "record 1 (slug 'a') to record 2 (slug 'b') of changing.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(SourceError, match=r"changing\.json: was changed while it was read"):
        chunk.records.slices(chosen.input.source)
    os.unlink(file)  # noqa: PTH108 - as another program does
    with pytest.raises(SourceError, match=r"changing\.json: cannot be read any more at byte 0: No such file"):
        chunk.records.slices(chosen.input.source)
