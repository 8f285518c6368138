"""The worker process: maps chunks and encodes their rows, and leaves it to the leader what they share with others.

It hands its rows to the leader; or it writes those that nobody shares itself, a transaction a chunk. Ids of rows that
are nobody else's are leased from the leader, a block at a time; for the others it hands out stand-ins, sends their
keys, and encodes what refers to them when it is told what they stand for.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, compress, count
from multiprocessing import parent_process
from operator import attrgetter
from typing import Any, TypeVar, cast

import attrs

from bulkload import ledger
from bulkload.chunks import Chunk, Mapper
from bulkload.columns import Column
from bulkload.encode import Encoder
from bulkload.errors import BulkloadError, RecordError, UsageError
from bulkload.exchange import (
    Destination,
    Encoded,
    Failed,
    Fresh,
    Mapped,
    Pipe,
    Ready,
    Rows,
    Settle,
    Settled,
    Wanted,
    Work,
    send_encoded,
)
from bulkload.formats import Format, Slice
from bulkload.job import Input
from bulkload.passes import plan_of, unhurried_collector
from bulkload.plan import AnyEntity, AnyLookup, AnyRelation, Plan
from bulkload.records import Id
from bulkload.rejects import Rejects
from bulkload.report import Report
from bulkload.server import commit_asynchronously, connect, refused, transaction
from bulkload.sink import Batch, Buffers
from bulkload.stream import CopyWriter
from bulkload.tables import Entity, Keep, Key, Lookup, Replace

R = TypeVar("R")

Columns = Mapping[str, Mapping[str, Column]]

# Larger than those of a load: a worker waits for each until the leader is between two statements.
_FIRST_BLOCK = 1024
_LARGEST_BLOCK = 65536

# Below all that a sequence can give, so that a stand-in is never taken for an id.
_FIRST_STAND_IN = -(2**63) - 1


def main(pipe: Pipe, inputs: bytes) -> None:
    """Serve the leader at the other end of the pipe until it closes it. `inputs` are its inputs by number, pickled."""
    # The leader is interrupted too, and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    threading.Thread(target=_end_with_leader, daemon=True).start()
    try:
        with unhurried_collector():
            _serve(pipe, inputs)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # The leader has closed the pipe, or is gone.


def _end_with_leader() -> None:
    leader = parent_process()
    if leader is not None:
        leader.join()
    os._exit(1)


def _serve(pipe: Pipe, inputs: bytes) -> None:
    columns, destination = cast("tuple[Columns, Destination | None]", pipe.recv())
    try:
        worker = Worker(pipe, pickle.loads(inputs), columns, destination)  # noqa: S301 - the leader's own
    except Exception as error:  # noqa: BLE001 - whatever the import of a module raises
        known = isinstance(error, BulkloadError)
        pipe.send(
            Failed(-1, error if known else UsageError(f"the jobs cannot be had in a worker process: {_reason(error)}"))
        )
        return
    pipe.send(Ready())
    while True:
        message = pipe.recv()
        if isinstance(message, Work):
            data = pipe.recv_bytes()
            try:
                answer: Mapped | Encoded = worker.map(message, data)
            except Exception as error:  # noqa: BLE001 - raised by the leader
                pipe.send(Failed(message.chunk, _sendable(error)))
            else:
                pipe.send(answer)
        elif isinstance(message, Settle):
            try:
                answer = worker.encode(message)
            except Exception as error:  # noqa: BLE001 - raised by the leader
                pipe.send(Failed(message.chunk, _sendable(error)))
            else:
                send_encoded(pipe, answer)


def _sendable(error: Exception) -> Exception:
    if isinstance(error, BulkloadError):
        return error
    return BulkloadError(f"a worker process failed: {_reason(error)}: {traceback.format_exc()}")


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


class Worker:
    """Maps chunks of the inputs, and encodes their rows."""

    def __init__(
        self, pipe: Pipe, inputs: Mapping[int, Input], columns: Columns, destination: Destination | None
    ) -> None:
        self._inputs = inputs
        self._writer = None if destination is None else _Writer(destination)
        self._report = Report()
        self._rejects = _Rejected()
        self._rows = WorkerRows(plan_of(inputs.values()), columns, pipe)
        self._mapper = Mapper(self._rows, columns, self._rows.find_id, self._rejects, self._report)
        self._mapped: dict[int, _Mapping] = {}
        """What waits for its keys to be settled, by the number of the chunk."""

    def map(self, work: Work, data: bytes) -> Mapped:
        """Map the records of a chunk, and encode all but what refers to keys that are not known."""
        chunk = Chunk(self._inputs[work.input], [Slice(*piece) for piece in work.cut(data)])
        mapping = _Mapping()

        def take() -> None:
            with self._report.phase("encode"):
                self._rows.take(mapping)

        self._mapper.map(chunk, take)
        self._rows.discard()
        self._mapped[work.chunk] = mapping
        fresh = [
            Fresh(
                entity.name,
                list(keys),
                list(keys.values()) if isinstance(entity.conflict, Replace) else None,
                mapping.fresh_values(entity) if self._writer is not None and is_shared(entity) else None,
            )
            for entity, keys in mapping.fresh.items()
        ]
        return Mapped(work.chunk, fresh, self._rejects.take(), len(chunk.skipped))

    def encode(self, message: Settle) -> Encoded:
        """All rows of a chunk, encoded."""
        with self._report.phase("encode"):
            rows = self._rows.settle(self._mapped.pop(message.chunk), message.settled)
        if self._writer is not None:
            with self._report.phase("write"):
                rows = self._writer.write(rows, self._rows)
        return Encoded(message.chunk, rows, self._report.phases)


class _Rejected(Rejects):
    """Rejected records, until the leader takes them."""

    def __init__(self) -> None:
        super().__init__()
        self._put: list[tuple[int, bytes, Exception]] = []

    def put(self, form: Format[object], piece: Slice, error: RecordError) -> None:  # noqa: ARG002 - the leader's part
        self._put.append((piece.position, piece.data, error))

    def take(self) -> list[tuple[int, bytes, Exception]]:
        taken, self._put = self._put, []
        return taken


@attrs.define
class _Waiting:
    """The rows of a relation in a chunk, as far as they are encoded."""

    relation: AnyRelation
    values: list[list[object]]
    """Their columns, as long as they may be needed."""
    copied: bytes | None
    """All rows, where nothing in them is a stand-in."""
    fresh: list[int]
    """The places of the rows whose keys are sent to the leader."""


@attrs.define
class _Mapping:
    """What is left of a chunk when it is mapped."""

    waiting: list[_Waiting] = attrs.field(factory=list[_Waiting])
    fresh: dict[AnyEntity, dict[Key, int]] = attrs.field(factory=dict[AnyEntity, dict[Key, int]])
    """The ids handed out for keys that were not known."""

    def fresh_values(self, entity: AnyEntity) -> list[list[object]]:
        """The columns of the rows whose keys were not known, without the ids."""
        (found,) = [each for each in self.waiting if each.relation is entity]
        return [[column[place] for place in found.fresh] for column in found.values[1:]]


def is_shared(relation: AnyRelation) -> bool:
    """Whether rows of several chunks may refer to one row of it."""
    return isinstance(relation, Entity) and relation.conflict is not None and not isinstance(relation.conflict, Replace)


class _Writer:
    """Writes the rows of chunks on a connection of its own."""

    def __init__(self, destination: Destination) -> None:
        self._targets = destination.targets
        self._connection = connect(destination.conninfo)
        self._copy = CopyWriter()
        if destination.load is not None:
            ledger.hold_together(self._connection, destination.load)
        if destination.async_commit:
            commit_asynchronously(self._connection)

    def write(self, rows: Sequence[Rows], encoded: WorkerRows) -> list[Rows]:
        """Write what is new, but for shared rows, which the leader has written; returns what is left to it.

        A row that is to be replaced may wait in another worker, and what belongs to it is to be deleted before anything
        new is written: such a chunk is left to the leader as a whole, who has it in its turn.
        """
        replaces = any(each.ids and isinstance(encoded.relation(each.relation).conflict, Replace) for each in rows)
        if replaces:
            return [each._replace(copied=b"") if is_shared(encoded.relation(each.relation)) else each for each in rows]
        left: list[Rows] = []
        with refused("writing the rows of a chunk"), transaction(self._connection):
            for each in rows:
                relation, written = encoded.relation(each.relation), 0
                if each.copied and not is_shared(relation):
                    target = self._targets[each.relation]
                    written = self._copy.send(self._connection, target, encoded.encoder(relation), each.copied)
                left.append(each._replace(copied=b"", written=written))
        return left


class WorkerRows(Buffers):
    """The rows of a chunk that is being mapped, and the ids of the shared rows that were settled before."""

    def __init__(self, plan: Plan, columns: Columns, pipe: Pipe) -> None:
        self._pipe = pipe
        self._encoders = {
            relation: Encoder(relation.name, [columns[relation.name][name] for name in relation.written])
            for relation in plan
        }
        self._by_name = {relation.name: relation for relation in plan}
        self._shared = {relation: _shared(plan, relation) for relation in plan}
        super().__init__(plan, self._new_ids)

    def relation(self, name: str) -> AnyRelation:
        """The relation of that name."""
        return self._by_name[name]

    def encoder(self, relation: AnyRelation) -> Encoder:
        """What its rows are encoded by."""
        return self._encoders[relation]

    def find(self, lookup: Lookup[R], /, *values: object) -> Id[R] | None:
        """Raises UsageError."""
        self.find_id(lookup, values)
        return None

    def find_id(self, lookup: AnyLookup, values: tuple[object, ...]) -> int | None:
        """Raises UsageError: only the plans of jobs whose mappings look nothing up come here."""
        raise UsageError(
            f"{lookup.entity}: a mapping looks up {values!r}, but its plan names no lookup; give the plan "
            f"`lookups=[…]`, so that the job is not mapped in worker processes"
        )

    def take(self, mapping: _Mapping) -> None:
        """Encode what can be. Raises FitError for what does not fit, be it encoded or not."""
        mapping.waiting.clear()
        mapping.fresh = {
            entity: dict(self.batches[entity].fresh) for entity in self.known if len(self.batches[entity].fresh)
        }
        for relation, batch in self.batches.items():
            if not len(batch):
                continue
            encoder, values = self._encoders[relation], self._values(relation, batch)
            encoder.refuse_nulls(relation.key, values)
            unsettled = {
                place
                for place, entity in self._shared[relation]
                if entity in mapping.fresh and not isinstance(entity.conflict, Replace)
            }
            copied = None
            if unsettled or not (relation.conflict is None or isinstance(relation.conflict, Replace)):
                encoder.check(values, unsettled)
            else:
                copied = encoder.rows(values)
            fresh = [place for place, key in enumerate(batch.keyed) if key in batch.fresh]
            # What refers to nothing shared is as it will be.
            kept = values if copied is None or self._shared[relation] else []
            mapping.waiting.append(_Waiting(relation, kept, copied, fresh))

    def settle(self, mapping: _Mapping, settled: Mapping[str, Settled]) -> list[Rows]:
        """All rows of a chunk, now that it is told what its keys stand for."""
        aliases: dict[AnyEntity, dict[object, int]] = {}
        for entity, fresh in mapping.fresh.items():
            handed_out, ids = list(fresh.values()), settled[entity.name].ids
            if handed_out != ids:
                aliases[entity] = dict(zip(handed_out, ids, strict=True))
            # Rows to be replaced come once; their keys would but take room.
            if not isinstance(entity.conflict, Replace):
                self.known[entity].update(zip(fresh, ids, strict=True))
        return [self._settle(each, aliases, settled.get(each.relation.name)) for each in mapping.waiting]

    def _settle(
        self, waiting: _Waiting, aliases: Mapping[AnyEntity, Mapping[object, int]], settled: Settled | None
    ) -> Rows:
        relation, values, copied = waiting.relation, waiting.values, waiting.copied
        for place, entity in self._shared[relation]:
            if entity in aliases:
                values[place] = list(map(aliases[entity].get, values[place], values[place]))
                copied = None
        encoder = self._encoders[relation]
        if relation.conflict is None:
            return Rows(relation.name, copied if copied is not None else encoder.rows(values))
        if not isinstance(relation, Entity):
            return Rows(relation.name, unmatched=values)
        new = bytearray(len(values[0]))
        for place in settled.owned if settled is not None else ():
            new[waiting.fresh[place]] = True
        existing = bytes(not each for each in new)
        if any(existing):
            copied = encoder.rows(_compressed(values, new)) if any(new) else b""
        elif copied is None:
            copied = encoder.rows(values)
        # A row that is kept is not looked at.
        if not any(existing) or isinstance(relation.conflict, Keep):
            return Rows(relation.name, copied)
        rows = _compressed(values, existing)
        return Rows(relation.name, copied, cast("list[int]", rows[0]), encoder.arrays(rows))

    def _values(self, relation: AnyRelation, batch: Batch[Any]) -> list[list[object]]:
        """The columns of the rows, ids first for an entity."""
        records = batch.records if relation.conflict is None else list(batch.keyed.values())
        values: list[list[object]] = []
        if isinstance(relation, Entity):
            known = self.known.get(relation, {})
            values.append(list(batch.ids) if relation.conflict is None else [known[key] for key in batch.keyed])
        return values + [list(map(attrgetter(name), records)) for name in relation.columns]

    def _new_ids(self, entity: AnyEntity) -> Iterator[int]:
        if is_shared(entity):
            return count(_FIRST_STAND_IN, -1)
        return chain.from_iterable(self._blocks(entity))

    def _blocks(self, entity: AnyEntity) -> Iterator[Iterable[int]]:
        size = _FIRST_BLOCK
        while True:
            try:
                self._pipe.send(Wanted(entity.name, size))
                block = cast("Iterable[int]", self._pipe.recv())
            except (EOFError, OSError):
                # No Exception, which would be taken for the mapping's.
                raise SystemExit(1) from None
            yield block
            size = min(2 * size, _LARGEST_BLOCK)


def _shared(plan: Plan, relation: AnyRelation) -> list[tuple[int, AnyEntity]]:
    """The places of the columns that hold ids of rows with a key, the row's own id among them."""
    names = relation.written
    shared = [
        (names.index(reference.column), reference.entity)
        for reference in plan.references[relation]
        if reference.entity.conflict is not None
    ]
    return [(0, relation), *shared] if isinstance(relation, Entity) and relation.conflict is not None else shared


def _compressed(values: Sequence[Sequence[object]], which: Sequence[int]) -> list[list[object]]:
    return [list(compress(column, which)) for column in values]
