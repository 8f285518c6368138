"""The jobs of a user's own modules, by name."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from bulkload.errors import UsageError, one_line
from bulkload.mapping.job import Job


def named(text: str) -> Job[Any]:
    """The job that `MODULE:JOB` names; modules of the working directory are found, too. Raises UsageError."""
    module, _, name = text.partition(":")
    if not (module and name):
        raise UsageError(f"{text}: write MODULE:JOB, as in shop.orders:JOB")
    # As `python -m` has it; the console script has not.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: object = import_module(module)
    except (Exception, SystemExit) as error:  # whatever the module raises, or a script without a guard
        reason = one_line(f"{type(error).__name__}: {error}")
        raise UsageError(f"{text}: the module {module} cannot be imported: {reason}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise UsageError(f"{text}: {module} has no {name}")
        found = getattr(found, part)
    if not isinstance(found, Job):
        raise UsageError(f"{text}: a {type(found).__name__}, and no bulkload.Job")
    return found  # pyright: ignore[reportUnknownVariableType] - a job of whatever documents
