"""The house: who may import whom, and what the public face is."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import bulkload

PACKAGE = Path(bulkload.__file__).parent

# From the ground up: a module imports from those that stand before it, and from nothing else of the package.
LAYERS = (
    "errors", "statements", "records", "tables", "plan", "columns", "fields", "literals", "packing", "encode", "keys",
    "report", "retries", "silence", "server",
    "catalog", "rights", "definitions", "locks", "choice", "rebuild", "ledger", "journal", "builders", "restore",
    "recovery", "ids", "stream", "fingerprints", "merge", "ownership", "savepoints", "source", "slices", "sink",
    "exchange", "mode", "keyed",
    "load", "atomic", "ultra", "memory", "path", "json_split", "json_records", "csv_records",
    "formats", "rejects", "job", "estimate", "sameness", "versions", "checksums", "changes", "chunks", "blame",
    "passes", "preview", "census", "worker", "workers", "shares", "blocks", "writers", "outbox", "new_keys",
    "settling", "handout", "leader", "resuming", "outcome", "runner", "embedded",
)  # fmt: skip


def imported(file: Path) -> set[str]:
    """The modules of the package that a file imports, without the package's name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            if node.module == "bulkload":
                names = [alias.name for alias in node.names]
                found |= {name if (PACKAGE / f"{name}.py").exists() else "" for name in names}
            elif node.module.startswith("bulkload."):
                found.add(node.module.removeprefix("bulkload."))
    return found


@pytest.mark.parametrize("module", LAYERS)
def test_imports_go_one_way(module: str) -> None:
    """A module knows nothing of those above it."""
    below = LAYERS[: LAYERS.index(module)]
    assert imported(PACKAGE / f"{module}.py") <= {*below}


def test_every_module_has_its_layer() -> None:
    """A new module says where it stands."""
    assert {file.stem for file in PACKAGE.glob("*.py")} == {*LAYERS, "__init__", "__main__"}


def test_the_domain_uses_the_public_api_alone() -> None:
    """What is copied as an example must not need what others cannot use."""
    for file in (PACKAGE / "gamedb").rglob("*.py"):
        outside = {name for name in imported(file) if not name.startswith("gamedb")}
        assert outside <= {""}, file


def test_the_public_face_is_sorted_and_whole() -> None:
    """Each public name is there, once, with a docstring."""
    assert bulkload.__all__ == sorted(bulkload.__all__)
    for name in bulkload.__all__:
        # Connection is psycopg's, with the rows' type filled in.
        assert name == "Connection" or getattr(bulkload, name).__doc__, name


def test_modules_are_rooms_one_can_know() -> None:
    """A module of more than 400 lines holds two ideas."""
    long = {str(file): n for file in PACKAGE.rglob("*.py") if (n := len(file.read_text().splitlines())) > 400}
    assert not long
