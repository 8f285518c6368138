"""`--ultra` as a user meets it: what it asks, what it does, and what is done about a load that died.

As in test_commands.py, nothing of the package is imported.
"""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.acceptance.test_commands import (
    PATIENCE,
    Done,
    Site,
    all_files,
    clean_environment,
    command,
    content,
    item,
    rows,
    snapshot,
    unmeasured,
)

ULTRA = ("--optimized", "--ultra", "--clear")
DROPS = ("--drop-indexes", "always", "--drop-foreign-keys", "always", "--drop-keys", "always")
QUESTION = "Type yes to go on: "

STRUCTURE = """
    SELECT c.relname, c.relkind::text, c.relpersistence::text, pg_get_indexdef(i.indexrelid), i.indisvalid
    FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
    WHERE c.relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT r.conname, r.contype::text, NULL, pg_get_constraintdef(r.oid), r.convalidated
    FROM pg_constraint r WHERE r.connamespace = 'public'::regnamespace
    ORDER BY 1, 2, 4
"""


def structure(conninfo: str) -> object:
    """Tables, indexes and constraints of the items database, whatever rows it has."""
    return rows(conninfo, STRUCTURE)


def on_a_terminal(site: Site, answer: bytes | signal.Signals, *arguments: str | Path) -> Done:
    """Run a command on a pseudo terminal, and answer what it asks, or send a signal instead."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(*arguments),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=site.directory,
        env={**unmeasured(clean_environment()), "TERM": "dumb"},
        start_new_session=True,
    )
    os.close(theirs)
    said, answered, until = b"", False, time.monotonic() + PATIENCE
    with process, os.fdopen(ours, "r+b", buffering=0) as terminal:
        while True:
            if not select.select([terminal], [], [], 1)[0]:
                if time.monotonic() > until:
                    process.kill()
                    pytest.fail(f"it waits; it said {said.decode()}")
                if answered and isinstance(answer, signal.Signals):
                    # It may have come just before the command began to wait for the answer: Python looks for it then.
                    process.send_signal(answer)
                continue
            try:
                part = terminal.read(4096)
            except OSError:
                # The other side is closed.
                break
            if not part:
                break
            said += part
            if not answered and QUESTION.encode() in said:
                answered = True
                if isinstance(answer, bytes):
                    terminal.write(answer)
                else:
                    process.send_signal(answer)
        process.wait(PATIENCE)
    text = said.decode()
    assert "Traceback" not in text
    return Done(process.returncode, text, "")


def end_in_the_middle(process: subprocess.Popen[bytes], sent: signal.Signals, conninfo: str) -> Done:
    """Send a signal when some rows are in, and wait for the end of all that the command started."""
    until = time.monotonic() + PATIENCE
    while not rows(conninfo, "SELECT 1 FROM items WHERE aoid > 0 LIMIT 1") or not away(conninfo):
        assert time.monotonic() < until
        assert process.poll() is None
    process.send_signal(sent)
    out, err = process.communicate(timeout=PATIENCE)
    if sent != signal.SIGKILL:
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    return Done(process.returncode, out.decode(), err.decode())


def away(conninfo: str) -> list[tuple[object, ...]]:
    """What the ledger says is away."""
    if rows(conninfo, "SELECT to_regclass('bulkload.dropped') IS NULL") == [(True,)]:
        return []
    return rows(conninfo, "SELECT kind, name FROM bulkload.dropped ORDER BY id")


def wait_for(condition: Callable[[], object]) -> None:
    """Until something holds, or the patience ends."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


# What roles and databases are set to for others: limits of time, and forms in which values are written.
SETTINGS = {
    "statement_timeout": "20", "idle_in_transaction_session_timeout": "20", "transaction_timeout": "200",
    "lock_timeout": "1", "DateStyle": "German", "IntervalStyle": "iso_8601", "bytea_output": "escape",
    "client_encoding": "LATIN1", "standard_conforming_strings": "off", "search_path": "nowhere",
    "default_transaction_isolation": "serializable", "extra_float_digits": "-15", "row_security": "off",
}  # fmt: skip


@pytest.mark.parametrize("mode", [(), ("--optimized",), (*ULTRA, "--yes", *DROPS)], ids=["", "optimized", "ultra"])
def test_settings_that_are_meant_for_others_change_nothing(
    site: Site, empty: str, filled: str, small: Path, mode: Sequence[str]
) -> None:
    """Nor does the load end half way for them."""
    options = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
    site.run("import-all", "-q", "--dsn", empty, *all_files(small))
    done = site.run(
        "import-all", "-q", "--dsn", make_conninfo(filled, options=options), "--clear", *mode, *all_files(small)
    )
    assert (done.code, done.err) == (0, "")
    assert content(filled) == content(empty)
    assert site.run("status", "--dsn", make_conninfo(filled, options=options)).code == 0


@pytest.mark.parametrize("mode", [(), ("--optimized",), (*ULTRA, "--yes")], ids=["", "optimized", "ultra"])
def test_a_server_that_takes_no_rows_says_what_to_do(site: Site, filled: str, small: Path, mode: Sequence[str]) -> None:
    """As a standby does, and a session that is read only."""
    before = snapshot(filled)
    server = make_conninfo(filled, options="-c default_transaction_read_only=on")
    done = site.run("import-all", "-q", "--dsn", server, "--clear", *mode, *all_files(small))
    assert done.code == 1
    assert "connect to the primary (target_session_attrs=read-write)" in done.err
    assert snapshot(filled) == before


# --- What it asks ---


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--ultra",), "--ultra needs --optimized and --clear"),
        (("--ultra", "--clear"), "--ultra needs --optimized and --clear"),
        (("--ultra", "--optimized", "--yes"), "--ultra needs --optimized and --clear"),
        (ULTRA, "there is no terminal to ask on; --yes answers it"),
        (("--optimized", "--clear", "--unlogged"), "--unlogged and --no-async-commit are levers of --ultra"),
        (("--no-async-commit",), "--unlogged and --no-async-commit are levers of --ultra"),
    ],
)
def test_what_does_not_go_together_is_refused(
    site: Site, filled: str, small: Path, flags: Sequence[str], words: str
) -> None:
    """Exit code 2, and nothing was changed."""
    before = snapshot(filled)
    done = site.run("import-all", "--dsn", filled, *flags, *all_files(small))
    assert done.code == 2
    assert words in done.err
    assert snapshot(filled) == before


@pytest.mark.parametrize("levers", [(), ("--unlogged",), ("--no-async-commit",)], ids=["none", "unlogged", "sync"])
def test_it_says_what_is_at_stake(site: Site, filled: str, small: Path, levers: Sequence[str]) -> None:
    """On this server and with these levers; a yes goes on."""
    with psycopg.connect(filled):
        done = on_a_terminal(
            site, b"yes\n", "import-all", "-q", "--dsn", filled, *ULTRA, *levers, "--symbiants-file",
            small / "symbiants.csv", "--items-file", small / "items.json",
        )  # fmt: skip
    assert done.code == 0, done.out
    asked, _ = done.out.split(QUESTION)
    for words in (
        "--ultra is not atomic",
        "the old rows are gone when the first transaction ends",
        "1 other sessions are connected to this database",
        "`python -m bulkload recover`",
        "fsync is off",
    ):
        assert words in " ".join(asked.split())
    assert ("commits do not wait for the disk" in asked) == ("--no-async-commit" not in levers)
    assert ("synchronous_commit stays on" in asked) == ("--no-async-commit" in levers)
    assert ("UNLOGGED while they are filled" in asked) == ("--unlogged" in levers)
    assert rows(filled, "SELECT state, mode FROM bulkload.loads ORDER BY id")[-1:] == [("done", "ultra")]
    assert rows(filled, "SELECT count(*) > 0 FROM items") == [(True,)]


@pytest.mark.parametrize("answer", [b"no\n", b"\n", b"y\n", b"YES\n", b"\x04"], ids=repr)
def test_whatever_is_no_yes_stops_it(site: Site, filled: str, small: Path, answer: bytes) -> None:
    """Exit code 2, and nothing was done; the end of the input is no yes either."""
    before = snapshot(filled)
    done = on_a_terminal(site, answer, "import-all", "-q", "--dsn", filled, *ULTRA, *all_files(small))
    assert done.code == 2, done.out
    assert "not confirmed; nothing was done" in done.out
    assert snapshot(filled) == before


def test_an_interrupt_at_the_question(site: Site, filled: str, small: Path) -> None:
    """It is an interruption like any other, with nothing done."""
    before = snapshot(filled)
    done = on_a_terminal(site, signal.SIGINT, "import-all", "-q", "--dsn", filled, *ULTRA, *all_files(small))
    assert done.code == 130
    assert snapshot(filled) == before


# --- What it does ---


@pytest.mark.parametrize(
    "flags",
    [
        (),
        DROPS,
        (*DROPS, "--unlogged"),
        ("--no-drop-indexes", "--no-drop-foreign-keys", "--no-drop-keys", "--unlogged"),
        ("--no-async-commit", "--jobs", "1", "--drop-foreign-keys", "never", "--drop-keys", "always"),
    ],
    ids=" ".join,
)
def test_the_content_is_that_of_any_other_import(
    site: Site, filled: str, filled_template: str, small: Path, flags: Sequence[str]
) -> None:
    """With --yes nothing is asked, and tables, indexes and constraints are as they were."""
    before = structure(filled)
    done = site.run("import-all", "--dsn", filled, *ULTRA, "--yes", *flags, *all_files(small))
    assert done.code == 0, done.err
    assert QUESTION not in done.out
    assert content(filled) == content(filled_template)
    assert structure(filled) == before
    assert away(filled) == []


def test_it_creates_what_is_missing(site: Site, empty: str, filled_template: str, small: Path) -> None:
    """Into a database without tables, too."""
    done = site.run("import-all", "--dsn", empty, *ULTRA, "--yes", *all_files(small))
    assert done.code == 0, done.err
    assert content(empty) == content(filled_template)


# --- What ends it ---


def test_a_killed_load_is_put_right_by_recover(
    site: Site, filled: str, filled_template: str, small: Path, large: Path
) -> None:
    """`status` tells of it, `recover --dry-run` lists what is away, `recover` puts it back; then the import goes in."""
    before = structure(filled)
    flags = (*ULTRA, "--yes", *DROPS, "--unlogged", "--batch-size", "100")
    process = site.start("import-all", "--dsn", filled, *flags, *all_files(large))
    end_in_the_middle(process, signal.SIGKILL, filled)
    wait_for(lambda: "interrupted" in site.run("status", "--dsn", filled).out)
    gone = away(filled)
    assert {kind for kind, _ in gone} == {"foreign key", "key", "index", "logged"}
    assert structure(filled) != before

    status = site.run("status", "--dsn", filled)
    assert status.code == 0
    assert "python -m bulkload recover" in status.out
    foretold = site.run("recover", "--dry-run", "--dsn", filled)
    assert foretold.code == 0
    assert foretold.out.count("would be restored: the ") == len(gone)
    assert away(filled) == gone

    done = site.run("recover", "--dsn", filled)
    assert done.code == 0, done.err
    assert done.out.count("\nrestored: the ") == len(gone)
    assert structure(filled) == before
    assert away(filled) == []
    assert "nothing is away" in site.run("recover", "--dsn", filled).out

    again = site.run("import-all", "--dsn", filled, *ULTRA, "--yes", *DROPS, *all_files(small))
    assert again.code == 0, again.err
    assert content(filled) == content(filled_template)
    assert structure(filled) == before


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_an_interrupted_load_puts_back_what_it_took_away(
    site: Site, filled: str, small: Path, large: Path, sent: signal.Signals
) -> None:
    """Exit code 130; the rows that were in stay, the message says so, and the same command goes on."""
    before = structure(filled)
    flags = (*ULTRA, "--yes", *DROPS, "--batch-size", "100")
    process = site.start("import-all", "--dsn", filled, *flags, *all_files(large))
    done = end_in_the_middle(process, sent, filled)
    assert done.code == 130
    assert "Traceback" not in done.err
    assert "interrupted" in done.err.splitlines()[-1]
    assert structure(filled) == before
    assert away(filled) == []
    assert "putting back what the load took away" in done.err
    assert rows(filled, "SELECT state FROM bulkload.loads ORDER BY id")[-1:] == [("failed",)]
    assert site.run("import-all", "--dsn", filled, *flags, *all_files(small)).code == 0


def test_rows_that_break_a_key_are_told_with_a_code_of_their_own(site: Site, filled: str) -> None:
    """Exit code 4: the rows are in, the index is not; when they are mended, `recover` puts it back."""
    with psycopg.connect(filled, autocommit=True) as connection:
        connection.execute("TRUNCATE items CASCADE; CREATE UNIQUE INDEX items_named_once ON items (name)")
    before = structure(filled)
    path = site.write("twins.json", [item(1), item(2, Name="Twin"), item(3, Name="Twin"), item(4)])
    done = site.run("import-items", "-q", "--dsn", filled, *ULTRA, "--yes", *DROPS, "--items-file", path)
    assert done.code == 4, done.err
    last = done.err.splitlines()[-1]
    assert "items_named_once" in last
    assert "keys of several rows (name): Twin (2 rows)" in last
    assert "mend the rows, then run `python -m bulkload recover`" in last
    assert rows(filled, "SELECT aoid, name FROM items ORDER BY 1") == [
        (1, "Item 1"),
        (2, "Twin"),
        (3, "Twin"),
        (4, "Item 4"),
    ]
    assert away(filled) == [("index", "items_named_once")]
    assert site.run("recover", "-q", "--dsn", filled).code == 4
    with psycopg.connect(filled, autocommit=True) as connection:
        connection.execute("UPDATE items SET name = 'Other twin' WHERE aoid = 3")
    assert site.run("recover", "--dsn", filled).code == 0
    assert structure(filled) == before


def test_a_reject_too_many_puts_back_what_was_taken_away(site: Site, filled: str) -> None:
    """Exit code 1, as of any import; with --max-rejects it is 3, and the others are in."""
    before = structure(filled)
    path = site.write("some.json", [item(1), item(2, Name="n" * 129), item(3)])
    flags = ("import-items", "-q", "--dsn", filled, *ULTRA, "--yes", *DROPS, "--items-file", path)
    done = site.run(*flags)
    assert done.code == 1
    assert "some.json: record 2 (AOID 2): Name: " in done.err.splitlines()[-1]
    assert structure(filled) == before
    assert site.run(*flags, "--max-rejects", "1").code == 3
    assert rows(filled, "SELECT aoid FROM items ORDER BY 1") == [(1,), (3,)]
    assert structure(filled) == before
