"""Flags that do not go together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bulkload.cli.commands import JOBS
from bulkload.cli.executors import DASK
from bulkload.errors import UsageError
from bulkload.rebuild.choice import Drop
from bulkload.sources.source import STANDARD_INPUT, Source

if TYPE_CHECKING:
    from bulkload.cli.arguments import Options


def refuse(options: Options) -> None:
    """Raises UsageError for them; a command has but some of the options."""
    paths = [path for name in (*JOBS, "source") if (path := getattr(options, name, None)) is not None]
    if hasattr(options, "symbiants_file") and not paths:
        raise UsageError("no file is named; there are " + ", ".join(f"--{n.replace('_', '-')}" for n in JOBS))
    if paths.count(STANDARD_INPUT) > 1:
        raise UsageError("standard input can be one of the files only")
    _refuse_writing_over(paths, {name: getattr(options, name, None) for name in ("rejects", "report")})
    # What has modes has all that goes with them.
    if hasattr(options, "ultra"):
        _refuse_of_a_load(options)


def _refuse_writing_over(paths: Sequence[str], written: dict[str, Path | None]) -> None:
    files = {name: path for name, path in written.items() if path is not None}
    for name, file in files.items():
        if any(_is_one(file, path) for path in paths):
            raise UsageError(f"--{name} would write over {file}, which is read; name another file")
    if len(files) > 1 and _is_one(*files.values()):
        raise UsageError("--rejects and --report are two files")


def _is_one(file: Path, other: str | Path) -> bool:
    """Whether two paths lead to one file; what is not there, or may not be seen, is told when it is opened."""
    if isinstance(other, str) and other == STANDARD_INPUT:
        with suppress(OSError):
            return os.path.samestat(file.stat(), os.fstat(0)) and file.is_file()
        return False
    path = other if isinstance(other, Path) else Path(Source.of(other).path)
    with suppress(OSError):
        return file.resolve() == path.resolve() or file.samefile(path)
    return False


def _refuse_of_a_load(options: Options) -> None:
    wrong = {
        "--ultra needs --optimized and --clear": options.ultra and not (options.optimized and options.clear),
        "--cascade is for --clear: it empties tables that refer to those": options.cascade and not options.clear,
        "--unlogged and --no-async-commit are levers of --ultra": not options.ultra
        and (options.unlogged is not None or options.no_async_commit),
        "--dry-run changes nothing, and so has nothing to --resume": options.resume and options.dry_run,
        "--dry-run loads nothing that could be in a --report": options.report is not None and options.dry_run,
        "--executor dask and --scheduler go together": (options.executor == DASK) != (options.scheduler is not None),
        "--executor dask needs --optimized: without it, one process maps": options.executor == DASK
        and not options.optimized,
        "without --optimized nothing is dropped": not options.optimized
        and Drop.ALWAYS.value in (options.drop_indexes, options.drop_foreign_keys, options.drop_keys),
    }
    for reason, is_so in wrong.items():
        if is_so:
            raise UsageError(reason)
