"""The house: who may import whom, and what the public face is."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import bulkload

PACKAGE = Path(bulkload.__file__).parent

# From the ground up: a package imports from those that stand before it, and a module of it from those before it, too.
LAYERS = {
    "": ("errors", "statements"),
    "model": ("records", "tables", "plan", "report", "mode"),
    "encoding": ("columns", "fields", "literals", "packing", "encode", "keys"),
    "server": ("retries", "silence", "connection", "catalog", "rights", "definitions", "locks"),
    "ledger": ("ledger", "journal"),
    "rebuild": ("choice", "rebuild", "builders", "culprits", "restore", "recovery"),
    "sources": (
        "source", "slices", "path", "json_split", "json_records", "csv_records", "formats", "rejects", "checksums",
    ),
    "rows": (
        "ids", "stream", "fingerprints", "merge", "finder", "ownership", "savepoints", "sink", "keyed", "memory",
        "load", "atomic", "ultra",
    ),
    "mapping": ("job", "estimate", "sameness", "versions", "changes", "chunks", "blame", "passes", "census"),
    "workers": (
        "exchange", "worker", "processes", "shares", "blocks", "writers", "outbox", "new_keys", "settling", "handout",
        "leader",
    ),
    "runs": ("preview", "resuming", "outcome", "runner"),
}  # fmt: skip
MODULES = [f"{package}.{name}".removeprefix(".") for package, names in LAYERS.items() for name in names]


def imported(file: Path) -> set[str]:
    """The modules of the package that a file imports, as in MODULES; '' for what the package itself has."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.split(".")[0] == "bulkload":
            package = node.module.removeprefix("bulkload").removeprefix(".")
            if package in MODULES or package.split(".")[0] in ("gamedb", "cli"):
                found.add(package)
            else:
                names = {f"{package}.{alias.name}".removeprefix(".") for alias in node.names}
                found |= {name if name in MODULES else package for name in names}
    return found


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module: str) -> None:
    """A module knows nothing of those above it, nor of the public face."""
    below = MODULES[: MODULES.index(module)]
    assert imported(PACKAGE.joinpath(*module.split(".")).with_suffix(".py")) <= {*below}


def test_every_module_has_its_layer() -> None:
    """A new module says where it stands. What starts a server, or a command, is above all of them."""
    apart = {"__init__", "__main__", "embedded"}
    assert {file.stem for file in PACKAGE.glob("*.py")} - apart == {*LAYERS[""]}
    packages = {file.parent.name: file.parent for file in PACKAGE.glob("*/__init__.py")}
    assert packages.keys() == {*LAYERS, "gamedb", "cli"} - {""}
    for package, names in LAYERS.items():
        if package:
            assert {file.stem for file in packages[package].glob("*.py")} == {*names, "__init__"}
            # What a package is for is all that its front says: nobody has to guess where a name comes from.
            assert len(ast.parse((packages[package] / "__init__.py").read_text()).body) == 1


def test_the_domain_uses_the_public_api_alone() -> None:
    """What is copied as an example must not need what others cannot use."""
    for file in (PACKAGE / "gamedb").rglob("*.py"):
        outside = {name for name in imported(file) if name.split(".")[0] != "gamedb"}
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
