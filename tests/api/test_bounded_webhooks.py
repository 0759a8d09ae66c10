"""A webhook is bounded, and belongs to its workspace and its definition."""

import asyncio
import json
from pathlib import Path
from typing import Any, Final

import pytest

from serve.limits.webhook_limits import (
    BURST_OF_ADDRESS,
    BURST_OF_WEBHOOK,
    COST_OF_FAILURE,
    MOST_BODIES_OF_WEBHOOK,
)
from tests.api.definition_texts import PASS
from tests.api.serving import served
from tests.api.test_access import FIRST, made, shown
from tests.api.test_webhooks import (
    BY_NAME,
    GITHUB,
    HOOKS,
    JSON,
    NONE,
    OURS,
    SECRET,
    call,
    count_of,
    of_github,
    put,
    started,
)
from tests.api.turns_of_loop import Loop


@pytest.fixture(name="secrets")
def _secrets(tmp_path: Path) -> Path:
    (tmp_path / "HOOK").write_text(f"{SECRET}\n", encoding="utf-8")
    return tmp_path


async def test_an_address_that_fails_often_is_told_to_come_later(secrets: Path) -> None:
    async with served(secrets_dir=secrets) as api:
        await api.add(PASS)
        await put(api, "push", GITHUB)
        api.clock.stop_all()
        stranger = {**JSON, "X-Forwarded-For": "203.0.113.7"}
        times = range(BURST_OF_ADDRESS // COST_OF_FAILURE + 1)
        statuses = [(await call(api, "nowhere", b"", stranger)).status_code for _ in times]
        assert statuses == [404] * (len(statuses) - 1) + [429]
        response = await call(api, "push", b"{}", of_github(b"{}") | stranger)
        assert (response.status_code, response.headers["Retry-After"]) == (429, "1")
        other = of_github(b"{}") | {"X-Forwarded-For": "203.0.113.8"}
        await started(await call(api, "push", b"{}", other))
        api.clock.advance(10)
        await started(await call(api, "push", b"{}", of_github(b"{}") | stranger))


async def test_strangers_take_nothing_of_what_a_webhook_may_have(secrets: Path) -> None:
    async with served(secrets_dir=secrets) as api:
        await api.add(PASS)
        await put(api, "push", GITHUB)
        api.clock.stop_all()
        body, unsigned = b"{}", of_github(b"{}", secret="x")
        for _ in range(10):
            assert (await call(api, "push", body, unsigned)).status_code == 401
        signed = of_github(body, "d")
        times = range(BURST_OF_WEBHOOK + 1)
        statuses = [(await call(api, "push", body, signed)).status_code for _ in times]
        assert statuses == [202] * BURST_OF_WEBHOOK + [429]
        assert await count_of(api) == 1


async def test_bodies_that_do_not_arrive_leave_room_for_other_webhooks() -> None:
    async with served() as api:
        await api.add(PASS)
        await put(api, "open", NONE)
        await put(api, "other", NONE)
        port, head = api.stack.settings.port, b"POST /flow/hooks/open HTTP/1.1\r\nHost: localhost"
        opened = []
        for _ in range(MOST_BODIES_OF_WEBHOOK):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head + b"\r\nContent-Length: 10\r\n\r\n")
            opened.append((reader, writer))
        try:
            async with asyncio.timeout(60):
                while (await call(api, "open", b"{}", JSON)).status_code != 429:
                    pass  # the bodies are on their way
            await started(await call(api, "other", b"{}", JSON))
        finally:
            for _, writer in opened:
                writer.close()


async def test_requests_that_nobody_has_signed_take_no_place_of_those_that_wait(
    secrets: Path,
) -> None:
    """Their bodies do not arrive, so it is not known yet whether the signature is right."""
    async with served(secrets_dir=secrets, waiting_requests=1) as api:
        await api.add(PASS)
        await put(api, "push", {**GITHUB, "wait_s": 60})
        signature = of_github(b"{}")["X-Hub-Signature-256"]
        reader, writer = await asyncio.open_connection("127.0.0.1", api.stack.settings.port)
        writer.write(
            b"POST /flow/hooks/push HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 10\r\nExpect: 100-continue\r\n"
            + f"X-Hub-Signature-256: {signature}\r\n\r\n".encode()
        )
        try:
            # The server asks for the body when it begins to read it.
            assert b"100 Continue" in await asyncio.wait_for(reader.readline(), 60)
            response = await call(api, "push", b"{}", of_github(b"{}"))
            assert response.status_code == 200, "it waits for the end"
            assert response.json()["ret"]["dag_status"] == "SUCCEED"
        finally:
            writer.close()


DECLARED: Final = f"""{PASS}triggers:
  - name: push
    webhook: {{signature: github, secret: '{BY_NAME}', mapping: {{a: $.body.n}}}}
"""


async def test_a_declared_webhook_lives_and_dies_with_its_alias(secrets: Path) -> None:
    async with served(secrets_dir=secrets) as api:
        await api.add(DECLARED)
        trigger = await api.get(f"{OURS}/show.json", trigger_id="shop:order:release/push")
        assert trigger["path"] == f"{HOOKS}/shop:order:release:push"
        body = b'{"n": 5}'
        name = "shop:order:release:push"
        execution = await started(await call(api, name, body, of_github(body)))
        assert (await api.ended(execution))["context"]["a"] == 5
        await api.post(f"{OURS}/pause.json", trigger_id="shop:order:release/push")
        assert (await call(api, name, body, of_github(body))).status_code == 503
        await api.add(PASS)
        assert (await call(api, name, body, of_github(body))).status_code == 404


async def test_nobody_takes_the_name_of_a_webhook_that_a_definition_may_declare() -> None:
    async with served() as api:
        new: dict[str, Any] = {"descriptor_id": "a:b", "webhook": NONE}
        for taken in ("shop:order:release/push", "shop:order:release:push", "b:b", "", "a/b"):
            refusal = await api.refusal(f"{OURS}/add.json", new | {"id": taken})
            assert refusal[0] == 400, taken
        assert (await api.refusal(f"{OURS}/add.json", new))[0] == 400
        await api.add(DECLARED)


async def test_a_key_of_a_workspace_adds_and_sees_webhooks_of_it_only(secrets: Path) -> None:
    async with served(api_key=FIRST, secrets_dir=secrets) as api:
        admin = shown(FIRST)
        api.client.headers.update(admin)
        await api.add(PASS)
        await put(api, "theirs", GITHUB)
        key = await made(api, "limited", "author", workspaces="video")
        api.client.headers.update(shown(key))
        new: dict[str, Any] = {"id": "ours", "descriptor_id": "shop:order", "webhook": NONE}
        assert (await api.refusal(f"{OURS}/add.json", new))[0] == 403
        new |= {"id": "theirs", "descriptor_id": "video:order", "replace": True}
        assert (await api.refusal(f"{OURS}/add.json", new))[0] == 400
        await api.post(f"{OURS}/add.json", new | {"id": "video:ours"})
        listed = await api.get(f"{OURS}/list.json")
        assert [each["id"] for each in listed["triggers"]] == ["video:ours"]
        assert (await api.get_refusal(f"{OURS}/show.json", trigger_id="theirs"))[1] == 30106


async def test_no_body_of_a_webhook_holds_the_loop(secrets: Path) -> None:
    async with served(secrets_dir=secrets) as api:
        await api.add(PASS)
        paths = {f"x{number}": "$..b" for number in range(50)}
        await put(api, "push", {**GITHUB, "mapping": paths})
        bodies = [
            json.dumps({"a": [{"b": 1}] * 40_000}).encode(),
            b'{"a":' + b"[" * 400 + b"1" + b"]" * 400 + b"}",
            b"[" + b"1," * 400_000 + b"1]",
        ]
        async with Loop.measured() as loop:
            for number, body in enumerate(bodies):
                headers = of_github(body)

                async def send(body: bytes = body, headers: dict[str, str] = headers) -> None:
                    response = await call(api, "push", body, headers)
                    assert response.status_code in (202, 413, 422), response.text

                await loop.of(f"body {number}", send)
            loop.assert_free()
