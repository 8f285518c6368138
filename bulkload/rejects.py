"""The records that could not go in: set aside in a file, counted, and too many of them end the load."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

import msgspec

from bulkload.errors import RecordError, RejectsError, SourceError, one_line
from bulkload.formats import Format, Reject, Slice

# Reasons that the message of a failed load shows.
_SHOWN = 10


class Rejects:
    """Takes rejected records; a context manager, where there is a file to write them to.

    The file is JSON Lines, an object a record: `record` (as it was in the source), `file`, `position`, `path`,
    `table`, `column`, `sqlstate`, `constraint` and `reason`; strings that are not known are empty. Where a version was
    tried because the one after it was rejected, and was rejected itself, its line comes after that one's and says
    `superseded`: the other one still counts. It is written as the load goes, and kept when the load fails. Where
    `WithRejects` reads, the file itself is a source.

    A load that goes on with an earlier one sets the records aside again that were rejected then, so that the file is
    whole. With `keep`, what was left in it stays until then, and is not lost where the load does not begin.
    """

    def __init__(self, path: Path | None = None, most: int = 0, *, keep: bool = False) -> None:
        self._path = path
        self._mode: Literal["ab", "wb"] = "ab" if keep else "wb"
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
                self._file = self._path.open(self._mode)
            except OSError as error:
                raise self._unwritten(error) from error
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

    def restart(self) -> None:
        """Forget what was put so far: the records are about to be read again."""
        self.errors.clear()
        self.count = 0
        if self._file is not None:
            self._file.seek(0)
            self._file.truncate()

    def _write(self, file: IO[bytes], form: Format[object], piece: Slice, error: RecordError) -> None:
        line = Reject(
            record=msgspec.Raw(form.as_json(piece)), file=error.source, position=piece.position, path=error.path,
            table=error.table, column=error.column, sqlstate=error.sqlstate, constraint=error.constraint,
            reason=error.reason, superseded=self.superseded,
        )  # fmt: skip
        try:
            file.write(msgspec.json.encode(line) + b"\n")
            file.flush()
        except OSError as failure:
            raise self._unwritten(failure) from failure

    def _unwritten(self, failure: OSError) -> SourceError:
        return SourceError(f"{self._path}: rejects cannot be written: {os.strerror(failure.errno or 0)}")
