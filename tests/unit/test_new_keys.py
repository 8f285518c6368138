"""Packed keys are a dictionary that takes less room."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from bulkload.workers import new_keys
from bulkload.workers.new_keys import NewKeys

KEYS = st.integers(-20, 20) | st.integers(-(2**64), 2**64) | st.text("ab", max_size=2) | st.tuples(st.integers(0, 3))


@given(st.lists(st.lists(KEYS, max_size=6)), st.integers(1, 8))
def test_what_was_added_and_not_removed_is_there(batches: list[list[object]], largest: int) -> None:
    """Of keys of any type, in any order, whatever the runs."""
    before = new_keys._LARGEST_RUN, new_keys._PIECE
    new_keys._LARGEST_RUN = new_keys._PIECE = largest
    try:
        keys, known = NewKeys(), dict[object, int]()
        for batch in batches:
            assert keys.has_any(batch) == any(key in known for key in batch)
            added = [key for key in dict.fromkeys(batch) if key not in known]
            ids = range(len(known), len(known) + len(added))
            keys.add(added, ids)
            known.update(zip(added, ids, strict=True))
            if len(batch) % 3 == 2:
                # What was written is undone.
                keys.remove(added[::2])
                known = {key: identifier for key, identifier in known.items() if key not in added[::2]}
        assert dict(keys.items()) == known
    finally:
        new_keys._LARGEST_RUN, new_keys._PIECE = before


def test_a_number_takes_few_bytes() -> None:
    """However many there are, and whatever order they come in."""
    tracemalloc.start()
    try:
        keys = NewKeys()
        for batch in range(100):
            keys.add([(batch * 1000 + place) * 7919 % 100_003 for place in range(1000)], range(1000))
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 100_000 * 32
    assert keys.has_any([-1, 7919])
    assert not keys.has_any([-1, 100_003])
