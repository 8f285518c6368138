"""What mappings look up: rows of an entity, found by some of their columns in what earlier batches left."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from bulkload.encoding.encode import Encoder
from bulkload.encoding.keys import normal
from bulkload.errors import FitError, ServerError
from bulkload.model.plan import AnyLookup, AnyRelation
from bulkload.model.report import Report
from bulkload.model.tables import Entity, Keep, Key
from bulkload.rows.merge import Merge, can_be_held, read_keys
from bulkload.server.catalog import Target
from bulkload.server.connection import Connection, refused, transaction

Sought = tuple[object, ...]
"""What is looked for, in the order of the lookup's columns."""

_AT_ONCE = 5000
"""Keys that the server is asked for in one statement, in an array a column."""


class Finders:
    """Finds rows by lookups. Of `emptied` entities there are none."""

    def __init__(
        self,
        connection: Connection,
        targets: Mapping[AnyRelation, Target],
        report: Report,
        emptied: Iterable[AnyRelation] = (),
    ) -> None:
        self._connection = connection
        self._targets = targets
        self._report = report
        self._emptied = frozenset(emptied)
        self._finders: dict[AnyLookup, _Finder] = {}
        self._asking: dict[AnyLookup, bool] = {}
        """Whether the finder of a lookup has to ask the server, as far as that was known last."""

    def find_id(self, lookup: AnyLookup, values: Sought) -> int | None:
        """The newest id of the rows with these values, or None. Raises FitError where the server cannot be asked."""
        return None if lookup.entity in self._emptied else self._finder(lookup).find(values)

    def look_ahead(
        self, lookups: Iterable[AnyLookup], sought: Callable[[], Mapping[AnyLookup, Collection[Sought]]]
    ) -> None:
        """Where a table has more keys than are held in memory, ask for all that is about to be sought there at once.

        Each would be a round trip, and where the indexes of the table are away, a scan of it.
        """
        asking = [lookup for lookup in lookups if lookup.entity not in self._emptied and self._asks(lookup)]
        if asking:
            found = sought()
            for lookup in asking:
                self._finder(lookup).ask(found.get(lookup, ()))

    def forget(self, written: Iterable[str]) -> None:
        """These tables are no more what they were."""
        names = {*written}
        for lookup in [lookup for lookup in self._finders if lookup.entity.name in names]:
            del self._finders[lookup]

    def _asks(self, lookup: AnyLookup) -> bool:
        if lookup not in self._asking:
            # Not yet read: the mappings may not use it.
            self._asking[lookup] = not can_be_held(self._connection, self._targets[lookup.entity], lookup.on)
        return self._asking[lookup]

    def _finder(self, lookup: AnyLookup) -> _Finder:
        finder = self._finders.get(lookup)
        if finder is None:
            with self._report.phase("read existing rows"):
                finder = _Finder(self._connection, lookup, self._targets[lookup.entity], self._report)
            self._finders[lookup] = finder
            self._asking[lookup] = finder.asks
        return finder


class _Finder:
    """Finds rows of an entity in a table that nobody writes to meanwhile."""

    def __init__(self, connection: Connection, lookup: AnyLookup, target: Target, report: Report) -> None:
        self._connection = connection
        self._target = target
        self._report = report
        entity = lookup.entity
        self._known = read_keys(connection, target, entity.id_column, lookup.on)
        self._keys = Encoder(target.name, [target.columns[name] for name in lookup.on])
        self._made = normal(self._keys.columns)
        relation = Entity(entity.name, entity.record, lookup.on, conflict=Keep(lookup.on), id_column=entity.id_column)
        self._merge = Merge(connection, relation, target, Encoder(relation.name, [
            target.columns[name] for name in (entity.id_column, *lookup.on)
        ]))  # fmt: skip
        self._answers: dict[tuple[object, ...], int | None] = {}
        """What the server said, where the keys are not known."""

    @property
    def asks(self) -> bool:
        """Whether it has to ask the server for each key."""
        return self._known is None

    def ask(self, sought: Collection[Sought]) -> None:
        """Have the answers for these at hand, as far as the server gives them; for these alone, to bound memory."""
        self._answers.clear()
        # What does not fit is told to whoever looks it up.
        fitting = [values for values in sought if self._fits(values)]
        with self._report.phase("read existing rows"):
            for begin in range(0, len(fitting), _AT_ONCE):
                self._ask(fitting[begin : begin + _AT_ONCE])

    def find(self, values: Sought) -> int | None:
        """The newest id of the rows with these values, or None."""
        if self._known is not None:
            return self._known.get(self._key(values))
        asked = self._told_apart(values)
        if asked not in self._answers:
            self._answers[asked] = self._match([values]).get(0)
        return self._answers[asked]

    def _ask(self, some: Collection[Sought]) -> None:
        try:
            found = self._match(some)
        except ServerError as error:
            if not error.of_rows:
                raise
            # Of which of them, is seen when each is looked up.
            return
        self._answers.update((self._told_apart(values), found.get(place)) for place, values in enumerate(some))

    def _match(self, some: Collection[Sought]) -> Mapping[int, int]:
        # In a transaction of its own, or behind a savepoint: what is refused is no reason to undo anything else.
        with refused(f"looking up keys of {self._target}"), transaction(self._connection):
            return self._merge.match([(0,) * len(some), *zip(*some, strict=True)])

    def _key(self, values: Sought) -> Key:
        key: Key = values[0] if len(values) == 1 else values
        return key if self._made is None else self._made(key)

    def _told_apart(self, values: Sought) -> tuple[object, ...]:
        """A key for each type of what Python calls equal: 1, 1.0 and True are not the same to every column."""
        return (*map(type, values), self._key(values))

    def _fits(self, values: Sought) -> bool:
        if len(values) != len(self._keys.columns):
            return False
        try:
            self._keys.fields([(value,) for value in values])
        except FitError:
            return False
        return True
