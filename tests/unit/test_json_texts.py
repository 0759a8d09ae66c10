"""JSON is read in time proportional to its length, and what may be read is bounded."""

import json
import time
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from typing import Any, Final

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rillflow.jsontypes import (
    LONG_NUMBER,
    MAX_DEPTH,
    MAX_LONG_DIGITS,
    MAX_VALUES,
    JsonValue,
    ahead_of,
    decode_entries,
    decode_json,
    decode_untrusted_json,
    decoded_ahead,
    encode_json,
    encoded_parts,
    has_too_many_values,
    text_without_nulls,
)
from tests.fuzzing import examples
from tests.machine_speed import processor_time, slowness

MEBIBYTE: Final = 1 << 20
PROMPTLY_S: Final = 0.5
TRIES: Final = 20
"""How often at most something is tried that a busy machine alone may hold up."""
BRACKETS: Final = b"[" * (MAX_DEPTH + 1)

values: Final[st.SearchStrategy[JsonValue]] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text('ab[]{},:"\\\n é'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('a"\\[,', max_size=3), inner),
    max_leaves=20,
)
texts: Final = st.lists(
    st.sampled_from(('"', "\\", "[", "]", "{", "}", ",", ":", "1", "1e308", "a", " ", "\\u00e9")),
    max_size=12,
).map("".join)


def depth_of(value: JsonValue) -> int:
    inner = value.values() if isinstance(value, dict) else value
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(depth_of, inner), default=0)  # type: ignore[arg-type]


def nested(levels: int, inside: JsonValue) -> JsonValue:
    for level in range(levels):
        inside = [inside] if level % 2 else {"[[": inside, 'a"]': "]]"}
    return inside


def read(text: bytes | str) -> JsonValue | type[ValueError]:
    try:
        return decode_json(text)
    except ValueError:
        return ValueError


@settings(max_examples=examples(200))
@given(values, st.integers(0, 3))
@example(']]\\"[[', 0)
@example("\\", 1)
def test_exactly_the_deepest_that_may_be_is_read(inside: JsonValue, above: int) -> None:
    # Brackets in strings are none, however they are escaped.
    padding: list[Any] = [[]] * (MAX_DEPTH + 1)
    levels = MAX_DEPTH - depth_of(inside) - 1 + above
    value: JsonValue = [nested(levels, inside), *padding]
    text = encode_json(value)
    if above:
        with pytest.raises(ValueError, match="nested deeper than 200"):
            decode_json(text)
    else:
        assert decode_json(text) == value


@settings(max_examples=examples(200))
@given(texts)
@example("],[")
def test_what_is_no_json_is_refused_with_many_brackets_as_without(text: str) -> None:
    brackets = ",".join(["[]"] * (MAX_DEPTH + 1))
    amid = f"[[{brackets}],[{text}]]"
    try:
        expected = msgspec.json.decode(amid)
    except ValueError:
        expected = ValueError
    assert read(amid) == expected


@settings(max_examples=examples(200))
@given(values)
@example([1e308, 2.2250738585072011e-308, 10**400, -0.0, "\\ud800"])
@example({"a": [{}], "": "e000"})
def test_a_text_of_slow_numbers_is_read_as_any_other(value: JsonValue) -> None:
    slow = b",".join([b"1e308", b"1.5E-300", b"2.2250738585072011e-308"] * 1_000)
    text = b"[[%b],%b]" % (slow, encode_json(value))
    assert decode_json(text) == [[1e308, 1.5e-300, 2.2250738585072011e-308] * 1_000, value]


@pytest.mark.parametrize(
    "wrong", ["1e400", "NaN", "-Infinity", '"\\ud800"', "01", '"\n"', "1" * 5_000]
)
def test_slow_numbers_hide_nothing_that_is_no_json(wrong: str) -> None:
    slow = ",".join(["1e308"] * 2_000)
    assert read(f"[{wrong}]") is ValueError
    assert read(f"[{slow},{wrong}]") is ValueError


@settings(max_examples=examples(200))
@given(values)
def test_values_are_counted_wherever_they_stand(inside: JsonValue) -> None:
    # Two lists around, one comma between them, and the commas of the first.
    room = MAX_VALUES - marks_of(inside) - 6
    assert decode_untrusted_json(encode_json([[0] * room, inside])) == [[0] * room, inside]
    with pytest.raises(ValueError, match="more than 300000 values"):
        decode_untrusted_json(encode_json([[0] * (room + 1), inside]))


def marks_of(value: JsonValue) -> int:
    """Count commas, colons as two, and opening brackets as three."""
    if not isinstance(value, dict | list):
        return 0
    inner = list(value.values() if isinstance(value, dict) else value)
    keys = 2 * len(value) if isinstance(value, dict) else 0
    return 3 + keys + max(len(inner) - 1, 0) + sum(map(marks_of, inner))


def test_commas_and_brackets_in_strings_are_no_values() -> None:
    prose = 'a, [b], {c}, \\ and "d, e"; ' * 20_000
    assert decode_untrusted_json(encode_json([prose])) == [prose]
    assert not has_too_many_values(encode_json({prose: prose}))


@pytest.mark.parametrize(
    "text",
    [
        BRACKETS + b'"' + b"a" * MEBIBYTE,
        BRACKETS + b'"' + b'\\"' * MEBIBYTE,
        BRACKETS + b'"\\' * MEBIBYTE,
        b'["' * MEBIBYTE,
        b"[" * MEBIBYTE,
        b"[]," * MEBIBYTE,
        b'"[",' * MEBIBYTE,
        b'{"\\\\":[' * MEBIBYTE,
        b"1e308," * MEBIBYTE,
    ],
)
def test_a_mebibyte_that_is_no_json_is_refused_at_once(text: bytes) -> None:
    text = text[:MEBIBYTE]
    with processor_time(PROMPTLY_S):
        assert read(text) is ValueError
        with pytest.raises(ValueError, match=r"JSON|Extra data"):
            decode_untrusted_json(text)


def test_a_body_of_the_most_values_is_read_within_a_turn() -> None:
    numbers = b"[" + b"1e308," * (MAX_VALUES - 3) + b"1e308]"
    keys = json.dumps({str(number): number for number in range(MAX_VALUES // 3 - 2)}).encode()
    lists = b"[" + b"[]," * (MAX_VALUES // 4 - 2) + b"{}]"
    for text in (numbers, keys, lists):
        assert isinstance(decode_untrusted_json(text), dict | list)


@pytest.mark.parametrize("digits", [LONG_NUMBER + 1, 4_299])
def test_the_digits_of_long_numbers_are_counted_together(digits: int) -> None:
    most = MAX_LONG_DIGITS // digits
    assert len(str(decode_untrusted_json(encode_json([10 ** (digits - 1)] * most)))) > 10_000
    with pytest.raises(ValueError, match="numbers of more than 40 digits have over 20000 together"):
        decode_untrusted_json(encode_json([10 ** (digits - 1)] * (most + 1)))


def test_digits_in_strings_and_short_numbers_are_no_long_numbers() -> None:
    values: list[JsonValue] = ["1" * 50_000, 10 ** (LONG_NUMBER - 1), *["7" * 60] * 1_000]
    values += [10 ** (LONG_NUMBER - 1)] * 2_000
    assert decode_untrusted_json(encode_json(values)) == values


@pytest.mark.parametrize("number", ["9007199254740993.00000000000000000001", "1" * 40 + "e99"])
def test_while_a_thread_reads_slow_numbers_others_have_their_turns(number: str) -> None:
    """The decoder let go of the interpreter after 350 ms, when all was read."""
    text = f"[{','.join([number] * 230_000)}]".encode()
    with ThreadPoolExecutor(1) as threads:
        waits_ms = (_longest_wait_ms(threads, text) for _ in range(TRIES))
        assert any(longest_ms < 50 * slowness() for longest_ms in waits_ms)


def _longest_wait_ms(threads: Executor, text: bytes) -> float:
    reading = threads.submit(decode_untrusted_json, text)
    longest_s, last_s = 0.0, time.perf_counter()
    while not reading.done():
        wait([reading], timeout=0.0005)
        longest_s, last_s = max(longest_s, time.perf_counter() - last_s), time.perf_counter()
    assert isinstance(reading.result(), list)
    return longest_s * 1000


def test_a_text_that_was_decoded_ahead_is_not_decoded_again() -> None:
    text = encode_json(["x" * 5_000, {"a": 1}])
    ahead = ahead_of(text)
    assert ahead is not None
    with decoded_ahead([ahead]):
        assert decode_json(text) is ahead.value
        # An equal text is another object, and is decoded as ever.
        assert decode_json(bytes(bytearray(text))) is not ahead.value
    assert decode_json(text) is not ahead.value
    assert decode_json(text) == ahead.value


def test_why_a_text_is_no_json_is_known_ahead_too() -> None:
    text = b'["' + b"x" * 5_000
    ahead = ahead_of(text)
    known = decoded_ahead([ahead._replace(error="known ahead")])
    with known, pytest.raises(ValueError, match="known ahead"):
        decode_json(text)
    with pytest.raises(ValueError, match="truncated"):
        decode_json(text)
    assert "truncated" in (ahead.error or "")


# -- parts -----------------------------------------------------------------------------


@settings(max_examples=examples(100))
@given(st.lists(values, max_size=3), st.integers(0, 300_000))
def test_parts_make_the_text_of_the_whole(inner: list[JsonValue], length: int) -> None:
    whole: JsonValue = {
        "": inner,
        "t" * length: ["x" * length, {"a": inner, "é" * 9: "y" * length}, inner],
        "wide": [list[JsonValue](range(length // 3)), {str(n): n for n in range(length // 9)}],
        "number": 10 ** (length // 100),
    }
    assert b"".join(encoded_parts(whole)) == encode_json(whole)


def test_no_part_of_a_large_value_is_long() -> None:
    text = "\x01" * 100_000
    wide: JsonValue = [{"a": n, "b": [text[:9]]} for n in range(40_000)]
    task: JsonValue = {"input": {f"a{n}": text for n in range(7)}, "output": wide}
    parts = list(encoded_parts({"tasks": {"A": task, "B": task}, "context": {"w": wide}}))
    assert max(map(len, parts)) < 4 * MEBIBYTE


# -- text that is passed on ------------------------------------------------------------


def cleaned(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return {key: cleaned(entry) for key, entry in value.items() if entry is not None}
    return list(map(cleaned, value)) if isinstance(value, list) else value


@settings(max_examples=examples(100))
@given(values)
def test_a_text_without_nulls_is_that_of_the_value_without_them(value: JsonValue) -> None:
    long: JsonValue = [value, {"x" * 5_000: value, "gone": None}]
    for each in (value, long):
        text = msgspec.Raw(encode_json(each))
        assert text_without_nulls(text) == encode_json(cleaned(each))


@settings(max_examples=examples(100))
@given(st.dictionaries(st.text('a"\\[,é', max_size=3), values))
def test_entries_that_stay_text_are_encoded_as_they_were(value: dict[str, JsonValue]) -> None:
    text = encode_json(value)
    assert encode_json(decode_entries(text)) == text


def test_entries_are_those_of_an_object_that_is_not_too_deep() -> None:
    assert decode_entries(b"[1]") is None
    for wrong in (b"{", b'{"a":nil}', b'{"a":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}"):
        with pytest.raises(ValueError, match=r"JSON|truncated"):
            decode_entries(wrong)
