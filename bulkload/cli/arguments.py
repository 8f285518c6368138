"""The commands and their flags."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from bulkload.cli import commands, contradictions, copying, executors, maintenance
from bulkload.errors import UsageError
from bulkload.mapping.chunks import DEFAULT_CHUNK
from bulkload.rebuild.choice import Drop

_EPILOG = """\
The server is named by --dsn, else by the variable DATABASE_URL, else by libpq's own PG* variables and service files.
Where none of these is set, an embedded PostgreSQL is used, whose data stays in .bulkload/ under the working directory.
A password belongs into DATABASE_URL, PGPASSWORD or ~/.pgpass rather than --dsn, which other users can see in the list
of processes.

exit codes: 0 all of it is in; 1 failed, and the database is as before, or the message says what is in;
2 the command line is wrong; 3 done, some records rejected; 4 the data is in, but something dropped could not be
restored (see recover); 130 interrupted, cleaned up like 1.
"""


class Options(argparse.Namespace):
    """What was given on the command line. A command sees only the options that it has."""

    command: Callable[[Options], int]
    dsn: str | None
    schema: str
    optimized: bool
    ultra: bool
    clear: bool
    cascade: bool
    yes: bool
    action: str
    tables: list[str]
    foreign_keys: bool
    keys: bool
    dry_run: bool
    resume: bool
    jobs: int | None
    executor: str
    scheduler: str | None
    drop_indexes: str
    drop_foreign_keys: str
    drop_keys: str
    unlogged: str | None
    no_async_commit: bool
    batch_size: int
    max_rejects: int
    rejects: Path | None
    report: Path | None
    job: str
    source: str
    table: str
    file: str
    columns: str | None
    items_file: str | None
    nanos_file: str | None
    perks_file: str | None
    symbiants_file: str | None
    items: int
    nanos: int | None
    perks: int | None
    symbiants: int | None
    seed: int
    out: Path
    progress: str
    log_format: str
    verbose: bool
    quiet: bool


def parse(arguments: Sequence[str]) -> Options:
    """The options of a command line; exits with 2 where it is wrong."""
    parser = _parser()
    options = parser.parse_args(arguments, Options())
    try:
        contradictions.refuse(options)
    except UsageError as error:
        parser.error(str(error))
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bulkload",
        description="Load a lot of nested data into PostgreSQL.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")

    demo = _add(found, "demo", commands.demo, "the main job, whole, with nothing set up: generate, import, check")
    demo.add_argument(
        "--items", type=_count, default=20_000, metavar="N", help="items to generate (default %(default)s)"
    )
    _add_server(demo)

    generate = _add(found, "generate", commands.generate, "write a set of source files of any size")
    generate.add_argument("--out", type=Path, required=True, metavar="DIR", help="the directory to write them to")
    generate.add_argument("--items", type=_count, default=20_000, metavar="N", help="items (default %(default)s)")
    for name in ("nanos", "perks", "symbiants"):
        generate.add_argument(f"--{name}", type=_count, metavar="N", help=f"{name} (default: in proportion)")
    generate.add_argument(
        "--seed", type=int, default=1, metavar="S", help="the same seed gives the same bytes (default %(default)s)"
    )

    create = _add(found, "create-schema", commands.create_schema, "create the items database's tables and indexes")
    _add_server(create)
    _add_schema(create)

    validate = _add(
        found, "validate", commands.validate, "read the files whole and say what an import would make of them"
    )
    _add_files(validate, "items", "nanos", "perks", "symbiants")
    _add_rejects(validate)
    _add_batch_size(validate)

    _add_indexes(found)
    recover = _add(
        found,
        "recover",
        maintenance.recover,
        "put back what a load that died left away: indexes, constraints, logged state",
    )
    _add_server(recover)
    recover.add_argument("--dry-run", action="store_true", help="only say what would be put back")
    status = _add(found, "status", maintenance.status, "loads that run, were interrupted or ended, and what is away")
    _add_server(status)

    for name, files, what in (
        ("import-items", ("items", "perks"), "import items, and perks where they are given"),
        ("import-nanos", ("nanos",), "import nanos"),
        ("import-symbiants", ("symbiants",), "import which boss drops which symbiant"),
        ("import-all", ("items", "nanos", "perks", "symbiants"), "import all files that are given, in one run"),
    ):
        command = _add(found, name, commands.import_files, what)
        _add_files(command, *files)
        _add_import(command)

    load = _add(found, "load", commands.load, "load a source by a job of your own, into tables that are there")
    load.add_argument(
        "job",
        metavar="MODULE:JOB",
        help="a bulkload.Job and the module that it is in, which is installed or in the working directory",
    )
    load.add_argument(
        "source",
        metavar="SOURCE",
        help="a file: ~ and $VARS are expanded, gzip and zstd are read as they are, - is standard input; a file that "
        "--rejects wrote is read like the file that its records are from",
    )
    _add_import(load)

    copy = _add(found, "copy", copying.copy, "copy a CSV file into one table, in one transaction")
    copy.add_argument("table", metavar="TABLE", help="as in SQL: qualified, quoted where it must be")
    copy.add_argument(
        "file", metavar="FILE", help="~ and $VARS are expanded, gzip and zstd are read as they are, - is standard input"
    )
    copy.add_argument(
        "--columns",
        metavar="NAME,…",
        help="the columns of the file, in their order; without it, the first line of the file names them",
    )
    _add_server(copy)
    _add_schema(copy)
    return parser


def _add_import(parser: argparse.ArgumentParser) -> None:
    _add_server(parser)
    _add_schema(parser)
    _add_modes(parser)
    _add_batch_size(parser)
    _add_rejects(parser)
    parser.add_argument(
        "--max-rejects",
        type=_count,
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


def _add(
    found: argparse._SubParsersAction[argparse.ArgumentParser],  # pyright: ignore[reportPrivateUsage] - it has no public name
    name: str,
    command: Callable[[Options], int],
    what: str,
) -> argparse.ArgumentParser:
    parser = found.add_parser(
        name,
        help=what,
        description=what[0].upper() + what[1:] + ".",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=command)
    shown = parser.add_argument_group("what is shown")
    shown.add_argument(
        "--progress", choices=("auto", "always", "never"), default="auto", help="a progress bar (auto: on a terminal)"
    )
    shown.add_argument("--log-format", choices=("text", "json"), default="text", help="the form of the log lines")
    shown.add_argument("-v", "--verbose", action="store_true", help="more log lines, and tracebacks")
    shown.add_argument("-q", "--quiet", action="store_true", help="no log lines but warnings")
    return parser


def _add_indexes(found: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:  # pyright: ignore[reportPrivateUsage] - as above
    what = "indexes and constraints by hand: list them, take them away, put them back"
    indexes = _add(found, "indexes", maintenance.indexes, what)
    indexes.add_argument("action", choices=("list", "drop", "restore"), help="drop writes the ledger first")
    indexes.add_argument(
        "tables",
        nargs="*",
        metavar="TABLE",
        help="as in SQL: qualified, quoted where it must be; none: all of the schema",
    )
    _add_server(indexes)
    _add_schema(indexes)
    indexes.add_argument("--foreign-keys", action="store_true", help="drop: foreign keys, too, from and to the tables")
    indexes.add_argument(
        "--keys", action="store_true", help="drop: primary keys, unique and exclusion constraints, too"
    )


def _add_server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dsn", metavar="DSN", help="the server: a connection string or URI (see below)")


def _add_schema(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--schema", default="public", metavar="NAME", help="where the tables are (default %(default)s)")


def _add_files(parser: argparse.ArgumentParser, *names: str) -> None:
    group = parser.add_argument_group(
        "files",
        "~ and $VARS are expanded, gzip and zstd are read as they are, - is standard input; a file that --rejects "
        "wrote is read like the file that its records are from",
    )
    required = len(names) == 1 or (names[0] == "items" and "nanos" not in names)
    for name in names:
        group.add_argument(f"--{name}-file", metavar="FILE", help=f"the {name}", required=required and name == names[0])


def _add_modes(parser: argparse.ArgumentParser) -> None:
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
    _add_drops(parser)


def _add_drops(parser: argparse.ArgumentParser) -> None:
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


def _add_batch_size(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--batch-size",
        type=_at_least_one,
        default=DEFAULT_CHUNK,
        metavar="N",
        help="records that are mapped and written together (default %(default)s)",
    )


def _add_rejects(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rejects",
        type=Path,
        metavar="FILE",
        help="where rejected records go, as JSON Lines with their reasons: records that cannot be read, do not fit "
        "their columns, or break a constraint or a trigger's rule. Mend them there, and import that file",
    )


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return number


def _at_least_one(text: str) -> int:
    number = _count(text)
    if number == 0:
        raise argparse.ArgumentTypeError("it must be 1 at least")
    return number
