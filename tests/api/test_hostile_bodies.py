"""No body and no answer of a legal size holds the event loop, and nobody works for strangers."""

import asyncio
import gzip
import json
import threading
from collections.abc import AsyncIterator
from functools import partial
from itertools import count
from typing import Any, Final
from urllib.parse import quote

import httpx
import pytest
from aiohttp import web

from rillflow.gateways.callbacks.seals import seal
from rillflow.gateways.outbound.fair_thread import FOR_CALLBACKS
from rillflow.gateways.outbound.settings import HttpSettings
from rillflow.gateways.registry import GatewayRegistry
from tests.api.definition_texts import SUSPENDED, calling
from tests.api.serving import Api, refusal_of, served
from tests.api.turns_of_loop import Loop
from tests.hostile_texts import HostileText, json_texts, other_texts, packed_texts
from tests.loopback import StoppedClock, attempt, web_server

PARTS: Final = 3
"""Into which the texts of a test are divided; the first part runs at every run."""
LARGE_PARTS: Final = 12
"""The same where the texts are large."""
MEBIBYTE: Final = 1 << 20
LONG_S: Final = 60
UNKNOWN: Final = "shop:order_c_00000000-0000-1000-8000-000000000000"
KEY: Final = "the-callback-key"
BOMB: Final = HostileText("bomb", gzip.compress(b"\0" * (4 * MEBIBYTE)), "gzip")
SECRETS: Final = {f"RILLFLOW_SECRET_S{n}": f'p&ss "{n}" /wörd/' * 20 for n in range(10)}


def texts(size: int = MEBIBYTE) -> list[HostileText]:
    return [*json_texts(size), *packed_texts(size), *other_texts(size)]


@pytest.fixture
async def loop() -> AsyncIterator[Loop]:
    async with Loop.measured() as measured:
        yield measured


async def send(api: Api, path: str, text: HostileText, **params: str) -> httpx.Response:
    return await api.client.post(path, params=params, content=text.body, headers=text.headers)


def work(_: Any) -> dict[str, Any]:
    """Be a function that answers later."""
    return {}


@pytest.mark.one_in(PARTS)
@pytest.mark.parametrize("part", range(PARTS))
async def test_no_callback_holds_the_loop(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    hostile = texts()[part::PARTS]
    async with served({"work": work}) as api:
        version = await api.add(calling("work", pattern="task_async"))
        await api.submit(version)  # What is loaded at the first use is no hostile work.

        async def call_back_and_look(path: str, text: HostileText) -> None:
            execution_id = await api.submit(version)
            response = await send(api, path, text, execution_id=execution_id, task_name="A")
            assert response.status_code in (200, 400, 413, 422), response.text
            await api.client.get("/flow/get.json", params={"execution_id": execution_id})

        for text in hostile:
            for path in ("/flow/trigger.json", "/flow/finish.json"):
                await loop.of(f"{path} {text.name}", partial(call_back_and_look, path, text))
    loop.assert_free()


@pytest.mark.one_in(PARTS)
@pytest.mark.parametrize("part", range(PARTS))
async def test_no_wake_up_redo_or_submission_holds_the_loop(loop: Loop, part: int) -> None:
    schema = json.dumps({"additionalProperties": {"maxLength": 5, "items": {"type": "string"}}})
    wants = f"inputSchema: '{schema}'\nenforceInputSchema: true\n"
    hostile = [*json_texts(MEBIBYTE), *other_texts(MEBIBYTE)][part::PARTS]
    async with served() as api:
        version = await api.add(SUSPENDED)
        checked = await api.add(
            SUSPENDED.replace("order", "checked").replace("tasks:", f"{wants}tasks:")
        )
        await api.submit(version)
        keys = map(str, count())

        async def tell(path: str, text: HostileText) -> None:
            execution_id = await api.submit(version)
            await send(api, path, text, execution_id=execution_id, task_name="wait")

        async def submit(descriptor_id: str, text: HostileText, *, keyed: bool) -> None:
            named = {"idempotency_key": next(keys)} if keyed else {}
            await send(api, "/flow/submit.json", text, descriptor_id=descriptor_id, **named)

        for text in hostile:
            for path in ("/flow/wakeup.json", "/flow/redo.json"):
                await loop.of(f"{path} {text.name}", partial(tell, path, text))
            for descriptor_id in (version, checked):
                for keyed in (False, True):
                    what = f"submit {text.name} {descriptor_id} {keyed}"
                    await loop.of(what, partial(submit, descriptor_id, text, keyed=keyed))
    loop.assert_free()


@pytest.mark.one_in(LARGE_PARTS)
@pytest.mark.parametrize("part", range(LARGE_PARTS))
async def test_no_answer_of_ten_megabytes_holds_the_loop_of_a_dispatcher(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    hostile = texts(10 * MEBIBYTE)
    held: dict[str, HostileText] = {}

    async def answer(request: web.Request) -> web.StreamResponse:
        text = held["text"]
        packed = {"Content-Encoding": text.encoding} if text.encoding else {}
        headers = {"Content-Type": text.media, **packed}
        return web.Response(body=text.body, headers=headers, status=int(request.query["status"]))

    registry = GatewayRegistry.with_http(HttpSettings(call_timeout_s=30), StoppedClock())
    async with web_server(f=answer) as url:
        for number, text in list(enumerate(hostile))[part::LARGE_PARTS]:
            held["text"] = text
            for status in (200, 202, 500) if number % 5 == 0 else (200,):
                request = attempt(f"{url}/f?status={status}", poll=True, secrets=((),))
                await loop.of(f"{status} {text.name}", partial(registry.call, request))
    await registry.close()
    loop.assert_free()


@pytest.mark.parametrize("path", ["/flow/trigger.json", "/flow/finish.json", "/flow/wakeup.json"])
async def test_nothing_is_unpacked_or_parsed_for_an_execution_that_does_not_exist(
    path: str,
) -> None:
    large = HostileText("large", b"[" * 100_000)
    async with served() as api:
        for text in (BOMB, large) if path != "/flow/wakeup.json" else (large,):
            for execution_id in (UNKNOWN, "no id"):
                params = {"execution_id": execution_id, "task_name": "A"}
                response = await send(api, path, text, **params)
                expected = await send(api, path, HostileText("small", b"{}"), **params)
                assert refusal_of(response) == refusal_of(expected)


async def test_a_body_that_unpacks_to_too_much_is_told_so_by_an_execution_that_exists() -> None:
    async with served({"work": work}) as api:
        version = await api.add(calling("work", pattern="task_async"))
        execution_id = await api.submit(version)
        for path, status in (("/flow/trigger.json", 413), ("/flow/finish.json", 400)):
            response = await send(api, path, BOMB, execution_id=execution_id, task_name="A")
            assert response.status_code == status


async def test_a_forged_seal_is_refused_before_anything_is_unpacked() -> None:
    async with served(callback_keys=(KEY,)) as api:
        forged = seal("another-key", execution_id=UNKNOWN, task="A", attempt=1, expires_s=2**40)
        response = await send(
            api, "/flow/trigger.json", BOMB, execution_id=UNKNOWN, task_name="A", **forged
        )
        assert refusal_of(response)[:2] == (403, 30108)
        sealed = seal(KEY, execution_id=UNKNOWN, task="A", attempt=1, expires_s=2**40)
        response = await send(
            api, "/flow/trigger.json", BOMB, execution_id=UNKNOWN, task_name="A", **sealed
        )
        assert response.status_code == 400
        assert "task not exists" in response.text


async def test_the_first_who_asks_for_the_description_of_the_api_holds_nobody_up(
    loop: Loop,
) -> None:
    async with served() as api:
        loop.note_nothing()
        assert (await api.client.get("/openapi.json")).status_code == 200
        loop.note("openapi.json")
    loop.assert_free()


@pytest.mark.parametrize("path", ["/flow/trigger.json", "/flow/finish.json"])
async def test_nothing_is_unpacked_for_an_execution_that_has_ended(path: str) -> None:
    async with served({"work": work}) as api:
        version = await api.add(calling("work", pattern="task_async"))
        execution_id = await api.submit(version)
        params = {"execution_id": execution_id, "task_name": "A"}
        response = await send(api, path, HostileText("small", b"{}"), **params)
        assert response.json() == {"result": "ok"}
        await api.ended(execution_id)
        for text in (BOMB, HostileText("large", b"[" * 100_000)):
            response = await send(api, path, text, **params)
            assert response.json() == {"result": "ok", "duplicate": True}
            other = await send(api, path, text, execution_id=execution_id, task_name="other")
            small = await send(
                api, path, HostileText("small", b"{}"), execution_id=execution_id, task_name="other"
            )
            assert refusal_of(other) == refusal_of(small)


async def test_other_large_bodies_do_not_wait_for_packed_callbacks() -> None:
    async with served({"work": work}) as api:
        version = await api.add(calling("work", pattern="task_async"))
        params = {"execution_id": await api.submit(version), "task_name": "A"}
        gate = threading.Event()
        held = asyncio.create_task(FOR_CALLBACKS.run("another", gate.wait))
        text = HostileText("large", json.dumps("x" * 100_000).encode())
        packed = asyncio.create_task(send(api, "/flow/trigger.json", text, **params))
        async with asyncio.timeout(LONG_S):
            assert await api.submit(version, {"a": "x" * 100_000})
        assert not packed.done()
        gate.set()
        assert (await packed).json() == {"result": "ok"}
        assert await held


def with_secret(secret: str) -> tuple[HostileText, dict[str, str]]:
    """Return a short body of many values that repeats a secret, and a long log in a header."""
    many = json.dumps({"t": secret, "a": [0] * 5_000}, separators=(",", ":"))
    return HostileText("many values", many.encode()), {"X-Function-Log": "x" * 4_000 + secret}


async def waits_for_its_turn(sent: "asyncio.Task[httpx.Response]") -> None:
    """Wait until a callback waits for the thread of large ones."""
    while "shop" not in FOR_CALLBACKS._taken:
        assert not sent.done(), "it was read by the event loop"
        await asyncio.sleep(0)


@pytest.mark.parametrize("path", ["/flow/trigger.json", "/flow/finish.json"])
@pytest.mark.parametrize("is_log", [False, True])
async def test_a_short_callback_with_a_secret_is_read_beside_the_loop_if_it_is_awaited(
    monkeypatch: pytest.MonkeyPatch, path: str, *, is_log: bool
) -> None:
    secret = next(iter(SECRETS.values()))
    monkeypatch.setenv("RILLFLOW_SECRET_TOKEN", secret)
    text, headers = with_secret(secret if not is_log else "no")
    headers = with_secret(quote(secret))[1] if is_log else {}
    async with served({"work": work}) as api:
        version = await api.add(calling("work", pattern="task_async"))
        ended, waiting = [
            {"execution_id": await api.submit(version), "task_name": "A"} for _ in range(2)
        ]
        assert (await send(api, path, HostileText("small", b"{}"), **ended)).status_code == 200
        await api.ended(ended["execution_id"])
        gate = threading.Event()
        held = asyncio.create_task(FOR_CALLBACKS.run("another", gate.wait))
        try:
            told = {**text.headers, **headers}
            first = api.client.post(path, params=waiting, content=text.body, headers=told)
            awaited = asyncio.create_task(first)
            async with asyncio.timeout(LONG_S):
                again = await api.client.post(path, params=ended, content=text.body, headers=told)
                assert again.json() == {"result": "ok", "duplicate": True}
                await waits_for_its_turn(awaited)
        finally:
            gate.set()
        assert (await awaited).json() == {"result": "ok"}
        assert await held
        context = (await api.shown(waiting["execution_id"]))["context"]
        assert secret not in json.dumps(context)


async def test_a_long_log_is_read_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = next(iter(SECRETS.values()))
    monkeypatch.setenv("RILLFLOW_SECRET_TOKEN", secret)
    async with served({"work": work}) as api:
        version = await api.add(calling("work", pattern="task_async"))
        params = {"execution_id": await api.submit(version), "task_name": "A", "progress": "0.5"}
        plain = {"Content-Type": "text/plain"}
        gate = threading.Event()
        held = asyncio.create_task(FOR_CALLBACKS.run("another", gate.wait))
        try:
            lines = secret.encode() * 10
            post = api.client.post(
                "/flow/trigger.json", params=params, content=lines, headers=plain
            )
            posted = asyncio.create_task(post)
            async with asyncio.timeout(LONG_S):
                await waits_for_its_turn(posted)
        finally:
            gate.set()
        assert (await posted).json() == {"result": "ok"}
        assert await held
