"""perks.json: a table in JSON, `{"columns": [names], "values": [[one value a column], …]}`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import cast

import attrs
import msgspec

from bulkload import JsonRecords, Reader, RecordError, Sink, Skip, Slice, SourceError, shown
from bulkload.gamedb.tables import ITEMS_BY_KIND, PERKS, Perk

# Perks are read as a whole: a few thousand of them are some hundred kilobytes. A file beyond this is something else.
_LARGEST_FILE = 256 * 1024 * 1024

_PROFESSIONS = {
    "soldier": 1, "martialartist": 2, "engineer": 3, "fixer": 4, "agent": 5, "adventurer": 6, "trader": 7,
    "bureaucrat": 8, "enforcer": 9, "doctor": 10, "nanotechnician": 11, "metaphysicist": 12, "keeper": 14, "shade": 15,
}  # fmt: skip
_BREEDS = {"solitus": 1, "opifex": 2, "nanomage": 3, "atrox": 4}
_TYPES = frozenset({"SL", "AI", "LE"})
_COLUMNS = ("aoid", "name", "counter", "type", "professions", "breeds", "level", "aiTitle")
_MOST_COUNTER = 10


_ANY = JsonRecords(dict[str, object])


@attrs.frozen
class PerkDocument:
    """A perk, its names turned into ids."""

    aoid: int
    name: str
    counter: int
    type: str
    professions: tuple[int, ...]
    breeds: tuple[int, ...]
    level: int
    ai_title: int


class _File(msgspec.Struct):
    columns: list[str]
    values: list[msgspec.Raw]


class PerkRecords:
    """Splits perks.json into its rows, each an object by column, and reads them."""

    def split(self, reader: Reader, name: str) -> Iterator[list[Slice]]:
        """All rows at once. Raises SourceError where the file is not of this shape."""
        data = bytearray()
        while block := reader.read(1 << 20):
            data += block
            if len(data) > _LARGEST_FILE:
                raise SourceError(f"{name}: a file of perks is not larger than {_LARGEST_FILE} bytes")
        try:
            file = msgspec.json.decode(bytes(data), type=_File)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise SourceError(f"{name}: not a file of perks: {error}") from error
        missing = [column for column in _COLUMNS if column not in file.columns]
        if missing:
            raise SourceError(f"{name}: the columns {', '.join(missing)} are missing")
        if len(set(file.columns)) < len(file.columns):
            raise SourceError(f"{name}: a column is there twice: {', '.join(file.columns)}")
        yield [_slice(number, file.columns, row) for number, row in enumerate(file.values, 1)]

    def decode(self, piece: Slice) -> PerkDocument:
        """The perk. Raises RecordError."""
        row = _row(piece.data)
        return PerkDocument(
            aoid=_int(row, "aoid"),
            name=_text(row, "name"),
            counter=_counter(row),
            type=_type(row),
            professions=_ids(row, "professions", _PROFESSIONS),
            breeds=_ids(row, "breeds", _BREEDS),
            level=_level(row, "level"),
            ai_title=_level(row, "aiTitle"),
        )

    def identify(self, piece: Slice) -> None:
        """None."""

    def label(self, piece: Slice) -> str:
        """As in `perk 17 (AOID 210372)`."""
        try:
            aoid = _row(piece.data).get("aoid")
        except RecordError:
            aoid = None
        return f"perk {piece.position}" + (f" (AOID {shown(aoid)})" if isinstance(aoid, int) else "")

    def as_json(self, piece: Slice) -> bytes:
        """The row, as an object by column."""
        return _ANY.as_json(piece)


def add_perk(sink: Sink, document: PerkDocument) -> None:
    """The row of a perk; none where its AOID is not that of an imported item."""
    item = sink.find(ITEMS_BY_KIND, document.aoid, False)
    if item is None:
        raise Skip
    sink.add(
        PERKS,
        Perk(
            item_id=item,
            name=document.name,
            perk_series=document.name,
            counter=document.counter,
            type=document.type,
            level_required=document.level,
            ai_level_required=document.ai_title,
            professions=document.professions,
            breeds=document.breeds,
        ),
    )


def _slice(number: int, columns: list[str], row: msgspec.Raw) -> Slice:
    try:
        values = msgspec.json.decode(row, type=list[msgspec.Raw])
    except msgspec.ValidationError:
        return Slice(number, bytes(row))
    if len(values) != len(columns):
        return Slice(number, bytes(row))
    return Slice(number, msgspec.json.encode(dict(zip(columns, values, strict=True))))


def _row(data: bytes) -> dict[str, object]:
    try:
        return msgspec.json.decode(data, type=dict[str, object])
    except msgspec.ValidationError as error:
        raise RecordError("the row is not a list of as many values as there are columns") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"not JSON: {error}") from error


def _int(row: Mapping[str, object], column: str) -> int:
    value = row[column]
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise RecordError(f"{shown(value)} is not an integer", path=column)


def _level(row: Mapping[str, object], column: str) -> int:
    """A level: an integer, a string of one, or null, which means 0."""
    value = row[column]
    if value is None:
        return 0
    if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,10}", value):
        return int(value)
    return _int(row, column)


def _text(row: Mapping[str, object], column: str) -> str:
    value = row[column]
    if not isinstance(value, str):
        raise RecordError(f"{shown(value)} is not text", path=column)
    return value


def _counter(row: Mapping[str, object]) -> int:
    counter = _int(row, "counter")
    if not 1 <= counter <= _MOST_COUNTER:
        raise RecordError(f"{counter} is not from 1 to {_MOST_COUNTER}", path="counter")
    return counter


def _type(row: Mapping[str, object]) -> str:
    kind = _text(row, "type").upper()
    if kind not in _TYPES:
        raise RecordError(f"{shown(row['type'])} is none of {', '.join(sorted(_TYPES))}", path="type")
    return kind


def _ids(row: Mapping[str, object], column: str, known: Mapping[str, int]) -> tuple[int, ...]:
    names = row[column]
    if not isinstance(names, list):
        raise RecordError(f"{shown(names)} is not a list of names", path=column)
    ids: list[int] = []
    for place, name in enumerate(cast("list[object]", names)):
        found = known.get(name.lower().replace(" ", "").replace("-", "")) if isinstance(name, str) else None
        if found is None:
            raise RecordError(f"{shown(name)} is not known", path=f"{column}[{place}]")
        ids.append(found)
    return tuple(ids)
