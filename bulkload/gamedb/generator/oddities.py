r"""What the real files hold that a careless importer trips over; every one of them is valid.

An oddity changes an ordinary record, so that the rest of the record keeps the shape of the set. Between them they cover
repeats, nulls, empty lists, the limits of types and lengths, text that COPY or JSON could mangle, and unusual spells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from bulkload.gamedb.generator.document import (
    INT_MAX,
    INT_MIN,
    Pair,
    Record,
    action,
    criterion,
    event,
    pair,
    shelf,
    spell,
)
from bulkload.gamedb.generator.numbering import PERIOD

_LONGEST_NAME = 128
_LONGEST_DESCRIPTION = 8192
_LONGEST_FORMAT = 512
_QUALITY, _CLASS = 54, 76

_BEYOND_ASCII = "Grüße aus Æther: “ľúč” – 東の塔, вёсла, سلام, e\u0301a\u0323\u0308, 🜁🦉👩‍🚀, \u00a0\u2028\ufeff"
_COPY_MARKS = "\\N\n\\.\n\\\\N\t\\t \\n \\x41 \\"
_QUOTES = """He said "it's 'odd' — \\"very\\" odd" and $$left$$; -- DROP, {}, {"a":1}, %s %(b)s"""
_MARKUP = "<font color=\"#ff8800\">Warm &amp; dry</font><br/><a href='text://<b>inner</b>'>more</a><!-- end -->"
_LINES = "first\nsecond\r\nthird\rfourth\t\ttabbed\v\f\n\n  last  \n"
_CONTROLS = "bell \a, escape \x1b[0m, one \x01, delete \x7f, next line \x85"


def _add_stats(record: Record, *more: Pair) -> Record:
    return attrs.evolve(record, stats=[*record.stats, *more])


def _without_stat(record: Record, stat: int) -> Record:
    return attrs.evolve(record, stats=[each for each in record.stats if each["Stat"] != stat])


def _pairs_twice(record: Record) -> Record:
    return attrs.evolve(record, stats=[pair(30, 77), *record.stats, *record.stats[:3], pair(30, 77), pair(30, 78)])


def _sixty_stats(record: Record) -> Record:
    further = [pair(400 + place, place * place) for place in range(60 - len(record.stats))]
    return _add_stats(record, *further)


def _zero_quality(record: Record) -> Record:
    return _add_stats(_without_stat(record, _QUALITY), pair(_QUALITY, 0))


def _extremes(record: Record) -> Record:
    ends = [criterion(INT_MIN, INT_MAX, INT_MAX), criterion(INT_MAX, INT_MIN, INT_MIN)]
    cast = spell(INT_MAX, "", {"Low": INT_MIN}, ends, target=INT_MIN, ticks=INT_MAX, interval=INT_MIN)
    return attrs.evolve(
        record,
        stats=[*record.stats, pair(0, INT_MIN), pair(INT_MAX, INT_MAX), pair(INT_MIN, -1), pair(_CLASS, INT_MIN)],
        actions=[action(INT_MAX, ends), action(INT_MIN, ends)],
        events=[event(INT_MIN, [cast]), event(INT_MAX, [])],
        shelves=[shelf("max", [INT_MIN, INT_MAX, INT_MIN, INT_MAX, INT_MIN, INT_MAX], {})],
    )


def _postfix(record: Record) -> Record:
    asked = criterion(101, 40, 2)
    joined = criterion(0, 0, 4)
    return attrs.evolve(record, actions=[action(3, [asked, asked, joined, asked, joined, joined, asked])] * 2)


def _long_expression(record: Record) -> Record:
    asked = [criterion(60, which, 0) for which in range(25)]
    return attrs.evolve(record, actions=[action(6, [*asked, *[criterion(0, 0, 3)] * 24])])


def _unusual_spells(record: Record) -> Record:
    nested: dict[str, object] = {
        "Criteria": [{"Value1": 1, "Value2": 2, "Operator": 0}],
        "SpellID": "not the one above",
        "Inner": {"Criteria": {"deep": [[], [{}], {"": None}]}, "Target": None},
    }
    numbers = {
        "Half": 0.5,
        "Tiny": -1.5e-07,
        "Pi": 3.141592653589793,
        "PastDouble": 2**53 + 1,
        "Widest": 2**63 - 1,
        "Deepest": -(2**63),
        "Zero": 0,
        "Whole": 100.0,
    }
    texts = {
        "Text": _QUOTES + _LINES,
        "Marks": _COPY_MARKS,
        "Größe": _BEYOND_ASCII,
        "🦉": "🦉",
        "": "",
        "a b": _CONTROLS,
    }
    kinds: dict[str, object] = {
        "On": True,
        "Off": False,
        "Nothing": None,
        "Empty": {},
        "None": [],
        "Mixed": [1, "1", 1.5, None, True, {}],
    }
    return attrs.evolve(
        record,
        events=[
            event(0, [spell(53998, "Does {Inner}", {"Nested": nested}), spell(53997, None, numbers)]),
            event(0, [spell(53996, "{Text}", texts), spell(53995, "", kinds), spell(53994, None, {})]),
        ],
    )


def _spell_formats(record: Record) -> Record:
    longest = ("{Größe} " * _LONGEST_FORMAT)[:_LONGEST_FORMAT]
    twice = [criterion(102, 9, 2), criterion(102, 9, 2), criterion(0, 0, 4), criterion(102, 9, 2), criterion(0, 0, 4)]
    spells = [spell(53045, None, {"Stat": None, "Amount": None}), spell(53993, longest, {"Patch": None}, twice)]
    return attrs.evolve(record, events=[event(5, spells), event(5, spells)])


def _heavy(record: Record) -> Record:
    spells = [
        spell(53045, "Sets {Stat}", {"Stat": 100 + place, "Amount": -place, "SpellDescription": "weight " * 20})
        for place in range(100)
    ]
    return attrs.evolve(record, events=[event(14, spells)])


def _shelves(record: Record) -> Record:
    further = {"Unknown9": [1, 2], "Hash2": {"Text": "LONGER"}, "Note": None}
    return attrs.evolve(
        record,
        shelves=[
            shelf("A", [1, 300, 1, 1, 60, 100], {}),
            shelf("bc", [None, None, None, None, None, None], {}),
            shelf("D 1", [1, None, 0, None, 3_600, 0], further),
            shelf("ÄÖ東🦉", [1, 1, 1, 1, 1, 1], further),
            shelf("\\N", [1, 1, 1, 1, 1, 1], {}),
        ],
    )


# How many there are bounds the places they take: see `numbering`.
ODDITIES: Sequence[Callable[[Record], Record]] = (
    _pairs_twice,
    lambda record: attrs.evolve(record, stats=[]),
    _sixty_stats,
    lambda record: _add_stats(record, pair(_QUALITY, 7), pair(_CLASS, 1), pair(_QUALITY, 9), pair(_CLASS, 3)),
    lambda record: _add_stats(record, pair(_QUALITY, 7), pair(_CLASS, 1), pair(_QUALITY, 0), pair(_CLASS, 0)),
    _zero_quality,
    lambda record: _without_stat(record, _QUALITY),
    lambda record: _without_stat(record, _CLASS),
    _extremes,
    lambda record: attrs.evolve(record, name=None),
    lambda record: attrs.evolve(record, description=None),
    lambda record: attrs.evolve(record, name=None, description=None),
    lambda record: attrs.evolve(record, name="", description=""),
    lambda record: attrs.evolve(record, name=("Very long name " * 9)[:_LONGEST_NAME]),
    lambda record: attrs.evolve(record, name="🦉e\u0301東\\" * 24 + "é" * 8),
    lambda record: attrs.evolve(record, name='  "Tab\there" \\N, it\'s {odd}  '),
    lambda record: attrs.evolve(record, name="\\N", description="\\."),
    lambda record: attrs.evolve(record, name="\\.", description="\\N"),
    lambda record: attrs.evolve(record, description=_LINES),
    lambda record: attrs.evolve(record, description=_QUOTES),
    lambda record: attrs.evolve(record, description=_COPY_MARKS),
    lambda record: attrs.evolve(record, description=_MARKUP),
    lambda record: attrs.evolve(record, description=_BEYOND_ASCII),
    lambda record: attrs.evolve(record, description=_CONTROLS),
    lambda record: attrs.evolve(record, description=_BEYOND_ASCII + _LINES, ascii=True),
    lambda record: attrs.evolve(record, description="x" * _LONGEST_DESCRIPTION),
    lambda record: attrs.evolve(record, description="🦉é" * (_LONGEST_DESCRIPTION // 2)),
    lambda record: attrs.evolve(
        record, description=((_COPY_MARKS + _LINES + _QUOTES + _MARKUP + _BEYOND_ASCII) * 40)[:_LONGEST_DESCRIPTION]
    ),
    lambda record: attrs.evolve(
        record, attack_defense=None, animation_mesh=None, actions=None, events=[], shelves=None
    ),
    lambda record: attrs.evolve(record, attack_defense=([], []), actions=[], events=[], shelves=[]),
    lambda record: attrs.evolve(record, attack_defense=([pair(104, 70), pair(105, 30), pair(104, 70)], [])),
    lambda record: attrs.evolve(record, attack_defense=([], [pair(106, 100), pair(106, 100)])),
    lambda record: attrs.evolve(record, animation_mesh=(None, pair(12, 13_013))),
    lambda record: attrs.evolve(record, animation_mesh=(pair(13, 404), None)),
    lambda record: attrs.evolve(record, animation_mesh=(None, None)),
    lambda record: attrs.evolve(record, actions=[action(6, []), action(6, []), action(3, [])]),
    _postfix,
    _long_expression,
    lambda record: attrs.evolve(record, events=[event(0, []), event(14, []), event(14, [])]),
    _unusual_spells,
    _spell_formats,
    _heavy,
    _shelves,
    lambda record: attrs.evolve(
        record, unstored={"Sounds": {"Loop": [{"Key": 3, "Value": INT_MIN}]}, "Größe": [_QUOTES, 1e-3, None]}
    ),
)


def oddity(number: int, record: Record) -> Record:
    """The record, changed where its number in the file says so."""
    which, rest = divmod(number % PERIOD, 2)
    return record if rest or which >= len(ODDITIES) else ODDITIES[which](record)
