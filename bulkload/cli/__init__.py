"""The command line: a thin layer of flags and messages over the library.

Results go to standard output, log lines and errors to standard error. Exit codes: 0 all of it is in; 1 failed;
2 the command line is wrong; 3 done, some records rejected; 4 the data is in, but something dropped is not back; 130
interrupted.
"""

from __future__ import annotations

import errno
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType

from bulkload.cli import output
from bulkload.cli.arguments import parse
from bulkload.errors import BulkloadError, RestoreError, UsageError, one_line

FAILED = 1
USAGE = 2
NOT_RESTORED = 4
INTERRUPTED = 130

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code. The command line itself being wrong, argparse exits with 2."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    output.start(options)
    # What a service manager sends is an interruption like any other: transactions roll back, servers stop.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = int(options.command(options))
        sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        # Where it came amid a commit, the last one says of all of it what it means.
        notes = getattr(interrupt, "__notes__", [])
        code = _fail(": ".join(["interrupted", *notes[-1:]]), INTERRUPTED)
    except BrokenPipeError:
        output.abandon()
        code = FAILED
    except UsageError as error:
        code = _fail(str(error), USAGE, verbose=options.verbose)
    except RestoreError as error:
        code = _fail(str(error), NOT_RESTORED, verbose=options.verbose)
    except BulkloadError as error:
        code = _fail(str(error), FAILED, verbose=options.verbose)
    except SystemExit as leaving:
        code = _fail(f"interrupted: a job's code called sys.exit({leaving.code!r})", FAILED, verbose=options.verbose)
    except Exception as error:  # noqa: BLE001 - the last line before the user, who gets a message either way
        text = (
            _exhausted(error) or f"internal error: {type(error).__name__}: {error} (-v shows where; please report it)"
        )
        code = _fail(one_line(text), FAILED, verbose=options.verbose)
    return code


def _exhausted(error: Exception) -> str:
    """What this machine has run out of; '' where that is not what is wrong."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return f"{error.filename or 'standard output, or a file,'} cannot be written: {error.strerror}"
    # threading says so, and has no class for it.
    if isinstance(error, MemoryError) or "can't start new thread" in str(error):
        return "there is no memory left on this machine: use fewer --jobs, or a smaller --batch-size"
    return ""


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _fail(message: str, code: int, *, verbose: bool = False) -> int:
    if verbose:
        traceback.print_exc()
    output.complain(message)
    return code
