"""Formats: records cut exactly where they are, decoded, labelled and set aside; documents searched for a value."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import json
import pickle
import re
import tracemalloc
from collections.abc import Hashable, Iterator
from typing import Annotated, Literal, cast

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkload.errors import RecordError, SourceError
from bulkload.sources import csv_records, json_split
from bulkload.sources.formats import AnyFormat, CsvRecords, JsonRecords, Slice, WithRejects, key_of, path_of
from bulkload.sources.json_records import _all_keys
from bulkload.sources.slices import Extract, Keys, Stretch
from bulkload.sources.source import Reader

WINDOWS = st.integers(1, 64)
MARK = b"\xef\xbb\xbf"


def opened(data: bytes) -> Reader:
    # A byte order mark or a signature at the beginning is the reader's matter, and tested there.
    return Reader(io.BytesIO(MARK + data), "items.json")


KEYED = JsonRecords(dict, key="DBType")


def keys(data: bytes, window: int, limit: int) -> Iterator[tuple[int, Hashable | None]]:
    """The positions of the records and their keys, where these are not cut out for them."""
    for found in json_split.split_keys(opened(data), "items.json", _all_keys("DBType"), window, limit):
        if isinstance(found, Keys):
            assert len(cut_again(data, found.extract)) == len(found.keys)
            yield from zip(found.extract.positions, found.keys, strict=True)
        else:
            yield from ((piece.position, KEYED.identify(piece)) for piece in found)


def json_slices(data: bytes, window: int = 1 << 18, limit: int = 1 << 28) -> list[Slice]:
    """The records; their keys are found in the same way, and what is wrong with the source."""
    try:
        lists = list(json_split.split(opened(data), "items.json", window, limit))
    except SourceError as error:
        with pytest.raises(SourceError, match=f"^{re.escape(str(error))}$"):
            list(keys(data, window, limit))
        raise
    assert all(lists)
    assert list(keys(data, window, limit)) == [
        (piece.position, KEYED.identify(piece)) for pieces in lists for piece in pieces
    ]
    for pieces in lists:
        if isinstance(pieces, Stretch):
            assert cut_again(data, pieces.extract) == pieces
    return [piece for pieces in lists for piece in pieces]


def cut_again(data: bytes, extract: Extract) -> list[Slice]:
    """The same records, from their place alone."""
    return extract.slices((MARK + data)[extract.begin : extract.end])


def json_parts(data: bytes, window: int = 1 << 18) -> list[bytes]:
    """The records as bytes, their numbers checked."""
    pieces = json_slices(data, window)
    assert [piece.position for piece in pieces] == list(range(1, len(pieces) + 1))
    return [piece.data for piece in pieces]


def refused(data: bytes, window: int = 1 << 18) -> str:
    """What is said of a source that is damaged, after `items.json: `."""
    with pytest.raises(SourceError) as caught:
        json_slices(data, window)
    name, _, message = str(caught.value).partition(": ")
    assert name == "items.json"
    assert "\n" not in message
    return message


# JSON text, by parts: any whitespace, any nesting, and inside strings what looks like structure.

BLANK = st.text(" \t\r\n", max_size=3)
TRICKY = st.text(st.sampled_from('[]{},:"\\ a\n\u00e9\U0001f600'), max_size=8)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TRICKY
).map(json.dumps) | TRICKY.map(lambda text: json.dumps(text, ensure_ascii=False))


def _array(parts: list[str], blanks: list[str]) -> str:
    return "[" + ",".join(f"{blank}{part}{blank}" for part, blank in zip(parts, blanks, strict=True)) + "]"


def _object(parts: list[tuple[str, str]], blanks: list[str]) -> str:
    pairs = (
        (f"{blank}{json.dumps(key)}", f"{value}{blank}") for (key, value), blank in zip(parts, blanks, strict=True)
    )
    return "{" + ",".join(f"{key}:{value}" for key, value in pairs) + "}"


def _containers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def sized(size: int) -> st.SearchStrategy[str]:
        blanks = st.lists(BLANK, min_size=size, max_size=size)
        arrays = st.builds(_array, st.lists(inner, min_size=size, max_size=size), blanks)
        pairs = st.tuples(TRICKY, inner)
        return arrays | st.builds(_object, st.lists(pairs, min_size=size, max_size=size), blanks)

    return st.integers(0, 3).flatmap(sized)


VALUES = st.recursive(SCALARS, _containers, max_leaves=8)
# What msgspec refuses, and what has the shape of a value all the same.
DAMAGED = st.sampled_from(
    [
        '"\\ud800"',
        '{"a":"\\q"}',
        '{"a":NaN}',
        "NaN",
        "-Infinity",
        '["a\nb"]',
        '{"a" 1}',
        '{"a":[1,]}',
        "01",
        '"\\udc00]"',
    ]
)
OBJECTS = VALUES.map(lambda value: '{"DBType": 1, "x": ' + value + "}")


@st.composite
def arrays(draw: st.DrawFn, values: st.SearchStrategy[str]) -> tuple[bytes, list[bytes]]:
    """A JSON array, and the text of its elements; often of one style of whitespace, as programs write it."""
    elements = draw(st.lists(values, max_size=6))
    style = draw(st.none() | st.tuples(BLANK, BLANK))
    parts: list[str] = []
    for element in elements:
        before, after = style if style is not None else (draw(BLANK), draw(BLANK))
        parts.append(before + element + after)
    text = draw(BLANK) + "[" + (",".join(parts) or draw(BLANK)) + "]" + draw(BLANK)
    return text.encode(), [element.encode() for element in elements]


class TestJsonArrays:
    @given(arrays(VALUES | OBJECTS), WINDOWS)
    @settings(max_examples=300)
    def test_slices_are_exactly_the_elements(self, array: tuple[bytes, list[bytes]], window: int) -> None:
        """Of any array, in any style, through any window."""
        text, elements = array
        assert [json.loads(element) for element in elements] == json.loads(text)
        assert json_parts(text, window) == elements
        assert json_parts(text) == elements

    @given(arrays(OBJECTS))
    def test_keys_need_no_slices(self, array: tuple[bytes, list[bytes]]) -> None:
        """Where all records of a window are objects."""
        text, elements = array
        found = list(json_split.split_keys(opened(text), "items.json", _all_keys("DBType")))
        assert [each.keys for each in found if isinstance(each, Keys)] == [[1] * len(elements)] * bool(elements)
        assert len(found) == bool(elements)

    @given(arrays(VALUES | OBJECTS | DAMAGED), WINDOWS)
    @settings(max_examples=300)
    def test_a_damaged_element_is_a_slice_among_others(self, array: tuple[bytes, list[bytes]], window: int) -> None:
        """What is damaged inside its own brackets and quotes leaves its neighbours alone."""
        text, elements = array
        assert json_parts(text, window) == elements

    @given(arrays(OBJECTS), WINDOWS, st.sampled_from([r"never said", r".*\(byte (\d+)\)", r".*(\d)\)"]))
    def test_slices_do_not_depend_on_what_msgspec_says(
        self, array: tuple[bytes, list[bytes]], window: int, pattern: str
    ) -> None:
        """Another version may word its complaints otherwise, or name another byte: then it is slower, and as right."""
        text, elements = array
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(json_split, "_FOLLOWED", re.compile(pattern))
            assert json_parts(text, window) == elements

    def test_valid_json_is_never_scanned_in_python(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Speed depends on what this version of msgspec says after all."""
        monkeypatch.delattr(json_split, "_end_of_value")
        for text in (b'[{"a":1}, {"a":2} ,\n{"b":"]"}, 12, "x", [1]]', b'[\n {"a": 1},\n {"a": 2}\n]\n'):
            for window in range(1, 64):
                assert len(json_parts(text, window)) == len(json.loads(text))

    @given(arrays(VALUES | OBJECTS), WINDOWS, st.data())
    def test_a_truncated_array_is_told_wherever_it_was_cut(
        self, array: tuple[bytes, list[bytes]], window: int, data: st.DataObject
    ) -> None:
        """Not one of its prefixes passes for a whole file."""
        text = array[0].rstrip()
        cut = data.draw(st.integers(0, len(text) - 1))
        assert re.search("the file is not whole|is empty", refused(text[:cut], window))

    @given(st.binary(max_size=40), WINDOWS)
    @settings(max_examples=200)
    def test_no_bytes_crash_it(self, tail: bytes, window: int) -> None:
        """Any bytes are records or a SourceError, and any record has a label and a place among the rejects."""
        records = JsonRecords(object, key="a")
        for head in (b"", b"[", b"{", b'{"a":1}\n', b'[{"a":', b'{"a":\n'):
            pieces: list[Slice] = []
            try:
                for part in json_split.split(
                    Reader(io.BytesIO(b" " + head + tail), "items.json"), "items.json", window
                ):
                    pieces += part
            except SourceError:
                pass
            for piece in pieces:
                _check_kept(records, piece)

    def test_memory_does_not_grow_with_the_source(self) -> None:
        """A window and its records, whatever came before."""

        record = json.dumps({"AOID": 1, "Description": "x" * 2000}).encode()
        packed = gzip.compress(b"[" + b", ".join([record] * 30_000) + b"]", compresslevel=1)
        tracemalloc.start()
        try:
            count = sum(map(len, json_split.split(Reader(io.BytesIO(packed), "items.json"), "items.json")))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert count == 30_000
        assert peak < 8 << 20

    @pytest.mark.parametrize("window", [1, 7, 64, 1 << 18])
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (b"", "is empty: there is no JSON in it"),
            (b" \n", "is empty"),
            (b"<html>", "is neither a JSON array nor JSON Lines: it begins with b'<"),
            (b"\0\1\2", r"is neither .* b'\\x00"),
            (b"12", "is neither"),
            (b"[", "ends before the first record, at byte 4, with no closing bracket: the file is not whole"),
            (b'[{"a":1}', "ends after record 1, at byte 11, with no closing bracket: the file is not whole; copy it"),
            (b'[{"a":1},', "ends after record 1, at byte 12, with no closing bracket: the file is not whole"),
            (b'[{"a":1}, {"a":', "ends inside record 2, at byte 18: the file is not whole; copy it anew"),
            (b'[{"a":1}, {"a": "x]', "ends inside record 2, at byte 22: the file is not whole"),
            (b'[{"a":1} {"a":2}]', r"a comma is missing after record 1, at byte 12, before b'\{"),
            (b"[1 2]", r"a comma is missing after record 1, at byte 6, before b'2"),
            (b'[{"a":1},]', "there is a comma but no record after record 1, at byte 11"),
            (b"[,1]", r"where record 1 should begin, at byte 4, stands b','|where .* at byte 4, stands b',1\]'"),
            (b'[{"a":1},,1]', r"where record 2 should begin, at byte 12, stands b',"),
            (b"[}]", r"where record 1 should begin, at byte 4, stands b'\}"),
            (b'[{"a":[1}, {"a":2}]', r"record 1 has a b'\}', at byte 11, where the other kind of bracket is open"),
            (b"[1]x", r"goes on after the end of the array \(1 records\), at byte 6, with b'x'"),
            (b"[1][2]", r"goes on after the end of the array \(1 records\), at byte 6, with b'\["),
            (b"[]]", r"goes on after the end of the array \(0 records\), at byte 5"),
        ],
    )
    def test_damage_is_told_with_its_place(self, text: bytes, said: str, window: int) -> None:
        """The record, and the byte of the content: the order mark before it counts for three."""
        assert re.match(said, refused(text, window))

    def test_what_stands_before_damage_is_given_out(self) -> None:
        """A reader of the first records need not know what comes later."""
        split = json_split.split(opened(b'[{"a":1}, {"a":2}, {"a"'), "items.json")
        assert next(split) == [Slice(1, b'{"a":1}'), Slice(2, b'{"a":2}')]
        with pytest.raises(SourceError, match="ends inside record 3"):
            next(split)

    def test_a_record_has_a_limit(self) -> None:
        """One that is just within it is read, one more byte is too much; blanks between records have none."""
        fitting = b"[1, %b, 2]" % (b'"%b"' % (b"x" * 98))
        assert len(json_slices(b" " * 1000 + fitting, window=16, limit=101)) == 3
        for kind in (b"[1, %b]", b'{"a":1}\n%b', b'{"a":\n1}\n%b'):
            text = kind % (b'{"a":"%b"}' % (b"x" * 98))
            with pytest.raises(
                SourceError, match=r"record 2, at byte \d+, goes on for more than 100 bytes; look there"
            ):
                json_slices(text, window=16, limit=100)

    @pytest.mark.parametrize("window", [16, 1 << 18])
    def test_deep_nesting_is_one_damaged_record(self, window: int) -> None:
        """It neither crashes the process nor ends the source."""
        deep = b"[" * 100_000 + b"]" * 100_000
        text = b'[{"AOID":1}, {"AOID":2, "x":%b}, {"AOID":3}]' % deep
        pieces = json_slices(text, window)
        assert [piece.position for piece in pieces] == [1, 2, 3]
        records = JsonRecords(Item, key="AOID")
        with pytest.raises(RecordError, match="nested too deeply to be read"):
            records.decode(pieces[1])
        assert records.label(pieces[1]) == "record 2 (AOID 2)"
        assert json.loads(records.as_json(pieces[1])) == pieces[1].data.decode()


class TestJsonLines:
    @given(st.lists(VALUES.filter(lambda text: "\n" not in text), max_size=6), st.data(), WINDOWS)
    def test_slices_are_exactly_the_lines(self, values: list[str], data: st.DataObject, window: int) -> None:
        """Of any JSON values after a first object, with blank lines, with a last line break or without."""
        values = ['{"a": [1]}', *values]
        breaks = data.draw(st.lists(st.sampled_from(["\n", "\r\n", " \n\n", "\n \t\r\n"]), min_size=6, max_size=6))
        text = "".join(value + end for value, end in zip(values, [*breaks, ""], strict=False))
        for end in ("\n", ""):
            whole = (text.rstrip() + end).encode()
            assert json_parts(whole, window) == [value.strip(" \t\r").encode() for value in values]

    @given(st.lists(OBJECTS, max_size=6), st.data(), WINDOWS)
    def test_objects_one_after_another(self, values: list[str], data: st.DataObject, window: int) -> None:
        """As a pretty-printer leaves them: the first has a line break in it."""
        values = ['{"a":\n1}', *values]
        text = "".join(data.draw(BLANK) + value + data.draw(BLANK) for value in values)
        assert json_parts(text.encode(), window) == [value.encode() for value in values]

    def test_objects_come_in_lists_of_bounded_size(self) -> None:
        """As all records do, whatever the number of objects in a window."""
        value = json.dumps({"AOID": 1, "Description": "x" * 2000}, indent=1).encode()
        lists = list(JsonRecords(Item).split(opened(value * 1000), "items.json"))
        assert sum(map(len, lists)) == 1000
        assert max(sum(len(piece.data) for piece in pieces) for pieces in lists) < 1 << 19

    def test_objects_on_one_line(self) -> None:
        """Nor need there be a line break at all."""
        for window in range(1, 30):
            assert json_parts(b'{"a":1}{"a":2} {"a":3}\n{"a":4}', window) == [
                b'{"a":1}', b'{"a":2}', b'{"a":3}', b'{"a":4}',
            ]  # fmt: skip

    @pytest.mark.parametrize("window", [1, 16, 1 << 18])
    def test_a_damaged_line_is_one_record(self, window: int) -> None:
        """The next line is read as if nothing had been, be the damage a bracket or a quote left open."""
        lines = [b'{"AOID":1}', b'{"AOID":2, "x": [}', b'{"AOID": 3, "Name": "left op', b"oops", b"]", b'{"AOID":5}']
        assert json_parts(b"\n".join(lines) + b"\n", window) == lines
        # Nor is a last line cut off that has its line break.
        assert json_parts(b"\n".join(lines[:3]) + b"\n", window) == lines[:3]
        # A last line without its line break is damaged, and not cut off, where its brackets do not match.
        assert json_parts(b"\n".join(lines[:2]), window) == lines[:2]

    @pytest.mark.parametrize("window", [1, 16, 1 << 18])
    def test_a_last_line_cut_off_is_damage_to_the_file(self, window: int) -> None:
        """What was to follow is missing as well, so it is no matter of one record."""
        assert refused(b'{"a":1}\n{"a":2}\n{"a"', window).startswith(
            "ends inside record 3, at byte 23: the file is not whole"
        )
        assert refused(b'{"a":1', window).startswith("ends inside record 1, at byte 9")
        assert refused(b'{"a":\n1}{"a', window).startswith("ends inside record 2, at byte 14")

    def test_what_is_neither_lines_nor_objects(self) -> None:
        """An array without its brackets, say."""
        assert "where record 2 should begin, at byte 10, stands b',\\n{\"a\":2}'" in refused(b'{"a":1},\n{"a":2}')
        assert "record 1 has a b'}'" in refused(b'{"a":[1}')


class Stat(msgspec.Struct):
    stat: int = msgspec.field(name="Stat")
    raw_value: int = msgspec.field(name="RawValue")


class Item(msgspec.Struct):
    aoid: int = msgspec.field(name="AOID")
    name: Annotated[str, msgspec.Meta(max_length=128)] = msgspec.field(name="Name", default="")
    stats: list[Stat] = msgspec.field(name="StatValues", default_factory=list[Stat])
    counts: dict[str, int] = msgspec.field(name="Counts", default_factory=dict[str, int])
    by_number: dict[int, int] = msgspec.field(name="ByNumber", default_factory=dict[int, int])
    share: float = msgspec.field(name="Share", default=0.0)
    level: Annotated[int, msgspec.Meta(ge=10)] = msgspec.field(name="Level", default=10)
    slot: Literal["Eye", "Legs"] = msgspec.field(name="Slot", default="Eye")


@attrs.frozen
class Short:
    """An attrs class with a validator of its own."""

    text: str = attrs.field(validator=attrs.validators.max_len(2))


ITEMS = JsonRecords(Item, key="AOID")


def _check_kept(form: AnyFormat, piece: Slice) -> None:
    """Whatever a record is, it can be named, set aside, and refused with nothing but a RecordError."""
    assert form.label(piece)
    form.identify(piece)
    line = form.as_json(piece)
    assert b"\n" not in line
    json.loads(line)
    try:
        form.decode(piece)
    except RecordError as error:
        said = str(error)
    else:
        said = "nothing"
    assert said
    assert "\n" not in said


class TestJsonDecode:
    def test_a_record_is_decoded_to_its_type(self) -> None:
        """Structs and attrs classes alike."""
        piece = Slice(1, b'{"AOID": 1, "StatValues": [{"Stat": 4, "RawValue": 15}], "Sounds": null}')
        assert ITEMS.decode(piece) == Item(aoid=1, stats=[Stat(4, 15)])
        assert JsonRecords(Short).decode(Slice(1, b'{"text": "ab"}')) == Short("ab")

    @pytest.mark.parametrize(
        ("record", "path", "reason"),
        [
            (b'{"AOID": "abc"}', "AOID", "'abc': expected int, got str"),
            (b'{"AOID": 1.5}', "AOID", "1.5: expected int, got float"),
            (b'{"AOID": null}', "AOID", "expected int, got null"),
            (b'{"AOID": 1, "StatValues": [{"Stat": 1, "RawValue": 2}, {"Stat": 1, "RawValue": "x"}]}',
             "StatValues[1].RawValue", "'x': expected int, got str"),
            (b'{"AOID": 1, "StatValues": [{"Stat": 1}]}', "StatValues[0]", "the field RawValue is missing"),
            (b'{"AOID": 1, "Name": "%b"}' % (b"n" * 129), "Name",
             f"'{'n' * 79}… (129 long): expected str of length <= 128"),
            (b'{"AOID": 1, "Level": 0}', "Level", "0: expected int >= 10"),
            (b'{"AOID": 1, "Slot": "Nose"}', "Slot", "invalid enum value 'Nose'"),
            (b'{"AOID": 1, "Counts": {"a.b": "x"}}', "Counts[...]", "expected int, got str"),
            (b'{"AOID": 1, "ByNumber": {"x": 1}}', "ByNumber", "a key: expected int, got str"),
            (b'{"AOID": "x", "AOID": 2}', "AOID", "expected int, got str"),
            (b'{"AOID": 1%b}' % (b"0" * 5000), "AOID", "integer value out of range"),
            (b'{"AOID": 1, "Share": 1e400}', "Share", "number out of range"),
            (b"{}", "", "the field AOID is missing"),
            (b"[1]", "", "[1]: expected object, got array"),
        ],
    )  # fmt: skip
    def test_a_misfit_is_told_with_its_path_and_value(self, record: bytes, path: str, reason: str) -> None:
        """The path has the names of the source; the value stands there where it is sure which it is."""
        with pytest.raises(RecordError) as caught:
            ITEMS.decode(Slice(1, record))
        assert (caught.value.path, caught.value.reason) == (path, reason)

    def test_the_words_of_a_validator_are_kept(self) -> None:
        """They are not msgspec's, and may well be in backticks or begin with a capital."""
        with pytest.raises(RecordError, match=r"^\{'text': 'abc'\}: Length of 'text' must be <= 2: 3$"):
            JsonRecords(Short).decode(Slice(1, b'{"text": "abc"}'))

    @pytest.mark.parametrize(
        ("record", "reason"),
        [
            (rb'{"AOID": 1, "Name": "\ud83d"}', r"not JSON: half of a surrogate pair, \ud83d, at byte 21 of the rec"),
            (rb'{"AOID": 1, "Name": "\ud83d\u0041"}', r"not JSON: half of a surrogate pair, \ud83d, at byte 21"),
            (rb'{"AOID": 1, "x": "\\ud83d \udc00 x"}', r"not JSON: half of a surrogate pair, \udc00, at byte 26"),
            (rb'{"AOID": 1, "\ud83d\ude00": "\ude00"}', r"not JSON: half of a surrogate pair, \ude00, at byte 29"),
            (b'{"AOID": NaN}', "not JSON: invalid character near byte 9 of the record, in b'{\"AOID\": NaN}'"),
            (b'{"AOID": 1, "Name": "a\tb"}', "not JSON: invalid character near byte 22"),
            (b'{"AOID": 1', "not JSON: it ends early"),
            (b"", "not JSON: it ends early"),
            (b'{"AOID": 1, "Name": "caf\xe9"}', r"not UTF-8: b'\xe9' at byte 24 of the record"),
            (b'{"AOID": 1, "Sounds": "caf\xe9"}', r"not UTF-8: b'\xe9' at byte 26 of the record"),
            (b'{"AOID": 1, "\xff": 2}', r"not UTF-8: b'\xff' at byte 13 of the record"),
            (b'{"AOID": 1, "Name": "\xed\xa0\x80"}', r"not UTF-8: b'\xed' at byte 21"),
        ],
    )  # fmt: skip
    def test_what_is_not_json_is_told_with_its_place(self, record: bytes, reason: str) -> None:
        """Also where the damage is in a field that the type leaves out."""
        with pytest.raises(RecordError) as caught:
            ITEMS.decode(Slice(1, record))
        assert caught.value.reason.startswith(reason)

    def test_what_msgspec_lets_pass(self) -> None:
        """Of a key that stands twice the last value counts; integers have no bounds before they meet a column."""
        assert ITEMS.decode(Slice(1, b'{"AOID": 1, "AOID": 2}')).aoid == 2
        for number in (2**63, 2**64, -(10**40)):
            assert ITEMS.decode(Slice(1, b'{"AOID": %d}' % number)).aoid == number
        assert ITEMS.decode(Slice(1, rb'{"AOID": 1, "Name": "\ud83d\ude00\u0000"}')).name == "\U0001f600\0"

    def test_it_pickles(self) -> None:
        """A format is sent to the processes that decode."""
        again: JsonRecords[Item] = pickle.loads(pickle.dumps(ITEMS))
        assert again == ITEMS
        assert again.decode(Slice(1, b'{"AOID": 1}')).aoid == 1


class _Keyed(msgspec.Struct):
    aoid: int = msgspec.field(name="AOID", default=0)
    alias: str | None = None
    either: int | str | None = None
    number: float = 0.0
    other: Literal["a", 1] = 1


class TestKeyOf:
    @pytest.mark.parametrize("key", ["AOID", "alias", "either", "number", "other", "none", ""])
    @pytest.mark.parametrize(
        "record",
        [{"AOID": 5, "number": 1.0, "other": "a"}, {"AOID": 2**70, "alias": "x", "either": 7, "number": 2}, {}],
    )
    def test_it_is_what_identify_finds(self, key: str, record: dict[str, object]) -> None:
        """Whatever the type of the field; of a field that the record leaves out there is no key."""
        piece = Slice(1, json.dumps(record).encode())
        for form in (JsonRecords(_Keyed, key=key), WithRejects(JsonRecords(_Keyed, key=key))):
            if key in record or form.identify(piece) is not None:
                assert key_of(form)(piece, form.decode(piece)) == form.identify(piece)

    def test_documents_of_other_kinds_are_read_once_more(self) -> None:
        """An attrs class may name its attributes otherwise, and lines of CSV have no key."""
        piece = Slice(1, b'{"AOID": 5}')
        form = JsonRecords(dict[str, object], key="AOID")
        assert key_of(form)(piece, form.decode(piece)) == 5
        lines = CsvRecords(list[str])
        assert key_of(lines)(Slice(1, b"a,b"), ["a", "b"]) is None


class TestJsonLabel:
    @pytest.mark.parametrize(
        ("record", "label"),
        [
            (b'{"x": {"AOID": 1}, "AOID" : 21805}', "record 7 (AOID 21805)"),
            (b'{"x": "\\"AOID\\": 1, \\\\", "AOID": "a\\u00e9"}', "record 7 (AOID 'a\u00e9')"),
            (b'{"AOID": 21805, "Name": "left op', "record 7 (AOID 21805)"),
            (b'{"AOID": 21805, "Name": NaN, "\xff": "\\ud800"}', "record 7 (AOID 21805)"),
            (b'{"AOID": null}', "record 7"),
            (b'{"AOID": [1]}', "record 7"),
            (b'{"AOID": NaN}', "record 7"),
            (b'{"AOID": "\xff"}', "record 7"),
            (b'{"AOID": 1%b}' % (b"0" * 5000), "record 7"),
            (b"}}]", "record 7"),
            (b"", "record 7"),
        ],
    )
    def test_a_record_is_named_by_its_key(self, record: bytes, label: str) -> None:
        """Damaged or not, as far as the key can be found."""
        assert ITEMS.label(Slice(7, record)) == label

    def test_without_a_key(self) -> None:
        """The number is enough."""
        assert JsonRecords(Item).label(Slice(7, b'{"AOID": 1}')) == "record 7"

    @given(st.binary(max_size=60))
    def test_any_bytes_can_be_named_and_set_aside(self, data: bytes) -> None:
        """Nothing that a file may hold gets in the way of saying so."""
        for form in (ITEMS, JsonRecords(Item), CsvRecords(list)):
            _check_kept(form, Slice(1, data))
            _check_kept(form, Slice(1, b'{"AOID": ' + data + b"}"))

    def test_as_json_keeps_what_is_valid(self) -> None:
        """On one line, and else byte for byte; what is not valid becomes a string."""
        assert ITEMS.as_json(Slice(1, b'{\r\n "AOID": 1.50,\n "a": "\\n"}')) == b'{   "AOID": 1.50,  "a": "\\n"}'
        assert json.loads(ITEMS.as_json(Slice(1, b'{"AOID": NaN, "a": "\xff"}'))) == '{"AOID": NaN, "a": "\ufffd"}'


# CSV

FIELD = st.text(st.sampled_from('a,"\r\n \u00e9'), max_size=6)


def csv_slices(data: bytes, window: int = 1 << 18, limit: int = 1 << 20) -> list[Slice]:
    lists = list(csv_records.split(opened(data), "mobs.csv", window, limit))
    assert all(lists)
    return [piece for pieces in lists for piece in pieces]


def as_read(fields: list[str]) -> list[str]:
    return fields


FIELDS = CsvRecords(as_read)


class TestCsvRecords:
    @given(st.lists(st.lists(FIELD, min_size=1, max_size=4), max_size=6), st.sampled_from(["\n", "\r\n"]), WINDOWS)
    @settings(max_examples=300)
    def test_what_is_written_is_read(self, rows: list[list[str]], end: str, window: int) -> None:
        """Whatever is in the fields, whichever line end, with the last one or without."""
        # Python does not quote a carriage return where it writes plain line feeds, and does not read it then.
        rows = [[field.replace("\r", "") if end == "\n" else field for field in row] for row in rows]
        rows = [row for row in rows if any(field.strip() for field in row) or len(row) > 1]
        file = io.StringIO(newline="")
        lines: list[int] = []
        writer = csv.writer(file, lineterminator=end)
        for row in rows:
            lines.append(file.getvalue().count("\n") + 1)
            writer.writerow(row)
        text = file.getvalue().encode()
        for data in (text, text.removesuffix(end.encode())):
            pieces = csv_slices(data, window)
            assert [piece.position for piece in pieces] == lines
            assert [FIELDS.decode(piece) for piece in pieces] == rows
            if rows:
                assert end.encode().join(piece.data for piece in pieces) + end.encode() == text

    @given(st.text(st.sampled_from('a,"\n'), max_size=16), WINDOWS)
    @settings(max_examples=300)
    def test_records_are_those_of_pythons_csv(self, text: str, window: int) -> None:
        """Of any text, right or wrong: what it reads is read the same, what it refuses is refused."""
        try:
            pieces = csv_slices(text.encode(), window)
        except SourceError:
            with pytest.raises(csv.Error):
                list(csv.reader(io.StringIO(text, newline=""), strict=True))
            return
        ours: list[list[str] | None] = []
        for piece in pieces:
            try:
                ours.append(FIELDS.decode(piece))
            except RecordError:
                ours.append(None)
        assert ours == list(_read_by_python(text))

    def test_blank_lines_count_as_lines_only(self) -> None:
        """Messages name the line that an editor shows."""
        pieces = csv_slices(b'\na,b\r\n \t\r\n\n"c\n\nd",e\n\nf')
        assert pieces == [Slice(2, b"a,b"), Slice(5, b'"c\n\nd",e'), Slice(9, b"f")]
        assert FIELDS.label(pieces[1]) == "line 5"
        assert list(FIELDS.split(opened(b"a,b\n"), "mobs.csv")) == [[Slice(1, b"a,b")]]
        # A form feed is no blank, but what a field holds.
        assert csv_slices(b"\x0c\n\x0b\n") == [Slice(1, b"\x0c"), Slice(2, b"\x0b")]

    @pytest.mark.parametrize(
        ("record", "reason"),
        [
            (b"caf\xe9,b", r"not UTF-8: b'\\xe9' at byte 3 of the record; convert the file"),
            (b'"a"b,c', "not CSV: ',' expected after '\"'"),
            (b"a\rb", "not CSV: new-line character seen in unquoted field"),
            (b"a" * 140_000, "not CSV: field larger than field limit"),
        ],
    )
    def test_a_damaged_record_is_one_record(self, record: bytes, reason: str) -> None:
        """The next line is read as if nothing had been."""
        pieces = csv_slices(b"x,y\n" + record + b"\nz\n")
        assert pieces == [Slice(1, b"x,y"), Slice(2, record), Slice(3, b"z")]
        with pytest.raises(RecordError, match=reason):
            FIELDS.decode(pieces[1])
        assert json.loads(FIELDS.as_json(pieces[1])) == record.decode(errors="replace")

    @pytest.mark.parametrize("window", [1, 16, 1 << 18])
    def test_a_quote_left_open_is_told_with_its_line(self, window: int) -> None:
        """Where it was opened, which may be long before the end."""
        text = b'a,b\n"c\nd","e\nf\n'
        with pytest.raises(SourceError, match=r"mobs\.csv: a quote opened in line 3 is not closed to the end"):
            csv_slices(text, window)
        with pytest.raises(SourceError, match=r"mobs\.csv: line 2, at byte 7, goes on for more than 100 bytes; look"):
            csv_slices(text + b"x\n" * 100, min(window, 16), limit=100)

    def test_the_function_for_the_fields_may_refuse_them(self) -> None:
        """Its RecordError is passed on as it is."""

        def refuse(fields: list[str]) -> int:
            raise RecordError(f"{len(fields)} fields, not 3", path="link")

        with pytest.raises(RecordError, match="link: 2 fields, not 3"):
            CsvRecords(refuse).decode(Slice(1, b"a,b"))

    def test_it_pickles(self) -> None:
        """A format is sent to the processes that decode."""
        assert pickle.loads(pickle.dumps(FIELDS)) == FIELDS


def _read_by_python(text: str) -> Iterator[list[str] | None]:
    """The records of a text as the csv module has them, line by line; None for one that it refuses."""
    lines = iter(io.StringIO(text, newline="\n").readlines())
    reader = csv.reader(lines, strict=True)
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield None
        else:
            if fields:
                yield fields


@dataclasses.dataclass
class Boss:
    name: object
    drops: object = ()


@attrs.define
class Place:
    boss: object
    unset: object = attrs.field(init=False)


class TestPathOf:
    def test_it_looks_into_whatever_a_document_is_made_of(self) -> None:
        """Structs by the names of the source, and classes, mappings and sequences."""
        value = object()
        wanted: dict[str, list[object]] = {
            "": [value, 1, [], Item(1)],
            "StatValues[2].RawValue": [Item(1, stats=[Stat(1, 2), Stat(1, 2), Stat(1, cast("int", value))])],
            "boss.drops[1][0]": [Place(Boss("a", ["x", (value,)]))],
            "a.b": [{"a": {"b": value, 3: 4}}],
            "a[3]": [{"a": {3: value}}],
            "[0].a": [[{"a": value}]],
        }
        for path, documents in wanted.items():
            for document in documents:
                assert path_of(document, value) == path

    def test_it_is_the_very_object(self) -> None:
        """An equal one is another."""
        first, second = float("1.5"), float("1.5")
        assert path_of([first, second], second) == "[1]"
        assert path_of([first], second) == ""

    def test_what_stands_in_two_places_is_in_neither(self) -> None:
        """A path that may be the wrong one is worse than none."""
        document = {"a": None, "b": [None], "c": 7}
        assert path_of(document, None) == ""
        assert path_of(document, 7) == "c"

    def test_a_document_may_be_deep(self) -> None:
        """Deeper than calls may be."""
        value = object()
        document: object = [value]
        for _ in range(5000):
            document = [document]
        assert path_of(document, value) == "[0]" * 5001


# --- Files of rejects ---


def reject_line(record: object, **changes: object) -> str:
    """A line as `Rejects` writes it."""
    texts = dict.fromkeys(("path", "table", "column", "sqlstate", "constraint", "reason"), "")
    return json.dumps({"record": record, "file": "items.json", "position": 153, **texts, **changes}) + "\n"


def pieces_of(form: AnyFormat, text: str) -> list[Slice]:
    """All records of a source."""
    reader = Reader(io.BytesIO(text.encode()), "rejects.jsonl")
    return [piece for pieces in form.split(reader, "rejects.jsonl") for piece in pieces]


def test_a_file_of_rejects_is_read_as_its_records() -> None:
    """Each is named by its line, and by where it was once; among them may be records as they are."""
    form = WithRejects(JsonRecords(dict[str, object], key="AOID"))
    lines = [reject_line({"AOID": 5, "Name": "é"}), '{"AOID": 6}\n', reject_line('{"AOID": 7, "Na')]
    first, plain, damaged = pieces_of(form, "".join(lines))
    assert form.decode(first) == {"AOID": 5, "Name": "é"}
    assert form.identify(first) == 5
    assert form.label(first) == "record 1, once record 153 (AOID 5) of items.json"
    assert json.loads(form.as_json(first)) == {"AOID": 5, "Name": "é"}
    assert (form.decode(plain), form.label(plain)) == ({"AOID": 6}, "record 2 (AOID 6)")
    with pytest.raises(RecordError, match="not JSON"):
        form.decode(damaged)
    assert json.loads(form.as_json(damaged)) == '{"AOID": 7, "Na'


def test_a_file_of_rejected_lines_of_csv_is_read() -> None:
    """What is no such file is CSV as ever, whatever it begins with."""
    form = WithRejects(CsvRecords(list[str]))
    (piece,) = pieces_of(form, reject_line('a,"b,\nc"', file="b.csv", position=7))
    assert form.decode(piece) == ["a", "b,\nc"]
    assert form.label(piece) == "record 1, once line 7 of b.csv"
    plain = pieces_of(form, '{"record": 1, b\n2,c\n')
    assert list(map(form.label, plain)) == ["line 1", "line 2"]


@pytest.mark.parametrize("text", [reject_line(1, more=1), json.dumps({"record": {}, "file": "f"})])
def test_what_looks_like_a_reject_and_is_none_is_a_record(text: str) -> None:
    """It has to have all fields of one, and no other."""
    form = WithRejects(JsonRecords(dict[str, object]))
    piece = Slice(1, text.encode())
    assert form.label(piece) == "record 1"
    assert form.decode(piece) == json.loads(text)


@pytest.mark.parametrize("record", [b'"\xff"', b'"\\ud800"', b"NaN", b'{"a": "\xff"}', b"[" * 2000 + b"]" * 2000])
@pytest.mark.parametrize("form", [JsonRecords(dict[str, object], key="a"), CsvRecords(str)], ids=["JSON", "CSV"])
def test_a_record_of_a_reject_that_is_damaged_is_refused(form: AnyFormat, record: bytes) -> None:
    """Whoever mended it may have made it worse: that is a rejected record again, and never the end."""
    others = b'"file":"f","position":1,"path":"","table":"","column":"","sqlstate":"","constraint":"","reason":""'
    _check_kept(WithRejects(form), Slice(1, b'{"record":' + record + b"," + others + b"}"))
