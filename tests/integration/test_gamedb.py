"""Imports of the items database: whatever the way, the content is what an independent reading of the files says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from random import Random
from typing import Any

import attrs
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkload import Input, Job, Mode, Rejects, Report, Source, gamedb, run
from bulkload.workers import shares

MODES = pytest.mark.parametrize("mode", [Mode.STANDARD, Mode.OPTIMIZED], ids=lambda mode: mode.name.lower())
# With `Mode.ULTRA`, which is for tables that are emptied first.
ALL_MODES = pytest.mark.parametrize("mode", list(Mode), ids=lambda mode: mode.name.lower())
CHUNKS = pytest.mark.parametrize("chunk", [1, 7, 100, 5000])
SEEDS = pytest.mark.parametrize("seed", [1, 2, 3])

MANY = 1_000_000

# As few records as show all that sets of any size have.
SIZES = gamedb.Sizes(items=250, nanos=30, perks=25, symbiants=40)
TINY = gamedb.Sizes(items=40, nanos=8, perks=6, symbiants=10)


@attrs.frozen
class Paths:
    """The files of an import; None is one that there is not."""

    items: Path | None = None
    nanos: Path | None = None
    perks: Path | None = None
    symbiants: Path | None = None

    def inputs(self) -> list[Input]:
        """In the order of the command line."""
        jobs: tuple[Job[Any], ...] = (gamedb.ITEMS_JOB, gamedb.NANOS_JOB, gamedb.PERKS_JOB, gamedb.SYMBIANTS_JOB)
        paths = (self.items, self.nanos, self.perks, self.symbiants)
        return [Input(job, Source(str(path))) for job, path in zip(jobs, paths, strict=True) if path is not None]

    def expected(self) -> gamedb.Content:
        """What must be in a database that was empty before."""
        return gamedb.expected(self.items, self.nanos, self.perks, self.symbiants)


class Database:
    """An items database, and what is done to it."""

    def __init__(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        self.connection = connection

    def load(
        self,
        paths: Paths,
        mode: Mode = Mode.OPTIMIZED,
        *,
        chunk: int = 5000,
        clear: bool = False,
        rejects: Rejects | None = None,
        executor: Executor | None = None,
        jobs: int = 1,
    ) -> Report:
        """Import the files."""
        return run(
            self.connection,
            paths.inputs(),
            mode=mode,
            chunk=chunk,
            clear=clear,
            rejects=rejects if rejects is not None else Rejects(),
            finish=gamedb.refresh_views,
            executor=executor,
            jobs=jobs,
        )

    def differences(self, paths: Paths) -> list[str]:
        """In what its content is not that of the files."""
        return gamedb.differences(paths.expected(), gamedb.actual(self.connection))

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """The rows of a query."""
        return self.connection.execute(query.encode()).fetchall()


@pytest.fixture
def database(gamedb_database: str) -> Iterator[Database]:
    """An items database without items that is this test's own."""
    with psycopg.connect(gamedb_database, autocommit=True) as connection:
        yield Database(connection)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, gamedb.Sizes], Paths]:
    """Makes sets of files, each once."""
    made: dict[tuple[int, gamedb.Sizes], Paths] = {}

    def make(seed: int, sizes: gamedb.Sizes) -> Paths:
        if (seed, sizes) not in made:
            files = gamedb.generate(tmp_path_factory.mktemp("set"), sizes, seed)
            made[seed, sizes] = Paths(files.items, files.nanos, files.perks, files.symbiants)
        return made[seed, sizes]

    return make


Generated = Callable[[int, gamedb.Sizes], Paths]


def write(path: Path, records: Sequence[object]) -> Path:
    """A file of these records."""
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def item(aoid: int, **fields: object) -> dict[str, object]:
    """A record with these fields besides the least that one has."""
    return {"AOID": aoid, "Name": f"Item {aoid}", "Description": None, "StatValues": [], **fields}


def stat(number: int, value: object) -> dict[str, object]:
    """A {Stat, RawValue}."""
    return {"Stat": number, "RawValue": value}


def spell(**fields: object) -> dict[str, object]:
    """A spell with these fields besides those that all have."""
    fixed: dict[str, object] = {
        "Target": 2,
        "TickCount": 1,
        "TickInterval": 0,
        "SpellID": 53045,
        "SpellFormat": None,
        "Criteria": [],
    }
    return {**fixed, **fields}


# --- Generated sets ---


@MODES
@CHUNKS
def test_the_content_is_that_of_the_files(database: Database, generated: Generated, mode: Mode, chunk: int) -> None:
    """Into an empty database, in either mode, however many records are taken together."""
    paths = generated(1, TINY if chunk == 1 else SIZES)
    report = database.load(paths, mode, chunk=chunk)
    assert report.rejected == 0
    assert database.differences(paths) == []


@ALL_MODES
@SEEDS
def test_clearing_leaves_nothing_of_what_was(database: Database, generated: Generated, mode: Mode, seed: int) -> None:
    """After an import with `clear` the content is that of the new files alone."""
    database.load(generated(seed + 10, TINY))
    paths = generated(seed, SIZES)
    database.load(paths, mode, chunk=100, clear=True)
    assert database.differences(paths) == []


@MODES
@pytest.mark.parametrize("chunk", [7, 5000])
def test_a_second_import_changes_nothing(database: Database, generated: Generated, mode: Mode, chunk: int) -> None:
    """The same files again, without `clear`: the content stays what it is."""
    paths = generated(2, TINY if chunk == 7 else SIZES)
    database.load(paths)
    again = database.load(paths, mode, chunk=chunk)
    assert database.differences(paths) == []
    assert again.tables["stat_values"].inserted == 0
    assert again.tables["criteria"].inserted == 0


def test_the_modes_can_take_turns(database: Database, generated: Generated) -> None:
    """What one mode wrote, the other updates."""
    paths = generated(3, TINY)
    for mode in (Mode.STANDARD, Mode.OPTIMIZED, Mode.STANDARD):
        database.load(paths, mode, chunk=7)
        assert database.differences(paths) == []


@MODES
def test_the_files_can_come_one_by_one(database: Database, generated: Generated, mode: Mode) -> None:
    """Perks and symbiants find the items of earlier runs."""
    paths = generated(1, SIZES)
    for part in ("items", "nanos", "perks", "symbiants"):
        database.load(Paths(**{part: getattr(paths, part)}), mode)
    actual, expected = gamedb.actual(database.connection), paths.expected()
    # An item of one run that became a nano of the next leaves shared values behind: those are nobody's to delete.
    assert actual.items == expected.items
    assert (actual.mobs, actual.sources) == (expected.mobs, expected.sources)
    assert actual.symbiant_items == expected.symbiant_items


@MODES
def test_the_order_of_different_items_does_not_matter(
    database: Database, generated: Generated, tmp_path: Path, mode: Mode
) -> None:
    """Records of AOIDs of their own, the other way round, give the same content."""
    paths = generated(1, SIZES)
    assert paths.items is not None
    records = {record["AOID"]: record for record in json.loads(paths.items.read_text(encoding="utf-8"))}
    there = attrs.evolve(paths, items=write(tmp_path / "items.json", list(records.values())))
    back = attrs.evolve(paths, items=write(tmp_path / "back.json", list(records.values())[::-1]))
    database.load(back, mode, chunk=100)
    assert database.differences(there) == []


@MODES
def test_the_report_counts_what_is_there(database: Database, generated: Generated, mode: Mode) -> None:
    """Into an empty database, the rows inserted are the rows of the tables; every record is accounted for."""
    paths = generated(2, SIZES)
    report = database.load(paths, mode, chunk=100)
    for table, counts in report.tables.items():
        if table != "source_types":
            assert database.rows(f"SELECT count(*) FROM {table}") == [(counts.inserted,)], table
    assert [source.read for source in report.sources] == [SIZES.items, SIZES.nanos, SIZES.perks, SIZES.symbiants]


# --- Versions and rejects ---


@MODES
@CHUNKS
def test_the_last_record_of_a_number_wins_whole(database: Database, tmp_path: Path, mode: Mode, chunk: int) -> None:
    """Within a file and across items and nanos; nothing of the earlier records stays, not even shared values."""
    full = item(1, StatValues=[stat(1, 1)], SpellData=[{"Event": 1, "Items": [spell()]}], AttackDefenseData={})
    paths = Paths(
        items=write(tmp_path / "items.json", [full, item(2), item(1, StatValues=[stat(1, 2)]), item(3)]),
        nanos=write(tmp_path / "nanos.json", [item(3, Name="A nano"), item(2, Name="first"), item(2, Name="second")]),
    )
    report = database.load(paths, mode, chunk=chunk)
    assert database.differences(paths) == []
    assert database.rows("SELECT aoid, name, is_nano FROM items ORDER BY aoid") == [
        (1, "Item 1", False),
        (2, "second", True),
        (3, "A nano", True),
    ]
    assert database.rows("SELECT stat, value FROM stat_values") == [(1, 2)]
    assert [source.superseded for source in report.sources] == [3, 1]


@MODES
@CHUNKS
def test_a_rejected_last_version_lets_the_earlier_one_count(
    database: Database, tmp_path: Path, mode: Mode, chunk: int
) -> None:
    """Of several records of an AOID the last one that can go in counts, in one file and across two."""
    paths = Paths(
        items=write(
            tmp_path / "items.json",
            [
                item(1, Name="earlier", StatValues=[stat(1, 1)]),
                item(2, Name="other"),
                item(1, Name="last", StatValues=[stat(1, 2), stat(1, 2**31)]),
                item(3, Name="item"),
                item(4, Name="first"),
                item(4, Name="n" * 129),
            ],
        ),
        nanos=write(
            tmp_path / "nanos.json", [item(3, Name="nano", StatValues=[stat(3, "x")]), item(4, Description="a\0b")]
        ),
    )
    report = database.load(paths, mode, chunk=chunk, rejects=Rejects(most=MANY))
    assert database.rows("SELECT aoid, name, is_nano FROM items ORDER BY aoid") == [
        (1, "earlier", False),
        (2, "other", False),
        (3, "item", False),
        (4, "first", False),
    ]
    assert database.differences(paths) == []
    assert [(source.read, source.loaded, source.rejected) for source in report.sources] == [(6, 4, 2), (2, 0, 2)]


@MODES
@CHUNKS
def test_rejected_records_leave_nothing_behind(database: Database, tmp_path: Path, mode: Mode, chunk: int) -> None:
    """Not a row of them is in any table, though most of their values fit."""
    bad = item(
        2,
        StatValues=[stat(900, 1)],
        AttackDefenseData={"Attack": [stat(900, 2)], "Defense": []},
        AnimationMesh={"Animation": stat(900, 3), "Mesh": None},
        ActionData={"Actions": [{"Action": 1, "Criteria": [{"Value1": 900, "Value2": 1, "Operator": 1}]}]},
        SpellData=[{"Event": 900, "Items": [spell(), spell(SpellID=2**31)]}],
        ShopHashData={"Items": [{"Hash": {"Text": "BAD!"}}]},
    )
    paths = Paths(items=write(tmp_path / "items.json", [item(1, StatValues=[stat(1, 1)]), bad, item(3)]))
    rejects = Rejects(most=1)
    database.load(paths, mode, chunk=chunk, rejects=rejects)
    (error,) = rejects.errors
    assert (error.source, error.record, error.table, error.column) == (
        "items.json",
        "record 2 (AOID 2)",
        "spells",
        "spell_id",
    )
    assert database.rows("SELECT stat, value FROM stat_values") == [(1, 1)]
    for table in ("criteria", "attack_defense", "animation_mesh", "actions", "spell_data", "spells", "shop_hash"):
        assert database.rows(f"SELECT * FROM {table}") == [], table
    assert database.differences(paths) == []


@MODES
def test_perks_and_symbiants_of_items_that_are_not_there(database: Database, tmp_path: Path, mode: Mode) -> None:
    """A perk of a nano or of no item is skipped, one with an unknown name rejected; so is an unknown symbiant."""
    columns = ["aoid", "name", "counter", "type", "professions", "breeds", "level", "aiTitle"]
    values = [
        [1, "Known", 1, "sl", ["Nano-Technician", "MetaPhysicist"], ["atrox"], "5", None],
        [2, "Of a nano", 1, "SL", [], [], 1, 1],
        [9, "Of nothing", 1, "SL", [], [], 1, 1],
        [3, "Unknown", 1, "SL", ["Baker"], [], 1, 1],
    ]
    perks, symbiants = tmp_path / "perks.json", tmp_path / "symbiants.csv"
    perks.write_text(json.dumps({"columns": columns, "values": values}), encoding="utf-8")
    link = '10,Eye,A,Boss,Place,Spot,"One, Two",60,,,<a href=x?AOID={}>QL 10 A Symbiant, Artillery Unit Aban</a>\n'
    symbiants.write_text(link.format(1) + link.format(9) + link.format(1) + link.format(2), encoding="utf-8")
    items, nanos = (write(tmp_path / f"{n}.json", r) for n, r in (("i", [item(1), item(3)]), ("n", [item(2)])))
    paths = Paths(items, nanos, perks, symbiants)
    report = database.load(paths, mode, rejects=Rejects(most=MANY))
    assert database.differences(paths) == []
    assert database.rows("SELECT name, professions, breeds, level_required, ai_level_required FROM perks") == [
        ("Known", [11, 12], [4], 5, 0)
    ]
    assert database.rows("SELECT aoid FROM items i JOIN item_sources s ON s.item_id = i.id ORDER BY 1") == [(1,), (2,)]
    assert [(s.loaded, s.skipped, s.rejected) for s in report.sources[2:]] == [(1, 2, 1), (3, 0, 1)]


# --- Documents of every oddity ---

integers = st.integers(-5, 5) | st.sampled_from([-(2**31), 2**31 - 1])
names = st.text(st.sampled_from("aé\t\n\\\"'{},ö😀"), max_size=6)
# Of shape or size that the column has not.
misfits: st.SearchStrategy[Any] = st.sampled_from(
    [2**31, -(2**31) - 1, 2**70, "1", 1.5, True, None, [], "n" * 9000, "a\0b", "\ud800"]
)
parameters = st.dictionaries(
    st.sampled_from(["Stat", "Amount", "Patch", "Text", "", "Säg\n", "target", "Deep"]),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**80), 2**80)
        | st.floats(allow_nan=False, allow_infinity=False)
        | names,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names | st.just("Target"), inner, max_size=2),
        max_leaves=5,
    ),
    max_size=4,
)
stats = st.fixed_dictionaries({"Stat": st.sampled_from([1, 54, 76, 298]) | integers, "RawValue": integers})
stat_lists = st.lists(stats, max_size=5)
criteria = st.lists(st.fixed_dictionaries(dict.fromkeys(("Value1", "Value2", "Operator"), integers)), max_size=4)
spells = st.builds(
    lambda fixed, others: {**others, **fixed},
    st.fixed_dictionaries(
        {
            **dict.fromkeys(("Target", "TickCount", "TickInterval", "SpellID"), integers),
            "SpellFormat": st.none() | names,
            "Criteria": criteria,
        }
    ),
    # The partial index of the schema takes the Stat of spells for an integer.
    parameters.map(lambda found: {**found, "Stat": 17}),
)
shop_hashes = st.fixed_dictionaries(
    {"Hash": st.fixed_dictionaries({"Text": st.text("AB", max_size=4)})},
    optional=dict.fromkeys(("MinLevel", "MaxLevel", "SpawnChance", "RegenAmount"), st.none() | integers),
)


def records(spoilt: float = 0.25) -> st.SearchStrategy[dict[str, Any]]:
    """Records, most AOIDs more than once; of that share of them a value somewhere is one that does not fit."""
    sound = st.fixed_dictionaries(
        {
            "AOID": st.integers(1, 6),
            "Name": st.none() | names | st.sampled_from(["A Symbiant, Artillery Unit Aban"]),
            "Description": st.none() | names,
            "StatValues": stat_lists,
        },
        optional={
            "AttackDefenseData": st.none() | st.fixed_dictionaries({"Attack": stat_lists, "Defense": stat_lists}),
            "AnimationMesh": st.none()
            | st.fixed_dictionaries({"Animation": st.none() | stats, "Mesh": st.none() | stats}),
            "ActionData": st.none()
            | st.fixed_dictionaries(
                {"Actions": st.lists(st.fixed_dictionaries({"Action": integers, "Criteria": criteria}), max_size=3)}
            ),
            "SpellData": st.lists(
                st.fixed_dictionaries({"Event": integers, "Items": st.lists(spells, max_size=3)}), max_size=2
            ),
            "ShopHashData": st.none() | st.fixed_dictionaries({"Items": st.lists(shop_hashes, max_size=2)}),
            "Sounds": st.just([2**40]),
        },
    )
    return st.builds(
        lambda record, whether, place, value: spoil(record, place, value) if whether < spoilt else record,
        sound,
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 10_000),
        misfits,
    )


def spoil(record: dict[str, Any], place: int, value: object) -> dict[str, Any]:
    """Put a value into the place of that number among all numbers and texts of a record."""
    places: list[tuple[Any, Any]] = []
    waiting: list[Any] = [record]
    while waiting:
        inside = waiting.pop()
        keys = inside.keys() if isinstance(inside, Mapping) else range(len(inside))
        for key in keys:
            if isinstance(inside[key], (dict, list)):
                waiting.append(inside[key])
            elif key not in {"Sounds", "Stat"}:
                places.append((inside, key))
    container, key = places[place % len(places)]
    container[key] = value
    return record


def examples(number: int) -> settings:
    """So many of them, always the same: their number is what the time is made of."""
    return settings(
        max_examples=number,
        deadline=None,
        derandomize=True,
        # Each example empties the tables first.
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@ALL_MODES
@examples(25)
@given(
    items=st.lists(records(), max_size=8),
    nanos=st.lists(records(), max_size=4),
    chunk=st.sampled_from([1, 2, 3, 5000]),
    jobs=st.sampled_from([0, 1, 3]),
)
def test_any_documents_become_what_they_say(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: Mode,
    items: list[dict[str, Any]],
    nanos: list[dict[str, Any]],
    chunk: int,
    jobs: int,
) -> None:
    """The content is that of an independent reading, which passes over what does not fit by rules of its own.

    Whether a chunk is mapped here or by others, of however many records, several at a time.
    """
    monkeypatch.setattr(shares, "LEAST_BYTES", 0)
    paths = Paths(write(tmp_path / "items.json", items), write(tmp_path / "nanos.json", nanos))
    with ThreadPoolExecutor(jobs) if jobs else nullcontext() as executor:
        report = database.load(
            paths, mode, chunk=chunk, clear=True, rejects=Rejects(most=MANY), executor=executor, jobs=max(jobs, 1)
        )
    assert database.differences(paths) == []
    assert [source.read for source in report.sources] == [len(items), len(nanos)]


@examples(5)
@given(
    items=st.lists(records(), max_size=6),
    others=st.lists(records(), max_size=4),
    kept=st.lists(st.integers(0, 5), max_size=4),
    order=st.randoms(use_true_random=False),
    chunk=st.sampled_from([1, 2, 5000]),
)
def test_an_import_over_another_gives_the_last_of_both(
    database: Database,
    tmp_path: Path,
    items: list[dict[str, Any]],
    others: list[dict[str, Any]],
    kept: list[int],
    order: Random,
    chunk: int,
) -> None:
    """Runs one after the other give each item as one run of all would, whichever mode each of them is in.

    The second one has some of the first one's records again, which are passed over where nothing came between.
    """
    again = [*others, *(items[place] for place in kept if place < len(items))]
    order.shuffle(again)
    files = [write(tmp_path / f"{name}.json", found) for name, found in (("a", items), ("b", again))]
    all_of_it = [*items, *again, *items, *items]
    expected = Paths(write(tmp_path / "all.json", all_of_it)).expected()
    for modes in ((Mode.STANDARD, Mode.OPTIMIZED), (Mode.OPTIMIZED, Mode.STANDARD)):
        reports = [
            database.load(Paths(file), mode, chunk=chunk, clear=number == 0, rejects=Rejects(most=MANY))
            for number, (file, mode) in enumerate(zip([*files, files[0], files[0]], modes * 2, strict=True))
        ]
        assert [report.sources[0].read for report in reports] == [len(items), len(again), len(items), len(items)]
        # Of the same file twice, nothing is loaded the second time.
        assert reports[-1].sources[0].loaded == 0
        actual = gamedb.actual(database.connection)
        # Shared values that nothing refers to any more may stay.
        assert actual.items == expected.items
        assert actual.symbiant_items == expected.symbiant_items
        assert actual.stat_values >= expected.stat_values
