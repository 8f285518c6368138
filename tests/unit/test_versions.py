"""Which of the versions of a record counts: the last one, in whatever order a file of rejects has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from bulkload import Input, Source, WithRejects
from bulkload.mapping.versions import Versions
from tests import orders


@pytest.mark.parametrize("key", [7, "seven"], ids=["number", "text"])
def test_a_line_of_a_file_of_rejects_may_be_older_than_the_one_before_it(tmp_path: Path, key: object) -> None:
    """Two files of rejects in one, the older one first; what is no such line is the last one where it stands."""
    names = dict.fromkeys(("file", "path", "table", "column", "sqlstate", "constraint", "reason"), "")

    def line(superseded: bool) -> dict[str, Any]:
        return {"record": {"number": key}, "position": 1, **names, "superseded": superseded}

    lines = [line(True), line(False), line(True), line(True), {"number": key}, line(False), line(True)]
    path = tmp_path / "rejects.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")
    job = attrs.evolve(orders.REPLACING_JOB, read=WithRejects(orders.READ))
    versions = Versions([Input(job, Source(str(path)))])
    order: list[int] = []
    while left := {*range(1, 8)} - versions.left_out(0) - {*order}:
        (counts,) = left
        order.append(counts)
        versions.reject(0, counts)
        versions.take_revived()
    assert order == [6, 7, 5, 2, 3, 4, 1]
