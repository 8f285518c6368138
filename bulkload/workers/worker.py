"""What maps a chunk in another process: a function of the chunk, and of what all chunks of a load have in common.

It knows nothing of the database but the columns. Ids of rows that are nobody else's come with the chunk; see
`bulkload.workers.exchange` for the others.
"""

from __future__ import annotations

import os
import pickle
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import length_hint
from typing import Any, NamedTuple, TypeVar

from bulkload.encoding.columns import Column
from bulkload.encoding.encode import Encoder
from bulkload.encoding.keys import normal
from bulkload.errors import BulkloadError, RecordError, UsageError
from bulkload.ledger.journal import Done
from bulkload.mapping.chunks import Chunk, Mapper
from bulkload.mapping.job import Input
from bulkload.mapping.passes import plan_of, unhurried_collector
from bulkload.model.plan import AnyEntity, AnyLookup, AnyRelation, Plan
from bulkload.model.records import Id, is_key
from bulkload.model.report import Report
from bulkload.model.tables import Entity, Keep, Key, Lookup
from bulkload.rows.sink import Batch, Buffers
from bulkload.sources.formats import Format, Slice
from bulkload.sources.rejects import Rejects
from bulkload.workers.exchange import FIRST_STAND_IN, Gap, Mapped, Rows, Short, Task, numbered

R = TypeVar("R")

# Keys that a process remembers: 105 MB, of keys of two integers.
_MOST_KEYS = 500_000

Columns = Mapping[str, Mapping[str, Column]]


class Spec(NamedTuple):
    """What all chunks of a load have in common."""

    inputs: Mapping[int, Input]
    """By number."""
    columns: Columns
    """Of each table."""


class _Kept(threading.local):
    """What a thread keeps of the load whose chunks it maps."""

    spec = b""
    work: _Work | None = None


_kept = _Kept()


def map_chunk(spec: bytes, task: Task) -> Mapped | Short:
    """Map the records of a chunk, and encode their rows. `spec` is a Spec, pickled.

    Raises BulkloadError for what is not about a record: UsageError for a job that cannot be had in this process.
    """
    try:
        with unhurried_collector():
            return _work(spec).map(task)
    except BulkloadError:
        raise
    except Exception as error:
        raise BulkloadError(f"a worker process failed: {_reason(error)}: {traceback.format_exc()}") from error


def _work(spec: bytes) -> _Work:
    if _kept.work is None or _kept.spec != spec:
        try:
            _kept.work = _Work(pickle.loads(spec))  # noqa: S301 - the leader's own
        except BulkloadError:
            raise
        except Exception as error:  # whatever the import of a module raises
            raise UsageError(f"the jobs cannot be had in a worker process: {_reason(error)}") from error
        _kept.spec = spec
    return _kept.work


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


class _Work:
    """Maps chunks of a load."""

    def __init__(self, spec: Spec) -> None:
        self._inputs = spec.inputs
        self._columns = spec.columns
        self._plan = plan_of(spec.inputs.values())
        self._encoders = {
            relation: Encoder(relation.name, [spec.columns[relation.name][name] for name in relation.written])
            for relation in self._plan
        }
        self._dictionary = _Dictionary()

    def map(self, task: Task) -> Mapped | Short:
        report, rejects = Report(), _Rejected()
        each = self._inputs[task.input]
        chunk = Chunk(task.input, each, task.records.slices(each.source))
        if task.forget or self._dictionary.full:
            self._dictionary = _Dictionary()
        rows = ChunkRows(chunk.each.job.plan, self._encoders, task, self._dictionary)
        before = rows.known_before
        encoded: list[Rows] = []
        marks = b""

        def encode(_done: Done) -> None:
            nonlocal marks
            if rows.short:
                return
            with report.phase("encode"):
                encoded[:] = rows.encoded()
                if each.seed and each.job.identity is not None:
                    marks = rows.marks_of(each.job.identity)

        try:
            Mapper(rows, self._columns, rows.find_id, rejects, report).map(chunk, encode)
            used = rows.used()
            if rows.short:
                rows.discard()
                return Short(used)
        except BaseException:
            # Nobody will be told of the keys that are new in it.
            rows.discard()
            raise
        finally:
            rows.let_go()
        return Mapped(
            encoded, rejects.taken, len(chunk.skipped), used, self._dictionary.token, before, report.phases,
            marks,
        )  # fmt: skip


class _Rejected(Rejects):
    """Rejected records, on their way to the leader."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[tuple[int, bytes, Exception]] = []

    def put(self, form: Format[object], piece: Slice, error: RecordError) -> None:  # noqa: ARG002 - the leader's part
        self.taken.append((piece.position, piece.data, error))


class _Dictionary:
    """The keys of rows to be kept that the leader was told of, so that none is sent twice, and what stands for each."""

    def __init__(self) -> None:
        self.token = os.urandom(8)
        self.known: dict[AnyEntity, dict[Key, int]] = {}

    @property
    def full(self) -> bool:
        return sum(map(len, self.known.values())) > _MOST_KEYS

    def of(self, entities: Iterable[AnyEntity]) -> dict[AnyEntity, dict[Key, int]]:
        """The keys of some entities."""
        return {entity: self.known.setdefault(entity, {}) for entity in entities}


class _StandIns(Iterator[int]):
    """Numbers that are nobody's id, counted."""

    def __init__(self, before: int) -> None:
        self._first = FIRST_STAND_IN + before
        self.begin()

    def begin(self) -> None:
        self._next = self._first

    def __next__(self) -> int:
        found = self._next
        self._next = found + 1
        return found

    @property
    def taken(self) -> int:
        """How many were given out since it began."""
        return self._next - self._first


class ChunkRows(Buffers):
    """The rows of a chunk."""

    def __init__(
        self, plan: Plan, encoders: Mapping[AnyRelation, Encoder], task: Task, dictionary: _Dictionary
    ) -> None:
        self._encoders = encoders
        self._new = task.new
        self._stand_ins: list[_StandIns] = []
        self._blocks = {name: [(block, iter(block)) for block in blocks] for name, blocks in task.ids.items()}
        self._beyond: dict[str, _StandIns] = {}
        """What is given out when there are no more ids, so that one learns how many it takes."""
        known = dictionary.of(
            each for each in plan if isinstance(each, Entity) and isinstance(each.conflict, Keep)
        )  # fmt: skip
        self.known_before = {entity.name: len(keys) for entity, keys in known.items()}
        super().__init__(plan, self._new_ids, known)
        self._shared = {
            relation: {
                relation.written.index(reference.column): reference.entity
                for reference in plan.references[relation]
                if self._is_shared(reference.entity)
            }
            for relation in plan
        }
        """The places of the columns that hold stand-ins, with what they stand for."""

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

    def key_of(self, relation: AnyRelation) -> Callable[[Any], Key] | None:
        """The leader is sent columns of keys, so what they are here is of no matter to it."""
        as_they_come = normal(self.key_columns(relation)) is None
        return None if as_they_come and is_key(relation.record, relation.key) else super().key_of(relation)

    def key_columns(self, relation: AnyRelation) -> Sequence[Column]:
        """As in `Buffers`."""
        return [self._encoders[relation].columns[relation.written.index(name)] for name in relation.key]

    def discard(self) -> None:
        """Forget the rows of the chunk, to map it anew."""
        super().discard()
        for each in self._stand_ins:
            each.begin()

    def let_go(self) -> None:
        """No more rows come. What adds them refers to this object in turn, and the garbage collector comes seldom."""
        self.clear()
        self._adders.clear()
        self._extenders.clear()

    def encoded(self) -> list[Rows]:
        """All rows, as far as they can be encoded. Raises FitError for what does not fit, be it encoded or not."""
        return [self._encoded(relation, batch) for relation, batch in self.batches.items() if len(batch)]

    @property
    def short(self) -> bool:
        """Whether there were too few ids."""
        return any(beyond.taken for beyond in self._beyond.values())

    def used(self) -> dict[str, int]:
        """How many ids were taken, or would have been."""
        return {
            name: beyond.taken + sum(len(block) - length_hint(left) for block, left in self._blocks.get(name, ()))
            for name, beyond in self._beyond.items()
        }

    def _encoded(self, relation: AnyRelation, batch: Batch[Any]) -> Rows:
        encoder, values = self._encoders[relation], self._values(relation, batch)
        encoder.refuse_nulls(relation.key, values)
        gaps = self._shared[relation]
        if relation.conflict is None:
            return _with_gaps(relation, encoder, values, gaps)
        if isinstance(relation, Entity) and not self._is_shared(relation):
            keys = [values[0], *(values[relation.written.index(name)] for name in relation.key)]
            return _with_gaps(relation, encoder, values, gaps)._replace(keys=keys)
        # Its own id is a stand-in, too.
        encoder.check(values, {*gaps, 0} if isinstance(relation, Entity) else gaps)
        return Rows(relation.name, values=values)

    def _is_shared(self, relation: AnyRelation) -> bool:
        return isinstance(relation, Entity) and relation.conflict is not None and relation.name not in self._new

    def _values(self, relation: AnyRelation, batch: Batch[Any]) -> list[list[object]]:
        """The columns of the rows, ids first for an entity."""
        records = batch.records if relation.conflict is None else list(batch.keyed.values())
        values: list[list[object]] = []
        if isinstance(relation, Entity):
            known = self.known.get(relation, {})
            values.append(list(batch.ids) if relation.conflict is None else [known[key] for key in batch.keyed])
        return values + relation.values_of(records)

    def _new_ids(self, entity: AnyEntity) -> Iterator[int]:
        if self._is_shared(entity):
            self._stand_ins.append(made := _StandIns(self.known_before.get(entity.name, 0)))
            return made
        beyond = self._beyond[entity.name] = _StandIns(0)
        return chain(chain.from_iterable(left for _, left in self._blocks.get(entity.name, ())), beyond)


def _with_gaps(
    relation: AnyRelation, encoder: Encoder, values: list[list[object]], gaps: Mapping[int, AnyEntity]
) -> Rows:
    if not gaps:
        return Rows(relation.name, encoder.rows(values))
    stood_for = {place: numbered(values[place]) for place in gaps}
    encoded = None if None in stood_for.values() else encoder.with_gaps(values, gaps)
    if encoded is None:
        encoder.check(values, gaps)
        return Rows(relation.name, values=values)
    rows, lanes = encoded
    return Rows(
        relation.name, rows, [Gap(entity.name, lanes[place], stood_for[place] or b"") for place, entity in gaps.items()]
    )
