"""A password is used and shown nowhere, whichever way it came and however a command ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bulkload import embedded
from bulkload.server.connection import connect, conninfo_of
from bulkload.workers.shares import LEAST_BYTES

SECRET = "sw0rdf1sh"  # noqa: S105 - it is what is searched for
WRONG = "w0rng-sw0rdf1sh"
PATIENCE = 120.0

Ways = Mapping[str, tuple[Sequence[str], Mapping[str, str]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working directory of all commands, with a set of files; with blanks it is large enough for processes."""
    directory = tmp_path_factory.mktemp("secrets")
    command = [sys.executable, "-m", "bulkload", "generate", "-q", "--out", "set", "--items", "300"]
    subprocess.run(command, cwd=directory, check=True, timeout=PATIENCE, stdout=subprocess.DEVNULL)
    items = directory / "set" / "items.json"
    items.write_bytes(items.read_bytes() + b" " * LEAST_BYTES)
    return directory


@pytest.fixture(scope="module")
def guarded(folder: Path) -> Generator[str]:
    """How to connect, without the password, to a server that lets nobody in without it."""
    with embedded.start(folder / "server", {"fsync": "off"}) as server:
        with psycopg.connect(server.conninfo, autocommit=True) as connection:
            connection.execute(f"ALTER ROLE postgres PASSWORD '{SECRET}'".encode())
            (folder / "server" / "data" / "pg_hba.conf").write_text("local all all scram-sha-256\n")
            connection.execute("SELECT pg_reload_conf()")
        yield server.conninfo


def ways(folder: Path, conninfo: str, password: str) -> Ways:
    """The flags and the environment of each way in which a password comes to a command."""
    parts = {name: str(value) for name, value in conninfo_to_dict(conninfo).items()}
    uri = f"postgresql://{parts['user']}:{password}@/{parts['dbname']}?host={parts['host']}&port={parts['port']}"
    service = folder / "service.conf"
    lines = [f"{name}={value}" for name, value in {**parts, "password": password}.items()]
    service.write_text("\n".join(["[guarded]", *lines]) + "\n")
    passfile = folder / "pgpass"
    passfile.write_text(f"*:*:*:*:{password}\n")
    passfile.chmod(0o600)
    return {
        "URI": ((), {"DATABASE_URL": uri}),
        "keywords": (("--dsn", make_conninfo(conninfo, password=password)), {}),
        "PGPASSWORD": (("--dsn", conninfo), {"PGPASSWORD": password}),
        "service": ((), {"PGSERVICEFILE": str(service), "PGSERVICE": "guarded"}),
        "passfile": (("--dsn", conninfo), {"PGPASSFILE": str(passfile)}),
    }


WAYS = pytest.mark.parametrize("way", ["URI", "keywords", "PGPASSWORD", "service", "passfile"])
FILE = ("--items-file", "set/items.json")


def started(folder: Path, way: tuple[Sequence[str], Mapping[str, str]], *arguments: str) -> subprocess.Popen[str]:
    flags, variables = way
    kept = {name: value for name, value in os.environ.items() if name != "DATABASE_URL" and not name.startswith("PG")}
    return subprocess.Popen(
        [sys.executable, "-m", "bulkload", *arguments, *flags],
        cwd=folder,
        env={**kept, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code, and all that was printed."""
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out + err


def all_text(connection: psycopg.Connection[tuple[object, ...]], *queries: str) -> str:
    return "\n".join(str(row) for query in queries for row in connection.execute(query.encode()))


@WAYS
def test_a_load_that_succeeds_shows_none(folder: Path, guarded: str, way: str) -> None:
    """Neither in its log, nor its rejects or its ledger: with worker processes, and connections of its own."""
    bad = folder / "bad.json"
    bad.write_text(json.dumps([{"AOID": 1}, {"AOID": "x"}]))
    rejects = folder / "rejects.jsonl"
    ultra = ("--optimized", "--ultra", "--clear", "--yes", "--jobs", "2")
    for arguments, code in (
        (("import-items", "-v", *FILE, *ultra), 0),
        (("import-items", "-v", "--items-file", str(bad), "--rejects", str(rejects), "--max-rejects", "1"), 3),
        (("indexes", "drop", "-v"), 0),
        (("indexes", "restore", "-v"), 0),
    ):
        done = ended(started(folder, ways(folder, guarded, SECRET)[way], *arguments))
        assert done[0] == code, done
        assert SECRET not in done[1]
    assert "AOID" in rejects.read_text()
    assert SECRET not in rejects.read_text()
    with psycopg.connect(make_conninfo(guarded, password=SECRET)) as connection:
        ledger = all_text(connection, "SELECT l::text FROM bulkload.loads l", "SELECT d::text FROM bulkload.dropped d")
    assert "ultra" in ledger
    assert SECRET not in ledger


@WAYS
def test_a_server_that_does_not_let_us_in_is_told_without_it(folder: Path, guarded: str, way: str) -> None:
    """Where it is wrong, or there is no such database, nobody listens, or there is no such host; with a traceback."""
    for conninfo, password, words in (
        (guarded, WRONG, "password authentication failed"),
        (make_conninfo(guarded, dbname="nowhere"), SECRET, 'database "nowhere" does not exist'),
        (make_conninfo(guarded, port=5433), SECRET, "No such file or directory"),
        (make_conninfo(guarded, host="127.0.0.1", port=1), SECRET, "refused"),
        (make_conninfo(guarded, host="nowhere.invalid"), SECRET, "nowhere.invalid"),
    ):
        code, said = ended(started(folder, ways(folder, conninfo, password)[way], "import-items", "-v", *FILE))
        assert code == 1
        assert "Traceback" in said
        assert words in said
        assert SECRET not in said


@WAYS
def test_a_load_at_work_shows_none_to_others(folder: Path, guarded: str, way: str) -> None:
    """Not in what the server tells of its sessions, nor in the list of processes; nor when its connection is cut."""
    admin = make_conninfo(guarded, password=SECRET)
    # Two of them: in a transaction the server tells of its sessions as they were when first asked.
    with psycopg.connect(admin) as holder, psycopg.connect(admin, autocommit=True) as connection:
        assert ended(started(folder, ways(folder, guarded, SECRET)["PGPASSWORD"], "create-schema"))[0] == 0
        # All is written, as if it had never been before.
        connection.execute("DROP TABLE IF EXISTS bulkload.fingerprints")
        with holder.transaction():
            # A table that nobody locks before its first rows come, which are mapped by then.
            holder.execute("LOCK TABLE attack_defense IN SHARE MODE")
            kept = ("--no-drop-indexes", "--no-drop-foreign-keys", "--no-drop-keys")
            flags = ("import-items", "-v", *FILE, "--optimized", "--jobs", "2", *kept)
            process = started(folder, ways(folder, guarded, SECRET)[way], *flags)
            watch = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'bulkload'"
            deadline = time.monotonic() + PATIENCE
            while (waiting := connection.execute(watch.encode()).fetchone()) is None:
                assert process.poll() is None, ended(process)
                assert time.monotonic() < deadline
                time.sleep(0.02)
            sessions = all_text(connection, "SELECT a::text FROM pg_stat_activity a WHERE pid <> pg_backend_pid()")
            children = descendants(process.pid)
            connection.execute("SELECT pg_terminate_backend(%s)", waiting)
            code, said = ended(process)
    assert SECRET not in sessions
    assert len(children) >= 2
    assert not any(SECRET in line for line in children)
    assert code == 1
    assert "terminating connection" in said
    assert SECRET not in said


def descendants(pid: int) -> list[str]:
    """The command lines of the processes that a process started, directly or through others."""
    command = ["ps", "-eo", "pid=,ppid=,args="]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = [line.split(None, 2) for line in listed.splitlines()]
    found, parents = list[str](), {str(pid)}
    while below := [line for line in lines if line[1] in parents]:
        found += [line[2] for line in below]
        parents = {line[0] for line in below}
    return found


@pytest.mark.parametrize("way", ["keywords", "PGPASSWORD", "passfile", "service"])
def test_further_connections_are_like_the_first(
    folder: Path, guarded: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that libpq was told holds for those that a load opens itself: TLS, limits, options, and the password."""
    flags, variables = ways(folder, guarded, SECRET)[way]
    for name, value in {**variables, "PGOPTIONS": "-c work_mem=5MB"}.items():
        monkeypatch.setenv(name, value)
    told = {
        "sslmode": "disable", "sslrootcert": "/nowhere.pem", "channel_binding": "disable", "connect_timeout": "7",
        "target_session_attrs": "read-write", "application_name": "night run",
    }  # fmt: skip
    with connect(make_conninfo(flags[1] if flags else "service=guarded", **told)) as first:
        again = conninfo_of(first)
        assert {name: conninfo_to_dict(again)[name] for name in told} == told
        with connect(again) as second:
            assert second.info.password == SECRET
            assert second.info.get_parameters() == first.info.get_parameters()
            assert second.execute("SHOW work_mem").fetchone() == ("5MB",)
