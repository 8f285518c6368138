"""Jobs whose mappings run in worker processes, which import them from here."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from typing import Any

from bulkload import (
    Entity,
    Id,
    Job,
    JsonRecords,
    Keep,
    Lookup,
    Plan,
    Replace,
    Sink,
    Skip,
    Table,
    Update,
    gamedb,
    record,
)
from bulkload.gamedb import tables

SCHEMA = """
    CREATE TABLE tags (id serial PRIMARY KEY, name varchar(8) NOT NULL UNIQUE);
    CREATE TABLE authors (id serial PRIMARY KEY, name text NOT NULL UNIQUE, tag_id int REFERENCES tags, age int);
    CREATE TABLE posts (id serial PRIMARY KEY, slug text NOT NULL UNIQUE, author_id int NOT NULL REFERENCES authors);
    CREATE TABLE lines (post_id int NOT NULL REFERENCES posts, tag_id int REFERENCES tags, number smallint NOT NULL);
    CREATE TABLE post_tags (post_id int REFERENCES posts, tag_id int REFERENCES tags, weight int,
                            PRIMARY KEY (post_id, tag_id));
"""


@record
class Tag:
    name: str


@record
class Author:
    name: str
    tag_id: Id[Tag] | None
    age: int


@record
class Post:
    slug: str
    author_id: Id[Author]


@record
class Line:
    post_id: Id[Post]
    tag_id: Id[Tag] | None
    number: int


@record
class PostTag:
    post_id: Id[Post]
    tag_id: Id[Tag]
    weight: int


@record
class Part:
    slug: str
    number: int


TAGS = Entity("tags", Tag, ("name",), conflict=Keep(on=("name",)))
AUTHORS = Entity("authors", Author, ("name", "tag_id", "age"), conflict=Update(on=("name",)))
POSTS = Entity("posts", Post, ("slug", "author_id"), conflict=Replace(on=("slug",)))
LINES = Table("lines", Line, ("post_id", "tag_id", "number"))
PARTS = Entity("parts", Part, ("slug", "number"))
POST_TAGS = Table("post_tags", PostTag, ("post_id", "tag_id", "weight"), conflict=Update(on=("post_id", "tag_id")))


def add_post(sink: Sink, document: dict[str, Any]) -> None:
    """A post with all that can be shared."""
    if document["slug"] == "skip":
        raise Skip
    tags = [sink.add(TAGS, Tag(name)) for name in document["tags"]]
    author = sink.add(AUTHORS, Author(document["author"], tags[0] if tags else None, document["age"]))
    post = sink.add(POSTS, Post(document["slug"], author))
    for number, tag in enumerate(tags):
        sink.add(LINES, Line(post, tag, number))
        sink.add(POST_TAGS, PostTag(post, tag, document["age"]))
    sink.add(LINES, Line(post, None, document["lines"]))


def exit_at_once(sink: Sink, document: dict[str, Any]) -> None:
    """Ends its worker process, as a fault in a C library would; the leader, which maps a sample, goes on."""
    if document["slug"] == "end" and multiprocessing.parent_process() is not None:
        os._exit(3)
    add_post(sink, document)


def look_up(sink: Sink, document: dict[str, Any]) -> None:
    """Looks up what the plan does not name."""
    sink.find(Lookup(TAGS, on=("name",)), document["slug"])


def add_parts(sink: Sink, document: dict[str, Any]) -> None:
    """As many rows as the record says."""
    sink.extend(PARTS, (Part(document["slug"], number) for number in document["parts"]))


PLAN = Plan(TAGS, AUTHORS, POSTS, LINES, POST_TAGS)
READ = JsonRecords(dict[str, Any], key="slug")
POSTS_JOB = Job("posts", PLAN, READ, add_post, identity=POSTS)
UNTOLD_JOB = Job("posts", PLAN, READ, add_post)
"""Without an identity: a post may come again in another chunk."""
ENDING_JOB = Job("posts", PLAN, READ, exit_at_once)
LOOKING_JOB = Job("posts", PLAN, READ, look_up)
PARTS_JOB = Job("parts", Plan(PARTS), READ, add_parts)
LAMBDA_JOB = Job("lambda", tables.ITEM_PLAN, gamedb.ITEMS_JOB.read, lambda _sink, _document: None)


@record
class Node:
    name: str
    parent_id: Id[Node] | None
    note: str


KEPT_NODES = Entity("nodes", Node, ("name", "parent_id", "note"), conflict=Keep(on=("name",)))
UPDATED_NODES = Entity("nodes", Node, ("name", "parent_id", "note"), conflict=Update(on=("name",)))
REPLACED_NODES = Entity("nodes", Node, ("name", "parent_id", "note"), conflict=Replace(on=("name",)))


def add_branch(sink: Sink, nodes: Entity[Node], names: Sequence[str], note: str) -> None:
    """Each of them below the one before."""
    parent: Id[Node] | None = None
    for name in names:
        parent = sink.add(nodes, Node(name, parent, note))


def keep_branch(sink: Sink, document: dict[str, Any]) -> None:
    """Names, and a note for each."""
    add_branch(sink, KEPT_NODES, document["names"], document["note"])


def update_branch(sink: Sink, document: dict[str, Any]) -> None:
    """As `keep_branch`."""
    add_branch(sink, UPDATED_NODES, document["names"], document["note"])


KEEP_JOB = Job("keep", Plan(KEPT_NODES), JsonRecords(dict[str, Any]), keep_branch)
UPDATE_JOB = Job("update", Plan(UPDATED_NODES), JsonRecords(dict[str, Any]), update_branch)


@record
class Badge:
    uid: str
    number: int


@record
class Owner:
    uid: str
    badge_id: Id[Badge]


BADGES = Entity("badges", Badge, ("uid", "number"), conflict=Keep(on=("uid",)))
OWNERS = Entity("owners", Owner, ("uid", "badge_id"), conflict=Replace(on=("uid",)))


def add_owner(sink: Sink, document: dict[str, Any]) -> None:
    """Both are known by uuids, which JSON has as text."""
    sink.add(OWNERS, Owner(document["owner"], sink.add(BADGES, Badge(document["badge"], document["number"]))))


OWNERS_JOB = Job("owners", Plan(BADGES, OWNERS), JsonRecords(dict[str, Any]), add_owner)
