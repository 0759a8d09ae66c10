"""What a mask does for a text depends on its bytes, and not on how many values it has."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rillflow.gateways.secrets.masks import Mask
from rillflow.gateways.secrets.seal_masks import without_seals
from rillflow.jsontypes import JsonValue, decode_json, encode_json
from tests.fuzzing import examples

TOKEN: Final = "Sup3rS3cr3tTok3nValue-9f8e7d"
SEALED: Final = "expires=1764254000&seal=" + "aB3-" * 10 + "_x9"
SECRETS: Final = {"TOKEN": TOKEN, **{f"S{n}": f"0therS3cretOfSomebody-{n}" for n in range(10)}}
MOST_SEARCHES: Final = 4
"""How often each secret is looked for in a body, at most, and once behind each that is found."""


def searches_of(work: Callable[[], object]) -> int:
    """Return how often something has RE2 search a text, from its begin or from what was found."""
    count = 0

    def note(_: FrameType, event: str, function: Any) -> None:
        nonlocal count
        count += event == "c_call" and getattr(function, "__name__", "") == "Match"

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


BODIES: Final[dict[str, Callable[[int], Any]]] = {
    "numbers": lambda count: [TOKEN, *([0] * count)],
    "others": lambda count: [TOKEN, *([None, True, 0.5] * (count // 3))],
    "texts": lambda count: [TOKEN, *(["a"] * count)],
    "keys": lambda count: {TOKEN: 1, **{f"k{n}": None for n in range(count)}},
    "lists": lambda count: [TOKEN, *([[[]]] * count)],
    "the secret": lambda count: [TOKEN] * count,
    "the secret in keys": lambda count: {f"{TOKEN}{n}": {} for n in range(count)},
    "seals": lambda count: [TOKEN, *([SEALED] * count)],
    "words like seals": lambda count: [TOKEN, *(["expires seal"] * count)],
}


@pytest.mark.parametrize("count", [3, 300, 3_000])
@pytest.mark.parametrize("kind", BODIES)
def test_each_secret_is_looked_for_a_few_times_however_many_values_there_are(
    kind: str, count: int
) -> None:
    mask, body = Mask(SECRETS), encode_json(BODIES[kind](count))
    assert b"${secret:TOKEN}" in (mask.body(body) or b"")
    searches = searches_of(lambda: mask.body(body))
    found = body.count(TOKEN.encode()) + body.count(SEALED.encode())
    assert len(SECRETS) <= searches <= MOST_SEARCHES * len(SECRETS) + 2 * found


def opcodes_of(work: Callable[[], object]) -> int:
    """Return how many steps of the interpreter something takes."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("kind", BODIES)
def test_a_value_costs_the_same_however_many_secrets_there_are(kind: str) -> None:
    few, many = Mask({"TOKEN": TOKEN}), Mask(SECRETS)
    small, large = (encode_json(BODIES[kind](count)) for count in (30, 630))

    def of_a_value(mask: Mask) -> float:
        return (opcodes_of(lambda: mask.body(large)) - opcodes_of(lambda: mask.body(small))) / 600

    for mask in (few, many):
        mask.body(large)
    assert of_a_value(many) <= 1.1 * of_a_value(few)


def each_masked(mask: Mask, value: JsonValue) -> JsonValue:
    """Return a value each of whose texts, keys and numbers was masked on its own."""
    if isinstance(value, dict):
        return {mask.text(key): each_masked(mask, member) for key, member in value.items()}
    if isinstance(value, list):
        return [each_masked(mask, element) for element in value]
    if isinstance(value, str):
        return mask.text(value)
    written = encode_json(value).decode()
    masked = mask.text(written)
    return value if masked == written else masked


WORDS: Final = (
    *(TOKEN, TOKEN.upper(), "12345678", "truefalse", "null", "${secret:A}", "${secret:B}"),
    *("secret", "\x00\uffff\U0001f600", "\u00ff\u00ff\u00ff\u00ff", 'a\\u0041"b', SEALED),
)
WRITTEN: Final = st.one_of(
    st.sampled_from(WORDS),
    st.lists(st.sampled_from((*WORDS, "expires", "seal", "=1&", ",", "%20", "")), max_size=4).map(
        "".join
    ),
    st.text(max_size=6),
)
VALUES: Final = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.sampled_from((12345678, 1.2345678e8, -123456789, 1234.5678)),
        WRITTEN,
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(WRITTEN, inner, max_size=5)
    ),
    max_leaves=20,
)


@settings(max_examples=examples(300))
@given(st.lists(st.sampled_from(WORDS[:-1]), max_size=4, unique=True), VALUES)
@example(["truefalse", "null"], {"a": [None, True, False]})
@example([TOKEN], [SEALED[:20], SEALED[20:], TOKEN])
@example([TOKEN, "secret"], {TOKEN: 1, "${secret:S0}": 2, "": TOKEN})
@example(["${secret:S1}", "${secret:S0}"], {"${secret:S1}": 1, "${secret:S0}": 2})
def test_a_body_is_masked_as_each_of_its_values_is(secrets: list[str], value: JsonValue) -> None:
    mask = Mask({f"S{number}": each for number, each in enumerate(secrets)})
    body = encode_json(value)
    masked, sealed = mask.body(body) or b"", without_seals(body)
    expected = each_masked(mask, decode_json(sealed))
    assert masked in (sealed, encode_json(expected))
    if b"seal" not in body:
        assert decode_json(masked) == expected


MANY: Final = {f"S{number}": f"secret-number-{number}" for number in range(150)}


@pytest.mark.parametrize(
    ("secrets", "text", "takes_long"),
    [
        (SECRETS, b"[0,0]" * 3_000, False),
        (SECRETS, TOKEN.encode() + b"[0,0]" * 3_000, True),
        (SECRETS, TOKEN.encode() * 20, False),
        (SECRETS, b"\\u002b" + b"[0,0]" * 3_000, True),
        (SECRETS, b"[0,0]" * 6_000, True),
        (MANY, b"[0,0]" * 400, True),
        (MANY, b"[0,0]" * 300, False),
        ({}, b"\\u002b" + b"[0,0]" * 6_000, False),
    ],
)
def test_what_takes_long_is_known_before_it_is_done(
    secrets: dict[str, str], text: bytes, *, takes_long: bool
) -> None:
    assert Mask(secrets).takes_long(text) is takes_long
