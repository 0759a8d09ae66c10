"""What may go to another origin than the one that a definition names (spec 4.4).

Keys, signatures, cookies, the callback address, and what authors add are for the host that
they were written for. A function may name another one, by a redirect or as the address of its
result.
"""

from collections.abc import Iterable
from typing import Final, TypeAlias

from rillflow.errors import GatewayError
from rillflow.gateways.messages.targets import Target, http_target
from rillflow.ports.gateway import DispatchRequest

Headers: TypeAlias = tuple[tuple[str, str], ...]

_FOR_STRANGERS: Final = frozenset(
    {
        *("accept", "accept-encoding", "accept-language", "content-encoding", "content-type"),
        *("traceparent", "tracestate", "user-agent", "x-call-id", "x-mode", "x-rillflow-attempt"),
    }
)


def for_strangers(headers: Iterable[tuple[str, str]]) -> Headers:
    """Return the headers that another origin gets, too."""
    return tuple(pair for pair in headers if pair[0].lower() in _FOR_STRANGERS)


def is_same_origin(target: Target, origin: str) -> bool:
    """Tell whether an address is of an origin; its change from http to https is none."""
    return target.origin in (origin, _with_tls(origin))


def is_elsewhere(request: DispatchRequest, target: Target) -> bool:
    """Tell whether the address of a result is of another origin than the call was made at."""
    if request.called is None:
        return False
    try:
        return not is_same_origin(target, http_target(*request.called).origin)
    except GatewayError:
        return True  # with a reference to a secret in the address, for instance


def _with_tls(origin: str) -> str:
    """Return where a host on the usual port of ``http`` answers by ``https``."""
    scheme, _, place = origin.partition("://")
    return f"https://{place}" if scheme == "http" else origin
