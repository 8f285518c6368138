"""What can go wrong, as one tree. Every message is for the person who must act, in one line.

    BulkloadError
    ├── UsageError        the call itself is wrong: flags that do not go together, a plan that cannot be
    ├── SourceError       a source cannot be read: missing, unreadable, truncated, not of its format
    ├── RecordError       one record cannot go in; with `max_rejects` it is set aside and the load goes on
    ├── RejectsError      more records were rejected than the caller lets through
    ├── ConnectError      no server, or it does not let us in
    ├── SchemaError       the database is not what the plan says: a table, column, sequence or right is missing
    ├── ResumeError       what is to be gone on with is not what was begun: a source, mapping, option or table changed
    ├── ServerError       PostgreSQL refused a statement; SQLSTATE, table, column and constraint are kept
    │   └── UnknownOutcomeError   the connection was lost amid a commit, which is done or is not
    └── RestoreError      the data is in, but something that was dropped for it is not back

All of them pickle, since they may be raised in one process and shown in another.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
import psycopg

# A message is cut here: psycopg sends an exception raised inside COPY to the server as the reason for the failure,
# and one of 10 kB or more breaks the connection (measured with psycopg 3.3 and PostgreSQL 15).
_LONGEST_VALUE = 80
_LONGEST_PATH = 200
_LONGEST_REASON = 1000

# Classes of SQLSTATE that are not about what a row holds, but about the session, the statement or the server; all
# others can be, those that somebody's trigger makes up among them.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_NOT_OF_ROWS = frozenset({
    "00", "01", "02", "03", "08", "0A", "0B", "0F", "0L", "0P", "0Z", "24", "25", "26", "28", "2B", "2D", "34", "3B",
    "3D", "3F", "40", "42", "53", "55", "57", "58", "72", "F0", "HV", "XX",
})  # fmt: skip
_SEQUENCE_USED_UP = "2200H"

# What to do, where the server does not say it.
_HINTS = {
    psycopg.errors.InsufficientPrivilege.sqlstate: "have its owner grant this role the right, or become its owner "
    "(README, Rights)",
    psycopg.errors.ReadOnlySqlTransaction.sqlstate: "the server is a standby, or the session is set to read only: "
    "connect to the primary (target_session_attrs=read-write), or unset default_transaction_read_only",
    psycopg.errors.DiskFull.sqlstate: "make room on the server's disk, and run it again",
}
# The place in what the server was doing, as in `COPY items, line 3, column name`; the words are in its language.
_COPIED = re.compile(r"COPY (.+?), \D*(\d+)")


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


class ResumeError(BulkloadError):
    """A load that was stopped cannot be gone on with, since something it depends on has changed."""


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
        sqlstate: str = "",
        constraint: str = "",
    ) -> None:
        super().__init__(reason, path, table, column, source, record, sqlstate, constraint)
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
        self.sqlstate = sqlstate
        """Of what the server refused, as in ServerError; else ''."""
        self.constraint = constraint
        """The constraint or index by which it was refused, or ''."""

    def __reduce__(self) -> tuple[object, ...]:
        return _record_error, self._parts()

    def _parts(self) -> tuple[str, ...]:
        place = self.path, self.table, self.column, self.source, self.record
        return self.reason, *place, self.sqlstate, self.constraint

    def __str__(self) -> str:
        # A path is made of the keys of the document, which may be anything; the reason must not be lost behind it.
        path = self.path if len(self.path) <= _LONGEST_PATH else f"{self.path[:_LONGEST_PATH]}…"
        said = one_line(": ".join(filter(None, (self.source, self.record, path, self.reason))))
        return f"{said} (SQLSTATE {self.sqlstate})" if self.sqlstate else said

    def at(self, source: str, record: str, path: str = "") -> RecordError:
        """The same error, with its place filled in."""
        return RecordError(
            self.reason,
            path=self.path or path,
            table=self.table,
            column=self.column,
            source=source,
            record=record,
            sqlstate=self.sqlstate,
            constraint=self.constraint,
        )


def _record_error(
    reason: str, path: str, table: str, column: str, source: str, record: str, sqlstate: str, constraint: str
) -> RecordError:
    return RecordError(
        reason, path=path, table=table, column=column, source=source, record=record, sqlstate=sqlstate,
        constraint=constraint,
    )  # fmt: skip


class FitError(RecordError):
    """A value does not fit its column. `value` is the very object, by which the record's path to it is found."""

    def __init__(self, value: object, why: str, *, table: str, column: str, kind: str, row: int) -> None:
        reason = f"{shown(value)} does not fit {table}.{column} ({kind})"
        super().__init__(f"{reason}: {why}" if why else reason, table=table, column=column)
        self.value = value
        self.row = row
        """Which of the rows encoded together, from 0."""


class ServerError(BulkloadError):
    """PostgreSQL refused a statement."""

    def __init__(
        self,
        reason: str,
        *,
        sqlstate: str = "",
        table: str = "",
        column: str = "",
        constraint: str = "",
        said: str = "",
        copied: tuple[str, int] | None = None,
    ) -> None:
        super().__init__(reason, sqlstate, table, column, constraint, said, copied)
        self.reason = one_line(reason)
        self.sqlstate = sqlstate
        """The five characters of https://www.postgresql.org/docs/current/errcodes-appendix.html, or ''."""
        self.table = table
        self.column = column
        self.constraint = constraint
        self.said = said or reason
        """The server's own words, without where it was in a COPY."""
        self.copied = copied
        """The table of the COPY that was refused, and which of its rows, from 0; None where the server names none."""

    def __reduce__(self) -> tuple[object, ...]:
        parts = self.reason, self.sqlstate, self.table, self.column, self.constraint, self.said, self.copied
        return _server_error, (type(self), *parts)

    def __str__(self) -> str:
        return f"{self.reason} (SQLSTATE {self.sqlstate})" if self.sqlstate else self.reason

    def with_row(self, copied: tuple[str, int] | None) -> ServerError:
        """The same error, with another count of rows."""
        return ServerError(
            self.reason, sqlstate=self.sqlstate, table=self.table, column=self.column, constraint=self.constraint,
            said=self.said, copied=copied,
        )  # fmt: skip

    @property
    def of_rows(self) -> bool:
        """Whether it can be about what rows hold, so that other rows would have been taken."""
        state = self.sqlstate
        return bool(state) and state != _SEQUENCE_USED_UP and state[:2] not in _NOT_OF_ROWS

    @classmethod
    def of(cls, error: psycopg.Error, doing: str, table: str = "") -> ServerError:
        """The driver's error as ours; `doing` says what was tried, as in `COPY into items`, and `table` to which."""
        diag = error.diag
        said = [diag.message_primary or str(error)]
        # The primary message often names no value; the detail does ("Key (id)=(3) already exists."), and for COPY the
        # context has the row and column. Both are written for the person who reads.
        if diag.message_detail:
            said.append(diag.message_detail.splitlines()[0])
        context = diag.context.splitlines() if diag.context else []
        hint = f"hint: {diag.message_hint}" if diag.message_hint else _HINTS.get(error.sqlstate)
        # What was done last comes first, a COPY behind the triggers that it sets off.
        copied = _COPIED.match(context[-1]) if context else None
        inner = context[:1] if copied is None or len(context) > 1 else []
        return cls(
            f"{doing}: {'; '.join(filter(None, [*said, *context[:1], hint]))}",
            sqlstate=error.sqlstate or "",
            table=diag.table_name or table,
            column=diag.column_name or "",
            constraint=diag.constraint_name or "",
            said="; ".join(filter(None, [*said, *inner, hint])),
            copied=(copied[1], int(copied[2]) - 1) if copied else None,
        )


class UnknownOutcomeError(ServerError):
    """The connection was lost while a transaction was committed: all of it is in, or nothing."""


def _server_error(
    kind: type[ServerError],
    reason: str,
    sqlstate: str,
    table: str,
    column: str,
    constraint: str,
    said: str,
    copied: tuple[str, int] | None,
) -> ServerError:
    return kind(reason, sqlstate=sqlstate, table=table, column=column, constraint=constraint, said=said, copied=copied)


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
