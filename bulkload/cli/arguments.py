"""The commands, what each is called with, and the flags that it has alone; see `flags` for the others."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from bulkload.cli import commands, contradictions, copying, flags, maintenance
from bulkload.errors import UsageError

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
        "--items", type=flags.count, default=20_000, metavar="N", help="items to generate (default %(default)s)"
    )
    flags.server(demo)

    generate = _add(found, "generate", commands.generate, "write a set of source files of any size")
    generate.add_argument("--out", type=Path, required=True, metavar="DIR", help="the directory to write them to")
    generate.add_argument("--items", type=flags.count, default=20_000, metavar="N", help="items (default %(default)s)")
    for name in ("nanos", "perks", "symbiants"):
        generate.add_argument(f"--{name}", type=flags.count, metavar="N", help=f"{name} (default: in proportion)")
    generate.add_argument(
        "--seed", type=int, default=1, metavar="S", help="the same seed gives the same bytes (default %(default)s)"
    )

    create = _add(found, "create-schema", commands.create_schema, "create the items database's tables and indexes")
    flags.server(create)
    flags.schema(create)

    validate = _add(
        found, "validate", commands.validate, "read the files whole and say what an import would make of them"
    )
    flags.files(validate, "items", "nanos", "perks", "symbiants")
    flags.rejects(validate)
    flags.batch_size(validate)

    _add_indexes(found)
    recover = _add(
        found,
        "recover",
        maintenance.recover,
        "put back what a load that died left away: indexes, constraints, logged state",
    )
    flags.server(recover)
    recover.add_argument("--dry-run", action="store_true", help="only say what would be put back")
    status = _add(found, "status", maintenance.status, "loads that run, were interrupted or ended, and what is away")
    flags.server(status)

    for name, files, what in (
        ("import-items", ("items", "perks"), "import items, and perks where they are given"),
        ("import-nanos", ("nanos",), "import nanos"),
        ("import-symbiants", ("symbiants",), "import which boss drops which symbiant"),
        ("import-all", ("items", "nanos", "perks", "symbiants"), "import all files that are given, in one run"),
    ):
        command = _add(found, name, commands.import_files, what)
        flags.files(command, *files)
        flags.importing(command)

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
    flags.importing(load)

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
    flags.server(copy)
    flags.schema(copy)
    return parser


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
    flags.server(indexes)
    flags.schema(indexes)
    indexes.add_argument("--foreign-keys", action="store_true", help="drop: foreign keys, too, from and to the tables")
    indexes.add_argument(
        "--keys", action="store_true", help="drop: primary keys, unique and exclusion constraints, too"
    )
