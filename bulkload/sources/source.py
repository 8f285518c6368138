"""Where bytes come from: a file or standard input, compressed or not.

A `Source` names it, a `Reader` reads what is inside. Whatever can go wrong there is a SourceError in one line: the
file, what is wrong with it, and what to do now.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

import attrs
import zstandard

from bulkload.errors import SourceError

STANDARD_INPUT = "-"
# Names of what this very process has open: another one, a worker's, has something else there, or nothing.
_DESCRIPTORS = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")

# What is read from the disk at once where the content is compressed.
_CHUNK = 1 << 16

# What a decompressor is given at once, which bounds what it can give back: a kibibyte of zstd is at most 256 blocks of
# 128 KiB (32 MiB), one of gzip at most 1 MiB. The calls cost nothing that shows: of zstd, 64 KiB at once is no faster.
_PIECE = 1 << 10

_UTF8_MARK = b"\xef\xbb\xbf"
# The longer ones first: the mark of UTF-16, little end first, begins that of UTF-32.
_FOREIGN_MARKS = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
# As many bytes as any signature or byte order mark has.
_HEAD = 4


@attrs.frozen
class Source:
    """A file to be read, or standard input. Making one opens nothing."""

    path: str
    """As `open` takes it; '-' is standard input."""
    label: str = ""
    """What messages call it instead of its path, where the path would say nothing to the user."""

    @classmethod
    def of(cls, path: str) -> Source:
        """The source that a user named: `~` and `$VARS` are expanded."""
        # Not Path.expanduser, which fails where there is no such user: a file may be called `~x`.
        return cls(os.path.expanduser(os.path.expandvars(path)))  # noqa: PTH111

    @property
    def name(self) -> str:
        """What messages call it: the name without its directories."""
        if self.label:
            return self.label
        return "standard input" if self.path == STANDARD_INPUT else Path(self.path).name

    @property
    def size(self) -> int | None:
        """Bytes on disk, as `Reader.position` counts them; None where they are not known before the end."""
        status = self._status()
        return status.st_size if status is not None and stat.S_ISREG(status.st_mode) and not self.once else None

    @property
    def once(self) -> bool:
        """Whether it can be read but once, by this process: standard input, a pipe or a device, a descriptor."""
        if self.path == STANDARD_INPUT or self.path.startswith(_DESCRIPTORS):
            return True
        status = self._status()
        return status is not None and not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode))

    @property
    def state(self) -> object:
        """What tells whether the file is still what it was: its place, size and time of change; None without one."""
        status = self._status()
        return None if status is None else (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    @property
    def pipe(self) -> object:
        """Which pipe it is, whatever it is called by, so that none is read for two sources; None where it is none."""
        try:
            status = os.fstat(_standard_input().fileno()) if self.path == STANDARD_INPUT else self._status()
        except (OSError, SourceError):
            return None
        if status is None or not (stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode)):
            return None
        return status.st_dev, status.st_ino

    def look(self) -> None:
        """Raises SourceError where `open` would at once. Takes nothing away from what can be read but once."""
        if self.path == STANDARD_INPUT:
            return
        if not self.once or self._status() is None:
            with self.open():
                pass
        elif not os.access(self.path, os.R_OK):
            raise self._forbidden()

    def spooled(self, directory: Path) -> Source:
        """A source that can be read more than once: what cannot be is written to a file in `directory`.

        Raises SourceError as `open` does, and where there is no room for it.
        """
        if not self.once:
            return self
        file = directory / f"{len(list(directory.iterdir()))}"
        standard = self.path == STANDARD_INPUT
        with nullcontext(_standard_input()) if standard else self._file() as pipe:
            try:
                with file.open("wb") as copy:
                    shutil.copyfileobj(pipe, copy)
            except OSError as error:
                raise SourceError(f"{self.name}: cannot be copied to {directory}: {error.strerror}") from error
        return Source(str(file), label=self.name)

    def part(self, begin: int, end: int) -> bytes:
        """Some bytes of a file that is not compressed. Raises SourceError, also where it has fewer."""
        try:
            with Path(self.path).open("rb", buffering=0) as file:
                file.seek(begin)
                data = file.read(end - begin)
        except OSError as error:
            raise SourceError(f"{self.name}: cannot be read any more at byte {begin}: {error.strerror}") from error
        if len(data) < end - begin:
            raise self.changed()
        return data

    def changed(self) -> SourceError:
        """What is wrong with a source that is not what it was."""
        return SourceError(f"{self.name}: was changed while it was read; import it again when nobody writes to it")

    def open(self) -> Reader:
        """Opens it and looks at its first bytes; to be used in a `with`. Raises SourceError."""
        if self.path == STANDARD_INPUT:
            return Reader(_standard_input(), self.name, keep_open=True)
        file = self._file()
        try:
            return Reader(file, self.label or self.path)
        except BaseException:
            file.close()
            raise

    def _status(self) -> os.stat_result | None:
        """What the system says of the path; None of what is not there, or may not be seen."""
        try:
            return Path(self.path).stat()
        except OSError:
            return None

    def _forbidden(self) -> SourceError:
        return SourceError(f"{self.path}: may not be read by this user; check its owner and mode")

    def _file(self) -> BinaryIO:
        try:
            return Path(self.path).open("rb")
        except FileNotFoundError as error:
            raise SourceError(f"{self.path}: there is no such file; check the path") from error
        except IsADirectoryError as error:
            raise SourceError(f"{self.path}: is a directory; name a file in it") from error
        except PermissionError as error:
            raise self._forbidden() from error
        except OSError as error:
            raise SourceError(f"{self.path}: cannot be opened: {error.strerror}; check the path") from error


def _standard_input() -> BinaryIO:
    # Python has no stdin object where the process was started without the descriptor.
    if sys.stdin is None:
        raise SourceError("standard input: it is closed; name a file, or send the data in")
    return sys.stdin.buffer


class Reader:
    """What is inside a source, front to back, decompressed.

    Compression is told by the first bytes, whatever the name says: gzip of any number of members, zstd of any number
    of frames. Only a bounded piece is decompressed ahead of what was asked for. A UTF-8 byte order mark is skipped.

    `file` is a blocking, buffered stream; `name` is what messages call it. Raises SourceError, as `read` does.
    """

    def __init__(self, file: BinaryIO, name: str, *, keep_open: bool = False) -> None:
        self._file = file
        self._name = name
        self._keep_open = keep_open
        self._position = 0
        self._offset = 0
        self._decompressor: _Decompressor | None = None
        # Compressed bytes not yet used up, from `_used` on.
        self._compressed = b""
        self._used = 0
        # Content bytes not yet handed out.
        self._ahead = b""
        head = self._from_file(_HEAD)
        self._codec = _codec_of(head)
        if self._codec is None:
            # A compressed file is never empty: this one was cut off, or never written.
            if not head and name.endswith((".gz", ".zst")):
                raise SourceError(f"{name}: is empty, and not compressed data as its name says; copy it anew")
            self._ahead = head
        else:
            self._compressed = head
        self._skip_mark()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; standard input stays open."""
        if not self._keep_open:
            self._file.close()

    @property
    def position(self) -> int:
        """Bytes read of the file as it lies on disk, for a progress bar: of a compressed one, the compressed bytes."""
        return self._position

    @property
    def offset(self) -> int:
        """Bytes of the content (decompressed, a byte order mark included) that were handed out so far."""
        return self._offset

    @property
    def plain(self) -> bool:
        """Whether the content is the file as it lies on disk."""
        return self._codec is None

    def read(self, n: int) -> bytes:
        """The next `n` bytes of the content; fewer only where it ends. Raises SourceError."""
        parts = [self._ahead]
        missing = n - len(self._ahead)
        while missing > 0:
            part = self._from_file(missing) if self._codec is None else self._decompressed(self._codec)
            if not part:
                break
            parts.append(part)
            missing -= len(part)
        # Joining one part that is not empty, and slicing all of it, copies nothing: a plain file's usual case.
        content = b"".join(filter(None, parts))
        self._ahead = content[n:]
        self._offset += min(n, len(content))
        return content[:n]

    def peek(self, n: int) -> bytes:
        """The same bytes, which are still the next ones. Raises SourceError."""
        content = self.read(n)
        self._ahead = content + self._ahead
        self._offset -= len(content)
        return content

    def _from_file(self, n: int) -> bytes:
        try:
            data = self._file.read(n)
        except OSError as error:
            raise SourceError(
                f"{self._name}: cannot be read at byte {self._position}: {error.strerror}; check the disk"
            ) from error
        self._position += len(data)
        return data

    def _decompressed(self, codec: _Codec) -> bytes:
        """The next bytes of the content, at most what one piece can hold; b'' at the end."""
        while True:
            if self._used == len(self._compressed):
                self._compressed, self._used = self._from_file(_CHUNK), 0
            if not self._compressed:
                if self._decompressor is not None:
                    raise SourceError(
                        f"{self._name}: its {codec.name} data end early, at byte {self._position}: the file is not "
                        "whole; copy it anew"
                    )
                return b""
            if self._decompressor is None:
                # Tapes and block devices pad gzip with zeros; gzip's own tools read past them.
                if codec.padded and self._compressed[self._used] == 0:
                    self._used += 1
                    continue
                self._decompressor = codec.decompressor()
            piece = self._compressed[self._used : self._used + _PIECE]
            try:
                content = self._decompressor.decompress(piece)
            except codec.error as error:
                where = self._position - len(self._compressed) + self._used
                raise SourceError(
                    f"{self._name}: its {codec.name} data are damaged near byte {where} ({error}); copy it anew"
                ) from error
            self._used += len(piece)
            if self._decompressor.eof:
                self._used -= len(self._decompressor.unused_data)
                self._decompressor = None
            if content:
                return content

    def _skip_mark(self) -> None:
        head = self.read(_HEAD)
        for mark, encoding in _FOREIGN_MARKS.items():
            if head.startswith(mark):
                raise SourceError(f"{self._name}: is {encoding} text; convert it to UTF-8 first, as iconv does")
        rest = head.removeprefix(_UTF8_MARK)
        self._ahead = rest + self._ahead
        self._offset -= len(rest)


class _Decompressor(Protocol):
    """What zlib and zstandard have in common: one member, or one frame."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


@attrs.frozen
class _Codec:
    name: str
    decompressor: Callable[[], _Decompressor]
    error: type[Exception]
    """What it raises where the data are damaged."""
    padded: bool = False
    """Whether zeros may follow a member."""


# 16 + MAX_WBITS: with gzip's header and its checksum.
_GZIP = _Codec("gzip", lambda: zlib.decompressobj(16 + zlib.MAX_WBITS), zlib.error, padded=True)
# One object a frame, and not the package's stream_reader, which takes the end of a truncated file for its end.
_ZSTD = _Codec("zstd", lambda: zstandard.ZstdDecompressor().decompressobj(), zstandard.ZstdError)


def _codec_of(head: bytes) -> _Codec | None:
    """By the first bytes of the file; None where it is not compressed, in a way that is read here."""
    if head.startswith(b"\x1f\x8b"):
        return _GZIP
    # A frame, or a skippable frame (any of 16 signatures), which some writers put first.
    if head == b"\x28\xb5\x2f\xfd" or (head[1:] == b"\x2a\x4d\x18" and head[0] in range(0x50, 0x60)):
        return _ZSTD
    return None
