"""Faults at every step and at random moments: nothing is lost, and the database is as before, as after, or restored.

Each test runs BULKLOAD_FAULT_ROUNDS rounds of each kind in each place, and twice as many where the fault comes at a
step: 1 where it is not set. Thousands, by one command:

    BULKLOAD_FAULT_ROUNDS=100 python -m pytest tests/integration/test_faults.py

What came of them is shown at the end of the run.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from bulkload import Plan, Table, embedded, record, start
from bulkload.errors import BulkloadError
from bulkload.ledger import ledger
from bulkload.rebuild import builders, rebuild, restore
from bulkload.rebuild.choice import Drop, Drops
from bulkload.rebuild.recovery import drop_by_hand, recover, relations_named, restore_by_hand
from bulkload.server import retries
from bulkload.server.connection import connect
from tests import corpus
from tests import server as servers
from tests.faults import CHANCE, ROUNDS, Connection, Injector, count

EVERYTHING = Drops(Drop.ALWAYS, Drop.ALWAYS, Drop.ALWAYS)

SCHEMA = """
CREATE TABLE kinds (id int PRIMARY KEY DEFAULT 1, name text CONSTRAINT kinds_once UNIQUE DEFERRABLE);
CREATE TABLE things (
    n int PRIMARY KEY, kind int CONSTRAINT of_kind REFERENCES kinds, name text,
    CONSTRAINT apart EXCLUDE USING btree (n WITH =)
);
CREATE INDEX things_name ON things (name);
CREATE UNIQUE INDEX things_unique ON things (lower(name)) WHERE n > 0;
ALTER TABLE things ADD CONSTRAINT loose FOREIGN KEY (n) REFERENCES things (n) NOT VALID;
COMMENT ON INDEX things_name IS 'told';
COMMENT ON CONSTRAINT of_kind ON things IS 'told, too';
CREATE TABLE days (day int, n int, PRIMARY KEY (day, n)) PARTITION BY RANGE (day);
CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM (0) TO (10);
CREATE INDEX days_n ON days (n);
INSERT INTO kinds SELECT n, 'k' || n FROM generate_series(1, 5) AS n;
INSERT INTO things SELECT n, 1 + n % 5, 'n' || n FROM generate_series(1, {rows}) AS n;
INSERT INTO days SELECT n % 10, n FROM generate_series(1, 50) AS n;
"""


@record
class Thing:
    n: int
    name: str


@record
class Kind:
    name: str


THINGS = Table("things", Thing, ("n", "name"))
KINDS = Table("kinds", Kind, ("name",))
NEW_ROWS = 40


@attrs.frozen
class World:
    """A database, and what must be in it before and after."""

    conninfo: str
    admin: Connection
    """Is never cut."""
    picture: list[str]
    rows: int


@contextmanager
def world(conninfo: str, rows: int) -> Generator[World]:
    with connect(conninfo) as admin:
        admin.execute(SCHEMA.replace("{rows}", str(rows)).encode())
        yield World(conninfo, admin, corpus.picture(admin), rows)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is gone is not waited for."""
    monkeypatch.setattr(builders, "_PATIENCE", 0.5)
    monkeypatch.setattr(retries, "_PATIENCE", 0.5)


@pytest.fixture
def small(database: str) -> Generator[World]:
    with world(database, 50) as found:
        yield found


# ------------------------------------------------------------------------------------------------- what is disturbed


def drop(connection: Connection) -> None:
    drop_by_hand(connection, corpus.tables(connection), foreign_keys=True, keys=True)


def drop_loaded(connection: Connection) -> None:
    """Of those tables alone that `load` fills."""
    drop_by_hand(
        connection, relations_named(connection, "public", ["kinds", "things"]), foreign_keys=True, keys=True
    )  # fmt: skip


def put_back(connection: Connection) -> None:
    restore_by_hand(connection, corpus.tables(connection))


def put_back_after_death(connection: Connection) -> None:
    recover(connection)


def load(connection: Connection) -> None:
    with start(connection, Plan(KINDS, THINGS), clear=True, drops=EVERYTHING, batch_rows=15) as sink:
        sink.add(KINDS, Kind("new"))
        for n in range(NEW_ROWS):
            sink.add(THINGS, Thing(n + 1000, f"new {n}"))


def as_if_died(connection: Connection) -> None:
    """What was dropped by hand looks as if a load had done it."""
    connection.execute("UPDATE bulkload.loads SET kind = 'load', state = 'running', ended = NULL")


@attrs.frozen
class Act:
    """What is disturbed: `before` sets up what it finds."""

    do: Callable[[Connection], None]
    before: Sequence[Callable[[Connection], None]] = ()
    loads: bool = False


ACTS = {
    "drop": Act(drop),
    "restore": Act(put_back, [drop]),
    "recover": Act(put_back_after_death, [drop, as_if_died]),
    "load": Act(load, loads=True),
    "load that takes over": Act(load, [drop_loaded, as_if_died], loads=True),
}


def settle(world: World) -> None:
    """Until no session but the admin's is left: the server goes on with a statement whose client is dead."""
    query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    deadline = time.monotonic() + 60
    while world.admin.execute(query).fetchall():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def judge(world: World, act: Act, *, at_once: bool = False) -> str:
    """What came of a fault, after which everything is whole again: `old`, `new` or `restored`."""
    if not at_once:
        settle(world)
    outcome = content(world)
    away = [entry.name for entry in ledger.outstanding(world.admin)]
    if act.loads and outcome == "new":
        assert away == [], "a load that is in has taken over everything"
    if not act.before and not at_once:
        # One transaction: nothing is gone, or all of it, with the ledger's lines.
        assert (corpus.picture(world.admin) == world.picture) is (away == [])
    if away:
        outcome = "restored"
    mend(world)
    return outcome


def content(world: World) -> str:
    """Which rows there are: they are whole."""
    query = "SELECT count(*), sum(n), (SELECT count(*) FROM kinds) FROM things"
    row = world.admin.execute(query).fetchone()
    if row == (world.rows, world.rows * (world.rows + 1) // 2, 5):
        return "old"
    new = (NEW_ROWS, sum(1000 + n for n in range(NEW_ROWS)), 1)
    assert row == new
    return "new"


def mend(world: World) -> None:
    """What is away comes back by the same commands, and all is as it was."""
    deadline = time.monotonic() + 60
    while ledger.outstanding(world.admin):
        assert time.monotonic() < deadline
        with connect(world.conninfo) as other:
            recover(other)
            put_back(other)
    settle(world)
    assert corpus.picture(world.admin) == world.picture
    content(world)


def renew(world: World, act: Act) -> None:
    """All is as at the begin, and what the act is to find is set up."""
    if content(world) == "new":
        world.admin.execute(
            "TRUNCATE things, kinds; INSERT INTO kinds SELECT n, 'k' || n FROM generate_series(1, 5) AS n"
        )
        rows = "INSERT INTO things SELECT n, 1 + n %% 5, 'n' || n FROM generate_series(1, %s) AS n"
        world.admin.execute(rows, [world.rows])
    world.admin.execute("DROP SCHEMA IF EXISTS bulkload CASCADE")
    for step in act.before:
        step(world.admin)


# ------------------------------------------------------------------------------------------------------ at every step


@pytest.mark.parametrize("kind", Injector.KINDS)
@pytest.mark.parametrize("name", ACTS)
def test_a_fault_at_any_step_leaves_all_that_is_needed_to_put_it_right(small: World, name: str, kind: str) -> None:
    """An interrupt, or the end of the session, before or after the step: the same commands finish the work."""
    act = ACTS[name]
    small.admin.add_notice_handler(lambda _notice: None)
    renew(small, act)
    undisturbed = Injector(small.admin, kind, None)
    with connect(small.conninfo) as connection, undisturbed():
        act.do(connection)
    judge(small, act)
    steps = range(undisturbed.steps)
    for at in steps if len(steps) <= 2 * ROUNDS else sorted(CHANCE.sample(steps, 2 * ROUNDS)):
        renew(small, act)
        injector = Injector(small.admin, kind, at)
        with suppress(BulkloadError, psycopg.Error, KeyboardInterrupt):
            with connect(small.conninfo) as connection, injector():
                act.do(connection)
        assert injector.steps > at
        count(f"{kind} a step of a {name}", judge(small, act))


# ---------------------------------------------------------------------------------------------- at random moments


def command(*arguments: str | Path) -> subprocess.Popen[bytes]:
    """A command, in a process group of its own."""
    kept = {name: value for name, value in os.environ.items() if name != "DATABASE_URL" and not name.startswith("PG")}
    return subprocess.Popen(
        [sys.executable, "-m", "bulkload", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=kept,
        start_new_session=True,
    )


def finished(*arguments: str | Path) -> float:
    """The seconds that the command takes undisturbed; it succeeds."""
    begin = time.perf_counter()
    with command(*arguments) as process:
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out.decode()
    return time.perf_counter() - begin


def disturbed(sent: signal.Signals, latest: float, *arguments: str | Path) -> None:
    """Run the command, which gets the signal at some moment before `latest`."""
    with command(*arguments) as process:
        # Nothing is done before the interpreter has started; a signal then would show nothing.
        time.sleep(CHANCE.uniform(0.5 * latest, latest))
        process.send_signal(sent)
        out, _ = process.communicate(timeout=120)
    # Python itself may have been interrupted before the command began.
    if sent is not signal.SIGKILL and b"KeyboardInterrupt" not in out:
        assert process.returncode in {0, 130, -sent}, out.decode()


@pytest.fixture
def interruptible() -> Generator[None]:
    """Processes started here heed SIGINT, also where these tests run in the background of a shell, which does not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


COMMANDS = {
    "drop": (ACTS["drop"], ("indexes", "drop", "--foreign-keys", "--keys")),
    "restore": (ACTS["restore"], ("indexes", "restore")),
    "recover": (ACTS["recover"], ("recover",)),
}


@pytest.mark.usefixtures("interruptible", "unmeasured")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_is_killed_or_interrupted_can_be_run_again(database: str, name: str) -> None:
    """At once, while the server still works on what the dead one had begun."""
    act, arguments = COMMANDS[name]
    with world(database, 20_000) as there:
        there.admin.add_notice_handler(lambda _notice: None)
        renew(there, act)
        latest = finished(*arguments, "--dsn", database)
        mend(there)
        for sent in (signal.SIGKILL, signal.SIGINT):
            for _ in range(ROUNDS):
                renew(there, act)
                disturbed(sent, latest, *arguments, "--dsn", database)
                # A drop that is on its way has all of it or nothing, when it has ended.
                outcome = judge(there, act, at_once=name != "drop")
                count(f"{sent.name} of indexes {name}" if name != "recover" else f"{sent.name} of recover", outcome)


CONTENT = """
SELECT (SELECT count(*) FROM items), (SELECT md5(string_agg(aoid || name, '|' ORDER BY aoid, name)) FROM items),
       (SELECT count(*) FROM stat_values), (SELECT count(*) FROM item_stats), (SELECT count(*) FROM spells),
       (SELECT count(*) FROM criteria), (SELECT count(*) FROM perks), (SELECT count(*) FROM symbiant_items)
"""


@pytest.fixture(scope="module")
def two_sets(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Sequence[str | Path]]:
    """The flags for the files of two sets."""
    files: list[tuple[str | Path, ...]] = []
    for seed in (1, 2):
        folder = tmp_path_factory.mktemp("sets") / f"set {seed}"
        finished(
            "generate", "--out", folder, "--items", "400", "--seed", str(seed), "--symbiants", "20", "--perks", "9"
        )
        names = {"items": "items.json", "nanos": "nanos.json", "perks": "perks.json", "symbiants": "symbiants.csv"}
        files.append(tuple(part for flag, file in names.items() for part in (f"--{flag}-file", folder / file)))
    return files


@pytest.mark.usefixtures("interruptible", "unmeasured")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT], ids=["SIGKILL", "SIGINT"])
def test_an_import_that_is_killed_or_interrupted_leaves_the_old_content_whole(
    gamedb_database: str, two_sets: Sequence[Sequence[str | Path]], sent: signal.Signals
) -> None:
    """Or the new one, where it was too late; the catalog is as it was, and nothing is away."""
    run = ("import-all", "--optimized", "--clear", "--dsn", gamedb_database)
    with connect(gamedb_database) as admin:
        picture = corpus.picture(admin)
        finished(*run, *two_sets[1])
        new = admin.execute(CONTENT).fetchone()
        latest = finished(*run, *two_sets[0])
        old = admin.execute(CONTENT).fetchone()
        assert old != new
        there = World(gamedb_database, admin, picture, 0)
        for _ in range(ROUNDS):
            disturbed(sent, latest, *run, *two_sets[1])
            settle(there)
            found = admin.execute(CONTENT).fetchone()
            assert found in (old, new)
            assert corpus.picture(admin) == picture
            assert ledger.outstanding(admin) == []
            count(f"{sent.name} of import-all --optimized --clear", "old" if found == old else "new")
            if found == new:
                finished(*run, *two_sets[0])


def while_running(act: Act, conninfo: str, latest: float, disturb: Callable[[], None]) -> None:
    """Do it in a thread, and disturb it at some moment."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            with connect(conninfo) as connection:
                act.do(connection)
        except (BulkloadError, psycopg.Error) as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(CHANCE.uniform(0, latest))
    disturb()
    thread.join(120)
    assert not thread.is_alive()


def seconds_of(there: World, act: Act) -> float:
    renew(there, act)
    begin = time.perf_counter()
    with connect(there.conninfo) as connection:
        act.do(connection)
    seconds = time.perf_counter() - begin
    mend(there)
    return seconds


@pytest.mark.parametrize("name", ACTS)
def test_sessions_that_are_ended_at_any_moment_leave_it_whole(database: str, name: str) -> None:
    """All sessions of the database but one, as an administrator may do."""
    act = ACTS[name]
    with world(database, 20_000) as there:
        there.admin.add_notice_handler(lambda _notice: None)
        latest = seconds_of(there, act)

        def disturb() -> None:
            there.admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

        for _ in range(ROUNDS):
            renew(there, act)
            while_running(act, database, latest, disturb)
            count(f"pg_terminate_backend of a {name}", judge(there, act))


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[embedded.Server]:
    """A server of these tests' own, as durable as any, to be stopped hard."""
    with embedded.start(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.mark.parametrize("name", ACTS)
def test_a_server_that_stops_at_any_moment_leaves_it_whole(own_server: embedded.Server, name: str) -> None:
    """As by a power failure; when it is back, the same commands finish the work."""
    act = ACTS[name]
    cluster = own_server._cluster
    with servers.database(own_server.conninfo) as conninfo, world(conninfo, 5_000) as there:
        there.admin.add_notice_handler(lambda _notice: None)
        latest = seconds_of(there, act)
    for _ in range(ROUNDS):
        with crashing_database(own_server.conninfo) as conninfo:
            with world(conninfo, 5_000) as there:
                there.admin.add_notice_handler(lambda _notice: None)
                renew(there, act)
                while_running(
                    act,
                    conninfo,
                    latest,
                    lambda: cluster._check(cluster._run("pg_ctl", "stop", "-m", "immediate"), "stop"),
                )
            cluster.join({})
            with connect(conninfo) as admin:
                outcome = judge(World(conninfo, admin, there.picture, there.rows), act)
            count(f"pg_ctl stop -m immediate in a {name}", outcome)


@contextmanager
def crashing_database(server: str) -> Generator[str]:
    """A database that is dropped by another connection than the one that created it, which a crash has ended."""
    name = f"crashing_{time.monotonic_ns()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(sql.Identifier(name))
        )
    yield make_conninfo(server, dbname=name)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


# ------------------------------------------------------------------------------------------------------ no more room


@pytest.mark.parametrize("name", ["restore", "recover", "load"])
def test_an_index_that_there_is_no_room_to_sort_leaves_it_whole(
    database: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit of temporary files ends the build; when it is lifted, the same commands finish the work."""
    monkeypatch.setattr(rebuild, "BUILD_MEMORY", "64kB")
    monkeypatch.setattr(restore, "BUILD_MEMORY", "64kB")
    act = ACTS[name]
    with world(database, 60_000) as there:
        there.admin.add_notice_handler(lambda _notice: None)
        name_of = servers.name_of(database)
        for _ in range(ROUNDS):
            renew(there, act)
            there.admin.execute(
                f"ALTER DATABASE {name_of} SET temp_file_limit = '{CHANCE.randint(0, 300)}kB';"
                f"ALTER DATABASE {name_of} SET maintenance_work_mem = '1MB'".encode()
            )
            with pytest.raises(BulkloadError, match="temporary file size exceeds"), connect(database) as connection:
                act.do(connection) if name != "load" else load_much(connection)
            there.admin.execute(f"ALTER DATABASE {name_of} RESET ALL".encode())
            count(f"no room for the sorts of a {name}", judge(there, act))


def load_much(connection: Connection) -> None:
    with start(connection, Plan(KINDS, THINGS), clear=True, drops=EVERYTHING) as sink:
        for n in range(100_000):
            sink.add(THINGS, Thing(n, f"new {n}"))


@pytest.fixture
def tiny_disk(own_server: embedded.Server, tmp_path: Path) -> Generator[Path]:
    """A file system of 12 MB that the server may write to."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount, umount = map(shutil.which, ("mount", "umount"))
    assert mount is not None
    assert umount is not None
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=12m,mode=0777", "tiny", str(folder)], check=False)
    if done.returncode != 0:
        pytest.skip("this machine does not let root mount a small file system")
    try:
        place = folder / "space"
        place.mkdir()
        owner = (own_server.directory / "data").stat()
        os.chown(place, owner.st_uid, owner.st_gid)
        yield place
    finally:
        subprocess.run([umount, str(folder)], check=True)


def test_a_disk_that_is_full_leaves_it_whole(own_server: embedded.Server, tiny_disk: Path) -> None:
    """Rows or indexes that do not fit undo the load; a restore goes on when there is room."""
    act = ACTS["restore"]
    with psycopg.connect(own_server.conninfo, autocommit=True) as server:
        server.execute(sql.SQL("CREATE TABLESPACE tiny LOCATION {}").format(sql.Literal(str(tiny_disk))))
        try:
            with servers.database(own_server.conninfo) as conninfo:
                for _ in range(ROUNDS):
                    full_disk(conninfo, act, tiny_disk)
        finally:
            server.execute("DROP TABLESPACE tiny")


def full_disk(conninfo: str, act: Act, place: Path) -> None:
    with world(conninfo, 5_000) as made:
        made.admin.add_notice_handler(lambda _notice: None)
        made.admin.execute("ALTER TABLE things SET TABLESPACE tiny; ALTER INDEX things_name SET TABLESPACE tiny")
        there = attrs.evolve(made, picture=corpus.picture(made.admin))
        with pytest.raises(BulkloadError, match=r"\(SQLSTATE 53100\)"), connect(conninfo) as connection:
            with start(connection, Plan(KINDS, THINGS), clear=True, drops=EVERYTHING) as sink:
                for n in range(200_000):
                    sink.add(THINGS, Thing(n, f"new {n} " + 50 * "x"))
        count("a full disk in a load", judge(there, ACTS["load"]))
        renew(there, act)
        filler = place.parent / "filler"
        # Some room is left, so that the build fails where it may.
        room = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
        filler.write_bytes(bytes(room - CHANCE.randint(0, 64) * 1024))
        with pytest.raises(BulkloadError, match=r"\(SQLSTATE 53100\)"), connect(conninfo) as connection:
            put_back(connection)
        filler.unlink()
        count("a full disk in a restore", judge(there, act))
        there.admin.execute("DROP SCHEMA public, bulkload CASCADE; CREATE SCHEMA public")
