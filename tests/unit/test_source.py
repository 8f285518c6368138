"""Sources: opened, decompressed, and every failure said in one line."""

from __future__ import annotations

import gzip
import io
import os
import sys
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from bulkload import Input, UsageError, check
from bulkload.errors import SourceError
from bulkload.sources.source import Reader, Source
from tests import mappings

CONTENT = b"".join(b'{"AOID": %d, "Name": "a name"}\n' % number for number in range(20_000))
SKIPPABLE = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def reader(data: bytes, name: str = "items.json") -> Reader:
    return Reader(io.BytesIO(data), name)


def content(data: bytes, name: str = "items.json") -> bytes:
    with reader(data, name) as opened:
        return opened.read(1 << 30)


def failure(path: str | Path) -> str:
    """What is said of a file that cannot be opened, or looked at."""
    with pytest.raises(SourceError) as caught:
        Source(str(path)).open()
    message = str(caught.value)
    with pytest.raises(SourceError) as looked:
        Source(str(path)).look()
    assert str(looked.value) == message
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


class TestSource:
    def test_of_expands_home_and_variables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """`~` and `$VARS` mean what they mean in a shell."""
        monkeypatch.setenv("HOME", "/home/me")
        monkeypatch.setenv("SET", "full")
        assert Source.of("~/$SET/items.json").path == "/home/me/full/items.json"
        assert Source.of("${SET}.json").path == "full.json"
        assert Source.of("-").path == "-"

    def test_name_and_size(self, tmp_path: Path) -> None:
        """A source is called by its base name; its size is what it takes on the disk."""
        path = tmp_path / "items.json.gz"
        path.write_bytes(gzip.compress(CONTENT))
        source = Source(str(path))
        assert source.name == "items.json.gz"
        assert source.size == path.stat().st_size
        assert Source("-").name == "standard input"

    def test_size_is_not_known_of_what_is_no_regular_file(self, tmp_path: Path) -> None:
        """Standard input, pipes, and files that are not there have no size."""
        os.mkfifo(tmp_path / "pipe")
        assert Source("-").size is None
        assert Source(str(tmp_path)).size is None
        assert Source(str(tmp_path / "pipe")).size is None
        assert Source(str(tmp_path / "missing")).size is None

    def test_a_file_is_read_and_closed(self, tmp_path: Path) -> None:
        """Leaving the `with` closes the file."""
        path = tmp_path / "items.json"
        path.write_bytes(CONTENT)
        with Source(str(path)).open() as opened:
            assert opened.read(1 << 30) == CONTENT
        with pytest.raises(ValueError, match="closed file"):
            opened.read(1)

    def test_standard_input_may_be_compressed_and_stays_open(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What comes in by a pipe has no name that would tell its compression."""
        for data in (CONTENT, gzip.compress(CONTENT), zstd(CONTENT)):
            stream = io.BytesIO(data)
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream))
            with Source("-").open() as opened:
                assert opened.read(1 << 30) == CONTENT
            assert not stream.closed

    def test_no_standard_input(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A process may have been started without one."""
        monkeypatch.setattr(sys, "stdin", None)
        with pytest.raises(SourceError, match="standard input: it is closed"):
            Source("-").open()

    def test_what_cannot_be_opened(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Missing, a directory, forbidden, anything else: said with the path, and what to do."""
        assert "there is no such file" in failure(tmp_path / "items.json")
        assert "is a directory" in failure(tmp_path)
        assert "Not a directory" in failure(_written(tmp_path / "file", b"x") / "items.json")

        def refused(path: Path, mode: str) -> BinaryIO:
            raise PermissionError(13, "Permission denied", path, mode)

        monkeypatch.setattr(Path, "open", refused)
        assert "may not be read by this user" in failure(tmp_path / "items.json")

    @pytest.mark.parametrize("kind", ["named", "of a shell"])
    def test_a_pipe_is_looked_at_and_stays_whole(self, tmp_path: Path, kind: str) -> None:
        """`look` neither waits for who writes to it nor takes away what is in it; a copy has all."""
        path, reading, writing = tmp_path / "pipe", *os.pipe()
        os.mkfifo(path)
        (tmp_path / "copies").mkdir()
        source = Source(str(path) if kind == "named" else f"/dev/fd/{reading}")
        source.look()
        with ThreadPoolExecutor(1) as executor, open(reading, "rb"):  # noqa: PTH123 - a descriptor
            os.write(writing, CONTENT[:5000])
            source.look()
            executor.submit(_feed, path if kind == "named" else writing, CONTENT if kind == "named" else CONTENT[5000:])
            copy = source.spooled(tmp_path / "copies")
        assert (copy.name, Path(copy.path).read_bytes(), source.size) == (source.name, CONTENT, None)

    def test_a_descriptor_is_of_this_process(self, tmp_path: Path) -> None:
        """Another one, a worker's, would find something else there, or nothing: it is copied, a file though it be."""
        with _written(tmp_path / "items.json", CONTENT).open("rb") as file:
            source = Source(f"/dev/fd/{file.fileno()}")
            (tmp_path / "copies").mkdir()
            assert Path(source.spooled(tmp_path / "copies").path).read_bytes() == CONTENT
            assert source.size is None
        assert Source(str(tmp_path / "items.json")).spooled(tmp_path) == Source(str(tmp_path / "items.json"))

    def test_a_pipe_is_one_source(self, tmp_path: Path) -> None:
        """Of two, one would have nothing, or wait for ever: whatever they are called by."""
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "link").symlink_to("pipe")
        inputs = [Input(mappings.PARTS_JOB, Source(str(tmp_path / name))) for name in ("pipe", "link")]
        with pytest.raises(UsageError, match="pipe and link are one pipe, which can be read but once"):
            check(inputs, {})

    def test_what_fails_at_its_first_bytes_is_closed(self, tmp_path: Path) -> None:
        """An unusable file leaves nothing open; an open file would be a warning here, and so a failure."""
        assert "UTF-16" in failure(_written(tmp_path / "items.json", "[]".encode("utf-16")))


class TestReader:
    @pytest.mark.parametrize(
        "data",
        [
            CONTENT,
            gzip.compress(CONTENT),
            gzip.compress(CONTENT[:1000]) + gzip.compress(b"") + gzip.compress(CONTENT[1000:]) + bytes(600),
            zstd(CONTENT),
            SKIPPABLE + zstd(CONTENT[:1000]) + SKIPPABLE + zstd(b"") + zstd(CONTENT[1000:]),
        ],
        ids=["plain", "gzip", "gzip members and padding", "zstd", "zstd frames"],
    )
    def test_read_returns_as_much_as_was_asked_for(self, data: bytes) -> None:
        """Fewer bytes come only at the end; position ends at the size on disk, offset at that of the content."""
        with reader(data) as opened:
            parts: list[bytes] = []
            for size in (1, 2, 5, 100_000, 3, 7919, 1 << 18):
                parts.append(opened.read(size))
                assert len(parts[-1]) == size
                assert opened.offset == sum(map(len, parts))
                assert 0 < opened.position <= len(data)
            parts.append(opened.read(1 << 30))
            assert b"".join(parts) == CONTENT
            assert opened.read(1) == b""
            assert (opened.position, opened.offset) == (len(data), len(CONTENT))

    @given(st.binary(max_size=200), st.lists(st.integers(1, 64), min_size=1))
    def test_any_content_comes_through(self, data: bytes, sizes: list[int]) -> None:
        """Whatever the sizes that are asked for, and whatever the compression."""
        # A byte order mark, or what looks like compressed data, is another matter.
        data = b" " + data
        for packed in (data, gzip.compress(data), zstd(data)):
            opened = reader(packed)
            parts = [opened.read(sizes[n % len(sizes)]) for n in range(len(data) + 1)]
            assert b"".join(parts) == data

    @pytest.mark.parametrize("pack", [gzip.compress, zstd], ids=["gzip", "zstd"])
    def test_a_truncated_file_is_told_wherever_it_was_cut(self, pack: Callable[[bytes], bytes]) -> None:
        """No cut goes unnoticed: not between blocks, not before the checksum."""
        data = pack(CONTENT[:500])
        for length in range(4, len(data)):
            with pytest.raises(SourceError, match=r"items\.json: its \w+ data end early, at byte \d+: .* copy it anew"):
                content(data[:length])

    @pytest.mark.parametrize("data", [gzip.compress(CONTENT), zstd(CONTENT)], ids=["gzip", "zstd"])
    def test_damaged_data_are_told(self, data: bytes) -> None:
        """A changed byte, or something else after the data, is an error and not the end."""
        damaged = bytearray(data)
        damaged[len(data) // 2] ^= 0xFF
        for bad in (bytes(damaged), data + b"something else"):
            with pytest.raises(SourceError, match=r"items\.json: its \w+ data are damaged near byte \d+ \("):
                content(bad)

    @pytest.mark.parametrize("name", ["items.json.gz", "items.json.zst"])
    def test_an_empty_file_is_not_compressed_data(self, name: str) -> None:
        """A compressed file has bytes even where its content has none."""
        with pytest.raises(SourceError, match=f"{name}: is empty"):
            reader(b"", name)
        assert content(b"", "symbiants.csv") == b""
        assert content(gzip.compress(b""), name) == b""
        assert content(zstd(b""), name) == b""

    def test_a_plain_file_may_be_named_as_a_compressed_one(self) -> None:
        """Some programs decompress what they fetch and keep its name."""
        assert content(b"[1]", "items.json.gz") == b"[1]"

    @pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd], ids=["plain", "gzip", "zstd"])
    def test_byte_order_marks(self, pack: Callable[[bytes], bytes]) -> None:
        """That of UTF-8 is skipped and counted; the others mean text that nobody here reads."""
        opened = reader(pack(b"\xef\xbb\xbf[1]"))
        assert opened.offset == 3
        assert opened.read(10) == b"[1]"
        assert opened.offset == 6
        assert content(pack(b"\xef\xbb\xbf")) == b""
        for encoding in ("utf-16", "utf-32"):
            for mark in ("\ufeff[1]".encode(f"{encoding}-le"), "\ufeff[1]".encode(f"{encoding}-be")):
                with pytest.raises(SourceError, match=f"items.json: is {encoding.upper()} text; convert it"):
                    reader(pack(mark))

    @pytest.mark.parametrize("bomb", [gzip.compress(bytes(1 << 28)), zstd(bytes(1 << 28))], ids=["gzip", "zstd"])
    def test_a_bomb_is_not_inflated_whole(self, bomb: bytes) -> None:
        """256 MiB of zeros from a few kilobytes: what is asked for is made, and a bounded piece more."""
        tracemalloc.start()
        try:
            opened = reader(bomb)
            for _ in range(40):
                assert len(opened.read(1 << 20)) == 1 << 20
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        # 32 MiB, three times where two parts are joined.
        assert peak < 100 << 20

    def test_an_error_of_the_disk(self) -> None:
        """What the system says is passed on, with the byte."""

        class Failing(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                if self.tell() >= 4:
                    raise OSError(5, "Input/output error")
                return super().read(size)

        with pytest.raises(SourceError, match=r"items\.json: cannot be read at byte 4: Input/output error; check"):
            Reader(Failing(CONTENT), "items.json").read(10)


def _feed(to: Path | int, data: bytes) -> None:
    with open(to, "wb") as pipe:  # noqa: PTH123 - a path or a descriptor
        pipe.write(data)


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
