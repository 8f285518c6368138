"""Ids that are given out in blocks: each once, and none lost, whatever chunks use of them."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from bulkload.workers.blocks import Block, Ids

# The records of a chunk, the share of its ids that it uses, and how many chunks come back before the next is given.
CHUNKS = st.lists(st.tuples(st.integers(1, 300), st.floats(0, 1), st.integers(0, 3)), max_size=30)


@given(CHUNKS)
def test_each_id_is_used_once_and_what_is_left_is_given_again(chunks: list[tuple[int, float, int]]) -> None:
    """Blocks are cut and come back in any number; those that were drawn first are given first."""
    ids, drawn = Ids(), 0
    on_their_way: list[tuple[int, float, Sequence[Block]]] = []
    used: list[int] = []

    def come_back(count: int) -> None:
        for records, share, given in on_their_way[:count]:
            all_ids = [each for block in given for each in block.ids]
            taken = int(share * len(all_ids))
            used.extend(all_ids[:taken])
            ids.used(given, taken, records)
        del on_their_way[:count]

    for records, share, done in chunks:
        if lacking := ids.lacking(records):
            ids.drawn(range(drawn, drawn + lacking))
            drawn += lacking
        given = ids.given(records)
        assert sum(len(block.ids) for block in given) >= records
        assert [block.ids[0] for block in given] == sorted(block.ids[0] for block in given)
        on_their_way.append((records, share, given))
        come_back(done)
    come_back(len(on_their_way))
    left = [each for block in ids._left for each in block.ids]
    assert sorted([*used, *left]) == list(range(drawn))
