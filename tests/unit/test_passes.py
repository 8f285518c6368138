"""What surrounds the passes over the sources of a run."""

from __future__ import annotations

import gc
from contextlib import ExitStack

from bulkload.mapping.passes import unhurried_collector


def test_the_collector_has_its_own_pace_again_when_the_last_load_has_ended() -> None:
    """Loads in several threads begin and end as they like, and the pace is that of the process."""
    before = gc.get_threshold()
    first, second = ExitStack(), ExitStack()
    first.enter_context(unhurried_collector())
    slow = gc.get_threshold()
    second.enter_context(unhurried_collector())
    first.close()
    assert gc.get_threshold() == slow != before
    second.close()
    assert gc.get_threshold() == before
