"""COPY of the documents as they are into a table with a jsonb column; SQL takes them apart.

Secondary indexes are away meanwhile; keys and foreign keys stay.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import psycopg

from bench.baselines.indexes import dropped
from bench.baselines.records import batches
from bulkload import Statements
from bulkload.gamedb import Files

_SQL = Statements(Path(__file__).with_suffix(".sql"))
_split = msgspec.json.Decoder(list[msgspec.Raw])


def load(dsn: str, files: Files) -> None:
    """Fill the items part, in one transaction."""
    with dropped(dsn), psycopg.connect(dsn) as connection:
        connection.execute(_SQL["stage"].text)
        for path, is_nano in ((files.items, b"f\t"), (files.nanos, b"t\t")):
            with connection.cursor() as cursor, cursor.copy(_SQL["copy"].text) as copy:
                for some in batches(_split.decode(path.read_bytes()), 100):
                    copy.write(b"".join([b"%b%b\n" % (is_nano, _escaped(raw)) for raw in some]))
        connection.execute(_SQL["take_apart"].text)


def _escaped(raw: msgspec.Raw) -> bytes:
    """A document on one line, as COPY reads it. Line ends and tabs stand between values only, as blanks."""
    return bytes(raw).replace(b"\\", b"\\\\").replace(b"\n", b" ").replace(b"\r", b" ").replace(b"\t", b" ")
