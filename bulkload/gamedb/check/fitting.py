"""What can go into a column, judged here once more and on its own: the reading must reject what the import rejects."""

from __future__ import annotations

from decimal import Decimal

from bulkload.gamedb.check.content import Json

_INT4 = 2**31
# The reach of `numeric`, which is how jsonb keeps a number: https://www.postgresql.org/docs/current/datatype-numeric.html
_DIGITS_BEFORE_POINT = 131_072
_DIGITS_AFTER_POINT = 16_383


class Misfit(ValueError):  # noqa: N818 - a finding, not a failure
    """This record cannot go in."""


def integer(value: Json) -> int:
    """A value of an integer column. `true`, 1.0 and "1" are none."""
    # The very type: bool is a subclass of int.
    if type(value) is int and -_INT4 <= value < _INT4:
        return value
    raise Misfit("no integer")


def integer_or_null(value: Json) -> int | None:
    """The same for a column whose value may be unknown."""
    return None if value is None else integer(value)


def text(value: Json, most: int | None = None) -> str:
    """A value of a varchar(most) column, or of a text column."""
    if not isinstance(value, str) or (most is not None and len(value) > most):
        raise Misfit("no text, or too long")
    _check_characters(value)
    return value


def json(value: Json) -> Json:
    """A value of a jsonb column, checked to the bottom."""
    if isinstance(value, str):
        _check_characters(value)
    elif isinstance(value, dict):
        _check_characters("".join(value))
        for inner in value.values():
            # Most are whole numbers, and those always fit.
            if type(inner) is not int:
                json(inner)
    elif isinstance(value, list):
        for inner in value:
            json(inner)
    elif isinstance(value, Decimal):
        _check_reach(value)
    return value


def members(value: Json) -> dict[str, Json]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise Misfit("no object")
    return value


def elements(value: Json) -> list[Json]:
    """A JSON array."""
    if not isinstance(value, list):
        raise Misfit("no array")
    return value


def elements_or_none(value: Json) -> list[Json]:
    """A JSON array that may be missing: null is an empty one."""
    return [] if value is None else elements(value)


def _check_characters(value: str) -> None:
    if value.isascii():
        if "\0" in value:
            raise Misfit("NUL")
        return
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Misfit("a lone surrogate") from None
    if "\0" in value:
        raise Misfit("NUL")


def _check_reach(number: Decimal) -> None:
    after_point = -int(number.as_tuple().exponent)
    if after_point > _DIGITS_AFTER_POINT or (number and number.adjusted() >= _DIGITS_BEFORE_POINT):
        raise Misfit("a number beyond numeric")
