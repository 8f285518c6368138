"""Holds the ratios of a run against those of an earlier one; times are not compared, since machines differ.

A bench names its ratios in `extra_info["ratios"]`, of which more is worse, and its size in `extra_info["items"]`:
pytest-benchmark's JSON, which the earlier run has written, has both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict, cast

TOLERANCE = 0.15
"""So much worse than before a ratio may be."""


class Info(TypedDict):
    """What the gate reads of a bench."""

    items: int
    ratios: Mapping[str, float]


def earlier(results: Mapping[str, object], name: str) -> Info | None:
    """What the earlier run has of a bench, if it has something to compare with."""
    for bench in cast("Sequence[Mapping[str, object]]", results["benchmarks"]):
        info = cast("Mapping[str, object]", bench["extra_info"])
        if bench["name"] == name and "ratios" in info:
            return cast("Info", info)
    return None


def worse(before: Info, now: Info, tolerance: float = TOLERANCE) -> list[str]:
    """Which ratios got worse by more than the tolerance, a line each; what one of the runs has not is not compared.

    Raises ValueError where the runs are of different sizes, whose ratios say nothing of each other.
    """
    if before["items"] != now["items"]:
        raise ValueError(f"the earlier run was of {before['items']:,} items, this one is of {now['items']:,}")
    return [
        f"{name}: the ratio was {ratio:.2f} and is {now['ratios'][name]:.2f}"
        for name, ratio in before["ratios"].items()
        if now["ratios"].get(name, 0.0) > ratio * (1 + tolerance)
    ]
