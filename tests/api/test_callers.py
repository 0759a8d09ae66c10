"""Where a switch demands it, callers sign their requests; otherwise anybody may call."""

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from msgspec.structs import replace

from rillflow.actors.dispatcher_actor import http_settings
from rillflow.gateways.callbacks.urls import callback_url, signature
from rillflow.settings import Settings
from serve.middleware.signatures import AHEAD_MS, MINUTES_MS, UsedSignatures, request_signature
from tests.api.definition_texts import PASS, SUSPENDED
from tests.api.serving import Api, MovableClock, refusal_of, served

SECRET: Final = "abc123"
SETTINGS: Final[dict[str, Any]] = {
    "auth_secret": SECRET,
    "switches": {"ENABLE_AUTH_RESOLVER": True},
}
RILL_FLOWS: Final = SETTINGS | {"auth_signature": "parameters"}
DAY_S: Final = 24 * 3600
GET: Final = "/flow/get.json"


@asynccontextmanager
async def open_to_callers(settings: dict[str, Any]) -> AsyncIterator[Api]:
    """A server that has run for as long as it takes no signature at all."""
    async with served(**settings) as api:
        api.clock.advance(AHEAD_MS / 1000)
        yield api


def signed(
    api: Api,
    method: str,
    path: str,
    params: Mapping[str, str],
    *,
    body: bytes = b"",
    ago_s: float = 0,
    secret: str = SECRET,
) -> dict[str, str]:
    fields = {**params, "ts": str(api.clock.now_ms() - int(ago_s * 1000))}
    if body:
        fields["body_sha256"] = hashlib.sha256(body).hexdigest()
    return {**fields, "sign": request_signature(secret, method, path, fields)}


def signed_parameters(api: Api, *, ago_s: float = 0, **params: str) -> dict[str, str]:
    params["ts"] = str(api.clock.now_ms() - int(ago_s * 1000))
    return {**params, "sign": signature(SECRET, params)}


def is_taken(answer: httpx.Response) -> bool:
    """Tell whether the caller was believed; a refusal is Rill Flow's, and says why."""
    if "authentication failed" not in answer.text:
        return True
    status, code, text = refusal_of(answer)
    assert (status, code) == (500, 30101)
    assert text.startswith("authentication failed: ")
    return False


async def get(api: Api, params: Any, path: str = GET) -> bool:
    return is_taken(await api.client.get(path, params=params))


async def test_a_signed_request_is_taken_once() -> None:
    async with open_to_callers(SETTINGS) as api:
        params = signed(api, "GET", GET, {"execution_id": "a b*~/:"})
        assert await get(api, params)
        assert not await get(api, params)
        assert not await get(api, dict(reversed(params.items())))
        assert await get(api, signed(api, "GET", GET, {"execution_id": "a", "nonce": "2"}))


async def test_a_signature_is_for_one_method_path_parameters_and_body() -> None:
    body = b'{"name":"Bob"}'
    path = "/flow/submit.json"
    async with open_to_callers(SETTINGS) as api:
        await api.stack.add_descriptor("shop", "order", "release", PASS)
        good = signed(api, "POST", path, {"descriptor_id": "shop:order"}, body=body)
        changed: tuple[tuple[str, str, Any, bytes], ...] = (
            ("POST", path, good, b'{"name":"Eve"}'),
            ("POST", path, good, body + b" "),
            ("POST", path, good, b""),
            ("POST", path, {**good, "body_sha256": hashlib.sha256(b"{}").hexdigest()}, b"{}"),
            ("POST", path, {**good, "more": "x"}, body),
            ("POST", path, {**good, "descriptor_id": "shop:other"}, body),
            ("POST", path, [("descriptor_id", "shop:other"), *good.items()], body),
            ("POST", path, [*good.items(), ("descriptor_id", "shop:other")], body),
            ("POST", path, {k: v for k, v in good.items() if k != "body_sha256"}, body),
            ("POST", "/flow/convert.json", good, body),
            ("GET", path, good, b""),
        )
        for method, other_path, params, content in changed:
            answer = await api.client.request(method, other_path, params=params, content=content)
            assert not is_taken(answer), (method, other_path, params)
        fresh = signed(api, "POST", path, {"descriptor_id": "shop:order", "n": "2"}, body=body)
        answer = await api.client.post(path, params=fresh, content=body)
        assert answer.status_code == 200
        no_body = signed(api, "POST", path, {"descriptor_id": "shop:order"})
        answer = await api.client.post(path, params=no_body, content=body)
        assert not is_taken(answer)


async def test_head_is_signed_as_get_and_counts_once_as_well() -> None:
    path = "/flow/gateways.json"
    async with open_to_callers(SETTINGS) as api:
        params = signed(api, "GET", path, {})
        assert (await api.client.head(path, params=params)).status_code == 200
        assert not await get(api, params, path)
        of_head = signed(api, "HEAD", path, {"n": "2"})
        assert (await api.client.head(path, params=of_head)).status_code == 500


async def test_a_posted_form_is_signed_as_parameters() -> None:
    path = "/flow/cancel.json"
    async with open_to_callers(SETTINGS) as api:
        params = signed(api, "POST", path, {"execution_id": "shop:order_c_x"})
        changed = {**params, "execution_id": "shop:order_c_y"}
        assert not is_taken(await api.client.post(path, data=changed))
        assert is_taken(await api.client.post(path, data=params))
        assert not is_taken(await api.client.post(path, data=params))


async def test_anything_else_is_refused() -> None:
    async with open_to_callers(SETTINGS) as api:
        fields = {"execution_id": "a"}
        api.clock.advance(DAY_S)
        for bad in (
            fields,
            {**signed(api, "GET", GET, fields), "sign": "é"},
            {"execution_id": "a", "ts": "soon", "sign": "x"},
            signed(api, "GET", GET, fields, ago_s=MINUTES_MS / 1000 + 1),
            signed(api, "GET", GET, fields, ago_s=-AHEAD_MS / 1000 - 1),
            signed(api, "GET", GET, fields, secret="other"),
            signed_parameters(api, execution_id="a"),
        ):
            assert not await get(api, bad), bad


@pytest.mark.parametrize("settings", [SETTINGS, RILL_FLOWS])
async def test_what_another_process_may_have_taken_before_the_start_is_refused(
    settings: dict[str, Any],
) -> None:
    clock = MovableClock()
    clock.stop()
    async with served(clock=clock, **settings) as api:
        for ago_s in (60, 0, -0.1):  # signed then; the last with a clock ahead
            used = signed(api, "GET", GET, {"execution_id": "a"}, ago_s=ago_s)
            assert not await get(api, used)
            if settings is RILL_FLOWS:
                assert not await get(api, signed_parameters(api, execution_id="a", ago_s=ago_s))
        api.clock.advance(AHEAD_MS / 1000 + 1)
        assert await get(api, signed(api, "GET", GET, {"execution_id": "a"}))
        assert not await get(api, used)


async def test_a_clock_that_is_a_little_ahead_does_no_harm() -> None:
    async with open_to_callers(SETTINGS) as api:
        fields = {"execution_id": "a"}
        assert await get(api, signed(api, "GET", GET, fields, ago_s=-AHEAD_MS / 1000 + 1))
        assert await get(api, signed(api, "GET", GET, fields))


async def test_rill_flows_form_is_taken_once_where_a_setting_says_so() -> None:
    async with served(**RILL_FLOWS) as api:
        api.clock.advance(DAY_S)
        params = signed_parameters(api, execution_id="a b*~/:", ago_s=DAY_S - 60)
        assert not await get(api, {**params, "execution_id": "b"})
        assert not await get(api, [*params.items(), ("execution_id", "b")])
        assert await get(api, params)
        assert not await get(api, params)
        assert not await get(api, signed_parameters(api, execution_id="a", ago_s=DAY_S + 60))
        assert not await get(api, signed_parameters(api, execution_id="a", ago_s=-60))
        assert await get(api, signed(api, "GET", GET, {"execution_id": "a"}))
        form = signed_parameters(api, execution_id="a")
        assert is_taken(await api.client.post("/flow/cancel.json", data=form))


@pytest.mark.parametrize("task", ["wait", ""])
@pytest.mark.parametrize("keys", [(), ("key",)])
async def test_the_signature_of_a_callback_address_is_no_callers(
    task: str, keys: tuple[str, ...]
) -> None:
    async with open_to_callers(RILL_FLOWS) as api:
        given = callback_url(
            replace(http_settings(api.stack.settings), callback_keys=keys),
            execution_id="shop:order_c_a",
            task=task,
            attempt=1,
            ts_ms=api.clock.now_ms(),
            signed=True,
        )
        query = dict(parse_qsl(urlsplit(given).query))
        unsigned = {name: text for name, text in query.items() if name != "sign"}
        assert query["sign"] == signature(SECRET, unsigned)
        for path in (GET, "/flow/redo.json", "/flow/cancel.json", "/flow/wakeup.json"):
            assert not is_taken(await api.client.post(path, params=query)), path
        shorter = {name: text for name, text in query.items() if name != "purpose"}
        assert not await get(api, shorter)


def test_where_callers_sign_requests_a_callback_address_is_rill_flows_own() -> None:
    given = callback_url(
        http_settings(Settings(**SETTINGS)),
        execution_id="shop:order_c_a",
        task="wait",
        attempt=1,
        ts_ms=5,
        signed=True,
    )
    assert sorted(dict(parse_qsl(urlsplit(given).query))) == [
        "execution_id",
        "sign",
        "task_name",
        "ts",
    ]


async def test_without_a_secret_nobody_can_sign() -> None:
    async with served(switches={"ENABLE_AUTH_RESOLVER": True}) as api:
        assert not await get(api, signed(api, "GET", GET, {"execution_id": "a"}, secret=""))


async def test_callbacks_the_page_and_health_are_open_and_nothing_else() -> None:
    async with open_to_callers(SETTINGS) as api:
        await api.stack.add_descriptor("shop", "order", "release", SUSPENDED)
        params = signed(api, "POST", "/flow/submit.json", {"descriptor_id": "shop:order"})
        submitted = await api.post("/flow/submit.json", b"", **params)
        call = {"execution_id": submitted["execution_id"], "task_name": "wait"}
        assert await api.post("/flow/trigger.json", {"go": True}, **call) == {"result": "ok"}
        for path in ("/flow/service_check.json", "/healthz", "/readyz", "/docs"):
            assert (await api.client.get(path)).status_code == 200
        assert (await api.client.options("/flow/submit.json")).status_code == 204
        for path in ("submit.json", "wakeup.json", "bg/manage/descriptor/modify_business.json"):
            assert (await api.refusal(f"/flow/{path}"))[:2] == (500, 30101)
        for path in (
            "/flow/bg/get_business_options.json",
            "/flow/bg/get_execution_ids.json",
            "/flow/bg/get_execution.json",
            "/flow/bg/user/currentUser.json",
            "/flow/dag/details.json",
            "/flow/template/get_meta_data_list.json",
            "/flow/get_execution_ids.json",
            "/openapi.json",
            "/nothing",
        ):
            assert not await get(api, {}, path), path


async def test_signed_callers_are_nobody_for_rules_and_unknown_ones_127001() -> None:
    for settings, uid in ((SETTINGS, 0), ({}, 127001)):
        async with open_to_callers(settings) as api:
            store = api.stack.store
            await api.stack.add_descriptor("shop", "order", "release", PASS)
            text = PASS.replace("type: flow", "type: flow\nversion: gray")
            await api.stack.add_descriptor("shop", "order", "gray", text)
            await store.set_rule("gray", ("shop", "order"), "gray", f"uid == {uid}")
            submit = "/flow/submit.json"
            params = signed(api, "POST", submit, {"descriptor_id": "shop:order"})
            submitted = await api.post(submit, b"", **params)
            await api.stack.wait(submitted["execution_id"], 10)
            params = signed(api, "GET", GET, {"execution_id": submitted["execution_id"]})
            shown = await api.get(GET, **params)
            assert shown["ret"]["version"] == "gray"


def test_what_is_forgotten_for_want_of_room_is_refused() -> None:
    used = UsedSignatures(since_ms=0, most=3)
    assert all(used.use(f"sign-{ts}", ts) for ts in (10, 11, 12, 13))
    assert not any(used.use(f"sign-{ts}", ts) for ts in (10, 11, 12, 13))
    assert not used.use("unused, and as old as a forgotten one", 10)
    assert used.use("newer", 14)
    used.forget(before_ms=14)
    assert not used.use("newer", 14)


def test_a_caller_whose_clock_is_ahead_shuts_out_nobody_else() -> None:
    used = UsedSignatures(since_ms=0, most=3)
    assert all(used.use(f"ahead-{ts}", ts) for ts in (1_000, 1_001, 1_002))
    assert all(used.use(f"right-{ts}", ts) for ts in (10, 11, 12))
    assert not any(used.use(f"right-{ts}", ts) for ts in (10, 11, 12))
    assert not used.use("ahead-1000", 1_000)
    used.forget(before_ms=1_001)
    assert used.use("ahead and unused", 1_000)
    assert not used.use("ahead-1001", 1_001)


@pytest.mark.parametrize(("name", "on"), [("ENABLE_AUTH_RESOLVER", False), ("ENABLE_X", False)])
async def test_switches_are_off_unless_known_and_on(api: Api, name: str, *, on: bool) -> None:
    assert api.stack.settings.switch(name) is on
