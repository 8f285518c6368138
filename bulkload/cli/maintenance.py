"""The commands about indexes, constraints and the ledger."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bulkload.cli import output
from bulkload.cli.commands import JOBS
from bulkload.cli.servers import connection
from bulkload.ledger import journal, ledger
from bulkload.ledger.journal import Unfinished
from bulkload.model.mode import Mode
from bulkload.rebuild import recovery
from bulkload.rebuild.choice import Choice
from bulkload.rebuild.rebuild import counts
from bulkload.rebuild.recovery import Recovery
from bulkload.server.connection import Connection

if TYPE_CHECKING:
    from bulkload.cli.arguments import Options

_LOADS_SHOWN = 20


def indexes(options: Options) -> int:
    """List, drop or restore indexes and constraints."""
    with connection(options) as opened:
        relations = recovery.relations_named(opened, options.schema, options.tables)
        match options.action:
            case "list":
                output.show_objects(*recovery.list_objects(opened, relations))
            case "drop":
                choice = recovery.drop_by_hand(
                    opened, relations, foreign_keys=options.foreign_keys, keys=options.keys
                )  # fmt: skip
                _tell_dropped(options, choice)
            case _:
                _tell_recovery(recovery.restore_by_hand(opened, relations))
    return 0


def recover(options: Options) -> int:
    """Put back what loads that died left away."""
    with connection(options) as opened:
        found = recovery.recover(opened, dry_run=options.dry_run)
        unfinished = _unfinished(opened)
    _tell_recovery(found, would=options.dry_run)
    for load in sorted({*found.loads} - {each.id for each in unfinished}):
        output.tell(f"load {load} left nothing away any more; to have its data whole, run the import again")
    _tell_unfinished(unfinished)
    return 0


def status(options: Options) -> int:
    """The loads of the ledger, and what is away."""
    with connection(options) as opened:
        lines = ledger.loads(opened, _LOADS_SHOWN)
        away = ledger.outstanding(opened)
        unfinished = _unfinished(opened)
    output.show_loads(lines)
    for entry in away:
        output.tell(f"away: the {entry} (load {entry.load}, {entry.client})")
    if any(entry.load_kind == "load" and not entry.alive for entry in away):
        output.tell("put back what loads that died left away: python -m bulkload recover")
    if any(entry.load_kind == "drop" for entry in away):
        output.tell("put back what was dropped by hand: python -m bulkload indexes restore")
    _tell_unfinished(unfinished)
    return 0


def _unfinished(connection: Connection) -> Sequence[Unfinished]:
    return journal.unfinished(connection) if ledger.exists(connection) else []


def _tell_unfinished(loads: Sequence[Unfinished]) -> None:
    for each in loads:
        what = f"load {each.id} ({each.client}, since {each.started:%Y-%m-%d %H:%M})"
        output.tell(f"{what} was stopped with {each.loaded:,} records in")
        output.tell(f"go on with it, with the other flags that it had: {_command(each)}")


def _command(load: Unfinished) -> str:
    """What goes on with it: of the items database a command in full, of jobs of others what they were begun with."""
    flags = {f"{name.removesuffix('_file')}": f"--{name.replace('_', '-')}" for name in JOBS}
    if any(job not in flags for job, _ in load.sources):
        return "the same command with --resume, or call of bulkload.run with resume=True"
    words = ["python", "-m", "bulkload", "import-all"]
    for job, path in load.sources:
        words += [flags[job], path]
    words += ["--schema", load.schema] * (load.schema != "public") + ["--clear"] * load.clear
    words += ["--optimized", "--ultra"] * (load.mode == Mode.ULTRA.value)
    return shlex.join([*words, "--resume"])


def _tell_dropped(options: Options, choice: Choice) -> None:
    for each in choice.dropped:
        output.tell(f"dropped: the {each}")
    flags = {"foreign key": options.foreign_keys, "key": options.keys, "constraint": options.keys, "index": True}
    for kept in choice.kept:
        if flags[kept.object.kind.value]:
            output.tell(f"kept: the {kept.object}: {kept.reason}")
    output.tell(f"dropped: {counts(choice.dropped)}")
    if choice.dropped:
        output.tell("the ledger has their definitions; put them back: python -m bulkload indexes restore")


def _tell_recovery(found: Recovery, *, would: bool = False) -> None:
    word = "would be restored" if would else "restored"
    for entry in found.restored:
        output.tell(f"{word}: the {entry}")
    for entry in found.busy:
        output.tell(f"left alone, since load {entry.load} ({entry.client}) runs or somebody restores it: the {entry}")
    for entry in found.by_hand:
        output.tell(f"left alone, since it was dropped by hand (see indexes restore): the {entry}")
    if not (found.restored or found.busy or found.by_hand):
        output.tell("nothing is away")
