"""Which of the versions of a record counts: the last one, in whatever order a file of rejects has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from bulkload import Input, JsonRecords, Source, WithRejects
from bulkload.mapping.versions import Versions
from bulkload.sources.slices import Slice
from tests import orders


@pytest.mark.parametrize("key", [7, "seven"], ids=["number", "text"])
@pytest.mark.parametrize("form", ["{}", "[{}]"], ids=["lines", "array"])
def test_a_line_of_a_file_of_rejects_may_be_older_than_the_one_before_it(
    tmp_path: Path, key: object, form: str
) -> None:
    """Two files of rejects in one, the older one first; what is no such line is the last one where it stands.

    Whoever has mended them may have made an array of them.
    """
    names = dict.fromkeys(("file", "path", "table", "column", "sqlstate", "constraint", "reason"), "")

    def line(superseded: bool) -> dict[str, Any]:
        return {"record": {"number": key}, "position": 1, **names, "superseded": superseded}

    lines = [line(True), line(False), line(True), line(True), {"number": key}, line(False), line(True)]
    path = tmp_path / "rejects.jsonl"
    between = "\n" if form == "{}" else ",\n"
    path.write_text(form.replace("{}", between.join(map(json.dumps, lines))), encoding="utf-8")
    job = attrs.evolve(orders.REPLACING_JOB, read=WithRejects(orders.READ))
    versions = Versions([Input(job, Source(str(path)))])
    order: list[int] = []
    while left := {*range(1, 8)} - versions.left_out(0) - {*order}:
        (counts,) = left
        order.append(counts)
        versions.reject(0, counts)
        versions.take_revived()
    assert order == [6, 7, 5, 2, 3, 4, 1]


class Folding(JsonRecords[dict[str, Any]]):
    """Takes keys for the same that differ in case."""

    def identify(self, piece: Slice) -> str:
        return str(super().identify(piece)).lower()


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_format_of_ones_own_has_the_say_what_the_key_is(tmp_path: Path, wrapped: bool) -> None:
    """Also one that is made of another, of which keys are had without the records."""
    path = tmp_path / "orders.json"
    path.write_text('[{"number": "A"}, {"number": "a"}, {"number": "b"}]', encoding="utf-8")
    read = Folding(dict, key="number")
    job = attrs.evolve(orders.REPLACING_JOB, read=WithRejects(read) if wrapped else read)
    assert Versions([Input(job, Source(str(path)))]).left_out(0) == {1}
