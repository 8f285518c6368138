"""The commands: each takes its options and returns its exit code."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from bulkload import gamedb
from bulkload.cli import output, reports
from bulkload.cli.executors import executor
from bulkload.cli.jobs import named
from bulkload.cli.servers import connection
from bulkload.errors import BulkloadError, UsageError
from bulkload.mapping.census import check
from bulkload.mapping.chunks import DEFAULT_CHUNK
from bulkload.mapping.job import Input, Job
from bulkload.model.mode import Mode
from bulkload.model.plan import AnyLookup
from bulkload.model.report import Report
from bulkload.rebuild.choice import Drop, Drops
from bulkload.rows.ultra import Levers
from bulkload.runs.preview import preview
from bulkload.runs.runner import run
from bulkload.server.catalog import Stakes, stakes
from bulkload.server.connection import Connection
from bulkload.sources.formats import WithRejects
from bulkload.sources.rejects import Rejects
from bulkload.sources.source import Source

if TYPE_CHECKING:
    from bulkload.cli.arguments import Options

DONE = 0
SOME_REJECTED = 3

DEMO_SCHEMA = "bulkload_demo"
"""The demo's own, so that it never touches anybody's tables."""

# In this order: perks and symbiants refer to items by their AOIDs.
JOBS: dict[str, Job[Any]] = {
    "items_file": gamedb.ITEMS_JOB,
    "nanos_file": gamedb.NANOS_JOB,
    "perks_file": gamedb.PERKS_JOB,
    "symbiants_file": gamedb.SYMBIANTS_JOB,
}


def demo(options: Options) -> int:
    """Generate a set, import it into a schema of its own, check the content, tell what was done."""
    with connection(options) as opened, tempfile.TemporaryDirectory(prefix="bulkload-demo-") as directory:
        begin = time.perf_counter()
        files = gamedb.generate(Path(directory), gamedb.Sizes.of(options.items))
        output.tell(f"generated {options.items:,} items with nanos, perks and symbiants in {_since(begin)}")
        paths = {
            "items_file": files.items,
            "nanos_file": files.nanos,
            "perks_file": files.perks,
            "symbiants_file": files.symbiants,
        }
        inputs = [Input(JOBS[name], Source(str(path))) for name, path in paths.items()]
        report = _run(
            options, opened, inputs, _items_database(DEMO_SCHEMA), schema=DEMO_SCHEMA, mode=Mode.OPTIMIZED, clear=True
        )
        reports.show(report)
        begin = time.perf_counter()
        expected = gamedb.expected(files.items, files.nanos, files.perks, files.symbiants)
        found = gamedb.differences(expected, gamedb.actual(opened, DEMO_SCHEMA))
        if found:
            raise BulkloadError(f"the content differs from an independent reading of the files: {'; '.join(found)}")
        records = sum(source.read for source in report.sources)
        output.tell(
            f"{records:,} records became {report.rows:,} rows in {report.seconds:.1f} s "
            f"({report.rows / report.seconds:,.0f} rows/s), in one transaction"
        )
        output.tell(f"checked in {_since(begin)}: the content equals an independent reading of the files")
        output.tell(f"the tables are in the schema {DEMO_SCHEMA}")
    return DONE


def generate(options: Options) -> int:
    """Write the files of a set."""
    sizes = gamedb.Sizes.of(options.items, options.nanos, options.perks, options.symbiants)
    files = gamedb.generate(options.out, sizes, options.seed)
    for path in (files.items, files.nanos, files.perks, files.symbiants):
        output.tell(f"{path}: {path.stat().st_size:,} bytes")
    return DONE


def create_schema(options: Options) -> int:
    """Create the tables, where there are none."""
    with connection(options) as opened:
        created = gamedb.create_schema(opened, options.schema)
    what = "created" if created else "nothing to do: they are there already"
    output.tell(f"tables in the schema {options.schema}: {what}")
    return DONE


def validate(options: Options) -> int:
    """Check the files without a database."""
    inputs = _inputs(options)
    # Who has no items at hand wants to know of the rest of the line, not that its item is unknown.
    find = None if options.items_file or options.nanos_file else _any_item
    with (
        Rejects(options.rejects, most=sys.maxsize) as rejects,
        output.progress(options, [each.source for each in inputs]) as watch,
    ):
        report = check(inputs, gamedb.columns(), chunk=options.batch_size, rejects=rejects, find=find, watch=watch)
    reports.show(report, would=True)
    return _tell_rejects(rejects, report)


def _any_item(_lookup: AnyLookup, _values: tuple[object, ...]) -> int:
    return 1


@attrs.frozen
class _Around:
    """What is done in the database beside loading."""

    prepare: Callable[[Connection], object] | None = None
    finish: Callable[[Connection], object] | None = None


def _items_database(schema: str) -> _Around:
    return _Around(
        prepare=lambda opened: gamedb.make_ready(opened, schema),
        finish=lambda opened: gamedb.refresh_views(opened, schema),
    )


def import_files(options: Options) -> int:
    """Import the files."""
    return _import(options, _inputs(options), _items_database(options.schema))


def load(options: Options) -> int:
    """Load a source by a job of the user's own."""
    job = named(options.job)
    return _import(options, [Input(_with_rejects(job), Source.of(options.source))], _Around())


def _import(options: Options, inputs: list[Input], around: _Around) -> int:
    if options.ultra and not (options.yes or options.dry_run or sys.stdin.isatty()):
        raise UsageError("--ultra asks for a yes, and there is no terminal to ask on; --yes answers it")
    for each in inputs:
        # Before a server is asked for anything: a wrong path is found at once.
        each.source.look()
    if options.report is not None:
        reports.look(options.report)
    mode = Mode.ULTRA if options.ultra else Mode.OPTIMIZED if options.optimized else Mode.STANDARD
    if options.dry_run:
        return _preview(options, inputs, around, mode)
    with (
        Rejects(options.rejects, most=options.max_rejects) as rejects,
        connection(options) as opened,
    ):
        if options.ultra and not options.yes:
            _confirm(options, stakes(opened))
        report = _run(
            options, opened, inputs, around, schema=options.schema, mode=mode, clear=options.clear, rejects=rejects
        )
    # From here on all is in, and a reader who has gone changes nothing of that.
    if options.report is not None:
        reports.write(options.report, report)
    with output.to_whom_it_may_concern():
        reports.show(report)
        _tell_rejects(rejects, report)
    return SOME_REJECTED if report.rejected else DONE


def _preview(options: Options, inputs: list[Input], around: _Around, mode: Mode) -> int:
    with connection(options) as opened:
        found = preview(
            opened,
            inputs,
            schema=options.schema,
            mode=mode,
            clear=options.clear,
            cascade=options.cascade,
            drops=_drops(options),
            prepare=around.prepare,
        )
        if options.ultra:
            for line in _at_stake(options, stakes(opened)):
                output.tell(line)
    output.show_preview(found)
    return DONE


def _run(
    options: Options,
    connection: Connection,
    inputs: list[Input],
    around: _Around,
    *,
    schema: str,
    mode: Mode,
    clear: bool,
    rejects: Rejects | None = None,
) -> Report:
    with (
        executor(options) as (mapping, jobs),
        output.progress(options, [each.source for each in inputs]) as watch,
    ):
        return run(
            connection,
            inputs,
            schema=schema,
            mode=mode,
            clear=clear,
            cascade=getattr(options, "cascade", False),
            chunk=getattr(options, "batch_size", DEFAULT_CHUNK),
            rejects=rejects,
            prepare=around.prepare,
            finish=around.finish,
            watch=watch,
            jobs=jobs,
            executor=mapping,
            drops=_drops(options),
            levers=_levers(options),
            resume=getattr(options, "resume", False),
        )


def _drops(options: Options) -> Drops:
    names = ("drop_indexes", "drop_foreign_keys", "drop_keys")
    return Drops(*(Drop(getattr(options, name, Drop.AUTO.value)) for name in names))


def _levers(options: Options) -> Levers:
    unlogged = getattr(options, "unlogged", None)
    return Levers(
        async_commit=not getattr(options, "no_async_commit", False),
        unlogged=unlogged is not None,
        despite_standbys=unlogged == "insist",
    )


def _inputs(options: Options) -> list[Input]:
    paths = {name: getattr(options, name, None) for name in JOBS}
    return [Input(_with_rejects(JOBS[name]), Source.of(path)) for name, path in paths.items() if path is not None]


def _with_rejects(job: Job[Any]) -> Job[Any]:
    """The job, which also reads what was set aside by an earlier load, and mended."""
    return job if isinstance(job.read, WithRejects) else attrs.evolve(job, read=WithRejects(job.read))


def _confirm(options: Options, found: Stakes) -> None:
    """Raises UsageError where nobody says yes."""
    for line in _at_stake(options, found):
        output.tell(line)
    try:
        answer = input("Type yes to go on: ")
    except EOFError:
        answer = ""
    if answer.strip() != "yes":
        raise UsageError("not confirmed; nothing was done")


def _at_stake(options: Options, found: Stakes) -> Iterator[str]:
    yield "--ultra is not atomic. On this server:"
    yield "- the old rows are gone when the first transaction ends; if the load fails, some of the new ones are in"
    yield (
        f"- {found.others} other sessions are connected to this database: until it ends they find half-filled tables "
        "without indexes, and what they write to them is not kept out"
    )
    yield (
        "- a killed load leaves indexes and constraints away; the ledger has them, and `python -m bulkload recover` "
        "puts them back"
    )
    if options.no_async_commit:
        yield f"- synchronous_commit stays {found.synchronous_commit}: what is committed survives a crash of the server"
    else:
        yield (
            "- commits do not wait for the disk: a crash of the server while it runs may undo the last of them (rows, "
            "not consistency); when it has ended, all is safe"
        )
    if options.unlogged:
        yield (
            "- the tables are UNLOGGED while they are filled: a crash of the server empties them"
            + (f", and the {found.standbys} standbys find them empty" if found.standbys else "; it has no standbys")
        )
    if found.fsync == "off":
        yield "- fsync is off: a crash of the machine may destroy the whole cluster, with or without this load"


def _tell_rejects(rejects: Rejects, report: Report) -> int:
    if not report.rejected:
        return DONE
    for error in rejects.errors:
        output.tell(f"rejected: {error}")
    if report.rejected > len(rejects.errors):
        output.tell(f"and {report.rejected - len(rejects.errors):,} more")
    return SOME_REJECTED


def _since(begin: float) -> str:
    return f"{time.perf_counter() - begin:.1f} s"
