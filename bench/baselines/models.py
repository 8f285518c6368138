"""The tables of the items part as SQLAlchemy models, and how the baselines that use it connect."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import psycopg2
from sqlalchemy import Engine, ForeignKey, Integer, create_engine
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from bench.baselines import records
from bench.baselines.records import SHELF, Record, Shelf


def engine(dsn: str) -> Engine:
    """An engine on psycopg2, with a faster JSON encoder than its own."""
    return create_engine(
        "postgresql+psycopg2://",
        creator=lambda: psycopg2.connect(dsn),
        json_serializer=records.json_text,
        insertmanyvalues_page_size=5000,
    )


class Base(DeclarativeBase):
    """All models."""


class StatValue(Base):
    __tablename__ = "stat_values"

    id: Mapped[int] = mapped_column(primary_key=True)
    stat: Mapped[int]
    value: Mapped[int]


class Criterion(Base):
    __tablename__ = "criteria"

    id: Mapped[int] = mapped_column(primary_key=True)
    value1: Mapped[int]
    value2: Mapped[int]
    operator: Mapped[int]


class AttackDefense(Base):
    __tablename__ = "attack_defense"

    id: Mapped[int] = mapped_column(primary_key=True)


class Attack(Base):
    __tablename__ = "attack_defense_attack"

    attack_defense_id: Mapped[int] = mapped_column(ForeignKey("attack_defense.id"), primary_key=True)
    stat_value_id: Mapped[int] = mapped_column(ForeignKey("stat_values.id"), primary_key=True)


class Defense(Base):
    __tablename__ = "attack_defense_defense"

    attack_defense_id: Mapped[int] = mapped_column(ForeignKey("attack_defense.id"), primary_key=True)
    stat_value_id: Mapped[int] = mapped_column(ForeignKey("stat_values.id"), primary_key=True)


class AnimationMesh(Base):
    __tablename__ = "animation_mesh"

    id: Mapped[int] = mapped_column(primary_key=True)
    animation_id: Mapped[int | None] = mapped_column(ForeignKey("stat_values.id"))
    mesh_id: Mapped[int | None] = mapped_column(ForeignKey("stat_values.id"))


class Item(Base):
    __tablename__ = "items"

    id: Mapped[int] = mapped_column(primary_key=True)
    aoid: Mapped[int]
    name: Mapped[str]
    ql: Mapped[int]
    description: Mapped[str]
    item_class: Mapped[int]
    is_nano: Mapped[bool]
    atkdef_id: Mapped[int | None] = mapped_column(ForeignKey("attack_defense.id"))
    animation_mesh_id: Mapped[int | None] = mapped_column(ForeignKey("animation_mesh.id"))

    attack_defense: Mapped[AttackDefense | None] = relationship()
    animation_mesh: Mapped[AnimationMesh | None] = relationship()


class ItemStat(Base):
    __tablename__ = "item_stats"

    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"), primary_key=True)
    stat_value_id: Mapped[int] = mapped_column(ForeignKey("stat_values.id"), primary_key=True)


class Action(Base):
    __tablename__ = "actions"

    id: Mapped[int] = mapped_column(primary_key=True)
    action: Mapped[int]
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"))


class ActionCriterion(Base):
    __tablename__ = "action_criteria"

    id: Mapped[int] = mapped_column(primary_key=True)
    action_id: Mapped[int] = mapped_column(ForeignKey("actions.id"))
    criterion_id: Mapped[int] = mapped_column(ForeignKey("criteria.id"))
    order_index: Mapped[int]


class SpellData(Base):
    __tablename__ = "spell_data"

    id: Mapped[int] = mapped_column(primary_key=True)
    event: Mapped[int]


class ItemSpellData(Base):
    __tablename__ = "item_spell_data"

    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"), primary_key=True)
    spell_data_id: Mapped[int] = mapped_column(ForeignKey("spell_data.id"), primary_key=True)

    spell_data: Mapped[SpellData] = relationship()


class Spell(Base):
    __tablename__ = "spells"

    id: Mapped[int] = mapped_column(primary_key=True)
    target: Mapped[int | None]
    tick_count: Mapped[int | None]
    tick_interval: Mapped[int | None]
    spell_id: Mapped[int | None] = mapped_column(Integer)
    spell_format: Mapped[str | None]
    spell_params: Mapped[Mapping[str, msgspec.Raw]] = mapped_column(JSONB)


class SpellDataSpell(Base):
    __tablename__ = "spell_data_spells"

    spell_data_id: Mapped[int] = mapped_column(ForeignKey("spell_data.id"), primary_key=True)
    spell_id: Mapped[int] = mapped_column(ForeignKey("spells.id"), primary_key=True)

    spell_data: Mapped[SpellData] = relationship()
    spell: Mapped[Spell] = relationship()


class SpellCriterion(Base):
    __tablename__ = "spell_criteria"

    spell_id: Mapped[int] = mapped_column(ForeignKey("spells.id"), primary_key=True)
    criterion_id: Mapped[int] = mapped_column(ForeignKey("criteria.id"), primary_key=True)


class ShopHash(Base):
    __tablename__ = "shop_hash"

    id: Mapped[int] = mapped_column(primary_key=True)
    hash: Mapped[str]
    min_level: Mapped[int | None]
    max_level: Mapped[int | None]
    base_amount: Mapped[int | None]
    regen_amount: Mapped[int | None]
    regen_interval: Mapped[int | None]
    spawn_chance: Mapped[int | None]


class ItemShopHash(Base):
    __tablename__ = "item_shop_hash"

    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"), primary_key=True)
    shop_hash_id: Mapped[int] = mapped_column(ForeignKey("shop_hash.id"), primary_key=True)

    shop_hash: Mapped[ShopHash] = relationship()


def item_of(record: Record) -> Item:
    """An item that is not tied to its attack_defense and animation_mesh yet."""
    return Item(
        aoid=record.aoid,
        name=record.name,
        ql=record.ql,
        description=record.description,
        item_class=record.item_class,
        is_nano=record.is_nano,
    )


def spell_of(spell: records.Spell) -> Spell:
    fixed = spell.fixed
    return Spell(
        target=fixed.target,
        tick_count=fixed.tick_count,
        tick_interval=fixed.tick_interval,
        spell_id=fixed.spell_id,
        spell_format=fixed.spell_format,
        spell_params=spell.params,
    )


def shop_hash_of(shelf: Shelf) -> ShopHash:
    return ShopHash(**dict(zip(SHELF, shelf, strict=True)))
