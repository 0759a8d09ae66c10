"""A replica works on some requests of a workspace at once; the others wait, those of others not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest
from starlette.types import Message, Receive, Scope, Send

from serve.limits.callers import CALLER, Caller, sender_of, share_of, share_of_places
from serve.limits.unanswered_requests import AT_ONCE, UnansweredRequests

NEVER_S: Final = 3600.0
ONE: Final = Caller(key_id="a", workspaces=frozenset({"shop"}))
COLLEAGUE: Final = Caller(key_id="b", workspaces=frozenset({"shop"}))
OTHER: Final = Caller(key_id="c", workspaces=frozenset({"bank"}))
UNLIMITED: Final = Caller(key_id="d")


class Routes:
    """Works on requests, until each is told to answer."""

    def __init__(self, slow_s: float = NEVER_S) -> None:
        self.begun: list[str] = []
        self._requests = UnansweredRequests(slow_s)
        self._may_answer: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        name: str = scope["path"]
        self.begun.append(name)
        await self._may_answer[name].wait()
        await send({"type": "http.response.start", "status": 200})

    def send(self, caller: Caller, *names: str) -> None:
        for name in names:
            self._may_answer[name] = asyncio.Event()
            passed = self._requests.passed(caller, self, {"path": name}, _receive, _drop)
            self._tasks[name] = asyncio.create_task(passed)

    async def answer(self, name: str) -> None:
        self._may_answer[name].set()
        await self._tasks[name]

    async def abandon(self, name: str) -> None:
        self._tasks[name].cancel()
        await asyncio.wait([self._tasks[name]])

    async def close(self) -> None:
        for name in list(self._tasks):
            await self.abandon(name)


async def _receive() -> Message:
    return {"type": "http.request"}


async def _drop(message: Message) -> None:
    del message


@asynccontextmanager
async def _routes(slow_s: float = NEVER_S) -> AsyncIterator[Routes]:
    routes = Routes(slow_s)
    try:
        yield routes
    finally:
        await routes.close()


async def _settled() -> None:
    """Have all that is ready run."""
    for _ in range(10):
        await asyncio.sleep(0)


FIRST: Final = [f"first {number}" for number in range(AT_ONCE)]


async def test_those_beyond_a_number_wait_for_the_answers_of_their_own_workspace_only() -> None:
    async with _routes() as routes:
        routes.send(ONE, *FIRST, "next")
        routes.send(COLLEAGUE, "colleague")
        routes.send(OTHER, "other")
        routes.send(UNLIMITED, "unlimited")
        await _settled()
        assert routes.begun == [*FIRST, "other", "unlimited"]
        await routes.answer(FIRST[0])
        await _settled()
        assert routes.begun[-1] == "next"
        await routes.answer(FIRST[1])
        await _settled()
        assert routes.begun[-1] == "colleague"


async def test_one_that_takes_long_leaves_its_place_to_the_next() -> None:
    async with _routes(slow_s=0.0) as routes:
        routes.send(ONE, *FIRST, "next")
        await _settled()
        assert routes.begun == [*FIRST, "next"]


@pytest.mark.parametrize("waits", [True, False])
async def test_one_whose_client_has_left_gives_back_what_it_had(waits: bool) -> None:  # noqa: FBT001 - of pytest
    async with _routes() as routes:
        routes.send(ONE, *FIRST, "next", "last")
        await _settled()
        await routes.abandon("next" if waits else FIRST[0])
        await _settled()
        assert routes.begun == (FIRST if waits else [*FIRST, "next"])
        await routes.answer(FIRST[1])
        await _settled()
        assert routes.begun[-1] == "last"


def test_all_keys_of_a_workspace_have_one_share_together() -> None:
    request = {"client": ("192.0.2.1", 1)}
    keys = [Caller(key_id=key_id, workspaces=frozenset({"shop"})) for key_id in ("12", "34")]
    asked = [share(request | {CALLER: key}) for share in (share_of, sender_of) for key in keys]
    assert set(asked) == {"workspace shop"}
    assert share_of_places("workspace shop", 10, 3) == 5
