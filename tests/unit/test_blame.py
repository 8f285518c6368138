"""The search for the records that are refused: exactly these are found, in few tries."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import assume, given
from hypothesis import strategies as st

from bulkload import ServerError
from bulkload.mapping.blame import Refusal, sift

NO = ServerError("no", sqlstate="23505")


class Table:
    """Refuses some records, alone and with others."""

    def __init__(self, count: int, bad: set[int], suspects: Sequence[int | None] = ()) -> None:
        self.bad = bad
        self.rows: list[int] = []
        self.rejected: list[int] = []
        self.tries = 0
        self._suspects = list(suspects)
        sift(range(count), NO, self.write, self.suspect, lambda number, _refusal: self.rejected.append(number))

    def write(self, numbers: Sequence[int]) -> None:
        self.tries += 1
        if not self.bad.isdisjoint(numbers):
            raise NO
        self.rows += numbers

    def suspect(self, numbers: Sequence[int], _refusal: Refusal) -> int | None:
        if self._suspects:
            place = self._suspects.pop()
            return None if place is None else place % len(numbers)
        return None


class Telling(Table):
    """Says which record it refuses first."""

    def suspect(self, numbers: Sequence[int], _refusal: Refusal) -> int | None:
        return next(place for place, number in enumerate(numbers) if number in self.bad)


@given(st.integers(1, 60), st.sets(st.integers(0, 59)), st.lists(st.none() | st.integers(0, 99)))
def test_the_bad_ones_are_found(count: int, bad: set[int], suspects: Sequence[int | None]) -> None:
    """All others are written once, in their order, whatever the server seems to say."""
    assume(not bad.isdisjoint(range(count)))
    table = Table(count, bad, suspects)
    assert table.rejected == [number for number in range(count) if number in bad]
    assert table.rows == [number for number in range(count) if number not in bad]


def test_few_tries_find_one() -> None:
    """By halves, or at once where the server names it."""
    for place in (0, 1, 2048, 4094, 4095):
        assert Table(4096, {place}).tries <= 15
        assert Telling(4096, {place}).tries <= 4


def test_many_cost_few_tries_each() -> None:
    """Nor are all the others written again for each of them."""
    assert Table(1000, set(range(1000))).tries <= 1100
    assert Telling(1000, set(range(1000))).tries <= 1100
    assert Table(1000, set(range(0, 1000, 10))).tries <= 1000
    assert Telling(1000, set(range(0, 1000, 10))).tries <= 400
