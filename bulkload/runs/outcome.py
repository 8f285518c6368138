"""What is in when a load ends early: told, where a failure does not undo it, or came while it was committed."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import attrs

from bulkload.errors import RestoreError
from bulkload.model.mode import Mode
from bulkload.model.report import Report
from bulkload.rows.load import Load
from bulkload.server.connection import committed
from bulkload.sources import checksums
from bulkload.sources.source import Source

logger = logging.getLogger("bulkload")


@attrs.define
class Outcome:
    """How far a load came, filled in by whoever runs it."""

    mode: Mode
    sources: Sequence[Source]
    report: Report
    """It counts what is in, and no more, where a load has several transactions."""
    ends: bool
    """Whether there are statements that end the load."""
    load: Load | None = None
    complete: bool = False
    """Whether all rows are in."""
    ended: bool = False
    """Whether these were run."""

    @contextmanager
    def told(self) -> Generator[None]:
        """Where what is done inside ends early, say what stays of it."""
        try:
            yield
        except BaseException as error:
            if self.mode is not Mode.OPTIMIZED:
                self._tell_what_stays(error)
            elif (found := committed(error)) is not False:
                # Another transaction before its own is that of its line in the ledger, say.
                error.add_note(
                    "nothing of the load is in" if not self.ended
                    else "all of the load is in" if found
                    else "whether the load is in, all of it or nothing, is not known; `python -m bulkload status` says"
                )  # fmt: skip
            raise

    def _tell_what_stays(self, error: BaseException) -> None:
        restored = not isinstance(error, RestoreError)
        said: list[str] = []
        if self.report.cleared:
            said.append(f"emptied at the beginning: {', '.join(self.report.cleared)}")
        if self.complete or not restored:
            said.append(f"all rows are in: {self._written()}")
            if self.ends and not self.ended:
                said.append("the statements that end the load, which refresh views, say, were not done")
        elif written := self._written():
            said.append(f"batches written before the failure stay: {written}")
        if said and restored and not self.ended:
            said.append(self._how())
        if said:
            logger.warning("%s", "; ".join(said))

    def _written(self) -> str:
        """As in `8 records of a.json, 3 rows inserted`; '' where nothing was."""
        said = [f"{each.loaded:,} records of {each.name}" for each in self.report.sources if each.loaded]
        for what in ("inserted", "updated", "deleted"):
            count = sum(getattr(table, what) for table in self.report.tables.values())
            said += [f"{count:,} rows {what}"] * bool(count)
        return ", ".join(said)

    def _how(self) -> str:
        if self.load is not None and self.load.undo.journal is not None and all(map(checksums.again, self.sources)):
            return "run the import again with --resume (resume=True) to go on where it stopped"
        return "run the import again to load all of it"
