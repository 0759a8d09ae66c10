"""A mask finds a secret however it is written, in time proportional to the text."""

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from rillflow.gateways.secret_masks import SHORTEST_CUT, SHORTEST_MASKED, Mask
from rillflow.jsontypes import JsonValue, decode_json, encode_json
from tests.fuzzing import examples


@settings(max_examples=examples(200))
@given(
    st.text('ab"\\/<é', min_size=4, max_size=8),
    st.lists(st.text('ab"\\/<é', max_size=12), max_size=4),
)
@example('a"b"', ['\\"a\\\\\\"b\\\\\\"'])
def test_a_body_is_masked_as_its_texts_are_however_it_is_escaped(
    secret: str, words: list[str]
) -> None:
    mask = Mask({"S": secret})
    value: list[JsonValue] = [*words, secret, json.dumps(secret), json.dumps(json.dumps(secret))]
    for body in (encode_json(value), json.dumps(value).encode()):
        masked = decode_json(mask.body(body) or b"")
        assert masked == [mask.text(str(word)) for word in value]


@settings(max_examples=examples(200))
@given(st.text("ab", min_size=5, max_size=40), st.text("ab", max_size=40))
@example("abababab", "abababa")
def test_a_message_loses_as_much_of_a_secret_as_its_end_has(secret: str, end: str) -> None:
    text = "." * SHORTEST_CUT + end
    begun = [n for n in range(SHORTEST_MASKED, len(secret)) if text.endswith(secret[:n])]
    expected = text[: -begun[-1]] + "${secret:S}" if begun else text
    if secret not in text:
        assert Mask({"S": secret}).message(text) == expected
