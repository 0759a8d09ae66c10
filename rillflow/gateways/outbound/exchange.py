"""An HTTP request as it is sent, and its response.

Two data classes between what builds requests and what sends them; they know neither executions nor
connections.

Used by `gateways/http` and `gateways/http_client`.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

FAILS: Final = "dispatchTask http fails due to "
"""Prefix of every message about a failed HTTP call (spec 4.4, code 30113)."""
_AFTER_SCHEME: Final = len("https://")


class HttpCall(msgspec.Struct, frozen=True):
    """A request as it is sent; ``body`` None is no body at all.

    ``is_secret`` is set if it contains secrets, which are for this host only. ``user_info`` is that
    of the address; ``url`` does not contain it.
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
        url = self.url
        end = url.find("/", _AFTER_SCHEME)
        return url if end < 0 else url[:end]

    @property
    def address(self) -> str:
        """The URL with its user info: used for sending, never shown."""
        if not self.user_info:
            return self.url
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{self.user_info}@{rest}"


class Reply(NamedTuple):
    """An HTTP response, read to its end; the names of its headers are in lower case.

    ``peer`` is the IP address that answered, empty if it is not known.
    """

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes
    peer: str = ""
