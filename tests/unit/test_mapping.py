"""The rules by which documents of the items database become rows, one by one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import BytesIO

import msgspec
import pytest

from bulkload import Id, Job, MemoryLoad, Reader, RecordError, Skip, Slice
from bulkload.gamedb import ITEMS_JOB, NANOS_JOB, PERKS_JOB, SYMBIANTS_JOB, tables
from bulkload.gamedb.documents import Item as Document
from bulkload.gamedb.tables import (
    Action,
    ActionCriterion,
    AnimationMesh,
    AttackDefenseStat,
    Criterion,
    Item,
    ItemOrigin,
    ItemShopHash,
    ItemSource,
    ItemSpellData,
    ItemStat,
    Mob,
    Perk,
    ShopHash,
    SpellCriterion,
    SpellData,
    SpellDataSpell,
    StatValue,
)

PERK_COLUMNS = ("aoid", "name", "counter", "type", "professions", "breeds", "level", "aiTitle")
ITEM_AOID, NANO_AOID = 1000, 2000


def mapped(job: Job[Document] = ITEMS_JOB, /, **fields: object) -> MemoryLoad:
    """The rows of one record with these fields besides its AOID."""
    load = MemoryLoad(job.plan)
    add(load, {"AOID": ITEM_AOID, **fields}, job)
    return load


def add(load: MemoryLoad, record: Mapping[str, object], job: Job[Document] = ITEMS_JOB) -> None:
    """Add the rows of one record."""
    job.add(load, job.read.decode(Slice(1, json.dumps(record).encode())))


def item_of(load: MemoryLoad) -> Item:
    """The one item."""
    (item,) = load.rows(tables.ITEMS)
    return item


def stat(number: int, value: int) -> dict[str, int]:
    """A {Stat, RawValue}."""
    return {"Stat": number, "RawValue": value}


def criterion(value1: int, value2: int, operator: int) -> dict[str, int]:
    """A {Value1, Value2, Operator}."""
    return {"Value1": value1, "Value2": value2, "Operator": operator}


def spell(**fields: object) -> dict[str, object]:
    """A spell with these fields besides those that all have."""
    fixed = {"Target": 2, "TickCount": 1, "TickInterval": 0, "SpellID": 53045, "SpellFormat": "f", "Criteria": []}
    return {**fixed, **fields}


def params_of(text: str) -> str:
    """The parameters of a spell that is written like this, after its fixed keys."""
    fixed = '"Target": 2, "TickCount": 1, "TickInterval": 0, "SpellID": 1, "SpellFormat": null, "Criteria": []'
    document = f'{{"AOID": 1, "SpellData": [{{"Event": 1, "Items": [{{{fixed}{text}}}]}}]}}'
    load = MemoryLoad(ITEMS_JOB.plan)
    ITEMS_JOB.add(load, ITEMS_JOB.read.decode(Slice(1, document.encode())))
    (row,) = load.rows(tables.SPELLS)
    return bytes(row.spell_params).decode()


# --- Items and nanos ---


def test_an_item_is_its_record() -> None:
    """AOID, name and description go in as they are."""
    text = 'two\nlines\t"quoted" \\ <b>déjà</b> \u2028'
    item = item_of(mapped(Name="A name", Description=text))
    assert (item.aoid, item.name, item.description, item.is_nano) == (ITEM_AOID, "A name", text, False)


@pytest.mark.parametrize("fields", [{"Name": None, "Description": None}, {}], ids=["null", "missing"])
def test_no_name_and_no_description_are_empty(fields: Mapping[str, object]) -> None:
    """A null name becomes '', and so does a null description."""
    item = item_of(mapped(**fields))
    assert (item.name, item.description) == ("", "")


@pytest.mark.parametrize(
    ("stats", "ql"),
    [
        ([], 1),
        ([stat(54, 0)], 1),
        ([stat(54, 25)], 25),
        ([stat(54, 25), stat(54, 30), stat(76, 2)], 30),
        ([stat(54, 30), stat(54, 0)], 1),
        ([stat(54, -3)], -3),
    ],
)
def test_the_quality_level_is_the_last_stat_54(stats: Sequence[object], ql: int) -> None:
    """The last of several counts; where there is none or it is 0, it is 1."""
    assert item_of(mapped(StatValues=stats)).ql == ql


def test_the_quality_level_of_a_nano_is_1() -> None:
    """Stat 54 means something else there; as a stat of the nano it stays."""
    load = mapped(NANOS_JOB, StatValues=[stat(54, 25)])
    assert (item_of(load).ql, item_of(load).is_nano) == (1, True)
    assert load.rows(tables.STAT_VALUES) == [StatValue(54, 25)]


@pytest.mark.parametrize("job", [ITEMS_JOB, NANOS_JOB], ids=["item", "nano"])
@pytest.mark.parametrize(
    ("stats", "item_class"), [([], 0), ([stat(76, 3)], 3), ([stat(76, 3), stat(76, 1)], 1), ([stat(76, 0)], 0)]
)
def test_the_class_is_the_last_stat_76(job: Job[Document], stats: Sequence[object], item_class: int) -> None:
    """The last of several counts; 0 where there is none."""
    assert item_of(mapped(job, StatValues=stats)).item_class == item_class


def test_stats_are_distinct_within_an_item_and_shared_between_items() -> None:
    """item_stats has a row for each distinct pair of a record, stat_values one for each distinct pair of all."""
    load = mapped(StatValues=[stat(1, 5), stat(2, 5), stat(1, 5), stat(1, 6)])
    add(load, {"AOID": ITEM_AOID + 1, "StatValues": [stat(1, 6), stat(1, 6)]})
    assert load.rows(tables.STAT_VALUES) == [StatValue(1, 5), StatValue(2, 5), StatValue(1, 6)]
    (first, second), (one, two, three) = load.ids(tables.ITEMS), load.ids(tables.STAT_VALUES)
    assert load.rows(tables.ITEM_STATS) == [
        ItemStat(first, one),
        ItemStat(first, two),
        ItemStat(first, three),
        ItemStat(second, three),
    ]


def test_lists_that_are_missing_are_empty() -> None:
    """A record with an AOID alone is an item and nothing else."""
    load = mapped()
    assert item_of(load) == Item(ITEM_AOID, "", 1, "", 0, False, None, None)
    assert [relation.name for relation in ITEMS_JOB.plan if load.rows(relation)] == ["items"]


def test_keys_that_are_not_stored_are_passed_over() -> None:
    """DBType, Version, UNK1 and Sounds make no difference, whatever is in them."""
    load = mapped(DBType=1000020, Version=None, UNK1="x", Sounds=[{"a": 3000000000}])
    assert item_of(load) == item_of(mapped())


def test_a_record_without_a_number_is_a_reject() -> None:
    """The AOID is what a record is known by."""
    with pytest.raises(RecordError, match="AOID is missing"):
        ITEMS_JOB.read.decode(Slice(1, b'{"Name": "nobody"}'))


# --- Attack, defense, animation and mesh ---


def test_no_attack_and_defense_is_no_row() -> None:
    """A null AttackDefenseData is no row of attack_defense."""
    load = mapped(AttackDefenseData=None, AnimationMesh=None)
    assert load.rows(tables.ATTACK_DEFENSE) == []
    assert load.rows(tables.ANIMATION_MESH) == []
    assert (item_of(load).atkdef_id, item_of(load).animation_mesh_id) == (None, None)


@pytest.mark.parametrize("data", [{"Attack": [], "Defense": []}, {"Attack": None}, {}])
def test_empty_attack_and_defense_is_a_row(data: Mapping[str, object]) -> None:
    """An AttackDefenseData that is not null is a row, also where it says nothing."""
    load = mapped(AttackDefenseData=data)
    assert [item_of(load).atkdef_id] == load.ids(tables.ATTACK_DEFENSE)
    assert len(load.rows(tables.ATTACK_DEFENSE)) == 1
    assert load.rows(tables.ATTACK_STATS) == load.rows(tables.DEFENSE_STATS) == []


def test_attack_and_defense_hold_distinct_pairs() -> None:
    """Each junction has a row for each distinct pair, and both share stat_values with the item's own."""
    load = mapped(
        StatValues=[stat(9, 9)],
        AttackDefenseData={"Attack": [stat(1, 100), stat(1, 100), stat(9, 9)], "Defense": [stat(1, 100)]},
    )
    (row,) = load.ids(tables.ATTACK_DEFENSE)
    assert sorted(load.rows(tables.STAT_VALUES), key=lambda value: value.stat) == [StatValue(1, 100), StatValue(9, 9)]
    hundred, nine = (load.add(tables.STAT_VALUES, value) for value in (StatValue(1, 100), StatValue(9, 9)))
    assert load.rows(tables.ATTACK_STATS) == [AttackDefenseStat(row, hundred), AttackDefenseStat(row, nine)]
    assert load.rows(tables.DEFENSE_STATS) == [AttackDefenseStat(row, hundred)]


@pytest.mark.parametrize("animation", [None, stat(1, 5)], ids=["no animation", "animation"])
@pytest.mark.parametrize("mesh", [None, stat(1, 5)], ids=["no mesh", "mesh"])
def test_animation_and_mesh_are_a_row_of_two_pairs(
    animation: Mapping[str, int] | None, mesh: Mapping[str, int] | None
) -> None:
    """An AnimationMesh that is not null is a row, each half of it null or a row of stat_values."""
    load = mapped(AnimationMesh={"Animation": animation, "Mesh": mesh})
    (row,) = load.rows(tables.ANIMATION_MESH)
    pair = next(iter(load.ids(tables.STAT_VALUES)), None)
    assert row == AnimationMesh(None if animation is None else pair, None if mesh is None else pair)
    assert [item_of(load).animation_mesh_id] == load.ids(tables.ANIMATION_MESH)


# --- Actions ---


def test_actions_keep_their_order_and_their_repeats() -> None:
    """An action has a row each, and each criterion a row with its place, counted from 0 within the action."""
    one, two = criterion(1, 2, 3), criterion(0, 0, 4)
    load = mapped(
        ActionData={
            "Actions": [
                {"Action": 3, "Criteria": [one, two, one, one]},
                {"Action": 3, "Criteria": [two]},
                {"Action": 8, "Criteria": []},
            ]
        }
    )
    (item,) = load.ids(tables.ITEMS)
    assert load.rows(tables.ACTIONS) == [Action(3, item), Action(3, item), Action(8, item)]
    assert load.rows(tables.CRITERIA) == [Criterion(1, 2, 3), Criterion(0, 0, 4)]
    (first, second, _), (a, b) = load.ids(tables.ACTIONS), load.ids(tables.CRITERIA)
    assert load.rows(tables.ACTION_CRITERIA) == [
        ActionCriterion(first, a, 0),
        ActionCriterion(first, b, 1),
        ActionCriterion(first, a, 2),
        ActionCriterion(first, a, 3),
        ActionCriterion(second, b, 0),
    ]


@pytest.mark.parametrize("data", [None, {}, {"Actions": None}, {"Actions": []}])
def test_no_actions_are_no_rows(data: object) -> None:
    """Null, missing and empty say the same."""
    assert mapped(ActionData=data).rows(tables.ACTIONS) == []


# --- Spells ---


def test_spells_are_rows_in_order() -> None:
    """spell_data, spells and their junctions have a row for each element, equal ones too."""
    load = mapped(
        SpellData=[
            {"Event": 14, "Items": [spell(A=1), spell(A=2), spell(A=1)]},
            {"Event": 14, "Items": []},
            {"Event": 0, "Items": [spell(Target=None, SpellFormat=None)]},
        ]
    )
    (item,) = load.ids(tables.ITEMS)
    assert load.rows(tables.SPELL_DATA) == [SpellData(14), SpellData(14), SpellData(0)]
    events, spells = load.ids(tables.SPELL_DATA), load.ids(tables.SPELLS)
    assert load.rows(tables.ITEM_SPELL_DATA) == [ItemSpellData(item, event) for event in events]
    assert [json.loads(bytes(row.spell_params)) for row in load.rows(tables.SPELLS)] == [
        {"A": 1},
        {"A": 2},
        {"A": 1},
        {},
    ]
    assert load.rows(tables.SPELL_DATA_SPELLS) == [
        *(SpellDataSpell(events[0], each) for each in spells[:3]),
        SpellDataSpell(events[2], spells[3]),
    ]
    first, *_, last = load.rows(tables.SPELLS)
    assert (first.target, first.tick_count, first.tick_interval, first.spell_id) == (2, 1, 0, 53045)
    assert (first.spell_format, last.target, last.spell_format) == ("f", None, None)


def test_the_criteria_of_a_spell_are_distinct() -> None:
    """Each distinct criterion of a spell is one row, and spells share criteria with actions."""
    one, two = criterion(1, 2, 3), criterion(4, 5, 6)
    load = mapped(
        ActionData={"Actions": [{"Action": 3, "Criteria": [two]}]},
        SpellData=[{"Event": 1, "Items": [spell(Criteria=[one, two, one]), spell(Criteria=None)]}],
    )
    first, _ = load.ids(tables.SPELLS)
    b, a = load.ids(tables.CRITERIA)
    assert load.rows(tables.CRITERIA) == [Criterion(4, 5, 6), Criterion(1, 2, 3)]
    assert load.rows(tables.SPELL_CRITERIA) == [SpellCriterion(first, a), SpellCriterion(first, b)]


def test_parameters_are_all_other_keys() -> None:
    """The six keys that have columns of their own are left out, at the top only, and nulls are kept."""
    written = ', "Stat": 17, "Patch": null, "Deep": {"Target": 1, "Criteria": [null, {"SpellID": []}]}, "": ""'
    expected = {"Stat": 17, "Patch": None, "Deep": {"Target": 1, "Criteria": [None, {"SpellID": []}]}, "": ""}
    assert json.loads(params_of(written)) == expected
    assert json.loads(params_of("")) == {}


@pytest.mark.parametrize(
    "number", ["1.10", "12345678901234567890123456789", "-0", "1E+400", "0.1000000000000000055511151231257827"]
)
def test_numbers_of_parameters_keep_their_digits(number: str) -> None:
    """jsonb holds numbers that no float does: they go through as they stand in the file."""
    assert f":{number}" in params_of(f', "Amount": {number}').replace(" ", "")


def test_letters_of_parameters_stay_what_they_are() -> None:
    """Escapes and other letters of keys and values mean what they did."""
    assert json.loads(params_of(', "Säg\\"": "\\u00e9 \\ud83d\\ude00 \\\\ \\n ö"')) == {'Säg"': "é 😀 \\ \n ö"}


def test_an_error_inside_a_spell_has_its_whole_path() -> None:
    """A spell is read apart from its record, which the path of an error does not show."""
    data = [
        {"Event": 1, "Items": []},
        {"Event": 1, "Items": [spell(), spell(Criteria=[{**criterion(1, 2, 3), "Operator": "x"}])]},
    ]
    with pytest.raises(RecordError) as caught:
        mapped(SpellData=data)
    assert caught.value.path == "SpellData[1].Items[1].Criteria[0].Operator"


# --- Shop hashes ---


def test_shop_hashes_are_rows_of_their_own() -> None:
    """One row for each element, equal ones too, with null for what is not told."""
    numbers = {"MinLevel": 1, "MaxLevel": 2, "BaseAmount": 3, "RegenAmount": 4, "RegenInterval": 5, "SpawnChance": 6}
    full = {"Hash": {"Text": "ABCD"}, **numbers, "More": 7}
    load = mapped(ShopHashData={"Items": [full, {"Hash": {"Text": ""}, "MinLevel": None}, full]})
    row = ShopHash("ABCD", 1, 2, 3, 4, 5, 6)
    assert load.rows(tables.SHOP_HASHES) == [row, ShopHash("", None, None, None, None, None, None), row]
    (item,) = load.ids(tables.ITEMS)
    assert load.rows(tables.ITEM_SHOP_HASHES) == [ItemShopHash(item, each) for each in load.ids(tables.SHOP_HASHES)]
    assert mapped(ShopHashData={"Items": None}).rows(tables.SHOP_HASHES) == []


# --- Perks ---


def perk(columns: Sequence[str] = PERK_COLUMNS, /, **fields: object) -> Perk:
    """The row of a perk with these values in place of usual ones; its item is imported, and has the id 7."""
    usual: dict[str, object] = {
        "aoid": ITEM_AOID,
        "name": "Stoic",
        "counter": 3,
        "type": "SL",
        "professions": ["Soldier"],
        "breeds": ["Atrox"],
        "level": 10,
        "aiTitle": 2,
    }
    values = {**usual, **fields}
    file = {"columns": columns, "values": [[values.get(column) for column in columns]]}
    load = MemoryLoad(PERKS_JOB.plan)
    load.find_elsewhere = lambda _lookup, key: 7 if key == (ITEM_AOID, False) else None
    ((piece,),) = PERKS_JOB.read.split(Reader(BytesIO(json.dumps(file).encode()), "perks.json"), "perks.json")
    PERKS_JOB.add(load, PERKS_JOB.read.decode(piece))
    (row,) = load.rows(tables.PERKS)
    return row


def test_a_perk_is_a_row_of_its_item() -> None:
    """The series is the name; professions and breeds are ids, in their order."""
    row = perk(professions=["Trader", "Soldier"], breeds=["Atrox", "Solitus"])
    assert row == Perk(Id(7), "Stoic", "Stoic", 3, "SL", 10, 2, (7, 1), (4, 1))


def test_columns_are_found_by_name() -> None:
    """Neither their order nor further columns matter."""
    assert perk(("note", *reversed(PERK_COLUMNS)), note="x") == perk()


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("Soldier", 1), ("Martial Artist", 2), ("MartialArtist", 2), ("martial-artist", 2), ("Engineer", 3),
        ("Fixer", 4),
        ("Agent", 5), ("Adventurer", 6), ("Trader", 7), ("Bureaucrat", 8), ("Enforcer", 9), ("Doctor", 10),
        ("Nano-Technician", 11), ("NanoTechnician", 11), ("Nano Technician", 11), ("Meta Physicist", 12),
        ("Meta-Physicist", 12), ("MetaPhysicist", 12), ("Keeper", 14), ("Shade", 15),
    ],
)  # fmt: skip
def test_professions_have_ids(name: str, number: int) -> None:
    """Also without space or hyphen."""
    assert perk(professions=[name]).professions == (number,)


@pytest.mark.parametrize(("name", "number"), [("Solitus", 1), ("Opifex", 2), ("Nanomage", 3), ("Atrox", 4)])
def test_breeds_have_ids(name: str, number: int) -> None:
    """Each of the four."""
    assert perk(breeds=[name]).breeds == (number,)


@pytest.mark.parametrize("kind", ["SL", "sl", "AI", "Ai", "LE", "le"])
def test_the_type_is_in_capitals(kind: str) -> None:
    """SL, AI or LE in any case."""
    assert perk(type=kind).type == kind.upper()


@pytest.mark.parametrize(("value", "level"), [(None, 0), (0, 0), (200, 200), ("200", 200), ("-1", -1)])
def test_levels_are_numbers_or_text_or_null(value: object, level: int) -> None:
    """An integer, a string of one, or null for 0; so for the alien level."""
    row = perk(level=value, aiTitle=value)
    assert (row.level_required, row.ai_level_required) == (level, level)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"professions": ["Soldier", "Baker"]}, "professions[1]"),
        ({"professions": ["Soldier", None]}, "professions[1]"),
        ({"professions": "Soldier"}, "professions"),
        ({"breeds": ["Elf"]}, "breeds[0]"),
        ({"type": "XX"}, "type"),
        ({"type": None}, "type"),
        ({"counter": 0}, "counter"),
        ({"counter": 11}, "counter"),
        ({"level": "high"}, "level"),
        ({"level": 1.5}, "level"),
        ({"aiTitle": True}, "aiTitle"),
        ({"name": None}, "name"),
        ({"aoid": None}, "aoid"),
    ],
)
def test_a_perk_that_is_not_understood_is_a_reject(fields: Mapping[str, object], path: str) -> None:
    """The error names the column."""
    with pytest.raises(RecordError) as caught:
        perk(**fields)
    assert caught.value.path == path


@pytest.mark.parametrize("counter", [1, 10])
def test_the_counter_is_from_1_to_10(counter: int) -> None:
    """Both ends are in."""
    assert perk(counter=counter).counter == counter


def test_a_perk_of_no_item_is_skipped() -> None:
    """A perk whose AOID is not that of an imported item has no row, and is no error."""
    with pytest.raises(Skip):
        perk(aoid=ITEM_AOID + 1)


def test_a_perk_of_a_nano_is_skipped() -> None:
    """An AOID that became a nano is no item's."""
    load = MemoryLoad(PERKS_JOB.plan)
    asked: list[tuple[object, ...]] = []

    def find(_lookup: object, values: tuple[object, ...]) -> int | None:
        asked.append(values)
        return {(NANO_AOID, True): 8}.get((int(str(values[0])), bool(values[1])))

    load.find_elsewhere = find
    row = [NANO_AOID, "Stoic", 3, "SL", [], [], 1, 1]
    file = {"columns": PERK_COLUMNS, "values": [row]}
    ((piece,),) = PERKS_JOB.read.split(Reader(BytesIO(json.dumps(file).encode()), "perks.json"), "perks.json")
    with pytest.raises(Skip):
        PERKS_JOB.add(load, PERKS_JOB.read.decode(piece))
    assert asked == [(NANO_AOID, False)]


# --- Symbiants ---

LINK = "<a href=http://example.com/item?AOID=1000>QL 10 A Symbiant"
FIELDS = (
    "10",
    "Eye",
    "Artillery",
    "Grim Abbot",
    "Ödmark",
    '"By the mill, east bank"',
    '"Hounds , Whelps,Ibex"',
    "60",
    "",
    "",
)


def symbiants(*lines: str) -> MemoryLoad:
    """The rows of these lines; the item with the AOID 1000 has the id 7."""
    load = MemoryLoad(SYMBIANTS_JOB.plan)
    load.find_elsewhere = lambda _lookup, key: 7 if key == (ITEM_AOID,) else None
    for number, line in enumerate(lines, 1):
        SYMBIANTS_JOB.add(load, SYMBIANTS_JOB.read.decode(Slice(number, line.encode())))
    return load


def line(link: str = LINK, **fields: str) -> str:
    """A line with these fields in place of usual ones."""
    places = {"boss": 3, "playfield": 4, "location": 5, "names": 6, "level": 7}
    values = [*FIELDS, link]
    for name, value in fields.items():
        values[places[name]] = value
    return ",".join(values)


def test_a_line_is_a_mob_and_its_item() -> None:
    """mobs, sources (of the type mob, named like it) and item_sources have a row each; names are split and trimmed."""
    load = symbiants(line())
    assert load.rows(tables.MOBS) == [
        Mob("Grim Abbot", 60, "Ödmark", "By the mill, east bank", ("Hounds", "Whelps", "Ibex"))
    ]
    (mob,), (kind,), (source,) = load.ids(tables.MOBS), load.ids(tables.SOURCE_TYPES), load.ids(tables.SOURCES)
    assert [each.name for each in load.rows(tables.SOURCE_TYPES)] == ["mob"]
    assert load.rows(tables.SOURCES) == [ItemOrigin(kind, mob, "Grim Abbot")]
    assert load.rows(tables.ITEM_SOURCES) == [ItemSource(Id(7), source)]


def test_mobs_are_told_apart_by_name_and_playfield() -> None:
    """One row for each distinct pair, and one of item_sources for each distinct item and source."""
    load = symbiants(line(), line(playfield="Fells"), line(boss="Drab Abbot"), line(level="61"), line())
    assert [(mob.name, mob.playfield) for mob in load.rows(tables.MOBS)] == [
        ("Grim Abbot", "Ödmark"),
        ("Grim Abbot", "Fells"),
        ("Drab Abbot", "Ödmark"),
    ]
    assert len(load.rows(tables.SOURCES)) == len(load.rows(tables.ITEM_SOURCES)) == 3


@pytest.mark.parametrize(
    "link", [f"{LINK}</a>", f"{LINK}, Artillery Unit Aban</a>", f"{LINK}, a, b,,c</a>", f'"{LINK}, Unit ""A""</a>"']
)
def test_the_link_may_hold_commas(link: str) -> None:
    """It spreads over further fields then, and the AOID is found all the same."""
    assert len(symbiants(line(link)).rows(tables.ITEM_SOURCES)) == 1


def test_the_link_may_be_cut_by_a_comma_before_the_number() -> None:
    """The number is looked for in all of the fields that the link spreads over."""
    assert len(symbiants(line("<a title=A, B href=x?AOID=1000>A</a>")).rows(tables.ITEM_SOURCES)) == 1


@pytest.mark.parametrize("link", ["", "<a href=x>A symbiant</a>", "<a href=x?AOID=>A</a>"])
def test_a_link_without_a_number_is_a_reject(link: str) -> None:
    """The error names the link."""
    with pytest.raises(RecordError, match="no AOID") as caught:
        symbiants(line(link))
    assert caught.value.path == "link"


def test_a_number_of_no_item_is_a_reject() -> None:
    """The error names the number, and no row of the line stays."""
    with pytest.raises(RecordError, match="1001"):
        symbiants(line(LINK.replace("1000", "1001")))


@pytest.mark.parametrize("text", ["10,Eye", "", ",".join(FIELDS)])
def test_a_line_that_is_too_short_is_a_reject(text: str) -> None:
    """There are eleven fields at least."""
    with pytest.raises(RecordError):
        symbiants(text)


def test_a_level_can_be_missing_but_not_words() -> None:
    """An empty level is null; one that is no number is a reject."""
    assert symbiants(line(level="")).rows(tables.MOBS)[0].level is None
    with pytest.raises(RecordError, match="'high' is not an integer"):
        symbiants(line(level="high"))


def test_the_documents_take_what_they_do_not_know() -> None:
    """A key that a later version of the files may bring is passed over."""
    assert msgspec.json.decode(b'{"AOID": 1, "New": {}}', type=Document).aoid == 1
