"""`copy`: one file into one table, with nothing to map."""

from __future__ import annotations

import codecs
import csv
import io
import time
from contextlib import ExitStack
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from bulkload.cli import output
from bulkload.cli.servers import connection
from bulkload.errors import SchemaError, SourceError, UsageError
from bulkload.rows.stream import copy_csv
from bulkload.server import catalog
from bulkload.server.connection import refused, transaction
from bulkload.sources.source import Source

if TYPE_CHECKING:
    from bulkload.cli.arguments import Options

# Bytes that are read and sent at once; a header has no more.
_BLOCK = 1 << 18


def copy(options: Options) -> int:
    """COPY a CSV file; all of it is in, or nothing."""
    source = Source.of(options.file)
    given = None if options.columns is None else _given(options.columns)
    with ExitStack() as stack:
        # Before a server is asked for anything: what is wrong with the file is found at once.
        reader = stack.enter_context(source.open())
        head = reader.read(_BLOCK)
        columns = given or _fields(source, head)
        opened = stack.enter_context(connection(options))
        begin = time.perf_counter()
        with refused("reading the catalog"):
            schema, table = catalog.parsed(opened, options.schema, options.table)
            target = catalog.describe_table(opened, table, schema)
        missing = [name for name in columns if name not in target.columns]
        if missing:
            raise SchemaError(
                f"{source.name}: {target} has no column {', '.join(missing)}; "
                "the first line of the file, or --columns, names those that it has"
            )
        blocks = chain([head], iter(partial(reader.read, _BLOCK), b""))
        # Its commit may be refused, too: by a deferred constraint.
        with refused(f"{source.name}: COPY into {target}"), transaction(opened):
            count = copy_csv(opened, target, columns, blocks, header=given is None, name=source.name)
    # All is in, and a reader who has gone changes nothing of that.
    with output.to_whom_it_may_concern():
        output.tell(f"{source.name}: {count:,} rows into {target} in {time.perf_counter() - begin:.1f} s")
    return 0


def _given(text: str) -> list[str]:
    """The names of --columns. Raises UsageError."""
    try:
        names = next(csv.reader([text], strict=True), list[str]())
    except csv.Error as error:
        raise UsageError(f"--columns {text!r}: {error}") from error
    if not all(names) or not names:
        raise UsageError("--columns: a name is empty")
    return names


def _fields(source: Source, head: bytes) -> list[str]:
    """The first line of a file. Raises SourceError."""
    # What is cut short at the end of the block is behind the first line.
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(head)
    try:
        found = next(csv.reader(io.StringIO(text, newline=""), strict=True), list[str]())
    except csv.Error as error:
        raise SourceError(f"{source.name}: the first line is not CSV: {error}") from error
    if not found:
        raise SourceError(f"{source.name}: there is no first line that names columns; name them with --columns")
    return found
