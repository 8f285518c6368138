"""The proxy of the bench counts what a client says, however its messages are cut into blocks."""

from __future__ import annotations

import pytest

from bench.line import Tally


def message(kind: bytes, body: bytes) -> bytes:
    """One of the protocol's messages; the first of a connection has no type."""
    return kind + (len(body) + 4).to_bytes(4) + body


START = message(b"", b"\0\3\0\0user\0somebody\0\0")
QUERY = message(b"Q", b"SELECT 'QE'\0")
EXTENDED = b"".join(
    message(kind, body) for kind, body in ((b"P", b"\0Q\0"), (b"B", b"E" * 9), (b"E", b"\0" * 5), (b"S", b""))
)
ROWS = message(b"d", b"Q" * 300) * 3 + message(b"c", b"")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_statements_are_counted_however_they_are_cut(size: int) -> None:
    """A block may end anywhere, and rows or texts that look like a message are none."""
    tally = Tally()
    said = START + QUERY + EXTENDED + ROWS + QUERY
    for at in range(0, len(said), size):
        tally.client(said[at : at + size])
    assert tally.statements == 3
    assert tally.round_trips == 1


def test_a_round_trip_is_a_turn() -> None:
    """Blocks that follow each other are one turn; what the server says without being asked is no turn of the client."""
    tally = Tally()
    tally.client(START)
    tally.server(b"R")
    tally.client(QUERY)
    tally.client(ROWS)
    tally.server(b"C")
    tally.server(b"Z")
    assert tally.round_trips == 2
    tally.client(QUERY)
    assert tally.round_trips == 3


def test_nobody_waits_for_an_answer_to_a_farewell() -> None:
    """The message that ends a connection is no turn."""
    tally = Tally()
    tally.client(START)
    tally.server(b"R")
    tally.client(message(b"X", b""))
    assert tally.round_trips == 1
