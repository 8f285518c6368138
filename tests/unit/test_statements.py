"""SQL lives in files of named blocks; this is how they are read, and what every file keeps to."""

from __future__ import annotations

from pathlib import Path

import pytest
from psycopg import sql

from bulkload import statements
from bulkload.statements import Statements, directory, load

FILES = sorted(path.relative_to(directory()).with_suffix("").as_posix() for path in directory().rglob("*.sql"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "some.sql"
    file.write_text(
        "-- What stands above the first block is about the file.\n"
        "\n"
        "-- count_rows --\n"
        "-- How many rows a table has.\n"
        "SELECT count(*) FROM {table} WHERE id > %(least)s\n"
        "\n"
        "-- two --  \n"
        "-- Two statements.\n"
        "SELECT 1;\n"
        "SELECT 2;\n",
        encoding="utf-8",
    )
    return file


@pytest.mark.parametrize("name", FILES)
def test_statements_are_ascii(name: str) -> None:
    """Comments go to the server, too, and a database may have an encoding without a character of theirs."""
    assert (directory() / f"{name}.sql").read_text(encoding="utf-8").isascii()


def test_blocks_are_found_by_name_in_the_order_of_the_file(file: Path) -> None:
    """A file reads as a mapping from names to blocks."""
    blocks = Statements(file)
    assert list(blocks) == ["count_rows", "two"]
    assert len(blocks) == 2


def test_a_block_keeps_its_comment_and_ends_before_the_next(file: Path) -> None:
    """The comment goes to the server with the statement, the heading does not."""
    blocks = Statements(file)
    assert blocks["count_rows"].text == (
        "-- How many rows a table has.\nSELECT count(*) FROM {table} WHERE id > %(least)s"
    )
    assert blocks["two"].text == "-- Two statements.\nSELECT 1;\nSELECT 2;"


def test_a_block_says_where_it_stands(file: Path) -> None:
    """An error about a block can name its file and line."""
    block = Statements(file)["two"]
    assert (block.file, block.line) == (file, 7)
    assert str(block) == "two (some.sql:7)"


def test_identifiers_are_quoted_where_they_are_filled_in(file: Path) -> None:
    """A placeholder in braces takes an identifier; the values stay parameters."""
    statement = Statements(file)["count_rows"].format(table=sql.Identifier("Drop", 'a"b'))
    assert statement.as_string().splitlines()[1] == 'SELECT count(*) FROM "Drop"."a""b" WHERE id > %(least)s'


def test_an_unknown_name_is_a_key_error(file: Path) -> None:
    """There is no guessing."""
    with pytest.raises(KeyError, match="three"):
        Statements(file)["three"]


def test_a_name_may_stand_once_in_a_file(tmp_path: Path) -> None:
    """The second block of a name would hide the first."""
    file = tmp_path / "twice.sql"
    file.write_text("-- a --\nSELECT 1\n-- b --\nSELECT 2\n-- a --\nSELECT 3\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"twice\.sql: the block 'a' is there twice"):
        Statements(file)


def test_a_comment_with_dashes_around_it_is_no_heading(tmp_path: Path) -> None:
    """Only one lower-case word opens a block."""
    file = tmp_path / "comments.sql"
    file.write_text("-- a --\n-- not a heading --\nSELECT 1 -- b --\n", encoding="utf-8")
    assert list(Statements(file)) == ["a"]


def test_the_files_are_beside_the_package_in_a_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`sql/` stands at the top of the repository."""
    monkeypatch.setattr(statements, "__file__", str(tmp_path / "bulkload" / "statements.py"))
    assert directory() == tmp_path / "sql"


def test_the_files_are_inside_the_package_in_a_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A wheel installs nothing beside the package."""
    (tmp_path / "bulkload" / "sql").mkdir(parents=True)
    (tmp_path / "sql").mkdir()
    monkeypatch.setattr(statements, "__file__", str(tmp_path / "bulkload" / "statements.py"))
    assert directory() == tmp_path / "bulkload" / "sql"


def test_this_package_has_statements() -> None:
    """The folder is found in the way that the package is installed here."""
    assert FILES


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_read_by_its_name(name: str) -> None:
    """Every file of the package parses, and all of its text is in a block or in the comment above the first one."""
    blocks = load(name)
    assert blocks
    assert blocks is load(name)
    above = blocks.file.read_text(encoding="utf-8").splitlines()[: min(block.line for block in blocks.values()) - 1]
    assert [line for line in above if line.strip() and not line.startswith("--")] == []


@pytest.mark.parametrize("name", FILES)
def test_every_block_says_what_it_is_for(name: str) -> None:
    """The comment is the first thing below the heading, and a statement follows it."""
    for block in load(name).values():
        lines = block.text.splitlines()
        assert lines[0].startswith("-- "), f"{block} has no comment"
        assert [line for line in lines if line.strip() and not line.startswith("--")], f"{block} has no statement"
