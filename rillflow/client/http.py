"""The transport over HTTP."""

import os
from typing import Any, Final

import httpx

from rillflow.client.operations import Request
from rillflow.client.wire import Call, answer_of, call_of
from rillflow.definition.addresses import without_user_info
from rillflow.errors import UnreachableError
from rillflow.local_keys import find_key
from rillflow.settings import is_loopback

CONNECT_S: Final = 5.0
KEY_HEADER: Final = "X-Rillflow-Api-Key"
KEY_VARIABLE: Final = "RILLFLOW_API_KEY"
HTTP_PORT: Final = 80


class HttpTransport:
    """Performs operations by HTTP requests over kept-alive connections."""

    def __init__(self, url: str, timeout_s: float, api_key: str | None = None) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._http = httpx.Client(**_options(url, api_key))

    def perform(self, request: Request) -> Any:
        """Perform one operation.

        Raises:
            RillflowError: The stack refused, or did not answer.
        """
        call = call_of(request)
        try:
            response = self._http.request(**_arguments(call, self._timeout_s))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _unreachable(self._url, error) from error
        return answer_of(request, response.status_code, response.content)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


class AsyncHttpTransport:
    """The same for asyncio."""

    def __init__(self, url: str, timeout_s: float, api_key: str | None = None) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(**_options(url, api_key))

    async def perform(self, request: Request) -> Any:
        """Perform one operation.

        Raises:
            RillflowError: The stack refused, or did not answer.
        """
        call = call_of(request)
        try:
            response = await self._http.request(**_arguments(call, self._timeout_s))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _unreachable(self._url, error) from error
        return answer_of(request, response.status_code, response.content)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


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
    reason = str(error) or type(error).__name__
    return UnreachableError(f"no answer from {without_user_info(url)}: {reason}")


def _options(url: str, api_key: str | None) -> dict[str, Any]:
    """Return what a client of httpx is made with.

    Without a key it is the environment's, or that of the stack that runs here.
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
    headers = {KEY_HEADER: api_key.strip().encode()} if api_key else {}
    return {
        "base_url": base_url,
        "headers": headers,
        "trust_env": not is_loopback(base_url.host),
    }
