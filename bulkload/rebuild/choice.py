"""Which indexes and constraints are taken away while rows come in, and why the others stay.

Some cannot be dropped, or would not come back exactly; some must stay, since the load or somebody else needs them; and
of the rest, `auto` takes away what is dearer to maintain a row at a time than to build anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import Enum

import attrs

from bulkload.server.definitions import ForeignKey, Index, Kind, Object, Survey


class Drop(Enum):
    """Whether a kind of object is taken away."""

    AUTO = "auto"
    """Where that is faster."""
    ALWAYS = "always"
    """Wherever it can be."""
    NEVER = "never"


@attrs.frozen
class Drops:
    """What is taken away while rows come in."""

    indexes: Drop = Drop.AUTO
    foreign_keys: Drop = Drop.AUTO
    keys: Drop = Drop.AUTO
    """Primary keys, unique and exclusion constraints; `AUTO` leaves those of tables with a conflict rule."""


@attrs.frozen
class Growth:
    """How many rows a table has, and how many are to come: None where that is not known."""

    existing: float
    new: float | None


@attrs.frozen
class Cost:
    """Microseconds a row."""

    maintain: float
    """For every new row, while the object is there."""
    build: float
    """For every row of the table, when it is made anew."""


# Measured by bench/test_worth.py on two shared cores: 300,000 rows into as many, PostgreSQL 18.4 with its default
# settings, medians of three rounds. It is their ratios that decide, and those hardly differ between machines.
COSTS: Mapping[str, Cost] = {
    "btree": Cost(maintain=2.8, build=0.45),
    "hash": Cost(maintain=1.5, build=1.35),
    "gin": Cost(maintain=3.0, build=1.2),
    "gist": Cost(maintain=24.0, build=3.7),
    "brin": Cost(maintain=0.1, build=0.2),
    "foreign key": Cost(maintain=8.5, build=0.35),
}
# Other access methods are taken for the dearest.
_UNKNOWN = COSTS["gist"]


def cost_of(each: Index | ForeignKey) -> Cost:
    """What an object costs a row."""
    return COSTS.get("foreign key" if isinstance(each, ForeignKey) else each.method, _UNKNOWN)


_FIXED = 3000.0
"""Microseconds that dropping and making an object take on an empty table."""

_MARGIN = 0.7
"""A table is stripped where that costs at most this part of leaving it alone: an estimate is no more than that."""


@attrs.frozen
class Kept:
    """An object that stays, and why."""

    object: Index | ForeignKey
    reason: str


@attrs.frozen
class Choice:
    """What is taken away, in that order, and what stays."""

    relations: tuple[int, ...]
    """The tables and their partitions."""
    foreign_keys: tuple[ForeignKey, ...]
    keys: tuple[Index, ...]
    """Keys and exclusion constraints."""
    indexes: tuple[Index, ...]
    kept: tuple[Kept, ...]

    @property
    def dropped(self) -> tuple[Object, ...]:
        """All that is taken away; what is attached to an index of a partitioned table goes with that."""
        return (*self.foreign_keys, *self.keys, *self.indexes)


@attrs.frozen
class Circumstances:
    """What a choice depends on beside the catalog. Tables are given by their oids."""

    filled: Collection[int]
    """The tables that rows come into, and those that are locked for them: none other is touched."""
    cleared: Collection[int] = ()
    """The tables that are emptied first."""
    rules: Mapping[int, frozenset[str]] = attrs.field(factory=dict[int, frozenset[str]])
    """The columns of each table's conflict rule."""
    sought: Mapping[int, frozenset[str]] = attrs.field(factory=dict[int, frozenset[str]])
    """The columns by which the load finds rows that are there, beside those of the rules."""
    growth: Mapping[int, Growth] = attrs.field(factory=dict[int, Growth])
    by_hand: bool = False
    """Whether a person asked for it, so that nothing is weighed, and keys of tables with rows in them go, too."""


def choose(survey: Survey, drops: Drops, circumstances: Circumstances) -> Choice:
    """What of the survey is taken away."""
    chooser = _Chooser(survey, drops, circumstances)
    foreign_keys = [each for each in survey.foreign_keys if chooser.goes(each)]
    chooser.gone = {each.oid for each in foreign_keys}
    indexes = chooser.indexes()
    return Choice(
        survey.relations,
        tuple(foreign_keys),
        tuple(each for each in indexes if each.kind is not Kind.INDEX),
        tuple(each for each in indexes if each.kind is Kind.INDEX),
        tuple(chooser.kept),
    )


class _Chooser:
    def __init__(self, survey: Survey, drops: Drops, circumstances: Circumstances) -> None:
        self._survey = survey
        self._drops = drops
        self._circumstances = circumstances
        self.kept: list[Kept] = []
        self.gone: set[int] = set()
        """The foreign keys that are taken away."""
        weighed: dict[tuple[int, bool], list[Index | ForeignKey]] = {}
        objects: list[Index | ForeignKey] = [*survey.indexes, *survey.foreign_keys]
        for each in objects:
            weighed.setdefault((each.relation, each.kind is Kind.FOREIGN_KEY), []).append(each)
        self._weights = {place: self._weigh(place[0], found) for place, found in weighed.items()}

    def goes(self, each: ForeignKey) -> bool:
        reason = self._needed_foreign_key(each) or self._told(each, self._drops.foreign_keys)
        if reason:
            self.kept.append(Kept(each, reason))
        return not reason

    def indexes(self) -> list[Index]:
        """The indexes that are taken away; of a partitioned table's all parts, or none."""
        families = _families(self._survey.indexes)
        found: list[Index] = []
        for family in families:
            part = "it is a part of an index of a partitioned table, and that was not asked for"
            reasons = {each.oid: part if family[0].attached else self._why_kept(each) for each in family}
            reason = next(filter(None, reasons.values()), "")
            if reason:
                self.kept += [
                    Kept(each, reasons[each.oid] or f"a part of it stays: {reason}" if len(family) > 1 else reason)
                    for each in family
                ]
            else:
                found += family
        return found

    def _why_kept(self, each: Index) -> str:
        drop = self._drops.indexes if each.kind is Kind.INDEX else self._drops.keys
        return _not_exact(each) or self._needed(each) or self._told(each, drop)

    def _needed_foreign_key(self, each: ForeignKey) -> str:
        reasons = {
            "one of its tables belongs to another role": not each.owned,
            "it belongs to an extension": each.of_extension,
            "one of its triggers is switched off, and would come back switched on": each.switched_off,
            "the partitions have it under other names or comments, which would be lost": each.partitions_differ,
            "several keys could serve it, and it might come back on another one than before": each.several_keys,
            "the load has nothing to do with one of its tables": (
                not {each.relation, each.referenced} <= set(self._circumstances.filled)
            ),
        }
        return next((reason for reason, holds in reasons.items() if holds), "")

    def _needed(self, each: Index) -> str:
        staying = [f for f in self._survey.foreign_keys if f.oid in each.foreign_keys and f.oid not in self.gone]
        if staying:
            return f"the {staying[0]}, which stays, needs it"
        if set(each.foreign_keys) - self.gone:
            return "a foreign key of a table that the load has nothing to do with needs it"
        return "" if self._circumstances.by_hand else self._needed_by_load(each)

    def _needed_by_load(self, each: Index) -> str:
        if each.relation not in self._circumstances.filled:
            return "the load has nothing to do with its table"
        rule = self._circumstances.rules.get(each.relation)
        # Rows are found by the columns of the rule, and then by their ids.
        arbiter = each.is_unique and (each.kind is not Kind.INDEX or rule == frozenset(map(_unquoted, each.keys)))
        if rule is not None and arbiter and self._drops.keys is not Drop.ALWAYS:
            return "the table's conflict rule needs it"
        if each.kind is not Kind.INDEX and each.relation not in self._circumstances.cleared:
            return "the table has rows, which it guards"
        sought = self._circumstances.sought.get(each.relation, frozenset())
        if each.kind is Kind.INDEX and self._drops.indexes is not Drop.ALWAYS and _unquoted(each.keys[0]) in sought:
            return "the load finds by it what belongs to rows that it replaces"
        return ""

    def _told(self, each: Index | ForeignKey, drop: Drop) -> str:
        if drop is Drop.NEVER:
            return "it was asked for that it stays"
        if drop is Drop.ALWAYS or self._circumstances.by_hand:
            return ""
        return self._weights[each.relation, each.kind is Kind.FOREIGN_KEY]

    def _weigh(self, relation: int, found: Iterable[Index | ForeignKey]) -> str:
        """Why what a table has is not worth to be taken away; '' where it is."""
        cleared = relation in self._circumstances.cleared
        growth = self._circumstances.growth.get(relation)
        if growth is None or growth.new is None:
            return "" if cleared else "how many rows will come is not known"
        existing = 0.0 if cleared else growth.existing
        costs = [cost_of(each) for each in found]
        keep = sum(growth.new * cost.maintain for cost in costs)
        drop = sum(_FIXED + (existing + growth.new) * cost.build for cost in costs)
        if drop <= keep * _MARGIN:
            return ""
        return (
            f"not worth it: {growth.new:,.0f} rows come to {existing:,.0f}, so that to maintain what the table has "
            f"costs about {keep / 1e6:.2f} s, to make it anew {drop / 1e6:.2f} s"
        )


def _not_exact(each: Index) -> str:
    """Why it cannot be dropped, or would not come back as it was."""
    reasons = {
        "its table belongs to another role": not each.owned,
        "it belongs to an extension": each.of_extension,
        "it is invalid, and would come back valid": not each.valid and not each.partitioned,
        "some of its partitions lack it": not each.valid and each.partitioned,
        f"this role may create nothing in the schema {each.schema}": not each.schema_open,
        f"this role may create nothing in the tablespace {each.tablespace}": not each.tablespace_open,
        "its storage parameters would be lost": bool(each.storage) and _stored_apart(each),
        "PostgreSQL does not attach the parts of such a constraint": each.partitioned and each.kind is Kind.CONSTRAINT,
        "logical replication knows rows by it": each.published and (each.replica_identity or each.default_identity),
        f"{', '.join(each.dependents)} depends on it": bool(each.dependents),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _stored_apart(each: Index) -> bool:
    """Whether the text that makes it leaves its storage parameters out."""
    if each.kind is Kind.CONSTRAINT:
        # A key WITHOUT OVERLAPS; an exclusion constraint's text has them.
        return not each.constraint_definition.startswith("EXCLUDE")
    return each.partitioned and each.kind is Kind.KEY


def _families(indexes: Sequence[Index]) -> list[list[Index]]:
    """The indexes, those of partitions beside the one that they are attached to, which comes first."""
    by_name = {(each.schema, each.name): each for each in indexes}
    families: dict[tuple[str, str], list[Index]] = {}
    for each in indexes:
        root = each
        while (root.parent_schema, root.parent_name) in by_name:
            root = by_name[root.parent_schema, root.parent_name]
        family = families.setdefault((root.schema, root.name), [])
        family.insert(0, each) if each is root else family.append(each)
    return list(families.values())


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
