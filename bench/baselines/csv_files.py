"""A script that makes CSV files out of the JSON, with ids of its own, and copies them, a file a table, parents first.

The tables must be empty and nobody else may write. Secondary indexes are away meanwhile; keys and foreign keys stay.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import TextIO

import psycopg
from psycopg import sql

from bench.baselines.indexes import dropped
from bench.baselines.records import Pair, Record, Triple, json_text, records
from bulkload import Statements
from bulkload.gamedb import Files

_SQL = Statements(Path(__file__).with_suffix(".sql"))
_BLOCK = 1 << 18

# Parents first. Tables whose first column is the id that others refer to draw it here, and not from their sequence.
_TABLES = {
    "stat_values": ("id", "stat", "value"),
    "criteria": ("id", "value1", "value2", "operator"),
    "attack_defense": ("id",),
    "attack_defense_attack": ("attack_defense_id", "stat_value_id"),
    "attack_defense_defense": ("attack_defense_id", "stat_value_id"),
    "animation_mesh": ("id", "animation_id", "mesh_id"),
    "items": (
        "id", "aoid", "name", "ql", "description", "item_class", "is_nano", "atkdef_id", "animation_mesh_id",
    ),
    "item_stats": ("item_id", "stat_value_id"),
    "actions": ("id", "action", "item_id"),
    "action_criteria": ("action_id", "criterion_id", "order_index"),
    "spell_data": ("id", "event"),
    "item_spell_data": ("item_id", "spell_data_id"),
    "spells": ("id", "target", "tick_count", "tick_interval", "spell_id", "spell_format", "spell_params"),
    "spell_data_spells": ("spell_data_id", "spell_id"),
    "spell_criteria": ("spell_id", "criterion_id"),
    "shop_hash": (
        "id", "hash", "min_level", "max_level", "base_amount", "regen_amount", "regen_interval", "spawn_chance",
    ),
    "item_shop_hash": ("item_id", "shop_hash_id"),
}  # fmt: skip


def load(dsn: str, files: Files) -> None:
    """Fill the items part."""
    with tempfile.TemporaryDirectory(prefix="bulkload-csv-") as directory:
        _write(Path(directory), files)
        with dropped(dsn), psycopg.connect(dsn) as connection:
            for table, columns in _TABLES.items():
                _copy(connection, Path(directory) / table, table, columns)


def _copy(connection: psycopg.Connection, file: Path, table: str, columns: tuple[str, ...]) -> None:
    name = sql.Identifier(table)
    statement = _SQL["copy"].format(table=name, columns=sql.SQL(", ").join(map(sql.Identifier, columns)))
    with file.open("rb") as lines, connection.cursor() as cursor, cursor.copy(statement) as copy:
        while block := lines.read(_BLOCK):
            copy.write(block)
    if columns[0] == "id":
        connection.execute(_SQL["set_sequence"].format(table=name), {"table": table})


def _write(directory: Path, files: Files) -> None:
    with ExitStack() as opened:
        writer = _Writer(
            {
                table: opened.enter_context((directory / table).open("w", encoding="utf-8", newline=""))
                for table in _TABLES
            }
        )
        for record in records(files):
            writer.add(record)


class _Writer:
    """Writes the lines of records; shared rows as they are met."""

    def __init__(self, files: dict[str, TextIO]) -> None:
        self._files = files
        self._ids = {table: count(1) for table, columns in _TABLES.items() if columns[0] == "id"}
        self._stat_values: dict[Pair, int] = {}
        self._criteria: dict[Triple, int] = {}

    def add(self, record: Record) -> None:
        armed = self._attack_defense(record)
        looks = self._animation_mesh(record)
        item = self._row(
            "items",
            f"{record.aoid},{_quoted(record.name)},{record.ql},{_quoted(record.description)},{record.item_class},"
            f"{record.is_nano},{armed},{looks}",
        )
        self._lines("item_stats", [f"{item},{self._stat_value(pair)}\n" for pair in record.stats])
        for number, criteria in record.actions:
            action = self._row("actions", f"{number},{item}")
            self._lines(
                "action_criteria",
                [f"{action},{self._criterion(triple)},{order}\n" for order, triple in enumerate(criteria)],
            )
        for event, spells in record.spell_data:
            data = self._row("spell_data", event)
            self._lines("item_spell_data", [f"{item},{data}\n"])
            for each in spells:
                fixed = each.fixed
                spell = self._row(
                    "spells",
                    f"{_cell(fixed.target)},{_cell(fixed.tick_count)},{_cell(fixed.tick_interval)},"
                    f"{_cell(fixed.spell_id)},{_cell(fixed.spell_format)},{_quoted(json_text(each.params))}",
                )
                self._lines("spell_data_spells", [f"{data},{spell}\n"])
                self._lines("spell_criteria", [f"{spell},{self._criterion(triple)}\n" for triple in each.criteria])
        for shelf in record.shelves:
            shop_hash = self._row("shop_hash", ",".join(map(_cell, shelf)))
            self._lines("item_shop_hash", [f"{item},{shop_hash}\n"])

    def _attack_defense(self, record: Record) -> int | str:
        if record.attack_defense is None:
            return ""
        row = next(self._ids["attack_defense"])
        self._lines("attack_defense", [f"{row}\n"])
        for table, pairs in zip(
            ("attack_defense_attack", "attack_defense_defense"), record.attack_defense, strict=True
        ):
            self._lines(table, [f"{row},{self._stat_value(pair)}\n" for pair in pairs])
        return row

    def _animation_mesh(self, record: Record) -> int | str:
        if record.animation_mesh is None:
            return ""
        animation, mesh = ("" if pair is None else self._stat_value(pair) for pair in record.animation_mesh)
        return self._row("animation_mesh", f"{animation},{mesh}")

    def _stat_value(self, pair: Pair) -> int:
        found = self._stat_values.get(pair)
        if found is None:
            stat, value = pair
            found = self._stat_values[pair] = self._row("stat_values", f"{stat},{value}")
        return found

    def _criterion(self, triple: Triple) -> int:
        found = self._criteria.get(triple)
        if found is None:
            value1, value2, operator = triple
            found = self._criteria[triple] = self._row("criteria", f"{value1},{value2},{operator}")
        return found

    def _row(self, table: str, cells: object) -> int:
        """Write a row with an id of its own."""
        number = next(self._ids[table])
        self._files[table].write(f"{number},{cells}\n")
        return number

    def _lines(self, table: str, lines: list[str]) -> None:
        self._files[table].writelines(lines)


def _cell(value: int | str | None) -> str:
    """NULL is what is empty and not quoted."""
    return "" if value is None else _quoted(value) if isinstance(value, str) else str(value)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
