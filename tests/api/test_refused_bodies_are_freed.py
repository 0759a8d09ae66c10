"""A request that is refused leaves nothing of its body in memory, without the garbage collector.

The collector counts objects and not bytes: hundreds of refused bodies of megabytes would stay.
"""

import asyncio
import gc
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import pytest

from rillflow.errors import BodyTimeoutError
from tests.api.serving import Api, served

LARGE = 300_000
"""More characters than anything that is not of the request."""
LOOKS = 200
"""The server has answered, and has to come to the end of what it does for the request."""
TEXT = b"x" * 2 * LARGE
NAMES = {"business_id": "shop", "feature_name": "large", "alias": "release"}
CASES = {
    "definition": ("bg/manage/descriptor/add_descriptor.json", NAMES, b"x" * 700_000),
    "yaml": ("bg/manage/descriptor/add_descriptor.json", NAMES, b"a: [" + TEXT),
    "conversion": ("convert.json", {}, b"a: [" + TEXT),
    "dependencies": ("dependency_check.json", {}, b"x" * 700_000),
    "submission": ("submit.json", {"descriptor_id": "shop:none"}, b'{"x": "' + TEXT),
    "mapping": ("mapping_evaluation.json", {}, b'{"x": "' + TEXT),
    "callback": ("trigger.json", {"execution_id": "shop:none_c_1", "task_name": "A"}, b'"' + TEXT),
}


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with served() as opened:
        yield opened


def _held() -> int:
    """Return how many objects hold a text as long as a body has."""
    kinds = (bytes, bytearray, str)
    return sum(
        isinstance(value, kinds) and len(value) > LARGE
        for each in gc.get_objects()
        for value in gc.get_referents(each)
    )


async def _posted(api: Api, path: str, query: dict[str, str], body: bytes) -> bytes:
    """Send a request by a socket, since a client keeps what it sends; return the first line."""
    url = api.client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = f"POST /flow/{path}?{urlencode(query)} HTTP/1.1\r\nHost: {url.host}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.partition(b"\r\n")[0]


async def _late(api: Api) -> bytes:
    """Send a body that does not end; return the first line of its refusal."""
    url = api.client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = f"POST /flow/validate.json HTTP/1.1\r\nHost: {url.host}\r\nContent-Length: 100000\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n".encode() + b"x" * 50_000)
    line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return line


def _refusals() -> int:
    return sum(isinstance(each, BodyTimeoutError) for each in gc.get_objects())


async def test_the_refusal_of_a_late_body_is_freed_once_it_is_answered() -> None:
    async with served(body_timeout_s=1) as api:
        gc.collect()
        gc.disable()
        try:
            assert b" 408 " in await _late(api)
            for _ in range(LOOKS):
                if not _refusals():
                    return
                await asyncio.sleep(0)
            pytest.fail("it is still there")
        finally:
            gc.enable()


@pytest.mark.parametrize("case", CASES)
async def test_a_refused_body_is_freed_once_it_is_answered(api: Api, case: str) -> None:
    path, query, body = CASES[case]
    first = await _posted(api, path, query, body)
    assert first.split()[1] in {b"400", b"404", b"413", b"422"}
    gc.collect()
    gc.disable()
    try:
        before = _held()
        await _posted(api, path, query, body)
        for _ in range(LOOKS):
            if _held() <= before:
                return
            await asyncio.sleep(0)
        pytest.fail("it is still there")
    finally:
        gc.enable()
