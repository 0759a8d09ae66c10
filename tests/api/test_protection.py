"""Functions that ask for it are left alone, and submissions are refused while they are busy."""

import asyncio
import json
from typing import Any

import pytest

from rillflow.stores import open_store
from rillflow.testing import FunctionRequest
from tests.api.definition_texts import PASS, SUSPENDED, calling
from tests.api.serving import served

SUBMIT = "/flow/submit.json"
CHECK = "/flow/status/check.json"
BUSY = {"error_detail": {"retry_interval_seconds": 10}}
TWO = """
workspace: shop
dagName: order
type: flow
tasks:
  - {name: A, category: function, resourceName: "${GW}/function/busy", pattern: task_sync}
  - {name: B, category: function, resourceName: "${GW}/function/free", pattern: task_sync}
"""


def busy(_: FunctionRequest) -> dict[str, Any]:
    return BUSY


def free(_: FunctionRequest) -> dict[str, Any]:
    return {"a": 1}


def skipping(check_type: str, *keys: str) -> str:
    return json.dumps({"check_type": check_type, "key_resources": list(keys)})


@pytest.mark.case("E2E-21")
async def test_a_busy_function_keeps_submissions_away_until_its_time_is_over() -> None:
    async with served({"work": busy}) as api:
        await api.run(calling("work"))
        url = f"{api.gateway.url}/function/work"
        params = {"descriptor_id": "shop:order"}
        refusal = await api.refusal(SUBMIT, **params)
        assert refusal == (400, 30201, f"resource limit resources: {url}")
        assert await api.submit("shop:order", resource_check='{"check_type":"skip"}')
        api.clock.advance(11)
        assert await api.submit("shop:order")


@pytest.mark.parametrize(
    "answer",
    [
        BUSY,
        {"data": {"sys_info": {"retry_interval_seconds": "10"}}},
        {"sys_info": {"retry_interval_seconds": 10}},
    ],
)
@pytest.mark.parametrize("status", [200, 503])
async def test_the_wish_is_found_in_any_answer_that_is_an_object(
    answer: dict[str, Any], status: int
) -> None:
    async with served({"work": lambda _: (status, answer, {})}) as api:
        await api.run(calling("work"))
        assert (await api.refusal(SUBMIT, descriptor_id="shop:order"))[:2] == (400, 30201)


async def test_a_callback_may_bring_the_wish() -> None:
    called = asyncio.Event()

    def work(_: FunctionRequest) -> dict[str, Any]:
        called.set()
        return {}

    async with served({"work": work}) as api:
        execution_id = await api.submit(await api.add(calling("work", pattern="task_async")))
        await asyncio.wait_for(called.wait(), 60)
        await api.post("/flow/trigger.json", BUSY, execution_id=execution_id, task_name="A")
        refusal = await api.refusal(SUBMIT, descriptor_id="shop:order")
        url = f"{api.gateway.url}/function/work"
        assert refusal == (400, 30201, f"resource limit resources: {url}")


async def test_a_callback_that_changes_nothing_brings_no_wish() -> None:
    """Who knew the id of an ended execution could have its functions left alone for hours."""
    async with served({"work": free}) as api:
        execution_id = (await api.run(calling("work")))["execution_id"]
        again = await api.post("/flow/trigger.json", BUSY, execution_id=execution_id, task_name="A")
        assert again["duplicate"] is True
        assert await api.submit("shop:order")


@pytest.mark.parametrize(
    ("check", "keys", "taken"),
    [
        ("short_board", "", False),
        ("long_board", "", True),
        ("key_resource", "busy", False),
        ("key_resource", "free", True),
        ("key_resource", "busy free", True),
        ("key_resource", "", True),
        ("skip", "", True),
    ],
)
async def test_which_busy_functions_matter_is_said_by_the_check(
    check: str, keys: str, *, taken: bool
) -> None:
    async with served({"busy": busy, "free": free}) as api:
        await api.run(TWO)
        named = [f"{api.gateway.url}/function/{key}" for key in keys.split()]
        asked = skipping(check, *named)
        shown = await api.get(CHECK, descriptor_id="shop:order", resource_check=asked)
        assert shown["submit_status"]["resource_check"]["resource_limit"] is not taken
        if taken:
            assert await api.submit("shop:order", resource_check=asked)
        else:
            refusal = await api.refusal(SUBMIT, descriptor_id="shop:order", resource_check=asked)
            assert refusal[:2] == (400, 30201)


async def test_one_busy_key_resource_is_enough_where_a_setting_says_so() -> None:
    async with served({"busy": busy, "free": free}, key_resource_any=True) as api:
        await api.run(TWO)
        named = [f"{api.gateway.url}/function/{key}" for key in ("busy", "free")]
        asked = skipping("key_resource", *named)
        params = {"descriptor_id": "shop:order", "resource_check": asked}
        refusal = await api.refusal(SUBMIT, **params)
        assert refusal == (400, 30201, f"resource limit resources: {named[0]}")


@pytest.mark.parametrize("subject", ["shop", "shop:order"])
async def test_the_check_can_be_set_for_a_service_or_a_business(subject: str) -> None:
    async with served({"work": busy}, resource_checks={subject: {"check_type": "skip"}}) as api:
        await api.run(calling("work"))
        assert await api.submit("shop:order")


async def test_the_check_can_be_switched_off() -> None:
    off = {"ENABLE_RUNTIME_RESOURCE_STATUS_CHECK": False}
    async with served({"work": busy}, switches=off) as api:
        await api.run(calling("work"))
        assert await api.submit("shop:order")


async def test_a_sub_flow_is_as_busy_as_its_functions() -> None:
    async with served({"work": busy}) as api:
        await api.run(calling("work", name="inner"))
        skip = '{"check_type":"skip"}'
        text = calling("shop:inner", resource="rillflow://", pattern="flow_async")
        await api.run(text, resource_check=skip)
        refusal = await api.refusal(SUBMIT, descriptor_id="shop:order")
        assert refusal == (400, 30201, "resource limit resources: rillflow://shop:inner")


# -- waiting ------------------------------------------------------------------------


class Crowd:
    """A function that is busy once and free ever after."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, _: FunctionRequest) -> dict[str, Any]:
        self.calls += 1
        return {"error_detail": {"retry_interval_seconds": 60}} if self.calls == 1 else {"a": 5}


async def test_new_dispatches_to_a_busy_function_wait_and_do_not_fail() -> None:
    work = Crowd()
    async with served({"work": work}) as api:
        await api.run(calling("work"))
        waiting = await api.submit("shop:order", resource_check='{"check_type":"skip"}')
        shown = await api.shown(waiting, wait_s=0.2)
        assert shown["tasks"]["A"]["status"] == "RUNNING"
        assert work.calls == 1
        api.clock.advance(61)
        shown = await api.ended(waiting)
        assert (shown["dag_status"], shown["context"]["a"], work.calls) == ("SUCCEED", 5, 2)


async def test_an_answer_that_repeats_its_input_holds_back_no_other_workspace() -> None:
    calls: list[FunctionRequest] = []

    def echo(request: FunctionRequest) -> dict[str, Any]:
        calls.append(request)
        return {"sys_info": {"retry_interval_seconds": 10_800}} if len(calls) == 1 else {"a": 5}

    async with served({"work": echo}) as api:
        await api.run(calling("work"))
        other = calling("work").replace("workspace: shop", "workspace: toys")
        shown = await api.run(other)
        assert (shown["dag_status"], len(calls)) == ("SUCCEED", 2)


async def test_what_is_forgotten_is_called_at_once() -> None:
    work = Crowd()
    async with served({"work": work}) as api:
        await api.run(calling("work"))
        waiting = await api.submit("shop:order", resource_check='{"check_type":"skip"}')
        params = {"service_id": "shop:order", "resource_names": f"{api.gateway.url}/function/work"}
        cleared = await api.post("/flow/clear_runtime_resources.json", **params)
        assert cleared == {"ret": True}
        assert (await api.ended(waiting))["dag_status"] == "SUCCEED"


async def test_a_cancelled_execution_calls_nothing_when_its_wait_is_over() -> None:
    work = Crowd()
    async with served({"work": work}) as api:
        await api.run(calling("work"))
        skip = '{"check_type":"skip"}'
        cancelled = await api.submit("shop:order", resource_check=skip)
        await api.post("/flow/cancel.json", execution_id=cancelled)
        after = await api.submit("shop:order", resource_check=skip)
        api.clock.advance(61)
        assert (await api.ended(after))["dag_status"] == "SUCCEED"
        assert work.calls == 2


async def test_a_restart_forgets_hints_and_makes_the_dispatches_that_waited() -> None:
    work = Crowd()
    async with served({"work": work}) as api:
        await api.run(calling("work"))
        waiting = await api.submit("shop:order", resource_check='{"check_type":"skip"}')
        old = api.stack.executions
        await old.stop()  # type: ignore[attr-defined]
        async with served({"work": work}, store=api.stack.store) as again:
            assert (await again.ended(waiting))["dag_status"] == "SUCCEED"
            assert await again.submit("shop:order")


# -- what is known ------------------------------------------------------------------


async def test_the_functions_of_a_service_are_shown_and_cleared() -> None:
    async with served({"busy": busy, "free": free}) as api:
        await api.run(TWO)
        path = "/flow/runtime_dependent_resources.json"
        shown = await api.get(path, service_ids="shop:order, shop:other")
        assert shown["current_time"] > 0
        assert shown["shop:other"] == {"task_name_order": {}, "resource_name_order": {}}
        by_task = shown["shop:order"]["task_name_order"]
        url = f"{api.gateway.url}/function"
        limits = {
            task: found["resource_limited_time"]
            for task, resources in by_task.items()
            for found in resources.values()
        }
        assert limits["A"] > shown["current_time"] > limits["B"] == 0
        by_resource = shown["shop:order"]["resource_name_order"]
        assert set(by_resource) == {f"{url}/busy", f"{url}/free"}
        assert by_resource[f"{url}/busy"]["A"] == by_task["A"][f"{url}/busy"]

        clear = "/flow/clear_runtime_resources.json"
        assert await api.post(clear, service_id="shop:order") == {"ret": False}
        assert await api.post(clear, service_id="shop:order", clear_all=True) == {"ret": True}
        shown = await api.get(path, service_ids="shop:order")
        assert shown["shop:order"]["task_name_order"] == {}


async def test_what_was_not_heard_of_for_three_hours_is_forgotten() -> None:
    async with served({"work": free}) as api:
        await api.run(calling("work"))
        api.clock.advance(3 * 3600 + 1)
        shown = await api.get("/flow/runtime_dependent_resources.json", service_ids="shop:order")
        assert shown["shop:order"]["task_name_order"] == {}


async def test_the_status_check_shows_every_check() -> None:
    health = {"shop": {"complete_rate": 50, "heap": 3, "end_offset_min": 0}}
    async with served({"work": busy}, flow_health=health) as api:
        await api.run(calling("work"))
        shown = await api.get(CHECK, descriptor_id="shop:order")
        assert shown["descriptor_id"] == "shop:order"
        status = shown["submit_status"]
        url = f"{api.gateway.url}/function/work"
        limited = {"unsatisfied_resources": [url], "resource_limit": True}
        assert status["resource_check"] == limited
        assert status["storage_check"]["max_usage_percent"] == 90
        assert status["storage_check"]["usage_limit"] is False
        assert status["flow_check"] == {
            "complete_rate": 100.0,
            "complete_rate_threshold": 50,
            "success_rate": 100.0,
            "heap_count": 0,
            "heap_count_threshold": 3,
            "complete_rate_limit": False,
            "success_rate_limit": False,
            "heap_limit": False,
        }
        assert list(shown["related_resources"]) == [url]
        refusal = await api.get_refusal(CHECK, descriptor_id="shop")
        assert refusal == (400, 30109, "descriptorId:shop format error")


# -- limits by settings -------------------------------------------------------------


@pytest.mark.parametrize("subject", ["shop", "shop:order", "shop_order"])
async def test_submissions_of_a_second_can_be_limited(subject: str) -> None:
    async with served(submit_traffic_limits={subject: 3, "other": 0}) as api:
        await api.add(PASS)
        api.clock.stop()
        for _ in range(3):
            await api.submit("shop:order")
        limited = (400, 30201, "submit traffic limit")
        assert await api.refusal(SUBMIT, descriptor_id="shop:order") == limited
        api.clock.advance(1)
        assert await api.submit("shop:order")


async def test_busy_functions_are_looked_at_before_traffic() -> None:
    async with served({"work": busy}, submit_traffic_limits={"shop": 1}) as api:
        api.clock.stop()
        await api.run(calling("work"))
        refusal = await api.refusal(SUBMIT, descriptor_id="shop:order")
        assert refusal[2].startswith("resource limit resources: ")


async def test_the_limit_of_traffic_can_be_switched_off() -> None:
    off = {"ENABLE_RUNTIME_SUBMIT_TRAFFIC_CONTROL": False}
    async with served(submit_traffic_limits={"shop": 0}, switches=off) as api:
        await api.add(PASS)
        assert await api.submit("shop:order")


@pytest.mark.parametrize(
    ("thresholds", "said"),
    [
        ({"complete_rate": 80}, "complete rate:66.66% lower than config:80%"),
        ({"success_rate": 50.5}, "success rate:50.0% lower than config:50.5%"),
        ({"heap": 0}, "heap count:1 higher than config:0"),
        ({"complete_rate": 66, "success_rate": 50, "heap": 1}, None),
        ({"heap": 0, "start_offset_min": 5, "end_offset_min": 1}, None),
    ],
)
async def test_submissions_can_be_limited_by_how_executions_fare(
    thresholds: dict[str, float], said: str | None
) -> None:
    store = open_store("memory:")
    async with served({"work": lambda _: {"result_type": "FAILED"}}, store=store) as api:
        await api.run(PASS.replace("order", "good"))
        await api.run(calling("work", name="bad"))
        await api.submit(await api.add(SUSPENDED.replace("order", "open")))
    health = {"shop": {"end_offset_min": 0, **thresholds}}
    async with served(store=store, flow_health=health) as api:
        if said is None:
            assert await api.submit("shop:good")
        else:
            assert await api.refusal(SUBMIT, descriptor_id="shop:good") == (400, 30201, said)


async def test_submissions_are_refused_while_the_memory_is_full() -> None:
    async with served(storage_max_usage_percent=1) as api:
        await api.add(PASS)
        refusal = await api.refusal(SUBMIT, descriptor_id="shop:order")
        assert refusal == (400, 30200, "runtime storage limit")
        shown = await api.get(CHECK, descriptor_id="shop:order")
        assert shown["submit_status"]["storage_check"]["usage_limit"] is True
    for off in (0, 100):
        async with served(storage_max_usage_percent=off) as api:
            await api.add(PASS)
            assert await api.submit("shop:order")


async def test_sub_flows_are_never_throttled() -> None:
    async with served(submit_traffic_limits={"shop:inner": 0}) as api:
        await api.add(PASS.replace("order", "inner"))
        text = calling("shop:inner", resource="rillflow://", pattern="flow_sync")
        assert (await api.run(text))["dag_status"] == "SUCCEED"
