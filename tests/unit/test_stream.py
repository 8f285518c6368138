"""CSV for servers that end the data where others go on."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkload.errors import SourceError
from bulkload.rows.stream import without_end_marks


@given(st.lists(st.lists(st.sampled_from(["a", "\\", ".", "\n", "\\.\n"]), max_size=4).map("".join), max_size=6))
def test_a_line_that_would_end_the_data_is_refused(blocks: list[str]) -> None:
    """Wherever the blocks are cut; all else goes through as it is."""
    data = [block.encode() for block in blocks]
    if "\\." in "".join(blocks).split("\n"):
        with pytest.raises(SourceError, match=re.escape("a.csv: a line that is \\. would end the data")):
            list(without_end_marks(data, "a.csv"))
    else:
        assert b"".join(without_end_marks(data, "a.csv")) == b"".join(data)
