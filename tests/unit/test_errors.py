"""Errors are for a person: one line, no secrets, the same in another process."""

from __future__ import annotations

import pickle

import pytest

from bulkload import BulkloadError, FitError, RecordError, ServerError, SourceError
from bulkload.errors import shown


@pytest.mark.parametrize(
    "error",
    [
        SourceError("items.json: there is no such file"),
        RecordError("is missing", path="A[0].b", table="t", column="c", source="f.json", record="record 3"),
        FitError(3_000_000_000, "too large", table="t", column="c", kind="integer", row=7).at(
            "f.json", "record 3", "A"
        ),
        ServerError("no", sqlstate="23505", table="t", column="c", constraint="t_pkey"),
    ],
)
def test_errors_pickle(error: BulkloadError) -> None:
    """They may be raised in one process and shown in another."""
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


def test_a_misfit_says_where() -> None:
    """File, record, path, value, table, column and type, in this order."""
    error = FitError(3_000_000_000, "", table="stat_values", column="value", kind="integer", row=0)
    assert str(error.at("items.json", "record 153 (AOID 21805)", "StatValues[2].RawValue")) == (
        "items.json: record 153 (AOID 21805): StatValues[2].RawValue: "
        "3000000000 does not fit stat_values.value (integer)"
    )


def test_messages_are_one_line() -> None:
    """However the reason came, and bounded: psycopg sends it to the server."""
    assert str(SourceError("a\nb\r\n  c")) == "a b c"
    assert len(str(SourceError("x" * 100_000))) <= 1000
    assert shown("x" * 500).endswith("… (500 long)")
    assert shown(None) == "null"


def test_an_error_without_a_message_says_what_it_is() -> None:
    """The docstring is the default message."""
    assert str(SourceError()) == "A source cannot be read."
