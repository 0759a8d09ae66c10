"""A webhook believes who has its secret and has signed the very bytes of the body just now."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rillflow.triggers.signatures import (
    LONGEST_SIGNATURE,
    Headers,
    Received,
    Signature,
    SignatureError,
    SignatureKind,
    check_signature,
    refuse_unsigned,
)
from tests.fuzzing import examples

NOW_MS: Final = 1_780_000_000_000
NOW_S: Final = NOW_MS // 1000
WINDOW_S: Final = 300
SECRET: Final = "a secret of our own: ß"
BODY: Final = b'{"order": 7, "note": "\xc3\x9f"}'

GITHUB: Final = Signature(scheme=SignatureKind.GITHUB, secret="${secret:HOOK}")
STRIPE: Final = Signature(scheme=SignatureKind.STRIPE, secret="${secret:HOOK}")
SLACK: Final = Signature(scheme=SignatureKind.SLACK, secret="${secret:HOOK}")
TOKEN: Final = Signature(
    scheme=SignatureKind.TOKEN, secret="${secret:HOOK}", header="x-gitlab-token"
)
BEARER: Final = Signature(
    scheme=SignatureKind.TOKEN, secret="${secret:HOOK}", header="authorization", prefix="Bearer "
)
PLAIN: Final = Signature(scheme=SignatureKind.HMAC, secret="${secret:HOOK}", header="x-signature")
TIMED: Final = Signature(
    scheme=SignatureKind.HMAC,
    secret="${secret:HOOK}",
    header="x-signature",
    prefix="v1,",
    algorithm="sha512",
    encoding="base64",
    timestamp_header="x-time",
)
NONE: Final = Signature(scheme=SignatureKind.NONE)
ALL: Final = (GITHUB, STRIPE, SLACK, TOKEN, BEARER, PLAIN, TIMED)
TIMES: Final = (STRIPE, SLACK, TIMED)


def mac(text: bytes, algorithm: str = "sha256", secret: str = SECRET) -> bytes:
    return hmac.new(secret.encode(), text, getattr(hashlib, algorithm)).digest()


def signed(
    signature: Signature, body: bytes = BODY, at_s: int = NOW_S, secret: str = SECRET
) -> dict[str, list[str]]:
    """Return the headers of a request as its sender signs it."""
    at = str(at_s).encode()
    whole = mac(body, secret=secret).hex()
    timed = mac(at + b"." + body, secret=secret).hex()
    slack = mac(b"v0:" + at + b":" + body, secret=secret).hex()
    sha512 = base64.b64encode(mac(at + b"." + body, "sha512", secret)).decode()
    if signature is TIMED:
        return {"x-signature": [f"v1,{sha512}"], "x-time": [str(at_s)]}
    headers = {
        SignatureKind.GITHUB: {"x-hub-signature-256": [f"sha256={whole}"]},
        SignatureKind.STRIPE: {"stripe-signature": [f"t={at_s},v1={'0' * 64},v1={timed},v0=abc"]},
        SignatureKind.SLACK: {
            "x-slack-signature": [f"v0={slack}"],
            "x-slack-request-timestamp": [str(at_s)],
        },
        SignatureKind.TOKEN: {
            signature.header: [f"{signature.prefix}{secret.encode().decode('latin-1')}"]
        },
        SignatureKind.HMAC: {"x-signature": [whole]},
        SignatureKind.NONE: {},
    }
    return headers[signature.scheme]


def check(signature: Signature, headers: Headers, body: bytes = BODY, secret: str = SECRET) -> None:
    received = Received(headers, body)
    check_signature(signature, received, secret, now_ms=NOW_MS, window_s=WINDOW_S)


# Made with `printf %s "$TEXT" | openssl dgst -sha256 -hmac "$SECRET"`, and in Base64 for SHA-512.
OF_GITHUB: Final = "902cb78523f444d609ffd493792ef8dffab822e0e75dee82036460132a8fe3f9"
OF_STRIPE: Final = "4ce9f7612f5f17c8abeb9e42b381ac3925443c8a7079448b723b371165997627"
OF_SLACK: Final = "327744dc6b9c79e611c06f292b8f833ea4d0a540435fa2eec179464e1f606d20"
OF_TIMED: Final = (
    "ZpvKNFnpmUI0qshLBDgEIJUUi09oP4iyTZkMRiBAZvahDPL5DaXURFK4YdC31IF5DVzJEHVXRRGNRA2XjnyT1w=="
)


def test_signatures_that_another_program_has_made_are_accepted() -> None:
    check(GITHUB, {"x-hub-signature-256": [f"sha256={OF_GITHUB}"]})
    check(PLAIN, {"x-signature": [OF_GITHUB.upper()]})
    check(STRIPE, {"stripe-signature": [f"t=1780000000, v1={OF_STRIPE}"]})
    at = {"x-slack-request-timestamp": ["1780000000"]}
    check(SLACK, {"x-slack-signature": [f"v0={OF_SLACK}"], **at})
    check(TIMED, {"x-signature": [f"v1,{OF_TIMED}"], "x-time": ["1780000000"]})


@pytest.mark.parametrize("signature", [*ALL, NONE])
def test_what_its_sender_has_signed_is_accepted(signature: Signature) -> None:
    refuse_unsigned(signature, signed(signature))
    check(signature, signed(signature))
    check(signature, signed(signature, b""), b"")


@pytest.mark.parametrize("signature", ALL)
def test_another_secret_is_refused_without_being_told(signature: Signature) -> None:
    with pytest.raises(SignatureError, match="does not match") as refused:
        check(signature, signed(signature, secret="another"))
    assert SECRET not in str(refused.value)
    assert refused.value.http_status == 401


@pytest.mark.parametrize("signature", [GITHUB, STRIPE, SLACK, PLAIN, TIMED])
def test_a_signature_is_for_the_very_bytes_of_a_body(signature: Signature) -> None:
    for other in (BODY + b" ", BODY[:-1], BODY.replace(b"7", b"8"), b""):
        with pytest.raises(SignatureError, match="does not match"):
            check(signature, signed(signature), other)


@pytest.mark.parametrize("signature", TIMES)
def test_a_time_that_is_signed_counts_within_the_window_and_no_longer(signature: Signature) -> None:
    for off_s in (-WINDOW_S, 0, WINDOW_S):
        check(signature, signed(signature, at_s=NOW_S + off_s))
    with pytest.raises(SignatureError, match="301 s ago, and up to 300 s count"):
        check(signature, signed(signature, at_s=NOW_S - WINDOW_S - 1))
    with pytest.raises(SignatureError, match="301 s in the future"):
        check(signature, signed(signature, at_s=NOW_S + WINDOW_S + 1))


@pytest.mark.parametrize("signature", TIMES)
def test_only_who_has_the_secret_learns_that_a_clock_is_wrong(signature: Signature) -> None:
    with pytest.raises(SignatureError, match="does not match"):
        check(signature, signed(signature, at_s=NOW_S - 9_000, secret="another"))


@pytest.mark.parametrize("signature", ALL)
def test_a_header_that_is_missing_or_there_twice_is_refused_before_the_body(
    signature: Signature,
) -> None:
    for name in signature.header_names:
        headers = signed(signature)
        for values in ([], headers[name] * 2):
            with pytest.raises(SignatureError, match=name):
                refuse_unsigned(signature, headers | {name: values})
        with pytest.raises(SignatureError, match="too long"):
            refuse_unsigned(signature, headers | {name: ["x" * (LONGEST_SIGNATURE + 1)]})


@pytest.mark.parametrize(
    ("signature", "changes"),
    [
        (GITHUB, {"x-hub-signature-256": ["sha1=00"]}),
        (GITHUB, {"x-hub-signature-256": ["sha256="]}),
        (GITHUB, {"x-hub-signature-256": ["sha256=" + "ß" * 64]}),
        (STRIPE, {"stripe-signature": ["v1=00"]}),
        (STRIPE, {"stripe-signature": ["t=1,t=1,v1=00"]}),
        (STRIPE, {"stripe-signature": ["t=,v1=00"]}),
        (STRIPE, {"stripe-signature": ["t=-5,v1=00"]}),
        (STRIPE, {"stripe-signature": ["t=\u0661,v1=00"]}),
        (STRIPE, {"stripe-signature": ["t=1e9,v1=00"]}),
        (STRIPE, {"stripe-signature": ["t=" + "9" * 400 + ",v1=00"]}),
        (STRIPE, {"stripe-signature": ["," * 2_000]}),
        (SLACK, {"x-slack-request-timestamp": ["now"]}),
        (SLACK, {"x-slack-signature": ["v1=00"]}),
        (TIMED, {"x-time": [""]}),
        (TIMED, {"x-signature": ["v1,====="]}),
        (TOKEN, {"x-gitlab-token": [""]}),
        (BEARER, {"authorization": ["bearer"]}),
    ],
)
def test_a_malformed_signature_is_a_wrong_one(
    signature: Signature, changes: Mapping[str, list[str]]
) -> None:
    with pytest.raises(SignatureError):
        check(signature, signed(signature) | dict(changes))


@settings(max_examples=examples(200))
@given(st.sampled_from(ALL), st.text(max_size=100), st.text(max_size=20), st.binary(max_size=50))
def test_no_text_is_taken_for_a_signature(
    signature: Signature, text: str, at: str, body: bytes
) -> None:
    names = signature.header_names
    headers = {name: [at if "time" in name else text] for name in names}
    with pytest.raises(SignatureError):
        check(signature, headers, body)


def test_a_secret_of_any_characters_signs() -> None:
    for secret in ("x", "\ud800", "a" * 10_000):
        right = hmac.new(secret.encode("utf-8", "surrogatepass"), BODY, hashlib.sha256).hexdigest()
        check(GITHUB, {"x-hub-signature-256": [f"sha256={right}"]}, secret=secret)


@pytest.mark.parametrize(
    "untimed",
    [
        Signature(scheme=SignatureKind.GITHUB, secret="${secret:S}"),
        Signature(scheme=SignatureKind.HMAC, secret="${secret:S}", header="x-signature"),
    ],
)
@pytest.mark.parametrize("front", [b"1700000000.", b"v0:1700000000:"])
def test_the_signature_of_a_time_and_a_body_is_none_of_a_body_that_has_both(
    untimed: Signature, front: bytes
) -> None:
    """Two webhooks may share a secret; the one that signs no time would take it at any time."""
    [header] = untimed.header_names
    prefix = "sha256=" if untimed.scheme is SignatureKind.GITHUB else ""
    for body, is_accepted in ((front + b'{"a":1}', False), (b'{"a":1}', True), (b"17.5", True)):
        mac = hmac.new(b"secret", body, hashlib.sha256).hexdigest()
        received = Received({header: [f"{prefix}{mac}"]}, body)
        for shown in (received, received._replace(headers={header: [prefix]})):
            if is_accepted and shown is received:
                check_signature(untimed, shown, "secret", now_ms=0, window_s=300)
            else:
                with pytest.raises(SignatureError, match="does not match"):
                    check_signature(untimed, shown, "secret", now_ms=0, window_s=300)
