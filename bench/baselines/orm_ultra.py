"""SQLAlchemy's ORM as far as it goes: two flushes a batch, and the largest junctions by COPY.

The first flush is the items, with their attack_defense and animation_mesh through relationships; the second is all that
hangs on them. The shared rows of a batch are one INSERT … ON CONFLICT DO NOTHING a table and a read back. Three
junctions go through psycopg2's copy_expert. Secondary indexes are away meanwhile, and commits do not wait for the disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import StringIO
from pathlib import Path
from typing import cast

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - it is a class
from sqlalchemy.orm import Session

from bench.baselines import models
from bench.baselines.indexes import dropped
from bench.baselines.records import Pair, Record, Triple, batches, records
from bench.baselines.shared import missing
from bulkload import Statements
from bulkload.gamedb import Files

_SQL = Statements(Path(__file__).with_suffix(".sql"))
_BATCH = 5000


def load(dsn: str, files: Files) -> None:
    """Fill the items part."""
    with dropped(dsn), Session(models.engine(dsn), expire_on_commit=False, autoflush=False) as session:
        importer = _Importer(session)
        for batch in batches(records(files), _BATCH):
            importer.add(batch)
            session.commit()
            session.expunge_all()


class _Importer:
    def __init__(self, session: Session) -> None:
        self._session = session
        self._stat_values: dict[Pair, int] = {}
        self._criteria: dict[Triple, int] = {}

    def add(self, batch: Sequence[Record]) -> None:
        with self._cursor() as cursor:
            cursor.execute(_SQL["async_commit"].text)
            self._add_shared(cursor, batch)

        items = [self._item(record) for record in batch]
        self._flush(items)
        of_items = list(zip(batch, items, strict=True))

        actions = [
            (criteria, models.Action(action=number, item_id=item.id))
            for record, item in of_items
            for number, criteria in record.actions
        ]
        events = [
            (spells, models.ItemSpellData(item_id=item.id, spell_data=models.SpellData(event=event)))
            for record, item in of_items
            for event, spells in record.spell_data
        ]
        spells = [
            (each, models.SpellDataSpell(spell_data=junction.spell_data, spell=models.spell_of(each)))
            for of_event, junction in events
            for each in of_event
        ]
        self._flush(
            [
                *(action for _, action in actions),
                *(junction for _, junction in events),
                *(junction for _, junction in spells),
                *(
                    models.ItemShopHash(item_id=item.id, shop_hash=models.shop_hash_of(shelf))
                    for record, item in of_items
                    for shelf in record.shelves
                ),
                *self._sides(of_items),
            ]
        )

        values, terms = self._stat_values, self._criteria
        with self._cursor() as cursor:
            _copy(
                cursor,
                "copy_item_stats",
                (f"{item.id}\t{values[pair]}\n" for record, item in of_items for pair in record.stats),
            )
            _copy(
                cursor,
                "copy_action_criteria",
                (
                    f"{action.id}\t{terms[triple]}\t{order}\n"
                    for criteria, action in actions
                    for order, triple in enumerate(criteria)
                ),
            )
            _copy(
                cursor,
                "copy_spell_criteria",
                (f"{spell.spell_id}\t{terms[triple]}\n" for each, spell in spells for triple in each.criteria),
            )

    def _item(self, record: Record) -> models.Item:
        item = models.item_of(record)
        if record.attack_defense is not None:
            item.attack_defense = models.AttackDefense()
        if record.animation_mesh is not None:
            animation, mesh = (pair and self._stat_values[pair] for pair in record.animation_mesh)
            item.animation_mesh = models.AnimationMesh(animation_id=animation, mesh_id=mesh)
        return item

    def _sides(self, of_items: Iterable[tuple[Record, models.Item]]) -> Iterable[models.Base]:
        for record, item in of_items:
            for model, pairs in zip((models.Attack, models.Defense), record.attack_defense or (), strict=False):
                for pair in pairs:
                    yield model(attack_defense_id=item.atkdef_id, stat_value_id=self._stat_values[pair])

    def _add_shared(self, cursor: Cursor, batch: Sequence[Record]) -> None:
        pairs, triples = missing(batch, self._stat_values, self._criteria)
        stats = {"stat": [stat for stat, _ in pairs], "value": [value for _, value in pairs]}
        cursor.execute(_SQL["insert_stat_values"].text, stats)
        cursor.execute(_SQL["read_stat_values"].text, stats)
        self._stat_values |= {(stat, value): number for stat, value, number in cursor}
        criteria = {
            name: [triple[place] for triple in triples] for place, name in enumerate(("value1", "value2", "operator"))
        }
        cursor.execute(_SQL["insert_criteria"].text, criteria)
        cursor.execute(_SQL["read_criteria"].text, criteria)
        self._criteria |= {(value1, value2, operator): number for value1, value2, operator, number in cursor}

    def _cursor(self) -> Cursor:
        """One of psycopg2's own, in the session's transaction."""
        return cast("Cursor", self._session.connection().connection.cursor())

    def _flush(self, rows: Iterable[models.Base]) -> None:
        self._session.add_all(rows)
        self._session.flush()


def _copy(cursor: Cursor, statement: str, lines: Iterable[str]) -> None:
    cursor.copy_expert(_SQL[statement].text, StringIO("".join(lines)))
