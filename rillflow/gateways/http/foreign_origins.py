"""What is removed from a request to another origin than that of the definition (spec 4.4).

Keys, signatures, cookies, the callback address, and headers of authors are for the host that they
were written for. A function may name another host in a redirect, or as its poll address.

Used by `gateways/http/requests.py` and `gateways/http/responses.py`.
"""

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from rillflow.errors import GatewayError
from rillflow.gateways.http_client.request_head import origin_of
from rillflow.gateways.http_client.tls import name_of
from rillflow.gateways.outbound.settings import TlsFiles
from rillflow.gateways.outbound.targets import Target, http_target
from rillflow.ports.gateway import HANDLE_FAILS, DispatchRequest

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


def refuse_certificate(target: Target, by_host: Mapping[str, TlsFiles]) -> None:
    """Refuse an address of another origin that would be shown a certificate of this server.

    A certificate is a key: with it a function would have its caller speak for this server. Without
    TLS the host could lead the call on to itself with TLS.

    Raises:
        GatewayError: There is a certificate for its host.
    """
    files = by_host.get(name_of(by_host, origin_of(_with_tls(target.origin))))
    if files is not None and files.certificate is not None:
        raise GatewayError(
            f"{HANDLE_FAILS}a function names {target.origin}, for which gateway_tls has a"
            " certificate: only a definition may call it"
        )


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
