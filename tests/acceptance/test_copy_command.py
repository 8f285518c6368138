"""`copy`: a file into a table, by whoever has both."""

from __future__ import annotations

import gzip

import psycopg
import pytest

from tests.acceptance.test_commands import Site, complaint, rows

SCHEMA = """
    CREATE SCHEMA "Odd one";
    CREATE TABLE people (id serial PRIMARY KEY, name text NOT NULL, born date, tags jsonb, age int);
    CREATE TABLE "Odd one"."the table" (name text, "the age" int);
"""
LINES = 'name,tags,born\n"O\'Hara, ""Kim""","{""a"": 1}",1970-02-01\n"two\nlines",,\nÄnne,[],2000-12-31\n'
PEOPLE = [
    (1, 'O\'Hara, "Kim"', "1970-02-01", '{"a": 1}', None),
    (2, "two\nlines", None, None, None),
    (3, "Änne", "2000-12-31", "[]", None),
]
CONTENT = "SELECT id, name, born::text, tags::text, age FROM people ORDER BY id"


@pytest.fixture
def people(empty: str) -> str:
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute(SCHEMA)
    return empty


@pytest.mark.parametrize("kind", ["plain", "gzip", "standard input", "marked"])
def test_the_first_line_names_the_columns(site: Site, people: str, kind: str) -> None:
    """In any order; others have their defaults, and nothing between two commas is null."""
    text = LINES.encode()
    data = gzip.compress(text) if kind == "gzip" else b"\xef\xbb\xbf" + text if kind == "marked" else text
    path = "-" if kind == "standard input" else site.write("people.csv", data)
    done = site.run("copy", "people", path, "--dsn", people, stdin=data)
    assert done.code == 0, done.err
    name = "standard input" if path == "-" else "people.csv"
    assert f"{name}: 3 rows into public.people in " in done.out
    assert rows(people, CONTENT) == PEOPLE


def test_columns_are_named_by_the_command(site: Site, people: str) -> None:
    """The file has data from its first line on; the table is written as in SQL."""
    path = site.write("odd.csv", "7,seven\n8,eight\n")
    done = site.run("copy", '"Odd one"."the table"', path, "--columns", "the age,name", "--dsn", people)
    assert done.code == 0, done.err
    found = rows(people, 'SELECT name, "the age" FROM "Odd one"."the table" ORDER BY 2')
    assert found == [("seven", 7), ("eight", 8)]
    done = site.run("copy", '"the table"', path, "--schema", "Odd one", "--columns", "the age,name", "--dsn", people)
    assert done.code == 0, done.err
    assert rows(people, 'SELECT count(*) FROM "Odd one"."the table"') == [(4,)]


def test_a_large_file_is_sent_as_it_is_read(site: Site, people: str) -> None:
    """Lines go over the ends of what is read at once."""
    path = site.write("people.csv", "age,name\n" + "".join(f"{number},person {number}\n" for number in range(50_000)))
    done = site.run("copy", "people", path, "--dsn", people)
    assert done.code == 0, done.err
    query = "SELECT count(*), count(DISTINCT age), bool_and(name = 'person ' || age) FROM people"
    assert rows(people, query) == [(50_000, 50_000, True)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("age,name\n1,a\nold,b\n", 'people.csv: COPY into public.people: invalid input syntax for type integer: "old"'),
        ("age,name\n1,a\nold,b\n", 'COPY people, line 3, column age: "old"'),
        ("age,name\n1,a\n2\n", "line 3"),
        ("age,height\n1,a\n", "people.csv: public.people has no column height; the first line of the file, or"),
        ("", "people.csv: there is no first line that names columns; name them with --columns"),
        ('age,"name"x\n', "people.csv: the first line is not CSV: "),
        ('age,name\n1,"a\n', "unterminated CSV quoted field"),
        (b"age,name\n1,\xff\n", "line 2"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_in(site: Site, people: str, content: str | bytes, words: str) -> None:
    """With the file, the line and the column."""
    path = site.write("people.csv", content)
    done = site.run("copy", "people", path, "--dsn", people)
    assert done.code == 1
    assert words in complaint(done)
    assert rows(people, CONTENT) == []


def test_a_table_or_file_that_is_not_there_is_told(site: Site, people: str) -> None:
    """By the name that it was called by."""
    path = site.write("people.csv", LINES)
    done = site.run("copy", "persons", path, "--dsn", people)
    assert done.code == 1
    assert "there is no table public.persons" in complaint(done)
    done = site.run("copy", "people", "nobody.csv", "--dsn", people)
    assert done.code == 1
    assert "nobody.csv: there is no such file" in complaint(done)
    for columns in ("", "name,,age", 'name,"age'):
        done = site.run("copy", "people", path, "--columns", columns, "--dsn", "host=nowhere.invalid")
        assert done.code == 2
        assert complaint(done).startswith("--columns")
    done = site.run("copy", "a.b.c", path, "--dsn", people)
    assert done.code == 1
    assert "a.b.c is not the name of a table" in complaint(done)
