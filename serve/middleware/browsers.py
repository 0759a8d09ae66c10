"""Recognises requests that pages of other sites make a browser send.

Without an API key every program on a network that reaches the server may call. A browser is such
a program, and any page that it shows can have it send requests here. Three headers, which scripts
cannot set, tell these apart: ``Origin`` (on every POST of a page), ``Sec-Fetch-Site`` (whether the
page and this server have the same origin), and ``Host``, the name by which the browser looked the
server up. A foreign ``Host`` means that somebody made a name of theirs resolve to this machine (DNS
rebinding). Programs such as curl send neither of the first two.

A function may be such a page: with a redirect it makes the dispatcher send a request, which comes
from this machine. The dispatcher marks what it sends to an address that an answer gave.

``entry.py`` calls this module where no key is set, and for sessions of the console.
"""

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from starlette.types import Scope

from rillflow.errors import ForeignRequestError
from rillflow.settings import Settings
from serve.route_table import paths_where

Headers = Iterable[tuple[bytes, bytes]]

ANY_HOST: Final = paths_where(lambda route: route.any_host)
LINKED: Final = paths_where(lambda route: route.linked)

REDIRECTED: Final = b"x-rillflow-redirected"

SAME: Final = (b"same-origin", b"none")
"""``Sec-Fetch-Site`` of pages of this server, and of addresses that a person has typed."""

ANY: Final = "*"
_AUTHORITY: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::([0-9]*))?")
_SCHEME_PORTS: Final = {"http": "80", "https": "443"}
_SHOWN: Final = 100


class Browsers:
    """Decides whether a request may come from a page of another site."""

    def __init__(self, settings: Settings, listens_on: str | None = None) -> None:
        hosts = {"localhost", settings.host, *settings.allowed_hosts}
        if listens_on is not None:
            hosts.add(listens_on)
        for url in (settings.server_host, settings.callback_host):
            hosts.add(_host_of(url or ""))
        names = frozenset(name for host in hosts if (name := _plain_host(host)))
        # A server that listens on all addresses is called by addresses that it does not know. A
        # foreign name cannot be an address.
        any_address = bool(names & {"0.0.0.0", "::"})
        self._any_origin = ANY in settings.allowed_origins
        self._origins = frozenset(origin.encode() for origin in settings.allowed_origins)

        @lru_cache(maxsize=1024)
        def is_ours(host: bytes) -> bool:
            authority = _authority(host)
            if authority is None:
                return False
            name = authority[0]
            return ANY in hosts or name in names or _is_address(name, loopback=not any_address)

        self._is_ours = is_ours

    def refuse_foreign(self, scope: Scope) -> None:
        """Refuse a request that a page of another site, or a function, had somebody send.

        Raises:
            ForeignRequestError: Its ``Host`` is not ours, a page sent it that may not, or a
                dispatcher that was redirected here.
        """
        host, origin, site, redirected = _shown_by_sender(scope["headers"])
        if redirected is not None and scope["path"] not in ANY_HOST:
            raise _foreign_redirect()
        # Browsers always send a Host; health checks in HTTP/1.0 do not.
        if host is not None and not self._is_ours(host) and scope["path"] not in ANY_HOST:
            raise _foreign_host(host)
        if origin is None and (site is None or site in SAME):
            return
        if not self._may_call(scope, host or b"", origin, site):
            raise _foreign_page(origin)

    def refuse_other_pages(self, scope: Scope) -> None:
        """Refuse a request with a session of the console that no page of this server has sent.

        A browser sends the session by itself, so the request needs a proof of where it came from:
        ``Sec-Fetch-Site``, or, over plain HTTP to another machine, ``Origin``. There, browsers
        leave both out of a GET, which changes nothing.

        Raises:
            ForeignRequestError: A page of another origin sent it, or nothing shows the contrary.
        """
        host, origin, site, _ = _shown_by_sender(scope["headers"])
        if origin is None:
            if site in SAME or (site is None and scope.get("method") in ("GET", "HEAD")):
                return
        elif site == b"same-origin" or (site is None and _is_host(host or b"", origin)):
            return
        raise _foreign_page(origin)

    def _may_call(
        self, scope: Scope, host: bytes, origin: bytes | None, site: bytes | None
    ) -> bool:
        if self._any_origin:
            return True
        if origin is None:
            return _is_visit(scope)
        return self.is_allowed(origin) or self._is_own(host, origin, site)

    def is_allowed(self, origin: bytes) -> bool:
        """Tell whether ``allowed_origins`` lets pages of an origin call and read the answers."""
        return self._any_origin or origin in self._origins or origin.lower() in self._origins

    def _is_own(self, host: bytes, origin: bytes, site: bytes | None) -> bool:
        """Tell whether a page was served by this server.

        Its origin is the host that it calls, or the browser says that both have the same origin,
        since a reverse proxy in between may have set another ``Host``.
        """
        return self._is_ours(origin.partition(b"://")[2]) and (
            _is_host(host, origin) or (site == b"same-origin" and _origin_port(origin) is not None)
        )


def origin_of(headers: Headers) -> bytes | None:
    """Return the ``Origin`` of a request; None where there is none, or more than one."""
    found = [value for name, value in headers if name == b"origin"]
    return found[0] if len(found) == 1 else None


def _is_host(host: bytes, origin: bytes) -> bool:
    """Tell whether a page has the host and port that it calls."""
    page, called = _authority(origin.partition(b"://")[2]), _authority(host)
    default = _origin_port(origin)
    if page is None or called is None or default is None:
        return False
    return (page[0], page[1] or default) == (called[0], called[1] or default)


def _origin_port(origin: bytes) -> str | None:
    """Return the port of an origin that names none."""
    return _SCHEME_PORTS.get(origin.partition(b"://")[0].decode("latin-1").lower())


def _shown_by_sender(
    headers: list[tuple[bytes, bytes]],
) -> tuple[bytes | None, bytes | None, bytes | None, bytes | None]:
    """Return ``Host``, ``Origin``, ``Sec-Fetch-Site`` and the mark of redirects.

    Of two values of the first three, one is returned that is never ours.
    """
    by_name = dict(headers)
    host, origin, site, redirected = (
        by_name.get(b"host"),
        by_name.get(b"origin"),
        by_name.get(b"sec-fetch-site"),
        by_name.get(REDIRECTED),
    )
    if len(by_name) < len(headers):
        for name, value in headers:
            if name == b"host" and value != host:
                host = b""
            elif name == b"origin" and value != origin:
                origin = b"null"
            elif name == b"sec-fetch-site" and value != site:
                site = b""
    return host, origin, site, redirected


def _is_visit(scope: Scope) -> bool:
    """Tell whether a person follows a link to a route that may be linked to.

    A frame is no such visit, nor is a navigation by a script: browsers send ``Sec-Fetch-User``
    only after a click or a key.
    """
    headers = dict(scope["headers"])
    return (
        scope["path"] in LINKED
        and scope.get("method") in ("GET", "HEAD")
        and headers.get(b"sec-fetch-mode") == b"navigate"
        and headers.get(b"sec-fetch-dest") == b"document"
        and headers.get(b"sec-fetch-user") == b"?1"
    )


def _foreign_redirect() -> ForeignRequestError:
    return ForeignRequestError(
        "a function's answer led its caller here, and a function may not call this server so;"
        " set an api_key (RILLFLOW_API_KEY), and call this server with it"
    )


def _foreign_host(host: bytes) -> ForeignRequestError:
    return ForeignRequestError(
        f"the Host {_shown(host)} is not one of this server's; name it in allowed_hosts"
        " (RILLFLOW_ALLOWED_HOSTS), or set an api_key (RILLFLOW_API_KEY)"
    )


def _foreign_page(origin: bytes | None) -> ForeignRequestError:
    page = "a page of another site" if origin is None else f"a page of {_shown(origin)}"
    return ForeignRequestError(
        f"{page} may not call this server; name its origin in allowed_origins"
        " (RILLFLOW_ALLOWED_ORIGINS), or set an api_key (RILLFLOW_API_KEY)"
    )


def _shown(value: bytes) -> str:
    return ascii(value[:_SHOWN].decode("latin-1"))


def _host_of(url: str) -> str:
    try:
        return urlsplit(url if "://" in url else f"//{url}").hostname or ""
    except ValueError:
        return ""


def _authority(value: bytes) -> tuple[str, str] | None:
    """Read ``host[:port]``: the host in its plain form, and the port; None if it is neither."""
    found = _AUTHORITY.fullmatch(value.decode("latin-1").lower())
    if found is None:
        return None
    name = _plain_host(found[1] or found[2])
    return (name, found[3] or "") if name else None


def _plain_host(text: str) -> str:
    """Return a host in canonical form: an address normalized, a name without a last dot."""
    name = text.lower().strip("[]")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name.removesuffix(".")
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _is_address(name: str, *, loopback: bool) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback or not loopback
    except ValueError:
        return False
