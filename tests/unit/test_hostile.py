"""Any other value anywhere in a record: it goes in, or it is refused in one line, and nothing else happens."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from bulkload import MemoryLoad, RecordError, Skip, Slice, gamedb
from bulkload.gamedb import ITEMS_JOB

STAT = {"Stat": 54, "RawValue": 7}
CRITERION = {"Value1": 1, "Value2": 2, "Operator": 3}
SPELL = {
    "Target": 2, "TickCount": 1, "TickInterval": 0, "SpellID": 53045, "SpellFormat": "f", "Criteria": [CRITERION],
    "Stat": 4, "Text": {"a": [1.5, "x"]},
}  # fmt: skip
RECORD: dict[str, object] = {
    "AOID": 1,
    "Name": "n",
    "Description": "d",
    "StatValues": [STAT],
    "AttackDefenseData": {"Attack": [STAT], "Defense": [STAT]},
    "AnimationMesh": {"Animation": STAT, "Mesh": STAT},
    "ActionData": {"Actions": [{"Action": 1, "Criteria": [CRITERION]}]},
    "SpellData": [{"Event": 1, "Items": [SPELL]}],
    "ShopHashData": {"Items": [{"Hash": {"Text": "h"}, "MinLevel": 1, "MaxLevel": 2}]},
}

COLUMNS = gamedb.columns()
VALUES = st.sampled_from(
    [
        None, True, 0, -1, 1.5, 2**31, 2**63, 10**400, 1e308, "", "x" * 5000, "\0", "\ud800", "\u202e\x1b[2J\n",
        [], [None], {}, {"a\nb": "\0"}, {"x" * 5000: 1},
    ]
)  # fmt: skip


def _places(value: object) -> Iterator[tuple[object, ...]]:
    yield ()
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from ((key, *rest) for rest in _places(inner))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from ((index, *rest) for rest in _places(inner))


@settings(max_examples=500)
@given(st.sampled_from(list(_places(RECORD))), VALUES)
def test_another_value_anywhere_is_fitted_or_refused(place: tuple[object, ...], value: object) -> None:
    """What is said of it is one line of bounded length, with nothing that a terminal would obey."""
    record: object = copy.deepcopy(RECORD)
    if place:
        inner = record
        for step in place[:-1]:
            inner = inner[step]  # type: ignore[index]
        inner[place[-1]] = value  # type: ignore[index]
    else:
        record = value
    piece = Slice(1, json.dumps(record).encode())
    load = MemoryLoad(ITEMS_JOB.plan, COLUMNS)
    try:
        ITEMS_JOB.add(load, ITEMS_JOB.read.decode(piece))
        load.check()
    except Skip:
        pass
    except RecordError as error:
        said = str(error.at("items.json", ITEMS_JOB.read.label(piece)))
        assert said.isprintable()
        assert len(said) <= 1000
