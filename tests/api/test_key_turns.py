"""A key with many connections has others wait for a few of its requests, not for all."""

import asyncio
import time

from tests.api.serving import Api, served
from tests.api.test_access import FIRST, made

MANY = 200
PATH = "/flow/keys/list.json"
"""What a viewer may not see: a refusal has its turn, too."""


def hold_the_loop(seconds: float) -> None:
    """Compute, so that the loop is late."""
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        pass


async def asked_all(api: Api, keys: list[str]) -> list[asyncio.Task[bytes]]:
    """Send a request with each key on a connection of its own, all at once; return the answers."""
    url = api.client.base_url
    opened = [await asyncio.open_connection(url.host, url.port) for _ in keys]
    for (_, writer), key in zip(opened, keys, strict=True):
        head = f"GET {PATH} HTTP/1.1\r\nHost: {url.host}\r\nAuthorization: Bearer {key}"
        writer.write(f"{head}\r\nConnection: close\r\n\r\n".encode())
    return [asyncio.create_task(_answer(*each)) for each in opened]


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_others_wait_for_a_few_requests_of_a_key_while_the_loop_is_late() -> None:
    async with served(api_key=FIRST) as api:
        one, other = await made(api, "one", "viewer"), await made(api, "other", "viewer")
        await asyncio.gather(*await asked_all(api, [one, other]))
        hold_the_loop(0.5)
        await asyncio.sleep(0)
        *many, last = await asked_all(api, [*[one] * MANY, other])
        assert (await last).startswith(b"HTTP/1.1 403")
        assert sum(each.done() for each in many) < MANY / 2
        answers = await asyncio.gather(*many)
        assert all(each.startswith(b"HTTP/1.1 403") for each in answers)
