"""Flags that several commands have, a group a function."""

from __future__ import annotations

import argparse
from pathlib import Path

from bulkload.cli import executors
from bulkload.mapping.chunks import DEFAULT_CHUNK
from bulkload.rebuild.choice import Drop


def importing(parser: argparse.ArgumentParser) -> None:
    """All that an import can be told."""
    server(parser)
    schema(parser)
    _modes(parser)
    batch_size(parser)
    rejects(parser)
    parser.add_argument(
        "--max-rejects",
        type=count,
        default=0,
        metavar="N",
        help="how many rejected records are let through (default %(default)s: the first one ends the run)",
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="where the account of the run is written as well, when all is in: as HTML, or as JSON to a name that ends "
        "in .json",
    )


def server(parser: argparse.ArgumentParser) -> None:
    """Which server."""
    parser.add_argument("--dsn", metavar="DSN", help="the server: a connection string or URI (see below)")


def schema(parser: argparse.ArgumentParser) -> None:
    """Which schema of it."""
    parser.add_argument("--schema", default="public", metavar="NAME", help="where the tables are (default %(default)s)")


def files(parser: argparse.ArgumentParser, *names: str) -> None:
    """The sources of the items database; which of them has to be there depends on what else can be."""
    group = parser.add_argument_group(
        "files",
        "~ and $VARS are expanded, gzip and zstd are read as they are, - is standard input; a file that --rejects "
        "wrote is read like the file that its records are from",
    )
    required = len(names) == 1 or (names[0] == "items" and "nanos" not in names)
    for name in names:
        group.add_argument(f"--{name}-file", metavar="FILE", help=f"the {name}", required=required and name == names[0])


def _modes(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "mode", "without a flag: INSERT, a transaction a batch, nothing dropped; the files are checked before it begins"
    )
    group.add_argument("--optimized", action="store_true", help="COPY, one transaction for the whole run")
    group.add_argument(
        "--ultra",
        action="store_true",
        help="parallel and not atomic: says what is at stake, and asks; needs --optimized and --clear",
    )
    group.add_argument("--yes", action="store_true", help="answers what --ultra asks")
    group.add_argument(
        "--clear", action="store_true", help="first empty the tables that are filled, and those that refer to them"
    )
    group.add_argument(
        "--cascade", action="store_true", help="with --clear also tables that refer to them and are not this package's"
    )
    group.add_argument(
        "--resume",
        action="store_true",
        help="go on with the same import where it was stopped (without --optimized, or with --ultra): nothing is "
        "emptied again, and what is in stays; where none was stopped, start anew",
    )
    group.add_argument(
        "--jobs",
        type=_at_least_one,
        metavar="N",
        help="worker processes, for --optimized and --ultra and files that are large enough (default: the cores); with "
        "--executor dask the chunks that the cluster works on at a time (default: its threads)",
    )
    group.add_argument(
        "--executor",
        choices=["processes", executors.DASK],
        default="processes",
        help="what maps records: processes of its own (default), or a Dask cluster whose workers have this package",
    )
    group.add_argument("--scheduler", metavar="ADDR", help="the scheduler of the cluster, as in tcp://10.0.0.1:8786")
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="only print the plan: locks, statements about the tables, estimates and findings; nothing is changed",
    )
    _drops(parser)


def _drops(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "what is taken away while rows come in, and put back", "with --optimized: where a flag is not given, auto"
    )
    for name, what in (
        ("indexes", "secondary indexes"),
        ("foreign-keys", "foreign keys"),
        ("keys", "primary keys, unique and exclusion constraints (auto: not where a conflict rule needs them)"),
    ):
        group.add_argument(
            f"--drop-{name}", choices=[each.value for each in Drop], default=Drop.AUTO.value, help=what
        )  # fmt: skip
        group.add_argument(
            f"--no-drop-{name}",
            dest=f"drop_{name.replace('-', '_')}",
            action="store_const",
            const=Drop.NEVER.value,
            help="short for never",
        )
    group = parser.add_argument_group("levers of --ultra")
    group.add_argument(
        "--unlogged",
        nargs="?",
        const="yes",
        choices=("yes", "insist"),
        help="tables are UNLOGGED while they are filled: a crash of the server empties them (insist: standbys or not)",
    )
    group.add_argument(
        "--no-async-commit", action="store_true", help="commits wait for the disk, as the server is set to"
    )


def batch_size(parser: argparse.ArgumentParser) -> None:
    """How much is mapped and written together."""
    parser.add_argument(
        "--batch-size",
        type=_at_least_one,
        default=DEFAULT_CHUNK,
        metavar="N",
        help="records that are mapped and written together (default %(default)s)",
    )


def rejects(parser: argparse.ArgumentParser) -> None:
    """Where rejected records go."""
    parser.add_argument(
        "--rejects",
        type=Path,
        metavar="FILE",
        help="where rejected records go, as JSON Lines with their reasons: records that cannot be read, do not fit "
        "their columns, or break a constraint or a trigger's rule. Mend them there, and import that file",
    )


def count(text: str) -> int:
    """A number that is not negative."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return number


def _at_least_one(text: str) -> int:
    number = count(text)
    if number == 0:
        raise argparse.ArgumentTypeError("it must be 1 at least")
    return number
