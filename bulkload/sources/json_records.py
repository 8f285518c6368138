"""JSON sources: how one record is decoded, and what a message says of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar, cast

import attrs
import msgspec

from bulkload.errors import RecordError, shown
from bulkload.sources import json_split
from bulkload.sources.slices import Keys, Slice
from bulkload.sources.source import Reader

D = TypeVar("D")

_RAW = msgspec.json.Decoder(msgspec.Raw)

# Those of a field that never holds what `identify` takes for no key, or for another one.
_KEY_TYPES = (int, str, int | None, str | None, int | str, int | str | None)

# The plain value that follows a key.
_PLAIN = re.compile(rb'[ \t\r\n]*:[ \t\r\n]*("(?:[^"\\]++|\\.)*+"|[^ \t\r\n,\[\]{}"]++)', re.DOTALL)
# An escape; of half a surrogate pair, with a group.
_HIGH, _LOW, _XX = rb"u[dD][89abAB]", rb"u[dD][c-fC-F]", rb"[0-9a-fA-F]{2}"
_ESCAPE = re.compile(rb"\\(?:%b%b\\%b%b|(u[dD][89a-fA-F]%b)|.)" % (_HIGH, _XX, _LOW, _XX, _XX), re.DOTALL)

# What msgspec says, the steps of the places in it, and what it calls the types of JSON.
_MALFORMED = re.compile(r"JSON is malformed: (.*) \(byte (\d+)\)")
_MISFIT = re.compile(r"(.*?)(?: - at (`key` in )?`\$(.*)`)?", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`")
_GOT = re.compile(r", got `(\w+)`$")
# Where the value is told already.
_TOLD = re.compile(r"Invalid (?:enum )?value |.*, got `null`$")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]|.")
_JSON_NAMES: Mapping[type, str] = {
    str: "str", int: "int", float: "float", bool: "bool", type(None): "null", list: "array", dict: "object",
}  # fmt: skip


class _Keyed(Protocol):
    """What of a record is read for its key; all other fields are passed over."""

    key: int | str | None
    unless: object
    """msgspec.UNSET where it has no such field, or none is looked for."""


def _keyed(key: str, unless: str = "") -> type[_Keyed]:
    fields: list[tuple[str, object, object]] = [("key", int | str | None, msgspec.field(name=key, default=None))]
    if unless:
        fields.append(("unless", object, msgspec.field(name=unless, default=msgspec.UNSET)))
    return cast("type[_Keyed]", msgspec.defstruct("Keyed", cast("Any", fields), gc=False))


def _all_keys(key: str, unless: str = "") -> Callable[[bytes], list[Hashable | None]]:
    """A function from an array of records to their keys.

    Raises ValueError for one of which `identify` might say something else.
    """
    decoder = msgspec.json.Decoder(list[_keyed(key, unless)])  # type: ignore[misc]

    def keys_of(array: bytes) -> list[Hashable | None]:
        try:
            found = decoder.decode(array)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValueError("not all have a key") from error
        if unless and any(record.unless is not msgspec.UNSET for record in found):
            raise ValueError("one may be of another kind")
        return [record.key for record in found]

    return keys_of


@attrs.frozen
class JsonRecords(Generic[D]):
    """JSON records of one type: an array of them, one a line (JSON Lines), or objects one after another.

    The first byte that is not blank decides, `[` or `{`; a first object that stands on a line of its own makes it
    JSON Lines, where a damaged line is one rejected record and not the end.
    """

    type: type[D]
    """What a record decodes to: a msgspec Struct, or an attrs class (at 1.3 times the time)."""
    key: str = ""
    """The field that identifies a record to a person, by its name in the JSON; '' for none."""
    _decoder: msgspec.json.Decoder[D] = attrs.field(init=False, eq=False, repr=False)
    _keys: msgspec.json.Decoder[_Keyed] | None = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_decoder", msgspec.json.Decoder(self.type))
        keys = msgspec.json.Decoder(_keyed(self.key)) if self.key else None
        object.__setattr__(self, "_keys", keys)

    def __reduce__(self) -> tuple[object, ...]:
        # A msgspec Decoder does not pickle.
        return JsonRecords, (self.type, self.key)

    def split(self, reader: Reader, name: str) -> Iterator[list[Slice]]:
        """Records are numbered from 1. Raises SourceError, with the record and the byte of the content."""
        return json_split.split(reader, name)

    def split_keys(self, reader: Reader, name: str, *, unless: str = "") -> Iterator[list[Slice] | Keys]:
        """As `split`, but of records the keys alone, as `identify` has them, where that is quicker.

        Not where a record has the field `unless`, by which it may be one of another kind.
        """
        if self.key in ("", unless):
            return self.split(reader, name)
        return json_split.split_keys(reader, name, _all_keys(self.key, unless))

    def decode(self, piece: Slice) -> D:
        """Raises RecordError: not JSON, not UTF-8, or not of the type, then with the path and the value to blame."""
        try:
            # msgspec does not look into keys and values that the type leaves out.
            if not piece.data.isascii():
                piece.data.decode()
            return self._decoder.decode(piece.data)
        except msgspec.ValidationError as error:
            raise _misfit(error, piece.data) from error
        except msgspec.DecodeError as error:
            raise RecordError(f"not JSON: {_complaint(error, piece.data)}") from error
        except UnicodeDecodeError as error:
            bad = piece.data[error.start : error.end]
            raise RecordError(f"not UTF-8: {bad!r} at byte {error.start} of the record") from error
        except RecursionError as error:
            raise RecordError("nested too deeply to be read") from error

    def identify(self, piece: Slice) -> Hashable | None:
        """The value of the key, where it is a number or text."""
        if self._keys is None:
            return None
        try:
            return self._keys.decode(piece.data).key
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    @property
    def key_field(self) -> str:
        """The attribute of a document that holds what `identify` finds; '' where there may be none."""
        # It may be no class at all, as `dict[str, object]`; and what it does to itself may change the key.
        kind = cast("object", self.type)
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)) or hasattr(kind, "__post_init__"):
            return ""
        fields = {each.encode_name: each for each in msgspec.structs.fields(kind)}
        field = fields.get(self.key)
        return field.name if field is not None and field.type in _KEY_TYPES else ""

    def label(self, piece: Slice) -> str:
        """As in `record 153 (AOID 21805)`; without the key where the record does not have it as a plain value."""
        number = f"record {piece.position}"
        value = _plain_value(piece.data, self.key) if self.key else None
        return number if value is None else f"{number} ({self.key} {shown(value)})"

    def as_json(self, piece: Slice) -> bytes:
        """The record itself, on one line; what is not valid JSON or UTF-8 as a JSON string, replaced where it must."""
        try:
            piece.data.decode()
            _RAW.decode(piece.data)
        except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
            return msgspec.json.encode(piece.data.decode(errors="replace"))
        # A line break that is not escaped stands between tokens only.
        return piece.data.replace(b"\r", b" ").replace(b"\n", b" ")


def _plain_value(data: bytes, key: str) -> object:
    """A field of a record, be that valid JSON or not; None where it has no such field of a plain value."""
    name = msgspec.json.encode(key)
    depth = 0
    for token in json_split.TOKEN.finditer(data):
        byte = data[token.start()]
        if byte != ord('"'):
            depth += 1 if byte in b"[{" else -1
        elif depth == 1 and token[0] == name and (value := _PLAIN.match(data, token.end())):
            try:
                return msgspec.json.decode(value[1])
            except (msgspec.DecodeError, UnicodeDecodeError):
                return None
    return None


def _complaint(error: msgspec.DecodeError, data: bytes) -> str:
    """What msgspec says of a record that is not JSON, with the place shown: its byte is off by one at times."""
    said = str(error)
    half = next((escape for escape in _ESCAPE.finditer(data) if escape[1]), None)
    if half and (said == json_split.CUT_SHORT or "surrogate" in said or "hex escape" in said):
        return f"half of a surrogate pair, {half[0].decode()}, at byte {half.start()} of the record"
    malformed = _MALFORMED.fullmatch(said)
    if malformed is None:
        return "it ends early"
    near = int(malformed[2])
    return f"{malformed[1]} near byte {near} of the record, in {data[max(0, near - 10) : near + 10]!r}"


def _misfit(error: msgspec.ValidationError, data: bytes) -> RecordError:
    """A record that is JSON and not of its type, with the value to blame where it can be found."""
    match = _MISFIT.fullmatch(str(error))
    said, of_key, place = match.groups() if match else (str(error), None, None)
    place = place or ""
    path = place.removeprefix(".")
    if missing := _MISSING.fullmatch(said):
        return RecordError(f"the field {missing[1]} is missing", path=path)
    # With a cause it is the words of somebody's validator, not msgspec's.
    reason = said if error.__cause__ else (said[0].lower() + said[1:]).replace("`", "")
    if of_key:
        return RecordError(f"a key: {reason}", path=path)
    got = _GOT.search(said)
    try:
        value = _follow(msgspec.json.decode(data), place)
    except (msgspec.DecodeError, RecursionError, LookupError):
        return RecordError(reason, path=path)
    # Of a key that stands twice the last value is found here, and it may be the other that is wrong.
    if (got and got[1] != _JSON_NAMES.get(type(value))) or _TOLD.match(said):
        return RecordError(reason, path=path)
    return RecordError(f"{shown(value)}: {reason}", path=path)


def _follow(document: object, place: str) -> object:
    """The value at a place as msgspec writes it, as in `.StatValues[2]`. Raises LookupError where it is not sure."""
    for step in _STEP.finditer(place):
        if isinstance(document, dict):
            document = cast("dict[str, object]", document)[step[1]]
        elif isinstance(document, list) and step[2]:
            document = cast("list[object]", document)[int(step[2])]
        else:
            raise LookupError(place)
    return document
