"""The check of an import finds what is wrong, and says where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from bulkload import Input, Job, Source, gamedb, run

CORRUPTIONS = {
    "a statistic": "DELETE FROM item_stats WHERE ctid = (SELECT min(ctid) FROM item_stats)",
    "a name": "UPDATE items SET name = name || '!' WHERE id = (SELECT min(id) FROM items)",
    "the order of a condition": "UPDATE action_criteria SET order_index = order_index + 1",
    "a parameter": "UPDATE spells SET spell_params = spell_params || '{\"Added\": 1}'",
    "a boss": "UPDATE mobs SET location = 'nowhere'",
    "a perk": "UPDATE perks SET counter = counter + 1",
    "a row that nothing leads to": "INSERT INTO spells (target) VALUES (1)",
    "a view that is not fresh": "UPDATE items SET ql = ql + 1",
}


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_a_single_corruption_is_found(gamedb_database: str, tmp_path: Path, corruption: str) -> None:
    """The content is the same until one fact is changed; then a line says which."""
    files = gamedb.generate(tmp_path, gamedb.Sizes(items=60, nanos=8, perks=12, symbiants=12))
    jobs: tuple[Job[Any], ...] = (gamedb.ITEMS_JOB, gamedb.NANOS_JOB, gamedb.PERKS_JOB, gamedb.SYMBIANTS_JOB)
    paths = (files.items, files.nanos, files.perks, files.symbiants)
    expected = gamedb.expected(*paths)
    with psycopg.connect(gamedb_database, autocommit=True) as connection:
        inputs = [Input(job, Source(str(path))) for job, path in zip(jobs, paths, strict=True)]
        run(connection, inputs, clear=True, finish=gamedb.refresh_views)
        assert gamedb.differences(expected, gamedb.actual(connection)) == []
        connection.execute(CORRUPTIONS[corruption].encode())
        lines = gamedb.differences(expected, gamedb.actual(connection))
    assert lines
    assert all("\n" not in line for line in lines)
