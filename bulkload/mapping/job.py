"""A job: how the records of one kind of source become rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import attrs

from bulkload.model.plan import AnyEntity, Plan
from bulkload.rows.sink import Sink
from bulkload.sources.formats import Format
from bulkload.sources.source import Source

D = TypeVar("D")


class Skip(Exception):  # noqa: N818 - it is no error
    """Raised by a mapping for a record that rightly has no row, before it adds any."""


@attrs.frozen
class Job(Generic[D]):
    """How to load the records of one kind of source.

    `add` is a pure translation of a document into rows: it may run again for the same document, and in any process, and
    before that with its rows thrown away and whatever it looks up not found.
    It raises RecordError for a document that it cannot translate, and Skip for one that has no row.
    """

    name: str
    plan: Plan
    read: Format[D]
    """How the source is split into records, and a record is read."""
    add: Callable[[Sink, D], object]
    identity: AnyEntity | None = attrs.field(default=None, kw_only=True)
    """The entity that each record is a version of, by the key that `read` finds in it: of several versions in a run,
    whichever of its sources they are in, only the last one that can go in is mapped. So `add` adds a row of it for its
    own record, and none for another one's."""
    version: str = attrs.field(default="", kw_only=True)
    """To be changed whenever `add` or `read`, or what they use, would make something else of a record: a load that was
    begun with another one is not gone on with, and what was loaded by another one is not taken for unchanged. Without
    one, no record is."""

    def __reduce__(self) -> tuple[object, ...]:
        # The functions first: with them their modules are imported, which make the relations that the plan refers to.
        return _job, (self.add, self.read, self.name, self.plan, self.identity, self.version)


def _job(
    add: Callable[[Sink, D], object], read: Format[D], name: str, plan: Plan, identity: AnyEntity | None, version: str
) -> Job[D]:
    return Job(name, plan, read, add, identity=identity, version=version)


@attrs.frozen
class Input:
    """A source, and the job that loads it."""

    job: Job[Any]
    source: Source
    seed: bytes = attrs.field(default=b"", kw_only=True, repr=False)
    """Set by `run`: what the fingerprints of its records depend on beside their bytes; empty where none are made."""
