"""A mapping is tested without a database: ids, shared keys, lookups and the check of values."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkload import (
    Entity,
    FitError,
    Id,
    Keep,
    Lookup,
    MemoryLoad,
    Plan,
    Replace,
    Table,
    Update,
    UsageError,
    of_ddl,
    record,
)


@record
class Tag:
    name: str | None


@record
class Post:
    slug: str
    title: str


@record
class Draft(Post):
    """A record with a field more, a default and a method."""

    version: int = 1

    def heading(self) -> str:
        """Of its fields."""
        return f"{self.title} {self.version}"


@record
class PostTag:
    post_id: Id[Post]
    tag_id: Id[Tag]


@record
class Visit:
    post_id: Id[Post]
    count: int


TAGS = Entity("tags", Tag, ("name",), conflict=Keep(on=("name",)))
POSTS = Entity("posts", Post, ("slug", "title"), conflict=Replace(on=("slug",)))
POST_TAGS = Table("post_tags", PostTag, ("post_id", "tag_id"))
VISITS = Table("visits", Visit, ("post_id", "count"), conflict=Update(on=("post_id",)))
BY_TITLE = Lookup(POSTS, on=("title",))
DRAFTS = Entity("drafts", Draft, ("slug", "title"))
PLAN = Plan(TAGS, POSTS, POST_TAGS, VISITS, DRAFTS, lookups=[BY_TITLE])

COLUMNS = of_ddl("""
CREATE TABLE tags (
    id serial PRIMARY KEY,
    name varchar(5) NOT NULL
);
CREATE TABLE posts (
    id serial,
    slug text NOT NULL,
    title varchar(10),
    PRIMARY KEY (id)
);
CREATE TABLE visits (
    post_id integer,
    count smallint,
    PRIMARY KEY (post_id)
);
""")


def test_shared_keys_get_one_row_and_one_id() -> None:
    """Keep: the first row of a key is written, and all refer to it."""
    load = MemoryLoad(PLAN)
    first, second, again = (load.add(TAGS, Tag(name)) for name in ("a", "b", "a"))
    assert (first, second, again) == (1, 2, 1)
    assert load.rows(TAGS) == [Tag("a"), Tag("b")]
    assert load.ids(TAGS) == [1, 2]


def test_the_last_row_of_an_updated_key_counts() -> None:
    """Update: of several rows of a key, the last one is written."""
    load = MemoryLoad(PLAN)
    for count in (1, 2, 3):
        load.add(VISITS, Visit(Id(7), count))
    assert load.rows(VISITS) == [Visit(Id(7), 3)]


def test_a_repeated_key_to_be_replaced_is_refused() -> None:
    """Replace: what belongs to the first row cannot be told from what belongs to the second."""
    load = MemoryLoad(PLAN)
    load.add(POSTS, Post("s", "one"))
    with pytest.raises(UsageError, match="posts: the key 's' came twice"):
        load.add(POSTS, Post("s", "two"))


def test_lookups_see_what_was_added() -> None:
    """A lookup finds the newest row, by what it says now."""
    load = MemoryLoad(PLAN)
    assert load.find(BY_TITLE, "one") is None
    load.add(POSTS, Post("a", "one"))
    newest = load.add(POSTS, Post("b", "one"))
    assert load.find(BY_TITLE, "one") == newest
    load.clear()
    assert load.rows(POSTS) == []
    assert load.find(BY_TITLE, "one") == newest
    assert load.add(POSTS, Post("b", "two")) == newest
    assert load.find(BY_TITLE, "two") == newest
    assert load.find(BY_TITLE, "one") is None


def test_discarded_rows_leave_no_trace() -> None:
    """A key first met among discarded rows is new again."""
    load = MemoryLoad(PLAN)
    load.add(TAGS, Tag("kept"))
    load.clear()
    load.add(TAGS, Tag("dropped"))
    load.discard()
    load.add(TAGS, Tag("dropped"))
    load.add(TAGS, Tag("kept"))
    assert load.rows(TAGS) == [Tag("dropped")]


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        (Tag("sixsix"), "'sixsix' does not fit tags.name (character varying(5)): it is 6 characters long"),
        (Tag("a\0b"), "'a\\x00b' does not fit tags.name (character varying(5)): it holds a NUL character"),
        (Tag(None), "null does not fit tags.name (character varying(5)): it is part of the key"),
    ],
)
def test_values_are_checked_against_a_schema(tag: Tag, message: str) -> None:
    """The error names value, table, column, type and reason."""
    load = MemoryLoad(PLAN, COLUMNS)
    load.add(TAGS, Tag("fits"))
    load.check()
    load.add(TAGS, tag)
    with pytest.raises(FitError) as caught:
        load.check()
    assert str(caught.value).startswith(message)
    assert (caught.value.table, caught.value.column, caught.value.row) == ("tags", "name", 1)


def test_a_record_is_a_class_like_any_other() -> None:
    """Made by position or by name, equal by its fields, with what it inherits."""
    draft = Draft("a", title="b")
    assert draft == Draft("a", "b", 1)
    assert draft != Draft("a", "b", 2)
    assert draft.heading() == "b 1"
    assert repr(draft) == "Draft(slug='a', title='b', version=1)"
    assert pickle.loads(pickle.dumps(draft)) == draft
    assert isinstance(draft, Post)


@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=5), max_size=8))
def test_many_at_once_are_as_one_by_one(batches: list[list[str]]) -> None:
    """The same ids, the same rows, for every rule."""
    one, many = MemoryLoad(PLAN), MemoryLoad(PLAN)
    for batch in batches:
        tags = [Tag(name) for name in batch]
        assert many.extend(TAGS, iter(tags)) == [one.add(TAGS, tag) for tag in tags]
        drafts = [Draft(name, name) for name in batch]
        assert many.extend(DRAFTS, iter(drafts)) == [one.add(DRAFTS, draft) for draft in drafts]
        visits = [Visit(Id[Post](ord(name)), place) for place, name in enumerate(batch)]
        many.extend(VISITS, iter(visits))
        for visit in visits:
            one.add(VISITS, visit)
    assert (many.rows(TAGS), many.rows(DRAFTS), many.rows(VISITS)) == (
        one.rows(TAGS),
        one.rows(DRAFTS),
        one.rows(VISITS),
    )
    assert many.ids(TAGS) == one.ids(TAGS)
    assert many.ids(DRAFTS) == one.ids(DRAFTS)
