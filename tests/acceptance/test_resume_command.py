"""`--resume` as a user meets it: what is said of an import that died, and the command that goes on with it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import psycopg

from tests.acceptance.test_commands import PATIENCE, Site, all_files, complaint, content, rows
from tests.acceptance.test_ultra_command import wait_for

CHUNKS = "SELECT coalesce(max(input), -1) FROM bulkload.chunks"


def test_a_killed_import_is_gone_on_with_by_the_command_that_is_told(
    site: Site, empty: str, filled_template: str, small: Path
) -> None:
    """`status` and `recover` tell it; the content is that of an import that was not killed."""
    assert site.run("create-schema", "--dsn", empty).code == 0
    files = all_files(small)
    # Items and nanos go in; then it waits, and so can be killed amid its work.
    with psycopg.connect(empty) as other:
        other.execute("LOCK TABLE perks")
        process = site.start("import-all", "--dsn", empty, "--batch-size", "50", *files)
        wait_for(lambda: rows(empty, "SELECT to_regclass('bulkload.dropped') IS NOT NULL") == [(True,)])
        wait_for(lambda: rows(empty, CHUNKS) == [(1,)])
        running = site.run("import-all", "--dsn", empty, "--resume", *files)
        process.kill()
        process.communicate(timeout=PATIENCE)
    assert running.code == 1
    assert "runs; run this again when it has ended" in complaint(running)
    wait_for(lambda: "go on with it" in site.run("status", "--dsn", empty).out)
    status, recover = (site.run(name, "--dsn", empty).out for name in ("status", "recover"))
    told = re.search(r"was stopped with (\d+) records in\n.*go on with it.*: python -m bulkload (.*)\n", status)
    assert told is not None, status
    assert told[0] in recover

    changed = site.run("import-all", "--dsn", empty, "--resume", *files[:4])
    assert changed.code == 1
    assert "it reads 4 sources (items.json, nanos.json, perks.json, symbiants.csv), and 2 are given" in changed.err
    done = site.run(*shlex.split(told[2]), "--dsn", empty)
    assert done.code == 0, done.err
    assert f"gone on with where it was stopped: {told[1]} records were done with" in done.out
    assert content(empty) == content(filled_template)
    assert "go on with it" not in site.run("status", "--dsn", empty).out

    again = site.run(*shlex.split(told[2]), "--dsn", empty)
    assert again.code == 0
    assert "nothing to resume: no load into these tables was stopped; loading anew" in again.err
    assert content(empty) == content(filled_template)
