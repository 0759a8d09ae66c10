"""Calls leave an actor only when their callbacks can come."""

import asyncio
from itertools import chain, repeat

import pytest
from aiohttp import web

from rillflow.gateways.http.callback_probe import until_callbacks_come
from rillflow.ports.messages import Dispatches, decode_dispatcher_message
from rillflow.runtime.dispatch.client import DispatcherClient
from tests.loopback import attempt, closed_port, web_server


@pytest.mark.parametrize("not_yet", [404, 502, 503, 504])
async def test_a_front_that_is_still_starting_is_waited_for(not_yet: int) -> None:
    statuses = chain([not_yet] * 2, repeat(422))
    asked: list[str] = []

    async def trigger(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=next(statuses))

    async with web_server(**{"flow/trigger.json": trigger}) as url:
        assert await until_callbacks_come(url, {}, patience_s=60)
    assert asked == ["/flow/trigger.json"] * 3


async def test_nobody_at_the_address_is_not_waited_for_for_ever() -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    assert not await until_callbacks_come(url, {}, patience_s=0.2)


async def test_calls_that_bring_callbacks_wait_until_those_can_come_and_others_do_not() -> None:
    sent: list[str] = []
    arrived = asyncio.Event()

    async def connection(data: bytes) -> bytes:
        order = decode_dispatcher_message(data)
        if isinstance(order, Dispatches):
            sent.extend(f"{order.sender}: {request.task}" for request in order.requests)
            arrived.set()
        return b"life"

    async def next_order() -> None:
        await arrived.wait()
        arrived.clear()

    opened = asyncio.Event()
    client = DispatcherClient("me", [connection], opened)
    client.send([attempt("http://gateway/one", task="one", pattern="task_async")])
    client.send(
        [
            attempt("http://gateway/two", task="two", pattern="task_scheduler"),
            attempt("http://gateway/now", task="now"),
        ]
    )
    await next_order()
    for _ in range(10):
        await asyncio.sleep(0)
    assert sent == ["me: now"]
    assert len(client) == 3
    opened.set()
    client.send([attempt("http://gateway/three", task="three", pattern="task_async")])
    await next_order()
    assert sent == ["me: now", "me: one", "me: two", "me: three"]
    client.send([attempt("http://gateway/four", task="four", pattern="task_async")])
    await next_order()
    assert sent[-1] == "me: four"
    await client.stop()
