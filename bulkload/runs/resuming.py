"""A load that was stopped is gone on with: whether there is one, whether all is as it was, and what it had done.

It is known again by its tables. What it depends on must be the same: the content of its sources, the meaning of its
mappings, what was asked for, and the tables; not the machine, the size of chunks, the number of jobs, what is dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec
import psycopg
from psycopg.pq import TransactionStatus

from bulkload.encoding.columns import Column
from bulkload.errors import ResumeError, ServerError, UsageError, one_line
from bulkload.ledger import journal, ledger
from bulkload.ledger.journal import Journal, Last, Past, SourceLine
from bulkload.mapping.job import Input
from bulkload.mapping.passes import plan_of
from bulkload.model.mode import Mode
from bulkload.model.plan import AnyRelation, Plan
from bulkload.model.report import TableReport
from bulkload.model.tables import Entity, Keep
from bulkload.rows.load import Load
from bulkload.rows.merge import read_keys
from bulkload.server import catalog
from bulkload.server.catalog import Target
from bulkload.server.connection import Connection, refused, transaction
from bulkload.sources.checksums import Checksums, again
from bulkload.sources.rejects import Rejects
from bulkload.sources.source import STANDARD_INPUT, Source

logger = logging.getLogger("bulkload")


class _Circumstances(msgspec.Struct, frozen=True):
    """What is asked for and what is there, as the ledger keeps it."""

    schema: str
    clear: bool
    mappings: dict[str, str]
    """By job and table: the columns that are written, and the conflict rule."""
    columns: dict[str, str]
    """By table and column: its type."""
    storage: dict[str, dict[str, int]]
    """By table, the oids of itself and its partitions, and their files."""


def _circumstances(
    connection: Connection,
    inputs: Sequence[Input],
    targets: Mapping[AnyRelation, Target],
    *,
    schema: str,
    clear: bool,
) -> _Circumstances:
    mappings = {
        f"{each.job.name}: {relation}": f"{', '.join(relation.columns)} {relation.conflict or ''}".strip()
        for each in inputs
        for relation in each.job.plan
    }
    columns = {
        f"{target}.{name}": _said(column) for target in targets.values() for name, column in target.columns.items()
    }
    found = journal.storage(connection, [target.oid for target in targets.values()])
    storage = {str(target): found.get(target.oid, {}) for target in targets.values()}
    return _Circumstances(schema, clear, mappings, columns, storage)


def _said(column: Column) -> str:
    return f"{column.type.name}{' not null' * column.not_null}{' generated' * column.generated}"


def begin(load: Load, inputs: Sequence[Input], checksums: Checksums, *, schema: str, clear: bool) -> None:
    """A load begins to keep a journal, if it has several transactions, and this role may write it."""
    if load.line is None or load.mode is Mode.OPTIMIZED:
        return
    circumstances = _circumstances(load.connection, inputs, load.targets, schema=schema, clear=clear)
    lines = _lines(inputs, checksums)
    try:
        with transaction(load.connection):
            journal.begin(load.connection, load.line, lines, msgspec.to_builtins(circumstances))
            missing = journal.missing_rights(load.connection)
    except ServerError as error:
        if error.sqlstate != psycopg.errors.InsufficientPrivilege.sqlstate:
            raise
        missing = [str(error)]
    if missing:
        logger.info("this load cannot be gone on with where it is stopped: this role lacks %s", ", ".join(missing))
    else:
        load.undo.journal = Journal(load.line)


def _lines(inputs: Sequence[Input], checksums: Checksums) -> list[SourceLine]:
    """`inputs` as they were named, not as they are spooled."""
    return [
        SourceLine(each.job.name, each.job.version, _place(each.source), each.source.size, checksum)
        for each, checksum in zip(inputs, checksums(), strict=True)
    ]


def _place(source: Source) -> str:
    return str(Path(source.path).absolute()) if again(source) else STANDARD_INPUT


def refuse(connection: Connection, inputs: Sequence[Input]) -> None:
    """Raises UsageError for what cannot be gone on with: standard input, pipes, a caller's transaction."""
    if connection.info.transaction_status != TransactionStatus.IDLE:
        raise UsageError("a load is gone on with outside of a transaction: give a connection that is in none")
    for each in inputs:
        if each.source.once:
            raise UsageError(
                f"{each.source.name} cannot be gone on with where a load stopped: name a file, or load without resume"
            )


def find(
    connection: Connection, inputs: Sequence[Input], checksums: Checksums, *, schema: str, mode: Mode, clear: bool
) -> int | None:
    """The load that is to be gone on with; None where there is none, and all is to be loaded anew.

    Raises ResumeError for what has changed since, and ServerError where it runs or this role may not.
    """
    plan = plan_of(inputs)
    tables = [f"{schema}.{relation.name}" for relation in plan if not relation.seeded]
    found = journal.last_load(connection, tables) if ledger.exists(connection) else None
    if found is None or found.done or not found.begun:
        why = "no load into these tables was stopped" if found is None or found.done else (
            f"nothing of load {found.id} is in"
        )  # fmt: skip
        logger.warning("nothing to resume: %s; loading anew", why)
        return None
    if found.alive:
        raise ServerError(f"load {found.id} ({found.client}) runs; run this again when it has ended")
    missing = journal.missing_rights(connection)
    if missing:
        raise ServerError(f"load {found.id} cannot be gone on with: this role lacks {', '.join(missing)}")
    differences = list(_differences(connection, found, inputs, plan, checksums, schema, mode, clear=clear))
    if differences:
        raise ResumeError(
            one_line(
                f"load {found.id} ({found.client}, since {found.started:%Y-%m-%d %H:%M}) cannot be gone on with: "
                f"{'; '.join(differences)}. Put that right, or load anew, without resume"
            )
        )
    return found.id


def _differences(
    connection: Connection,
    found: Last,
    inputs: Sequence[Input],
    plan: Plan,
    checksums: Checksums,
    schema: str,
    mode: Mode,
    *,
    clear: bool,
) -> Iterator[str]:
    if found.mode != mode.value:
        yield f"its mode was {found.mode}, and is {mode.value}"
    if found.version != version("bulkload"):
        yield f"it was begun by bulkload {found.version}, and this is {version('bulkload')}"
    before = journal.sources(connection, found.id)
    yield from _changed_sources(before, _lines(inputs, checksums))
    then = msgspec.convert(found.circumstances, _Circumstances)
    if (then.schema, then.clear) != (schema, clear):
        yield f"schema and clear were {then.schema} and {then.clear}, and are {schema} and {clear}"
        return
    with refused("reading the catalog"):
        targets = catalog.describe(connection, plan.described, schema)
    now = _circumstances(connection, inputs, targets, schema=schema, clear=clear)
    yield from _changed("the mapping of", then.mappings, now.mappings)
    yield from _changed("column", then.columns, now.columns)
    for name, files in then.storage.items():
        present = now.storage.get(name, files)
        if not files.keys() <= present.keys():
            yield f"table {name} was made anew"
        elif any(file and present[oid] not in (0, file) for oid, file in files.items()):
            yield f"table {name} was emptied or rewritten"
    rows = journal.past(connection, found.id).tables
    for relation in plan:
        count = rows.get(relation.name, TableReport()).inserted
        if count and journal.is_empty(connection, targets[relation].identifier):
            yield f"table {targets[relation]} is empty, and {count:,} rows of the load were in it"


def _changed_sources(before: Sequence[SourceLine], now: Sequence[SourceLine]) -> Iterator[str]:
    if len(before) != len(now):
        names = ", ".join(Path(each.path).name for each in before)
        yield f"it reads {len(before)} sources ({names}), and {len(now)} are given"
        return
    for then, each in zip(before, now, strict=True):
        name = Path(each.path).name
        if then.job != each.job:
            yield f"{name} is given for {each.job}, in place of {Path(then.path).name} for {then.job}"
        elif then.sha256 is None:
            yield f"it read {each.job} from standard input or a pipe, which cannot be read again"
        elif then.size != each.size:
            yield f"{name} had {then.size:,} bytes, and has {each.size:,}"
        elif then.sha256 != each.sha256:
            yield f"{name} has another content: its SHA-256 was {then.sha256[:16]}…, and is {str(each.sha256)[:16]}…"
        if then.version != each.version:
            yield f"the mapping {each.job} was of version {then.version!r}, and is of {each.version!r}"


def _changed(what: str, then: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(then.keys() | now.keys()):
        if then.get(name) != now.get(name):
            yield f"{what} {name} was {then.get(name, 'not there')}, and is {now.get(name, 'not there')}"


def go_on(load: Load, line: int, inputs: Sequence[Input], rejects: Rejects, *, clear: bool) -> None:
    """A load is gone on with: what is past is counted, and the records that were rejected are set aside again."""
    past = journal.past(load.connection, line)
    for name, before in past.tables.items():
        now = load.report.tables.setdefault(name, TableReport())
        for field in ("inserted", "updated", "unchanged", "deleted"):
            setattr(now, field, getattr(now, field) + getattr(before, field))
    load.report.resumed = past.records
    logger.info("going on with load %d: %d records are done with", line, past.records, extra={"load": line})
    load.undo.journal = Journal(line, past)
    _reject_again(inputs, past, rejects)
    if clear:
        _know_kept(load)


def _reject_again(inputs: Sequence[Input], past: Past, rejects: Rejects) -> None:
    for number, before in past.inputs.items():
        if not before.rejected:
            continue
        source, read = inputs[number].source, inputs[number].job.read
        with source.open() as reader:
            for pieces in read.split(reader, source.name):
                for piece in pieces:
                    error = before.rejected.get(piece.position)
                    if error is not None:
                        rejects.put(read, piece, error.at(source.name, read.label(piece)))


def _know_kept(load: Load) -> None:
    """The shared rows of emptied tables are the load's own: it knows their keys, as if it had not been stopped."""
    for relation in load.plan:
        if isinstance(relation, Entity) and isinstance(relation.conflict, Keep) and not load.known[relation]:
            keys = read_keys(load.connection, load.targets[relation], relation.id_column, relation.key)
            load.known[relation].update(keys or {})
