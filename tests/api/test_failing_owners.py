"""Over HTTP, an owner that is away is 503, and one that meets a defect is 500, at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from rillflow.actors.connections.frames import SocketConnection
from rillflow.actors.connections.sockets import SocketServer
from rillflow.errors import UnavailableError
from rillflow.ids import new_execution_id
from rillflow.runtime.routing.router import ExecutionRouter, OwnerRef
from tests.api.serving import Api, refusal_of, served

SECRET: Final = "the value of a secret"
ID: Final = new_execution_id("api", "owners", at_ms=1, entropy=bytes(10))
CALLBACK: Final = {"execution_id": ID, "task_name": "A"}
REQUESTS: Final = [
    ("GET", "/flow/get.json", {"execution_id": ID}),
    ("POST", "/flow/trigger.json", CALLBACK),
    ("POST", "/flow/cancel.json", {"execution_id": ID}),
]
AT_ONCE_S: Final = 60


@asynccontextmanager
async def owned_by(answer: Callable[[bytes], Awaitable[bytes]]) -> AsyncIterator[Api]:
    """Serve the API in front of an owner at the other end of a socket."""
    server = SocketServer(answer, "owner")
    await server.start()
    connection = await SocketConnection.connect(server.path)
    no_others: Any = None
    async with served() as api:
        api.stack.executions = ExecutionRouter([OwnerRef(connection.call, watcher="me")], no_others)
        yield api
    connection.close()
    server.close()


@pytest.mark.parametrize(("method", "path", "params"), REQUESTS)
async def test_a_defect_of_an_owner_is_told_at_once_and_without_values(
    method: str, path: str, params: dict[str, str]
) -> None:
    messages: list[bytes] = []

    async def answer(message: bytes) -> bytes:
        messages.append(message)
        raise TypeError(SECRET)

    async with owned_by(answer) as api, asyncio.timeout(AT_ONCE_S):
        response = await api.client.request(method, path, params=params)
    assert refusal_of(response)[:2] == (500, 30101)
    assert response.json()["error"] == "unexpected TypeError in owner; its log has the traceback"
    assert "retry-after" not in response.headers
    assert len(messages) == 1


@pytest.mark.parametrize(("method", "path", "params"), REQUESTS)
async def test_an_owner_that_is_away_is_503_and_its_name_is_not_told(
    method: str, path: str, params: dict[str, str]
) -> None:
    async def answer(_: bytes) -> bytes:
        raise UnavailableError("rillflow:execution:0 cannot be reached")

    async with owned_by(answer) as api:
        response = await api.client.request(method, path, params=params)
    assert refusal_of(response)[:2] == (503, 30113)
    assert response.headers["Retry-After"] == "1"
    assert "rillflow:execution" not in response.text
