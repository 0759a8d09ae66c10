"""Whoever sends many requests at once has others wait for a few of them, not for all."""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Final

import pytest

from serve.limits.request_turns import MOST, MOST_WAITING
from tests.api.definition_texts import SUSPENDED
from tests.api.serving import Api, served
from tests.api.test_access import FIRST, made

MANY = 400
PATH = "/flow/keys/list.json"
"""What a viewer may not see: a refusal has its turn, too."""
CONTENT: Final = b"a page of a film"
FAR: Final = "X-Forwarded-For: 203.0.113.7\r\n"
OTHER: Final = "X-Forwarded-For: 203.0.113.8\r\n"


async def asked_all(api: Api, requests: Sequence[tuple[str, str]]) -> list[asyncio.Task[bytes]]:
    """Send requests, each on a connection of its own, all at once; return their answers."""
    url = api.client.base_url
    opened = [await asyncio.open_connection(url.host, url.port) for _ in requests]
    for (_, writer), (line, headers) in zip(opened, requests, strict=True):
        head = f"{line} HTTP/1.1\r\nHost: {url.netloc.decode()}\r\n{headers}"
        writer.write(f"{head}Connection: close\r\nContent-Length: 0\r\n\r\n".encode())
    return [asyncio.create_task(_answer(*each)) for each in opened]


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def statuses_of_many(
    api: Api, many: tuple[str, str], other: tuple[str, str]
) -> tuple[set[bytes], bytes]:
    """Have one sender ask for something many times, and then another one once.

    Return the statuses of all answers to the first, and that of the answer to the other, which
    came before most of those.
    """
    await asyncio.gather(*await asked_all(api, [many, other]))  # what is loaded at first
    *asked, last = await asked_all(api, [*[many] * MANY, other])
    status = (await last).split()[1]
    assert sum(each.done() for each in asked) < MANY / 2
    return {each.split()[1] for each in await asyncio.gather(*asked)}, status


def with_key(key: str) -> str:
    return f"Authorization: Bearer {key}\r\n"


async def called_back(api: Api) -> tuple[str, str]:
    """Return the callback addresses of an execution that has ended and of one that waits."""
    descriptor_id = await api.add(SUSPENDED)
    ended, waiting = await api.submit(descriptor_id), await api.submit(descriptor_id)
    address = "/flow/trigger.json?task_name=wait&execution_id={}"
    await api.client.post(address.format(ended), json={"go": True})
    await api.ended(ended)
    return address.format(ended), address.format(waiting)


async def test_others_wait_for_a_few_requests_of_a_key() -> None:
    async with served(api_key=FIRST) as api:
        one, other = await made(api, "one", "viewer"), await made(api, "other", "viewer")
        many = (f"GET {PATH}", with_key(one))
        refused, status = await statuses_of_many(api, many, (f"GET {PATH}", with_key(other)))
    assert (refused, status) == ({b"403"}, b"403")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET /console/session", b"200"),
        ("GET /docs", b"200"),
        ("OPTIONS /flow/submit.json", b"204"),
        ("GET /flow/get.json?execution_id=shop:x", b"401"),
        ("GET /no/such/route", b"401"),
        ("POST /flow/hooks/none", b"404"),
        ("GET /flow/trigger.json?execution_id=shop:x&task_name=y", b"400"),
    ],
)
async def test_others_wait_for_a_few_requests_without_a_key_of_an_address(
    line: str, status: bytes
) -> None:
    async with served(api_key=FIRST, unknown_executions_per_minute="forever") as api:
        known = ("GET /flow/keys/list.json", OTHER + with_key(FIRST))
        answered, other = await statuses_of_many(api, (line, FAR), known)
    assert status in answered
    assert answered <= {status, b"429"}  # webhooks have a rate of their own
    assert other == b"200"


async def test_others_wait_for_a_few_unsigned_requests_of_an_address() -> None:
    """These are answered 500, as in Rill Flow, so the front does not count them."""
    async with served(switches={"ENABLE_AUTH_RESOLVER": True}) as api:
        unsigned = ("GET /flow/get.json?execution_id=shop:x", FAR)
        refused, other = await statuses_of_many(api, unsigned, ("GET /docs", OTHER))
    assert (refused, other) == ({b"500"}, b"200")


@pytest.mark.parametrize("more", ["", "&progress=0.5"])
@pytest.mark.parametrize("sender", [FAR, ""], ids=["from elsewhere", "of this machine"])
async def test_others_wait_for_a_few_callbacks_of_an_execution(sender: str, more: str) -> None:
    async with served(api_key=FIRST) as api:
        api.client.headers["Authorization"] = f"Bearer {FIRST}"
        ended, waiting = await called_back(api)
        repeated = (f"GET {ended}{more}", sender)
        answered, other = await statuses_of_many(
            api, repeated, (f"GET {waiting}", sender and OTHER)
        )
    assert (answered, other) == ({b"200"}, b"200")


async def test_others_wait_for_a_few_requests_for_an_artifact() -> None:
    async with served() as api:
        ended, waiting = await called_back(api)
        query = waiting.partition("?")[2]
        stored = await api.client.post(f"/flow/artifacts?{query}", content=CONTENT)
        assert stored.status_code == 200
        sha256 = hashlib.sha256(CONTENT).hexdigest()
        line = f"GET /flow/artifacts/{sha256}"
        has_it = f'{FAR}If-None-Match: "{sha256}"\r\n'
        answered, other = await statuses_of_many(api, (line, has_it), (f"GET {ended}", OTHER))
    assert (answered, other) == ({b"304"}, b"200")


async def test_a_callback_that_is_refused_meanwhile_is_taken_later() -> None:
    async with served() as api:
        _, waiting = await called_back(api)
        callbacks = [(f"GET {waiting}", FAR)] * (MOST_WAITING + 4 * MOST)
        answers = await asyncio.gather(*await asked_all(api, callbacks))
        refused = [each for each in answers if each.split()[1] != b"200"]
        assert {each.split()[1] for each in refused} == {b"503"}
        assert all(b"retry-after: 1" in each.lower() for each in refused)
        [again] = await asyncio.gather(*await asked_all(api, callbacks[:1]))
        assert again.split()[1] == b"200"
