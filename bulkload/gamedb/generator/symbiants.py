"""Symbiants, and the file that says which creature leaves which of them behind."""

from __future__ import annotations

from collections.abc import Iterator
from math import lcm

import attrs

from bulkload.gamedb.generator import numbering
from bulkload.gamedb.generator.dice import Dice
from bulkload.gamedb.generator.words import PLACES, split

_FAMILIES = ("Artillery", "Cavalry", "Garrison", "Outrider", "Sapper")
_SLOTS = (
    ("Eye", "Optic"),
    ("Head", "Cranial"),
    ("Ear", "Ear"),
    ("Right Arm", "Right Arm"),
    ("Chest", "Rib"),
    ("Left Arm", "Left Arm"),
    ("Right Wrist", "Right Wrist"),
    ("Waist", "Waist"),
    ("Left Wrist", "Left Wrist"),
    ("Right Hand", "Right Palm"),
    ("Legs", "Shin"),
    ("Left Hand", "Left Palm"),
    ("Feet", "Sole"),
)
"""What the lines call a slot, and what the names of the items do."""
_TEMPERS = split(
    "Dormant Stirring Drowsy Waking Timid Curious Watchful Eager Restless Lively Nimble Willing Steady Sturdy Keen "
    "Bold Fierce Ardent Proud Stern Tireless Radiant Ancient Boundless"
)
_UNITS = split("Beth Corm Dorn Elvi Farn Gisk Hoth Irra Kell Lunt Mave Nool")
_EPITHETS = split(
    "Barbed Blind Brackish Chanting Clotted Creeping Drowned Gaunt Gnashing Grinning Hooded Hunched Hungry Lame "
    "Laughing Mouldering Nameless Ossified Pallid Ragged Sallow Shrouded Sleepless Smouldering Sunken Tattered "
    "Thirsty Weeping Whispering Withered"
)
_BODIES = split(
    "Abbot Bailiff Baroness Beadle Chandler Cooper Drover Duchess Ferryman Fiddler Kötter Målare Herald Lampwright "
    "Margrave Midwife Miller Ōga Oracle Ploughman Provost Reeve Sexton Shepherd Sibyl Tinker Verger Warden "
    "Wheelwright"
)
_PLAYFIELDS = ("Île Brisée", *(f"{place} {part}" for place in PLACES[:6] for part in ("Fells", "Flats")), "Ödmark")
_SPOTS = (
    "North of the dry well",
    "In the reeds",
    "Behind the mill, east bank",
    'The "Hollow" stair, second landing',
    "Below the château",
    "South-west of the toll gate",
    'By the stone marked "IX"',
)
_CROWDS = (
    "Marsh Lanterns",
    "Old Thistle Guards, Thistle Guards in Hollows",
    "Any Chalk Crawler",
    "Tin Pilgrims,Rust Pilgrims , Lead Pilgrims",
    "Salt Hounds/Salt Whelps",
    'Wardens of the "Ninth" Bell, Ringers',
    "Frost Élan, Frost Ibex",
)
# How many lines the creatures have, one after another.
_SHARES = (9, 3, 6, 1, 12, 5)
# Names and playfields together come round again after so many creatures.
_CREATURES = lcm(len(_EPITHETS) * len(_BODIES), len(_PLAYFIELDS))


@attrs.frozen
class Symbiant:
    """One symbiant, which items.json and symbiants.csv must tell alike."""

    name: str
    quality: int
    slot: str
    family: str
    slot_id: int
    """The value of stat 298."""

    @classmethod
    def of(cls, place: int) -> Symbiant:
        """The symbiant of that place among all; names repeat after some 18,000."""
        # 65 pairs of family and slot, 24 tempers: no common divisor, so 1,560 places go by before both are met again.
        family = _FAMILIES[place % 5]
        slot_index = place // 5 % 13
        slot, part = _SLOTS[slot_index]
        temper = place * 7 % 24
        unit = _UNITS[(place + place // 1_560) % 12]
        name = f"{_TEMPERS[temper]} {part} Symbiant, {family} Unit {unit}"
        return cls(name, 10 + 12 * temper, slot, family, 2 << slot_index)


@attrs.frozen
class _Creature:
    """What all lines of one boss in one playfield have in common."""

    boss: str
    playfield: str
    location: str
    crowd: str
    level: int

    @classmethod
    def of(cls, number: int) -> _Creature:
        number %= _CREATURES
        # Every fifth has the name of the one before it: the playfield, which is the next, tells them apart.
        named = number - (number % 5 == 4)
        return cls(
            _boss(named),
            _PLAYFIELDS[number % len(_PLAYFIELDS)],
            _SPOTS[number % len(_SPOTS)],
            _CROWDS[number // 2 % len(_CROWDS)],
            25 + 5 * (number % 41),
        )


def _boss(number: int) -> str:
    """A name; another one for each of 30 times 29 numbers in a row."""
    first, second = len(_EPITHETS), len(_BODIES)
    return f"{_EPITHETS[number % first]} {_BODIES[(number // first + number) % second]}"


def symbiant_lines(lines: int, items: int, dice: Dice) -> Iterator[str]:
    """The lines of symbiants.csv; none where there is no symbiant to name."""
    symbiants = numbering.symbiants_among(items)
    if not symbiants:
        return
    written = 0
    creature = 0
    again = ""
    while written < lines:
        # No more than there are symbiants: the walk below gives each line of a creature another one.
        for _ in range(min(_SHARES[creature % len(_SHARES)], symbiants, lines - written)):
            place = written * symbiants // lines if symbiants >= lines else written % symbiants
            text = _line(_Creature.of(creature), place, dice)
            if written == 1:
                again = text
            # One line of the real file stands there twice.
            yield again if written == lines - 1 and lines >= 10 else text
            written += 1
        creature += 1


def _line(creature: _Creature, place: int, dice: Dice) -> str:
    symbiant = Symbiant.of(place)
    aoid = numbering.item_aoid(numbering.symbiant_number(place))
    fields = (
        str(symbiant.quality),
        symbiant.slot,
        symbiant.family,
        creature.boss,
        creature.playfield,
        creature.location,
        creature.crowd,
        str(creature.level),
        "",
        "",
    )
    host = dice.pick(("items", "wiki", "mirror.items"))
    # Not quoted, as in the real file, though its comma makes two fields of it.
    link = f"<a href=http://{host}.example.com/item?AOID={aoid}>QL {symbiant.quality} {symbiant.name}</A>"
    return ",".join([*map(_quoted, fields), link]) + "\n"


def _quoted(field: str) -> str:
    return '"' + field.replace('"', '""') + '"' if "," in field or '"' in field else field
