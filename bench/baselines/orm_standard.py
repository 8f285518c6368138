"""SQLAlchemy's ORM as it is taught: objects, and a flush for each whose id others need.

Shared rows are looked for by SELECT and added where there is none. It keeps the ids of those it has met in a dict, as
an importer would that somebody has profiled once; without it there would be a SELECT for each reference.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from bench.baselines import models
from bench.baselines.records import Pair, Record, Triple, records
from bulkload.gamedb import Files

_COMMIT = 1000
"""Records in a transaction."""


def load(dsn: str, files: Files) -> None:
    """Fill the items part."""
    with Session(models.engine(dsn), expire_on_commit=False) as session:
        importer = _Importer(session)
        for number, record in enumerate(records(files), 1):
            importer.add(record)
            if number % _COMMIT == 0:
                session.commit()
                # Or each flush would look through all objects made so far.
                session.expunge_all()
        session.commit()


class _Importer:
    def __init__(self, session: Session) -> None:
        self._session = session
        self._stat_values: dict[Pair, int] = {}
        self._criteria: dict[Triple, int] = {}

    def add(self, record: Record) -> None:
        item = models.item_of(record)
        item.atkdef_id = self._attack_defense(record)
        item.animation_mesh_id = self._animation_mesh(record)
        self._flush(item)
        values = [self._stat_value(pair) for pair in record.stats]
        self._session.add_all([models.ItemStat(item_id=item.id, stat_value_id=value) for value in values])
        for number, criteria in record.actions:
            action = models.Action(action=number, item_id=item.id)
            self._flush(action)
            terms = [self._criterion(triple) for triple in criteria]
            self._session.add_all(
                [
                    models.ActionCriterion(action_id=action.id, criterion_id=term, order_index=order)
                    for order, term in enumerate(terms)
                ]
            )
        self._add_spell_data(item.id, record)
        for shelf in record.shelves:
            shop_hash = models.shop_hash_of(shelf)
            self._flush(shop_hash)
            self._session.add(models.ItemShopHash(item_id=item.id, shop_hash_id=shop_hash.id))

    def _attack_defense(self, record: Record) -> int | None:
        if record.attack_defense is None:
            return None
        row = models.AttackDefense()
        self._flush(row)
        for model, pairs in zip((models.Attack, models.Defense), record.attack_defense, strict=True):
            values = [self._stat_value(pair) for pair in pairs]
            self._session.add_all([model(attack_defense_id=row.id, stat_value_id=value) for value in values])
        return row.id

    def _animation_mesh(self, record: Record) -> int | None:
        if record.animation_mesh is None:
            return None
        animation, mesh = (pair and self._stat_value(pair) for pair in record.animation_mesh)
        row = models.AnimationMesh(animation_id=animation, mesh_id=mesh)
        self._flush(row)
        return row.id

    def _add_spell_data(self, item_id: int, record: Record) -> None:
        for event, spells in record.spell_data:
            data = models.SpellData(event=event)
            self._flush(data)
            self._session.add(models.ItemSpellData(item_id=item_id, spell_data_id=data.id))
            for each in spells:
                spell = models.spell_of(each)
                self._flush(spell)
                self._session.add(models.SpellDataSpell(spell_data_id=data.id, spell_id=spell.id))
                terms = [self._criterion(triple) for triple in each.criteria]
                self._session.add_all([models.SpellCriterion(spell_id=spell.id, criterion_id=term) for term in terms])

    def _stat_value(self, pair: Pair) -> int:
        if pair not in self._stat_values:
            model, (stat, value) = models.StatValue, pair
            found = self._session.scalar(select(model.id).where(model.stat == stat, model.value == value))
            self._stat_values[pair] = found if found is not None else self._new(model(stat=stat, value=value))
        return self._stat_values[pair]

    def _criterion(self, triple: Triple) -> int:
        if triple not in self._criteria:
            model, (value1, value2, operator) = models.Criterion, triple
            found = self._session.scalar(
                select(model.id).where(model.value1 == value1, model.value2 == value2, model.operator == operator)
            )
            made = model(value1=value1, value2=value2, operator=operator)
            self._criteria[triple] = found if found is not None else self._new(made)
        return self._criteria[triple]

    def _new(self, row: models.StatValue | models.Criterion) -> int:
        self._flush(row)
        return row.id

    def _flush(self, row: models.Base) -> None:
        self._session.add(row)
        self._session.flush()
