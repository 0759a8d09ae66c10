"""Hosts in trouble and hosts with limits: nothing fails by it, everybody can see it (spec 9.2)."""

import asyncio
import os
from typing import Any

from rillflow.testing import FunctionRequest
from tests.api.definition_texts import PASS, SUSPENDED, calling
from tests.api.serving import Api, refusal_of, served

GATEWAYS = "/flow/gateways.json"
RETRIES = "    retry: {maxRetryTimes: 50, intervalInSeconds: 0}\n"


class Patient:
    """A function that is ill until it is healed."""

    def __init__(self) -> None:
        self.is_well = False

    def __call__(self, _: FunctionRequest) -> object:
        return {"a": 1} if self.is_well else (503, "not now", {})


class ApiKeyGate:
    """A function that answers when it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.called = asyncio.Event()

    async def __call__(self, _: FunctionRequest) -> dict[str, Any]:
        self.called.set()
        await self.opened.wait()
        return {"a": 1}


async def hosts(api: Api) -> list[dict[str, Any]]:
    [dispatcher] = (await api.get(GATEWAYS))["dispatchers"]
    assert (dispatcher["dispatcher"], dispatcher["reached"]) == (0, True)
    return list(dispatcher["hosts"])


async def until_open(api: Api, function: str) -> dict[str, Any]:
    """Return what is shown of the one host when the circuit of a function is open."""
    while True:
        for host in await hosts(api):
            if host["functions"].get(function, {}).get("state") == "open":
                return host


async def until_counted(api: Api, calls: tuple[int, int]) -> dict[str, Any]:
    """Return what is shown of the one host once so many calls are under way and waiting."""
    async with asyncio.timeout(60):
        while True:
            [host] = await hosts(api)
            if (host["under_way"], host["waiting"]) == calls:
                return host


async def test_a_function_that_fails_is_left_alone_until_it_recovers_and_all_succeed() -> None:
    work = Patient()
    limits: dict[str, Any] = {
        "breaker_failures": 3,
        "breaker_pause_s": 0.1,
        "breaker_longest_pause_s": 0.4,
    }
    async with served({"work": work, "well": lambda _: {"a": 2}}, **limits) as api:
        ill = await api.add(calling("work", more=RETRIES))
        started = [await api.submit(ill) for _ in range(5)]
        url = f"{api.gateway.url}/function/work"
        host = await until_open(api, url)
        assert host["host"] == api.gateway.url
        assert host["circuit"]["state"] == "closed", "the host itself is reached"
        assert host["functions"][url]["failures_in_a_row"] >= 3
        assert 0 < host["functions"][url]["open_for_s"] <= 0.4
        beside = await api.run(calling("well", name="beside"))
        assert beside["dag_status"] == "SUCCEED", "another function of the same gateway"

        work.is_well = True
        ended = [await api.ended(execution_id) for execution_id in started]
        assert [shown["dag_status"] for shown in ended] == ["SUCCEED"] * 5
        [host] = await hosts(api)
        assert (host["host"], host["functions"]) == (api.gateway.url, {})
        assert (host["under_way"], host["waiting"], host["held"]) == (0, 0, 0)
        assert host["circuit"] == {"state": "closed", "failures_in_a_row": 0, "open_for_s": 0.0}
        assert 0 <= host["idle_s"] < 60


async def test_the_calls_of_a_process_that_is_gone_use_up_no_limit() -> None:
    work = ApiKeyGate()
    limits: dict[str, Any] = {"limit_per_host": 1, "rate_per_host": 50.0}
    async with served({"work": work}, **limits) as api:
        slow = await api.add(calling("work"))
        started = [await api.submit(slow) for _ in range(4)]
        await asyncio.wait_for(work.called.wait(), 60)
        host = await until_counted(api, (1, 3))
        assert host["rate_per_s"] == 50.0
        await api.stack.executions.stop()  # type: ignore[attr-defined]

        async with served({"other": work}, store=api.stack.store, **limits) as again:
            work.opened.set()
            ended = [await again.ended(execution_id) for execution_id in started]
            assert [shown["dag_status"] for shown in ended] == ["SUCCEED"] * 4
            host = await until_counted(again, (0, 0))
            assert host["held"] == 0
            assert host["idle_s"] >= 0, "it is shown for a while"


async def test_too_many_unanswered_calls_refuse_submissions_and_no_callbacks() -> None:
    work = ApiKeyGate()
    async with served({"work": work}, max_unanswered_calls=2, limit_per_host=1) as api:
        waits = await api.submit(await api.add(SUSPENDED, "waits"))
        slow = await api.add(calling("work"))
        started = [await api.submit(slow) for _ in range(2)]
        await asyncio.wait_for(work.called.wait(), 60)
        await until_counted(api, (1, 1))

        refused = await api.client.post(
            "/flow/submit.json", params={"descriptor_id": slow}, json={}
        )
        assert refusal_of(refused)[:2] == (429, 30201)
        assert "calls wait for their answers" in refused.json()["error"]
        assert refused.headers["Retry-After"] == "1"
        await api.post("/flow/trigger.json", {"go": True}, execution_id=waits, task_name="wait")
        assert (await api.ended(waits))["dag_status"] == "SUCCEED"

        work.opened.set()
        for execution_id in started:
            assert (await api.ended(execution_id))["dag_status"] == "SUCCEED"
        assert await api.submit(slow), "there is room again"


async def test_too_long_inputs_of_unanswered_calls_refuse_submissions_of_their_workspace() -> None:
    work = ApiKeyGate()
    async with served({"work": work}, max_unanswered_bytes=10_000, limit_per_host=1) as api:
        slow = await api.add(calling("work"))
        small = await api.add(PASS.replace("shop", "other"))
        started = [await api.submit(slow, {"a": "n" * 4_900}) for _ in range(2)]
        await asyncio.wait_for(work.called.wait(), 60)

        refused = await api.client.post(
            "/flow/submit.json", params={"descriptor_id": slow}, json={}
        )
        assert refusal_of(refused)[:2] == (429, 30201)
        assert (await api.ended(await api.submit(small)))["dag_status"] == "SUCCEED"

        work.opened.set()
        for execution_id in started:
            assert (await api.ended(execution_id))["dag_status"] == "SUCCEED"
        assert await api.submit(slow), "there is room again"


async def test_the_longest_turn_of_each_event_loop_is_shown(api: Api) -> None:
    [own, actor] = (await api.get("/flow/event_loops.json"))["event_loops"]
    assert (own["process"], own["reached"], own["pid"]) == ("replica", True, os.getpid())
    assert own["longest_ms"] >= own["longest_of_minute_ms"] >= 0
    assert own["slow_turns"] >= 0
    assert actor == {"process": "rillflow:execution:0", "reached": False}
