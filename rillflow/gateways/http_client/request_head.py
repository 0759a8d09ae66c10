"""The head of a request: request line and headers, as bytes.

Used by `gateways/http_client` and `gateways/secrets`.
"""

from base64 import b64encode
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import yarl

from rillflow.errors import GatewayError
from rillflow.gateways.outbound.exchange import FAILS, HttpCall


class Origin(NamedTuple):
    """The parts of an origin: where to connect, and its ``Host``.

    ``authority`` is the value of ``Host``.
    """

    is_tls: bool
    host: str
    port: int
    authority: str


@lru_cache(maxsize=4096)
def origin_of(text: str) -> Origin:
    """Parse scheme, host and port.

    Raises:
        GatewayError: It has no host.
    """
    url = yarl.URL(text, encoded=True)
    if not url.raw_host or url.port is None:
        raise GatewayError("the address has no host")
    authority = url.host_port_subcomponent or url.raw_host
    return Origin(url.scheme == "https", url.raw_host, url.port, authority)


def basic_credentials(user_info: str) -> str:
    """Return the value of ``Authorization`` for the user info of an address."""
    user, _, password = user_info.partition(":")
    pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    return f"Basic {b64encode(pair).decode()}"


def request_head(call: HttpCall, origin: str) -> bytes:
    """Write the head of a request, with the empty line.

    ``Host`` and ``Authorization`` come from the address unless the call has its own.

    Raises:
        GatewayError: The address has no host, or the head would contain a line break.
    """
    place, headers = origin_of(origin), call.headers
    target = call.url[len(origin) :]
    text = f"{call.method} {target} HTTP/1.1\r\n"
    text += "".join([f"{name}: {value}\r\n" for name, value in headers])
    lines = len(headers) + 2
    given = text.lower()
    if "\nhost:" not in given:
        text += f"Host: {place.authority}\r\n"
        lines += 1
    if call.user_info and "\nauthorization:" not in given:
        text += f"Authorization: {basic_credentials(call.user_info)}\r\n"
        lines += 1
    if call.body is not None:
        text += f"Content-Length: {len(call.body)}\r\n"
        lines += 1
    text += "\r\n"
    if text.count("\n") != lines or text.count("\r") != lines or "\0" in text or " " in target:
        raise GatewayError(f"{FAILS}a line break in the request's head")
    return text.encode()
