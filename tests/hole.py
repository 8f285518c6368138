r"""A line to the server that swallows what it is given: from some moment on nothing comes through, nor is it closed.

    with Hole(server.conninfo) as hole, connect(hole.conninfo("imported")) as connection:
        hole.open()             # or, when a client says COMMIT: hole.arm(b"COMMIT\0")

As a firewall does that has forgotten a connection, or a proxy that hangs.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType

from bench.line import Blocks, Line

_BLOCK = 1 << 16
_SPEED = 3_000_000
"""Bytes a second of a slow line."""


class SlowLine(Line):
    """A line that takes a few megabytes a second of what a client sends, and keeps none of it back."""

    def __init__(self, conninfo: str) -> None:
        super().__init__(conninfo)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BLOCK)

    def _take(self, source: socket.socket, blocks: Blocks, see: Callable[[bytes], None]) -> None:
        def seen(block: bytes) -> None:
            see(block)
            time.sleep(len(block) / _SPEED)

        super()._take(source, blocks, seen)


class Hole(Line):
    """Nothing gets through of the connections that there are when it opens; nor of others, where it is `whole`.

    `reads` says whether it still takes what is sent, or lets it pile up until nobody can send any more.
    """

    def __init__(self, conninfo: str, *, whole: bool = False, reads: bool = True) -> None:
        super().__init__(conninfo)
        self._whole = whole
        self._reads = reads
        self._marker = b""
        self._answer = False
        self._lost: set[int] = set()
        self._opened = threading.Event()
        self._over = threading.Event()

    def open(self) -> None:
        """From now on."""
        self._lost = set(map(id, self._sockets))
        self._opened.set()

    def arm(self, marker: bytes, *, answer: bool = False) -> None:
        """When a client says that: before it is handed on, or after it, so that only the answer is lost."""
        self._marker, self._answer = marker, answer

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        super().__exit__(kind, error, traceback)

    def _swallows(self, source: socket.socket) -> bool:
        return self._opened.is_set() and (self._whole or id(source) in self._lost)

    def _take(self, source: socket.socket, blocks: Blocks, see: Callable[[bytes], None]) -> None:
        block = b"-"
        while block and (self._reads or not self._swallows(source)):
            try:
                block = source.recv(_BLOCK)
            except OSError:
                block = b""
            heard = bool(self._marker) and not self._opened.is_set() and self._marker in block
            if heard and not self._answer:
                self.open()
            if block and not self._swallows(source):
                see(block)
                blocks.put((0.0, block))
            if heard and self._answer:
                self.open()
        if self._swallows(source):
            # Not even that the client has closed its end is handed on.
            self._over.wait()
        blocks.put((0.0, b""))
