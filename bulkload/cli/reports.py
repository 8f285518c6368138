"""The account of a load: records a source, rows a table, seconds a phase; on the terminal, and in a file."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import attrs
from rich.console import Console
from rich.table import Table

from bulkload.cli.output import PLAIN_WIDTH, console, figures, tell
from bulkload.errors import SourceError
from bulkload.model.report import Report

logger = logging.getLogger("bulkload")

_PAGE = """\
<!DOCTYPE html>
<meta charset="utf-8">
<title>bulkload</title>
<style>body {{ margin: 2em }} pre {{ font: 14px/1.2 monospace }} {stylesheet}</style>
<pre>{code}</pre>
"""
"""As `rich` fills it in."""


def show(report: Report, *, would: bool = False) -> None:
    """Print it, or what there would be of it."""
    if report.resumed:
        tell(f"gone on with where it was stopped: {report.resumed:,} records were done with")
    shown = console()
    for table in _tables(report, would=would):
        shown.print(table)


def look(path: Path) -> None:
    """Raises SourceError where a report could not be written to this file; nothing of it is changed."""
    # Nothing is opened: that would make a file, or be all that the reader of a pipe sees.
    try:
        obstacle = _obstacle(path.resolve())
    except OSError as error:
        obstacle = error.errno or errno.EIO
    if obstacle:
        raise SourceError(f"{path}: the report cannot be written: {os.strerror(obstacle)}")


def _obstacle(path: Path) -> int:
    """What keeps one from writing a file, as in `errno`; 0 for nothing. Raises OSError, which is another one."""
    if path.exists():
        return errno.EISDIR if path.is_dir() else 0 if os.access(path, os.W_OK) else errno.EACCES
    if not path.parent.exists():
        return errno.ENOENT
    return errno.ENOTDIR if not path.parent.is_dir() else 0 if os.access(path.parent, os.W_OK) else errno.EACCES


def write(path: Path, report: Report) -> None:
    """Write it to a file, as JSON where its name ends so, else as HTML. All is in: what is wrong is told, no more."""
    text = _as_json(report) if path.suffix == ".json" else _as_html(report)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        logger.warning("%s: the report cannot be written: %s", path, error.strerror)


def _as_json(report: Report) -> str:
    found = attrs.asdict(report, filter=lambda attribute, _: not attribute.name.startswith("_"))
    found["sources"] = [{**attrs.asdict(source), "read": source.read} for source in report.sources]
    every = {"bulkload": version("bulkload"), "rows": report.rows, "rejected": report.rejected, **found}
    return json.dumps(every, indent=2)


def _as_html(report: Report) -> str:
    drawn = Console(record=True, width=PLAIN_WIDTH, file=io.StringIO(), markup=False, emoji=False)
    sources = ", ".join(source.name for source in report.sources)
    drawn.print(f"bulkload: {report.rows:,} rows of {sources} in {report.seconds:.2f} s")
    for table in _tables(report, would=False):
        drawn.print(table)
    return drawn.export_html(code_format=_PAGE)


def _tables(report: Report, *, would: bool) -> Iterator[Table]:
    yield _of_sources(report)
    if would:
        yield _of_rows_to_come(report)
    else:
        yield _of_rows(report)
        yield _of_phases(report)


def _of_sources(report: Report) -> Table:
    table = figures("source", "read", "loaded", "unchanged", "skipped", "superseded", "rejected")
    for source in report.sources:
        counts = (
            source.read, source.loaded, source.unchanged, source.skipped, source.superseded, source.rejected,
        )  # fmt: skip
        table.add_row(source.name, *(f"{count:,}" for count in counts))
    return table


def _of_rows_to_come(report: Report) -> Table:
    table = figures("table", "rows")
    for name, rows in report.tables.items():
        table.add_row(name, f"{rows.inserted:,}")
    table.add_section()
    table.add_row("all", f"{report.rows:,}")
    return table


def _of_rows(report: Report) -> Table:
    table = figures("table", "inserted", "updated", "unchanged", "deleted", "seconds", "rows/s")
    for name, rows in report.tables.items():
        counts = (rows.inserted, rows.updated, rows.unchanged, rows.deleted)
        rate = f"{(rows.inserted + rows.updated) / rows.seconds:,.0f}" if rows.seconds > 0 else ""
        table.add_row(name, *(f"{count:,}" for count in counts), f"{rows.seconds:.2f}", rate)
    table.add_section()
    every = report.tables.values()
    sums = (
        sum(t.inserted for t in every),
        sum(t.updated for t in every),
        sum(t.unchanged for t in every),
        sum(t.deleted for t in every),
    )
    rate = f"{report.rows / report.seconds:,.0f}" if report.seconds > 0 else ""
    table.add_row("all, the whole run", *(f"{count:,}" for count in sums), f"{report.seconds:.2f}", rate)
    return table


def _of_phases(report: Report) -> Table:
    table = figures("phase", "seconds", "share")
    for name, seconds in report.phases.items():
        share = f"{seconds / report.seconds:.0%}" if report.seconds > 0 else ""
        table.add_row(name, f"{seconds:.2f}", share)
    table.add_section()
    table.add_row("total", f"{report.seconds:.2f}", "")
    return table
