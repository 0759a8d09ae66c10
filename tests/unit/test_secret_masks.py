"""A mask finds a secret however it is written, in time proportional to the text."""

import base64
import html
import html.entities
import json
import unicodedata
from typing import Literal
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rillflow.gateways.secrets.masks import Mask
from rillflow.jsontypes import JsonObject, JsonValue, decode_json, encode_json
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


def escapes_of(characters: str) -> str:
    units = characters.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02X}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def spelled(character: str, way: int) -> str:
    """Write a character in one of the ways that are known."""
    code, in_utf8 = ord(character), character.encode()
    return (
        character,
        "".join(f"%{byte:02X}" for byte in in_utf8),
        "".join(f"%{byte:02x}" for byte in in_utf8),
        "".join(f"%25{byte:02x}" for byte in in_utf8),
        escapes_of(character),
        f"&#{code};",
        f"&#x{code:X};",
        html.escape(character),
        character.upper(),
        escapes_of(character.upper()),
        f"\\U{code:08X}",
        f"\\u{{{code:x}}}",
        entity_of(character),
        "".join(f"={byte:02X}" for byte in in_utf8),
    )[way]


def entity_of(character: str) -> str:
    """Return an HTML entity of a character, or itself."""
    named = [name for name, each in html.entities.html5.items() if each == character]
    return f"&{max(named)}" if named and max(named).endswith(";") else character


@settings(max_examples=examples(200))
@given(
    st.text("aZ9+/ &<'é\U0001f600-._", min_size=4, max_size=20),
    st.lists(st.integers(0, 13), min_size=20, max_size=20),
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


@settings(max_examples=examples(200))
@given(st.binary(max_size=7), st.text(min_size=6, max_size=20), st.binary(max_size=7))
@example(b"user:", "s3cr3t", b"")
@example(b"a", "s3cr3t", b"b")
@example(b"ab", "s3cr3t7", b"cd")
def test_no_character_with_bits_of_a_secret_is_left_of_its_base64_or_base32(
    before: bytes, secret: str, after: bytes
) -> None:
    mask = Mask({"S": secret})
    value = secret.encode()
    for encode, bits in ((base64.b64encode, 6), (base64.b32encode, 5)):
        encoded = encode(before + value + after).decode()
        first, end = len(before) * 8 // bits, -(-(len(before) + len(value)) * 8 // bits)
        if end - first < 10:
            continue  # so short that it may not be looked for
        for written in (encoded, encoded.lower() if bits == 5 else encoded):
            shown = mask.text(written)
            assert shown.startswith(written[:first] + "${secret:S}")
            assert shown.endswith("${secret:S}" + written[end:])


@settings(max_examples=examples(200))
@given(st.binary(max_size=7), st.text(min_size=4, max_size=20), st.binary(max_size=7))
def test_a_secret_is_found_in_hexadecimal_digits(before: bytes, secret: str, after: bytes) -> None:
    mask = Mask({"S": secret})
    for between in ("", ":", " ", "-"):
        first, value, last = (
            each.hex(between) if between else each.hex()
            for each in (before, secret.encode(), after)
        )
        assert "${secret:S}" in mask.text(first + between + value + between + last)
        assert "${secret:S}" in mask.text((first + between + value + between + last).upper())
    for listed in (", 0x", ",0x", "\\x"):
        assert "${secret:S}" in mask.text(
            (before + secret.encode() + after).hex("_").replace("_", listed)
        )


@pytest.mark.parametrize("secret", ["Bücher-é-ñandú", unicodedata.normalize("NFD", "clé d'accès")])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_secret_is_found_in_both_normal_forms_of_unicode(
    secret: str, form: Literal["NFC", "NFD"]
) -> None:
    mask = Mask({"S": secret})
    given_back = unicodedata.normalize(form, secret)
    assert mask.text(f"<{given_back}>") == "<${secret:S}>"
    assert mask.text(f"<{quote(given_back)}>") == "<${secret:S}>"
    assert mask.text(f"<{json.dumps(given_back)[1:-1]}>") == "<${secret:S}>"
    assert mask.text(f"<{given_back.encode().hex()}>") == "<${secret:S}>"
    assert mask.text(base64.b64encode(given_back.encode()).decode().strip("=")) == "${secret:S}"


def test_a_secret_is_found_percent_encoded_as_latin_1_and_as_the_text_of_bytes() -> None:
    secret = "clé d'accès"
    mask = Mask({"S": secret})
    for written in (
        quote(secret, encoding="latin-1"),
        quote(quote(secret, encoding="latin-1")),
        repr(secret.encode())[2:-1],
        "".join(f"\\{byte:03o}" for byte in secret.encode()),
        repr(repr(secret.encode()))[3:-2],
    ):
        assert mask.text(f"<{written}>") == "<${secret:S}>"


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


def test_a_secret_is_found_in_base64_of_its_latin_1_bytes() -> None:
    secret = "clé d'accès à tout"
    for before in ("", "a", "user:"):
        encoded = base64.b64encode((before + secret).encode("latin-1")).decode()
        assert "${secret:S}" in Mask({"S": secret}).text(encoded)


@pytest.mark.parametrize("width", [7, 61, 64])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\n ", "\n\t", "\n    "])
def test_a_secret_is_found_in_base64_that_is_written_in_lines(width: int, end: str) -> None:
    mask = Mask({"S": "sk-proj-a7f3k9q2mzx8"})
    encoded = base64.b64encode(b"a user of some length, who has:sk-proj-a7f3k9q2mzx8").decode()
    lines = end.join(encoded[at : at + width] for at in range(0, len(encoded), width))
    assert "${secret:S}" in mask.text(lines)
    assert "${secret:S}" in mask.text(quote(lines, safe=""))
    assert "${secret:S}" in mask.text(json.dumps(json.dumps(lines)))
    body = decode_json(mask.body(encode_json({"given": lines})) or b"")
    assert "${secret:S}" in str(body)


def address_with(seal_: str) -> str:
    return (
        "http://host:8080/flow/trigger.json?attempt=1&execution_id=shop%3Aorder_c_1"
        f"&expires=1764254000&seal={seal_}&task_name=A&ts=1764254000000"
    )


SEAL = "aB3-" * 10 + "_x9"


@pytest.mark.parametrize("secrets", [{}, {"S": "sk-proj-a7f3k9q2mzx8"}])
def test_the_seal_of_a_callback_address_that_is_repeated_is_hidden(secrets: dict[str, str]) -> None:
    mask, address = Mask(secrets), address_with(SEAL)
    ways = (
        address,
        quote(address, safe=""),
        quote(quote(address, safe=""), safe=""),
        html.escape(address),
        address.replace("=", "\\u003d").replace("&", "\\u0026"),
    )
    for written in ways:
        assert SEAL not in mask.text(written)
        assert "***" in mask.text(written)
        body = mask.body(encode_json({"headers": {"X-Callback-Url": written}})) or b""
        assert SEAL.encode() not in body
        assert decode_json(body)
    assert mask.text(address) == address_with("***")


def test_the_seal_in_the_fields_of_an_address_is_hidden() -> None:
    fields: JsonObject = {"attempt": "1", "expires": "1764254000", "seal": SEAL, "task_name": "A"}
    lists: JsonObject = {"expires": ["1764254000"], "seal": [SEAL]}
    for given_fields in (fields, lists):
        body = json.dumps({"args": given_fields}, indent=4)
        for written in (body, json.dumps(body), quote(body), html.escape(body)):
            assert SEAL not in Mask({}).text(written), written
        shown = decode_json(Mask({}).body(body.encode()) or b"")
        assert shown == {
            "args": {**given_fields, "seal": "***" if given_fields is fields else ["***"]}
        }


@pytest.mark.parametrize(
    "text", ["seal=x", f"seal={SEAL}", f"the seal of expires=1&seal={SEAL[:42]}", "&seal="]
)
def test_what_is_no_address_with_a_seal_stays(text: str) -> None:
    assert Mask({}).text(text) == text


@pytest.mark.parametrize("secret", ["pw>>~>>?key>", "a+b/c=d<e>&f", "\u00ff\u00fe secret"])
def test_base64_is_masked_where_json_escapes_its_characters(secret: str) -> None:
    mask = Mask({"TOKEN": secret})
    for lead in ("", "u", "us", "user:"):
        shown = base64.b64encode(f"{lead}{secret}".encode()).decode()
        escaped = "".join(each if each.isalnum() else f"\\u{ord(each):04X}" for each in shown)
        everything = "".join(f"\\u{ord(each):04x}" for each in shown)
        lines = f"{shown[:6]}\\u000a{shown[6:]}"
        for text in (shown, escaped, everything, lines):
            masked = mask.body(f'{{"auth":"Basic {text}"}}'.encode())
            assert masked is not None
            assert b"${secret:TOKEN}" in masked, text
        assert "${secret:TOKEN}" in mask.text(escaped)
