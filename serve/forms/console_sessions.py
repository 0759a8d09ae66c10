"""Sessions of the console: a person shows the API key once, and the browser keeps a cookie.

Scripts of the page cannot read the cookie, and browsers do not send it with what pages of other
sites ask (``HttpOnly``, ``SameSite=Strict``). Every port of a machine is one site, so
``entry.py`` also asks ``browsers.py`` whether the request came from a page of this server.

The cookie does not hold the key. It holds the time of its end and an HMAC of that time with the
key: every replica can check it, it outlives a restart, and another key ends all sessions.

Used by `serve/api.py`, `serve/middleware` and `serve/routes`.
"""

import hashlib
import hmac
from collections.abc import Iterable
from typing import Final

from rillflow.ports.clock import Clock
from rillflow.settings import Settings

COOKIE: Final = "rillflow_console"
LIFE_S: Final = 12 * 3600
"""How long a person is signed in."""
_PURPOSE: Final = b"session of the Rillflow console until "
_MOST_DIGITS: Final = 12


class ConsoleSessions:
    """Makes and checks the cookies of a server with these settings."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        key = settings.api_key
        self._key = None if key is None else key.get_secret_value().encode()
        self._clock = clock
        self._start = f"{COOKIE}=".encode()

    @property
    def is_needed(self) -> bool:
        """Whether the server has an API key."""
        return self._key is not None

    def is_key(self, shown: str) -> bool:
        """Tell whether this is the API key."""
        return self._key is not None and hmac.compare_digest(
            hashlib.sha256(shown.encode()).digest(), hashlib.sha256(self._key).digest()
        )

    def begin(self, *, secure: bool) -> str:
        """Return the ``Set-Cookie`` header of a new session.

        Args:
            secure: Whether the page came over HTTPS; then the cookie goes over nothing else.
        """
        ends = str(self._clock.now_ms() // 1000 + LIFE_S).encode()
        return _cookie(f"{ends.decode()}.{self._seal(ends)}", LIFE_S, secure=secure)

    def end(self, *, secure: bool) -> str:
        """Return the ``Set-Cookie`` header that has a browser forget its session."""
        return _cookie("", 0, secure=secure)

    def holds(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Tell whether a request carries the cookie of a session that has not ended."""
        return any(
            self._is_valid(cookie.strip()[len(self._start) :])
            for name, value in headers
            if name == b"cookie"
            for cookie in value.split(b";")
            if cookie.strip().startswith(self._start)
        )

    def _is_valid(self, value: bytes) -> bool:
        ends, _, seal = value.partition(b".")
        if self._key is None or not ends.isdigit() or len(ends) > _MOST_DIGITS:
            return False
        if not hmac.compare_digest(self._seal(ends).encode(), seal):
            return False
        return int(ends) * 1000 > self._clock.now_ms()

    def _seal(self, ends: bytes) -> str:
        return hmac.new(self._key or b"", _PURPOSE + ends, hashlib.sha256).hexdigest()


def _cookie(value: str, life_s: int, *, secure: bool) -> str:
    over = "; Secure" if secure else ""
    return f"{COOKIE}={value}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Strict{over}"
