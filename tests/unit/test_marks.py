"""A row is given the digest of a record where the record alone makes it, and is known by the same key."""

from __future__ import annotations

import json

import msgspec
import pytest

from bulkload import Entity, Input, Job, JsonRecords, MemoryLoad, Plan, Rejects, Replace, Report, Sink, Source, record
from bulkload.ledger.journal import Done
from bulkload.mapping.chunks import Chunk, Mapper
from bulkload.sources.slices import Slice


@record
class Page:
    slug: str


PAGES = Entity("pages", Page, ("slug",), conflict=Replace(on=("slug",)))


class Plain(msgspec.Struct):
    """A document whose key is as it is in the record."""

    slug: str = msgspec.field(name="Slug")


class Lowered(msgspec.Struct):
    """One that changes its key when it is made."""

    slug: str = msgspec.field(name="Slug")

    def __post_init__(self) -> None:
        self.slug = self.slug.lower()


def add_page(sink: Sink, document: Plain | Lowered) -> None:
    sink.add(PAGES, Page(document.slug))


def lower_and_add(sink: Sink, document: Plain) -> None:
    document.slug = document.slug.lower()
    add_page(sink, document)


@pytest.mark.parametrize(
    ("job", "marked"),
    [
        (Job("plain", Plan(PAGES), JsonRecords(Plain, key="Slug"), add_page, identity=PAGES), ["a", "B"]),
        (Job("made", Plan(PAGES), JsonRecords(Lowered, key="Slug"), add_page, identity=PAGES), ["a"]),
        (Job("added", Plan(PAGES), JsonRecords(Plain, key="Slug"), lower_and_add, identity=PAGES), ["a"]),
    ],
    ids=["plain", "changed when it is made", "changed by the mapping"],
)
def test_a_row_of_another_key_is_not_taken_for_the_records(job: Job[object], marked: list[str]) -> None:
    """Two records that differ in their keys can make one row: a digest of either would hold the other one off."""
    each = Input(job, Source("pages.json"), seed=b"seed")
    pieces = [Slice(place, json.dumps({"Slug": slug}).encode()) for place, slug in enumerate(("a", "B"), start=1)]
    load, found = MemoryLoad(job.plan), list[object]()

    def write(_done: Done) -> None:
        found.extend(load.marks)

    Mapper(load, {}, load.find_id, Rejects(), Report()).map(Chunk(0, each, pieces), write)
    assert found == marked
