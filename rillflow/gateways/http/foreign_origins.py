"""What is removed from a request to another origin than that of the definition (spec 4.4).

Keys, signatures, cookies, the callback address, and headers of authors are for the host that they
were written for. A function may name another host in a redirect, or as its poll address.

Used by `gateways/http/requests.py` and `gateways/http/responses.py`.
"""

from collections.abc import Iterable
from typing import Final, TypeAlias

from rillflow.errors import GatewayError
from rillflow.gateways.messages.targets import Target, http_target
from rillflow.ports.gateway import DispatchRequest

Headers: TypeAlias = tuple[tuple[str, str], ...]

_KEPT_HEADERS: Final = frozenset(
    {
        *("accept", "accept-encoding", "accept-language", "content-encoding", "content-type"),
        *("traceparent", "tracestate", "user-agent", "x-call-id", "x-mode", "x-rillflow-attempt"),
    }
)


REDIRECTED: Final = ("X-Rillflow-Redirected", "true")
"""Says that the address of a request was given by an answer, and by no definition.

Rillflow's own API refuses such requests where it has no key: a function must not call it through
its caller, who may be allowed more than the function is.
"""


def redirected_headers(headers: Iterable[tuple[str, str]]) -> Headers:
    """Return the headers of a request to an address that an answer gave."""
    return (*(pair for pair in headers if pair != REDIRECTED), REDIRECTED)


def foreign_headers(headers: Iterable[tuple[str, str]]) -> Headers:
    """Return the headers that another origin receives."""
    return tuple(pair for pair in headers if pair[0].lower() in _KEPT_HEADERS)


def is_same_origin(target: Target, origin: str) -> bool:
    """Tell whether an address belongs to an origin; a change from http to https does not matter."""
    return target.origin in (origin, _with_tls(origin))


def is_foreign(request: DispatchRequest, target: Target) -> bool:
    """Tell whether a poll address has another origin than the call."""
    if request.called is None:
        return False
    try:
        return not is_same_origin(target, http_target(*request.called).origin)
    except GatewayError:
        return True  # for instance with a secret in the address


def _with_tls(origin: str) -> str:
    """Return the ``https`` origin of a host on the default port of ``http``."""
    scheme, _, place = origin.partition("://")
    return f"https://{place}" if scheme == "http" else origin
