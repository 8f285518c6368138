"""SQLAlchemy Core: no objects, rows as dicts, many of them in one INSERT … RETURNING (insertmanyvalues)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from sqlalchemy import Connection, insert

from bench.baselines import models
from bench.baselines.indexes import dropped
from bench.baselines.records import SHELF, Record, Spell, batches, records
from bench.baselines.shared import Shared, inserted
from bulkload.gamedb import Files

_BATCH = 5000

Rows: TypeAlias = Sequence[dict[str, object]]


def load(dsn: str, files: Files) -> None:
    """Fill the items part."""
    with dropped(dsn), models.engine(dsn).connect() as connection:
        shared = Shared(connection)
        for batch in batches(records(files), _BATCH):
            _add(connection, shared, batch)
            connection.commit()


def _add(connection: Connection, shared: Shared, batch: Sequence[Record]) -> None:
    shared.add(batch, connection)
    values, terms = shared.stat_values, shared.criteria

    armed = [record.attack_defense for record in batch if record.attack_defense]
    armed_ids = _ids(connection, "attack_defense", [{} for _ in armed])
    for table, side in (("attack_defense_attack", 0), ("attack_defense_defense", 1)):
        rows: Rows = [
            {"attack_defense_id": row, "stat_value_id": values[pair]}
            for sides, row in zip(armed, armed_ids, strict=True)
            for pair in sides[side]
        ]
        _insert(connection, table, rows)

    looks = [record.animation_mesh for record in batch if record.animation_mesh]
    look_ids = _ids(
        connection,
        "animation_mesh",
        [
            {"animation_id": animation and values[animation], "mesh_id": mesh and values[mesh]}
            for animation, mesh in looks
        ],
    )

    armed_left, looks_left = iter(armed_ids), iter(look_ids)
    items = _ids(
        connection,
        "items",
        [
            {
                "aoid": record.aoid,
                "name": record.name,
                "ql": record.ql,
                "description": record.description,
                "item_class": record.item_class,
                "is_nano": record.is_nano,
                "atkdef_id": next(armed_left) if record.attack_defense else None,
                "animation_mesh_id": next(looks_left) if record.animation_mesh else None,
            }
            for record in batch
        ],
    )
    of_items = list(zip(batch, items, strict=True))
    _insert(
        connection,
        "item_stats",
        [{"item_id": item, "stat_value_id": values[pair]} for record, item in of_items for pair in record.stats],
    )

    actions = [(item, number, criteria) for record, item in of_items for number, criteria in record.actions]
    action_ids = _ids(connection, "actions", [{"action": number, "item_id": item} for item, number, _ in actions])
    _insert(
        connection,
        "action_criteria",
        [
            {"action_id": action, "criterion_id": terms[triple], "order_index": order}
            for (_, _, criteria), action in zip(actions, action_ids, strict=True)
            for order, triple in enumerate(criteria)
        ],
    )

    events = [(item, event, spells) for record, item in of_items for event, spells in record.spell_data]
    data_ids = _ids(connection, "spell_data", [{"event": event} for _, event, _ in events])
    of_events = list(zip(events, data_ids, strict=True))
    _insert(
        connection,
        "item_spell_data",
        [{"item_id": item, "spell_data_id": data} for (item, _, _), data in of_events],
    )
    _add_spells(connection, shared, [(each, data) for (_, _, spells), data in of_events for each in spells])

    shelves = [(item, shelf) for record, item in of_items for shelf in record.shelves]
    shop_ids = _ids(connection, "shop_hash", [dict(zip(SHELF, shelf, strict=True)) for _, shelf in shelves])
    _insert(
        connection,
        "item_shop_hash",
        [{"item_id": item, "shop_hash_id": shop} for (item, _), shop in zip(shelves, shop_ids, strict=True)],
    )


def _add_spells(connection: Connection, shared: Shared, spells: Sequence[tuple[Spell, int]]) -> None:
    """The spells, each with the id of its spell_data."""
    ids = _ids(
        connection,
        "spells",
        [
            {
                "target": each.fixed.target,
                "tick_count": each.fixed.tick_count,
                "tick_interval": each.fixed.tick_interval,
                "spell_id": each.fixed.spell_id,
                "spell_format": each.fixed.spell_format,
                "spell_params": each.params,
            }
            for each, _ in spells
        ],
    )
    of_spells = list(zip(spells, ids, strict=True))
    _insert(
        connection,
        "spell_data_spells",
        [{"spell_data_id": data, "spell_id": spell} for (_, data), spell in of_spells],
    )
    _insert(
        connection,
        "spell_criteria",
        [
            {"spell_id": spell, "criterion_id": shared.criteria[triple]}
            for (each, _), spell in of_spells
            for triple in each.criteria
        ],
    )


def _ids(connection: Connection, table: str, rows: Rows) -> Sequence[int]:
    return inserted(connection, models.Base.metadata.tables[table], rows)


def _insert(connection: Connection, table: str, rows: Rows) -> None:
    if rows:
        connection.execute(insert(models.Base.metadata.tables[table]), rows)
