"""Record classes: what is read off them, and what their instances can stand for."""

from __future__ import annotations

import attrs
import msgspec
import pytest

from bulkload import record
from bulkload.model.records import column_of, is_key


@record
class Tag:
    name: str
    weight: int


@attrs.frozen
class Place:
    name: str
    weight: int


class Loose(msgspec.Struct):
    name: str
    weight: int


def test_a_record_does_not_change() -> None:
    """What is added to a load stays what it was when it was added."""
    with pytest.raises(AttributeError, match="immutable"):
        Tag("a", 1).name = "b"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("kind", [Tag, Place, Loose])
def test_a_column_is_read_off_records_of_any_class(kind: type[Tag]) -> None:
    records = [kind("a", 1), kind("b", 2)]
    assert column_of("name")(records) == ["a", "b"]
    assert column_of("weight")(iter(records)) == [1, 2]


def test_a_field_may_have_a_name_that_is_no_name_in_python() -> None:
    """As a column may; a class with such a field is made by a function."""
    odd = msgspec.defstruct("Odd", [("class", int)])
    assert column_of("class")([odd(1)]) == [1]


def test_a_record_is_a_key_where_it_has_its_columns_and_no_others() -> None:
    """Two of the same values are one key then, as two tuples of them are."""
    assert is_key(Tag, ("weight", "name"))
    assert {Tag("a", 1): "x"}.get(Tag("a", 1)) == "x"
    assert not is_key(Tag, ("name",))


@pytest.mark.parametrize("kind", [Place, Loose])
def test_a_record_of_another_class_is_no_key(kind: type) -> None:
    """Whether it can be hashed, and is equal to another one of its values, is its author's to say."""
    assert not is_key(kind, ("name", "weight"))
