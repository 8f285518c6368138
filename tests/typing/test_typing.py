"""The public API rejects what is wrong before it runs: both checkers find every mistake, and nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

FILE = Path(__file__).with_name("public_api.py")


def marked() -> set[int]:
    """The lines that must be errors."""
    return {number for number, line in enumerate(FILE.read_text().splitlines(), 1) if "  # wrong: " in line}


def test_mypy_finds_every_mistake(tmp_path: Path) -> None:
    """Under --strict, and no other line is an error."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path}", str(FILE)]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = {int(line) for line in re.findall(r"public_api\.py:(\d+): error:", output)}
    assert found == marked(), output


def test_pyright_finds_every_mistake(tmp_path: Path) -> None:
    """The other checker agrees."""
    # Elsewhere, since the project's own configuration leaves this file out.
    copy = tmp_path / FILE.name
    copy.write_text(FILE.read_text())
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(copy)]
    output = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path).stdout
    diagnostics = json.loads(output)["generalDiagnostics"]
    found = {each["range"]["start"]["line"] + 1 for each in diagnostics if each["severity"] == "error"}
    assert found == marked(), output
