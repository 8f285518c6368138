"""The README's code runs, and its table of commands is the command line's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import psycopg

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_example_runs(database: str) -> None:
    """As it stands, against a server, with the result that it states."""
    example = re.search(r"<!-- example -->\n```python\n(.*?)```", README, re.DOTALL)
    assert example is not None
    with psycopg.connect(database) as connection:
        connection.execute(
            "CREATE TABLE tags (id serial PRIMARY KEY, name text UNIQUE);"
            "CREATE TABLE posts (id serial PRIMARY KEY, title text);"
            "CREATE TABLE post_tags (post_id int REFERENCES posts, tag_id int REFERENCES tags)"
        )
    code = f"dsn = {database!r}\n{example[1]}"
    done = subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("3\n", "")
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT p.title, t.name FROM post_tags"
            " JOIN posts p ON p.id = post_id JOIN tags t ON t.id = tag_id ORDER BY 1, 2"
        ).fetchall()
    assert rows == [("On COPY", "speed"), ("On COPY", "sql"), ("On safety", "sql")]


def test_every_command_is_documented() -> None:
    """What --help lists, the README lists."""
    listed = subprocess.run(
        [sys.executable, "-m", "bulkload", "--help"], capture_output=True, text=True, check=True
    ).stdout
    commands = set(re.findall(r"^    ([a-z-]+)", listed, re.MULTILINE)) - {"COMMAND"}
    assert commands == set(
        re.findall(r"`([a-z-]+)(?: [^`]*)?`", README[README.index("| command |") : README.index("The server is")])
    )
