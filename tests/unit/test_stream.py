"""CSV for servers that end the data where others go on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkload.errors import SourceError
from bulkload.rows.stream import without_end_marks


@given(st.lists(st.text(alphabet="a\\.\n", max_size=6).map(str.encode), max_size=6))
def test_a_line_that_would_end_the_data_is_refused(blocks: list[bytes]) -> None:
    """Wherever the blocks are cut; all else goes through as it is."""
    text = b"".join(blocks)
    if b"\\." in text.split(b"\n"):
        with pytest.raises(SourceError, match=r"a.csv: a line that is \\\\\. would end the data"):
            list(without_end_marks(blocks, "a.csv"))
    else:
        assert b"".join(without_end_marks(blocks, "a.csv")) == text
