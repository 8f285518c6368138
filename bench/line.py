"""A line to the server: a TCP proxy that delays what passes it, and counts it.

    with Line(server.conninfo, delay=0.010) as line:
        psycopg.connect(line.conninfo(dbname="imported"))

A block of bytes leaves it the delay after it came in, in either direction, so that a round trip takes twice the delay
and as many blocks are under way as there is time for: the bandwidth stays that of the machine. What TCP does on a real
line of that length (a window that opens slowly, a packet that is lost) is not shown.

While it is open, whoever has an account on this machine can connect to a server that asks for no password.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeAlias

import attrs
from psycopg.conninfo import conninfo_to_dict, make_conninfo

Blocks: TypeAlias = "queue.Queue[tuple[float, bytes]]"
"""What is under way in one direction, each block with the time at which it is due; an empty one is the end."""

_BLOCK = 1 << 18
_UNDER_WAY = 256
"""Blocks between the two ends, 64 MiB where they are full: a bound for when the other end is slower."""
_STATEMENTS = (b"Q", b"E")
"""The messages that make the server run a statement: Query and Execute."""
_FAREWELL = b"X"
"""The message that ends a connection, and that nobody waits for an answer to."""


@attrs.define
class Tally:
    """What one connection has said."""

    round_trips: int = 0
    """Turns: how often the client spoke after the server had."""
    statements: int = 0
    """Queries and executions of prepared statements. COPY is one, however many rows it has."""
    _servers_turn: bool = False
    _left: int = 0
    """Bytes of the current message that are still to come."""
    _header: bytes = b""
    """The part of a message's type and length that has come."""
    _started: bool = False

    def client(self, block: bytes) -> None:
        """Take note of what the client says."""
        at = 0
        while at < len(block):
            if self._left:
                step = min(self._left, len(block) - at)
                self._left -= step
            else:
                # The first message of a connection has no type, only a length.
                size = 5 if self._started else 4
                step = min(size - len(self._header), len(block) - at)
                self._header += block[at : at + step]
                if len(self._header) == size:
                    self._note(self._header[:-4])
                    self._left = int.from_bytes(self._header[-4:]) - 4
                    self._header, self._started = b"", True
            at += step

    def server(self, _: bytes) -> None:
        """Take note that the server says something."""
        self._servers_turn = False

    def _note(self, kind: bytes) -> None:
        """Take note of a message; the first one has no kind."""
        self.statements += kind in _STATEMENTS
        if not self._servers_turn and kind != _FAREWELL:
            self._servers_turn = True
            self.round_trips += 1


class Line:
    """A line to a server that listens on a Unix socket; open until the end of the `with` block."""

    def __init__(self, conninfo: str, delay: float = 0.0) -> None:
        self._conninfo = conninfo
        self._delay = delay
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._tallies: list[Tally] = []
        self._sockets: list[socket.socket] = []

    def conninfo(self, dbname: str) -> str:
        """How to connect to one of the server's databases through it."""
        host, port = self._listener.getsockname()
        return make_conninfo(
            self._conninfo, host=host, port=port, dbname=dbname, sslmode="disable", gssencmode="disable"
        )

    @property
    def round_trips(self) -> int:
        """Of all connections."""
        return sum(tally.round_trips for tally in self._tallies)

    @property
    def statements(self) -> int:
        """Of all connections."""
        return sum(tally.statements for tally in self._tallies)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for each in (self._listener, *self._sockets):
            # A closed socket alone would not wake who waits for it.
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _connected(self) -> socket.socket:
        """A connection to the server."""
        parameters = conninfo_to_dict(self._conninfo)
        host, port = str(parameters["host"]), int(parameters["port"] or 0)
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                server = self._connected()
                tally = Tally()
                self._tallies.append(tally)
                self._sockets += [client, server]
                for source, target, see in ((client, server, tally.client), (server, client, tally.server)):
                    blocks: Blocks = queue.Queue(_UNDER_WAY)
                    threading.Thread(target=self._take, args=(source, blocks, see), daemon=True).start()
                    threading.Thread(target=_deliver, args=(target, blocks), daemon=True).start()

    def _take(self, source: socket.socket, blocks: Blocks, see: Callable[[bytes], None]) -> None:
        block = b"-"
        while block:
            try:
                block = source.recv(_BLOCK)
            except OSError:
                block = b""
            if block:
                see(block)
            blocks.put((time.monotonic() + self._delay, block))


def _deliver(target: socket.socket, blocks: Blocks) -> None:
    """Hand over each block when it is due. An end that is gone gets nothing, but what is for it is still taken."""
    block = b"-"
    while block:
        due, block = blocks.get()
        wait = due - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        with suppress(OSError):
            if block:
                target.sendall(block)
            else:
                target.shutdown(socket.SHUT_WR)
