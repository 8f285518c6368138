"""Loads against a real server: ids, conflict rules, atomicity, and what happens when something is wrong."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from typing import Any, cast

import attrs
import psycopg
import pytest

from bulkload import (
    Entity,
    FitError,
    Id,
    Keep,
    Lookup,
    Mode,
    Plan,
    Replace,
    Report,
    SchemaError,
    ServerError,
    Sink,
    Table,
    Update,
    UsageError,
    record,
    start,
)

Connection = psycopg.Connection[tuple[object, ...]]
BOTH = pytest.mark.parametrize("mode", [Mode.STANDARD, Mode.OPTIMIZED])


@record
class Tag:
    name: str


@record
class Cover:
    colour: str


@record
class Post:
    slug: str
    title: str
    cover_id: Id[Cover] | None


@record
class PostTag:
    post_id: Id[Post]
    tag_id: Id[Tag]


@record
class Comment:
    post_id: Id[Post]
    text: str


@record
class Vote:
    comment_id: Id[Comment]
    value: int


@record
class Visits:
    post_id: Id[Post]
    count: int
    days: Sequence[int]


TAGS = Entity("tags", Tag, ("name",), conflict=Keep(on=("name",)))
COVERS = Entity("covers", Cover, ("colour",))
POSTS = Entity("posts", Post, ("slug", "title", "cover_id"), conflict=Replace(on=("slug",)))
POST_TAGS = Table("post_tags", PostTag, ("post_id", "tag_id"))
COMMENTS = Entity("comments", Comment, ("post_id", "text"))
VOTES = Table("votes", Vote, ("comment_id", "value"))
VISITS = Table("visits", Visits, ("post_id", "count", "days"), conflict=Update(on=("post_id",)))
BY_TITLE = Lookup(POSTS, on=("title",))
PLAN = Plan(TAGS, COVERS, POSTS, POST_TAGS, COMMENTS, VOTES, VISITS, lookups=[BY_TITLE])

SCHEMA = """
CREATE TABLE tags (id int GENERATED ALWAYS AS IDENTITY (INCREMENT 5 START 100) PRIMARY KEY, name text UNIQUE NOT NULL);
CREATE TABLE covers (id serial PRIMARY KEY, colour text);
CREATE SEQUENCE odd_name INCREMENT -1;
CREATE TABLE posts (
    id bigint PRIMARY KEY DEFAULT nextval('odd_name'), slug text, title varchar(20), cover_id int REFERENCES covers
);
CREATE INDEX ON posts (slug);
CREATE TABLE post_tags (
    post_id bigint REFERENCES posts ON DELETE CASCADE, tag_id int REFERENCES tags, PRIMARY KEY (post_id, tag_id)
);
CREATE TABLE comments (id serial PRIMARY KEY, post_id bigint NOT NULL REFERENCES posts, text text);
CREATE TABLE votes (comment_id int REFERENCES comments, value smallint CHECK (value <> 666));
CREATE TABLE visits (post_id bigint PRIMARY KEY REFERENCES posts, count int, days int[]);
CREATE TABLE elsewhere (tag_id int REFERENCES tags);
"""

CONTENT = """
SELECT p.slug, p.title, c.colour,
       ARRAY(SELECT t.name FROM post_tags j JOIN tags t ON t.id = j.tag_id WHERE j.post_id = p.id ORDER BY 1),
       ARRAY(SELECT m.text || ':' || coalesce((SELECT string_agg(v.value::text, ',' ORDER BY v.value)
                                               FROM votes v WHERE v.comment_id = m.id), '')
             FROM comments m WHERE m.post_id = p.id ORDER BY 1),
       (SELECT v.count FROM visits v WHERE v.post_id = p.id)
FROM posts p LEFT JOIN covers c ON c.id = p.cover_id ORDER BY 1, 2
"""


@pytest.fixture
def blog(connection: Connection) -> Connection:
    connection.execute(SCHEMA)
    return connection


def add_post(
    sink: Sink,
    slug: str,
    title: str,
    tags: Collection[str] = (),
    comments: Sequence[tuple[str, int]] = (),
    colour: str | None = None,
    visits: int | None = None,
) -> Id[Post]:
    cover = None if colour is None else sink.add(COVERS, Cover(colour))
    post = sink.add(POSTS, Post(slug, title, cover))
    for tag in tags:
        sink.add(POST_TAGS, PostTag(post, sink.add(TAGS, Tag(tag))))
    for text, vote in comments:
        sink.add(VOTES, Vote(sink.add(COMMENTS, Comment(post, text)), vote))
    if visits is not None:
        sink.add(VISITS, Visits(post, visits, [visits]))
    return post


def content(connection: Connection) -> list[tuple[object, ...]]:
    return connection.execute(CONTENT.encode()).fetchall()


def count(connection: Connection, table: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    return row[0]


@BOTH
@pytest.mark.parametrize("batch_rows", [1, 7, 50_000])
def test_nested_rows_arrive_with_their_ids(blog: Connection, mode: Mode, batch_rows: int) -> None:
    """Parents, children and shared rows find each other, however the rows are cut into batches."""
    with start(blog, PLAN, mode=mode, batch_rows=batch_rows) as load:
        for n in range(20):
            add_post(load, f"p{n:02}", f"title {n}", ["all", f"t{n % 3}"], [(f"c{n}", n), ("x", -n)], f"#{n}", n)
    assert content(blog) == [
        (f"p{n:02}", f"title {n}", f"#{n}", ["all", f"t{n % 3}"], [f"c{n}:{n}", f"x:{-n}"], n) for n in range(20)
    ]
    assert blog.execute("SELECT name FROM tags ORDER BY 1").fetchall() == [("all",), ("t0",), ("t1",), ("t2",)]
    assert blog.execute("SELECT DISTINCT id % 5 FROM tags").fetchall() == [(0,)]
    assert {name: (t.inserted, t.updated, t.unchanged, t.deleted) for name, t in load.report.tables.items()} == {
        "tags": (4, 0, 0, 0), "covers": (20, 0, 0, 0), "posts": (20, 0, 0, 0), "post_tags": (40, 0, 0, 0),
        "comments": (40, 0, 0, 0), "votes": (40, 0, 0, 0), "visits": (20, 0, 0, 0),
    }  # fmt: skip


@BOTH
def test_existing_rows_are_treated_by_their_rule(blog: Connection, mode: Mode) -> None:
    """Keep keeps, Update updates, Replace replaces the row with all that belongs to it, and nothing else."""
    with start(blog, PLAN, mode=mode) as load:
        add_post(load, "a", "old", ["x", "y"], [("gone", 1)], "red", 5)
        add_post(load, "b", "stays", ["x"], [("kept", 2)], "blue", 6)
    before = blog.execute("SELECT id FROM posts ORDER BY slug").fetchall()
    with start(blog, PLAN, mode=mode) as load:
        add_post(load, "a", "new", ["y", "z"], [("come", 3), ("more", 4)], "green", 7)
        add_post(load, "c", "third", ["x"])
    assert content(blog) == [
        ("a", "new", "green", ["y", "z"], ["come:3", "more:4"], 7),
        ("b", "stays", "blue", ["x"], ["kept:2"], 6),
        ("c", "third", None, ["x"], [], None),
    ]
    assert blog.execute("SELECT id FROM posts WHERE slug < 'c' ORDER BY slug").fetchall() == before
    assert [count(blog, table) for table in ("covers", "comments", "votes", "tags")] == [2, 3, 3, 3]
    tables = load.report.tables
    assert (tables["posts"].inserted, tables["posts"].updated, tables["tags"].inserted) == (1, 1, 1)
    assert (tables["comments"].deleted, tables["votes"].deleted, tables["covers"].deleted) == (1, 1, 1)
    assert (tables["visits"].inserted, tables["visits"].updated) == (0, 1)


@record
class Seen:
    name: str
    first: int
    last: int


@attrs.frozen
class Sighting:
    name: str
    first: int
    last: int


@BOTH
@pytest.mark.parametrize("kind", [Entity, Table], ids=["entity", "table"])
@pytest.mark.parametrize("of", [Seen, Sighting], ids=["record", "attrs"])
@pytest.mark.parametrize("batch_rows", [1, 1000])
def test_columns_for_new_rows_only_stay(
    connection: Connection, mode: Mode, kind: type[Entity[Any]], of: type[Any], batch_rows: int
) -> None:
    """What the first row of a key had, in whatever batch; and nothing is written where nothing else differs."""
    connection.execute("CREATE TABLE seen (id serial PRIMARY KEY, name text UNIQUE, first int, last int)")
    seen = kind("seen", of, ("name", "first", "last"), conflict=Update(on=["name"], insert_only=["first"]))
    written: list[int] = []
    for day in (1, 3, 3):
        with start(connection, Plan(seen), mode=mode, batch_rows=batch_rows) as load:
            for name, when in (("a", day), ("b", day), ("a", day + 1)):
                load.add(seen, of(name, when, when))
        written.append(load.report.tables["seen"].updated)
        rows = connection.execute("SELECT name, first, last FROM seen ORDER BY 1").fetchall()
        assert rows == [("a", 1, day + 1), ("b", 1, day)]
    # One by one, the last sighting of a day is met after the first one, and again the day after.
    assert written == ([1, 3, 2] if batch_rows == 1 else [0, 2, 0])


@BOTH
def test_a_load_twice_changes_nothing_that_has_a_key(blog: Connection, mode: Mode) -> None:
    """Rows that say the same already are not written again."""
    report = Report()
    for _ in range(2):
        report = Report()
        with start(blog, PLAN, mode=mode, report=report) as load:
            post = add_post(load, "a", "one", ["x"], visits=5)
            load.add(VISITS, Visits(post, 9, [1, 2]))
    assert content(blog) == [("a", "one", None, ["x"], [], 9)]
    assert blog.execute("SELECT days FROM visits").fetchall() == [([1, 2],)]
    tables = report.tables
    # The post is replaced whole, and fingerprints of the row as it was must not count any more.
    assert (tables["posts"].updated, tables["visits"].unchanged) == (1, 1)
    assert (tables["posts"].unchanged, tables["visits"].updated, tables["tags"].inserted) == (0, 0, 0)


@BOTH
def test_a_key_that_comes_again_is_replaced(blog: Connection, mode: Mode) -> None:
    """In a loop of the caller's own, the last version of a row counts, in one batch or in several."""
    with start(blog, PLAN, mode=mode) as load:
        add_post(load, "a", "first", ["x"], [("gone", 1)], "red")
        add_post(load, "b", "other", ["x"])
        add_post(load, "a", "last", ["y"], [("here", 2)])
    assert content(blog) == [("a", "last", None, ["y"], ["here:2"], None), ("b", "other", None, ["x"], [], None)]
    assert [count(blog, table) for table in ("covers", "comments", "votes")] == [0, 1, 1]


def test_no_id_is_drawn_for_a_key_that_exists(blog: Connection) -> None:
    """Looking up a thousand existing keys burns no value of the sequence, in either mode."""
    with start(blog, PLAN) as load:
        for n in range(1000):
            load.add(TAGS, Tag(f"t{n}"))
    drawn = blog.execute("SELECT last_value FROM tags_id_seq").fetchone()
    for mode in (Mode.STANDARD, Mode.OPTIMIZED):
        with start(blog, PLAN, mode=mode) as load:
            for n in range(1000):
                load.add(TAGS, Tag(f"t{n}"))
        assert load.report.tables["tags"].inserted == 0
    assert blog.execute("SELECT last_value FROM tags_id_seq").fetchone() == drawn


def test_shared_rows_belong_to_nobody_and_shared_parts_stay(blog: Connection) -> None:
    """A part that another row refers to as well is not deleted with the row that is replaced."""
    with start(blog, PLAN) as load:
        add_post(load, "a", "one", colour="red")
    blog.execute("INSERT INTO posts (slug, title, cover_id) SELECT 'b', 'two', cover_id FROM posts")
    with start(blog, PLAN) as load:
        add_post(load, "a", "one", colour="green")
    assert content(blog) == [("a", "one", "green", [], [], None), ("b", "two", "red", [], [], None)]


@BOTH
def test_find_sees_what_is_written(blog: Connection, mode: Mode) -> None:
    """A lookup finds rows of earlier loads and batches, the newest of several."""
    with start(blog, PLAN, mode=mode) as load:
        old = add_post(load, "a", "same")
    with start(blog, PLAN, mode=mode) as load:
        found = load.find(BY_TITLE, "same")
        assert found is not None
        assert load.find(BY_TITLE, "other") is None
        add_post(load, "b", "other")
        load.flush()
        other = load.find(BY_TITLE, "other")
        assert other is not None
        load.add(COMMENTS, Comment(other, "on b"))
        load.add(COMMENTS, Comment(found, "on a"))
    assert [row[4] for row in content(blog)] == [["on a:"], ["on b:"]]
    del old


def test_an_exception_leaves_the_database_as_it_was(blog: Connection) -> None:
    """One transaction: clearing, rows and ids in it are undone together."""
    with start(blog, PLAN) as load:
        add_post(load, "a", "one", ["x"])
    before = content(blog)
    with pytest.raises(RuntimeError), start(blog, PLAN, clear=True, cascade=True, batch_rows=1) as load:
        add_post(load, "b", "two", ["y"])
        assert count(blog, "posts") == 1
        raise RuntimeError
    assert content(blog) == before
    assert blog.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_the_caller_s_transaction_decides(blog: Connection) -> None:
    """Inside a transaction of the caller's, a load is a part of it."""
    with pytest.raises(RuntimeError), blog.transaction():
        with start(blog, PLAN) as load:
            add_post(load, "a", "one", ["x"])
        assert count(blog, "posts") == 1
        raise RuntimeError
    assert content(blog) == []


@BOTH
def test_clear_leaves_what_is_not_its_own(blog: Connection, mode: Mode) -> None:
    """Tables outside the plan that refer to it are named, and nothing is changed; its dependents are its own."""
    with start(blog, PLAN) as load:
        add_post(load, "a", "one", ["x"])
    blog.execute("INSERT INTO elsewhere SELECT id FROM tags")
    before = content(blog)
    with pytest.raises(UsageError) as caught:
        with start(blog, PLAN, clear=True, mode=mode):
            pass
    assert str(caught.value) == (
        "clearing would empty tables that are not this load's: public.elsewhere, whose elsewhere_tag_id_fkey refers to "
        "public.tags; nothing was changed: --cascade (cascade=True) empties them, too"
    )
    assert (content(blog), count(blog, "elsewhere")) == (before, 1)
    blog.execute("CREATE SCHEMA other CREATE TABLE elsewhere (tag_id int REFERENCES public.tags)")
    mine = Plan(*PLAN, dependents=["elsewhere"])
    with pytest.raises(
        UsageError, match=r"load's: other.elsewhere, whose elsewhere_tag_id_fkey refers to public.tags;"
    ):
        with start(blog, mine, clear=True, mode=mode):
            pass
    blog.execute("DROP SCHEMA other CASCADE")
    with start(blog, mine, clear=True, mode=mode) as load:
        add_post(load, "b", "two", ["y"])
    assert (content(blog), count(blog, "elsewhere")) == ([("b", "two", None, ["y"], [], None)], 0)


def test_clear_can_empty_what_refers_to_the_tables_too(blog: Connection) -> None:
    """They are named; sequences go on. Where the load fails in the end, their rows are back with the others."""
    with start(blog, PLAN) as load:
        add_post(load, "a", "one", ["x"])
    blog.execute("INSERT INTO elsewhere SELECT id FROM tags")
    before = content(blog)
    with pytest.raises(RuntimeError), start(blog, PLAN, clear=True, cascade=True) as load:
        assert count(blog, "elsewhere") == 0
        raise RuntimeError
    assert (content(blog), count(blog, "elsewhere")) == (before, 1)
    (last,) = blog.execute("SELECT id FROM tags").fetchone() or (0,)
    report = Report()
    with start(blog, PLAN, clear=True, cascade=True, report=report) as load:
        add_post(load, "b", "two", ["y"])
    assert content(blog) == [("b", "two", None, ["y"], [], None)]
    assert count(blog, "elsewhere") == 0
    assert "public.elsewhere" in report.cleared
    (new,) = blog.execute("SELECT id FROM tags").fetchone() or (0,)
    assert isinstance(new, int)
    assert isinstance(last, int)
    assert new > last


def test_seeded_tables_are_not_cleared(blog: Connection) -> None:
    """Where clearing would reach one through a foreign key, it is refused."""
    seeded = Entity("tags", Tag, ("name",), conflict=Keep(on=("name",)), seeded=True)
    blog.execute("INSERT INTO tags (name) VALUES ('seed')")
    with start(blog, Plan(seeded, COVERS), clear=True, cascade=True) as load:
        load.add(seeded, Tag("more"))
    assert count(blog, "tags") == 2
    blog.execute("ALTER TABLE tags ADD cover_id int REFERENCES covers")
    with pytest.raises(UsageError, match=r"clearing would empty public.tags, which the schema seeds"):
        with start(blog, Plan(seeded, COVERS), clear=True, cascade=True):
            pass


def test_a_value_that_does_not_fit_is_found_before_anything_is_sent(blog: Connection) -> None:
    """The error names table, column, type and value."""
    with pytest.raises(FitError, match=r"'long+…? ?.*' does not fit posts.title \(character varying\(20\)\)"):
        with start(blog, PLAN, mode=Mode.STANDARD) as load:
            add_post(load, "a", "long" * 6)
    assert count(blog, "posts") == 0


@BOTH
def test_what_the_server_refuses_is_told(blog: Connection, mode: Mode) -> None:
    """A constraint that only the server can check: its name, SQLSTATE and the row are in the error."""
    with pytest.raises(ServerError) as caught, start(blog, PLAN, mode=mode) as load:
        add_post(load, "a", "one", comments=[("bad", 666)])
    error = caught.value
    assert (error.sqlstate, error.table, error.constraint) == ("23514", "votes", "votes_value_check")
    assert "votes" in str(error)
    assert "\n" not in str(error)
    assert content(blog) == []


def test_a_used_up_sequence_is_told(blog: Connection) -> None:
    """The message names the sequence."""
    blog.execute("CREATE SEQUENCE small MAXVALUE 10; ALTER TABLE covers ALTER id SET DEFAULT nextval('small')")
    with pytest.raises(ServerError, match=r"taking .* ids for public.covers from small: .*reached maximum value"):
        with start(blog, PLAN) as load:
            add_post(load, "a", "one", colour="red")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("DROP TABLE votes", "there is no table public.votes"),
        ("ALTER TABLE posts DROP title", "public.posts has no column title"),
        ("ALTER TABLE posts ALTER id DROP DEFAULT", "public.posts.id draws from no sequence"),
        ("ALTER TABLE votes ADD at date NOT NULL", "public.votes.at is NOT NULL without a default"),
        (
            "ALTER TABLE votes DROP value, ADD value int GENERATED ALWAYS AS (1) STORED",
            "public.votes.value is a generated column",
        ),
        ("ALTER TABLE covers ALTER colour TYPE point USING NULL", "covers.colour is of the type point"),
    ],
)
def test_a_schema_that_is_not_the_plan_s_is_refused(blog: Connection, change: str, reason: str) -> None:
    """It is said before the first row, all at once."""
    blog.execute(change.encode())
    with pytest.raises(SchemaError, match=reason), start(blog, PLAN):
        pass


@BOTH
def test_two_loads_of_the_same_keys_at_once(blog: Connection, database: str, mode: Mode) -> None:
    """Neither makes a key twice, and the children of both find their parents."""
    blog.execute("SET lock_timeout = '20s'")
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with psycopg.connect(database, autocommit=True) as own:
                with start(own, PLAN, mode=mode, batch_rows=50) as load:
                    for n in range(200):
                        add_post(load, f"{number}-{n}", f"title {n}", {f"t{n % 40}", f"t{(n + 7 * number) % 40}"})
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    assert count(blog, "posts") == 600
    assert count(blog, "tags") == 40
    for number in range(3):
        rows = blog.execute(
            "SELECT p.title, array_agg(DISTINCT t.name) FROM posts p JOIN post_tags j ON j.post_id = p.id"
            " JOIN tags t ON t.id = j.tag_id WHERE p.slug LIKE %s GROUP BY p.id, p.title",
            [f"{number}-%"],
        ).fetchall()
        found = dict(cast("list[tuple[str, list[str]]]", rows))
        assert {title: set(tags) for title, tags in found.items()} == {
            f"title {n}": {f"t{n % 40}", f"t{(n + 7 * number) % 40}"} for n in range(200)
        }


@BOTH
def test_more_keys_than_memory_should_hold(blog: Connection, mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a table has too many keys to be read, the server is asked for those that are met, and burns no id."""
    with start(blog, PLAN, mode=mode) as load:
        add_post(load, "a", "one", ["x", "y"], [("gone", 1)])
    drawn = blog.execute("SELECT last_value FROM tags_id_seq").fetchone()
    monkeypatch.setattr("bulkload.rows.merge._MOST_KEYS", 0)
    with start(blog, PLAN, mode=mode) as load:
        assert load.find(BY_TITLE, "one") is not None
        assert load.find(BY_TITLE, "two") is None
        add_post(load, "a", "two", ["x", "y"], [("here", 2)])
    assert content(blog) == [("a", "two", None, ["x", "y"], ["here:2"], None)]
    assert blog.execute("SELECT last_value FROM tags_id_seq").fetchone() == drawn
