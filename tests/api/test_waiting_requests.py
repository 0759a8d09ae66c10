"""So many requests wait for an end at once; the wait of one more is over at once."""

import asyncio
import contextlib
import gc
import resource
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import httpx

from tests.api.definition_texts import SUSPENDED
from tests.api.serving import LONG_S, Api, served

MANY: Final = 3_000
PROMPTLY_S: Final = 60
"""Far less than the waits last; usually it takes some tenths of a second."""
KEY: Final = "a-long-secret"
SHOWN: Final = {"X-Rillflow-Api-Key": KEY}
ADDRESSES: Final = ("192.0.2.1", "192.0.2.2", "2001:db8::1")


class Waiting:
    """A connection whose request waits for an end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def is_silent(self, within_s: float) -> bool:
        """Tell whether it still waits after so long; what is answered is 200."""
        try:
            line = await asyncio.wait_for(self._reader.readline(), within_s)
        except TimeoutError:
            return True
        assert line.startswith(b"HTTP/1.1 200 "), line
        return False

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


async def all_but_one(waits: Sequence[Waiting]) -> list[Waiting]:
    """Return those that are left once one of them was answered: any may have come last."""
    told = [asyncio.create_task(one.is_silent(PROMPTLY_S)) for one in waits]
    done, left = await asyncio.wait(told, return_when=asyncio.FIRST_COMPLETED)
    assert [await each for each in done] == [False]
    for each in left:
        each.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    return [one for one, task in zip(waits, told, strict=True) if task in left]


async def all_silent(*waits: Waiting) -> bool:
    """Tell whether all of them wait still a while after others were answered."""
    return all(await asyncio.gather(*(one.is_silent(0.3) for one in waits)))


async def waiting(api: Api, execution: str, *lines: str, wait_s: float = 600) -> Waiting:
    found = await asyncio.open_connection("127.0.0.1", api.stack.settings.port)
    one = Waiting(*found)
    path = f"/flow/get.json?execution_id={execution}&wait_s={wait_s}"
    head = (f"GET {path} HTTP/1.1", "Host: localhost", *lines)
    one.writer.write("\r\n".join((*head, "\r\n")).encode())
    return one


@contextlib.asynccontextmanager
async def suspended(*, api_key: str | None = None, **limits: Any) -> AsyncIterator[tuple[Api, str]]:
    """Serve the API with an execution that does not end by itself."""
    async with served(api_key=api_key, **limits) as api:
        if api_key is not None:
            api.client.headers.update(SHOWN)
        await api.stack.add_descriptor("shop", "order", "release", SUSPENDED)
        yield api, await api.submit("shop:order")


async def test_3000_waits_leave_room_for_health_reads_submissions_and_callbacks() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        async with suspended() as (api, execution):
            await _flooded(api, execution)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def _flooded(api: Api, execution: str) -> None:
    forwarded = [f"X-Forwarded-For: {address}" for address in ADDRESSES]
    waits = [await waiting(api, execution, forwarded[number % 3]) for number in range(MANY)]
    for _ in range(2):
        began = time.monotonic()
        assert await api.get("/healthz") == {"status": "ok"}
        await api.until_ready()
        assert (await api.shown(execution, brief=True))["dag_status"] == "RUNNING"
        await api.submit("shop:order")
        called = {"execution_id": execution, "task_name": "wait"}
        assert (await api.post("/flow/trigger.json", {"go": False}, **called))["result"] == "ok"
        assert time.monotonic() - began < PROMPTLY_S
        await waits[0].is_silent(1)
    places = 3 * api.stack.settings.waiting_requests_per_address
    left = {asyncio.create_task(one.is_silent(10 * PROMPTLY_S)) for one in waits[1:]}
    async with asyncio.timeout(PROMPTLY_S):
        while len(left) > places - 1:  # the others are answered, sooner or later
            _, left = await asyncio.wait(left, timeout=0.2)
    await asyncio.wait(left, timeout=1)
    assert sum(not each.done() for each in left) == places - 1
    for each in left:
        each.cancel()
    await asyncio.wait(left)
    await api.post("/flow/trigger.json", {"go": True}, execution_id=execution, task_name="wait")
    assert not await waits[0].is_silent(PROMPTLY_S)
    await asyncio.gather(*(one.close() for one in waits))


async def test_a_wait_without_a_place_shows_the_execution_as_it_is() -> None:
    async with suspended(waiting_requests=2) as (api, execution):
        held = [await waiting(api, execution) for _ in range(2)]
        async with asyncio.timeout(PROMPTLY_S):
            while await _waits(api, execution, 0.2):
                pass
        began = time.monotonic()
        assert (await api.shown(execution, wait_s=60))["dag_status"] == "RUNNING"
        submitted = await api.post("/flow/submit.json", descriptor_id="shop:order", wait_s=60)
        assert list(submitted) == ["execution_id"]
        assert time.monotonic() - began < 30
        await asyncio.gather(*(one.close() for one in held))


async def test_an_address_has_its_share_and_this_machine_and_who_has_the_key_have_all() -> None:
    limits: dict[str, Any] = {"waiting_requests": 4, "waiting_requests_per_address": 1}
    near, far = "X-Other: 1", "X-Forwarded-For: 192.0.2.1"
    async with suspended(**limits) as (api, execution):
        waits = [await waiting(api, execution, line) for line in (far, far, near, near)]
        assert await all_silent(*await all_but_one(waits[:2]), *waits[2:])
        await asyncio.gather(*(one.close() for one in waits))
    async with suspended(api_key=KEY, **limits) as (api, execution):
        key = f"X-Rillflow-Api-Key: {KEY}"
        waits = [await waiting(api, execution, far, key) for _ in range(5)]
        assert await all_silent(*await all_but_one(waits))
        await asyncio.gather(*(one.close() for one in waits))


async def test_a_key_by_name_has_half_of_the_places_wherever_it_is_used() -> None:
    limits: dict[str, Any] = {"waiting_requests": 4, "waiting_requests_per_address": 1}
    async with suspended(api_key=KEY, **limits) as (api, execution):
        made = await api.client.post(
            "/flow/keys/add.json", params={"name": "ci", "role": "viewer", "workspaces": "shop"}
        )
        first, named = f"X-Rillflow-Api-Key: {KEY}", f"X-Rillflow-Api-Key: {made.json()['key']}"
        waits = [await waiting(api, execution, key) for key in (named, named, named, first, first)]
        assert set(waits[3:]) < set(await all_but_one(waits))
        assert len(await asyncio.gather(*(each.close() for each in waits))) == 5


async def test_a_network_of_ipv6_has_the_share_of_one_address() -> None:
    async with suspended(waiting_requests_per_address=1) as (api, execution):
        waits = [
            await waiting(api, execution, f"X-Forwarded-For: 2001:db8::{number}")
            for number in range(1, 3)
        ]
        assert await all_silent(*await all_but_one(waits))
        await asyncio.gather(*(one.close() for one in waits))


async def test_a_submission_that_waits_holds_nothing_of_a_long_body() -> None:
    many, keys = 60_000, ("first", "second")
    data: dict[str, Any] = {"a": [[]] * many}
    async with served() as api:
        await api.add(SUSPENDED)
        before = _lists()
        for _ in keys:
            await api.submit("shop:order", data)
        of_owner = _lists() - before  # which is in this process here
        waits = [
            asyncio.create_task(api.submit("shop:order", data, idempotency_key=key, wait_s=LONG_S))
            for key in keys
        ]
        async with asyncio.timeout(PROMPTLY_S):
            # The second with a key finds what the first has stored.
            found = [await api.submit("shop:order", data, idempotency_key=key) for key in keys]
            while _lists() - before > 2 * of_owner + many // 2:
                await api.get("/healthz")
        assert not any(wait.done() for wait in waits)
        for execution in found:
            await api.post("/flow/cancel.json", execution_id=execution)
        assert await asyncio.gather(*waits) == found


def _lists() -> int:
    """Return how many lists there are, which is what the data above are made of."""
    return sum(type(each) is list for each in gc.get_objects())


async def test_a_client_that_leaves_frees_its_place() -> None:
    async with suspended(waiting_requests=1) as (api, execution):
        left = await waiting(api, execution)
        assert await left.is_silent(0.2)
        await left.close()
        async with asyncio.timeout(60):
            while not await _waits(api, execution, 0.2):
                assert await api.get("/healthz")


async def _waits(api: Api, execution: str, wait_s: float) -> bool:
    """Tell whether a request waits, rather than being answered at once."""
    one = await waiting(api, execution, wait_s=wait_s)
    silent = await one.is_silent(wait_s / 2)
    await one.close()
    return silent


async def test_a_wait_whose_time_is_over_frees_its_place() -> None:
    async with suspended(waiting_requests=1) as (api, execution):
        for _ in range(3):
            began = time.monotonic()
            assert (await api.shown(execution, wait_s=0.2))["dag_status"] == "RUNNING"
            assert time.monotonic() - began > 0.19


async def test_an_execution_that_ends_ends_the_waits_for_it() -> None:
    async with suspended() as (api, execution):
        asked = [
            asyncio.create_task(api.client.get("/flow/get.json", params=_waiting_for(execution)))
            for _ in range(3)
        ]
        await asyncio.wait(asked, timeout=1.5)  # by now each has its watch for the client
        await api.post("/flow/trigger.json", {"go": True}, execution_id=execution, task_name="wait")
        answers: list[httpx.Response] = await asyncio.gather(*asked)
        assert {one.json()["ret"]["dag_status"] for one in answers} == {"SUCCEED"}


def _waiting_for(execution: str) -> dict[str, str]:
    return {"execution_id": execution, "wait_s": "20"}
