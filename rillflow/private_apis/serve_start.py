"""A patch of Serve's proxies: without an application they answer 503, where Serve answers 404.

A function takes 404 for the word that its callback is not wanted, and does not send it again. A
proxy that has just started, or whose application has not, knows of no route yet. `cluster.yaml`
names ``middlewares`` in RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH, which Serve calls in its proxies
and replicas; so does the shortcut of ``rillflow up``. A Ray that runs already, or was started by
the file of another release, has this path in its environment. Without it, Serve's processes of the
next release do not start, nor those of the release before after going back. So it stays here.

Used by `private_apis/ray_serve/shortcut.py`.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from ray.serve._private import proxy
from ray.serve._private.proxy import HTTPProxy
from ray.serve._private.proxy_request_response import ResponseStatus
from starlette.middleware import Middleware

from rillflow.private_apis.assumption import Assumption, not_in_source, other_parameters
from rillflow.private_apis.uvicorn_server.deadlines import bound_connections

STARTING: Final = b'{"error_code":30101,"error":"the HTTP API is starting"}'
"""As ``haproxy/config.py`` has HAProxy say it."""
UNAVAILABLE: Final = 503

_not_found: Final = HTTPProxy.not_found_response


def answer_503_without_application() -> None:
    """Patch the proxies of this process."""
    HTTPProxy.not_found_response = _starting_response


def middlewares() -> list[Middleware]:
    """Return no middleware; it is the call that matters."""
    answer_503_without_application()
    bound_connections()
    return []


async def _starting_response(_: HTTPProxy, _request: Any) -> AsyncIterator[Any]:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(STARTING)).encode()),
        (b"retry-after", b"1"),
    ]
    yield {"type": "http.response.start", "status": UNAVAILABLE, "headers": headers}
    yield {"type": "http.response.body", "body": STARTING, "more_body": False}
    yield ResponseStatus(code=UNAVAILABLE, is_error=True)


def _differences() -> Iterator[str]:
    yield from not_in_source(proxy, "self.not_found_response(", "yield ResponseStatus(code=")
    yield from other_parameters(_not_found, "proxy_request")
    yield from other_parameters(ResponseStatus.__init__, "code", "is_error")


RELIES_ON: Final = (
    Assumption(
        library="ray[serve]",
        relies_on="a proxy without a route for a request answers what"
        " HTTPProxy.not_found_response(proxy_request) yields: ASGI messages, and a ResponseStatus",
        seen_with="2.60.0",
        if_it_changes="silent: while Serve starts its proxies answer 404, and functions give up"
        " their callbacks (tests/cluster/test_absent_application.py notices)",
        differences=_differences,
    ),
)
