"""The journal: what a load of several transactions has done, written down in the transaction that does it.

So a record is done with or it is not, whatever happens when; and whoever goes on with a load that was stopped knows
which are, and what its report would have said of them.
"""

from __future__ import annotations

import datetime as dt
import json
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import attrs
import msgspec
from psycopg import sql

from bulkload import statements
from bulkload.errors import RecordError
from bulkload.ledger.ledger import CLASS, WRITING
from bulkload.model.report import TableReport
from bulkload.server.connection import Connection, Step, pipelined, records, refused

_SQL = statements.load("journal")

_READING = "reading the ledger"


class Done(NamedTuple):
    """Records that one transaction is done with, whatever became of them."""

    input: int
    """The number of their input, from 0."""
    positions: Sequence[int]
    """All of them, as `Slice.position`."""
    skipped: int = 0
    rejected: Mapping[int, RecordError] = {}
    """Why, by position."""


def together(parts: Sequence[Done]) -> Done | None:
    """Records of one input, as one; None where there are none."""
    if len(parts) < 2:  # noqa: PLR2004 - one is what it is
        return parts[0] if parts else None
    return Done(
        parts[0].input,
        sorted(position for part in parts for position in part.positions),
        sum(part.skipped for part in parts),
        {position: error for part in parts for position, error in part.rejected.items()},
    )


class Positions(Collection[int]):
    """Positions of records, as ranges of them, in their order."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        found = list(ranges)
        self._first = [first for first, _ in found]
        self._beyond = [beyond for _, beyond in found]

    def __contains__(self, position: object) -> bool:
        if not isinstance(position, int):
            return False
        place = bisect_right(self._first, position) - 1
        return place >= 0 and position < self._beyond[place]

    def __iter__(self) -> Iterator[int]:
        for first, beyond in zip(self._first, self._beyond, strict=True):
            yield from range(first, beyond)

    def __len__(self) -> int:
        return sum(self._beyond) - sum(self._first)


@attrs.frozen
class PastInput:
    """What was done with an input before this run."""

    done: Positions = attrs.field(factory=Positions)
    loaded: int = 0
    skipped: int = 0
    rejected: Mapping[int, RecordError] = attrs.field(factory=dict[int, RecordError])
    """Why, by position, in the order in which they were."""


@attrs.frozen
class Past:
    """What a load had done when it was stopped."""

    inputs: Mapping[int, PastInput]
    """By number; inputs that nothing was done with are not there."""
    tables: Mapping[str, TableReport]

    @property
    def records(self) -> int:
        """Those that are done with."""
        return sum(len(each.done) for each in self.inputs.values())


@attrs.frozen
class Journal:
    """That of a load."""

    load: int
    """Its line in the ledger."""
    past: Past | None = None
    """What was done before this run, where it goes on with a load."""

    def note(self, connection: Connection, done: Done | None, tables: Mapping[str, TableReport]) -> None:
        """Write down what the transaction at hand has done: with records, if any, and to the rows of tables."""
        counts = {
            name: [each.inserted, each.updated, each.unchanged, each.deleted]
            for name, each in tables.items()
            if each.inserted or each.updated or each.unchanged or each.deleted
        }
        if not counts and (done is None or not done.positions):
            return
        number = None if done is None else done.input
        _, positions, skipped, rejected = done or Done(0, ())
        parameters = {
            "load": self.load,
            "input": number,
            "done": _multirange(positions),
            "loaded": len(positions) - skipped - len(rejected),
            "skipped": skipped,
            "rejected": json.dumps([_reject(position, error) for position, error in rejected.items()]),
            "tables": json.dumps(counts),
        }
        with refused(WRITING):
            connection.execute(_SQL["note"].text, parameters)


def changes(before: Mapping[str, TableReport], after: Mapping[str, TableReport]) -> dict[str, TableReport]:
    """What became of rows between two reports."""
    none = TableReport()
    found: dict[str, TableReport] = {}
    for name, now in after.items():
        then = before.get(name, none)
        found[name] = TableReport(
            now.inserted - then.inserted, now.updated - then.updated, now.unchanged - then.unchanged,
            now.deleted - then.deleted,
        )  # fmt: skip
    return found


def _multirange(positions: Sequence[int]) -> str:
    """As PostgreSQL reads it: `{[1,501),[510,511)}`."""
    if isinstance(positions, range) and positions.step == 1:
        return f"{{[{positions.start},{positions.stop})}}" if positions else "{}"
    ends = [place for place, (one, other) in enumerate(pairwise(positions), start=1) if other != one + 1]
    bounds = pairwise([0, *ends, len(positions)]) if positions else ()
    return "{" + ",".join(f"[{positions[first]},{positions[beyond - 1] + 1})" for first, beyond in bounds) + "}"


def _reject(position: int, error: RecordError) -> dict[str, object]:
    return {
        "position": position, "reason": _plain(error.reason), "path": _plain(error.path), "table": error.table,
        "column": error.column, "sqlstate": error.sqlstate, "constraint": error.constraint,
    }  # fmt: skip


def _plain(text: str) -> str:
    """What jsonb takes: neither NUL nor half of a surrogate pair, which may be what is wrong with a record."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\x00")


class SourceLine(NamedTuple):
    """A source of a load, as the ledger has it."""

    job: str
    version: str
    path: str
    size: int | None
    sha256: str | None
    """Hexadecimal; None of what cannot be read again."""


def begin(
    connection: Connection, load: int, sources: Sequence[SourceLine], circumstances: Mapping[str, object]
) -> None:
    """Write down what a load reads, and what is to be the same where it is gone on with. Raises ServerError."""
    lines = [{"input": number, **each._asdict()} for number, each in enumerate(sources)]
    parameters = {"load": load, "sources": json.dumps(lines), "circumstances": json.dumps(circumstances)}
    with refused(WRITING):
        connection.execute(_SQL["open"].text, parameters)


def missing_rights(connection: Connection) -> list[str]:
    """The rights on the ledger that this role lacks, as in `INSERT on bulkload.chunks`; there has to be a ledger."""
    with refused("reading which rights this role has"):
        return [str(right) for (right,) in connection.execute(_SQL["missing_rights"].text).fetchall()]


@attrs.frozen
class Last:
    """The last load that changed some tables."""

    id: int
    mode: str
    client: str
    version: str
    started: dt.datetime
    done: bool
    circumstances: dict[str, object]
    begun: bool
    """Whether any of it is in, as far as the journal says."""
    alive: bool


def last_load(connection: Connection, tables: Iterable[str]) -> Last | None:
    """The last load that changed any of these tables, each named with its schema."""
    with refused(_READING):
        found = connection.execute(_SQL["last_load"].text, {"class": CLASS, "tables": list(tables)})
    return next((msgspec.convert(row, Last) for row in records(found)), None)


def sources(connection: Connection, load: int) -> list[SourceLine]:
    """What a load reads, in its order."""
    with refused(_READING):
        found = connection.execute(_SQL["sources"].text, {"load": load})
    return [msgspec.convert(row, SourceLine) for row in found.fetchall()]


def past(connection: Connection, load: int) -> Past:
    """What a load has done. Nobody is at it but the caller."""
    names = ("counts", "ranges", "rejected", "rows")
    found = pipelined(connection, [Step(_READING, _SQL[name].text, {"load": load}) for name in names])
    counts, ranges, rejected, rows = map(records, found)
    inputs = {
        number: PastInput(
            Positions((_int(each["first"]), _int(each["beyond"])) for each in ranges if each["input"] == number),
            _int(line["loaded"]),
            _int(line["skipped"]),
            {_int(each["position"]): _error(each) for each in rejected if each["input"] == number},
        )
        for line in counts
        for number in [_int(line["input"])]
    }
    return Past(inputs, {str(row.pop("name")): TableReport(**{k: _int(v) for k, v in row.items()}) for row in rows})


def _int(value: object) -> int:
    return msgspec.convert(value, int)


def _error(row: Mapping[str, object]) -> RecordError:
    told = {name: str(row[name]) for name in ("path", "table", "column", "sqlstate", "constraint")}
    return RecordError(str(row["reason"]), **told)


def storage(connection: Connection, relations: Sequence[int]) -> dict[int, dict[str, int]]:
    """Where the rows of tables are, by oid: the number of the file of each, partitions among them; 0 if not known."""
    with refused("reading the catalog"):
        found = connection.execute(_SQL["storage"].text, {"relations": list(relations)})
    files: dict[int, dict[str, int]] = {}
    for row in records(found):
        files.setdefault(_int(row["root"]), {})[str(row["relation"])] = _int(row["file"])
    return files


def is_empty(connection: Connection, table: sql.Identifier) -> bool:
    """Whether a table has no row."""
    with refused("looking for rows"):
        return connection.execute(_SQL["is_empty"].format(target=table)).fetchone() == (True,)


@attrs.frozen
class Unfinished:
    """A load that can be gone on with, and that nobody is at."""

    id: int
    mode: str
    client: str
    started: dt.datetime
    schema: str
    clear: bool
    loaded: int
    """Records that are in."""
    sources: list[tuple[str, str]]
    """The name of the job and the path, of each."""


def unfinished(connection: Connection) -> list[Unfinished]:
    """All such loads; there has to be a ledger."""
    with refused(_READING):
        found = connection.execute(_SQL["unfinished"].text, {"class": CLASS})
    return [msgspec.convert(row, Unfinished) for row in records(found)]
