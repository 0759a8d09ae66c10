"""A value of any size is shown in an answer of bounded size, and all of it can be asked for."""

from typing import Any

import pytest

from rillflow.core.inspection.cutting import ANSWER_BYTES, CUT, VALUE_BYTES, Sizes, cut, page_of
from rillflow.jsontypes import JsonValue, encode_json

MEGABYTE = "x" * 1_000_000


def deep(levels: int, value: JsonValue) -> JsonValue:
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -1.5,
        10**40,
        "text",
        {},
        [],
        {"a": [1, {"b": "c"}], "<script>": "\u202e"},
        {CUT: "looks like a marker"},
        deep(20, 1),
    ],
)
def test_a_small_value_is_shown_as_it_is(value: JsonValue) -> None:
    assert cut(value) == value
    assert page_of(value, "", 0).value == value


@pytest.mark.parametrize(
    "value",
    [
        MEGABYTE,
        10**1_000,
        [MEGABYTE, "small", MEGABYTE],
        {"a": MEGABYTE, "b": {"c": [MEGABYTE]}},
        list(range(100_000)),
        {str(number): number for number in range(100_000)},
        {MEGABYTE: 1},
        [[["x" * 4_000] * 50] * 50] * 50,
        deep(60, MEGABYTE),
        {f"{number}{'k' * 4_000}": 1 for number in range(190)},
    ],
)
def test_a_large_value_is_cut_to_about_its_room(value: JsonValue) -> None:
    assert len(encode_json(cut(value))) < 4 * VALUE_BYTES
    assert len(encode_json(page_of(value, "", 0).value)) < 4 * ANSWER_BYTES


def test_a_marker_says_where_and_how_large_what_it_stands_for_is() -> None:
    shown: Any = cut({"film/reel": {"scenes~1": MEGABYTE}, "n": 1})
    marker = shown["film/reel"]["scenes~1"][CUT]
    assert marker["path"] == "/film~1reel/scenes~01"
    assert (marker["kind"], marker["length"], marker["bytes"]) == ("string", 1_000_000, 1_000_002)
    assert MEGABYTE.startswith(marker["head"])
    assert shown["n"] == 1


def test_a_value_that_is_far_longer_as_text_than_in_memory_is_cut_without_its_text() -> None:
    value: JsonValue = "x" * 100
    for _ in range(60):
        value = {"a": value, "b": value}
    shown: Any = cut({"film": value, "list": [value] * 150, "n": 1})
    assert len(encode_json(shown)) < 4 * VALUE_BYTES
    assert shown["n"] == 1
    marker = shown["list"][CUT]
    assert (marker["length"], marker["at_least"], marker["bytes"] > 150) == (150, True, True)


def test_a_size_is_told_as_a_least_one_when_counting_it_would_take_long() -> None:
    values: JsonValue = [["y" * 10] * 1_000] * 3
    shown: Any = cut(values, sizes=Sizes(40_000))
    first, second, third = (each[CUT] for each in shown)
    assert (first["bytes"], "at_least" in first) == (13_001, False)
    assert (second["at_least"], third["at_least"]) == (True, True)
    assert second["bytes"] < 13_001


def test_a_text_is_read_in_pages_to_its_end() -> None:
    value: JsonValue = {"film": MEGABYTE + "end"}
    read, offset = "", 0
    while True:
        page = page_of(value, "/film", offset)
        read += str(page.value)
        if page.next_offset is None:
            break
        offset = page.next_offset
    assert read == MEGABYTE + "end"


@pytest.mark.parametrize(
    "value",
    [
        {"list": [{"n": number} for number in range(1_000)]},
        {"list": {f"k{number}": number for number in range(1_000)}},
    ],
)
def test_a_container_is_read_in_pages_to_its_end(value: JsonValue) -> None:
    seen, offset = 0, 0
    while True:
        page = page_of(value, "/list", offset)
        assert isinstance(page.value, list | dict)
        seen += len(page.value)
        if page.next_offset is None:
            break
        offset = page.next_offset
    assert seen == 1_000


@pytest.mark.parametrize(
    "pointer", ["/b", "a", "/a/2", "/a/-1", "/a/x", "/a/0/b", "/a/" + "9" * 99]
)
def test_a_pointer_that_leads_nowhere_finds_nothing(pointer: str) -> None:
    assert not page_of({"a": [1, 2]}, pointer, 0).found


class CountedKey(str):
    """A key that counts how often somebody asks for its length."""

    __slots__ = ()
    asked = 0

    def __len__(self) -> int:
        CountedKey.asked += 1
        return super().__len__()


def test_a_wide_object_that_many_places_hold_is_counted_a_few_times_and_not_for_each() -> None:
    keys, places, rules = 6_000, 150, 5
    wide: JsonValue = {CountedKey(f"k{number}"): 0 for number in range(keys)}
    sizes = Sizes()
    CountedKey.asked = 0
    for _ in range(rules):
        shown: Any = cut([wide] * places, sizes=sizes)
        assert shown[0][CUT]["length"] == keys
    assert CountedKey.asked < keys * places
    assert shown[-1][CUT]["at_least"]


def test_long_numbers_are_written_until_that_takes_too_much() -> None:
    sizes = Sizes()
    shown: list[Any] = [cut(10**4_000, sizes=sizes) for _ in range(200)]
    written = [each for each in shown if "head" in each[CUT]]
    assert 0 < len(written) < 20
    assert written[0][CUT]["bytes"] == 4_001
    assert shown[-1][CUT]["at_least"]
    assert 3_000 < shown[-1][CUT]["length"] <= 4_001
