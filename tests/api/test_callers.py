"""Where a switch demands it, callers sign their parameters; otherwise anybody may call."""

from typing import Any

import pytest

from rillflow.gateways.callback_urls import signature
from tests.api.definition_texts import PASS, SUSPENDED
from tests.api.serving import Api, refusal_of, served

SECRET = "abc123"
SETTINGS: dict[str, Any] = {"auth_secret": SECRET, "switches": {"ENABLE_AUTH_RESOLVER": True}}
DAY_S = 24 * 3600


def signed(api: Api, *, ago_s: int = 0, secret: str = SECRET, **params: str) -> dict[str, str]:
    params["ts"] = str(api.clock.now_ms() - ago_s * 1000)
    return {**params, "sign": signature(secret, params)}


async def status_of(api: Api, params: dict[str, str]) -> int:
    response = await api.client.get("/flow/get.json", params=params)
    if response.status_code == 200:
        return 200
    status, code, text = refusal_of(response)
    assert code == 30101
    assert text.startswith("authentication failed: ")
    return status


async def test_signed_parameters_are_taken() -> None:
    async with served(**SETTINGS) as api:
        assert await status_of(api, signed(api, execution_id="a b*~/:")) == 200
        assert await status_of(api, signed(api, execution_id="a", ago_s=DAY_S - 60)) == 200


async def test_anything_else_is_refused() -> None:
    async with served(**SETTINGS) as api:
        good = signed(api, execution_id="a")
        for bad in (
            {"execution_id": "a"},
            {**good, "execution_id": "b"},
            {**good, "more": "x"},
            {**good, "sign": "é"},
            {"execution_id": "a", "ts": "soon", "sign": "x"},
            signed(api, execution_id="a", ago_s=DAY_S + 60),
            signed(api, execution_id="a", ago_s=-DAY_S - 60),
            signed(api, execution_id="a", secret="other"),
        ):
            assert await status_of(api, bad) == 500


async def test_without_a_secret_nobody_can_sign() -> None:
    async with served(switches={"ENABLE_AUTH_RESOLVER": True}) as api:
        assert await status_of(api, signed(api, secret="", execution_id="a")) == 500


async def test_callbacks_the_console_and_health_are_open() -> None:
    async with served(**SETTINGS) as api:
        await api.stack.add_descriptor("shop", "order", "release", SUSPENDED)
        submitted = await api.post("/flow/submit.json", **signed(api, descriptor_id="shop:order"))
        call = {"execution_id": submitted["execution_id"], "task_name": "wait"}
        assert await api.post("/flow/trigger.json", {"go": True}, **call) == {"result": "ok"}
        for path in (
            "/flow/service_check.json",
            "/flow/bg/get_business_options.json",
            "/healthz",
            "/docs",
        ):
            assert (await api.client.get(path)).status_code == 200
        assert (await api.client.options("/flow/submit.json")).status_code == 204
        for path in ("submit.json", "wakeup.json", "bg/manage/descriptor/modify_business.json"):
            assert (await api.refusal(f"/flow/{path}"))[:2] == (500, 30101)


async def test_signed_callers_are_nobody_for_rules_and_unknown_ones_127001() -> None:
    for settings, uid in ((SETTINGS, 0), ({}, 127001)):
        async with served(**settings) as api:
            store = api.stack.store
            await api.stack.add_descriptor("shop", "order", "release", PASS)
            text = PASS.replace("type: flow", "type: flow\nversion: gray")
            await api.stack.add_descriptor("shop", "order", "gray", text)
            await store.set_rule("gray", ("shop", "order"), "gray", f"uid == {uid}")
            params = signed(api, descriptor_id="shop:order")
            submitted = await api.post("/flow/submit.json", **params)
            await api.stack.wait(submitted["execution_id"], 10)
            shown = await api.get(
                "/flow/get.json", **signed(api, execution_id=submitted["execution_id"])
            )
            assert shown["ret"]["version"] == "gray"


@pytest.mark.parametrize(("name", "on"), [("ENABLE_AUTH_RESOLVER", False), ("ENABLE_X", False)])
async def test_switches_are_off_unless_known_and_on(api: Api, name: str, *, on: bool) -> None:
    assert api.stack.settings.switch(name) is on
