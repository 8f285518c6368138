"""What a source holds, as a number: SHA-256 of its bytes on disk, by which a file is known again on any machine.

It is taken by a thread beside the first reading of the sources: hashing 1 GB takes 0.5 to 2 s of one core, in which
Python is free for others (hashlib lets go of its lock).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from bulkload.sources.source import Source

_PIECE = 1 << 20

Checksums = Callable[[], Sequence[str | None]]
"""Waits for the checksums of some sources: hexadecimal, None for what cannot be read again."""


@contextmanager
def checksums(sources: Sequence[Source]) -> Generator[Checksums]:
    """Those of these sources, as they were named; taken from now on, and given up where the block ends before."""
    stop = threading.Event()
    executor = ThreadPoolExecutor(1, thread_name_prefix="bulkload-checksum")
    try:
        found = executor.submit(lambda: [_of(source, stop) for source in sources])
        yield found.result
    finally:
        stop.set()
        executor.shutdown()


def again(source: Source) -> bool:
    """Whether a source can be read again: it is neither standard input nor a pipe."""
    return source.size is not None


def _of(source: Source, stop: threading.Event) -> str | None:
    if not again(source):
        return None
    digest = hashlib.sha256()
    try:
        with Path(source.path).open("rb", buffering=0) as file:
            while not stop.is_set() and (data := file.read(_PIECE)):
                digest.update(data)
    except OSError:
        # Whoever reads it tells why.
        return None
    return digest.hexdigest()
