"""Parsing of resource names: the scheme, and the URL of an HTTP function (spec 4.1).

Used by `gateways/http`, `gateways/registry.py` and `runtime/submission/intake.py`.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import quote, quote_plus, unquote_to_bytes

import yarl

from rillflow.definition.addresses import without_user_info
from rillflow.errors import GatewayError
from rillflow.url_parts import LONGEST_NAME, split_url

HTTP_SCHEMES: Final = ("http", "https")

_PLAIN_PROTOCOLS: Final = frozenset(("", *HTTP_SCHEMES))

_NOT_IN_A_URI: Final = re.compile(r'[\x00-\x20\x7f"<>\\^`{|}]|%(?![0-9A-Fa-f]{2})')
_SHORT: Final = 128
_LONGEST_PLACE: Final = LONGEST_NAME + len(":65535")
_LONGEST_KEPT: Final = 2_048
"""Of longer addresses and names, 4,096 would fill the memory."""
_NOT_PLAIN: Final = re.compile(r"[^A-Za-z0-9._-]")
_NOT_IN_A_FORM: Final = re.compile(r"[^A-Za-z0-9._*-]")
_FORM_CODES: Final = {chr(code): f"%{code:02X}" for code in range(128)} | {" ": "+"}
_PATH_CHARACTERS: Final = "%/:@!$&'()*+,;=-._~[]"


class Target(NamedTuple):
    """An HTTP address, ready to have parameters appended.

    ``origin`` is scheme, host and port; ``query`` is the address's own query, re-encoded, without
    the question mark. ``user_info`` is the part before the ``@``; it is kept apart, so that no
    message with the address contains it.
    """

    origin: str
    path: str
    query: str
    user_info: str = ""

    @property
    def is_async_function(self) -> bool:
        """Whether an OpenFaaS gateway queues the call (spec 9.7)."""
        return "/async-function/" in self.path


def scheme_of(resource_name: str) -> str:
    """Return the text before the first ``://``, empty when there is none."""
    scheme, separator, _ = resource_name.partition("://")
    return scheme if separator else ""


def effective_protocol(resource_name: str, resource_protocol: str | None) -> str:
    """Return the key of the gateway: ``resourceProtocol`` unless blank, else the scheme."""
    if len(resource_name) > _LONGEST_KEPT or len(resource_protocol or "") > _LONGEST_KEPT:
        return _effective_protocol.__wrapped__(resource_name, resource_protocol)
    return _effective_protocol(resource_name, resource_protocol)


@lru_cache(maxsize=4096)
def _effective_protocol(resource_name: str, resource_protocol: str | None) -> str:
    if resource_protocol and resource_protocol.strip():
        return resource_protocol.strip()
    return scheme_of(resource_name)


def http_target(resource_name: str, resource_protocol: str | None = None) -> Target:
    """Read the address of an HTTP function.

    A name without a scheme gets its protocol's. The path stays as written; only
    characters that cannot travel are encoded.

    Raises:
        GatewayError: The protocol is not HTTP, or the name is not a URI.
    """
    if len(resource_name) > _LONGEST_KEPT or (resource_protocol or "") not in _PLAIN_PROTOCOLS:
        return _http_target.__wrapped__(resource_name, resource_protocol)
    return _http_target(resource_name, resource_protocol)


@lru_cache(maxsize=4096)
def _http_target(resource_name: str, resource_protocol: str | None) -> Target:
    protocol = effective_protocol(resource_name, resource_protocol)
    if protocol not in HTTP_SCHEMES:
        raise GatewayError(f"scheme protocol:{protocol} unsupported")
    full = resource_name if scheme_of(resource_name) else f"{protocol}://{resource_name}"
    return parse_http_url(full)


def parse_http_url(url: str) -> Target:
    """Parse an absolute HTTP URL; the fragment is dropped.

    Raises:
        GatewayError: It is not an absolute HTTP URL (30102's text).
    """
    refusal = GatewayError(f"originalUrl value:{without_user_info(url)} not http format")
    if _NOT_IN_A_URI.search(url):
        raise refusal
    try:
        parts = split_url(url)
        user_info, _, place = parts.netloc.rpartition("@")
        if len(place) > _LONGEST_PLACE:
            raise refusal
        origin = str(yarl.URL(f"{parts.scheme}://{place}")).rstrip("/")
    except ValueError:
        raise refusal from None  # the cause may contain the user info
    if parts.scheme not in HTTP_SCHEMES or not parts.hostname:
        raise refusal
    path = quote(parts.path, safe=_PATH_CHARACTERS) or "/"
    return Target(origin, path, _reencode(parts.query), user_info)


def percent_encoded(text: str) -> str:
    """Encode text in UTF-8, all but letters, digits, ``.``, ``-`` and ``_``."""
    if len(text) <= _SHORT and text.isascii():
        return _NOT_PLAIN.sub(_percent, text)  # see _quoted_short
    return quote(text, safe="").replace("~", "%7E")


def form_quote(text: str) -> str:
    """Encode text for a query string or a form: UTF-8, a blank becomes ``+``."""
    # Nearly all are letters and digits, which takes the least time to see.
    if text.isascii() and text.isalnum():
        return text
    # Ids are quoted repeatedly; long texts would only fill the cache.
    return _quoted_short(text) if len(text) <= _SHORT else _quoted(text)


@lru_cache(maxsize=4096)
def _quoted_short(text: str) -> str:
    # An id has one character to encode, and the library looks at all of them. Of a long text
    # with many the library encodes each in less time.
    return _NOT_IN_A_FORM.sub(_form_code, text) if text.isascii() else _quoted(text)


def _quoted(text: str | bytes) -> str:
    return quote_plus(text, safe="*").replace("~", "%7E")


def _percent(found: re.Match[str]) -> str:
    return f"%{ord(found[0]):02X}"


def _form_code(found: re.Match[str]) -> str:
    return _FORM_CODES[found[0]]


def _reencode(query: str) -> str:
    pieces = (piece.partition("=") for piece in query.split("&") if piece)
    return "&".join(
        _requote(name) + separator + _requote(value) for name, separator, value in pieces
    )


def _requote(piece: str) -> str:
    return _quoted(unquote_to_bytes(piece.replace("+", " ")))
