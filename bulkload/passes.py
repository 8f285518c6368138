"""The passes over the sources of a run, and what surrounds them."""

from __future__ import annotations

import gc
import logging
import tempfile
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import attrs

from bulkload.chunks import Mapper, Selection, Watch
from bulkload.job import Input
from bulkload.plan import AnyRelation, Plan
from bulkload.report import Report, SourceReport
from bulkload.versions import Versions

logger = logging.getLogger("bulkload")

# The young generation is collected after that many new objects, the old ones hardly ever.
_COLLECTOR_PACE = (50_000, 20, 1000)


class Passes:
    """The passes over the sources of a run: each record that counts is mapped once, in the order of the sources."""

    def __init__(
        self, inputs: Sequence[Input], mapper: Mapper, report: Report, *, chunk: int, watch: Watch, done: str = "loaded"
    ) -> None:
        self._done = done
        """What the log says was done with a record."""
        self._inputs = inputs
        self._mapper = mapper
        self._report = report
        self._chunk = chunk
        self._watch = watch
        self._states = [each.source.state for each in inputs]
        with report.phase("find versions"):
            self._versions = Versions(inputs)

    def run(self, write: Callable[[], None], filled: Callable[[Sequence[AnyRelation]], None] | None = None) -> None:
        """Map and write everything; see `Mapper.run`. `filled` is told of tables that no more rows will come into."""
        for number, each in enumerate(self._inputs):
            left_out = self._versions.left_out(number)
            counts = SourceReport(each.source.name, superseded=len(left_out))
            self._report.sources.append(counts)
            self._pass(number, counts, write, _not_in(left_out))
            if number + 1 == len(self._inputs) or self._inputs[number + 1].job.identity is not each.job.identity:
                self._revive(write)
                if filled is not None:
                    filled(self._done_with(number))
            logger.info(
                "%s: %d records read, %d %s, %d skipped, %d superseded, %d rejected",
                counts.name, counts.read, counts.loaded, self._done, counts.skipped, counts.superseded, counts.rejected,
            )  # fmt: skip

    def _done_with(self, number: int) -> list[AnyRelation]:
        """The tables that inputs up to this one fill, and no later one."""
        later = {relation for each in self._inputs[number + 1 :] for relation in each.job.plan}
        return [relation for relation in plan_of(self._inputs[: number + 1]) if relation not in later]

    def _revive(self, write: Callable[[], None]) -> None:
        """Map the versions that count after all, since a later one was rejected; these may be rejected in turn."""
        while revived := self._versions.take_revived():
            for number, positions in sorted(revived.items()):
                counts = self._report.sources[number]
                counts.superseded -= len(positions)
                self._pass(number, counts, write, positions.__contains__)

    def _pass(
        self, number: int, counts: SourceReport, write: Callable[[], None], counted: Callable[[int], bool]
    ) -> None:
        selection = Selection(
            number, self._inputs[number], counted, partial(self._versions.reject, number),
            self._versions.extracts(number),
        )  # fmt: skip
        self._mapper.run(selection, counts, self._chunk, write, self._watch)
        # Its records were read more than once, and were to be the same.
        if self._inputs[number].source.state != self._states[number]:
            raise self._inputs[number].source.changed()


def _not_in(positions: set[int]) -> Callable[[int], bool]:
    return lambda position: position not in positions


def plan_of(inputs: Iterable[Input]) -> Plan:
    """The tables of all the inputs' jobs."""
    return Plan.union(*(each.job.plan for each in inputs))


@contextmanager
def spooled(inputs: Sequence[Input]) -> Generator[list[Input]]:
    """The inputs, standard input among them written to a temporary file, since a source is read more than once."""
    with tempfile.TemporaryDirectory(prefix="bulkload-") as directory:
        yield [attrs.evolve(each, source=each.source.spooled(Path(directory))) for each in inputs]


@contextmanager
def unhurried_collector() -> Generator[None]:
    """The garbage collector, slowed down.

    Rows that wait are many and never garbage, but each collection looks at them all: at Python's own pace that is 40 %
    of the time of a mapping.
    """
    before = gc.get_threshold()
    gc.set_threshold(*_COLLECTOR_PACE)
    try:
        yield
    finally:
        gc.set_threshold(*before)
