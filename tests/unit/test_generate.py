"""What the generated files hold, and that they are made the same everywhere and without filling memory."""

from __future__ import annotations

import csv
import hashlib
import re
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path

import attrs
import msgspec
import pytest

from bulkload.gamedb.generator import Files, Sizes, generate
from bulkload.gamedb.generator.dice import Dice
from bulkload.gamedb.generator.numbering import item_aoid, keeps_its_aoid, nano_aoid
from bulkload.gamedb.generator.oddities import ODDITIES
from bulkload.gamedb.generator.perks import perks_text
from bulkload.gamedb.generator.records import item_lines, nano_lines
from bulkload.gamedb.generator.symbiants import symbiant_lines

INT_MIN, INT_MAX = -(2**31), 2**31 - 1


class Pair(msgspec.Struct, frozen=True, rename="pascal"):
    """{Stat, RawValue}."""

    stat: int
    raw_value: int


class Criterion(msgspec.Struct, frozen=True, rename="pascal"):
    """{Value1, Value2, Operator}."""

    value1: int
    value2: int
    operator: int


class AttackDefense(msgspec.Struct, rename="pascal"):
    """Two lists of pairs."""

    attack: list[Pair]
    defense: list[Pair]


class AnimationMesh(msgspec.Struct, rename="pascal"):
    """Two pairs that may be missing."""

    animation: Pair | None
    mesh: Pair | None


class Action(msgspec.Struct, rename="pascal"):
    """An action and who may do it."""

    action: int
    criteria: list[Criterion]


class ActionData(msgspec.Struct, rename="pascal"):
    """The actions of a record."""

    actions: list[Action]


class Spell(msgspec.Struct):
    """The six keys that every spell has."""

    target: int = msgspec.field(name="Target")
    tick_count: int = msgspec.field(name="TickCount")
    tick_interval: int = msgspec.field(name="TickInterval")
    spell_id: int = msgspec.field(name="SpellID")
    spell_format: str | None = msgspec.field(name="SpellFormat")
    criteria: list[Criterion] = msgspec.field(name="Criteria")


FIXED_KEYS = {"Target", "TickCount", "TickInterval", "SpellID", "SpellFormat", "Criteria"}


class Event(msgspec.Struct, rename="pascal"):
    """The spells of an event, not decoded yet."""

    event: int
    items: list[msgspec.Raw]


class Hash(msgspec.Struct, rename="pascal"):
    """The letters of a shop."""

    text: str


class Shelf(msgspec.Struct, rename="pascal"):
    """One shop's terms."""

    hash: Hash
    min_level: int | None
    max_level: int | None
    base_amount: int | None
    regen_amount: int | None
    regen_interval: int | None
    spawn_chance: int | None


class ShopHashData(msgspec.Struct, rename="pascal"):
    """The shops of a record."""

    items: list[Shelf]


class Doc(msgspec.Struct, rename="pascal"):
    """A record as an importer reads it."""

    aoid: int = msgspec.field(name="AOID")
    stat_values: list[Pair]
    name: str | None
    description: str | None
    attack_defense_data: AttackDefense | None
    animation_mesh: AnimationMesh | None
    action_data: ActionData | None
    spell_data: list[Event]
    shop_hash_data: ShopHashData | None

    def values(self, stat: int) -> list[int]:
        """What the stat is said to be, in the order of the record."""
        return [each.raw_value for each in self.stat_values if each.stat == stat]

    def actions(self) -> list[Action]:
        """Its actions, none where ActionData is null."""
        return self.action_data.actions if self.action_data else []

    def shelves(self) -> list[Shelf]:
        """Its shops, none where ShopHashData is null."""
        return self.shop_hash_data.items if self.shop_hash_data else []

    def spells(self) -> Iterator[Spell]:
        """The fixed keys of its spells."""
        for event in self.spell_data:
            for raw in event.items:
                yield msgspec.json.decode(raw, type=Spell)

    def parameters(self) -> Iterator[dict[str, object]]:
        """The further keys of its spells."""
        for event in self.spell_data:
            for raw in event.items:
                spell = msgspec.json.decode(raw, type=dict[str, object])
                yield {key: value for key, value in spell.items() if key not in FIXED_KEYS}


class PerkFile(msgspec.Struct):
    """perks.json."""

    columns: list[str]
    values: list[list[object]]


@attrs.frozen
class Made:
    """A set and what stands in it."""

    files: Files
    items: Sequence[Doc]
    nanos: Sequence[Doc]
    perks: Sequence[dict[str, object]]
    symbiants: Sequence[list[str]]

    @classmethod
    def of(cls, directory: Path, sizes: Sizes) -> Made:
        """Generate and read it."""
        files = generate(directory, sizes)
        perks = msgspec.json.decode(files.perks.read_bytes(), type=PerkFile)
        with files.symbiants.open(encoding="utf-8", newline="") as file:
            symbiants = list(csv.reader(file))
        return cls(
            files,
            _docs(files.items),
            _docs(files.nanos),
            [dict(zip(perks.columns, row, strict=True)) for row in perks.values],
            symbiants,
        )

    def winners(self) -> dict[int, Doc]:
        """The last record of each AOID."""
        return {doc.aoid: doc for doc in [*self.items, *self.nanos]}


def _docs(path: Path) -> list[Doc]:
    return msgspec.json.decode(path.read_bytes(), type=list[Doc])


def _bytes(files: Files) -> list[bytes]:
    return [path.read_bytes() for path in (files.items, files.nanos, files.perks, files.symbiants)]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The least set that has every oddity."""
    return Made.of(tmp_path_factory.mktemp("small"), Sizes.of(200, perks=100, symbiants=60))


@pytest.fixture(scope="module")
def middle(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A set large enough for shares to settle."""
    return Made.of(tmp_path_factory.mktemp("middle"), Sizes.of(4_000, perks=400, symbiants=300))


# Same bytes


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    """Two runs with the same sizes and seed write the same files."""
    first = _bytes(generate(tmp_path / "a", Sizes(300), seed=7))
    assert _bytes(generate(tmp_path / "b", Sizes(300), seed=7)) == first


def test_another_seed_gives_other_bytes(tmp_path: Path) -> None:
    """No file is the same under another seed."""
    sizes = Sizes.of(300, perks=30, symbiants=30)
    first = _bytes(generate(tmp_path, sizes, seed=7))
    second = _bytes(generate(tmp_path, sizes, seed=-7))
    assert all(one != other for one, other in zip(first, second, strict=True))


def test_the_bytes_are_the_same_on_every_version_and_platform(small: Made) -> None:
    """The digest was taken once and holds for all of them; a deliberate change of the set changes it."""
    digest = hashlib.sha256(b"".join(_bytes(small.files))).hexdigest()
    assert digest == "4da04135bc178db7f137ab5788020ec55ffff7d7e8518b70495178d90eb2ea59"


def test_a_smaller_set_is_the_beginning_of_a_larger_one(tmp_path: Path) -> None:
    """Items do not depend on how many follow them, so that sizes can be compared."""
    few = generate(tmp_path / "few", Sizes(50)).items.read_text(encoding="utf-8")
    many = generate(tmp_path / "many", Sizes(80)).items.read_text(encoding="utf-8")
    assert many.startswith(few.removesuffix("\n]\n"))


# Sizes and files


def test_sizes_left_out_follow_from_the_items() -> None:
    """A full set has its known proportions, and others the same."""
    assert Sizes(157_000) == Sizes(157_000, 13_000, 2_500, 991)
    assert Sizes() == Sizes(20_000, 1_656, 318, 126)
    assert Sizes.of(157_000, perks=0, nanos=4) == Sizes(157_000, 4, 0, 991)


def test_sizes_cannot_be_negative() -> None:
    """A negative count is a mistake and not an empty file."""
    with pytest.raises(ValueError, match="items"):
        Sizes(-1)


def test_each_file_has_as_many_records_as_asked(middle: Made) -> None:
    """The counts are records in the file, those that repeat an AOID included."""
    assert [len(middle.items), len(middle.nanos), len(middle.perks), len(middle.symbiants)] == [4_000, 331, 400, 300]


def test_a_set_of_nothing_is_four_files_without_records(tmp_path: Path) -> None:
    """Empty files are of their formats still."""
    files = generate(tmp_path / "not" / "there", Sizes(0))
    assert files == Files.within(tmp_path / "not" / "there")
    assert files.items.read_text() == files.nanos.read_text() == "[]\n"
    assert msgspec.json.decode(files.perks.read_bytes(), type=PerkFile).values == []
    assert files.symbiants.read_text() == ""


@pytest.mark.parametrize("sizes", [Sizes(1), Sizes.of(0, 30, 60, 20), Sizes.of(13, 0, 90, 90), Sizes.of(500, 600, 0)])
def test_unusual_proportions_give_whole_files(tmp_path: Path, sizes: Sizes) -> None:
    """Perks without items stand on nothing, and lines without symbiants are left out."""
    made = Made.of(tmp_path, sizes)
    assert (len(made.items), len(made.nanos), len(made.perks)) == (sizes.items, sizes.nanos, sizes.perks)
    assert len(made.symbiants) == (sizes.symbiants if sizes.items >= 12 else 0)


def test_only_whole_files_appear(tmp_path: Path) -> None:
    """Nothing but the four files is left, and they replace those of an earlier run."""
    generate(tmp_path, Sizes(30), seed=1)
    second = _bytes(generate(tmp_path, Sizes(20), seed=2))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "items.json",
        "nanos.json",
        "perks.json",
        "symbiants.csv",
    ]
    assert second == _bytes(generate(tmp_path / "alone", Sizes(20), seed=2))


def test_a_run_that_dies_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted run changes no file that it had not finished, and leaves nothing else behind."""
    before = generate(tmp_path, Sizes(20)).items.read_bytes()

    def interrupted(items: int, dice: Dice) -> Iterator[str]:
        yield from item_lines(items // 2, dice)
        raise KeyboardInterrupt

    monkeypatch.setattr("bulkload.gamedb.generator.item_lines", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path, Sizes(40))
    assert (tmp_path / "items.json").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 4


def test_files_have_unix_line_ends_and_a_record_a_line(small: Made) -> None:
    """Line tools can count records, on any platform the same."""
    assert all(b"\r" not in content for content in _bytes(small.files))
    assert small.files.items.read_bytes().count(b"\n") == len(small.items) + 2


# Memory


def test_memory_does_not_grow_with_the_size(tmp_path: Path) -> None:
    """Six times the records take the same memory."""
    peaks: list[int] = []
    tracemalloc.start()
    try:
        for items in (250, 250, 1_500):
            tracemalloc.reset_peak()
            base = tracemalloc.get_traced_memory()[0]
            generate(tmp_path, Sizes(items))
            peaks.append(tracemalloc.get_traced_memory()[1] - base)
    finally:
        tracemalloc.stop()
    # The first run also fills caches of the interpreter. The 1,250 further records are 2 MB of text alone.
    assert peaks[2] - peaks[1] < 100_000


@pytest.mark.parametrize(
    "pieces",
    [
        lambda dice: item_lines(10**8, dice),
        lambda dice: nano_lines(10**8, 10**8, dice),
        lambda dice: perks_text(10**8, 10**8, 10**8, dice),
        lambda dice: symbiant_lines(10**8, 10**8, dice),
    ],
)
def test_a_file_is_made_piece_by_piece(pieces: Callable[[Dice], Iterator[str]]) -> None:
    """The first pieces of a file beyond all memory come at once."""
    assert len(list(islice(pieces(Dice.of(1, "any")), 5))) == 5


# Oddities


def _twice(values: Sequence[object]) -> bool:
    return len(set(values)) < len(values)


def _deep_keys(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from _deep_keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _deep_keys(inner)


def _parameter_values(doc: Doc) -> list[object]:
    return [value for parameters in doc.parameters() for value in parameters.values()]


def _text(doc: Doc) -> str:
    return doc.description or ""


ITEM_ODDITIES: dict[str, Callable[[Doc], bool]] = {
    "the same pair twice": lambda doc: _twice(doc.stat_values),
    "no stats": lambda doc: not doc.stat_values,
    "sixty stats": lambda doc: len(set(doc.stat_values)) == 60,
    "several of stat 54 and 76": lambda doc: len(set(doc.values(54))) > 2 and len(set(doc.values(76))) > 1,
    "several of stat 54, the last 0": lambda doc: len(doc.values(54)) > 1 and doc.values(54)[-1] == 0,
    "stat 54 only, and 0": lambda doc: doc.values(54) == [0],
    "stats but not 54": lambda doc: bool(doc.stat_values) and not doc.values(54),
    "stats but not 76": lambda doc: bool(doc.stat_values) and not doc.values(76),
    "the least and greatest values": lambda doc: {INT_MIN, INT_MAX} <= {each.raw_value for each in doc.stat_values},
    "the least and greatest stats": lambda doc: {INT_MIN, INT_MAX} <= {each.stat for each in doc.stat_values},
    "the least and greatest in criteria": lambda doc: any(
        {INT_MIN, INT_MAX} <= {each.value1 for each in action.criteria} for action in doc.actions()
    ),
    "the least and greatest in spells": lambda doc: any(
        (spell.target, spell.tick_count, spell.spell_id) == (INT_MIN, INT_MAX, INT_MAX) for spell in doc.spells()
    ),
    "the least and greatest in shops": lambda doc: any(shelf.min_level == INT_MIN for shelf in doc.shelves()),
    "null name": lambda doc: doc.name is None and doc.description is not None,
    "null description": lambda doc: doc.name is not None and doc.description is None,
    "null name and description": lambda doc: doc.name is None and doc.description is None,
    "empty name and description": lambda doc: doc.name == "" and doc.description == "",
    "name of 128 characters": lambda doc: doc.name is not None and len(doc.name) == 128 and doc.name.isascii(),
    "name of 128 wide characters": lambda doc: doc.name is not None and len(doc.name) == 128 and "🦉" in doc.name,
    "name with awkward characters": lambda doc: all(mark in (doc.name or "") for mark in ("\t", '"', "\\N", "'")),
    "name that text COPY takes for null": lambda doc: doc.name == "\\N",
    "name that text COPY takes for the end": lambda doc: doc.name == "\\.",
    "description that text COPY takes for null": lambda doc: doc.description == "\\N",
    "description that text COPY takes for the end": lambda doc: doc.description == "\\.",
    "line that text COPY takes for the end": lambda doc: "\n\\.\n" in _text(doc),
    "line ends and tabs": lambda doc: all(mark in _text(doc) for mark in ("\n", "\r\n", "\t", "\r")),
    "quotes and backslashes": lambda doc: all(mark in _text(doc) for mark in ('"', "'", "\\", "$$", "%s")),
    "markup": lambda doc: "<br/>" in _text(doc) and "&amp;" in _text(doc),
    "control characters": lambda doc: "\x01" in _text(doc) and "\x7f" in _text(doc),
    "emoji": lambda doc: "🦉" in _text(doc),
    "combining characters": lambda doc: "e\u0301" in _text(doc),
    "description of 8192 characters": lambda doc: len(_text(doc)) == 8192 and _text(doc).isascii(),
    "description of 8192 wide characters": lambda doc: len(_text(doc)) == 8192 and len(_text(doc).encode()) > 20_000,
    "description of 8192 awkward characters": lambda doc: len(_text(doc)) == 8192 and "\n\\.\n" in _text(doc),
    "nothing but stats": lambda doc: (
        not doc.spell_data
        and [doc.attack_defense_data, doc.animation_mesh, doc.action_data, doc.shop_hash_data] == [None] * 4
    ),
    "empty lists": lambda doc: (
        doc.attack_defense_data == AttackDefense([], [])
        and doc.action_data == ActionData([])
        and doc.shop_hash_data == ShopHashData([])
    ),
    "attack alone, a pair twice": lambda doc: (
        doc.attack_defense_data is not None
        and _twice(doc.attack_defense_data.attack)
        and not doc.attack_defense_data.defense
    ),
    "defence alone": lambda doc: (
        doc.attack_defense_data is not None
        and not doc.attack_defense_data.attack
        and bool(doc.attack_defense_data.defense)
    ),
    "mesh alone": lambda doc: (
        doc.animation_mesh is not None and doc.animation_mesh.animation is None and doc.animation_mesh.mesh is not None
    ),
    "animation alone": lambda doc: (
        doc.animation_mesh is not None and doc.animation_mesh.animation is not None and doc.animation_mesh.mesh is None
    ),
    "neither animation nor mesh": lambda doc: doc.animation_mesh == AnimationMesh(None, None),
    "actions without criteria": lambda doc: [len(action.criteria) for action in doc.actions()] == [0, 0, 0],
    "repeated criteria": lambda doc: any(action.criteria[:2] == action.criteria[1:3] for action in doc.actions()),
    "long expression": lambda doc: any(len(action.criteria) > 40 for action in doc.actions()),
    "no SpellData": lambda doc: not doc.spell_data,
    "events without spells": lambda doc: bool(doc.spell_data) and not any(event.items for event in doc.spell_data),
    "spells without further keys": lambda doc: {} in doc.parameters(),
    "Criteria inside a nested object": lambda doc: "Criteria" in _deep_keys(list(doc.parameters())),
    "nested arrays, nulls and booleans": lambda doc: [1, "1", 1.5, None, True, {}] in _parameter_values(doc),
    "floats": lambda doc: -1.5e-07 in _parameter_values(doc),
    "integers no double holds": lambda doc: (
        {2**53 + 1, 2**63 - 1, -(2**63)} <= set(filter(lambda value: isinstance(value, int), _parameter_values(doc)))
    ),
    "keys beyond ASCII": lambda doc: any({"Größe", "🦉", ""} <= set(parameters) for parameters in doc.parameters()),
    "strings with escapes": lambda doc: any(
        isinstance(value, str) and '\\"' in value and "\n" in value for value in _parameter_values(doc)
    ),
    "null SpellFormat": lambda doc: any(spell.spell_format is None for spell in doc.spells()),
    "SpellFormat of 512 characters": lambda doc: any(len(spell.spell_format or "") == 512 for spell in doc.spells()),
    "a criterion twice in one spell": lambda doc: any(_twice(spell.criteria) for spell in doc.spells()),
    "very many spells": lambda doc: len(list(doc.spells())) >= 100,
    "shop hashes of one to four characters": lambda doc: (
        {len(shelf.hash.text) for shelf in doc.shelves()} == {1, 2, 3, 4}
    ),
    "nulls in shops": lambda doc: any(
        shelf.min_level is shelf.max_level is shelf.base_amount is shelf.spawn_chance is None for shelf in doc.shelves()
    ),
}


@pytest.mark.parametrize("oddity", ITEM_ODDITIES)
def test_the_least_set_has_every_oddity(small: Made, oddity: str) -> None:
    """Two hundred items are enough to meet whatever a full set holds."""
    assert any(map(ITEM_ODDITIES[oddity], small.items))


def test_oddities_take_numbers_that_nothing_else_needs() -> None:
    """Repeats, and items that nanos take over, stand clear of the oddities, and all of them in the first 200."""
    special = [number for number in range(200) if not keeps_its_aoid(number)]
    assert min(special) >= 2 * len(ODDITIES)
    assert len(special) == 5


def test_some_shops_have_further_keys(small: Made) -> None:
    """Keys that are not stored stand in an element of ShopHashData, and in the record itself."""
    text = small.files.items.read_text(encoding="utf-8")
    assert '"Hash2": {"Text": "LONGER"}' in text
    assert '"Sounds": {' in text
    assert '"Größe": [' in text


def test_some_records_are_escaped(small: Made) -> None:
    """Characters beyond ASCII stand as they are and as escapes, pairs of surrogates among them."""
    text = small.files.items.read_text(encoding="utf-8")
    assert "🦉" in text
    assert "\\ud83e\\udd89" in text


def test_most_nanos_have_a_stat_54_that_is_no_quality(small: Made) -> None:
    """Stat 54 of a nano goes beyond any quality level."""
    assert max(value for doc in small.nanos for value in doc.values(54)) > 300


# AOIDs


def test_some_aoids_are_met_again(small: Made) -> None:
    """In one file and across the two, once even three times, and never with the same content."""
    items = Counter(doc.aoid for doc in small.items)
    nanos = Counter(doc.aoid for doc in small.nanos)
    assert sorted(items.values())[-3:] == [1, 2, 3]
    assert max(nanos.values()) == 1
    assert len(items.keys() & nanos.keys()) == 2
    for aoid in [aoid for aoid, count in (items + nanos).items() if count > 1]:
        contents = [msgspec.json.encode(doc) for doc in [*small.items, *small.nanos] if doc.aoid == aoid]
        assert not _twice(contents)


def test_aoids_rise_roughly_and_have_gaps(middle: Made) -> None:
    """They are positive, mostly ascending, and unlike the numbers of the records."""
    aoids = [doc.aoid for doc in middle.items]
    steps = [after - before for before, after in pairwise(aoids)]
    assert min(aoids) > 0
    assert max(aoids) <= INT_MAX
    assert 0.01 < sum(step < 0 for step in steps) / len(steps) < 0.05
    assert max(steps) > 500


def test_aoids_are_unique_but_for_the_repeats() -> None:
    """A full set meets an AOID again about once in a thousand records."""
    items = [item_aoid(number) for number in range(157_000)]
    nanos = [nano_aoid(number, 157_000) for number in range(13_000)]
    assert len(items) - len(set(items)) == 3 * 32
    assert len(set(nanos)) == len(nanos)
    assert len(set(items) & set(nanos)) == 2 * 32
    own = [item_aoid(number) for number in range(157_000) if keeps_its_aoid(number)]
    assert not set(own) & set(nanos)


# Perks


def test_perks_stand_mostly_on_items(middle: Made) -> None:
    """A few stand on a nano or on nothing, and one item has two of them."""
    nanos = {doc.aoid for doc in middle.nanos}
    items = {doc.aoid for doc in middle.items} - nanos
    aoids = [perk["aoid"] for perk in middle.perks]
    assert sum(aoid in items for aoid in aoids) > 0.9 * len(aoids)
    assert sum(aoid in nanos for aoid in aoids) > 2
    assert sum(aoid not in items and aoid not in nanos for aoid in aoids) > 2
    assert len(aoids) - len(set(aoids)) == 1
    assert aoids[-1] == aoids[0]
    assert middle.perks[-1] != middle.perks[0]


def test_perks_are_written_in_every_way(middle: Made) -> None:
    """Columns are shuffled, with some to pass over; numbers, types and names come in all spellings."""
    columns = list(middle.perks[0])
    assert columns[:3] != ["aoid", "name", "counter"]
    assert {"icon", "remark"} < set(columns)
    for column in ("level", "aiTitle"):
        assert {type(perk[column]) for perk in middle.perks} == {int, str, type(None)}
    assert {str(perk["type"]) for perk in middle.perks} > {"SL", "AI", "LE", "sl", "lE"}
    assert {perk["counter"] for perk in middle.perks} == set(range(1, 11))
    professions = {name for perk in middle.perks for name in msgspec.convert(perk["professions"], list[str])}
    assert {"Martial Artist", "MartialArtist", "Nano-Technician", "NanoTechnician", "MetaPhysicist"} < professions
    assert any(perk["breeds"] == [] for perk in middle.perks)
    assert max(Counter(perk["name"] for perk in middle.perks).values()) == 10


# Symbiants


def _aoid(row: Sequence[str]) -> int:
    found = re.search(r"\?AOID=(\d+)>", row[10])
    assert found
    return int(found[1])


def test_symbiants_are_items_of_that_name(middle: Made) -> None:
    """Every line names an item that the import leaves as that symbiant, with its quality and slot."""
    winners = middle.winners()
    nanos = {doc.aoid for doc in middle.nanos}
    for row in middle.symbiants:
        doc = winners[_aoid(row)]
        assert doc.aoid not in nanos
        assert ",".join(row[10:]).endswith(f">QL {row[0]} {doc.name}</A>")
        assert doc.values(54) == [int(row[0])]
        assert len(doc.values(298)) == 1


def test_one_item_in_twenty_is_a_symbiant(middle: Made) -> None:
    """Their names tell the family, and stat 298 the slot."""
    named = [doc for doc in middle.items if re.fullmatch(r"\w+ [\w ]+ Symbiant, \w+ Unit \w+", doc.name or "")]
    assert len(named) == 200
    assert len({doc.name for doc in named}) == 200
    assert len({doc.values(298)[0] for doc in named}) == 13


def test_lines_of_one_creature_agree(middle: Made) -> None:
    """A creature has several lines, all with its location, company and level; one line stands there twice."""
    told: dict[tuple[str, str], set[tuple[str, ...]]] = {}
    for row in middle.symbiants:
        told.setdefault((row[3], row[4]), set()).add(tuple(row[5:8]))
    assert all(len(details) == 1 for details in told.values())
    assert len(told) < len(middle.symbiants) / 3
    drops = Counter((_aoid(row), row[3], row[4]) for row in middle.symbiants)
    assert sorted(drops.values())[-2:] == [1, 2]


def test_lines_are_as_awkward_as_the_real_ones(small: Made) -> None:
    """The link spreads over two fields; others hold commas, quotes and letters beyond ASCII."""
    rows = small.symbiants
    assert {len(row) for row in rows} == {12}
    assert {row[8] + row[9] for row in rows} == {""}
    assert any("," in row[6] for row in rows)
    assert any('"' in row[5] and "," in row[5] for row in rows)
    assert any(not row[4].isascii() or not row[6].isascii() for row in rows)
    playfields: dict[str, set[str]] = {}
    for row in rows:
        playfields.setdefault(row[3], set()).add(row[4])
    assert max(map(len, playfields.values())) > 1
    assert all(".example.com/" in row[10] for row in rows)


# Shape


def test_the_shape_is_that_of_the_full_set(middle: Made) -> None:
    """Rows a table, for each record, are those of the real set of 170,000 records, within a twelfth."""
    docs = [*middle.items, *middle.nanos]
    full = 170_000
    rows = Counter[str]()
    for doc in docs:
        rows["item_stats"] += len(set(doc.stat_values))
        rows["actions"] += len(doc.actions())
        rows["action_criteria"] += sum(len(action.criteria) for action in doc.actions())
        rows["spell_data"] += len(doc.spell_data)
        for spell in doc.spells():
            rows["spells"] += 1
            rows["spell_criteria"] += len(set(spell.criteria))
        rows["armed"] += doc.attack_defense_data is not None
    wanted = {
        "item_stats": 2_300_000,
        "actions": 140_000,
        "action_criteria": 510_000,
        "spell_data": 150_000,
        "spells": 420_000,
        "spell_criteria": 114_000,
        "armed": 27_000,
    }
    for table, count in wanted.items():
        assert rows[table] / len(docs) == pytest.approx(count / full, rel=1 / 12), table


def test_records_have_the_sizes_of_the_real_ones(middle: Made) -> None:
    """From half a kilobyte to thirty, between 1.7 and 2.6 kB on average."""
    lines = middle.files.items.read_bytes().splitlines()[1:-1] + middle.files.nanos.read_bytes().splitlines()[1:-1]
    sizes = sorted(map(len, lines))
    assert 1_700 < sum(sizes) / len(sizes) < 2_600
    assert sizes[len(sizes) // 100] > 500
    assert 20_000 < sizes[-1] < 33_000


def test_values_are_shared_between_records(middle: Made) -> None:
    """Stat values and criteria repeat, more so the larger the set: they are few beside the rows that refer to them."""
    pairs = [each for doc in middle.items for each in set(doc.stat_values)]
    criteria = [each for doc in middle.items for action in doc.actions() for each in action.criteria]
    assert len(set(pairs)) < len(pairs) / 3
    assert len(set(criteria)) < len(criteria) / 2
