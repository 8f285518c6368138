"""The command line as a user meets it: each command is a process of its own, and only its effects are looked at.

Nothing of the package is imported here. BULKLOAD_ACCEPTANCE_PYTHON names the interpreter that has it installed.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

PYTHON = os.environ.get("BULKLOAD_ACCEPTANCE_PYTHON", sys.executable)

# Starts the server that commands use where none is named, and keeps it until it is told to go.
KEEP_SERVER = """
import sys
from pathlib import Path
from bulkload import embedded
with embedded.start(Path(".bulkload"), {"fsync": "off"}) as server:
    print(server.conninfo, flush=True)
    sys.stdin.read()
"""
COMPRESS = "import sys, zstandard; sys.stdout.buffer.write(zstandard.compress(sys.stdin.buffer.read()))"

# What a user whom file modes hold off needs to be, where the tests are run by one whom they do not.
HELD_OFF = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()

PATIENCE = 120.0

INTERRUPTIONS = pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
MODES = pytest.mark.parametrize("mode", [(), ("--optimized",)], ids=["standard", "optimized"])

SHOWN_FLAGS = ("--progress", "--log-format", "--verbose", "-v", "--quiet", "-q", "--help")
FILES = ("--items-file", "--nanos-file", "--perks-file", "--symbiants-file")
IMPORT_FLAGS = (
    *("--dsn", "--schema", "--optimized", "--ultra", "--yes", "--clear", "--cascade", "--batch-size", "--rejects"),
    *("--max-rejects", "--report"),
    *SHOWN_FLAGS,
)
FLAGS: Mapping[str, Sequence[str]] = {
    "demo": ("--items", "--dsn", *SHOWN_FLAGS),
    "generate": ("--out", "--items", "--nanos", "--perks", "--symbiants", "--seed", *SHOWN_FLAGS),
    "create-schema": ("--dsn", "--schema", *SHOWN_FLAGS),
    "validate": (*FILES, "--rejects", "--batch-size", *SHOWN_FLAGS),
    "import-items": ("--items-file", "--perks-file", *IMPORT_FLAGS),
    "import-nanos": ("--nanos-file", *IMPORT_FLAGS),
    "import-symbiants": ("--symbiants-file", *IMPORT_FLAGS),
    "import-all": (*FILES, *IMPORT_FLAGS),
    "copy": ("TABLE", "FILE", "--columns", "--dsn", "--schema", *SHOWN_FLAGS),
    "load": ("MODULE:JOB", "SOURCE", *IMPORT_FLAGS),
}


class Done(NamedTuple):
    """What a command did that can be seen from outside."""

    code: int
    out: str
    err: str


class Record(NamedTuple):
    """A record that cannot go in, and the words that the message must have for it."""

    fields: Mapping[str, object]
    words: Sequence[str]


class Site:
    """A working directory with a running server of its own."""

    def __init__(self, directory: Path, conninfo: str) -> None:
        self.directory = directory
        self.conninfo = conninfo
        self.databases = 0

    def run(
        self,
        *arguments: str | Path,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
    ) -> Done:
        """Run a command to its end. No command ever shows a traceback."""
        done = subprocess.run(
            [*before, *command(*arguments)],
            input=stdin,
            capture_output=True,
            cwd=self.directory,
            env={**clean_environment(), **(environment or {})},
            timeout=PATIENCE,
            check=False,
        )
        result = Done(done.returncode, done.stdout.decode(), done.stderr.decode())
        for text in (result.out, result.err):
            assert "Traceback" not in text
            assert "Exception ignored" not in text
        return result

    def start(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Start a command that will be interrupted, in a process group of its own."""
        return subprocess.Popen(
            command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.directory,
            env=unmeasured(clean_environment()),
            start_new_session=True,
        )

    def database(self, template: str = "template1") -> str:
        """A new database; how to connect to it."""
        self.databases += 1
        name = f"acceptance_{self.databases}"
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
            connection.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
        return make_conninfo(self.conninfo, dbname=name)

    def write(self, name: str, content: object) -> Path:
        """A source file: bytes and text as they are, all else as JSON."""
        path = self.directory / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path


def command(*arguments: str | Path) -> list[str]:
    """The command line of a command."""
    return [PYTHON, "-m", "bulkload", *map(str, arguments)]


def clean_environment() -> dict[str, str]:
    """The environment of a user who names no server."""
    kept = {name: value for name, value in os.environ.items() if name != "DATABASE_URL" and not name.startswith("PG")}
    return {**kept, "COLUMNS": "120", "PYTHONUNBUFFERED": "1"}


def unmeasured(environment: Mapping[str, str]) -> dict[str, str]:
    """The same without coverage, which never lets go of a lock that it was interrupted with, and hangs."""
    return {name: value for name, value in environment.items() if not name.startswith("COVERAGE_")}


def rows(conninfo: str, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    with psycopg.connect(conninfo) as connection:
        return connection.execute(query.encode()).fetchall()


def snapshot(conninfo: str) -> dict[str, object]:
    """All that a failed command must leave as it was: every row of every table, and what there is besides tables."""
    objects = rows(
        conninfo,
        "SELECT n.nspname, c.relname, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname !~ '^pg_|^information_schema$' ORDER BY 1, 2",
    )
    taken: dict[str, object] = {
        "objects": objects,
        "schemas": rows(conninfo, "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' ORDER BY 1"),
        "constraints": rows(conninfo, "SELECT conname, convalidated FROM pg_constraint ORDER BY 1, 2"),
    }
    with psycopg.connect(conninfo) as connection:
        for schema, table, kind in objects:
            # The ledger says of the command that it has failed.
            if kind == "r" and (schema, table) not in {("bulkload", "loads"), ("bulkload", "sources")}:
                query = sql.SQL("SELECT count(*), md5(string_agg(t::text, E'\\n' ORDER BY t::text)) FROM {} t")
                found = connection.execute(query.format(sql.Identifier(schema, table))).fetchone()
                taken[f"{schema}.{table}"] = found
    return taken


def counts(conninfo: str, schema: str = "public") -> dict[str, int]:
    """The rows of each table of a schema."""
    names = rows(conninfo, f"SELECT tablename FROM pg_tables WHERE schemaname = '{schema}'")
    with psycopg.connect(conninfo) as connection:
        found: dict[str, int] = {}
        for (name,) in names:
            row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, name))).fetchone()
            assert row is not None
            found[name] = row[0]
        return found


def content(conninfo: str, schema: str = "public") -> dict[str, object]:
    """What the tables say, ids aside."""
    queries = {
        "items": "SELECT aoid, name, ql, item_class, is_nano, description, atkdef_id IS NULL FROM items",
        "stats": "SELECT aoid, stat, value FROM items i JOIN item_stats s ON s.item_id = i.id "
        "JOIN stat_values v ON v.id = s.stat_value_id",
        "spells": "SELECT aoid, event, target, p.spell_id, spell_format, spell_params::text FROM items i "
        "JOIN item_spell_data d ON d.item_id = i.id JOIN spell_data e ON e.id = d.spell_data_id "
        "JOIN spell_data_spells s ON s.spell_data_id = e.id JOIN spells p ON p.id = s.spell_id",
        "criteria": "SELECT aoid, action, order_index, value1, value2, operator FROM items i "
        "JOIN actions a ON a.item_id = i.id JOIN action_criteria c ON c.action_id = a.id "
        "JOIN criteria k ON k.id = c.criterion_id",
        "perks": "SELECT aoid, p.name, counter, type, professions::text FROM items i JOIN perks p ON p.item_id = i.id",
        "drops": "SELECT aoid, m.name, playfield, m.level, mob_names::text FROM items i "
        "JOIN item_sources s ON s.item_id = i.id JOIN sources o ON o.id = s.source_id "
        "JOIN mobs m ON m.id = o.source_id",
        "symbiants": "SELECT aoid, name, slot_id, family FROM symbiant_items",
    }
    there = make_conninfo(conninfo, options=f"-csearch_path={schema}")
    told: dict[str, object] = {name: sorted(map(repr, rows(there, query))) for name, query in queries.items()}
    return {**told, "counts": counts(conninfo, schema)}


def complaint(done: Done) -> str:
    """The message of a command that failed while only messages are shown: one line, without the time before it."""
    assert done.err.endswith("\n")
    assert done.err.count("\n") == 1, done.err
    message = re.fullmatch(r"\d\d:\d\d:\d\d bulkload: (.*)\n", done.err)
    assert message is not None, done.err
    return message[1]


def table_of(out: str, title: str) -> dict[str, list[int]]:
    """The numbers of a printed table, by the first column; `title` heads that column."""
    found: dict[str, list[int]] = {}
    inside = False
    for line in out.splitlines():
        cells = [cell.strip() for cell in re.split("[│┃|]", line) if cell.strip()]
        if line[:1] in "┃|" and cells:
            inside = cells[0] == title
        elif inside and line[:1] in "│|" and cells:
            found[cells[0]] = [int(cell.replace(",", "")) for cell in cells[1:] if re.fullmatch(r"[\d,]+", cell)]
    return found


@pytest.fixture(scope="module", autouse=True)
def interruptible() -> Iterator[None]:
    """Processes started here heed SIGINT, also where these tests run in the background of a shell, which does not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The working directory of all commands."""
    directory = tmp_path_factory.mktemp("work")
    keeper = subprocess.Popen(
        [PYTHON, "-c", KEEP_SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=directory,
        env=clean_environment(),
        text=True,
    )
    with keeper:
        yield Site(directory, stream(keeper.stdout).readline().strip())
        stream(keeper.stdin).close()
        assert keeper.wait(PATIENCE) == 0


@pytest.fixture(scope="module")
def small(site: Site) -> Path:
    """The folder of a small set of all four files."""
    assert site.run("generate", "--out", "small", "--items", "120", "--symbiants", "30", "--perks", "12").code == 0
    return site.directory / "small"


@pytest.fixture(scope="module")
def large(site: Site) -> Path:
    """The folder of a set that takes long enough to be interrupted."""
    assert site.run("generate", "--out", "large", "--items", "5000").code == 0
    return site.directory / "large"


@pytest.fixture(scope="module")
def filled_template(site: Site, small: Path) -> str:
    """A database with the small set in it, made by the plainest of imports."""
    conninfo = site.database()
    done = site.run("import-all", "--dsn", conninfo, *all_files(small))
    assert done.code == 0, done.err
    return conninfo


@pytest.fixture
def filled(site: Site, filled_template: str) -> str:
    """A database of this test's own with the small set in it."""
    return site.database(name_of(filled_template))


@pytest.fixture
def empty(site: Site) -> str:
    """A database of this test's own with nothing in it."""
    return site.database()


@pytest.fixture
def default(site: Site) -> str:
    """The database that is used where none is named, with nothing in it."""
    with psycopg.connect(site.conninfo, autocommit=True) as connection:
        connection.execute(
            "DROP SCHEMA public CASCADE; CREATE SCHEMA public; DROP SCHEMA IF EXISTS bulkload_demo CASCADE"
        )
    return site.conninfo


def stream(found: IO[Any] | None) -> IO[Any]:
    """A stream of a process that was started with it."""
    assert found is not None
    return found


def name_of(conninfo: str) -> str:
    """The name of a database."""
    return str(rows(conninfo, "SELECT current_database()")[0][0])


def all_files(folder: Path) -> tuple[str | Path, ...]:
    """The flags for the four files of a set."""
    names = ("items.json", "nanos.json", "perks.json", "symbiants.csv")
    return tuple(part for flag, name in zip(FILES, names, strict=True) for part in (flag, folder / name))


def item(aoid: int, **fields: object) -> dict[str, object]:
    """A record with the least that one has."""
    return {"AOID": aoid, "Name": f"Item {aoid}", "Description": None, "StatValues": [], **fields}


def spell(**fields: object) -> list[object]:
    """The SpellData of one spell."""
    fixed: dict[str, object] = {
        "Target": 2,
        "TickCount": 1,
        "TickInterval": 0,
        "SpellID": 53045,
        "SpellFormat": None,
        "Criteria": [],
    }
    return [{"Event": 14, "Items": [{**fixed, **fields}]}]


# --- Help and the wrong command line ---


@pytest.mark.parametrize("name", list(FLAGS))
def test_help_tells_every_flag_and_the_exit_codes(site: Site, name: str) -> None:
    """`COMMAND --help` is complete, and says what the exit codes mean."""
    done = site.run(name, "--help")
    assert done.code == 0
    assert [flag for flag in FLAGS[name] if not re.search(rf"(?<![\w-]){flag}(?![\w-])", done.out)] == []
    for words in ("exit codes: 0", "DATABASE_URL", "130 interrupted"):
        assert words in done.out


def test_help_lists_the_commands(site: Site) -> None:
    """`--help` names every command."""
    done = site.run("--help")
    assert done.code == 0
    assert [name for name in FLAGS if not re.search(rf"(?m)^ +{name}(?: |$)", done.out)] == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "required"),
        ("import-everything", "invalid choice"),
        ("import-all", "no file is named"),
        ("validate", "no file is named"),
        ("import-items", "--items-file"),
        ("import-all --items-file - --nanos-file -", "standard input can be one of the files only"),
        ("import-all --items-file items.json --cascade", "--cascade is for --clear"),
        ("import-all --items-file items.json --ultra", "--ultra needs --optimized and --clear"),
        ("import-all --items-file items.json --ultra --optimized", "--ultra needs --optimized and --clear"),
        ("import-all --items-file items.json --ultra --optimized --clear", "no terminal"),
        ("import-all --items-file items.json --batch-size 0", "1 at least"),
        ("import-all --items-file items.json --batch-size many", "many"),
        ("import-all --items-file items.json --max-rejects -1", "negative"),
        ("import-all --items-file items.json --no-such-flag", "--no-such-flag"),
        ("generate --items 3", "--out"),
    ],
)
def test_a_wrong_command_line_is_told_from_a_failure(site: Site, default: str, line: str, words: str) -> None:
    """Exit code 2, the reason on standard error, and nothing was done."""
    before = snapshot(default)
    done = site.run(*line.split())
    assert done.code == 2
    assert words in done.err
    assert done.out == ""
    assert snapshot(default) == before


# --- Sets and schemas ---


def test_the_demo_checks_its_own_work(site: Site, default: str) -> None:
    """`demo` needs nothing but itself, says where its data is, prints the report, and leaves the tables in a schema."""
    done = site.run("demo", "--items", "300")
    assert done.code == 0, done.err
    first, *_ = done.out.splitlines()
    assert first.startswith("embedded PostgreSQL ")
    assert first.endswith(str(site.directory / ".bulkload"))
    assert "the content equals" in done.out
    assert table_of(done.out, "source")["items.json"][0] == 300
    assert table_of(done.out, "table")["items"][0] == counts(default, "bulkload_demo")["items"]
    assert counts(default) == {}


def test_the_demo_can_be_run_again(site: Site, default: str) -> None:
    """`demo` takes the tables that it made before for its own."""
    assert site.run("demo", "--items", "30").code == 0
    assert site.run("demo", "--items", "20").code == 0
    assert 0 < counts(default, "bulkload_demo")["items"] <= 22


def test_the_same_seed_gives_the_same_bytes(site: Site) -> None:
    """`generate` repeats itself, byte for byte, and another seed does not."""
    made: list[dict[str, bytes]] = []
    for folder, seed in (("one", "7"), ("two", "7"), ("three", "8")):
        done = site.run("generate", "--out", folder, "--items", "40", "--nanos", "9", "--seed", seed)
        assert done.code == 0
        made.append({path.name: path.read_bytes() for path in sorted((site.directory / folder).iterdir())})
    assert set(made[0]) == {"items.json", "nanos.json", "perks.json", "symbiants.csv"}
    assert made[0] == made[1] != made[2]
    assert len(json.loads(made[0]["items.json"])) == 40
    assert len(json.loads(made[0]["nanos.json"])) == 9


def test_a_schema_is_created_once(site: Site, default: str) -> None:
    """`create-schema` makes the tables; run again, it says that they are there already, and does nothing."""
    done = site.run("create-schema")
    assert done.code == 0
    assert "created" in done.out
    before = snapshot(default)
    assert {"items", "item_sources"} <= counts(default).keys()
    again = site.run("create-schema")
    assert again.code == 0
    assert "there already" in again.out
    assert snapshot(default) == before


@pytest.mark.parametrize("name", ["create-schema", "import-items"])
def test_half_a_schema_is_refused(site: Site, empty: str, small: Path, name: str) -> None:
    """Where some of the tables exist and some do not, the message names both, and nothing is done."""
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute("CREATE TABLE mobs (id serial)")
    before = snapshot(empty)
    files = ("--items-file", small / "items.json") if name == "import-items" else ()
    done = site.run(name, "-q", "--dsn", empty, *files)
    message = complaint(done)
    assert done.code == 1
    assert re.search(r"tables mobs exist\b", message)
    assert "item_sources" in message
    assert snapshot(empty) == before


# --- Validation ---


def test_validate_foretells_the_import(site: Site, empty: str, small: Path) -> None:
    """`validate` prints the rows a table that an import then finds itself having written."""
    foretold = site.run("validate", *all_files(small))
    assert foretold.code == 0, foretold.err
    done = site.run("import-all", "--dsn", empty, *all_files(small))
    assert done.code == 0, done.err
    wanted = {table: cells[0] for table, cells in table_of(foretold.out, "table").items() if table != "all"}
    # What the schema comes with is none of the files' doing.
    others = ("all", "source_types")
    found = {t: cells[0] for t, cells in table_of(done.out, "table").items() if not t.startswith(others)}
    assert wanted == found
    assert table_of(foretold.out, "source") == table_of(done.out, "source")
    there = counts(empty)
    assert {table: there[table] for table in found} == found


def test_validate_tells_the_rejects(site: Site) -> None:
    """`validate` ends with 3 where an import would reject records, says which and why, and writes them to a file."""
    records = [item(1), item(2, Name="n" * 129), item(3), {"Name": "nobody"}]
    path = site.write("some.json", records)
    done = site.run("validate", "-q", "--items-file", path, "--rejects", "validated.jsonl")
    assert done.code == 3
    assert done.err == ""
    assert table_of(done.out, "source")["some.json"] == [4, 2, 0, 0, 0, 2]
    assert table_of(done.out, "table")["items"] == [2]
    assert "rejected: some.json: record 2 (AOID 2): Name: " in done.out
    assert "rejected: some.json: record 4: the field AOID is missing" in done.out
    lines = (site.directory / "validated.jsonl").read_text(encoding="utf-8").splitlines()
    assert sorted((json.loads(line)["record"] for line in lines), key=records.index) == [records[1], records[3]]


# --- Imports ---


def test_what_is_in_the_files_is_in_the_tables(filled: str, small: Path) -> None:
    """The items of the database are those of the files, the last record of each AOID whole."""
    wanted: dict[int, tuple[str, set[tuple[int, int]]]] = {}
    for name in ("items.json", "nanos.json"):
        for record in json.loads((small / name).read_text(encoding="utf-8")):
            stats = {(stat["Stat"], stat["RawValue"]) for stat in record["StatValues"]}
            wanted[record["AOID"]] = (record["Name"] or "", stats)
    found: dict[int, tuple[str, set[tuple[int, int]]]] = {
        aoid: (name, set()) for aoid, name in rows(filled, "SELECT aoid, name FROM items")
    }
    for aoid, stat, value in rows(
        filled,
        "SELECT aoid, stat, value FROM items i JOIN item_stats s ON s.item_id = i.id "
        "JOIN stat_values v ON v.id = s.stat_value_id",
    ):
        found[aoid][1].add((stat, value))
    assert found == wanted


def test_an_import_without_a_server_named_uses_the_embedded_one(
    site: Site, default: str, filled_template: str, small: Path
) -> None:
    """The first line says where the data is; a cleared and optimized run gives the content of a plain one."""
    assert site.run("import-all", "-q", "--items-file", small / "items.json").code == 0
    done = site.run("import-all", "-q", "--optimized", "--clear", *all_files(small))
    assert done.code == 0, done.err
    assert done.err == ""
    assert done.out.startswith("embedded PostgreSQL ")
    assert content(default) == content(filled_template)


def test_the_files_can_come_one_by_one(site: Site, empty: str, filled_template: str, small: Path) -> None:
    """import-items with perks, import-nanos and import-symbiants together do what import-all does."""
    for name, flags in (
        ("import-items", ("--items-file", small / "items.json", "--perks-file", small / "perks.json")),
        ("import-nanos", ("--nanos-file", small / "nanos.json")),
        ("import-symbiants", ("--optimized", "--symbiants-file", small / "symbiants.csv")),
    ):
        done = site.run(name, "--dsn", empty, *flags)
        assert done.code == 0, done.err
        assert done.out.startswith("PostgreSQL ")
    assert content(empty) == content(filled_template)


@MODES
def test_an_import_can_be_repeated(
    site: Site, filled: str, filled_template: str, small: Path, mode: Sequence[str]
) -> None:
    """The same files once more change nothing, ids aside."""
    done = site.run("import-all", "-q", "--dsn", filled, *mode, *all_files(small))
    assert done.code == 0, done.err
    assert content(filled) == content(filled_template)


def test_sources_can_be_compressed_and_piped(site: Site, empty: str, filled_template: str, small: Path) -> None:
    """gzip and zstd are read as they are, and `-` is standard input."""
    items, nanos = (small / "items.json").read_bytes(), (small / "nanos.json").read_bytes()
    zipped = site.write("items.json.gz", gzip.compress(items))
    packed = subprocess.run([PYTHON, "-c", COMPRESS], input=nanos, capture_output=True, check=True).stdout
    done = site.run(
        *("import-all", "--dsn", empty, "--items-file", zipped),
        *("--nanos-file", site.write("nanos.json.zst", packed)),
        *("--perks-file", "-", "--symbiants-file", small / "symbiants.csv"),
        stdin=gzip.compress((small / "perks.json").read_bytes()),
    )
    assert done.code == 0, done.err
    assert "standard input" in table_of(done.out, "source")
    assert content(empty) == content(filled_template)


@MODES
def test_pipes_are_read_whole(
    site: Site, empty: str, filled_template: str, small: Path, tmp_path: Path, mode: Sequence[str]
) -> None:
    """A named one, one that a shell made, as `<(…)` does, and /dev/stdin: not a byte is gone before they are read."""
    os.mkfifo(tmp_path / "items")
    feed = f'cat {small}/items.json > {tmp_path}/items & cat {small}/symbiants.csv | {{ exec 3<&0; {{ cat "$0"; }}'
    done = site.run(
        *("import-all", "-q", "--dsn", empty, *mode),
        *("--items-file", tmp_path / "items", "--nanos-file", small / "nanos.json"),
        *("--perks-file", "/dev/stdin", "--symbiants-file", "/dev/fd/3"),
        before=("sh", "-c", f'{feed} | "$@"; }}', str(small / "perks.json")),
    )
    assert done.code == 0, done.err
    assert table_of(done.out, "source")["3"][0] == 30
    assert content(empty) == content(filled_template)


@pytest.mark.parametrize("name", ["validate", "import-symbiants"])
def test_what_would_come_of_a_pipe_is_told_of_all_of_it(site: Site, filled: str, small: Path, name: str) -> None:
    """By the check of a file, and of an import that is not made."""
    options = ("--dsn", filled, "--optimized", "--clear", "--dry-run") if name == "import-symbiants" else ()
    lines = (small / "symbiants.csv").read_bytes()
    done = site.run(name, "-q", *options, "--symbiants-file", "/dev/stdin", stdin=lines)
    assert done.code == 0, done.err
    title, line = ("table", "item_sources") if options else ("source", "stdin")
    assert table_of(done.out, title)[line][0] == 30


@MODES
def test_standard_input_is_read_in_both_modes(site: Site, empty: str, small: Path, mode: Sequence[str]) -> None:
    """A pipe can be read but once, which the mode that checks first must live with."""
    items = (small / "items.json").read_bytes()
    done = site.run("import-items", "--dsn", empty, *mode, "--items-file", "-", stdin=items)
    assert done.code == 0, done.err
    assert counts(empty)["items"] == len({record["AOID"] for record in json.loads(items)})


@MODES
def test_standard_input_that_ends_early_ends_the_run(site: Site, filled: str, small: Path, mode: Sequence[str]) -> None:
    """As where the program that writes it dies: what came until then is not taken for all."""
    before = snapshot(filled)
    items = (small / "items.json").read_bytes()
    half = items[: len(items) // 2]
    done = site.run("import-items", "-q", "--dsn", filled, *mode, "--clear", "--items-file", "-", stdin=half)
    assert done.code == 1
    assert "standard input" in complaint(done)
    assert snapshot(filled) == before


def test_variables_in_a_path_are_expanded(site: Site, empty: str, small: Path) -> None:
    """`~` and `$VARS` in the name of a file are expanded, as a shell would."""
    done = site.run(
        *("import-all", "--dsn", empty, "--items-file", "$SET/items.json", "--nanos-file", "~/nanos.json"),
        environment={"SET": str(small), "HOME": str(small)},
    )
    assert done.code == 0, done.err


def test_the_tables_can_be_in_any_schema(site: Site, empty: str, filled_template: str, small: Path) -> None:
    """--schema: the tables are created and filled there, and nowhere else, whatever its name is."""
    schema = 'My "items", 2'
    done = site.run("import-all", "--dsn", empty, "--optimized", "--schema", schema, *all_files(small))
    assert done.code == 0, done.err
    assert counts(empty) == {}
    assert counts(empty, schema) == counts(filled_template)


def test_the_server_can_be_named_by_the_environment(site: Site, empty: str, small: Path) -> None:
    """DATABASE_URL and the PG* variables are used where --dsn is not given."""
    assert site.run("create-schema", environment={"DATABASE_URL": empty}).code == 0
    (host, port) = rows(empty, "SELECT current_setting('unix_socket_directories'), current_setting('port')")[0]
    variables = {"PGHOST": host, "PGPORT": port, "PGUSER": "postgres", "PGDATABASE": name_of(empty)}
    done = site.run("import-items", "--items-file", small / "items.json", environment=variables)
    assert done.code == 0, done.err
    assert f"database {name_of(empty)}, user postgres" in done.out.splitlines()[0]
    assert counts(empty)["items"] > 0


# --- Rejects ---

MISFITS = [
    item(2, StatValues=[{"Stat": 1, "RawValue": 1}, {"Stat": 1, "RawValue": 3000000000}]),
    item(4, Name="n" * 129),
    item(6, StatValues="none"),
]


@MODES
def test_as_many_rejects_as_allowed_are_let_through(site: Site, empty: str, mode: Sequence[str]) -> None:
    """--max-rejects N: N of them, and all others are in (exit code 3); the file holds each as it was in the source."""
    path = site.write("odd.json", [item(1), MISFITS[0], item(3), MISFITS[1], item(5), MISFITS[2]])
    options = ("--items-file", path, "--rejects", "odd.jsonl", "--max-rejects", "3")
    done = site.run("import-items", "-q", "--dsn", empty, *mode, *options)
    assert done.code == 3
    assert done.err == ""
    assert done.out.count("rejected: odd.json: record ") == 3
    assert sorted(rows(empty, "SELECT aoid FROM items")) == [(1,), (3,), (5,)]
    assert counts(empty)["stat_values"] == 0
    text = (site.directory / "odd.jsonl").read_text(encoding="utf-8")
    lines = sorted((json.loads(line) for line in text.splitlines()), key=lambda line: int(line["position"]))
    assert [line["record"] for line in lines] == MISFITS
    assert [line["position"] for line in lines] == [2, 4, 6]
    assert {line["file"] for line in lines} == {"odd.json"}
    assert [(line["table"], line["column"]) for line in lines] == [
        ("stat_values", "value"),
        ("items", "name"),
        ("", ""),
    ]
    assert [line["path"] for line in lines] == ["StatValues[1].RawValue", "Name", "StatValues"]
    assert "3000000000" in lines[0]["reason"]


@MODES
def test_one_reject_more_ends_the_run(site: Site, filled: str, mode: Sequence[str]) -> None:
    """--max-rejects N: with N + 1 nothing is in (exit code 1), and the message tells the reasons."""
    path = site.write("odd.json", [item(1), MISFITS[0], item(3), MISFITS[1], item(5), MISFITS[2]])
    before = snapshot(filled)
    done = site.run("import-items", "-q", "--dsn", filled, *mode, "--items-file", path, "--max-rejects", "2")
    assert done.code == 1
    message = complaint(done)
    for words in (
        "more than 2 records were rejected",
        "3000000000 does not fit stat_values.value",
        "record 6 (AOID 6)",
    ):
        assert words in message
    assert snapshot(filled) == before


@MODES
def test_the_rejects_of_a_failed_run_are_kept(site: Site, empty: str, mode: Sequence[str]) -> None:
    """--rejects: the file holds what ended the run, and what was rejected before it."""
    path = site.write("odd.json", [item(1), MISFITS[2], item(3), item(7, StatValues="some")])
    options = ("--items-file", path, "--rejects", "failed.jsonl", "--max-rejects", "1")
    done = site.run("import-items", "-q", "--dsn", empty, *mode, *options)
    assert done.code == 1
    lines = (site.directory / "failed.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["position"] for line in lines] == [2, 4]


@MODES
def test_what_was_mended_is_imported_from_the_file_of_rejects(site: Site, empty: str, mode: Sequence[str]) -> None:
    """For each kind of file; what only the server refuses is in it, too, and what is still wrong is named twice."""
    assert site.run("create-schema", "-q", "--dsn", empty).code == 0
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute("ALTER TABLE items ADD CHECK (name <> 'no such')")
        connection.execute("ALTER TABLE mobs ADD CHECK (name <> 'no such')")
    perk: dict[str, object] = {
        "aoid": 1, "name": "Kick", "counter": 1, "type": "SL", "professions": [], "breeds": [], "level": 1,
        "aiTitle": 0,
    }  # fmt: skip
    perks = {"columns": list(perk), "values": [list({**perk, "counter": 11}.values())]}
    line = '100,Eye,Artillery,no such,Ödmark,"By the mill","Hounds, Whelps",60,,,<a href=x?AOID=3>x</a>\n'
    files = (
        *("--items-file", site.write("odd.json", [item(1), item(2, Name="no such"), item(3), MISFITS[1]])),
        *("--nanos-file", site.write("odd_nanos.json", [item(5, Name="no such")])),
        *("--perks-file", site.write("odd_perks.json", perks), "--symbiants-file", site.write("odd.csv", line)),
    )
    options = ("-q", "--dsn", empty, *mode, "--max-rejects", "9", "--rejects")
    assert site.run("import-all", *options, "rejects.jsonl", *files).code == 3
    lines = (site.directory / "rejects.jsonl").read_text(encoding="utf-8").splitlines()
    found = {(str(each["file"]), int(each["position"])): each for each in map(json.loads, lines)}
    assert {place: each["sqlstate"] for place, each in found.items()} == {
        ("odd.json", 2): "23514", ("odd.json", 4): "", ("odd_nanos.json", 1): "23514", ("odd_perks.json", 1): "",
        ("odd.csv", 1): "23514",
    }  # fmt: skip
    assert found["odd.json", 2]["constraint"] == "items_name_check"
    found["odd.json", 2]["record"]["Name"] = "there is"
    found["odd_nanos.json", 1]["record"]["Name"] = "there is, too"
    found["odd_perks.json", 1]["record"]["counter"] = 10
    found["odd.csv", 1]["record"] = line.replace("no such", "Hooded Abbot")
    mended: list[str] = []
    for name, flag in (
        ("odd.json", "items"),
        ("odd_nanos.json", "nanos"),
        ("odd_perks.json", "perks"),
        ("odd.csv", "symbiants"),
    ):
        texts = [json.dumps(found[place]) + "\n" for place in sorted(found) if place[0] == name]
        (site.directory / f"{flag}.jsonl").write_text("".join(texts), encoding="utf-8")
        mended += [f"--{flag}-file", f"{flag}.jsonl"]
    done = site.run("import-all", *options, "again.jsonl", *mended)
    assert done.code == 3
    assert "rejected: items.jsonl: record 2, once record 4 (AOID 4) of odd.json: Name: " in done.out
    (still,) = (site.directory / "again.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(still)["record"] == MISFITS[1]
    assert sorted(rows(empty, "SELECT aoid, name FROM items WHERE name LIKE 'there%'")) == [
        (2, "there is"), (5, "there is, too"),
    ]  # fmt: skip
    assert rows(empty, "SELECT name, counter FROM perks") == [("Kick", 10)]
    assert rows(empty, "SELECT m.name, i.aoid FROM mobs m, items i JOIN item_sources s ON s.item_id = i.id") == [
        ("Hooded Abbot", 3)
    ]


def test_a_file_of_rejects_that_is_read_is_not_written_over(site: Site) -> None:
    """The command line is refused before anything is opened."""
    path = site.write("rejects.jsonl", [item(1)])
    done = site.run("validate", "--items-file", path, "--rejects", path)
    assert done.code == 2
    assert re.search(r"--rejects would write over .*rejects\.jsonl, which is read", done.err)
    assert json.loads((site.directory / path).read_text(encoding="utf-8")) == [item(1)]


def test_an_unknown_symbiant_is_a_reject(site: Site, filled: str) -> None:
    """A line of symbiants.csv whose AOID is unknown is told with its number; --max-rejects lets it through."""
    line = '100,Eye,Artillery,Hooded Abbot,Ödmark,"By the mill","Hounds, Whelps",60,,,<a href=x?AOID=99999999>x</a>\n'
    path = site.write("unknown.csv", line)
    before = snapshot(filled)
    done = site.run("import-symbiants", "-q", "--dsn", filled, "--symbiants-file", path)
    assert done.code == 1
    assert complaint(done) == "unknown.csv: line 1: link: AOID 99999999 is not the AOID of an imported item"
    assert snapshot(filled) == before
    let = site.run("import-symbiants", "-q", "--dsn", filled, "--symbiants-file", path, "--max-rejects", "1")
    assert let.code == 3
    # That it was rejected is in the ledger.
    assert {**snapshot(filled), "bulkload.chunks": None} == {**before, "bulkload.chunks": None}


# --- Bad input ---


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'[{"AOID": 1, "Name": "a"}, {"AOID": 2, "Na', "record 2"),
        (b"<!DOCTYPE html>\n<html><body>Not found</body></html>\n", "<!DOCTYPE html>"),
        (b"", "is empty"),
        (b'[{"AOID": 1, "Name": "a"}] and more', "goes on after the end"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x8b\x56", "gzip"),
        (b"\xff\xfe[\x00]\x00", "UTF-16"),
    ],
    ids=["truncated", "html", "empty", "trailing garbage", "truncated gzip", "UTF-16"],
)
@MODES
def test_a_damaged_file_ends_the_run(
    site: Site, empty: str, small: Path, content: bytes, words: str, mode: Sequence[str]
) -> None:
    """One line names the file and what is wrong with it; nothing is in, not even of the good file before it."""
    path = site.write("damaged.json", content)
    options = ("--items-file", small / "items.json", "--nanos-file", path)
    done = site.run("import-all", "-q", "--dsn", empty, *mode, *options, "--batch-size", "50")
    message = complaint(done)
    assert done.code == 1
    assert "damaged.json" in message
    assert words in message
    assert counts(empty) == {}


@pytest.mark.parametrize("kind", ["missing", "directory", "no file at all", "forbidden"])
def test_a_file_that_cannot_be_opened_ends_the_run(site: Site, default: str, kind: str) -> None:
    """One line names the path and what to do, before a server is asked for anything."""
    path = site.directory / "there" / "items.json"
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    words = "no such file"
    if kind == "directory":
        path, words = path.parent, "is a directory"
    elif kind == "no file at all":
        path, words = path.parent / "items.json" / "more.json", "cannot be opened"
        path.parent.write_bytes(b"[]")
    elif kind == "forbidden":
        path.write_bytes(b"[]")
        path.chmod(0)
        words = "may not be read"
    before = snapshot(default)
    done = site.run("import-items", "-q", "--items-file", path, before=HELD_OFF if kind == "forbidden" else ())
    message = complaint(done)
    assert done.code == 1
    assert done.out == ""
    assert str(path) in message
    assert words in message
    assert snapshot(default) == before


BAD_RECORDS = {
    "out of range": Record(
        {"StatValues": [{"Stat": 1, "RawValue": 3000000000}]},
        ("StatValues[0].RawValue: 3000000000 does not fit stat_values.value (integer)",),
    ),
    "wrong type": Record({"StatValues": [{"Stat": 1, "RawValue": "x"}]}, ("StatValues[0].RawValue: 'x'", "int")),
    "long name": Record(
        {"Name": "n" * 129}, ("Name: 'nnn", "does not fit items.name (character varying(128))", "129 characters")
    ),
    "NUL in a description": Record(
        {"Description": "a\0b"}, ("Description: 'a\\x00b' does not fit items.description", "NUL")
    ),
    "NUL in a spell": Record(
        {"SpellData": spell(Text="a\0b")}, ("SpellData[0].Items[0]", "does not fit spells.spell_params (jsonb)", "NUL")
    ),
    "half a surrogate pair": Record({"Name": "a\ud800b"}, ("surrogate", "\\ud800")),
    "half a surrogate pair in a spell": Record({"SpellData": spell(Text="a\ud800b")}, ("surrogate", "\\ud800")),
    "spell out of range": Record(
        {"SpellData": spell(Target=-3000000000)},
        ("SpellData[0].Items[0].Target: -3000000000 does not fit spells.target (integer)",),
    ),
}


@pytest.mark.parametrize("kind", list(BAD_RECORDS))
@MODES
def test_a_bad_record_ends_the_run(site: Site, filled: str, kind: str, mode: Sequence[str]) -> None:
    """One line names file, record, AOID, path, table, column, value and reason; the database is as before."""
    bad = BAD_RECORDS[kind]
    path = site.write("items.json", [item(21804, Name="good"), item(21805, **bad.fields), item(21806)])
    before = snapshot(filled)
    done = site.run("import-items", "-q", "--dsn", filled, *mode, "--items-file", path, "--batch-size", "1")
    message = complaint(done)
    assert done.code == 1
    assert message.startswith("items.json: record 2 (AOID 21805): ")
    for words in bad.words:
        assert words in message
    assert " object at 0x" not in message
    assert snapshot(filled) == before


def test_the_message_of_a_value_that_does_not_fit(site: Site, empty: str) -> None:
    """The message, to the letter."""
    records = [item(21804), item(21805, StatValues=[{"Stat": 1, "RawValue": 3000000000}])]
    done = site.run("import-items", "-q", "--dsn", empty, "--items-file", site.write("items.json", records))
    assert done.code == 1
    assert complaint(done) == (
        "items.json: record 2 (AOID 21805): StatValues[0].RawValue: 3000000000 does not fit stat_values.value (integer)"
    )
    assert counts(empty) == {}


def test_a_record_without_its_number_is_named_by_its_position(site: Site, empty: str) -> None:
    """A record without an AOID is a reject, named by where it stands."""
    path = site.write("items.json", [item(1), {"Name": "nobody"}])
    done = site.run("import-items", "-q", "--dsn", empty, "--items-file", path)
    assert done.code == 1
    assert complaint(done) == "items.json: record 2: the field AOID is missing"
    assert counts(empty) == {}


# --- Servers that do not let us in ---


@pytest.mark.parametrize(
    "dsn",
    [
        "host=127.0.0.1 port=1 user=me password=swordfish dbname=x",
        "postgresql://me:swordfish@127.0.0.1:1/x",
        "host=127.0.0.1 password=swordfish port",
        "host=127.0.0.1 nonsense=swordfish",
        "postgresql://me:swordfish@[127.0.0.1/x",
        "postgresql://me:swordfish/1@127.0.0.1:1/x",
        "postgresql://me:1@swordfish@127.0.0.1:1/x",
        "swordfish",
    ],
    ids=[
        "keywords",
        "uri",
        "half a keyword",
        "unknown keyword",
        "open bracket",
        "slash in it",
        "at sign in it",
        "bare",
    ],
)
@pytest.mark.parametrize("by", ["--dsn", "DATABASE_URL"])
def test_a_password_is_never_shown(site: Site, dsn: str, by: str) -> None:
    """Where there is no server, or the string that names it is wrong, one line says so, without the password."""
    if by == "--dsn":
        done = site.run("create-schema", "-q", "--dsn", dsn)
    else:
        done = site.run("create-schema", "-q", environment={"DATABASE_URL": dsn})
    assert done.code == 1
    assert "connect" in complaint(done)
    assert "swordfish" not in done.out + done.err


def test_a_password_is_not_shown_where_the_server_lets_us_in(site: Site, empty: str) -> None:
    """The first line names host, database and user of the server, and nothing else of the string."""
    done = site.run("create-schema", "-v", "--dsn", make_conninfo(empty, password="swordfish"))  # noqa: S106
    assert done.code == 0
    assert "swordfish" not in done.out + done.err


@MODES
def test_a_missing_right_is_told_with_the_table(site: Site, filled: str, small: Path, mode: Sequence[str]) -> None:
    """A user who may read but not write is told so, with the table; nothing is done."""
    with psycopg.connect(filled, autocommit=True) as connection:
        connection.execute(
            "DROP ROLE IF EXISTS acceptance_reader; CREATE ROLE acceptance_reader LOGIN; "
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO acceptance_reader; "
            "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO acceptance_reader; "
            "ALTER MATERIALIZED VIEW symbiant_items OWNER TO acceptance_reader"
        )
    try:
        before = snapshot(filled)
        dsn = make_conninfo(filled, user="acceptance_reader")
        done = site.run("import-items", "-q", "--dsn", dsn, *mode, "--items-file", small / "items.json")
        message = complaint(done)
        assert done.code == 1
        assert re.search(r"\b(stat_values|items|attack_defense|actions)\b", message)
        assert "INSERT" in message or "permission denied" in message
        assert snapshot(filled) == before
    finally:
        with psycopg.connect(filled, autocommit=True) as connection:
            connection.execute("DROP OWNED BY acceptance_reader; DROP ROLE acceptance_reader")


# --- What is shown ---


def test_log_lines_can_be_json(site: Site, empty: str, small: Path) -> None:
    """--log-format json: each line of standard error is an object with time, level and message, errors included."""
    options = ("--log-format", "json", "--dsn", empty, "--items-file")
    done = site.run("import-items", *options, small / "items.json")
    assert done.code == 0
    lines = [json.loads(line) for line in done.err.splitlines()]
    assert lines
    assert {tuple(sorted(line)) for line in lines} == {("level", "message", "time")}
    failed = site.run("import-items", *options, "nowhere.json")
    (line,) = (json.loads(line) for line in failed.err.splitlines())
    assert line["level"] == "error"
    assert "nowhere.json" in line["message"]


def test_results_and_log_lines_are_apart(site: Site, empty: str, small: Path) -> None:
    """Results go to standard output, log lines to standard error, and -q keeps the latter back."""
    loud = site.run("validate", *all_files(small))
    quiet = site.run("validate", "-q", *all_files(small))
    assert "records read" in loud.err
    assert "records read" not in loud.out
    assert quiet.err == ""
    assert quiet.out == loud.out
    shown = site.run("import-items", "--progress", "always", "--dsn", empty, "--items-file", small / "items.json")
    assert shown.code == 0
    assert "items.json" in shown.err


def test_a_traceback_is_shown_where_it_is_asked_for(site: Site) -> None:
    """-v shows where an error came from, and its message still comes last."""
    done = subprocess.run(
        command("validate", "-v", "--items-file", "nowhere.json"),
        capture_output=True,
        cwd=site.directory,
        env=clean_environment(),
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "nowhere.json" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", ["import-all", "validate"])
def test_a_reader_that_goes_away_is_no_error_to_tell(site: Site, empty: str, small: Path, name: str) -> None:
    """`… | head -1`: no traceback, and no complaint."""
    server = ("--dsn", empty) if name == "import-all" else ()
    with site.start(name, "-q", *server, *all_files(small)) as process:
        assert stream(process.stdout).readline()
        stream(process.stdout).close()
        said = stream(process.stderr).read().decode()
        process.wait(PATIENCE)
    assert said == ""


def shell(redirection: str, first: str = ":") -> tuple[str, ...]:
    """Before a command: has a shell run it so."""
    return ("sh", "-c", f'{first}; exec "$@" {redirection}', "sh")


def test_output_that_was_never_open_changes_nothing(site: Site, empty: str) -> None:
    """As where a service manager starts a command without descriptors: the rows are in, and it says so."""
    path = site.write("items.json", [item(1)])
    done = site.run("import-items", "-q", "--dsn", empty, "--items-file", path, before=shell(">&-"))
    assert done == Done(0, "", "")
    silent = site.run("import-items", "--dsn", empty, "--items-file", path, before=shell(">&- 2>&-"))
    assert silent == Done(0, "", "")
    assert rows(empty, "SELECT aoid, name FROM items") == [(1, "Item 1")]


def test_output_that_cannot_be_written_is_told(site: Site, filled: str) -> None:
    """A disk that is full: before anything is done, or after all of it."""
    before = snapshot(filled)
    path = site.write("items.json", [item(1)])
    first = site.run("import-items", "--dsn", filled, "--clear", "--items-file", path, before=shell(">/dev/full"))
    assert first.code == 1
    assert "standard output, or a file, cannot be written: No space left on device" in first.err
    assert snapshot(filled) == before
    # Coverage could not write what it has, and would say so.
    small = shell(">report", "unset COVERAGE_PROCESS_CONFIG; ulimit -f 1")
    later = site.run("import-items", "-q", "--dsn", filled, "--clear", "--items-file", path, before=small)
    assert later.code == 0
    assert later.err.endswith("the report is not whole: standard output cannot be written: File too large\n")
    assert rows(filled, "SELECT aoid FROM items") == [(1,)]


def test_a_file_of_rejects_stays_until_a_load_begins(site: Site, empty: str) -> None:
    """It may be all that there is of them: where no server is to be had, or no source, it is as it was."""
    path, kept = site.write("items.json", [item(1)]), site.write("kept.jsonl", "what there is\n")
    options = ("-q", "--items-file", path, "--rejects", kept)
    assert site.run("import-items", *options, "--dsn", f"{empty} port=1").code == 1
    assert site.run("import-items", "-q", "--dsn", empty, "--items-file", "no.json", "--rejects", kept).code == 1
    assert kept.read_text(encoding="utf-8") == "what there is\n"
    assert site.run("import-items", *options, "--dsn", empty).code == 0
    assert kept.read_bytes() == b""


@pytest.mark.parametrize("to", ["3>&2", "3>>said"], ids=["pipe", "file"])
@MODES
def test_rejects_can_go_where_nothing_can_be_taken_back(site: Site, empty: str, mode: Sequence[str], to: str) -> None:
    """To a pipe, or behind what a file has already: each record once, though it is read twice."""
    said = site.write("said", "before\n")
    path = site.write("odd.json", [item(1), MISFITS[0], item(3), MISFITS[1]])
    options = ("--items-file", path, "--rejects", "/dev/fd/3", "--max-rejects", "3")
    done = site.run("import-items", "-q", "--dsn", empty, *mode, *options, before=shell(to))
    assert done.code == 3, done.err
    lines = (done.err if to == "3>&2" else said.read_text(encoding="utf-8").removeprefix("before\n")).splitlines()
    assert [json.loads(line)["record"] for line in lines] == [MISFITS[0], MISFITS[1]]
    assert sorted(rows(empty, "SELECT aoid FROM items")) == [(1,), (3,)]


def test_rejects_that_cannot_be_written_end_the_load(site: Site, filled: str) -> None:
    """Nothing is let through that would then be nowhere."""
    before = snapshot(filled)
    path = site.write("items.json", [item(1), item(2, Name=5)])
    done = site.run(
        "import-items", "-q", "--dsn", filled, "--clear", "--items-file", path, "--rejects", "/dev/full",
        "--max-rejects", "1",
    )  # fmt: skip
    assert done.code == 1
    assert done.err.endswith("bulkload: /dev/full: rejects cannot be written: No space left on device\n")
    assert snapshot(filled) == before


# --- Interruptions ---


def interrupt(process: subprocess.Popen[bytes], sent: signal.Signals, after: str) -> Done:
    """Send a signal when a line of standard error matches, and wait for the end of all that the command started."""
    said = ""
    while not re.search(after, said):
        line = stream(process.stderr).readline().decode()
        assert line, said
        said += line
    process.send_signal(sent)
    out, err = process.communicate(timeout=PATIENCE)
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    assert "Traceback" not in said + err.decode()
    return Done(process.returncode, out.decode(), said + err.decode())


@INTERRUPTIONS
def test_an_interrupted_import_leaves_nothing(site: Site, filled: str, large: Path, sent: signal.Signals) -> None:
    """In the middle of one transaction: exit code 130, the database as before, no process left."""
    before = snapshot(filled)
    options = ("--optimized", "--clear", "--batch-size", "500")
    process = site.start("import-all", "--dsn", filled, *options, *all_files(large))
    done = interrupt(process, sent, after=r"cleared")
    assert done.code == 130
    assert "interrupted" in done.err.splitlines()[-1]
    assert snapshot(filled) == before
    assert rows(filled, "SELECT pid FROM pg_stat_activity WHERE application_name = 'bulkload'") == []


@INTERRUPTIONS
def test_a_check_can_be_interrupted(site: Site, empty: str, large: Path, sent: signal.Signals) -> None:
    """While the sources are checked, nothing was written yet, and no tables stay."""
    done = interrupt(site.start("import-all", "--dsn", empty, *all_files(large)), sent, after=r"items\.json")
    assert done.code == 130
    assert counts(empty) == {}


def test_an_interrupted_import_in_batches_says_what_is_in(site: Site, filled: str, large: Path) -> None:
    """Where batches were committed, the database is as before or the message says that it is not."""
    before = snapshot(filled)
    process = site.start("import-all", "--dsn", filled, "--batch-size", "200", *all_files(large))
    done = interrupt(process, signal.SIGTERM, after=r"sources checked[\s\S]*items\.json: ")
    assert done.code == 130
    told = re.search(r"batches written before the failure stay: .*[\d,]+ rows inserted; run the", done.err)
    assert told is not None or snapshot(filled) == before


@INTERRUPTIONS
def test_an_interrupted_command_stops_its_server(tmp_path: Path, sent: signal.Signals) -> None:
    """A command that started the embedded server stops it at its end, also where it is interrupted."""
    process = Site(tmp_path, "").start("demo", "--items", "4000")
    assert b"embedded PostgreSQL" in stream(process.stdout).readline()
    done = interrupt(process, sent, after=r"")
    assert done.code == 130
    assert (tmp_path / ".bulkload" / "data" / "PG_VERSION").exists()
    assert not (tmp_path / ".bulkload" / "data" / "postmaster.pid").exists()
