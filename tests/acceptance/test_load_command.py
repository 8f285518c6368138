"""`load` as an engineer meets it, who has a job in a module and a file."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.test_commands import (
    PATIENCE,
    PYTHON,
    Site,
    clean_environment,
    command,
    complaint,
    rows,
    snapshot,
)

SCHEMA = """
    CREATE TABLE tags (id serial PRIMARY KEY, name text NOT NULL UNIQUE);
    CREATE TABLE posts (id serial PRIMARY KEY, title varchar(20) NOT NULL);
    CREATE TABLE post_tags (post_id int NOT NULL REFERENCES posts, tag_id int NOT NULL REFERENCES tags);
"""
MODULE = """
import os
from bulkload import Entity, Id, Job, JsonRecords, Keep, Plan, Sink, Table, record

@record
class Tag:
    name: str

@record
class Post:
    title: str

@record
class PostTag:
    post_id: Id[Post]
    tag_id: Id[Tag]

TAGS = Entity("tags", Tag, ("name",), conflict=Keep(on=("name",)))
POSTS = Entity("posts", Post, ("title",))
POST_TAGS = Table("post_tags", PostTag, ("post_id", "tag_id"))

def add_post(sink: Sink, document: dict) -> None:
    post = sink.add(POSTS, Post(document["title"]))
    for name in document["tags"]:
        sink.add(POST_TAGS, PostTag(post, sink.add(TAGS, Tag(name))))
    if "mapped" in document:
        with open(f"mapped-{os.getpid()}", "w"):
            pass

class Jobs:
    POSTS = Job("posts", Plan(TAGS, POSTS, POST_TAGS), JsonRecords(dict), add_post)

JOB = Jobs.POSTS
"""
POSTS = [{"title": f"post {number}", "tags": [f"tag {number % 3}", "all"]} for number in range(50)]
CONTENT = """
    SELECT title, array_agg(name ORDER BY name) FROM posts
    JOIN post_tags ON post_id = posts.id JOIN tags ON tag_id = tags.id GROUP BY title, posts.id ORDER BY posts.id
"""
SAID = [(post["title"], sorted(post["tags"])) for post in POSTS]


@pytest.fixture
def blog(site: Site, empty: str) -> str:
    """A database with the tables; the module and the file are in the working directory."""
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute(SCHEMA)
    site.write("blog.py", MODULE)
    site.write("posts.json", POSTS)
    return empty


@pytest.mark.parametrize(
    "mode",
    [(), ("--optimized",), ("--optimized", "--clear"), ("--optimized", "--ultra", "--clear", "--yes")],
    ids=["standard", "optimized", "clear", "ultra"],
)
def test_a_job_of_one_s_own(site: Site, blog: str, mode: Sequence[str]) -> None:
    """In every mode; the rows are what the mapping says, and the account names tables and file."""
    done = site.run("load", "blog:JOB", "posts.json", "--dsn", blog, *mode)
    assert done.code == 0, done.err
    assert rows(blog, CONTENT) == SAID
    assert rows(blog, "SELECT count(*) FROM tags") == [(4,)]
    assert "posts.json" in done.out
    assert "post_tags" in done.out


def test_a_dry_run_changes_nothing(site: Site, blog: str) -> None:
    """It tells what would be done to the job's tables."""
    before = snapshot(blog)
    done = site.run("load", "blog:JOB", "posts.json", "--dsn", blog, "--optimized", "--dry-run")
    assert done.code == 0, done.err
    assert "post_tags" in done.out
    assert snapshot(blog) == before


def test_rejects_are_mended_and_loaded(site: Site, blog: str, tmp_path: Path) -> None:
    """A value that does not fit is told with its place; the mended file is a source of the same job."""
    long = {"title": "x" * 30, "tags": ["all"]}
    site.write("posts.json", [*POSTS, long])
    ended = site.run("load", "blog:JOB", "posts.json", "--dsn", blog)
    assert ended.code == 1
    assert "posts.json: record 51: title: " in complaint(ended)
    assert rows(blog, "SELECT count(*) FROM posts") == [(0,)]
    rejects = tmp_path / "rejects.jsonl"
    flags = ("--optimized", "--rejects", str(rejects), "--max-rejects", "1")
    assert site.run("load", "blog:JOB", "posts.json", "--dsn", blog, *flags).code == 3
    rejects.write_text(rejects.read_text().replace("x" * 30, "short"))
    assert site.run("load", "blog:JOB", rejects, "--dsn", blog).code == 0
    assert rows(blog, CONTENT) == [*SAID, ("short", ["all"])]


def test_the_console_script_finds_the_module_too(site: Site, blog: str) -> None:
    """And so do its worker processes, of a file that is large enough for some."""
    padding = "x" * (1 << 14)
    many = [{**post, "mapped": padding} for post in POSTS * 60]
    site.write("posts.json", json.dumps(many))
    script = str(Path(PYTHON).with_name("bulkload"))
    line = [script, "load", "blog:Jobs.POSTS", "posts.json", "--dsn", blog, "--optimized", "--jobs", "2"]
    done = subprocess.run(
        line, capture_output=True, cwd=site.directory, env=clean_environment(), timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    assert sorted(rows(blog, CONTENT)) == sorted(SAID * 60)
    # The sample is mapped by the command itself.
    assert len(list(site.directory.glob("mapped-*"))) >= 2


def test_standard_input(site: Site, blog: str) -> None:
    """As of every source."""
    done = site.run("load", "blog:JOB", "-", "--dsn", blog, stdin=json.dumps(POSTS).encode())
    assert done.code == 0, done.err
    assert rows(blog, CONTENT) == SAID


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ("blog", "write MODULE:JOB, as in shop.orders:JOB"),
        (":JOB", "write MODULE:JOB, as in shop.orders:JOB"),
        ("blag:JOB", "the module blag cannot be imported: ModuleNotFoundError: No module named 'blag'"),
        ("broken:JOB", "the module broken cannot be imported: ZeroDivisionError: division by zero"),
        ("leaving:JOB", "the module leaving cannot be imported: SystemExit: 0"),
        ("blog:JIB", "blog has no JIB"),
        ("blog:Jobs.PASTS", "blog has no Jobs.PASTS"),
        ("blog:POSTS", "a Entity, and no bulkload.Job"),
    ],
)
@pytest.mark.usefixtures("blog")
def test_what_is_no_job_is_told(site: Site, job: str, words: str) -> None:
    """Before a server is asked for anything."""
    site.write("broken.py", "1 / 0")
    site.write("leaving.py", "import sys; sys.exit(0)")
    done = site.run("load", job, "posts.json", "--dsn", "host=nowhere.invalid")
    assert done.code == 2
    assert words in complaint(done)


def test_a_mapping_that_leaves_is_a_failure(site: Site, blog: str) -> None:
    """Whatever it says that it ends with."""
    site.write("posts.py", MODULE.replace("    post = sink", "    raise SystemExit(0)\n    post = sink"))
    done = site.run("load", "posts:JOB", "posts.json", "--dsn", blog, "--optimized")
    assert done.code == 1
    assert "a job's code called sys.exit(0)" in complaint(done)
    assert rows(blog, "SELECT count(*) FROM posts") == [(0,)]


@pytest.mark.parametrize("line", ["load blog:JOB posts.json --optimized", "copy tags tags.csv"])
def test_a_reader_who_has_gone_changes_nothing(site: Site, blog: str, line: str) -> None:
    """All is in by then, and the exit code says so."""
    site.write("tags.csv", "name\na\n")
    shell = f"{shlex.join(command(*line.split(), '--dsn', blog))} | sed 1q; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["/bin/bash", "-c", shell],
        capture_output=True,
        cwd=site.directory,
        env=clean_environment(),
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    assert rows(blog, "SELECT count(*) > 0 FROM tags") == [(True,)]


def test_a_table_that_is_not_there_is_told(site: Site, blog: str) -> None:
    """`load` makes none."""
    with psycopg.connect(blog, autocommit=True) as connection:
        connection.execute("DROP TABLE post_tags")
    done = site.run("load", "blog:JOB", "posts.json", "--dsn", blog, "--optimized")
    assert done.code == 1
    assert "public.post_tags" in complaint(done)
    assert rows(blog, "SELECT count(*) FROM posts") == [(0,)]
