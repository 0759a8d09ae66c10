"""Sessions of the console: a person shows the API key once, and the browser keeps two halves.

One half is a cookie, which scripts of the page cannot read and which browsers do not send with what
pages of other sites ask (``HttpOnly``, ``SameSite=Strict``). Cookies know no ports: a browser sends
it to every port of this machine. So it is worth nothing without the other half, a token that only
pages of this origin hold and that they send as a header.

Neither half holds the key. The cookie names the session and its end, both halves are HMACs of
these with a key that is derived from it: every replica can check them, they outlive a restart, and
another key ends all sessions. Only a session that was ended before its time is in the store
(``session_ends.py``).

Used by `serve/api.py`, `serve/middleware` and `serve/routes`.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from rillflow.ports.clock import Clock
from rillflow.settings import Settings
from serve.schemas.ended_rows import Session
from serve.schemas.session_ends import SessionEnds

COOKIE: Final = "rillflow_console"
_OWN: Final = re.compile(rb"(?:^|;)[ \t]*(%b[^;]*)" % COOKIE.encode())
TOKEN_HEADER: Final = b"x-rillflow-session"
SESSION: Final = "rillflow.session"
"""The key of a request's scope under which its session is, an ``OpenSession``."""
LIFE_S: Final = 12 * 3600
"""How long a person is signed in."""
_COOKIE_PURPOSE: Final = b"cookie of a session of the Rillflow console "
_TOKEN_PURPOSE: Final = b"token of a session of the Rillflow console "
_GUESS_COST: Final = 1 << 12
_MOST_DIGITS: Final = 12
_MOST_PORT_DIGITS: Final = 5

Headers: TypeAlias = Iterable[tuple[bytes, bytes]]


class NewSession(NamedTuple):
    """The two halves of a new session: a ``Set-Cookie`` header, and the token."""

    set_cookie: str
    token: str


class OpenSession(NamedTuple):
    """The session of a request."""

    session: Session
    ends: SessionEnds

    async def is_open(self) -> bool:
        """Tell whether it has not ended.

        Raises:
            StoreError: It is not known which sessions have ended.
        """
        return not await self.ends.has_ended(self.session)

    async def end(self) -> None:
        """End it for all replicas.

        Raises:
            StoreError: The other replicas could not be told.
        """
        await self.ends.end(self.session)

    async def until_ended(self) -> None:
        """Return when it has ended."""
        await self.ends.until_ended(self.session)


class ConsoleSessions:
    """Begins and checks the sessions of a server with these settings."""

    def __init__(self, settings: Settings, clock: Clock, ends: SessionEnds) -> None:
        key = settings.api_key
        self._key = None if key is None else key.get_secret_value().encode()
        self._sealing_key = _derived(self._key or b"")
        self._clock = clock
        self._ends = ends

    @property
    def is_needed(self) -> bool:
        """Whether the server has an API key."""
        return self._key is not None

    def is_key(self, shown: str) -> bool:
        """Tell whether this is the API key."""
        return self._key is not None and hmac.compare_digest(
            hashlib.sha256(shown.encode()).digest(), hashlib.sha256(self._key).digest()
        )

    def begin(self, headers: Headers, key_id: str = "", *, secure: bool) -> NewSession:
        """Begin a session.

        Args:
            headers: Those of the request, whose ``Host`` has the port that the page came from.
            key_id: The key by name that was shown; empty for the key of the settings.
            secure: Whether the page came over HTTPS; then the cookie goes over nothing else.
        """
        ends_s = self._clock.now_ms() // 1000 + LIFE_S
        of_key = f".{key_id}" if key_id else ""
        named = f"{ends_s}.{secrets.token_hex(16)}{of_key}".encode()
        value = f"{named.decode()}.{self._seal(_COOKIE_PURPOSE, named)}"
        cookie = _cookie(_name_of(headers), value, LIFE_S, secure=secure)
        return NewSession(cookie, self._seal(_TOKEN_PURPOSE, named))

    def forgotten(self, headers: Headers, *, secure: bool) -> str:
        """Return the ``Set-Cookie`` header that has a browser forget its half."""
        return _cookie(_name_of(headers), "", 0, secure=secure)

    def of(self, headers: Headers) -> OpenSession | None:
        """Return the session of which a request carries both halves, unless its time is over.

        It may have been ended before its time.
        """
        tokens = [value for name, value in headers if name == TOKEN_HEADER]
        if self._key is None or len(tokens) != 1:
            return None
        start = f"{_name_of(headers)}=".encode()
        for name, value in headers:
            if name == b"cookie":
                for cookie in value.split(b";"):
                    held = cookie.strip()
                    if held.startswith(start):
                        session = self._of_halves(held[len(start) :], tokens[0])
                        if session is not None:
                            return OpenSession(session, self._ends)
        return None

    def _of_halves(self, cookie: bytes, token: bytes) -> Session | None:
        named, _, seal = cookie.rpartition(b".")
        ends, _, session_id = named.partition(b".")
        if not ends.isdigit() or len(ends) > _MOST_DIGITS:
            return None
        is_cookie = hmac.compare_digest(self._seal(_COOKIE_PURPOSE, named).encode(), seal)
        is_token = hmac.compare_digest(self._seal(_TOKEN_PURPOSE, named).encode(), token)
        if not (is_cookie and is_token):
            return None
        session = Session(session_id.decode("ascii"), int(ends) * 1000)
        return session if session.ends_ms > self._clock.now_ms() else None

    def _seal(self, purpose: bytes, named: bytes) -> str:
        return hmac.new(self._sealing_key, purpose + named, hashlib.sha256).hexdigest()


@lru_cache(maxsize=4)
def _derived(key: bytes) -> bytes:
    """Return a key for seals, from which a user who has some cannot guess the API key."""
    return hashlib.scrypt(key, salt=b"rillflow sessions", n=_GUESS_COST, r=8, p=1)


def _name_of(headers: Headers) -> str:
    """Return the name of the cookie: servers at two ports of a machine have one each."""
    host = next((value for name, value in headers if name == b"host"), b"")
    port = host.rpartition(b":")[2]
    has_port = b":" in host and port.isdigit() and len(port) <= _MOST_PORT_DIGITS
    return f"{COOKIE}_{port.decode()}" if has_port else COOKIE


def with_own_cookies(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return headers without the cookies of other servers.

    Browsers send all cookies of a host, whatever its ports. Nothing here needs them, and the
    framework would parse them.
    """
    return [
        (name, b"; ".join(_OWN.findall(value)) if name == b"cookie" else value)
        for name, value in headers
    ]


def _cookie(name: str, value: str, life_s: int, *, secure: bool) -> str:
    over = "; Secure" if secure else ""
    return f"{name}={value}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Strict{over}"
