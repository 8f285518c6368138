"""Is it linear, and is memory flat?

    BULKLOAD_BENCH_ITEMS=1570000 pytest bench/test_scale.py -s --benchmark-json=scale.json

An import of all four files in one transaction, of a tenth of BULKLOAD_BENCH_ITEMS and of all of them (default 2,000 and
20,000), from files with one JSON array and from JSON Lines: the seconds, and the most memory that a process took.
BULKLOAD_BENCH_ROUNDS sets the rounds (default 3, of a full set 1).
"""

from __future__ import annotations

import statistics
from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

from bench.common import ITEMS, by_process, empty, markdown, rounds, tell
from bench.measure import MEGABYTE, Cost, cost
from bulkload import embedded, gamedb

ROUNDS = rounds(full=1, small=3)
FORMS = ("array", "JSON Lines")
SMALL, LARGE = ITEMS // 10, ITEMS


def test_time_and_memory_of_ten_times_as_much(
    benchmark: BenchmarkFixture, server: embedded.Server, files: gamedb.Files, tmp_path: Path
) -> None:
    """Ten times the records take ten times the time and no more memory."""
    small = gamedb.generate(tmp_path / "small", gamedb.Sizes.of(SMALL))
    sets = {
        ("array", SMALL): small,
        ("array", LARGE): files,
        ("JSON Lines", SMALL): as_lines(small, tmp_path / "small lines"),
        ("JSON Lines", LARGE): as_lines(files, tmp_path / "large lines"),
    }
    costs: dict[tuple[str, int], list[Cost]] = {key: [] for key in sets}

    def once() -> None:
        for key, each in sets.items():
            costs[key].append(cost(by_process("whole", empty(server, "scale"), each), server))

    # The first import of all finds a cold machine, and is nobody's.
    cost(by_process("whole", empty(server, "scale"), small), server)

    benchmark.pedantic(once, rounds=ROUNDS, iterations=1)  # type: ignore[no-untyped-call]
    seconds = {key: statistics.median(each.seconds for each in found) for key, found in costs.items()}
    peaks = {key: max(each.largest_process for each in found) for key, found in costs.items()}
    times = {form: seconds[form, LARGE] / seconds[form, SMALL] for form in FORMS}
    memory = {form: peaks[form, LARGE] / peaks[form, SMALL] for form in FORMS}
    benchmark.extra_info.update(
        items=ITEMS,
        rounds=ROUNDS,
        ratios={
            f"{form}, {what}": found[form] for what, found in (("time", times), ("memory", memory)) for form in FORMS
        },
    )
    heads = ("file", *(f"{what} {size:,} items" for what in ("seconds,", "MB,") for size in (SMALL, LARGE)))
    rows = [
        [
            form,
            *(f"{seconds[form, size]:.2f}" for size in (SMALL, LARGE)),
            *(f"{peaks[form, size] / MEGABYTE:.0f}" for size in (SMALL, LARGE)),
            f"{times[form]:.1f}",
            f"{memory[form]:.2f}",
        ]
        for form in FORMS
    ]
    tell(f"\n{ROUNDS} rounds; memory is that of the largest process\n")
    tell(markdown((*heads, "times the seconds", "times the memory"), rows))


def as_lines(files: gamedb.Files, directory: Path) -> gamedb.Files:
    """The same records, one a line: the generator writes them so, within the brackets and with commas."""
    directory.mkdir()
    lines = gamedb.Files.within(directory)
    for source, target in ((files.items, lines.items), (files.nanos, lines.nanos)):
        with source.open("rb") as array, target.open("wb") as records:
            records.writelines(line.removesuffix(b",\n").removesuffix(b"\n") + b"\n" for line in array if len(line) > 2)
    for source, target in ((files.perks, lines.perks), (files.symbiants, lines.symbiants)):
        target.hardlink_to(source)
    return lines
