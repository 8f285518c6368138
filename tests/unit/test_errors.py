"""Errors are for a person: one line, no secrets, the same in another process."""

from __future__ import annotations

import pickle

import pytest

from bulkload import BulkloadError, FitError, RecordError, ServerError, SourceError, UnknownOutcomeError
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
        UnknownOutcomeError("lost", said="closed"),
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


def test_no_part_of_a_message_is_more_than_a_line() -> None:
    """Names of files and keys of documents are in it, which may be anything: also what a terminal would obey."""
    error = RecordError("is missing", path="a\nb.\x1b[2J\u202e" + "c" * 5000, source="items\n.json", record="record 3")
    assert str(error).startswith(r"items .json: record 3: a b.\x1b[2J\u202ecc")
    assert str(error).endswith("c…: is missing")
    assert len(str(error)) <= 300
    assert str(SourceError("\udcff\0")) == r"\udcff\x00"


def test_any_value_can_be_shown() -> None:
    """Also one that Python itself refuses to write."""
    assert "too long" in shown(10**5000)


def test_an_error_without_a_message_says_what_it_is() -> None:
    """The docstring is the default message."""
    assert str(SourceError()) == "A source cannot be read."
