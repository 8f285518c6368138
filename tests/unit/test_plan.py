"""Plans are checked and put in order without a server."""

from __future__ import annotations

import pytest

from bulkload import Entity, Id, Keep, Lookup, Plan, Replace, Table, Update, UsageError, record


@record
class Author:
    name: str


@record
class Book:
    author_id: Id[Author] | None
    sequel_of: Id[Book] | None
    title: str


@record
class Loan:
    book_id: Id[Book]


@record
class Egg:
    hen_id: Id[Hen]


@record
class Hen:
    egg_id: Id[Egg]


AUTHORS = Entity("authors", Author, ("name",), conflict=Keep(on=("name",)))
BOOKS = Entity("books", Book, ("author_id", "sequel_of", "title"))
LOANS = Table("loans", Loan, ("book_id",))


def test_parents_come_first() -> None:
    """However the relations are given, each comes after those it refers to; itself does not count."""
    for relations in ((LOANS, BOOKS, AUTHORS), (BOOKS, AUTHORS, LOANS), (AUTHORS, LOANS, BOOKS)):
        assert Plan(*relations).relations == (AUTHORS, BOOKS, LOANS)


def test_references_are_read_off_the_annotations() -> None:
    """An Id annotation is the foreign key, optional or not."""
    plan = Plan(AUTHORS, BOOKS, LOANS)
    assert [(reference.column, reference.entity) for reference in plan.references[BOOKS]] == [
        ("author_id", AUTHORS),
        ("sequel_of", BOOKS),
    ]
    assert [reference.relation for reference in plan.referring(BOOKS)] == [BOOKS, LOANS]


def test_looked_up_entities_are_referred_to_and_not_written() -> None:
    """A lookup's entity satisfies a foreign key without being among the relations that are written."""
    plan = Plan(LOANS, lookups=[Lookup(BOOKS, on=("title",))])
    assert plan.relations == (LOANS,)
    assert plan.described == (LOANS, BOOKS)


def test_union_is_one_plan_in_order() -> None:
    """The plans of several jobs make one, in which a relation stands once."""
    first = Plan(LOANS, lookups=[Lookup(BOOKS, on=("title",))])
    assert Plan.union(first, Plan(AUTHORS, BOOKS)).relations == (AUTHORS, BOOKS, LOANS)


@pytest.mark.parametrize(
    ("relations", "reason"),
    [
        ((LOANS,), "loans.book_id refers to Book, of which the plan has no entity"),
        ((AUTHORS, Table("authors", Author, ("name",))), "the plan has the table authors twice"),
        ((AUTHORS, Entity("writers", Author, ("name",))), "Author is the record of two entities"),
        ((Entity("authors", Author, ("nom",)),), "the column nom is not a field of Author"),
        ((Entity("authors", Author, (), conflict=Keep(on=("name",))),), "the key column name is not among the columns"),
        ((Table("authors", Author, ("name",), conflict=Replace(on=("name",))),), "Replace is for entities"),
        ((Entity("hens", Hen, ("egg_id",)), Entity("eggs", Egg, ("hen_id",))), "refer to each other in a ring"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(relations: tuple[Table[object], ...], reason: str) -> None:
    """The message says which relation and column are wrong, and how."""
    with pytest.raises(UsageError, match=reason):
        Plan(*relations)


def test_a_lookup_of_a_column_that_is_not_there_is_refused() -> None:
    """Its columns are checked like those of a relation."""
    with pytest.raises(UsageError, match="the column isbn is not a field of Book"):
        Plan(AUTHORS, BOOKS, lookups=[Lookup(BOOKS, on=("isbn",))])


@pytest.mark.parametrize("column", ["pages", "title"])
def test_columns_for_new_rows_only_are_columns_beside_the_key(column: str) -> None:
    """One that is not written at all is a mistake, and so is one of the key, which never changes."""
    conflict = Update(on=("title",), insert_only=(column,))
    books = Entity("books", Book, ("author_id", "sequel_of", "title"), conflict=conflict)
    with pytest.raises(
        UsageError, match=f"books: {column}, which is for new rows only, is not a column beside the key"
    ):
        Plan(AUTHORS, books)
