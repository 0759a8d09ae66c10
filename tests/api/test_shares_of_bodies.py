"""Bodies that never end, of one key or of a stranger, keep nobody else from sending theirs."""

import asyncio
import contextlib
from typing import Any, Final

from tests.api.definition_texts import PASS, SUSPENDED
from tests.api.serving import Api, served
from tests.api.test_slow_bodies import ADD, KEY, OPEN_CALL, SHOWN, Connection, unfinished

MEBIBYTE: Final = 1 << 20
SUBMIT: Final = "/flow/submit.json"
LARGE: Final = 32 * MEBIBYTE
"""Four bodies of this size fill a pool."""


async def key_of(api: Api, name: str, role: str, workspace: str) -> dict[str, str]:
    """Make a key that is limited to a workspace, and return the header that shows it."""
    params = {"name": name, "role": role, "workspaces": workspace}
    made = await api.client.post("/flow/keys/add.json", params=params, headers=SHOWN)
    return {"X-Rillflow-Api-Key": made.json()["key"]}


async def fill(api: Api, held: contextlib.AsyncExitStack, path: str, lines: str, size: int) -> None:
    """Send one body more than there is room for, each but its last byte; wait for a refusal."""
    sent = []
    for _ in range(128 * MEBIBYTE // (size - 1) + 1):
        connection = await held.enter_async_context(unfinished(api, path, lines, size))
        connection.writer.transport.set_write_buffer_limits(0)
        connection.send(b" " * (size - 1))
        with contextlib.suppress(ConnectionError):
            await connection.writer.drain()
        sent.append(connection)
    answers = {asyncio.create_task(status_of(each)) for each in sent}
    first, rest = await asyncio.wait(answers, timeout=120, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    assert first
    # A stranger is asked for an execution that exists once its bodies have half of the room.
    assert {task.result() for task in first} <= {"503", "400", ""}


async def status_of(connection: Connection) -> str:
    """Return the status of an answer; empty if the connection was closed before it was read."""
    try:
        line = await connection.reader.readuntil(b"}")
    except (ConnectionError, EOFError):
        return ""
    return line.decode().partition(" ")[2][:3]


async def test_bodies_of_an_author_of_one_workspace_that_do_not_end_refuse_none_of_others() -> None:
    async with served(api_key=KEY) as api, contextlib.AsyncExitStack() as held:
        await api.stack.add_descriptor("shop", "order", "release", PASS)
        evil = await key_of(api, "evil", "author", "evil")
        shop = await key_of(api, "shop", "submitter", "shop")
        line = "".join(f"{name}: {key}\r\n" for name, key in evil.items())
        path = f"{ADD}?business_id=evil&feature_name=b&alias=release"
        await fill(api, held, path, line, 10_321_920)
        for shown in (shop, SHOWN):
            for size in (2, 300, 100_000, MEBIBYTE - 100, MEBIBYTE - 100):
                answer = await api.client.post(
                    SUBMIT,
                    params={"descriptor_id": "shop:order"},
                    json={"a": "x" * (size - 2)},
                    headers=shown,
                )
                assert answer.status_code == 200, answer.text


async def test_bodies_of_a_stranger_refuse_no_callback_of_an_execution_that_waits() -> None:
    limits: dict[str, Any] = {"api_key": KEY, "callback_max_bytes": LARGE}
    async with served(**limits) as api, contextlib.AsyncExitStack() as held:
        await api.stack.add_descriptor("shop", "order", "release", SUSPENDED)
        executions = []
        for _ in range(4):
            submitted = await api.client.post(
                SUBMIT, params={"descriptor_id": "shop:order"}, json={}, headers=SHOWN
            )
            executions.append(submitted.json()["execution_id"])
        await fill(api, held, OPEN_CALL, "", LARGE)
        for execution, size in zip(executions, (2, 300, 100_000, 4 * MEBIBYTE), strict=True):
            answer = await api.client.post(
                "/flow/trigger.json",
                params={"execution_id": execution, "task_name": "wait"},
                content=b"{" + b" " * size + b"}",
            )
            assert answer.json() == {"result": "ok"}, answer.text


async def test_a_small_body_is_taken_whatever_number_of_others_does_not_end() -> None:
    async with served(unfinished_bodies=2) as api, contextlib.AsyncExitStack() as held:
        await api.stack.add_descriptor("shop", "order", "release", PASS)
        path = f"{SUBMIT}?descriptor_id=shop:order"
        for _ in range(4):
            await held.enter_async_context(unfinished(api, path))
        for _ in range(3):
            assert await api.submit("shop:order", {"a": 1})


async def test_one_key_has_half_of_the_slow_bodies() -> None:
    async with (
        served(api_key=KEY, unfinished_bodies=4) as api,
        contextlib.AsyncExitStack() as held,
    ):
        await api.stack.add_descriptor("shop", "order", "release", PASS)
        shown = await key_of(api, "many", "submitter", "shop")
        line = "".join(f"{name}: {key}\r\n" for name, key in shown.items())
        line += "Connection: close\r\n"
        path = f"{SUBMIT}?descriptor_id=shop:order"
        sent = [await held.enter_async_context(unfinished(api, path, line)) for _ in range(4)]
        for connection in sent:
            connection.send(b"{")
        answers = {asyncio.create_task(each.answer()): each for each in sent}
        refused: set[asyncio.Task[str]] = set()
        while len(refused) < 2:
            done, _ = await asyncio.wait(
                answers.keys() - refused, timeout=60, return_when=asyncio.FIRST_COMPLETED
            )
            assert done
            refused |= done
        for task in refused:
            assert task.result().startswith("HTTP/1.1 429 ")
            assert "2 may be, as unfinished_bodies " in task.result()
        for task in answers.keys() - refused:
            answers[task].send(b" " * 98 + b"}")
        for task in answers.keys() - refused:
            assert "execution_id" in await task
