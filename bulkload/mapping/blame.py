"""Records that only the server can refuse: which of a chunk they are, so that all others go in.

Where nothing is refused this costs nothing. Where something is, the records are written again in parts, each after all
before it: up to the one that the server's message leads to, where it names a row of a COPY, and else by halves. So a
record is rejected only when it is refused alone, with all in front of it that could go in.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from bulkload.encoding.columns import Column
from bulkload.errors import BulkloadError, FitError, RecordError, ServerError
from bulkload.mapping.chunks import Chunk, Mapper, Write
from bulkload.model.plan import AnyRelation
from bulkload.model.report import Report
from bulkload.model.tables import Entity
from bulkload.rows.load import Load
from bulkload.rows.memory import MemoryLoad
from bulkload.sources.rejects import Rejects

logger = logging.getLogger("bulkload")

Refusal = FitError | ServerError


def sift(
    records: Sequence[int],
    refusal: Refusal,
    write: Callable[[Sequence[int]], None],
    suspect: Callable[[Sequence[int], Refusal], int | None],
    reject: Callable[[int, Refusal], None],
) -> None:
    """Write records, in their order, but for those that are refused even alone: these are rejected.

    `refusal` is what came of writing them all. `write` writes some, or raises and has written nothing; `suspect` says
    which of some a refusal leads to, by its place, if any. A wrong guess costs time, nothing else.

    So few tries are needed where few are to blame (one of n: about log2(n), or 3 where there is a suspect), and never
    more than a few a record.
    """
    rest, failed = list(records), refusal if records else None
    reach = size = len(rest)
    # So many at the front are not to be had together.
    bound = 0
    while rest:
        part = rest[:size]
        if failed is None:
            try:
                write(part)
            except (FitError, ServerError) as error:
                if isinstance(error, ServerError) and not error.of_rows:
                    raise
                failed = error
        if failed is None:
            rest = rest[len(part) :]
            if bound:
                bound = max(bound - len(part), 0)
            elif len(part) == reach:
                # Those to blame are few here: try more at a time again.
                reach *= 2
            size = max(bound // 2, 1) if bound else reach
        elif len(part) == 1:
            reject(part[0], failed)
            rest, bound = rest[1:], 0
            reach = size = max(reach // 2, 1)
        else:
            place = suspect(part, failed)
            if place is None:
                bound, size = len(part), len(part) // 2
            else:
                bound, size = place + 1, place or 1
        failed = None


class Blaming(Mapper):
    """Maps chunks into a load, and sets aside the records that the server refuses."""

    def __init__(
        self, load: Load, columns: Mapping[str, Mapping[str, Column]], rejects: Rejects, report: Report
    ) -> None:
        super().__init__(load, columns, load.find_id, rejects, report, load.finders)
        self._into = load
        # With none let through, nothing is to be had of a transaction in which one was refused.
        load.undo.kept = load.undo.kept or rejects.most > 0

    def map(self, chunk: Chunk, write: Write) -> None:
        """As `Mapper.map`. Raises RecordError or ServerError, the record or the chunk named, where all is undone."""
        try:
            super().map(chunk, write)
        except ServerError as error:
            if not error.of_rows:
                raise
            if not self._into.undo.kept:
                raise self.named(chunk, error) from error
            self._sift(chunk, write, error)

    def _sift(self, chunk: Chunk, write: Write, error: ServerError) -> None:
        def again(numbers: Sequence[int]) -> None:
            with self._report.phase("map"):
                self._map(chunk, numbers)
            chunk.write(numbers, write)

        def suspect(numbers: Sequence[int], refusal: Refusal) -> int | None:
            return self._suspect(chunk, numbers, refusal) if isinstance(refusal, ServerError) else None

        def reject(number: int, refusal: Refusal) -> None:
            self._reject(chunk, number, of_record(refusal) if isinstance(refusal, ServerError) else refusal)

        sift(self._left(chunk), error, again, suspect, reject)
        # What is mapped and refused last may still wait.
        self._load.discard()
        chunk.write((), write)

    def _suspect(self, chunk: Chunk, numbers: Sequence[int], refusal: ServerError) -> int | None:
        """The place of the record whose row the server names, found by mapping them once more."""
        if refusal.copied is None:
            return None
        name, row = refusal.copied
        relation = next((each for each in chunk.each.job.plan if each.name == name), None)
        if relation is None or not self._tells(relation):
            return None
        self._load.discard()
        add, decode = chunk.each.job.add, chunk.each.job.read.decode
        alone = MemoryLoad(chunk.each.job.plan)
        alone.find_elsewhere = self._find
        for entity, keys in alone.known.items():
            keys.update(self._load.known[entity])
        batch = alone.batches[relation]
        try:
            for place, number in enumerate(numbers):
                add(alone, decode(chunk.pieces[number]))
                if len(batch.records if relation.conflict is None else batch.fresh) > row:
                    return place
        except BulkloadError:
            # What is looked up may have to be asked for, which a transaction that is lost does not answer.
            logger.debug("the record of %s was not found by its row", refusal.copied)
        return None

    def _tells(self, relation: AnyRelation) -> bool:
        """Whether rows of a relation are written in the order of their records, none of them left out."""
        return relation.conflict is None or (isinstance(relation, Entity) and self._into.knows_keys_of([relation]))

    def named(self, chunk: Chunk, error: ServerError) -> RecordError | ServerError:
        """What ended the transaction, with the record named; or with all that it may be, where that is not known."""
        left = self._left(chunk)
        place = self._suspect(chunk, left, error)
        source, label = chunk.each.source.name, chunk.each.job.read.label
        if place is not None:
            return of_record(error).at(source, label(chunk.pieces[left[place]]))
        first, last = label(chunk.pieces[left[0]]), label(chunk.pieces[left[-1]])
        if len(left) == 1:
            return of_record(error).at(source, first)
        return ServerError(
            f"{source}: one of {first} to {last}: {error.said}; a smaller batch size, or rejects that are let through, "
            "will name it",
            sqlstate=error.sqlstate, table=error.table, column=error.column, constraint=error.constraint,
        )  # fmt: skip


def of_record(error: ServerError) -> RecordError:
    """What the server refused, as the fault of a record."""
    where = f"{error.table}: " if error.table else ""
    return RecordError(
        where + error.said, table=error.table, column=error.column, sqlstate=error.sqlstate,
        constraint=error.constraint,
    )  # fmt: skip
