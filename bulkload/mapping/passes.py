"""The passes over the sources of a run, and what surrounds them."""

from __future__ import annotations

import gc
import logging
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import attrs

from bulkload.errors import UsageError
from bulkload.ledger.journal import Past, PastInput
from bulkload.mapping.chunks import Mapper, Selection, Watch, Write
from bulkload.mapping.job import Input
from bulkload.mapping.versions import Versions
from bulkload.model.plan import AnyRelation, Plan
from bulkload.model.report import Report, SourceReport
from bulkload.sources.rejects import Rejects

logger = logging.getLogger("bulkload")

# The young generation is collected after that many new objects, the old ones hardly ever.
_COLLECTOR_PACE = (50_000, 20, 1000)


class Passes:
    """The passes over the sources of a run: each record that counts is mapped once, in the order of the sources.

    What is `past` was done before the run, and is counted as if it had been done in it.
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        mapper: Mapper,
        report: Report,
        rejects: Rejects,
        *,
        chunk: int,
        watch: Watch,
        versions: Versions | None = None,
        past: Past | None = None,
        done: str = "loaded",
    ) -> None:
        """`versions` are those of the inputs, where they were looked for already."""
        self._done = done
        """What the log says was done with a record."""
        self._inputs = inputs
        self._mapper = mapper
        self._report = report
        self._rejects = rejects
        self._chunk = chunk
        self._watch = watch
        with report.phase("find versions"):
            self._versions = versions or Versions(inputs)
        self._past = [past.inputs.get(number, PastInput()) if past else PastInput() for number in range(len(inputs))]

    def run(self, write: Write, filled: Callable[[Sequence[AnyRelation]], None] | None = None) -> None:
        """Map and write everything; see `Mapper.run`. `filled` is told of tables that no more rows will come into."""
        for number, each in enumerate(self._inputs):
            left_out, past = self._versions.left_out(number), self._past[number]
            superseded = sum(position not in past.done for position in left_out)
            unchanged = self._versions.unchanged(number, past.done)
            counts = SourceReport(
                each.source.name, loaded=past.loaded, unchanged=unchanged, skipped=past.skipped, superseded=superseded,
                rejected=len(past.rejected),
            )  # fmt: skip
            self._report.sources.append(counts)
            for position in past.rejected:
                self._versions.reject(number, position)
            self._pass(number, counts, write, self._but(number, left_out))
            if number + 1 == len(self._inputs) or self._inputs[number + 1].job.identity is not each.job.identity:
                self._revive(write)
                if filled is not None:
                    filled(self._done_with(number))
            logger.info(
                "%s: %d records read, %d %s, %d unchanged, %d skipped, %d superseded, %d rejected",
                counts.name, counts.read, counts.loaded, self._done, counts.unchanged, counts.skipped,
                counts.superseded, counts.rejected,
            )  # fmt: skip

    def _done_with(self, number: int) -> list[AnyRelation]:
        """The tables that inputs up to this one fill, and no later one."""
        later = {relation for each in self._inputs[number + 1 :] for relation in each.job.plan}
        return [relation for relation in plan_of(self._inputs[: number + 1]) if relation not in later]

    def _revive(self, write: Write) -> None:
        """Map the versions that count after all, since a later one was rejected; these may be rejected in turn."""
        while revived := self._versions.take_revived():
            for number, positions in sorted(revived.items()):
                counts = self._report.sources[number]
                left = {position for position in positions if position not in self._past[number].done}
                same = set(filter(self._versions.is_same(number), left))
                counts.superseded -= len(left)
                counts.unchanged += len(same)
                if left > same:
                    self._rejects.superseded = True
                    try:
                        self._pass(number, counts, write, (left - same).__contains__)
                    finally:
                        self._rejects.superseded = False

    def _but(self, number: int, left_out: set[int]) -> Callable[[int], bool]:
        """Whether the record at a position is none of these, and not unchanged."""
        is_same = self._versions.is_same(number)
        if not self._versions.unchanged(number):
            return lambda position: position not in left_out
        return lambda position: position not in left_out and not is_same(position)

    def _pass(self, number: int, counts: SourceReport, write: Write, counted: Callable[[int], bool]) -> None:
        selection = Selection(
            number, self._inputs[number], self._left(number, counted), partial(self._versions.reject, number),
            self._versions.extracts(number),
        )  # fmt: skip
        # Where all is as it was, the source needs no second reading.
        if self._versions.changed(number) > 0:
            self._mapper.run(selection, counts, self._chunk, write, self._watch)
        # Its records were read more than once, and were to be the same.
        if self._inputs[number].source.state != self._versions.states[number]:
            raise self._inputs[number].source.changed()

    def _left(self, number: int, counted: Callable[[int], bool]) -> Callable[[int], bool]:
        done = self._past[number].done
        return (lambda position: counted(position) and position not in done) if done else counted


def plan_of(inputs: Iterable[Input]) -> Plan:
    """The tables of all the inputs' jobs."""
    return Plan.union(*(each.job.plan for each in inputs))


@contextmanager
def spooled(inputs: Sequence[Input]) -> Generator[list[Input]]:
    """The inputs, pipes among them written to a temporary file, since a source is read more than once.

    Raises UsageError where one pipe is to be several of them, and SourceError.
    """
    pipes = Counter(pipe for each in inputs if (pipe := each.source.pipe) is not None)
    if max(pipes.values(), default=0) > 1:
        twice = [each.source.name for each in inputs if pipes[each.source.pipe] > 1]
        raise UsageError(f"{' and '.join(twice)} are one pipe, which can be read but once")
    with tempfile.TemporaryDirectory(prefix="bulkload-") as directory:
        yield [attrs.evolve(each, source=each.source.spooled(Path(directory))) for each in inputs]


class _Pace:
    """That of the collector, which is the whole process's: slow as long as anybody here wants it to be."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before = gc.get_threshold()

    def slow_down(self) -> None:
        with self._lock:
            if not self._users:
                self._before = gc.get_threshold()
                gc.set_threshold(*_COLLECTOR_PACE)
            self._users += 1

    def let_go(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                gc.set_threshold(*self._before)


_PACE = _Pace()


@contextmanager
def unhurried_collector() -> Generator[None]:
    """The garbage collector, slowed down until the last block that wants it so has ended.

    Rows that wait are many and never garbage, but each collection looks at them all: at Python's own pace that is 40 %
    of the time of a mapping.
    """
    _PACE.slow_down()
    try:
        yield
    finally:
        _PACE.let_go()
