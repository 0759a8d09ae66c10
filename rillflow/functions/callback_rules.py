"""Which callback addresses an application posts to, and which signatures it accepts.

Whoever may call a function chooses the address for its outcome. Without a rule a caller could have
this process post to any service that it reaches.

Used by `functions/application.py`.
"""

import hmac
import ipaddress
from collections.abc import Collection
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

from rillflow.functions.limits import CallRefusedError
from rillflow.functions.requests import Head
from rillflow.gateways.callbacks.urls import TRIGGER_PATH, signature

SIGN: Final = "sign"
_LONGEST_URL: Final = 8_192
_LONGEST_NUMBER: Final = 15
_FRESH_S: Final = 86_400
_ANY_SUBDOMAIN: Final = "*."


class CallbackRules:
    """The rules of an application.

    Args:
        hosts: Hosts to which outcomes may be posted, as ``host``, ``host:port`` or ``*.suffix``.
            Without any, only callers on this machine may name an address, and one of this machine.
        secret: The ``auth_secret`` of the server. Where it is set, every address must be signed.
    """

    def __init__(self, hosts: Collection[str], secret: str) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        self._secret = secret

    def check(self, head: Head, now_s: float) -> None:
        """Make sure that a call may be made, and that its outcome may be posted.

        Args:
            head: The request.
            now_s: Seconds since the epoch.

        Raises:
            CallRefusedError: It may not.
        """
        if head.is_async and not head.callback_url:
            raise CallRefusedError(400, "an asynchronous call needs X-Callback-Url")
        if not head.callback_url and not self._secret:
            return
        parts = _parts_of(head.callback_url)
        fields = dict(parse_qsl(parts.query, keep_blank_values=True))
        if self._secret:
            self._check_signature(head, fields, now_s)
        if head.is_async:
            self._check_address(parts, is_from_here=head.is_from_here)
            _check_expiry(fields, now_s)

    def _check_signature(self, head: Head, fields: dict[str, str], now_s: float) -> None:
        given = fields.pop(SIGN, "")
        if not hmac.compare_digest(given.encode(), signature(self._secret, fields).encode()):
            raise CallRefusedError(
                403,
                "the callback address has no valid signature; the server adds it for the"
                " businesses of auth_businesses, or where the input has generate_auth",
            )
        made = fields.get("ts", "")
        if not _is_number(made) or abs(now_s - int(made) / 1000) > _FRESH_S:
            raise CallRefusedError(403, "the signature of the callback address is too old")
        pairs = (("execution_id", "execution_id"), ("name", "task_name"))
        if any(head.query.get(ours, "") != fields.get(theirs, "") for ours, theirs in pairs):
            raise CallRefusedError(403, "the signed callback address is that of another task")

    def check_host(self, url: str, *, is_from_here: bool) -> None:
        """Make sure that an address is one of a server that may be asked.

        Raises:
            CallRefusedError: It is not.
        """
        self._check_host(_parts_of(url), is_from_here=is_from_here)

    def _check_address(self, parts: SplitResult, *, is_from_here: bool) -> None:
        self._check_host(parts, is_from_here=is_from_here)
        if not parts.path.endswith(TRIGGER_PATH):
            raise CallRefusedError(
                403, f"X-Callback-Url does not end with {TRIGGER_PATH}, as those of servers do"
            )

    def _check_host(self, parts: SplitResult, *, is_from_here: bool) -> None:
        host, port = (parts.hostname or "").lower(), parts.port
        if parts.scheme not in ("http", "https") or not host or parts.username is not None:
            raise CallRefusedError(400, "X-Callback-Url is no address of HTTP")
        if self._hosts:
            is_allowed = any(_matches(host, port, allowed) for allowed in self._hosts)
        else:
            is_allowed = is_from_here and _is_here(host)
        if not is_allowed:
            raise CallRefusedError(
                403,
                f"results and artifacts may not go to {host}: name the server in callback_hosts, or"
                " --callback-host",
            )


def _parts_of(url: str) -> SplitResult:
    """Take an address apart.

    Raises:
        CallRefusedError: It is none.
    """
    refusal = CallRefusedError(400, "X-Callback-Url is no URL")
    if not url.isascii() or not url.isprintable() or " " in url or len(url) > _LONGEST_URL:
        raise refusal
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - reading the port checks it
    except ValueError:
        raise refusal from None
    return parts


def _matches(host: str, port: int | None, allowed: str) -> bool:
    if allowed.startswith(_ANY_SUBDOMAIN):
        return host.endswith(allowed[1:])
    named = f"[{host}]" if ":" in host else host
    return allowed in (host, named, f"{named}:{port}")


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_expiry(fields: dict[str, str], now_s: float) -> None:
    expires = expiry_s(fields)
    if expires is not None and now_s > expires:
        raise CallRefusedError(403, "the time of the callback address is over")


def expiry_s(fields: dict[str, str]) -> float | None:
    """Return until when a sealed address is valid, in seconds since the epoch, None if always."""
    text = fields.get("expires", "")
    return float(text) if _is_number(text) else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER
