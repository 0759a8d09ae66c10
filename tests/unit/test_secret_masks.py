"""A mask finds a secret however it is written, in time proportional to the text."""

import base64
import html
import json
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rillflow.gateways.secrets.masks import Mask
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


def spelled(character: str, way: int) -> str:
    """Write a character in one of the ways that are known."""
    code, in_utf8 = ord(character), character.encode()
    units = character.encode("utf-16-be")
    escapes = "".join(f"\\u{units[at]:02X}{units[at + 1]:02x}" for at in range(0, len(units), 2))
    return (
        character,
        "".join(f"%{byte:02X}" for byte in in_utf8),
        "".join(f"%{byte:02x}" for byte in in_utf8),
        "".join(f"%25{byte:02x}" for byte in in_utf8),
        escapes,
        f"&#{code};",
        f"&#x{code:X};",
        html.escape(character),
        character.upper(),
    )[way]


@settings(max_examples=examples(200))
@given(
    st.text("aZ9+/ &<'é\U0001f600-._", min_size=4, max_size=20),
    st.lists(st.integers(0, 8), min_size=20, max_size=20),
)
def test_a_secret_is_found_whatever_way_each_of_its_characters_is_written(
    secret: str, ways: list[int]
) -> None:
    written = "".join(spelled(each, way) for each, way in zip(secret, ways, strict=False))
    assert Mask({"S": secret}).text(f"<{written}>") == "<${secret:S}>"


@settings(max_examples=examples(200))
@given(st.binary(max_size=7), st.text(min_size=6, max_size=20), st.binary(max_size=7))
@example(b"user:", "s3cr3t", b"")
def test_a_secret_is_found_in_base64_whatever_stands_around_it(
    before: bytes, secret: str, after: bytes
) -> None:
    mask = Mask({"S": secret})
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = encode(before + secret.encode() + after).decode()
        assert "${secret:S}" in mask.text(encoded)
        assert "${secret:S}" in mask.text(quote(encoded, safe=""))


def test_the_name_of_a_host_is_masked_as_it_is_looked_up() -> None:
    mask = Mask({"S": "Bücher-Tenant"})
    shown = mask.text("cannot connect to xn--bcher-tenant-dlb.example.org")
    assert shown == "cannot connect to ${secret:S}.example.org"
    assert Mask({"S": "TenantX1"}).text("http://tenantx1.example.org") == (
        "http://${secret:S}.example.org"
    )


def test_long_secrets_are_found_in_their_usual_spellings() -> None:
    secret = "-----BEGIN KEY-----\n" + "aB+/" * 1_000
    mask = Mask({"S": secret})
    for written in (secret, json.dumps(secret)[1:-1], quote(secret, safe=""), secret.upper()):
        assert mask.text(f"<{written}>") == "<${secret:S}>"


@pytest.mark.parametrize("end", ["", "s", "sk-proj", "sk-proj-a7f3k9q2mzx"])
def test_the_end_of_a_message_tells_nothing_of_how_a_secret_begins(end: str) -> None:
    text = "x" * 600 + end
    assert Mask({"S": "sk-proj-a7f3k9q2mzx8"}).message(text) == text
