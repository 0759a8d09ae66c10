"""With callback keys only the address that an attempt was given ends that attempt."""

import asyncio
import gzip
import json
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from rillflow.gateways.callbacks.seals import seal
from rillflow.gateways.callbacks.urls import signature
from rillflow.ports.executions import ResourceCall
from rillflow.settings import Settings
from rillflow.testing import FunctionRequest
from tests.api.definition_texts import SUSPENDED, calling
from tests.api.serving import Api, refusal_of, served

OLD: Final = "the-old-key"
NEW: Final = "the-new-key"
FINISH: Final = "/flow/finish.json"
TRIGGER: Final = "/flow/trigger.json"
TTL_S: Final = 3600


class Work:
    """A function that keeps the addresses it is given and calls nobody."""

    def __init__(self) -> None:
        self.addresses: asyncio.Queue[dict[str, str]] = asyncio.Queue()

    def __call__(self, request: FunctionRequest) -> dict[str, Any]:
        address = urlsplit(request.headers["X-Callback-Url"])
        assert address.path == TRIGGER
        self.addresses.put_nowait(dict(parse_qsl(address.query)))
        return {}


async def started(api: Api, work: Work, more: str = "") -> tuple[str, dict[str, str]]:
    """Start an execution that waits for a callback; return its id and the address."""
    text = calling("work", pattern="task_async", more=more)
    execution_id = await api.submit(await api.add(text))
    return execution_id, await work.addresses.get()


async def status_of(api: Api, execution_id: str) -> Any:
    shown = await api.shown(execution_id)
    return shown["tasks"]["A"]["status"]


async def called_back(api: Api, address: dict[str, str]) -> tuple[int, str]:
    """Call back; return the status of the answer and the text of a refusal."""
    response = await api.client.post(TRIGGER, params=address, json={"a": 1})
    if response.status_code == 200:
        return 200, ""
    status, code, text = refusal_of(response)
    assert code == 30108
    return status, text


async def test_the_address_that_was_given_is_taken_once_and_known_again() -> None:
    work = Work()
    async with served({"work": work}, callback_keys=(NEW,)) as api:
        execution_id, address = await started(api, work)
        assert await called_back(api, address) == (200, "")
        assert (await api.ended(execution_id))["dag_status"] == "SUCCEED"
        repeated = await api.post(TRIGGER, {"a": 2}, **address)
        assert repeated == {"result": "ok", "duplicate": True}


@pytest.mark.parametrize(
    "change",
    [
        {"seal": ""},
        {"seal": "forged"},
        {"seal": "é"},
        {"attempt": "2"},
        {"attempt": ""},
        {"attempt": "one"},
        {"expires": "9999999999"},
        {"expires": ""},
        {"task_name": "B"},
        {"execution_id": "shop:order_c_00000000-0000-7000-8000-000000000000"},
        {"seal": None},
        {"seal": None, "attempt": None, "expires": None},
        {"attempt": None},
        {"expires": None},
        {"status": "failed", "seal": "x"},
    ],
)
async def test_a_forged_address_changes_nothing(change: dict[str, str | None]) -> None:
    work = Work()
    async with served({"work": work}, callback_keys=(NEW,)) as api:
        execution_id, address = await started(api, work)
        before = await api.shown(execution_id)
        forged: dict[str, Any] = {**address, **change}
        forged = {name: value for name, value in forged.items() if value is not None}
        response = await api.client.post(TRIGGER, params=forged, json={"a": 1})
        assert response.status_code == 403
        assert NEW not in response.text
        assert await api.shown(execution_id) == before
        assert await called_back(api, address) == (200, "")


async def test_an_address_of_another_key_is_refused_and_of_an_older_one_taken() -> None:
    work = Work()
    async with served({"work": work}, callback_keys=(NEW, OLD)) as api:
        execution_id, address = await started(api, work)
        facts: dict[str, Any] = {
            "execution_id": execution_id,
            "task": "A",
            "attempt": 1,
            "expires_s": int(address["expires"]),
        }
        assert address["seal"] == seal(NEW, **facts)["seal"], "the first key signs"
        foreign = {**address, **seal("somebody-elses", **facts)}
        assert (await called_back(api, foreign))[0] == 403
        assert await status_of(api, execution_id) == "RUNNING"
        assert (await called_back(api, {**address, **seal(OLD, **facts)}))[0] == 200


async def test_an_address_is_good_until_its_time_is_over() -> None:
    work = Work()
    async with served({"work": work}, callback_keys=(NEW,), callback_ttl_s=TTL_S) as api:
        execution_id, address = await started(api, work)
        assert int(address["expires"]) == int(address["ts"]) // 1000 + TTL_S
        api.clock.advance(TTL_S + 2)
        status, text = await called_back(api, address)
        assert (status, text) == (403, "the time of the callback address is over")
        assert await status_of(api, execution_id) == "RUNNING"
        api.clock.advance(-60)
        assert (await called_back(api, address))[0] == 200


async def test_the_address_of_an_attempt_before_is_refused() -> None:
    work = Work()
    retry = "    retry: {maxRetryTimes: 1, intervalInSeconds: 0}\n"
    async with served({"work": work}, callback_keys=(NEW,)) as api:
        execution_id, first = await started(api, work, retry)
        await api.post(TRIGGER, {}, status="failed", **first)
        second = await work.addresses.get()
        assert (first["attempt"], second["attempt"]) == ("1", "2")
        status, text = await called_back(api, first)
        assert (status, "for this attempt of task A" in text) == (403, True)
        assert await status_of(api, execution_id) == "RUNNING"
        assert (await called_back(api, second))[0] == 200
        assert (await called_back(api, first))[0] == 403, "also when the task has ended"


async def test_suspense_tasks_are_woken_up_without_a_seal() -> None:
    async with served(callback_keys=(NEW,)) as api:
        execution_id = await api.submit(await api.add(SUSPENDED))
        call = {"execution_id": execution_id, "task_name": "wait"}
        assert await api.post(TRIGGER, {"go": True}, **call) == {"result": "ok"}
        assert (await api.ended(execution_id))["dag_status"] == "SUCCEED"


async def test_a_busy_function_is_believed_only_with_a_seal() -> None:
    work = Work()
    async with served({"work": work}, callback_keys=(NEW,)) as api:
        execution_id, address = await started(api, work)
        busy = {"error_detail": {"retry_interval_seconds": 600}}
        forged = {"execution_id": execution_id, "task_name": "A"}
        assert (await api.refusal(TRIGGER, busy, **forged))[0] == 403
        shown = await api.get("/flow/runtime_dependent_resources.json", service_ids="shop:order")
        [facts] = shown["shop:order"]["task_name_order"]["A"].values()
        assert facts["resource_limited_time"] == 0
        await api.post(TRIGGER, busy, **address)
        shown = await api.get("/flow/runtime_dependent_resources.json", service_ids="shop:order")
        [facts] = shown["shop:order"]["task_name_order"]["A"].values()
        assert facts["resource_limited_time"] > 0


async def busy_for(api: Api, service: str) -> bool:
    """Tell whether calls of a service to a function are held back."""
    replies = await api.stack.executions.ask_all(ResourceCall(kind="blocks", service=service))
    return any(reply.body != b"{}" for reply in replies)


@pytest.mark.parametrize(
    ("keys", "path", "holds_workspace"),
    [((NEW,), TRIGGER, True), ((NEW,), FINISH, False), ((), TRIGGER, False), ((), FINISH, False)],
)
async def test_a_callback_holds_back_the_calls_of_its_workspace_only_with_its_seal(
    keys: tuple[str, ...], path: str, *, holds_workspace: bool
) -> None:
    work = Work()
    async with served({"work": work}, callback_keys=keys) as api:
        _, address = await started(api, work)
        busy = {"sys_info": {"retry_interval_seconds": 600}}
        assert await api.post(path, busy, **address) == {"result": "ok"}
        assert await busy_for(api, "shop:order")
        assert await busy_for(api, "shop:other") is holds_workspace
        assert not await busy_for(api, "toys:order")
        other = calling("work").replace("dagName: order", "dagName: other")
        waiting = await api.submit(await api.add(other))
        if holds_workspace:
            assert (await api.shown(waiting, wait_s=0.2))["tasks"]["A"]["status"] == "RUNNING"
        else:
            assert (await api.ended(waiting))["dag_status"] == "SUCCEED"


async def test_without_keys_addresses_are_those_of_the_original() -> None:
    work = Work()
    async with served({"work": work}) as api:
        _, address = await started(api, work)
        assert set(address) == {"execution_id", "task_name", "ts"}
        assert (await called_back(api, {**address, "seal": "any"}))[0] == 200


async def test_the_signature_of_the_original_covers_the_seal() -> None:
    work = Work()
    settings: dict[str, Any] = {"auth_secret": "abc", "auth_businesses": ("shop",)}
    async with served({"work": work}, callback_keys=(NEW,), **settings) as api:
        _, address = await started(api, work)
        sign = address.pop("sign")
        assert {"seal", "attempt", "expires"} < set(address)
        assert sign == signature("abc", address)


def test_settings_that_would_sign_with_nothing_are_refused() -> None:
    ways: list[dict[str, Any]] = [
        {"callback_keys": ("",)},
        {"callback_keys": ""},
        {"auth_businesses": ("shop",)},
    ]
    for wrong in ways:
        with pytest.raises(ValueError, match=r"empty"):
            Settings(**wrong)


@pytest.mark.parametrize("packed", [False, True])
async def test_a_function_that_repeats_its_address_shows_nobody_the_seal(*, packed: bool) -> None:
    def echo(request: FunctionRequest) -> dict[str, Any]:
        return {"a": dict(request.headers)}

    async with served({"work": echo}, callback_keys=(NEW,)) as api:
        await api.add(calling("work", pattern="task_sync"))
        shown = await api.ended(await api.submit("shop:order"))
        given = json.dumps(shown)
        assert "X-Callback-Url" in given
        assert "seal=***" in given
    work = Work()
    async with served({"work": work}, callback_keys=(NEW,)) as api:
        execution_id, address = await started(api, work)
        body = json.dumps({"a": f"http://x{TRIGGER}?{urlencode(address)}"}).encode()
        headers = {"Content-Encoding": "gzip"} if packed else {}
        content = gzip.compress(body) if packed else body
        await api.client.post(TRIGGER, params=address, content=content, headers=headers)
        given = json.dumps(await api.ended(execution_id))
        assert "seal=***" in given
        assert address["seal"] not in given


async def test_progress_needs_the_seal_of_the_present_attempt() -> None:
    work = Work()
    async with served({"work": work}, callback_keys=(NEW,)) as api:
        execution_id, address = await started(api, work)
        told = {"progress": "0.4", "message": "frame 12 of 30"}
        for forged in ({"seal": "forged"}, {"attempt": "2"}, {"expires": "9999999999"}):
            assert (await called_back(api, {**address, **told, **forged}))[0] != 200
        assert "progress" not in (await api.shown(execution_id))["tasks"]["A"]
        assert await api.post(TRIGGER, {}, **address, **told) == {"result": "ok"}
        shown = (await api.shown(execution_id))["tasks"]["A"]
        assert shown["status"] == "RUNNING"
        assert shown["progress"].items() >= {"fraction": 0.4, "message": "frame 12 of 30"}.items()
