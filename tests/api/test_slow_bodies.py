"""A body that does not come has its time, and many of them leave room for everybody else."""

import asyncio
import contextlib
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from tests.api.definition_texts import PASS, SUSPENDED
from tests.api.serving import Api, served

KEY: Final = "a-long-secret"
SHOWN: Final = {"X-Rillflow-Api-Key": KEY}
MANY: Final = 3_000
LONG: Final = 100_000
BUSY_S: Final = 30
"""Within which a machine that is busy with others answers; unfinished bodies last longer."""
LATE: Final = "the body did not arrive in time"
UNKNOWN: Final = "shop:order_c_00000000-0000-1000-8000-000000000000"
ADD: Final = "/flow/bg/manage/descriptor/add_descriptor.json"
OPEN_CALL: Final = f"/flow/trigger.json?execution_id={UNKNOWN}&task_name=wait"


class Connection:
    """A connection whose request is sent bit by bit."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, api: Api, head: str) -> "Connection":
        found = await asyncio.open_connection("127.0.0.1", api.stack.settings.port)
        connection = cls(*found)
        connection.writer.write(f"{head}\r\nHost: localhost\r\n".encode())
        return connection

    def send(self, content: bytes) -> None:
        self.writer.write(content)

    async def answer(self) -> str:
        """Return the whole answer, once the server has closed the connection."""
        answer = await asyncio.wait_for(self.reader.read(), 60)
        await self.close()
        return answer.decode()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


@asynccontextmanager
async def unfinished(
    api: Api, path: str, lines: str = "", length: int = 100
) -> AsyncIterator[Connection]:
    head = f"POST {path} HTTP/1.1\r\n{lines}Content-Length: {length}"
    connection = await Connection.open(api, head)
    connection.send(b"\r\n")
    try:
        yield connection
    finally:
        await connection.close()


@pytest.mark.parametrize(
    "path",
    [
        OPEN_CALL,
        "/flow/submit.json?descriptor_id=shop:order",
        f"/flow/finish.json?execution_id={UNKNOWN}&task_name=wait",
        f"/flow/wakeup.json?execution_id={UNKNOWN}&task_name=wait",
        "/flow/convert.json",
        "/flow/bg/user/login.json",
        f"{ADD}?business_id=shop&feature_name=order&alias=release",
    ],
)
@pytest.mark.parametrize(
    ("sent", "setting"),
    [
        (b"", "body_start_timeout_s"),
        (b"{", "body_timeout_s"),
    ],
)
async def test_a_body_that_does_not_come_is_408_and_costs_the_connection(
    path: str, sent: bytes, setting: str
) -> None:
    limits: dict[str, Any] = {
        "body_start_timeout_s": 0.1,
        "body_timeout_s": 0.2,
        "body_min_bytes_per_s": 0,
    }
    async with served(**limits) as api, unfinished(api, path) as connection:
        connection.send(sent)
        answer = await connection.answer()
        assert answer.startswith("HTTP/1.1 408 ")
        assert LATE in answer
        assert setting in answer
        assert "retry-after: 1" in answer
        assert await api.get("/healthz") == {"status": "ok"}


async def test_a_posted_form_that_does_not_come_is_408() -> None:
    form = "Content-Type: application/x-www-form-urlencoded\r\n"
    async with (
        served(body_start_timeout_s=0.1) as api,
        unfinished(api, "/flow/cancel.json", form) as connection,
    ):
        assert (await connection.answer()).startswith("HTTP/1.1 408 ")


async def test_a_body_that_trickles_ends_and_one_that_comes_fast_enough_is_read() -> None:
    path = "/flow/submit.json?descriptor_id=shop:order"
    async with served(body_timeout_s=600, body_min_bytes_per_s=20) as api:
        await api.stack.add_descriptor("shop", "order", "release", PASS)
        async with unfinished(api, path) as slow, unfinished(api, path, length=LONG) as fast:
            fast.send(b"{")
            sent = 1
            began = time.monotonic()
            answer = asyncio.create_task(slow.answer())
            while not answer.done():
                slow.send(b" ")
                fast.send(b" " * 1_000)
                sent += 1_000
                await asyncio.wait([answer], timeout=0.2)
            took_s = time.monotonic() - began
            assert "body_min_bytes_per_s" in answer.result()
            assert 1 < took_s < BUSY_S
            fast.send(b" " * (LONG - sent - 1) + b"}")
            assert b" 200 " in await fast.reader.readline()


async def test_3000_unfinished_bodies_leave_room_for_health_keys_and_known_callbacks() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        async with served(api_key=KEY, body_timeout_s=600, body_min_bytes_per_s=0) as api:
            await _flooded(api)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def _flooded(api: Api) -> None:
    await api.stack.add_descriptor("shop", "order", "release", SUSPENDED)
    submit: dict[str, Any] = {"params": {"descriptor_id": "shop:order"}, "headers": SHOWN}
    response = await api.client.post("/flow/submit.json", json={}, **submit)
    execution = response.json()["execution_id"]
    head = f"POST {OPEN_CALL} HTTP/1.1\r\nContent-Length: 100"
    connections: list[Connection] = []
    for _ in range(MANY):
        connection = await Connection.open(api, head)
        connection.send(b"\r\n{")
        connections.append(connection)
    for _ in range(3):  # before, while and after those are refused that are too many
        began = time.monotonic()
        assert await api.get("/healthz") == {"status": "ok"}
        shown = await api.client.get(
            "/flow/get.json", params={"execution_id": execution}, headers=SHOWN
        )
        assert shown.status_code == 200
        assert (await api.client.post("/flow/submit.json", json={}, **submit)).status_code == 200
        callback = {"execution_id": execution, "task_name": "wait"}
        taken = await api.client.post("/flow/trigger.json", params=callback, json={"a": "x" * 999})
        assert taken.json()["result"] == "ok"
        assert time.monotonic() - began < BUSY_S
        await _status_by(connections[0], 1)
    left = {asyncio.create_task(_status_by(one, 10 * BUSY_S)) for one in connections}
    answers: set[str | None] = set()
    async with asyncio.timeout(2 * BUSY_S):
        while len(left) > api.stack.settings.unfinished_bodies_per_address:
            answered, left = await asyncio.wait(left, timeout=0.2)
            answers |= {each.result() for each in answered}
    assert left
    assert answers - {""} <= {"400", "429", "503"}
    for each in left:
        each.cancel()
    await asyncio.wait(left)
    for connection in connections:
        await connection.close()


async def _status_by(connection: Connection, within_s: float) -> str | None:
    """Return the status of a connection's answer, None while there is none."""
    try:
        line = await asyncio.wait_for(connection.reader.readline(), within_s)
    except TimeoutError:
        return None
    return line.decode().partition(" ")[2][:3]


async def test_one_address_has_so_many_and_others_have_theirs() -> None:
    limits: dict[str, Any] = {"unfinished_bodies": 5, "unfinished_bodies_per_address": 2}
    path = "/flow/submit.json?descriptor_id=shop:order"
    async with served(**limits) as api:
        await api.stack.add_descriptor("shop", "order", "release", PASS)
        connections = []
        for address in ("192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"):
            head = f"POST {path} HTTP/1.1\r\nX-Forwarded-For: {address}\r\nContent-Length: 100"
            connections.append(await Connection.open(api, head))
            connections[-1].send(b"\r\n{")
        assert "unfinished_bodies_per_address" in await connections[2].answer()
        for connection in (*connections[:2], connections[3]):
            connection.send(b" " * 98 + b"}")
            assert b" 200 " in await connection.reader.readline()
            await connection.close()


async def test_where_too_many_are_under_way_the_next_is_asked_to_come_again() -> None:
    path = "/flow/submit.json?descriptor_id=shop:order"
    async with served(unfinished_bodies=2) as api:
        held = [
            await Connection.open(api, f"POST {path} HTTP/1.1\r\nContent-Length: 9")
            for _ in range(4)
        ]
        for connection in held:
            connection.send(b"\r\n")
        async with unfinished(api, path) as connection:
            answer = await connection.answer()
        assert answer.startswith("HTTP/1.1 503 ")
        assert "unfinished_bodies (RILLFLOW_UNFINISHED_BODIES)" in answer
        for connection in held:
            await connection.close()


async def test_a_client_that_leaves_with_its_body_unfinished_frees_its_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = "/flow/submit.json?descriptor_id=shop:order"
    async with served(unfinished_bodies=1) as api:
        await api.stack.add_descriptor("shop", "order", "release", PASS)
        for _ in range(9):
            async with unfinished(api, path) as connection:
                connection.send(b"{")
        submitted = await api.post("/flow/submit.json", {}, descriptor_id="shop:order")
        assert "execution_id" in submitted
    assert "request_failed" not in caplog.text


async def test_unfinished_bodies_hold_so_much_memory_together() -> None:
    mebibyte = 1024 * 1024
    path = "/flow/submit.json?descriptor_id=shop:order"
    async with served(submit_max_bytes=32 * mebibyte) as api, contextlib.AsyncExitStack() as held:
        sent = [
            await held.enter_async_context(unfinished(api, path, length=32 * mebibyte))
            for _ in range(5)
        ]
        for connection in sent:
            connection.send(b" " * 31 * mebibyte)
        answers = [asyncio.create_task(each.reader.readuntil(b"}")) for each in sent]
        first, _ = await asyncio.wait(answers, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        for answer in answers:
            answer.cancel()
        assert first
        for told in (answer.result().decode() for answer in first):
            assert told.startswith("HTTP/1.1 503 ")
            assert "hold too much memory" in told
