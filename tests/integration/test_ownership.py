"""What goes with a row that is replaced: all that belongs to it, and nothing that belongs to another one."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from bulkload import Entity, Id, Input, Mode, Plan, Replace, Source, Table, record, run, start
from bulkload.rows.ownership import owning
from bulkload.workers import shares
from tests import owners

Connection = psycopg.Connection[tuple[object, ...]]
Rows = dict[str, set[tuple[Any, ...]]]

# An id from the sequence is one that a load has drawn.
FIRST_NEW = 1000


@pytest.fixture
def owned(connection: Connection) -> Connection:
    """The tables of `tests.owners`."""
    connection.execute(owners.SCHEMA.encode())
    return connection


def fill(connection: Connection, rows: Mapping[str, Iterable[Sequence[object]]]) -> None:
    """As another tool would."""
    connection.execute(
        sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(sql.Identifier(each.name) for each in owners.PLAN))
    )
    for relation in owners.PLAN:
        for row in rows.get(relation.name, ()):
            statement = sql.SQL("INSERT INTO {} VALUES ({})").format(
                sql.Identifier(relation.name), sql.SQL(", ").join(map(sql.Literal, row))
            )
            connection.execute(statement)


def content(connection: Connection) -> dict[str, set[tuple[object, ...]]]:
    """All rows of all tables, but for empty ones."""
    found = {
        relation.name: set(connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(relation.name))))
        for relation in owners.PLAN
    }
    return {name: rows for name, rows in found.items() if rows}


@pytest.mark.parametrize(
    ("mode", "jobs"),
    [(Mode.STANDARD, 1), (Mode.OPTIMIZED, 1), (Mode.OPTIMIZED, 2)],
    ids=["standard", "optimized", "jobs"],
)
def test_what_another_row_has_a_part_in_stays(
    owned: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode, jobs: int
) -> None:
    """The first item goes with what is its own; of what it shares with others, not one row goes, nor of theirs."""
    monkeypatch.setattr(shares, "LEAST_BYTES", 0)
    others: Mapping[str, set[tuple[object, ...]]] = {
        "npcs": {(1, "Leet", 2)},
        "meshes": {(2, 0)},
        "crits": {(1, 10), (2, 20), (3, 30), (4, 40)},
        "wear": {(2, 1)},
        "npc_wear": {(1, 2)},
        "pins": {("best", 3)},
        "actions": {(2, 2)},
        "action_crits": {(2, 4)},
        "notes": {(1, 11)},
        "images": {(1, 0)},
        "crit_images": {(1, 1)},
    }
    own: Mapping[str, set[tuple[object, ...]]] = {
        "items": {(1, 101, 2), (2, 102, None)},
        "acts": {(1, 1), (1, 2), (1, 5)},
        "wear": {(1, 3), (1, 5)},
        "actions": {(1, 1)},
        "action_crits": {(1, 4), (1, 5)},
        "favourites": {(1, 2)},
        "crits": {(5, 50)},
        "notes": {(5, 55)},
        "images": {(2, 0)},
        "crit_images": {(5, 1), (5, 2)},
    }
    fill(owned, {name: others.get(name, set()) | own.get(name, set()) for name in {*others, *own}})
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"aoid": 101}) + "\n", encoding="utf-8")
    report = run(owned, [Input(owners.JOB, Source(str(path)))], mode=mode, jobs=jobs)
    assert content(owned) == {
        **others,
        "items": {(1, 101, FIRST_NEW), (2, 102, None)},
        "meshes": {*others["meshes"], (FIRST_NEW, 101)},
        "acts": {(1, FIRST_NEW)},
        "crits": {*others["crits"], (FIRST_NEW, 101)},
    }
    assert {name: table.deleted for name, table in report.tables.items() if table.deleted} == {
        name: len(rows) for name, rows in own.items() if name != "items"
    }


ID = st.integers(1, 4)
LINKS = {
    "acts": st.tuples(ID, ID), "wear": st.tuples(ID, ID), "npc_wear": st.tuples(ID, ID),
    "action_crits": st.tuples(ID, ID), "favourites": st.tuples(ID, ID), "notes": st.tuples(ID, ID),
    "crit_links": st.tuples(ID, ID).filter(lambda pair: pair[0] < pair[1]), "crit_images": st.tuples(ID, ID),
}  # fmt: skip
GRAPHS = st.fixed_dictionaries(
    {name: st.sets(pairs, max_size=5) for name, pairs in LINKS.items()}
    | {
        "items": st.lists(ID, min_size=4, max_size=4).map(lambda meshes: {(n, n, m) for n, m in enumerate(meshes, 1)}),
        "npcs": st.lists(ID, min_size=4, max_size=4).map(lambda meshes: {(n, n, m) for n, m in enumerate(meshes, 1)}),
        "actions": st.lists(ID, min_size=4, max_size=4).map(lambda items: set(enumerate(items, 1))),
        "pins": st.sets(ID, max_size=2).map(lambda crits: {(n, n) for n in crits}),
        **dict.fromkeys(("meshes", "crits", "images"), st.just({(n, n) for n in range(1, 5)})),
    }
)


def without(rows: Rows, replaced: Collection[int]) -> Rows:
    """What must be left when these items have been replaced, by rules that are written down for these very tables."""
    left = {name: set(found) for name, found in rows.items()}
    loose = {"meshes": set[int](), "crits": set[int](), "images": set[int]()}

    def remove(name: str, column: int, values: Collection[int], part: str = "", at: int = 1) -> set[int]:
        gone = {row for row in left[name] if row[column] in values}
        left[name] -= gone
        if part:
            loose[part] |= {row[at] for row in gone}
        return {row[0] for row in gone}

    remove("acts", 0, replaced, "crits")
    remove("wear", 0, replaced, "crits")
    remove("favourites", 0, replaced)
    actions = remove("actions", 1, replaced)
    remove("action_crits", 0, actions, "crits")
    remove("favourites", 1, actions)
    remove("items", 0, replaced, "meshes", 2)
    held = {
        "meshes": [("items", 2), ("npcs", 2)],
        "crits": [("acts", 1), ("wear", 1), ("npc_wear", 1), ("action_crits", 1), ("pins", 1), ("crit_links", 1)],
        "images": [("crit_images", 1)],
    }
    while True:
        dead = {
            (part, each)
            for part, found in loose.items()
            for each in found
            if (each, each) in left[part] and not any(row[at] == each for name, at in held[part] for row in left[name])
        }
        if not dead:
            return left
        for part, each in dead:
            left[part].discard((each, each))
            if part == "crits":
                remove("notes", 0, {each})
                remove("crit_links", 0, {each}, "crits")
                remove("crit_images", 0, {each}, "images")


def named(rows: Rows) -> Rows:
    """The same, with names where the tables have some."""
    npcs = {(npc, f"npc {npc}", mesh) for npc, _, mesh in rows["npcs"]}
    return {**rows, "npcs": npcs, "pins": {(f"pin {pin}", crit) for pin, crit in rows["pins"]}}


@given(rows=GRAPHS, replaced=st.sets(ID, min_size=1, max_size=2), mode=st.sampled_from([Mode.STANDARD, Mode.OPTIMIZED]))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_exactly_what_belongs_to_replaced_rows_goes(
    owned: Connection, rows: Rows, replaced: set[int], mode: Mode
) -> None:
    """However items, others and their parts are linked with each other."""
    fill(owned, named(rows))
    with start(owned, owners.PLAN, mode=mode) as load:
        for aoid in replaced:
            load.add(owners.ITEMS, owners.Item(aoid, None))
    expected = without(rows, replaced)
    expected["items"] |= {(aoid, aoid, None) for aoid in replaced}
    assert content(owned) == {name: found for name, found in named(expected).items() if found}


# --- Which table's rows belong to which ---


@record
class Part:
    v: int


@record
class Other:
    v: int


@record
class Owner:
    name: str
    part_id: Id[Part] | None


@record
class OwnerPart:
    part_id: Id[Part]
    owner_id: Id[Owner]


@record
class OwnerOther:
    owner_id: Id[Owner]
    other_id: Id[Other]


@record
class OtherPart:
    other_id: Id[Other]
    part_id: Id[Part]


@record
class Page:
    part_id: Id[Part]
    above_id: Id[Page] | None


@record
class Mark:
    part_id: Id[Part]
    page_id: Id[Page]


PARTS = Entity("parts", Part, ("v",))
OTHERS = Entity("others", Other, ("v",))
OWNERS = Entity("owners", Owner, ("name", "part_id"), conflict=Replace(on=("name",)))
OWNER_PARTS = Table("owner_parts", OwnerPart, ("part_id", "owner_id"))
OWNER_OTHERS = Table("owner_others", OwnerOther, ("owner_id", "other_id"))
PAGES = Entity("pages", Page, ("part_id", "above_id"))


def belongs(plan: Plan) -> dict[str, list[str]]:
    """The columns by which rows belong to others, where they do."""
    found = {relation.name: [each.column for each in references] for relation, references in owning(plan).items()}
    return {name: columns for name, columns in found.items() if columns}


def test_a_row_belongs_to_what_leads_to_it() -> None:
    """To an owner, in whatever order the columns are; of parts to the one that is nearer to an owner by the plan."""
    first = Table("other_parts", OtherPart, ("other_id", "part_id"))
    second = Table("other_parts", OtherPart, ("part_id", "other_id"))
    links = {"owner_parts": ["owner_id"]}
    # Others are parts of parts here, and there both are parts of owners.
    assert belongs(Plan(OWNERS, PARTS, OTHERS, OWNER_PARTS, first)) == {**links, "other_parts": ["part_id"]}
    links["owner_others"] = ["owner_id"]
    both = (OWNERS, PARTS, OTHERS, OWNER_PARTS, OWNER_OTHERS)
    assert belongs(Plan(*both, first)) == {**links, "other_parts": ["other_id"]}
    assert belongs(Plan(*both, second)) == {**links, "other_parts": ["part_id"]}


def test_a_row_belongs_to_all_of_those_that_belong_to_each_other() -> None:
    """A mark on a page of a part goes with either; the pages of a tree go with the part, or the page above."""
    marks = Table("marks", Mark, ("part_id", "page_id"))
    assert belongs(Plan(OWNERS, PARTS, PAGES, marks)) == {
        "pages": ["above_id", "part_id"],
        "marks": ["part_id", "page_id"],
    }
