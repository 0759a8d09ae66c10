"""The head of a request: its first line and its headers, as bytes."""

from base64 import b64encode
from functools import lru_cache
from typing import NamedTuple

import yarl

from rillflow.errors import GatewayError
from rillflow.gateways.requests import FAILS, HttpCall


class Origin(NamedTuple):
    """What an origin's text says: whom to connect to, and what to say to them.

    ``authority`` is the value of ``Host``, ``credentials`` that of ``Authorization``,
    empty when the address has none.
    """

    is_tls: bool
    host: str
    port: int
    authority: str
    credentials: str


@lru_cache(maxsize=4096)
def origin_of(text: str) -> Origin:
    """Read scheme, host and port.

    Raises:
        GatewayError: There is no host in it.
    """
    url = yarl.URL(text, encoded=True)
    if not url.raw_host or url.port is None:
        raise GatewayError("the address has no host")
    credentials = ""
    if url.user is not None or url.password is not None:
        pair = f"{url.user or ''}:{url.password or ''}".encode()
        credentials = f"Basic {b64encode(pair).decode()}"
    authority = url.host_port_subcomponent or url.raw_host
    return Origin(url.scheme == "https", url.raw_host, url.port, authority, credentials)


def request_head(call: HttpCall, origin: str) -> bytes:
    """Write the head of a request, with the empty line.

    ``Host`` and ``Authorization`` come from the address unless the call has its own.

    Raises:
        GatewayError: The address has no host, or something in the head would end a line.
    """
    place = origin_of(origin)
    lines = [f"{name}: {value}" for name, value in call.headers]
    names = {name.lower() for name, _ in call.headers}
    if "host" not in names:
        lines.append(f"Host: {place.authority}")
    if place.credentials and "authorization" not in names:
        lines.append(f"Authorization: {place.credentials}")
    if call.body is not None:
        lines.append(f"Content-Length: {len(call.body)}")
    target = call.url[len(origin) :]
    text = "\r\n".join((f"{call.method} {target} HTTP/1.1", *lines, "\r\n"))
    breaks = len(lines) + 2
    if text.count("\n") != breaks or text.count("\r") != breaks or "\0" in text or " " in target:
        raise GatewayError(f"{FAILS}a line break in the request's head")
    return text.encode()
