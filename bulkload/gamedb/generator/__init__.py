"""Makes sets of source files, so that the items database can be tried and measured without the real dumps.

A set has the shape of the real one (rows a table, sizes, shares) at any size, holds every oddity that the real one
shows, and is valid throughout: an import of it rejects nothing. The same sizes and seed give the same bytes, whatever
the platform, so that two machines can measure the same work without sending files.

    generate(Path("data"), Sizes(items=20_000), seed=1)
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

from bulkload.gamedb.generator.dice import Dice
from bulkload.gamedb.generator.perks import perks_text
from bulkload.gamedb.generator.records import item_lines, nano_lines
from bulkload.gamedb.generator.symbiants import symbiant_lines

__all__ = ["Files", "Sizes", "generate"]

# What a full set holds; a set of another size keeps these proportions unless told otherwise.
_FULL_ITEMS = 157_000
_FULL_NANOS = 13_000
_FULL_PERKS = 2_500
_FULL_SYMBIANTS = 991


def _in_proportion(items: int, full: int) -> int:
    return (items * full + _FULL_ITEMS // 2) // _FULL_ITEMS


def _nanos(sizes: Sizes) -> int:
    return _in_proportion(sizes.items, _FULL_NANOS)


def _perks(sizes: Sizes) -> int:
    return _in_proportion(sizes.items, _FULL_PERKS)


def _symbiants(sizes: Sizes) -> int:
    return _in_proportion(sizes.items, _FULL_SYMBIANTS)


@attrs.frozen
class Sizes:
    """How many records each file gets; what is left out follows from the items, as in a full set."""

    items: int = attrs.field(default=20_000, validator=attrs.validators.ge(0))
    """Records of items.json, the repeated AOIDs included."""
    nanos: int = attrs.field(default=attrs.Factory(_nanos, takes_self=True), validator=attrs.validators.ge(0))
    """Records of nanos.json."""
    perks: int = attrs.field(default=attrs.Factory(_perks, takes_self=True), validator=attrs.validators.ge(0))
    """Rows of perks.json."""
    symbiants: int = attrs.field(default=attrs.Factory(_symbiants, takes_self=True), validator=attrs.validators.ge(0))
    """Lines of symbiants.csv; there are none where the items hold no symbiant (fewer than 12 items)."""

    @classmethod
    def of(cls, items: int, nanos: int | None = None, perks: int | None = None, symbiants: int | None = None) -> Sizes:
        """The sizes where any but the first may be unknown, as they come from a command line."""
        whole = cls(items)
        return cls(
            items,
            whole.nanos if nanos is None else nanos,
            whole.perks if perks is None else perks,
            whole.symbiants if symbiants is None else symbiants,
        )


@attrs.frozen
class Files:
    """Where the four files of a set are."""

    items: Path
    nanos: Path
    perks: Path
    symbiants: Path

    @classmethod
    def within(cls, directory: Path) -> Files:
        """The files of the set in `directory`, by their fixed names."""
        return cls(
            directory / "items.json", directory / "nanos.json", directory / "perks.json", directory / "symbiants.csv"
        )


def generate(directory: Path, sizes: Sizes, seed: int = 1) -> Files:
    """Write a set into `directory`, made if it is missing; files of an earlier set there are replaced.

    Records go to the file as they are made, so memory does not grow with the sizes. Each file appears under its name
    only when it is whole.
    """
    directory.mkdir(parents=True, exist_ok=True)
    files = Files.within(directory)
    # A stream of chance for each file: the size of one does not change what stands in another.
    _write(files.items, _json_array(item_lines(sizes.items, Dice.of(seed, "items"))))
    _write(files.nanos, _json_array(nano_lines(sizes.nanos, sizes.items, Dice.of(seed, "nanos"))))
    _write(files.perks, perks_text(sizes.perks, sizes.items, sizes.nanos, Dice.of(seed, "perks")))
    _write(files.symbiants, symbiant_lines(sizes.symbiants, sizes.items, Dice.of(seed, "symbiants")))
    return files


def _json_array(lines: Iterable[str]) -> Iterator[str]:
    """One array of the records, each on a line of its own: the files can be read with line tools too."""
    before = "[\n"
    for line in lines:
        yield before
        yield line
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _write(path: Path, pieces: Iterable[str]) -> None:
    """Write a file under a name of its own and rename it: a run that dies leaves no half of a file to be imported."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(pieces)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
