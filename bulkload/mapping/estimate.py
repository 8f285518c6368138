"""How many rows are to come: a few records of each source are mapped, and the rest is taken to be like them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count, islice

from bulkload.mapping.job import Input
from bulkload.rows.memory import MemoryLoad

_SAMPLE = 200
"""Records of a source that are looked at: some 30 ms."""


def expected_rows(inputs: Sequence[Input], changed: Callable[[int], float] = lambda _number: 1.0) -> dict[str, float]:
    """The rows that the sources will make, by table; those with a key are counted as if none came twice.

    `changed` tells, of an input by its number, which share of its records is to be mapped.

    A record that cannot be read or mapped counts for none: what is wrong with it is told when its turn comes. Raises
    SourceError.
    """
    rows: dict[str, float] = {}
    for number, each in enumerate(inputs):
        share = changed(number)
        if share == 0:
            continue
        sample = MemoryLoad(each.job.plan)
        # Whatever is looked up is there, and each time another one.
        found = count(1)
        sample.find_elsewhere = lambda _lookup, _values, found=found: next(found)
        with each.source.open() as reader:
            lists = each.job.read.split(reader, each.source.name)
            pieces = list(islice((piece for pieces in lists for piece in pieces), _SAMPLE))
            seen = sum(len(piece.data) for piece in pieces)
            # Of a compressed source, what is inside is to its size as what was read of it is to what was handed out.
            whole = (each.source.size or 0) * reader.offset / max(reader.position, 1)
        for piece in pieces:
            try:
                each.job.add(sample, each.job.read.decode(piece))
            except Exception:  # noqa: BLE001, S112 - the user's code; it is told when the record's turn comes
                continue
        for relation, batch in sample.batches.items():
            rows[relation.name] = rows.get(relation.name, 0.0) + len(batch) * share * whole / max(seen, 1)
    return rows
