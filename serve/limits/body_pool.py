"""Bodies of requests while they arrive: how large, how long, and how many may be unfinished.

A body that never ends occupies its request, and enough of them would occupy the whole API. Nearly
all bodies arrive within a second and count for little; of the others a limited number is waited
for. There are two pools. Callers that are known, by the API key or by an execution that expects
them, have their own, so bodies of anonymous callers leave room for theirs. Requests have no timers:
a pool checks all of its bodies twice a second.

How large a body may be is said by the table of routes, with the settings applied. Endpoints name
no limit. ``entry.py`` assigns each request to a pool, and ``schemas/exchange.py`` reads the body
with it. This module must not know what is in a body.

Used by `serve/schemas`, `serve/limits` and `serve/middleware`.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from starlette.requests import ClientDisconnect, Request
from starlette.types import Scope

from rillflow.errors import BodyTimeoutError, RillflowError, TooLargeError, UnfinishedBodyError
from rillflow.settings import MEBIBYTE, Settings
from serve.limits.client_addresses import address_of
from serve.route_table import ROUTES, Body

LOOK_S: Final = 0.5
STALE_S: Final = 1.0
"""Age from which a body counts as slow."""
RATE_AFTER_S: Final = 10.0
"""Age from which the minimal rate holds, where a body may take four times as long in all."""
BURST: Final = 2
"""How many times the limit may be unfinished within that second."""
MOST_BYTES: Final = 128 * MEBIBYTE
"""What unfinished bodies of a pool may hold together; four times the largest body if more."""

_POOL: Final = "rillflow.bodies"


class BodyLimit(NamedTuple):
    """The limit of one body.

    Attributes:
        bytes: The limit.
        setting: The setting that it comes from; empty where it is fixed.
        too_large_status: HTTP status of the answer to a larger body.
    """

    bytes: int
    setting: str
    too_large_status: int

    def refusal(self) -> TooLargeError:
        """Return the refusal of a larger body."""
        setting, status = self.setting or None, self.too_large_status
        return TooLargeError.of_body(self.bytes, setting, http_status=status)

    def refuse_announced(self, scope: Scope) -> None:
        """Refuse a body that says itself that it is larger.

        Raises:
            TooLargeError: It does.
        """
        for name, value in scope["headers"]:
            if name == b"content-length":
                if value.isdigit() and int(value) > self.bytes:
                    raise self.refusal()
                return


class _RouteLimits(NamedTuple):
    """The limits of one route: of all businesses, and of those that have their own."""

    limit: BodyLimit
    business_in: str
    by_business: dict[str, BodyLimit]

    def each(self) -> Iterable[BodyLimit]:
        return self.limit, *self.by_business.values()


class BodyLimits:
    """The limits of all routes of a server with these settings."""

    def __init__(self, settings: Settings) -> None:
        self._by_path = dict(_limits_of_routes(settings))
        self._by_folder = {
            path.rpartition("/")[0]: limits
            for path, limits in self._by_path.items()
            if path.endswith("}")
        }
        self.largest_bytes = max(
            limit.bytes for limits in self._by_path.values() for limit in limits.each()
        )

    def of(self, request: Request) -> BodyLimit:
        """Return the limit of a request's body.

        Raises:
            RuntimeError: The table of routes says that this route reads no body.
        """
        path = request.scope["path"]
        limits = self._by_path.get(path) or self._by_folder.get(path.rpartition("/")[0])
        if limits is None:
            raise RuntimeError(f"{path} reads a body, which its row in serve.route_table denies")
        if not limits.by_business:
            return limits.limit
        business = request.query_params.get(limits.business_in, "").partition(":")[0].strip()
        return limits.by_business.get(business, limits.limit)


def _limits_of_routes(settings: Settings) -> Iterator[tuple[str, _RouteLimits]]:
    for route in ROUTES:
        body = route.body
        if body.in_pieces:
            continue
        if body.setting:
            limit = _limit(getattr(settings, body.setting), body)
            own = getattr(settings, f"{body.setting}_by_business") if body.business_in else {}
            by_business = {business: _limit(most, body) for business, most in own.items()}
            yield route.path, _RouteLimits(limit, body.business_in, by_business)
        elif body.largest_bytes:
            yield route.path, _RouteLimits(_limit(body.largest_bytes, body), "", {})


def _limit(most_bytes: int, body: Body) -> BodyLimit:
    return BodyLimit(most_bytes, body.setting, body.too_large_status)


class _Reading:
    """A body that is being read, and the task that reads it, which can be cancelled."""

    __slots__ = ("began_s", "refusal", "scope", "size", "task")

    def __init__(self, task: asyncio.Task[object], scope: Scope, began_s: float) -> None:
        self.task = task
        self.scope = scope
        self.began_s = began_s
        self.size = 0
        self.refusal: RillflowError | None = None

    def refuse(self, error: RillflowError) -> None:
        if self.refusal is None:
            self.refusal = error
            self.task.cancel()


class BodyPool:
    """The unfinished bodies of one kind of callers.

    Args:
        settings: How long bodies may take, and how many may be in progress.
        limits: How large they may be.
        known: The pool of callers that are known; None if this is it.
    """

    def __init__(
        self, settings: Settings, limits: BodyLimits, known: "BodyPool | None" = None
    ) -> None:
        self.known = known or self
        self.limits = limits
        self._start_s = settings.body_start_timeout_s
        self._whole_s = settings.body_timeout_s
        self._rate_after_s = min(RATE_AFTER_S, self._whole_s / 4)
        self._bytes_per_s = settings.body_min_bytes_per_s
        self._most = settings.unfinished_bodies
        self._most_of_one = (
            settings.unfinished_bodies if known is None else settings.unfinished_bodies_per_address
        )
        self._most_bytes = max(MOST_BYTES, 4 * limits.largest_bytes)
        self._readings: dict[_Reading, None] = {}  # the oldest first
        self._bytes = 0
        self._looks = False

    @property
    def asks_who_comes(self) -> bool:
        """Tell whether anonymous bodies take so many places that further callers must be known."""
        return 2 * len(self._readings) >= self._most and self.known is not self

    async def read(self, request: Request, limit: BodyLimit) -> bytes:
        """Read the body of a request, up to its limit.

        Raises:
            TooLargeError: It is larger than the limit; the rest is not read.
            BodyTimeoutError: It does not come, or not fast enough.
            UnfinishedBodyError: Too many others do not come either.
        """
        reading = self._begin(request.scope)
        # One growing piece: a list of many small parts would take several times their size.
        content, more = bytearray(), True
        try:
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                part: bytes = message.get("body", b"")
                more = message.get("more_body", False)
                if reading.size + len(part) > limit.bytes:
                    raise limit.refusal()
                if self._bytes + len(part) > self._most_bytes:
                    raise _too_many("hold too much memory")
                if not (more or content):
                    return part  # All in one piece, as nearly all bodies are.
                content += part
                reading.size += len(part)
                self._bytes += len(part)
        except asyncio.CancelledError:
            if reading.refusal is None or reading.task.uncancel() > 0:
                raise
            raise reading.refusal from None
        finally:
            del self._readings[reading]
            self._bytes -= reading.size
        return bytes(content)

    def _begin(self, scope: Scope) -> _Reading:
        if len(self._readings) >= BURST * self._most:
            raise _too_many(f"are more than {BURST * self._most}")
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - requests are answered by tasks
        loop = task.get_loop()
        reading = _Reading(task, scope, loop.time())
        self._readings[reading] = None
        if not self._looks:
            self._looks = True
            loop.call_later(LOOK_S, self._look, loop)
        return reading

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Refuse bodies that are late, and of too many slow ones the newest."""
        now_s, stale = loop.time(), 0
        of_one: Counter[str] = Counter()
        for reading in self._readings:
            age_s = now_s - reading.began_s
            late = self._late(reading.size, age_s)
            if late is not None:
                reading.refuse(late)
            elif age_s > STALE_S:
                stale += 1
                address = address_of(reading.scope)
                of_one[address] += 1
                if stale > self._most:
                    reading.refuse(_too_many(f"are more than {self._most}"))
                elif of_one[address] > self._most_of_one:
                    reading.refuse(_too_many_of_one(self._most_of_one))
        self._looks = bool(self._readings)
        if self._looks:
            loop.call_later(LOOK_S, self._look, loop)

    def _late(self, size: int, age_s: float) -> BodyTimeoutError | None:
        if size == 0 and age_s > self._start_s:
            return _late("body_start_timeout_s", f"its first byte may take {self._start_s:g} s")
        if age_s > self._whole_s:
            return _late("body_timeout_s", f"all of it may take {self._whole_s:g} s")
        if age_s > self._rate_after_s and size < self._bytes_per_s * age_s:
            return _late("body_min_bytes_per_s", f"{self._bytes_per_s:g} bytes a second are wanted")
        return None


def anonymous_pool(settings: Settings) -> BodyPool:
    """Return the pool of anonymous callers; its ``known`` is the pool of the others."""
    limits = BodyLimits(settings)
    return BodyPool(settings, limits, BodyPool(settings, limits))


def assign_pool(scope: Scope, pool: BodyPool) -> None:
    """Assign a request to a pool."""
    scope[_POOL] = pool


def is_known(scope: Scope) -> bool:
    """Tell whether a request comes from a caller with the key."""
    pool: BodyPool | None = scope.get(_POOL)
    return pool is not None and pool.known is pool


def pool_of(scope: Scope) -> BodyPool:
    """Return the pool to which the body of a request belongs.

    Raises:
        RuntimeError: The request has not passed ``ApiKeyGate``.
    """
    pool: BodyPool | None = scope.get(_POOL)
    if pool is None:
        raise RuntimeError("the request has no body pool: it has not passed ApiKeyGate")
    return pool


def _late(setting: str, rule: str) -> BodyTimeoutError:
    return BodyTimeoutError(
        "the body did not arrive in time", hint=f"{rule}, as {_named(setting)} says"
    )


def _too_many(what: str) -> UnfinishedBodyError:
    hint = f"the bodies of others {what}; see {_named('unfinished_bodies')}"
    return UnfinishedBodyError("too many bodies are unfinished", http_status=503, hint=hint)


def _too_many_of_one(most: int) -> UnfinishedBodyError:
    hint = f"{most} may be, as {_named('unfinished_bodies_per_address')} says"
    return UnfinishedBodyError("too many bodies of one address are unfinished", hint=hint)


def _named(setting: str) -> str:
    return f"{setting} (RILLFLOW_{setting.upper()})"
