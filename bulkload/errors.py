"""What can go wrong, as one tree. Every message is for the person who must act, in one line.

    BulkloadError
    ├── UsageError        the call itself is wrong: flags that do not go together, a plan that cannot be
    ├── SourceError       a source cannot be read: missing, unreadable, truncated, not of its format
    ├── RecordError       one record cannot go in; with `max_rejects` it is set aside and the load goes on
    ├── RejectsError      more records were rejected than the caller lets through
    ├── ConnectError      no server, or it does not let us in
    ├── SchemaError       the database is not what the plan says: a table, column, sequence or right is missing
    ├── ServerError       PostgreSQL refused a statement; SQLSTATE, table, column and constraint are kept
    └── RestoreError      the data is in, but something that was dropped for it is not back

All of them pickle, since they may be raised in one process and shown in another.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import psycopg

# A message is cut here: psycopg sends an exception raised inside COPY to the server as the reason for the failure,
# and one of 10 kB or more breaks the connection (measured with psycopg 3.3 and PostgreSQL 15).
_LONGEST_VALUE = 80
_LONGEST_PATH = 200
_LONGEST_REASON = 1000


class BulkloadError(Exception):
    """The load failed."""

    def __str__(self) -> str:
        return one_line(super().__str__() or str(type(self).__doc__))


class UsageError(BulkloadError):
    """The call is wrong as it stands; nothing was tried."""


class SourceError(BulkloadError):
    """A source cannot be read."""


class RejectsError(BulkloadError):
    """More records were rejected than the caller lets through."""


class ConnectError(BulkloadError):
    """There is no connection to the server."""


class SchemaError(BulkloadError):
    """The database is not what the plan says."""


class RestoreError(BulkloadError):
    """The data is in, but something that was dropped for it is not back."""

    def __init__(self, failures: Sequence[str], in_ledger: bool = True) -> None:  # noqa: FBT001, FBT002 - it pickles by its arguments
        super().__init__(list(failures), in_ledger)
        self.failures = tuple(failures)
        """What is not back, each with the reason."""
        self.in_ledger = in_ledger
        """Whether it can be tried again; or all is back, and found to be other than it was."""

    def __str__(self) -> str:
        what = "; ".join(self.failures)
        if not self.in_ledger:
            return one_line(f"all was put back, but not as it was; the data is in, mend by hand: {what}")
        # What is to be done comes first: the rest may be cut.
        return one_line(
            f"not restored, but kept in the ledger: mend the rows, then run `python -m bulkload recover`, or `indexes "
            f"restore` for what was dropped by hand: {what}"
        )


class RecordError(BulkloadError):
    """One record cannot go in.

    A decoder or a mapping raises it with what it knows (`reason`, and `path` inside the record where there is one);
    the loader adds the rest. Which parts are filled says how far the record came: a value that does not fit its
    column has a table and a column, a record that does not parse has neither.
    """

    def __init__(
        self,
        reason: str,
        *,
        path: str = "",
        table: str = "",
        column: str = "",
        source: str = "",
        record: str = "",
    ) -> None:
        super().__init__(reason, path, table, column, source, record)
        self.reason = one_line(reason)
        """What is wrong, a value included where one is to blame."""
        self.path = path
        """Where in the record, as in `StatValues[2].RawValue`; '' for the record as a whole."""
        self.table = table
        """The table that the value was meant for, or ''."""
        self.column = column
        """Its column, or ''."""
        self.source = source
        """The name of the file."""
        self.record = record
        """Which record of it, as in `record 153 (AOID 21805)`."""

    def __reduce__(self) -> tuple[object, ...]:
        return _record_error, (self.reason, self.path, self.table, self.column, self.source, self.record)

    def __str__(self) -> str:
        # A path is made of the keys of the document, which may be anything; the reason must not be lost behind it.
        path = self.path if len(self.path) <= _LONGEST_PATH else f"{self.path[:_LONGEST_PATH]}…"
        return one_line(": ".join(filter(None, (self.source, self.record, path, self.reason))))

    def at(self, source: str, record: str, path: str = "") -> RecordError:
        """The same error, with its place filled in."""
        return RecordError(
            self.reason,
            path=self.path or path,
            table=self.table,
            column=self.column,
            source=source,
            record=record,
        )


def _record_error(reason: str, path: str, table: str, column: str, source: str, record: str) -> RecordError:
    return RecordError(reason, path=path, table=table, column=column, source=source, record=record)


class FitError(RecordError):
    """A value does not fit its column. `value` is the very object, by which the record's path to it is found."""

    def __init__(self, value: object, why: str, *, table: str, column: str, kind: str, row: int) -> None:
        reason = f"{shown(value)} does not fit {table}.{column} ({kind})"
        super().__init__(f"{reason}: {why}" if why else reason, table=table, column=column)
        self.value = value
        self.row = row
        """Which of the rows encoded together, from 0."""

    def __reduce__(self) -> tuple[object, ...]:
        return _record_error, (self.reason, self.path, self.table, self.column, self.source, self.record)


class ServerError(BulkloadError):
    """PostgreSQL refused a statement."""

    def __init__(
        self, reason: str, *, sqlstate: str = "", table: str = "", column: str = "", constraint: str = ""
    ) -> None:
        super().__init__(reason, sqlstate, table, column, constraint)
        self.reason = one_line(reason)
        self.sqlstate = sqlstate
        """The five characters of https://www.postgresql.org/docs/current/errcodes-appendix.html, or ''."""
        self.table = table
        self.column = column
        self.constraint = constraint

    def __reduce__(self) -> tuple[object, ...]:
        return _server_error, (self.reason, self.sqlstate, self.table, self.column, self.constraint)

    def __str__(self) -> str:
        return f"{self.reason} (SQLSTATE {self.sqlstate})" if self.sqlstate else self.reason

    @classmethod
    def of(cls, error: psycopg.Error, doing: str) -> ServerError:
        """The driver's error as ours; `doing` says what was tried, as in `COPY into items`."""
        diag = error.diag
        said = [diag.message_primary or str(error)]
        # The primary message often names no value; the detail does ("Key (id)=(3) already exists."), and for COPY the
        # context has the row and column. Both are written for the person who reads.
        said += [part.splitlines()[0] for part in (diag.message_detail, diag.context) if part]
        if diag.message_hint:
            said.append(f"hint: {diag.message_hint}")
        elif error.sqlstate == psycopg.errors.InsufficientPrivilege.sqlstate:
            said.append("have its owner grant this role the right, or become its owner (README, Rights)")
        return cls(
            f"{doing}: {'; '.join(said)}",
            sqlstate=error.sqlstate or "",
            table=diag.table_name or "",
            column=diag.column_name or "",
            constraint=diag.constraint_name or "",
        )


def _server_error(reason: str, sqlstate: str, table: str, column: str, constraint: str) -> ServerError:
    return ServerError(reason, sqlstate=sqlstate, table=table, column=column, constraint=constraint)


def shown(value: object) -> str:
    """A value as a message shows it: on one line, cut where it is long, its length told then."""
    if isinstance(value, msgspec.Raw):
        text = bytes(value).decode(errors="replace")
    else:
        try:
            text = "null" if value is None else repr(value)
        except (ValueError, RecursionError):
            # Python writes no integer of more than 4,300 digits, and nothing that is nested more deeply than calls are.
            return f"{type(value).__name__} that is too long or too deep to be shown"
    if len(text) <= _LONGEST_VALUE:
        return text
    size = f"{len(value)} long" if isinstance(value, (str, bytes)) else f"{len(text)} characters"
    return f"{text[:_LONGEST_VALUE]}… ({size})"


def one_line(text: str) -> str:
    """A message without line breaks, cut to what psycopg can carry; what a terminal would obey is escaped."""
    line = " ".join(text.split())
    if not line.isprintable():
        line = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line[: _LONGEST_REASON + 1])
    return line if len(line) <= _LONGEST_REASON else f"{line[: _LONGEST_REASON - 1]}…"
