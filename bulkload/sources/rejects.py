"""The records that could not go in: set aside in a file, counted, and too many of them end the load."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec

from bulkload.errors import RecordError, RejectsError, SourceError, one_line
from bulkload.sources.formats import Format, Reject, Slice

# Reasons that the message of a failed load shows.
_SHOWN = 10

# Names of what this process has open: where that is a file, there is more in it than rejects.
_DESCRIPTORS = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/self/fd/")


class Rejects:
    """Takes rejected records; a context manager, where there is a file to write them to.

    The file is JSON Lines, an object a record: `record` (as it was in the source), `file`, `position`, `path`,
    `table`, `column`, `sqlstate`, `constraint` and `reason`; strings that are not known are empty. Where a version was
    tried because the one after it was rejected, and was rejected itself, its line comes after that one's and says
    `superseded`: the other one still counts. It is written as the load goes, and kept when the load fails. Where
    `WithRejects` reads, the file itself is a source.

    What an earlier load left in it stays until one begins. A load that goes on with an earlier one sets the records
    aside again that were rejected then, so that the file is whole. What cannot be emptied (a pipe, a device, what this
    process has open) is told of each record once.
    """

    def __init__(self, path: Path | None = None, most: int = 0) -> None:
        self._path = path
        self._begun = False
        self._told: set[tuple[str, int]] | None = None
        """The records that were written to what cannot be emptied, by source and position; None for a file."""
        self.most = most
        self._file: IO[bytes] | None = None
        self.errors: list[RecordError] = []
        """The first of them."""
        self.count = 0
        self.superseded = False
        """Whether records are put that a later version, which was put before them, was to supersede."""

    def __enter__(self) -> Self:
        if self._path is not None:
            try:
                self._file = self._path.open("ab")
            except OSError as error:
                raise self._unwritten(error) from error
            regular = stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)
            self._told = None if regular and not str(self._path).startswith(_DESCRIPTORS) else set()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            try:
                self._file.close()
            except OSError as failure:
                # What could not be written before is tried again here; then it was told already.
                if error is None:
                    raise self._unwritten(failure) from failure

    def put(self, form: Format[object], piece: Slice, error: RecordError) -> None:
        """Set a record aside. Raises RejectsError, or the record's own error where not even one is let through."""
        self.begin()
        self.count += 1
        if len(self.errors) < _SHOWN:
            self.errors.append(error)
        if self._file is not None:
            self._write(self._file, form, piece, error)
        if self.count > self.most:
            if self.most == 0:
                raise error
            reasons = "; ".join(map(str, self.errors))
            raise RejectsError(one_line(f"more than {self.most} records were rejected, the first of them: {reasons}"))

    def begin(self) -> None:
        """A load begins: what was in the file before is no longer needed."""
        if not self._begun:
            self.restart()

    def restart(self) -> None:
        """Forget what was put so far: the records are about to be read again."""
        self._begun = True
        self.errors.clear()
        self.count = 0
        if self._file is not None and self._told is None:
            self._file.truncate(0)

    def _write(self, file: IO[bytes], form: Format[object], piece: Slice, error: RecordError) -> None:
        line = Reject(
            record=msgspec.Raw(form.as_json(piece)), file=error.source, position=piece.position, path=error.path,
            table=error.table, column=error.column, sqlstate=error.sqlstate, constraint=error.constraint,
            reason=error.reason, superseded=self.superseded,
        )  # fmt: skip
        if self._told is not None:
            if (line.file, line.position) in self._told:
                return
            self._told.add((line.file, line.position))
        try:
            file.write(msgspec.json.encode(line) + b"\n")
            file.flush()
        except OSError as failure:
            raise self._unwritten(failure) from failure

    def _unwritten(self, failure: OSError) -> SourceError:
        return SourceError(f"{self._path}: rejects cannot be written: {os.strerror(failure.errno or 0)}")
