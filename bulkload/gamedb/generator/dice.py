"""Chance that repeats: the same seed gives the same draws on every version and platform."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs

_T = TypeVar("_T")


@attrs.frozen
class Dice:
    """Draws from one stream.

    Only `random()` is used, since its sequence is the one that Python promises to keep; `choice`, `shuffle` and the
    distributions have changed between versions. Nor is anything computed with the platform's `libm`.
    """

    random: Callable[[], float]
    """A number from 0 up to, not including, 1."""

    @classmethod
    def of(cls, seed: int, stream: str) -> Dice:
        """The stream of that name; streams of one seed are independent of each other."""
        return cls(random.Random(f"{seed}/{stream}").random)

    def below(self, count: int) -> int:
        """One of 0 … count - 1, all as likely."""
        return int(self.random() * count)

    def low(self, count: int) -> int:
        """One of 0 … count - 1, small ones much more often: most values of the real set are met again and again."""
        return int(self.random() * self.random() * count)

    def chance(self, share: float) -> bool:
        """True in that share of the draws."""
        return self.random() < share

    def pick(self, values: Sequence[_T]) -> _T:
        """One of the values, all as likely."""
        return values[int(self.random() * len(values))]
