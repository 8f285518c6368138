"""Connections that nothing comes from any more: they end, while a server that is at work is waited for.

Keepalives notice a machine that is gone. They do not notice a firewall that has forgotten a connection while something
was under way, for a quarter of an hour, nor ever a proxy that takes what it is given and hands nothing on; and a
limit on how long an answer may take would end the building of an index. So a wait that is long is looked into: another
connection asks what the session is at. Where that waits for us in turn, or is gone, what we wait for will not come.

TCP_USER_TIMEOUT is no help: it also ends a connection whose peer lives, and has no room for more rows for a while.
https://blog.cloudflare.com/when-tcp-sockets-refuse-to-die/
"""

from __future__ import annotations

import fcntl
import logging
import sys
import termios
import time
from typing import TypeVar, cast

import attrs
import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from bulkload import statements
from bulkload.errors import one_line

logger = logging.getLogger("bulkload")

T = TypeVar("T")

_SQL = statements.load("session")

KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
"""How soon TCP finds out that the other machine is gone, as options of a connection: after a minute."""

_LOOK = 10.0
"""Seconds without a byte from the server after which it is looked into, again and again."""
_PATIENCE = 60.0
"""Seconds without a byte after which a connection is given up, where two looks in turn found nothing at work."""
_ASKED = 10
"""Seconds that the other connection is given for each of its steps."""
_INTERVAL = 0.1
"""As in the driver: seconds after which a wait looks up."""


@attrs.frozen
class Session:
    """A session of the server; the number of its process alone is another one's some day."""

    pid: int
    since: int
    """When it began, in microseconds of 1970, which are written alike whatever the settings."""


class _Brief(psycopg.Connection[tuple[object, ...]]):
    """A connection that waits for nothing for long."""

    def wait(self, gen: PQGen[T], interval: float = _INTERVAL, timeout: float | None = None) -> T:  # noqa: ARG002 - the driver's
        return super().wait(_within(gen, _ASKED), interval)


def _within(gen: PQGen[T], seconds: float) -> PQGen[T]:
    until = time.monotonic() + seconds
    try:
        wait = next(gen)
        while True:
            ready = yield wait
            if not ready and time.monotonic() > until:
                raise psycopg.OperationalError(f"no answer for {seconds:.0f} s")
            wait = gen.send(ready)
    except StopIteration as stop:
        return cast("T", stop.value)


class Watched(psycopg.Connection[tuple[object, ...]]):
    """A connection that does not wait for ever for what will not come.

    Where nothing is to be expected, every use of it raises OperationalError, which says so.
    """

    session: Session | None = None
    """Its session; None where it is not known, since a pooler is between."""
    _silent = ""

    def wait(self, gen: PQGen[T], interval: float = _INTERVAL, timeout: float | None = None) -> T:
        """As the driver's, which all statements go through."""
        if self._silent:
            raise psycopg.OperationalError(self._silent)
        # Older versions of the driver have no limits of their own.
        return super().wait(self._watched(gen), interval) if timeout is None else super().wait(gen, interval, timeout)

    def _watched(self, gen: PQGen[T]) -> PQGen[T]:
        heard = looked = time.monotonic()
        suspected, under_way = False, -1
        try:
            wait = next(gen)
            while True:
                ready = yield wait
                if ready:
                    heard = looked = time.monotonic()
                    suspected = False
                elif time.monotonic() - looked >= _LOOK:
                    before, suspected = suspected, self._looked_at(time.monotonic() - heard)
                    looked = time.monotonic()
                    then, under_way = under_way, self._under_way()
                    if under_way != then and then >= 0:
                        # The line is but slow.
                        heard, suspected = looked, False
                    # An answer may have been on its way at the first look, not at the next one as well.
                    if before and suspected and looked - heard >= _PATIENCE:
                        self._give_up(looked - heard)
                wait = gen.send(ready)
        except StopIteration as stop:
            return cast("T", stop.value)

    def _looked_at(self, seconds: float) -> bool:
        """Whether nothing seems to be at work on what is waited for so long."""
        try:
            with _Brief.connect(self._elsewhere(), autocommit=True) as other:
                if self.session is None:
                    return False
                found = other.execute(_SQL["at_work"].text, attrs.asdict(self.session)).fetchone()
        except psycopg.errors.ConnectionTimeout:
            return True
        except psycopg.Error as error:
            logger.debug("nobody could be asked what the session is at: %s", one_line(str(error)))
            # A server that answers, were it that it is full, is there.
            return Ping(PGconn.ping(self._elsewhere().encode())) == Ping.NO_RESPONSE
        except BaseException:
            # Interrupted here, what the wait was for cannot be fetched any more.
            self.close()
            raise
        if found is None:
            return True
        at_work, holders = found
        if holders:
            logger.warning("waiting for %.0f s for %s", seconds, holders)
        return not at_work

    def _under_way(self) -> int:
        """Bytes that were sent, and that the other machine has not yet confirmed to have."""
        try:
            # https://man7.org/linux/man-pages/man7/tcp.7.html, SIOCOUTQ
            found = fcntl.ioctl(self.pgconn.socket, termios.TIOCOUTQ, bytes(4))
        except OSError:
            return 0
        return int.from_bytes(found, sys.byteorder)

    def _give_up(self, seconds: float) -> None:
        self._silent = (
            f"nothing came from the server for {seconds:.0f} s, and it is not at work on what was asked of it: the "
            "connection is lost on its way, as by a firewall or proxy that has forgotten it"
        )
        elsewhere, session = self._elsewhere(), self.session
        self.close()
        if session is not None:
            # So that its locks are let go at once. Where nobody answers, the server's own keepalives see to it.
            try:
                with _Brief.connect(elsewhere, autocommit=True) as other:
                    other.execute(_SQL["end_session"].text, attrs.asdict(session))
            except psycopg.Error as error:
                logger.warning("the session at the server could not be ended: %s", one_line(str(error)))
        raise psycopg.OperationalError(self._silent)

    def _elsewhere(self) -> str:
        """How to connect to the same server once more, one of several hosts though it be. It holds the password."""
        info = self.info
        given = {"host": info.host, "hostaddr": info.hostaddr, "port": str(info.port), "password": info.password}
        set_ones = {name: value for name, value in given.items() if value}
        return make_conninfo(info.dsn, connect_timeout=_ASKED, **set_ones)
