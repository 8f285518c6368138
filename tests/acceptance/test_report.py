"""`--report`: what a run did, in a file."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

from tests.acceptance.test_commands import PATIENCE, PYTHON, Site, complaint, counts, item, rows, snapshot


def test_a_report_for_programs(site: Site, empty: str, tmp_path: Path) -> None:
    """Its numbers are those of the database, and of the files."""
    items = site.write("items.json", [item(1), item(2), item(3, Name=5), item(1)])
    report = tmp_path / "report.json"
    done = site.run("import-items", "--dsn", empty, "--items-file", items, "--max-rejects", "1", "--report", report)
    assert done.code == 3, done.err
    found = json.loads(report.read_text(encoding="utf-8"))
    assert found["sources"] == [
        {"name": "items.json", "read": 4, "loaded": 2, "unchanged": 0, "skipped": 0, "superseded": 1, "rejected": 1}
    ]
    inserted = {name: table["inserted"] for name, table in found["tables"].items()}
    assert inserted == {name: count for name, count in counts(empty).items() if name in inserted}
    assert (found["rows"], found["rejected"], found["resumed"]) == (sum(inserted.values()), 1, 0)
    assert found["seconds"] > 0
    assert found["phases"].keys() >= {"map", "write keyed rows"}
    assert set(found) == {
        *("bulkload", "rows", "rejected", "tables", "sources", "phases", "workers", "cleared", "resumed", "seconds"),
    }


def test_a_report_for_people(site: Site, empty: str, tmp_path: Path) -> None:
    """A page that needs nothing else, with the tables that are printed; names are no markup."""
    items = site.write("<b>items<b> [red].json", [item(1), item(2)])
    report = tmp_path / "report.html"
    done = site.run("import-items", "--dsn", empty, "--items-file", items, "--optimized", "--report", report)
    assert done.code == 0, done.err
    page = report.read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "&lt;b&gt;items&lt;b&gt; [red].json" in page
    assert not re.search(r"src=|href=|<script", page)
    text = re.sub(r"<[^>]*>", "", page)
    assert re.search(r"items +│ +2 │ +0 │", text)
    printed = [line for line in done.out.splitlines() if "│" in line or "┃" in line]
    assert len(printed) > 30
    for line in printed:
        assert line.rstrip() in text.replace("&lt;", "<").replace("&gt;", ">")


def test_a_report_that_cannot_be_written_is_told_at_once(site: Site, empty: str, tmp_path: Path) -> None:
    """Before anything is changed."""
    items = site.write("items.json", [item(1)])
    before = snapshot(empty)
    done = site.run("import-items", "--dsn", empty, "--items-file", items, "--report", tmp_path / "none" / "x.html")
    assert done.code == 1
    assert "x.html: the report cannot be written: No such file or directory" in complaint(done)
    assert snapshot(empty) == before


def test_a_run_that_fails_reports_nothing(site: Site, empty: str, tmp_path: Path) -> None:
    """What was in the file stays, and no file is made."""
    items = site.write("items.json", [item(1, Name=5)])
    report = tmp_path / "report.json"
    line = ("import-items", "--dsn", empty, "--items-file", items, "--report", report)
    assert site.run(*line).code == 1
    assert not report.exists()
    report.write_text("before")
    assert site.run(*line).code == 1
    assert report.read_text() == "before"


def test_a_report_goes_where_a_link_or_a_pipe_leads(site: Site, empty: str, tmp_path: Path) -> None:
    """A link that leads nowhere yet is written through; of a pipe, the reader sees the report and its end."""
    items = site.write("items.json", [item(1)])
    line = ("import-items", "--dsn", empty, "--items-file", items, "--report")
    link, pipe = tmp_path / "link.json", tmp_path / "pipe"
    link.symlink_to(tmp_path / "target.json")
    assert site.run(*line, link).code == 0
    assert link.is_symlink()
    assert json.loads((tmp_path / "target.json").read_text())["sources"][0]["read"] == 1
    os.mkfifo(pipe)
    with subprocess.Popen(["/bin/cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        assert site.run(*line, pipe).code == 0
        out, _ = reader.communicate(timeout=PATIENCE)
    assert b"<!DOCTYPE html>" in out


def test_a_full_disk_loses_the_report_alone(site: Site, empty: str) -> None:
    """All is in by then, and the exit code says so."""
    items = site.write("items.json", [item(1)])
    done = site.run("import-items", "--dsn", empty, "--items-file", items, "--report", "/dev/full")
    assert done.code == 0, done.err
    assert "/dev/full: the report cannot be written: No space left on device" in done.err
    assert rows(empty, "SELECT count(*) FROM items") == [(1,)]


def test_nothing_that_is_read_is_written_over(site: Site, empty: str) -> None:
    """Nor are two things written to one file."""
    items = site.write("items.json", [item(1)])
    line = ("import-items", "--dsn", empty, "--items-file", items)
    done = site.run(*line, "--report", "./items.json")
    assert done.code == 2
    assert "--report would write over items.json, which is read; name another file" in done.err
    done = site.run(*line, "--report", "same.json", "--rejects", "same.json")
    assert done.code == 2
    assert "--rejects and --report are two files" in done.err
    (site.directory / "link.json").unlink(missing_ok=True)
    (site.directory / "same.json").touch()
    (site.directory / "link.json").hardlink_to(site.directory / "same.json")
    for other in ("link.json", "./nowhere/../same.json", site.directory / "same.json"):
        done = site.run(*line, "--report", other, "--rejects", "same.json")
        assert done.code == 2, other
        assert "--rejects and --report are two files" in done.err
    with items.open("rb") as opened:
        command = [PYTHON, "-m", "bulkload", "import-items", "--dsn", empty, "--items-file", "-", "--report", items]
        piped = subprocess.run(
            list(map(str, command)), stdin=opened, cwd=site.directory, capture_output=True, text=True, check=False
        )
    assert piped.returncode == 2
    assert "--report would write over" in piped.stderr
    done = site.run(*line, "--report", "report.json", "--dry-run")
    assert done.code == 2
    assert "--dry-run loads nothing that could be in a --report" in done.err
    assert json.loads(items.read_text())[0]["AOID"] == 1
