"""What the leader of a load and its worker processes say to each other.

Every message of the leader, the columns of the tables to begin with, has one answer, and nothing is sent before that
has come: so neither side can be stuck in sending while the other one is, too. While it maps, a worker may ask for ids,
which the leader answers at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from multiprocessing.connection import Connection
from typing import NamedTuple, TypeAlias

import attrs

from bulkload.catalog import Target
from bulkload.tables import Key

# The type of both ends of a pipe; to the stubs it depends on what goes each way, which here is any message.
Pipe: TypeAlias = "Connection[object, object]"


@attrs.frozen
class Destination:
    """Leader, where workers write their rows themselves: the database, and the tables by name."""

    conninfo: str = attrs.field(repr=False)
    targets: Mapping[str, Target]
    async_commit: bool
    load: int | None
    """The line of the load in the ledger: it lives as long as one of its connections does."""


class Ready(NamedTuple):
    """Worker: first of all, that it can be given work."""


class Work(NamedTuple):
    """Leader: map these records. Their bytes follow, all in one piece."""

    chunk: int
    input: int
    """Which of the inputs they are from."""
    positions: list[int]
    lengths: list[int]

    def cut(self, data: bytes) -> list[tuple[int, bytes]]:
        """The position and the bytes of each record."""
        ends = pairwise(accumulate(self.lengths, initial=0))
        return [(position, data[begin:end]) for position, (begin, end) in zip(self.positions, ends, strict=True)]


class Wanted(NamedTuple):
    """Worker: so many ids, please."""

    entity: str
    number: int


class Fresh(NamedTuple):
    """Keys of an entity that a worker does not know."""

    entity: str
    keys: list[Key]
    proposed: list[int] | None
    """Ids from the sequence that it gave to them; None where it gave stand-ins."""
    values: list[list[object]] | None
    """The columns of their rows without the ids, for a leader that writes what is shared itself."""


class Mapped(NamedTuple):
    """Worker: all records of the chunk that fit are mapped."""

    chunk: int
    fresh: list[Fresh]
    rejected: list[tuple[int, bytes, Exception]]
    """Position, bytes and RecordError, in the order in which they were rejected."""
    skipped: int


class Settled(NamedTuple):
    """What fresh keys of an entity stand for."""

    ids: list[int]
    """The id that holds, for each key."""
    owned: list[int]
    """The places of the keys that are new: the chunk that brings them has to write their rows."""


class Settle(NamedTuple):
    """Leader: the keys of a chunk, by entity. Encode what is left of it, and hand it over."""

    chunk: int
    settled: dict[str, Settled]


class Rows(NamedTuple):
    """Rows of a relation that are ready to be written."""

    relation: str
    copied: bytes = b""
    """New rows, as binary COPY takes them."""
    ids: Sequence[int] = ()
    """The ids of rows that exist and are to be brought up to date."""
    arrays: Sequence[bytes] = ()
    """Those rows, as `Encoder.arrays`."""
    unmatched: Sequence[list[object]] = ()
    """The columns of rows with a key and no id, which may exist."""
    written: int = 0
    """Rows that the worker has written itself."""


class Encoded(NamedTuple):
    """Worker: the rows of a chunk. What is to be copied follows, relation by relation."""

    chunk: int
    rows: list[Rows]
    seconds: dict[str, float]
    """What its phases took since the process began."""


class Failed(NamedTuple):
    """Worker: the chunk cannot be had, for a reason that is not about a record; -1: nor any other."""

    chunk: int
    error: Exception


def send_encoded(pipe: Pipe, encoded: Encoded) -> None:
    """The large parts go by themselves, so that they are not copied once more to be pickled."""
    large = [rows.copied for rows in encoded.rows]
    # A byte stands for what follows.
    pipe.send(encoded._replace(rows=[rows._replace(copied=b"1" if rows.copied else b"") for rows in encoded.rows]))
    for part in filter(None, large):
        pipe.send_bytes(part)


def receive_large(pipe: Pipe, encoded: Encoded) -> Encoded:
    """The message with what follows it."""
    rows = [rows._replace(copied=pipe.recv_bytes()) if rows.copied else rows for rows in encoded.rows]
    return encoded._replace(rows=rows)
