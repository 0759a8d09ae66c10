"""Hot requests take the short way where it is open; all others go through Serve."""

import asyncio
from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from rillflow.private_apis.ray_serve import shortcut
from rillflow.private_apis.ray_serve.shortcut import MOST_AT_ONCE, Shortcut, open_shortcut

HOT = "/hot"
HEALTH = frozenset({"/alive", "/ready"})


class Way:
    """An application that notes what it is asked, and answers when it is let go on."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def __call__(self, scope: Scope, _: Receive, __: Send) -> None:
        self.paths.append(scope.get("path", scope["type"]))
        await self.goes_on.wait()


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    before = list(shortcut._ready)
    shortcut._ready.clear()
    yield
    shortcut._ready[:] = before


async def ask(app: ASGIApp, path: str, *, method: str = "GET", kind: str = "http") -> None:
    async def receive() -> dict[str, str]:
        return {}

    async def send(_: object) -> None:
        return

    await app({"type": kind, "method": method, "path": path}, receive, send)


async def test_before_the_application_is_ready_everything_goes_through_serve() -> None:
    long_way = Way()
    await ask(Shortcut(long_way), HOT)
    assert long_way.paths == [HOT]


async def test_what_serve_serves_is_told_to_nobody() -> None:
    long_way = Way()
    statuses: list[int] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        statuses.append(message.get("status", 0))

    async def receive() -> dict[str, str]:
        return {}

    await Shortcut(long_way)({"type": "http", "method": "GET", "path": "/-/routes"}, receive, send)
    assert (long_way.paths, statuses[0]) == ([], 404)
    await ask(Shortcut(long_way), "/-/healthz")
    assert long_way.paths == ["/-/healthz"]


async def test_only_hot_requests_take_the_short_way() -> None:
    long_way, short_way = Way(), Way()
    open_shortcut(short_way, hot=frozenset({("GET", HOT)}), health=HEALTH)
    app = Shortcut(long_way)
    await ask(app, HOT)
    await ask(app, HOT, method="POST")
    await ask(app, "/other")
    await ask(app, HOT, kind="websocket")
    assert short_way.paths == [HOT]
    assert long_way.paths == [HOT, "/other", HOT]


async def test_when_many_are_under_way_serve_sees_the_others() -> None:
    long_way, short_way = Way(), Way()
    short_way.goes_on.clear()
    open_shortcut(short_way, hot=frozenset({("GET", HOT)}), health=HEALTH)
    app = Shortcut(long_way)
    under_way = [asyncio.create_task(ask(app, HOT)) for _ in range(MOST_AT_ONCE)]
    await asyncio.sleep(0)
    await ask(app, HOT)
    assert len(short_way.paths) == MOST_AT_ONCE
    assert long_way.paths == [HOT]
    short_way.goes_on.set()
    await asyncio.gather(*under_way)
    await ask(app, HOT)
    assert long_way.paths == [HOT]


async def test_health_takes_the_short_way_and_those_that_wait_have_room_of_their_own() -> None:
    long_way, short_way = Way(), Way()
    short_way.goes_on.clear()
    open_shortcut(short_way, hot=frozenset({("GET", HOT)}), health=HEALTH, waiting=5)
    app = Shortcut(long_way)
    most = MOST_AT_ONCE + 5
    under_way = [asyncio.create_task(ask(app, HOT)) for _ in range(most + 1)]
    await asyncio.sleep(0)
    assert len(short_way.paths) == most
    assert long_way.paths == [HOT]
    under_way += [asyncio.create_task(ask(app, path)) for path in sorted(HEALTH)]
    await asyncio.sleep(0)
    assert short_way.paths[most:] == sorted(HEALTH)
    short_way.goes_on.set()
    await asyncio.gather(*under_way)
