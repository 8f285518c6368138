"""What a person or a script is shown: log lines, a progress bar, what a command found."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from bulkload.mapping import chunks
from bulkload.sources.source import Source

if TYPE_CHECKING:
    from bulkload.cli.arguments import Options
    from bulkload.ledger.ledger import Entry, LoadLine
    from bulkload.runs.preview import Preview
    from bulkload.server.definitions import Survey

logger = logging.getLogger("bulkload")

PLAIN_WIDTH = 120
"""Where the output is no terminal, rich would fold tables at 80 columns."""


class _JsonLines(logging.Formatter):
    """A log line as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        time = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
        return json.dumps({"time": time, "level": record.levelname.lower(), "message": record.getMessage()})


def start(options: Options) -> None:
    """Have somewhere to write to, and log lines of this package go to standard error, in the form asked for."""
    # Python has no such objects where the process was started without the descriptors.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - to the end of the process
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - as above
    handler = logging.StreamHandler(sys.stderr)
    if options.log_format == "json":
        handler.setFormatter(_JsonLines())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.DEBUG if options.verbose else logging.WARNING if options.quiet else logging.INFO)


def complain(message: str) -> None:
    """Why a command failed, on standard error."""
    logger.error("bulkload: %s", message)


def tell(message: str) -> None:
    """A line of a command's result, on standard output."""
    print(message, flush=True)  # noqa: T201 - this is where output is printed


@contextmanager
def to_whom_it_may_concern() -> Generator[None]:
    """What is printed inside is lost where nobody reads it any more, or where it cannot be written: it is told then."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        abandon()
    except OSError as error:
        abandon()
        logger.warning("the report is not whole: standard output cannot be written: %s", error.strerror)


def abandon() -> None:
    """Whoever read the output has gone: the rest goes nowhere, and the interpreter does not complain at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def progress(options: Options, sources: Sequence[Source]) -> Generator[chunks.Watch]:
    """A bar a source while it is read, on standard error; nothing where that is no terminal."""
    error = Console(stderr=True)
    shown = options.progress == "always" or (options.progress == "auto" and error.is_terminal and not options.quiet)
    if not shown:
        yield chunks.unwatched
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=error) as bar:
        tasks: dict[str, TaskID] = {}
        sizes = {source.name: source.size for source in sources}

        def watch(progress: chunks.Progress) -> None:
            task = tasks.get(progress.source)
            if task is None:
                task = tasks[progress.source] = bar.add_task(progress.source, total=sizes.get(progress.source))
            bar.update(task, completed=progress.bytes_read)

        yield watch


def show_objects(found: Survey, away: Sequence[Entry]) -> None:
    """Indexes and constraints of some tables, and what of theirs is away."""
    table = Table("table", "what", "definition", header_style="bold")
    for each in found.indexes:
        kind = each.kind.value + ("" if each.valid else ", invalid")
        definition = f"{each.name}: {each.constraint_definition}" if each.constraint_name else each.definition
        table.add_row(f"{each.schema}.{each.table_name}", kind, definition)
    for key in found.foreign_keys:
        kind = key.kind.value + ("" if key.valid else ", not valid")
        table.add_row(f"{key.schema}.{key.table_name}", kind, f"{key.name}: {key.definition}")
    for entry in away:
        table.add_row(f"{entry.schema}.{entry.table_name}", f"{entry.kind}, away", f"{entry.name} (load {entry.load})")
    console().print(table)


def show_preview(found: Preview) -> None:
    """What a run would do."""
    table = figures("table", "rows to come, about")
    for name, rows in found.expected.items():
        table.add_row(name, f"{rows:,.0f}")
    console().print(table)
    for title, lines in (
        ("locks", found.locks),
        ("taken away while rows come in", [f"the {each}" for each in found.choice.dropped]),
        ("stays", [f"the {kept.object}: {kept.reason}" for kept in found.choice.kept]),
        ("weighed by", found.model),
        ("findings", found.findings or ["none"]),
        ("statements", [" ".join(_plain(each).split()) for each in found.statements]),
    ):
        tell(f"{title}:")
        for line in lines:
            tell(f"  {line}")


def _plain(statement: str) -> str:
    """A statement without the comment above it."""
    return "\n".join(line for line in statement.splitlines() if not line.startswith("--"))


def show_loads(lines: Sequence[LoadLine]) -> None:
    """The loads of the ledger."""
    table = Table("load", "mode", "state", "began", "ended", "client", "away", "progress", header_style="bold")
    for line in lines:
        ended = f"{line.ended:%Y-%m-%d %H:%M:%S}" if line.ended is not None else ""
        told = {**({"records": line.loaded} if line.loaded else {}), **line.progress}
        progress = ", ".join(f"{name} {value}" for name, value in told.items())
        table.add_row(
            str(line.id), line.mode, line.state, f"{line.started:%Y-%m-%d %H:%M:%S}", ended, line.client,
            str(line.dropped), progress,
        )  # fmt: skip
    console().print(table)


class _Console(Console):
    """One that leaves it to others what becomes of a command whose reader has gone."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console() -> Console:
    """Where tables are drawn: standard output."""
    # Names and definitions may look like markup: `[a-z]`.
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    return _Console(width=width, markup=False, emoji=False)


def figures(first: str, *others: str) -> Table:
    """A table whose columns but the first are numbers."""
    table = Table(first, title_justify="left", header_style="bold")
    for name in others:
        table.add_column(name, justify="right")
    return table
