"""A key by name has some requests under way at a replica; more are refused at little cost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from serve.limits.unanswered_requests import MOST_OF_ONE
from tests.api.serving import Api, served
from tests.api.test_access import FIRST, made, shown

COUNTS = "/flow/console/v1/counts.json"
STREAM = "/flow/console/v1/executions.stream"
EVENTS = {"Accept": "text/event-stream"}


@asynccontextmanager
async def _unanswered(api: Api, key: str) -> AsyncIterator[None]:
    """Send a request whose body does not end, so that it is not answered."""
    url = api.client.base_url
    _, writer = await asyncio.open_connection(url.host, url.port)
    head = f"POST /flow/validate.json HTTP/1.1\r\nHost: {url.host}\r\nAuthorization: Bearer {key}"
    writer.write(f"{head}\r\nContent-Length: 9\r\n\r\nabc".encode())
    try:
        yield
    finally:
        writer.close()
        await writer.wait_closed()


async def _status(api: Api, key: str, path: str = COUNTS, **query: str) -> int:
    answer = await api.client.get(path, params=query, headers=shown(key))
    assert answer.status_code != 429 or answer.headers["Retry-After"]
    return answer.status_code


async def _until(api: Api, key: str, wanted: int) -> None:
    async with asyncio.timeout(60):
        while await _status(api, key) != wanted:
            pass


async def test_a_key_with_many_unanswered_requests_is_refused_the_next_and_no_other_is() -> None:
    async with served(api_key=FIRST) as api:
        one, other = await made(api, "one", "author"), await made(api, "other", "author")
        async with AsyncExitStack() as many:
            for _ in range(MOST_OF_ONE):
                await many.enter_async_context(_unanswered(api, one))
            await _until(api, one, 429)
            assert await _status(api, other) == 200
            assert await _status(api, FIRST) == 200
            hot = await _status(api, one, "/flow/get.json", execution_id="shop:none_c_1")
            assert hot == 200
        await _until(api, one, 200)


async def test_a_stream_counts_until_its_answer_begins() -> None:
    async with served(api_key=FIRST) as api:
        one = await made(api, "one", "viewer")
        async with AsyncExitStack() as streams:
            for _ in range(MOST_OF_ONE + 1):
                stream = api.client.stream("GET", STREAM, headers=shown(one) | EVENTS)
                answer = await streams.enter_async_context(stream)
                assert answer.status_code != 429
