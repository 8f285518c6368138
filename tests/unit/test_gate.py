"""The gate of the bench finds what got worse, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from bench.gate import Info, earlier, worse

BEFORE: Info = {"items": 2000, "ratios": {"optimized": 2.0, "ultra": 1.5, "csv_files": 6.0}}


def now(**ratios: float) -> Info:
    return {"items": 2000, "ratios": {**BEFORE["ratios"], **ratios}}


def test_what_got_worse_is_named() -> None:
    """Beyond the tolerance, each with both ratios."""
    assert worse(BEFORE, now(optimized=2.4, ultra=1.8)) == [
        "optimized: the ratio was 2.00 and is 2.40",
        "ultra: the ratio was 1.50 and is 1.80",
    ]


def test_a_tolerance_is_a_tolerance() -> None:
    """A ratio may be better, the same, or a little worse."""
    assert worse(BEFORE, now(optimized=1.0, ultra=1.5, csv_files=6.8)) == []
    assert worse(BEFORE, now(csv_files=6.8), tolerance=0.1) == ["csv_files: the ratio was 6.00 and is 6.80"]


def test_what_one_of_the_runs_has_not_is_not_compared() -> None:
    """A way may be new, or not run at this size."""
    assert worse(BEFORE, {"items": 2000, "ratios": {"ultra": 1.5, "new": 100.0}}) == []


def test_runs_of_two_sizes_do_not_compare() -> None:
    """Their ratios say nothing of each other."""
    with pytest.raises(ValueError, match="of 2,000 items, this one is of 5,000"):
        worse(BEFORE, {"items": 5000, "ratios": BEFORE["ratios"]})


def test_the_earlier_run_is_read_by_the_name_of_the_bench() -> None:
    """From what pytest-benchmark writes; a bench without ratios is none."""
    results: dict[str, Any] = {
        "benchmarks": [
            {"name": "test_other", "extra_info": {"items": 2000, "ratios": {}}},
            {"name": "test_what_each_way_costs", "extra_info": {"cores": 2, **BEFORE}},
            {"name": "test_without", "extra_info": {"items": 2000}},
        ]
    }
    found = earlier(results, "test_what_each_way_costs")
    assert found is not None
    assert found["ratios"] == BEFORE["ratios"]
    assert earlier(results, "test_without") is None
    assert earlier(results, "test_unknown") is None
