"""The transport over HTTP.

Used by `client/clients.py` and `client/ended_executions.py`.
"""

import os
import re
import ssl
from pathlib import Path
from typing import Any, Final

import httpx

from rillflow.client.http_transport.wire import Call, answer_of, call_of
from rillflow.client.operations import Request
from rillflow.definition.addresses import without_user_info
from rillflow.errors import ServerError, UnreachableError
from rillflow.exchange_limits.connections import with_limits
from rillflow.exchange_limits.limit import ExchangeLimit
from rillflow.local_keys import find_key
from rillflow.settings import is_loopback

CONNECT_S: Final = 5.0
KEY_HEADER: Final = "X-Rillflow-Api-Key"
KEY_VARIABLE: Final = "RILLFLOW_API_KEY"
HTTP_PORT: Final = 80
_NUMBER: Final = re.compile(r"^\[Errno -?[0-9]+\] ")
"""Of an error of the system, before its text."""
_UNTRUSTED: Final = "CERTIFICATE_VERIFY_FAILED"
TRUST: Final = "SSL_CERT_FILE names the file of a certificate, or of a CA, to trust"
UNCOMPRESSED: Final = "identity"
MOST_ANSWER_BYTES: Final = 128 * 1024 * 1024
"""Twice the outputs that an execution keeps, unless that is set otherwise."""


class HttpTransport:
    """Performs operations by HTTP requests over kept-alive connections."""

    def __init__(
        self,
        url: str,
        timeout_s: float,
        api_key: str | None = None,
        certificate: Path | None = None,
    ) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._http = with_limits(httpx.Client(**client_options(url, api_key, certificate)))

    def perform(self, request: Request) -> Any:
        """Perform one operation.

        Raises:
            RillflowError: The stack refused, or did not answer.
        """
        call = call_of(request)
        try:
            with (
                _limit(call, self._timeout_s) as limit,
                self._http.stream(**_arguments(call, self._timeout_s)) as response,
            ):
                body = _Body(response, limit)
                for part in response.iter_raw():
                    body.add(part)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _unreachable(self._url, error) from error
        return answer_of(request, response.status_code, bytes(body.content))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


class AsyncHttpTransport:
    """The same for asyncio."""

    def __init__(self, url: str, timeout_s: float, api_key: str | None = None) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._http = with_limits(httpx.AsyncClient(**client_options(url, api_key)))

    async def perform(self, request: Request) -> Any:
        """Perform one operation.

        Raises:
            RillflowError: The stack refused, or did not answer.
        """
        call = call_of(request)
        try:
            with _limit(call, self._timeout_s) as limit:
                async with self._http.stream(**_arguments(call, self._timeout_s)) as response:
                    body = _Body(response, limit)
                    async for part in response.aiter_raw():
                        body.add(part)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _unreachable(self._url, error) from error
        return answer_of(request, response.status_code, bytes(body.content))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


class _Body:
    """The body of an answer, bounded in bytes; what has come of it gives it more time.

    It is not compressed: three megabytes could stand for three gigabytes.
    """

    def __init__(self, response: httpx.Response, limit: ExchangeLimit) -> None:
        limit.note_answer()
        encoding = response.headers.get("Content-Encoding", UNCOMPRESSED).strip().lower()
        if encoding != UNCOMPRESSED:
            raise ServerError(
                f"the answer is compressed ({encoding}), which was not asked for",
                http_status=response.status_code,
            )
        self.content = bytearray()
        self._status = response.status_code
        self._limit = limit

    def add(self, part: bytes) -> None:
        """Take the next part.

        Raises:
            ServerError: The body is too large.
        """
        self.content += part
        if len(self.content) > MOST_ANSWER_BYTES:
            raise ServerError(
                f"the answer has more than {MOST_ANSWER_BYTES:,} bytes", http_status=self._status
            )
        self._limit.note_bytes(len(part))


def _limit(call: Call, timeout_s: float) -> ExchangeLimit:
    return ExchangeLimit(call.longest_s(timeout_s), len(call.body))


def _arguments(call: Call, timeout_s: float) -> dict[str, Any]:
    longest_s = call.longest_s(timeout_s)
    return {
        "method": call.method,
        "url": call.path,
        "params": dict(call.query),
        "content": call.body,
        "headers": {"Content-Type": call.content_type} if call.method == "POST" else {},
        "timeout": httpx.Timeout(longest_s, connect=min(CONNECT_S, timeout_s, longest_s)),
    }


def _unreachable(url: str, error: Exception) -> UnreachableError:
    reason = _NUMBER.sub("", str(error)) or type(error).__name__
    unreachable = UnreachableError(f"no answer from {without_user_info(url)}: {reason}")
    return unreachable.with_hint(TRUST) if _UNTRUSTED in reason else unreachable


def client_options(
    url: str, api_key: str | None, certificate: Path | None = None
) -> dict[str, Any]:
    """Return what a client of httpx is made with.

    Without a key it is the environment's, or that of the stack that runs here. A certificate is the
    only one that is trusted then, for any address: for who asks a server that it runs itself.
    """
    try:
        base_url = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise _unreachable(url, error) from error
    if base_url.scheme not in {"http", "https"} or not base_url.host:
        raise UnreachableError(
            f"{without_user_info(url)} is no address of a stack; one is http://127.0.0.1:8080"
        )
    if api_key is None:
        api_key = os.environ.get(KEY_VARIABLE, "").strip()
        found = None if api_key else find_key(base_url.host, base_url.port or HTTP_PORT)
        if found is not None and base_url.scheme == "http":
            # By the address that it listens on: another one of localhost may be somebody else's.
            api_key, base_url = found.key, base_url.copy_with(host=found.host)
    headers = {"Accept-Encoding": UNCOMPRESSED.encode()}
    if api_key:
        headers[KEY_HEADER] = api_key.strip().encode()
    is_here = is_loopback(base_url.host)  # no proxy for this machine
    return {
        "base_url": base_url,
        "headers": headers,
        "trust_env": not is_here,
        "verify": _trusted(url, certificate) if base_url.scheme == "https" else True,
    }


def _trusted(url: str, certificate: Path | None) -> ssl.SSLContext:
    """Return what is trusted: one certificate, whatever its name, or those of the environment.

    Without proxies of the environment (`trust_env`) httpx reads no SSL_CERT_FILE either.
    """
    try:
        if certificate is None:
            return httpx.create_ssl_context()
        only = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        only.check_hostname = False
        only.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        only.load_verify_locations(certificate)
    except OSError as error:
        told = f"the certificates to trust cannot be read: {error}"
        refused = UnreachableError(f"no answer from {without_user_info(url)}: {told}")
        raise refused.with_hint("correct SSL_CERT_FILE or SSL_CERT_DIR") from error
    return only
