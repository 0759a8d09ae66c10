"""The signatures of webhooks: whether whoever sent a request has the secret (ours).

A signature covers the bytes of the body, as they came. With a time in it, it also says when the
request was signed. Secrets are compared in constant time, and no refusal repeats one.

Used by `triggers/webhooks.py` and `runtime/triggers/webhooks/deliveries.py`.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

import msgspec

from rillflow.errors import RequestError
from rillflow.language.mapping.secret_references import secret_name

Headers: TypeAlias = Mapping[str, Sequence[str]]
"""The values of each header, a character for each byte, by its name in lower case."""

ALGORITHMS: Final = ("sha256", "sha512", "sha384", "sha1")
ENCODINGS: Final = ("hex", "base64")
GITHUB_HEADER: Final = "x-hub-signature-256"
STRIPE_HEADER: Final = "stripe-signature"
SLACK_HEADER: Final = "x-slack-signature"
SLACK_TIME_HEADER: Final = "x-slack-request-timestamp"
LONGEST_SIGNATURE: Final = 4_096
_MOST_OF_STRIPE: Final = 16
_LONGEST_TIME: Final = 12
_TIMED: Final = re.compile(rb"(?:v0:)?[0-9]{9,12}[.:]")
"""How the text begins that is signed where a time is: never a body where none is."""


class SignatureError(RequestError):
    """The signature of a request to a webhook is missing, wrong or too old."""

    code = "request.signature"
    wire_code, http_status = 30108, 401


class SignatureKind(StrEnum):
    """How the requests to a webhook are signed."""

    GITHUB = "github"
    STRIPE = "stripe"
    SLACK = "slack"
    HMAC = "hmac"
    TOKEN = "token"  # noqa: S105 - a word of the language
    NONE = "none"


class Signature(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a webhook asks its senders for.

    Attributes:
        scheme: How requests are signed; in settings, ``signature``.
        secret: The reference to the secret; empty without a signature.
        header: The header with the signature or the token, in lower case.
        prefix: What stands before the signature or the token in it.
        algorithm: The hash function of ``hmac``.
        encoding: How ``hmac`` writes the signature.
        timestamp_header: The header with the time that ``hmac`` signs before the body, as
            ``<seconds>.<body>``; empty if it signs the body only.
    """

    scheme: SignatureKind = msgspec.field(name="signature")
    secret: str = ""
    header: str = ""
    prefix: str = ""
    algorithm: str = "sha256"
    encoding: str = "hex"
    timestamp_header: str = ""

    @property
    def secret_name(self) -> str:
        """The name of the secret; empty without a signature."""
        return secret_name(self.secret) or ""

    @property
    def header_names(self) -> tuple[str, ...]:
        """The headers that the scheme reads; they may hold a secret."""
        match self.scheme:
            case SignatureKind.GITHUB:
                return (GITHUB_HEADER,)
            case SignatureKind.STRIPE:
                return (STRIPE_HEADER,)
            case SignatureKind.SLACK:
                return SLACK_HEADER, SLACK_TIME_HEADER
            case SignatureKind.HMAC | SignatureKind.TOKEN:
                return tuple(filter(None, (self.header, self.timestamp_header)))
            case SignatureKind.NONE:
                return ()


def refuse_unsigned(signature: Signature, headers: Headers) -> None:
    """Refuse a request that lacks a header of its signature, before its body is read.

    Raises:
        SignatureError: A header is missing, there more than once, or too long.
    """
    for name in signature.header_names:
        values = headers.get(name, ())
        if len(values) != 1:
            how = "is there more than once" if values else "is missing"
            raise SignatureError(f"the header {name} {how}")
        if len(values[0]) > LONGEST_SIGNATURE:
            raise SignatureError(f"the header {name} is too long")


class Received(NamedTuple):
    """A request to a webhook: its headers, and the bytes of its body."""

    headers: Headers
    body: bytes


def check_signature(
    signature: Signature, received: Received, secret: str, *, now_ms: int, window_s: int
) -> None:
    """Check that whoever sent a request has the secret, and has signed it just now.

    The time counts once the signature is right, so only a sender learns that its clock is wrong.

    Args:
        signature: What the webhook asks for.
        received: The request.
        secret: The value of the secret.
        now_ms: The time, in milliseconds since the epoch.
        window_s: How many seconds a time that is signed may be off, before or after.

    Raises:
        SignatureError: The signature is missing, wrong, or too old.
    """
    refuse_unsigned(signature, received.headers)
    check = _CHECKS.get(signature.scheme)
    if check is None:
        return
    at = check(signature, received, secret.encode("utf-8", "surrogatepass"))
    if at:
        _check_time(at, now_ms, window_s)


def _check_token(signature: Signature, received: Received, key: bytes) -> str:
    shown = _after(received, signature.header, signature.prefix)
    # Hashes have one length, so the comparison does not tell that of the secret.
    given = hashlib.sha256(shown.encode("latin-1", "replace")).digest()
    _compare([given], hashlib.sha256(key).digest(), signature.header)
    return ""


def _check_github(_: Signature, received: Received, key: bytes) -> str:
    shown = _after(received, GITHUB_HEADER, "sha256=")
    _compare([_of_hex(shown)], _mac_of_body(key, received.body), GITHUB_HEADER)
    return ""


def _check_stripe(_: Signature, received: Received, key: bytes) -> str:
    text = received.headers[STRIPE_HEADER][0]
    parts = [part.strip().partition("=") for part in text.split(",", _MOST_OF_STRIPE)]
    times = [value for name, _, value in parts if name == "t"]
    shown = [value for name, _, value in parts if name == "v1"]
    if len(times) != 1 or not shown:
        raise SignatureError(f"the header {STRIPE_HEADER} has no form t=...,v1=...")
    at = _time(times[0], STRIPE_HEADER)
    wanted = _mac(key, b"%b.%b" % (at.encode(), received.body))
    _compare([_of_hex(each) for each in shown], wanted, STRIPE_HEADER)
    return at


def _check_slack(_: Signature, received: Received, key: bytes) -> str:
    at = _time(received.headers[SLACK_TIME_HEADER][0].strip(), SLACK_TIME_HEADER)
    shown = _after(received, SLACK_HEADER, "v0=")
    wanted = _mac(key, b"v0:%b:%b" % (at.encode(), received.body))
    _compare([_of_hex(shown)], wanted, SLACK_HEADER)
    return at


def _check_hmac(signature: Signature, received: Received, key: bytes) -> str:
    at, name = "", signature.timestamp_header
    if name:
        at = _time(received.headers[name][0].strip(), name)
    shown = _after(received, signature.header, signature.prefix)
    given = _of_hex(shown) if signature.encoding == "hex" else _of_base64(shown)
    if at:
        wanted = _mac(key, b"%b.%b" % (at.encode(), received.body), signature.algorithm)
    else:
        wanted = _mac_of_body(key, received.body, signature.algorithm)
    _compare([given], wanted, signature.header)
    return at


_Check: TypeAlias = Callable[[Signature, Received, bytes], str]
"""Returns the time that was signed, empty if none was."""

_CHECKS: Final[Mapping[SignatureKind, _Check]] = {
    SignatureKind.TOKEN: _check_token,
    SignatureKind.GITHUB: _check_github,
    SignatureKind.STRIPE: _check_stripe,
    SignatureKind.SLACK: _check_slack,
    SignatureKind.HMAC: _check_hmac,
}


def _mac_of_body(key: bytes, body: bytes, algorithm: str = "sha256") -> bytes:
    """Sign a body without a time, unless it could be a body with its time.

    Webhooks may share a secret, and who has seen the signature of a time and a body could send the
    two as the body of a webhook that asks for no time, at any time.
    """
    return b"" if _TIMED.match(body) else _mac(key, body, algorithm)


def _mac(key: bytes, text: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.digest(key, text, algorithm)


def _compare(given: Sequence[bytes], wanted: bytes, header: str) -> None:
    """Compare each signature that was given, all of them, in constant time."""
    matches = [hmac.compare_digest(each, wanted) for each in given]
    if not wanted or not any(matches):
        raise SignatureError(f"the signature in {header} does not match")


def _after(received: Received, header: str, prefix: str) -> str:
    shown = received.headers[header][0].strip()
    if not shown.startswith(prefix):
        raise SignatureError(f"the signature in {header} does not match")
    return shown[len(prefix) :].strip()


def _of_hex(text: str) -> bytes:
    """Decode a signature; what is none is one that nothing has."""
    try:
        return binascii.unhexlify(text.encode())
    except (ValueError, UnicodeError):
        return b""


def _of_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode(), validate=True)
    except (ValueError, UnicodeError):
        return b""


def _time(text: str, header: str) -> str:
    if not (text.isascii() and text.isdecimal() and len(text) <= _LONGEST_TIME):
        raise SignatureError(f"the time in {header} is no number of seconds since 1970")
    return text


def _check_time(text: str, now_ms: int, window_s: int) -> None:
    off_s = now_ms / 1000 - int(text)
    if abs(off_s) > window_s:
        how = "ago" if off_s > 0 else "in the future"
        raise SignatureError(
            f"the request was signed {abs(off_s):.0f} s {how}, and up to {window_s} s count",
            hint="a request that was sent once does not count later; or a clock is wrong",
        )
