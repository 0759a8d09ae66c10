"""Who does not read large answers fills no memory, and others are answered."""

import asyncio
import contextlib
import socket
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any, Final

from tests.api.definition_texts import SUSPENDED
from tests.api.serving import Api, served

MEBIBYTE: Final = 1024 * 1024
LARGE_BYTES: Final = 8 * MEBIBYTE
MANY: Final = 60
FAR: Final = "X-Forwarded-For: 192.0.2.1"


@contextlib.asynccontextmanager
async def large(**limits: Any) -> AsyncIterator[tuple[Api, str]]:
    """Serve the API with an execution whose context is large."""
    sizes: dict[str, Any] = {
        "submit_max_bytes": 2 * LARGE_BYTES,
        "context_max_bytes": 2 * LARGE_BYTES,
    }
    async with served(**sizes, **limits) as api:
        await api.stack.add_descriptor("shop", "order", "release", SUSPENDED)
        yield api, await api.submit("shop:order", {"text": "x" * LARGE_BYTES})


async def asking(api: Api, path: str, *lines: str) -> socket.socket:
    """Return a connection with little room, that asks."""
    loop = asyncio.get_running_loop()
    connection = socket.socket()
    connection.setblocking(False)  # noqa: FBT003 - its own
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await loop.sock_connect(connection, ("127.0.0.1", api.stack.settings.port))
    head = "\r\n".join((f"GET {path} HTTP/1.1", "Host: localhost", *lines, "\r\n"))
    await loop.sock_sendall(connection, head.encode())
    return connection


async def status_of(connection: socket.socket) -> bytes:
    async with asyncio.timeout(60):
        return (await asyncio.get_running_loop().sock_recv(connection, 12))[9:]


async def statuses_of(api: Api, path: str, times: int, *lines: str) -> list[bytes]:
    """Ask so often, one after the other, and read nothing but the status."""
    statuses = []
    async with contextlib.AsyncExitStack() as held:
        for _ in range(times):
            connection = await asking(api, path, *lines)
            held.callback(connection.close)
            statuses.append(await status_of(connection))
    return statuses


def path_of(execution: str) -> str:
    return f"/flow/get.json?execution_id={execution}"


async def test_60_answers_that_nobody_reads_hold_no_more_than_the_limit() -> None:
    limit = 4 * LARGE_BYTES
    async with (
        large(answers_max_bytes=limit) as (api, execution),
        contextlib.AsyncExitStack() as held,
    ):
        tracemalloc.start()
        try:
            statuses = []
            for _ in range(MANY):
                connection = await asking(api, path_of(execution))
                held.callback(connection.close)
                statuses.append(await status_of(connection))
            held_bytes, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert statuses == [b"200"] * 3 + [b"503"] * (MANY - 3)
        # Its owner, in this process, has it once.
        assert held_bytes < limit + LARGE_BYTES
        assert await api.get("/healthz") == {"status": "ok"}
        await api.submit("shop:order")


async def test_an_address_has_its_share_and_others_are_answered() -> None:
    limits = {"answers_max_bytes_per_address": 2 * LARGE_BYTES}
    async with large(**limits) as (api, execution):
        path = path_of(execution)
        held = [await asking(api, path, FAR)]
        assert await status_of(held[0]) == b"200"
        assert await statuses_of(api, path, 2, FAR) == [b"503"] * 2
        other = "X-Forwarded-For: 192.0.2.2"
        assert await statuses_of(api, path, 1, other) == [b"200"]
        assert await statuses_of(api, path, 3) == [b"200"] * 3
        held[0].close()


async def test_what_is_refused_says_which_setting_and_when_to_come_again() -> None:
    async with large(answers_max_bytes=LARGE_BYTES * 3 // 2) as (api, execution):
        held = await asking(api, path_of(execution))
        assert await status_of(held) == b"200"
        refused = await api.client.get("/flow/get.json", params={"execution_id": execution})
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert refused.json()["error_code"] == 30201
        assert "answers_max_bytes (RILLFLOW_ANSWERS_MAX_BYTES)" in refused.json()["hint"]
        held.close()


async def test_who_reads_gets_all_of_it_and_makes_room_for_the_next() -> None:
    async with large(answers_max_bytes=LARGE_BYTES * 3 // 2) as (api, execution):
        for _ in range(3):
            shown = await api.shown(execution)
            assert shown["context"]["text"] == "x" * LARGE_BYTES
