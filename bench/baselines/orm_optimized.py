"""SQLAlchemy's ORM by somebody who has measured it: batches, few flushes, and mappings for the largest junctions.

Of a batch all objects of one kind are flushed together, six times in all: attack and defense, animation and mesh,
items, actions, spell data, spells. The shared rows of a batch are one INSERT a table, and their ids stay in dicts.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from bench.baselines import models
from bench.baselines.records import Record, batches, records
from bench.baselines.shared import Shared
from bulkload.gamedb import Files

_BATCH = 5000


def load(dsn: str, files: Files) -> None:
    """Fill the items part."""
    with Session(models.engine(dsn), expire_on_commit=False, autoflush=False) as session:
        shared = Shared(session.connection())
        for batch in batches(records(files), _BATCH):
            _add(session, shared, batch)
            session.commit()
            session.expunge_all()


def _add(session: Session, shared: Shared, batch: Sequence[Record]) -> None:
    shared.add(batch, session.connection())
    values, terms = shared.stat_values, shared.criteria

    armed = [(record.attack_defense, models.AttackDefense()) for record in batch if record.attack_defense]
    _flush(session, [row for _, row in armed])
    session.add_all(
        [
            model(attack_defense_id=row.id, stat_value_id=values[pair])
            for sides, row in armed
            for model, pairs in zip((models.Attack, models.Defense), sides, strict=True)
            for pair in pairs
        ]
    )

    looks = [
        models.AnimationMesh(animation_id=animation and values[animation], mesh_id=mesh and values[mesh])
        for animation, mesh in [record.animation_mesh for record in batch if record.animation_mesh]
    ]
    _flush(session, looks)

    items = [models.item_of(record) for record in batch]
    armed_ids, look_ids = (row.id for _, row in armed), (row.id for row in looks)
    for record, item in zip(batch, items, strict=True):
        item.atkdef_id = next(armed_ids) if record.attack_defense else None
        item.animation_mesh_id = next(look_ids) if record.animation_mesh else None
    _flush(session, items)
    of_items = list(zip(batch, items, strict=True))

    actions = [
        (criteria, models.Action(action=number, item_id=item.id))
        for record, item in of_items
        for number, criteria in record.actions
    ]
    _flush(session, [action for _, action in actions])

    events = [
        (spells, item, models.SpellData(event=event))
        for record, item in of_items
        for event, spells in record.spell_data
    ]
    _flush(session, [data for _, _, data in events])
    session.add_all([models.ItemSpellData(item_id=item.id, spell_data_id=data.id) for _, item, data in events])

    spells = [(each, data, models.spell_of(each)) for spells, _, data in events for each in spells]
    shelves = [(item, models.shop_hash_of(shelf)) for record, item in of_items for shelf in record.shelves]
    _flush(session, [*(spell for _, _, spell in spells), *(shop_hash for _, shop_hash in shelves)])
    # These go out with the commit.
    session.add_all([models.SpellDataSpell(spell_data_id=data.id, spell_id=spell.id) for _, data, spell in spells])
    session.add_all([models.ItemShopHash(item_id=item.id, shop_hash_id=shop.id) for item, shop in shelves])

    session.bulk_insert_mappings(
        models.ItemStat,
        [{"item_id": item.id, "stat_value_id": values[pair]} for record, item in of_items for pair in record.stats],
    )
    session.bulk_insert_mappings(
        models.ActionCriterion,
        [
            {"action_id": action.id, "criterion_id": terms[triple], "order_index": order}
            for criteria, action in actions
            for order, triple in enumerate(criteria)
        ],
    )
    session.bulk_insert_mappings(
        models.SpellCriterion,
        [
            {"spell_id": spell.id, "criterion_id": terms[triple]}
            for each, _, spell in spells
            for triple in each.criteria
        ],
    )


def _flush(session: Session, rows: Sequence[models.Base]) -> None:
    session.add_all(rows)
    session.flush()
