"""An HTTP request as it goes on the wire, and the response that comes back."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

FAILS: Final = "dispatchTask http fails due to "
"""Prefix of every message about a failed HTTP call (spec 4.4, code 30113)."""


class HttpCall(msgspec.Struct, frozen=True):
    """A request as it goes on the wire; ``body`` None is no body at all.

    ``is_secret`` tells that there are secrets in it, which are for this host only.
    ``user_info`` is that of the address, which ``url`` does not have.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None = None
    is_secret: bool = False
    user_info: str = ""

    @property
    def origin(self) -> str:
        """Scheme, host and port of the URL."""
        end = self.url.find("/", len("https://"))
        return self.url if end < 0 else self.url[:end]

    @property
    def address(self) -> str:
        """The URL with its user info, to send requests to and not to be shown."""
        if not self.user_info:
            return self.url
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{self.user_info}@{rest}"


class Reply(NamedTuple):
    """An HTTP response, read to its end; the names of its headers are in lower case."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes
