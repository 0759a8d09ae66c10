"""Bodies of requests while they arrive: how large, how long, and how many may be unfinished.

A body that never ends occupies its request, and enough of them would occupy the whole API. Nearly
all bodies arrive within a second and count for little; of the others a limited number is waited
for, which hold a limited number of bytes. There are two pools. Callers that are known, by the API
key or by an execution that expects them, have their own, so bodies of anonymous callers leave room
for theirs. Requests have no timers: a pool checks all of its bodies twice a second.

A sender may use all of a pool while nobody else wants it. When it is full, a body of the sender
that holds most gives way, and not the one that comes. Senders are compared by workspace first, and
then by key or address, so neither many bodies nor many keys of a workspace take what others need.
A body that has arrived, or that is small, holds no bytes and waits for nothing.

How large a body may be is said by the table of routes, with the settings applied. Endpoints name
no limit. ``entry.py`` assigns each request to a pool, ``schemas/exchange.py`` reads the body with
it, and ``callers.py`` says who sends it, which is asked for bodies that last only. This module must
not know what is in a body.

Used by `serve/schemas`, `serve/limits`, `serve/middleware` and `serve/routes`.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import Final, NamedTuple, TypeAlias

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Scope

from rillflow.errors import BodyTimeoutError, RillflowError, TooLargeError, UnfinishedBodyError
from rillflow.settings import MEBIBYTE, Settings
from serve.route_table import ROUTES, Body

LOOK_S: Final = 0.5
STALE_S: Final = 1.0
"""Age from which a body counts as slow."""
RATE_OVER_S: Final = 10.0
"""Time over which a body must have the lowest rate, where it may take four times as long in all."""
BURST: Final = 2
"""How many times the limit may be unfinished within that second."""
MOST_BYTES: Final = 128 * MEBIBYTE
"""What unfinished bodies of a pool may hold together; four times the largest body if more."""
SMALL_BYTES: Final = 16 << 10
"""What has arrived of a body does not count up to this: the number of bodies limits it."""

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


class BodySender(NamedTuple):
    """Who sends a body, as pools compare senders.

    Attributes:
        group: The workspace of the key or of the execution that is called back; without one, as
            ``own``.
        own: The key by name, or the address.
        has_key: Whether that is a key by name.
    """

    group: str
    own: str
    has_key: bool = False


SenderOf: TypeAlias = Callable[[Scope, str], BodySender]
"""Says who sends a request; the text is the workspace of what it calls back, if that is known."""


class _Reading:
    """A body that is being read, and the task that reads it, which can be cancelled."""

    __slots__ = (
        "began_s",
        "counted_bytes",
        "moved_s",
        "refusal",
        "scope",
        "sender",
        "size",
        "task",
        "window_from_s",
        "window_size",
        "workspace",
    )

    def __init__(
        self, task: asyncio.Task[object], scope: Scope, workspace: str, began_s: float
    ) -> None:
        self.task = task
        self.scope = scope
        self.workspace = workspace
        self.sender: BodySender | None = None
        self.began_s = self.moved_s = self.window_from_s = began_s
        self.size = self.window_size = self.counted_bytes = 0
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
        sender_of: Says who sends a request.
        known: The pool of callers that are known; None if this is it.
    """

    def __init__(
        self,
        settings: Settings,
        limits: BodyLimits,
        sender_of: SenderOf,
        known: "BodyPool | None" = None,
    ) -> None:
        self.known = known or self
        self.limits = limits
        self._sender_of = sender_of
        self._start_s = settings.body_start_timeout_s
        self._whole_s = settings.body_timeout_s
        self._rate_over_s = min(RATE_OVER_S, self._whole_s / 4)
        self._bytes_per_s = settings.body_min_bytes_per_s
        self._most = settings.unfinished_bodies
        self._most_of_address = (
            settings.unfinished_bodies if known is None else settings.unfinished_bodies_per_address
        )
        self._most_bytes = max(MOST_BYTES, 4 * limits.largest_bytes)
        self._readings: dict[_Reading, None] = {}  # the oldest first
        self._bytes_of: Counter[str] = Counter()
        self._bytes = 0
        self._looks = False

    @property
    def asks_who_comes(self) -> bool:
        """Tell whether anonymous bodies take so much that further callers must be known."""
        takes_half = 2 * len(self._readings) >= self._most or 2 * self._bytes >= self._most_bytes
        return takes_half and self.known is not self

    async def read(self, request: Request, limit: BodyLimit, workspace: str = "") -> bytes:
        """Read the body of a request, up to its limit; ``workspace`` is of what it calls back.

        Raises:
            TooLargeError: It is larger than the limit; the rest is not read.
            BodyTimeoutError: It does not come, or not fast enough.
            UnfinishedBodyError: Too many do not come either.
        """
        reading = self._begin(request.scope, workspace)
        if reading is None:
            return await _arrived(request, limit, self._most)
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
                if not (more or content):
                    return part  # All in one piece, as nearly all bodies are.
                self._hold(reading, len(part))
                content += part
        except asyncio.CancelledError:
            if reading.refusal is None or reading.task.uncancel() > 0:
                raise
            content.clear()  # others have got its room
            message, part = {}, b""
            refusal, reading.refusal = reading.refusal, None
            try:
                raise refusal from None
            finally:
                del refusal  # its traceback has this frame: they would keep each other
        finally:
            self._end(reading)
        return bytes(content)

    def _begin(self, scope: Scope, workspace: str) -> _Reading | None:
        """Return a body that is waited for; None if only one that has arrived is taken."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - requests are answered by tasks
        loop = task.get_loop()
        reading = _Reading(task, scope, workspace, loop.time())
        if len(self._readings) >= BURST * self._most and not self._make_place(reading):
            return None
        self._readings[reading] = None
        if not self._looks:
            self._looks = True
            loop.call_later(LOOK_S, self._look, loop)
        return reading

    def _end(self, reading: _Reading) -> None:
        """Count a body no more; one that has given way is not counted already."""
        if reading in self._readings:
            del self._readings[reading]
            if reading.counted_bytes:
                group = self._sender(reading).group
                self._bytes -= reading.counted_bytes
                self._bytes_of[group] -= reading.counted_bytes
                if not self._bytes_of[group]:
                    del self._bytes_of[group]

    def _sender(self, reading: _Reading) -> BodySender:
        if reading.sender is None:  # most bodies have arrived before anybody asks
            reading.sender = self._sender_of(reading.scope, reading.workspace)
        return reading.sender

    def _give_way(self, reading: _Reading, error: RillflowError) -> None:
        reading.refuse(error)
        self._end(reading)

    def _make_place(self, reading: _Reading) -> bool:
        """Take a place from a group that has more than the one of this body would have."""
        of_group = Counter(self._sender(each).group for each in self._readings)
        largest, number = max(of_group.items(), key=itemgetter(1))
        if number <= of_group[self._sender(reading).group] + 1:
            return False
        found = [each for each in self._readings if self._sender(each).group == largest]
        of_own = Counter(self._sender(each).own for each in found)
        newest = max(reversed(found), key=lambda each: of_own[self._sender(each).own])
        self._give_way(newest, _too_many(f"are more than {BURST * self._most}"))
        return True

    def _hold(self, reading: _Reading, part_bytes: int) -> None:
        """Count a part that has arrived.

        Raises:
            UnfinishedBodyError: There is no room, and nobody holds more than its sender.
        """
        size = reading.size + part_bytes
        added = size - reading.counted_bytes if size > SMALL_BYTES else 0
        while self._bytes + added > self._most_bytes:
            self._make_room(reading, added)
        reading.size, reading.moved_s = size, reading.task.get_loop().time()
        if added:
            reading.counted_bytes = size
            self._bytes += added
            self._bytes_of[self._sender(reading).group] += added

    def _make_room(self, reading: _Reading, added: int) -> None:
        """Have the body give way that has waited for its next part longest, of who holds most."""
        sender = self._sender(reading)
        group, most = max(self._bytes_of.items(), key=itemgetter(1))
        if most <= self._bytes_of[sender.group] + added:
            group = sender.group
        found = [
            each
            for each in self._readings
            if self._sender(each).group == group and (each.counted_bytes or each is reading)
        ]
        of_own = Counter({sender.own: added})
        for each in found:
            of_own[self._sender(each).own] += each.counted_bytes
        slowest = max(
            found,
            key=lambda each: (of_own[self._sender(each).own], each is not reading, -each.moved_s),
        )
        if slowest is reading:
            raise _too_many("hold too much memory")
        self._give_way(slowest, _too_many("hold too much memory"))

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Refuse bodies that are late, and of too many slow ones the newest of who has most."""
        now_s, stale, of_own = loop.time(), list[_Reading](), Counter[str]()
        for reading in self._readings:
            late = self._late(reading, now_s)
            if late is not None:
                reading.refuse(late)
            elif now_s - reading.began_s > STALE_S and reading.refusal is None:
                sender = self._sender(reading)
                of_own[sender.own] += 1
                most, setting = self._share_of(sender)
                if of_own[sender.own] > most:
                    reading.refuse(_too_many_of_one(most, setting))
                else:
                    stale.append(reading)
        if len(stale) > self._most:
            for reading in self._in_turns(stale)[self._most :]:
                reading.refuse(_too_many(f"are more than {self._most}"))
        self._looks = bool(self._readings)
        if self._looks:
            loop.call_later(LOOK_S, self._look, loop)

    def _in_turns(self, readings: list[_Reading]) -> list[_Reading]:
        """Return bodies in turns of their groups, and within a group in turns of its senders."""
        for part in ("own", "group"):
            passed: Counter[str] = Counter()
            turns: list[tuple[int, _Reading]] = []
            for reading in readings:
                name = getattr(self._sender(reading), part)
                passed[name] += 1
                turns.append((passed[name], reading))
            readings = [reading for _, reading in sorted(turns, key=itemgetter(0))]
        return readings

    def _share_of(self, sender: BodySender) -> tuple[int, str]:
        """Return how many slow bodies a sender may have, and the setting that says so."""
        if sender.has_key:
            return max(self._most // 2, 1), "unfinished_bodies"
        return self._most_of_address, "unfinished_bodies_per_address"

    def _late(self, reading: _Reading, now_s: float) -> BodyTimeoutError | None:
        age_s = now_s - reading.began_s
        if reading.size == 0 and age_s > self._start_s:
            return _late("body_start_timeout_s", f"its first byte may take {self._start_s:g} s")
        if age_s > self._whole_s:
            return _late("body_timeout_s", f"all of it may take {self._whole_s:g} s")
        taken_s = now_s - reading.window_from_s
        if taken_s > self._rate_over_s:
            # What came before buys no time: else a body could wait with its last byte to the end.
            if reading.size - reading.window_size < self._bytes_per_s * taken_s:
                rate = f"{self._bytes_per_s:g} bytes a second are wanted"
                return _late("body_min_bytes_per_s", rate)
            reading.window_from_s, reading.window_size = now_s, reading.size
        return None


async def _arrived(request: Request, limit: BodyLimit, most: int) -> bytes:
    """Return a body that has arrived in one piece.

    Raises:
        TooLargeError: It is larger than the limit.
        UnfinishedBodyError: It has not arrived.
    """
    message: Message = {"type": "http.request", "more_body": True}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0):
            message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    if message.get("more_body", False):
        raise _too_many(f"are more than {BURST * most}")
    part: bytes = message.get("body", b"")
    if len(part) > limit.bytes:
        raise limit.refusal()
    return part


def anonymous_pool(settings: Settings, sender_of: SenderOf) -> BodyPool:
    """Return the pool of anonymous callers; its ``known`` is the pool of the others."""
    limits = BodyLimits(settings)
    return BodyPool(settings, limits, sender_of, BodyPool(settings, limits, sender_of))


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
    hint = f"unfinished bodies {what}; see {_named('unfinished_bodies')}"
    return UnfinishedBodyError("too many bodies are unfinished", http_status=503, hint=hint)


def _too_many_of_one(most: int, setting: str) -> UnfinishedBodyError:
    return UnfinishedBodyError(
        "too many bodies of one address or key are unfinished",
        hint=f"{most} may be, as {_named(setting)} says",
    )


def _named(setting: str) -> str:
    return f"{setting} (RILLFLOW_{setting.upper()})"
