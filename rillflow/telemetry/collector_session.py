"""The HTTP session of the exporter of spans: no answer of a collector takes more than its bounds.

The exporter needs the status and ``Retry-After`` of an answer only. Without these bounds its
session reads the whole answer, unpacks it and keeps its cookies, however large they are, and waits
anew for each byte.

Used by `telemetry/collector.py`. It imports ``requests``, so it is imported when a process begins
to export.
"""

import io
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from http.client import HTTPException, HTTPResponse
from http.cookiejar import Cookie, DefaultCookiePolicy
from importlib.metadata import entry_points
from typing import Any, Final, TypeAlias
from urllib.request import Request

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import TooManyRedirects
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import HTTPError

MOST_ANSWER_BYTES: Final = 256 * 1024
"""Of one answer: its head, its body as it comes, and what comes between."""
_PIECE_BYTES: Final = 16 * 1024
_USUAL_S: Final = 10.0
"""For an answer, where the exporter names no time."""
_PROVIDERS: Final = "opentelemetry_otlp_credential_provider"
_PROVIDER_VARIABLES: Final = (
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER",
)

Installed: TypeAlias = Callable[..., Iterable[Any]]
"""Finds entry points, by their ``group`` and ``name``."""


def bounded_session(
    environment: Mapping[str, str], installed: Installed = entry_points
) -> requests.Session:
    """Return a session for the exporter: that of the credential provider, if one is named.

    Args:
        environment: It may name the provider, as the exporter would read it.
        installed: Finds what packages have installed.

    Raises:
        ValueError: No such provider is installed, or it makes no session.
    """
    session = _provided(environment, installed) or requests.Session()
    session.stream = True  # what an adapter has left is not read
    session.cookies.set_policy(_AnswerPolicy())
    for prefix, adapter in [*session.adapters.items()]:
        session.mount(prefix, _BoundedAdapter(adapter))
    return session


def _provided(environment: Mapping[str, str], installed: Installed) -> requests.Session | None:
    name = next((environment[each] for each in _PROVIDER_VARIABLES if environment.get(each)), "")
    if not name:
        return None
    found = [*installed(group=_PROVIDERS, name=name)]
    session = found[0].load()() if found else None
    if isinstance(session, requests.Session):
        return session
    raise ValueError(f"no provider of credentials of {_PROVIDERS} is named {name[:40]}")


class _AnswerPolicy(DefaultCookiePolicy):
    """Takes no cookie of an answer; those that a provider has set are sent."""

    def set_ok(self, cookie: Cookie, request: Request) -> bool:
        del cookie, request
        return False


class _BoundedAdapter(requests.adapters.BaseAdapter):
    """Sends by another adapter, and reads of the answer what the connection needs, at most."""

    def __init__(self, inner: requests.adapters.BaseAdapter) -> None:
        super().__init__()
        self._inner = inner
        if isinstance(inner, HTTPAdapter):
            pool_of = inner.get_connection_with_tls_context
            inner.get_connection_with_tls_context = _bounded_pools(pool_of)  # type: ignore[method-assign]

    def send(self, request: Any, *args: Any, **options: Any) -> requests.Response:
        """Send a request; what is too much of its answer, or too late, is not waited for.

        Raises:
            TooManyRedirects: The answer is a redirect: it says where spans would go, not that they
                were taken.
        """
        response = self._inner.send(request, *args, **options)
        try:
            # The status is known, and stays what it is.
            with suppress(OSError, HTTPException, HTTPError):
                while response.raw.read(_PIECE_BYTES, decode_content=False):
                    pass
        finally:
            response.close()
        if 300 <= response.status_code < 400:
            told = f"the collector answers {response.status_code}, and no redirect is followed"
            raise TooManyRedirects(told, response=response)
        return response

    def close(self) -> None:
        self._inner.close()


def _bounded_pools(
    pool_of: Callable[..., HTTPConnectionPool],
) -> Callable[..., HTTPConnectionPool]:
    """Have the connections of pools read answers within bounds."""

    def pool(*args: Any, **options: Any) -> HTTPConnectionPool:
        found = pool_of(*args, **options)
        found.ConnectionCls = _bounded_connection(found.ConnectionCls)
        return found

    return pool


@cache
def _bounded_connection(kind: Any) -> Any:
    if issubclass(kind, _BoundedReading):
        return kind
    return type(kind.__name__, (_BoundedReading, kind), {})


class _BoundedResponse(HTTPResponse):
    """An answer whose bytes all come from a bounded reader: heads, body, and what is between."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_BoundedReader(self.fp.detach(), sock), _PIECE_BYTES)


class _BoundedReading:
    """What is mixed into a class of connections."""

    response_class = _BoundedResponse


class _BoundedReader(io.RawIOBase):
    """Reads so many bytes of a socket, until the time-out of the socket has passed once."""

    def __init__(self, inner: io.RawIOBase, sock: socket.socket) -> None:
        super().__init__()
        self._inner = inner
        self._socket = sock
        self._end_s = time.monotonic() + (sock.gettimeout() or _USUAL_S)
        self._left_bytes = MOST_ANSWER_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int | None:
        left_s = self._end_s - time.monotonic()
        if left_s <= 0 or self._left_bytes <= 0:
            raise TimeoutError("the answer of the collector is too large, or too late")
        self._socket.settimeout(left_s)
        count = self._inner.readinto(into)
        self._left_bytes -= count or 0
        return count

    def close(self) -> None:
        self._inner.close()
        super().close()
