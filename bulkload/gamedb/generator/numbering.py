"""Which record has which AOID, by arithmetic: perks and symbiants can refer to items that nobody kept in memory.

Records are told apart by their number in the file. Every PERIOD items the same things come round again, all of them
among the first 200: the oddities, on even numbers, and after those a few AOIDs that are met again.
"""

from __future__ import annotations

from collections.abc import Mapping

PERIOD = 5_000
# The same share of a full set as PERIOD is of the items.
_NANO_PERIOD = 400
# Place in the period of an item whose AOID was met before, and the place of the record that had it. One is met thrice.
_REPEATS: Mapping[int, int] = {160: 120, 166: 124, 190: 120}
# Place in the period of a nano whose AOID was an item's, and the place of that item.
_TAKEN: Mapping[int, int] = {9: 140, 13: 144}
# One in so many items is a symbiant. Their numbers are odd, so they meet neither oddities nor repeats: the AOID of a
# symbiant is that of a symbiant after the import too.
_SYMBIANT_EVERY = 20
_FIRST_SYMBIANT = 11
# Above every AOID of a set.
_NOBODY = 2_000_000_000


def item_aoid(number: int) -> int:
    """The AOID of an item record."""
    place = number % PERIOD
    number += _REPEATS.get(place, place) - place
    if number % 100 in (70, 71):
        number ^= 1  # the real files are not quite in order either
    return _slot(number) + (number * number // 7) % 2


def nano_aoid(number: int, items: int) -> int:
    """The AOID of a nano record, where there are so many items."""
    period, place = divmod(number, _NANO_PERIOD)
    if place in _TAKEN:
        taken = period * PERIOD + _TAKEN[place]
        if taken < items:
            return item_aoid(taken)
    # Among those of the items, as in the real files, where nanos are a twelfth of all.
    return _slot(7 * number + 3) + 2


def absent_aoid(number: int) -> int:
    """An AOID that no record has."""
    return _NOBODY + number


def keeps_its_aoid(number: int) -> bool:
    """Whether the item record has an AOID that is its own: it repeats no earlier one, and no nano takes it over."""
    place = number % PERIOD
    return place not in _REPEATS and place not in _TAKEN.values()


def is_symbiant(number: int) -> bool:
    """Whether that item record is a symbiant."""
    return number % _SYMBIANT_EVERY == _FIRST_SYMBIANT


def symbiant_place(number: int) -> int:
    """Which of the symbiants that item record is, counted from 0."""
    return number // _SYMBIANT_EVERY


def symbiant_number(place: int) -> int:
    """The item record that is the symbiant of that place."""
    return place * _SYMBIANT_EVERY + _FIRST_SYMBIANT


def symbiants_among(items: int) -> int:
    """How many of the items are symbiants."""
    return (items + _SYMBIANT_EVERY - 1 - _FIRST_SYMBIANT) // _SYMBIANT_EVERY


def _slot(place: int) -> int:
    """Three AOIDs for a place, two for an item and one for a nano, with a wide gap here and there."""
    return 20_000 + 3 * place + place // 640 * 1_000
