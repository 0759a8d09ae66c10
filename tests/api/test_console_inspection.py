"""The console shows one execution: its header, levels, tasks and context, and why it waits."""

import asyncio
from typing import Any, Final

import pytest

from rillflow.jsontypes import encode_json
from rillflow.ports.executions import Query
from rillflow.ports.readiness import CALLBACKS_UNREACHABLE, Reason
from rillflow.runtime.process.readiness import Check, ReadinessWatch
from tests.api.definition_texts import PASS, SUSPENDED, calling
from tests.api.serving import Api, refusal_of, served
from tests.loopback import raw_server
from tests.unit.test_http_gateway import hang

V1: Final = "/flow/console/v1/"
UNKNOWN: Final = "shop:order_c_8f0f9c00-0000-11f0-8000-000000000000"
ONE: Final = ("execution", "graph", "waits", "context")
LOOP: Final = """
workspace: shop
dagName: order
type: flow
tasks:
  - name: each
    category: foreach
    iterationMapping: { collection: $.input.list, item: item, identity: $.iteration.element.n }
    inputMappings: [{ source: $.context.list, target: $.input.list }]
    tasks:
      - name: wait
        category: suspense
        conditions: ['$.input.[?(@.go == true)]']
        inputMappings: [{ source: $.context.go, target: $.input.go }]
"""
HOSTILE: Final = ["<script>alert(1)</script>", "\u202edrowssap", "x" * 10_000, "\u0000"]


async def seen(api: Api, name: str, execution_id: str, **asked: Any) -> Any:
    return await api.get_patiently(f"{V1}{name}.json", execution_id=execution_id, **asked)


async def test_an_execution_is_shown_from_its_header_down_to_a_task() -> None:
    async with served() as api:
        execution_id = await api.submit(await api.add(LOOP), {"list": [{"n": "one"}, {"n": "two"}]})
        header = await seen(api, "execution", execution_id)
        assert (header["status"], header["business"], header["feature"]) == (
            "waiting",
            "shop",
            "order",
        )
        assert header["tasks"] == {"waiting": 3}
        top = await seen(api, "graph", execution_id)
        [node] = top["nodes"]
        assert (node["name"], node["group"]["strip"]) == ("each", "ww")
        items = await seen(api, "items", execution_id, task="each", limit=1)
        assert [item["identity"] for item in items["items"]] == ["one"]
        rest = await seen(api, "items", execution_id, task="each", offset=items["next"])
        assert [item["route"] for item in rest["items"]] == ["each_1"]
        below = await seen(api, "graph", execution_id, route="each_1")
        assert [task["name"] for task in below["nodes"]] == ["each_1-wait"]
        task = await seen(api, "task", execution_id, task="each_1-wait")
        assert task["wait"]["kind"] == "wake_up"
        assert task["callback_url"].endswith(f"?execution_id={execution_id}&task_name=each_1-wait")
        assert (await seen(api, "context", execution_id, route="each_1"))["value"]["item"] == {
            "n": "two"
        }


async def test_waits_are_listed_in_pages_with_their_sentences() -> None:
    async with served() as api:
        execution_id = await api.submit(await api.add(LOOP), {"list": [1, 2, 3]})
        listed: list[str] = []
        offset = "0"
        while offset is not None:
            page = await seen(api, "waits", execution_id, limit=2, offset=offset)
            listed += [wait["task"] for wait in page["waits"]]
            assert all(wait["sentence"].endswith(".") for wait in page["waits"])
            offset = page["next"]
        assert listed == ["each", "each_0-wait", "each_1-wait", "each_2-wait"]


async def test_the_outcome_that_a_task_waits_for_can_be_sent_to_the_address_shown() -> None:
    async with served() as api:
        execution_id = await api.submit(await api.add(SUSPENDED))
        task = await seen(api, "task", execution_id, task="wait")
        assert (await api.client.post(task["callback_url"], json={"go": True})).status_code == 200
        await api.ended(execution_id)
        assert (await seen(api, "task", execution_id, task="wait"))["callback_url"] is None


async def test_who_waits_for_a_callback_is_told_that_its_address_does_not_answer() -> None:
    async def unreachable() -> list[Reason]:
        return [CALLBACKS_UNREACHABLE]

    async with served({"work": lambda _: (202, "", {})}) as api:
        execution_id = await api.submit(await api.add(calling("work", pattern="task_async")))
        await _until_it_waits_for(api, execution_id, "callback")
        check = Check(unreachable, CALLBACKS_UNREACHABLE)
        api.stack.readiness = ReadinessWatch([], warnings=[check])
        [wait] = (await seen(api, "waits", execution_id, task="A"))["waits"]
        assert wait["sentence"].endswith(
            ". The address for callbacks does not answer, so none may arrive."
        )
        warned = (await api.client.get("/readyz")).json()
        assert [each["code"] for each in warned["warnings"]] == ["callbacks_unreachable"]


async def _until_it_waits_for(api: Api, execution_id: str, kind: str) -> None:
    async with asyncio.timeout(60):
        while True:
            waits = (await seen(api, "waits", execution_id, task="A"))["waits"]
            kinds = [each["kind"] for each in waits]
            if kinds == [kind]:
                return


async def test_a_call_whose_large_request_waits_for_room_says_so() -> None:
    async with served() as api, raw_server(hang) as server:
        execution_id = await api.submit(await api.add(calling("", resource=server.url)))
        executions: Any = api.stack.executions
        executions.waiting = lambda each: ["A"] if each == execution_id else []
        [wait] = (await seen(api, "waits", execution_id, task="A"))["waits"]
        assert (wait["kind"], wait["status"]) == ("room", "held")
        assert "The request of A is large" in wait["sentence"]
        await api.post("/flow/cancel.json", execution_id=execution_id)


async def test_a_call_that_a_circuit_holds_back_says_so() -> None:
    async with served(breaker_failures=1, breaker_pause_s=60) as api:
        refusing = calling("x", resource="http://user:hunter2@127.0.0.1:1/function/")
        descriptor = await api.add(refusing)
        await api.ended(await api.submit(descriptor))
        execution_id = await api.submit(descriptor)
        [wait] = (await seen(api, "waits", execution_id, task="A"))["waits"]
        assert (wait["kind"], wait["status"]) == ("circuit", "held")
        assert wait["detail"]["host"] == "127.0.0.1:1"
        assert 0 < wait["detail"]["open_for_ms"] <= 60_000
        assert "the circuit of 127.0.0.1:1 is open" in wait["sentence"]
        assert "hunter2" not in str(wait)


async def test_what_does_not_exist_is_not_found(api: Api) -> None:
    execution_id = (await api.run(PASS))["execution_id"]
    for name in ONE:
        for unknown in (UNKNOWN, "no id", "", "x" * 900):
            status, code, _ = await api.get_refusal(f"{V1}{name}.json", execution_id=unknown)
            assert (status, code) == (404, 30605)
    for name, asked in (
        ("graph", {"route": "A_0"}),
        ("items", {"task": "B"}),
        ("task", {"task": "B"}),
        ("waits", {"task": "B"}),
        ("context", {"path": "/nothing"}),
        ("context", {"route": "A_0"}),
    ):
        answer = await api.client.get(
            f"{V1}{name}.json", params={"execution_id": execution_id, **asked}
        )
        assert refusal_of(answer)[:2] == (404, 30109), name


async def test_a_context_of_5_mb_is_cut_and_read_in_parts() -> None:
    async with served(submit_max_bytes=8_000_000) as api:
        film = "x" * 5_000_000
        execution_id = await api.submit(await api.add(SUSPENDED), {"film": film, "n": 1})
        answer = await api.client.get(f"{V1}context.json", params={"execution_id": execution_id})
        assert len(answer.content) < 256 * 1024
        marker = answer.json()["value"]["film"]["$cut"]
        assert (marker["length"], marker["path"]) == (5_000_000, "/film")
        asked: dict[str, Any] = {"execution_id": execution_id, "path": "/film"}
        asked["offset"] = 4_999_990
        part = (await api.client.get(f"{V1}context.json", params=asked)).json()
        assert (part["value"], part["next_offset"]) == ("x" * 10, None)


async def test_hostile_names_and_values_are_data() -> None:
    async with served() as api:
        data = dict.fromkeys(HOSTILE[:2], HOSTILE)
        execution_id = await api.submit(await api.add(SUSPENDED), data)
        for name in ONE:
            answer = await api.client.get(f"{V1}{name}.json", params={"execution_id": execution_id})
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["x-content-type-options"] == "nosniff"
        value = (await seen(api, "context", execution_id))["value"]
        assert value[HOSTILE[0]][0] == HOSTILE[0]
        assert value[HOSTILE[0]][2]["$cut"]["length"] == 10_000


async def test_views_of_a_wide_execution_are_bounded_and_hold_no_loop() -> None:
    async with served() as api:
        execution_id = await api.submit(await api.add(LOOP), {"list": list(range(10_000))})
        async with asyncio.timeout(60):
            while (await seen(api, "execution", execution_id))["tasks"].get("waiting") != 10_000:
                pass
        pages: list[tuple[str, dict[str, Any]]] = [
            ("graph", {}),
            ("waits", {"limit": 500, "offset": 9_000}),
            ("items", {"task": "each", "limit": 500, "offset": 9_500}),
        ]
        for name, asked in pages:
            answer = await api.client.get(
                f"{V1}{name}.json", params={"execution_id": execution_id, **asked}
            )
            assert answer.status_code == 200
            assert len(answer.content) < 512 * 1024
        summary = (await api.get(f"{V1}summaries.json", ids=execution_id))["summaries"]
        assert summary[execution_id]["progress"] == {"done": 0, "total": 1}


async def test_a_view_of_the_runtime_is_no_other_view() -> None:
    async with served() as api:
        execution_id = await api.submit(await api.add(SUSPENDED))
        call = Query(execution_id=execution_id, kind="waits", inspected=(("limit", "1"),))
        reply = await api.stack.executions.call(call)
        assert reply.body is not None
        assert b'"waits"' in reply.body
        assert encode_json("wake_up") in reply.body


@pytest.mark.parametrize("pattern", ["task_sync", "task_async"])
async def test_a_failed_attempt_is_shown_with_its_error(pattern: str) -> None:
    def work(_: object) -> dict[str, Any]:
        return {"result_type": "FAILED", "error_msg": "out of stock"}

    async with served({"work": work}) as api:
        execution_id = await api.submit(await api.add(calling("work", pattern=pattern)))
        if pattern == "task_async":
            await api.post(
                "/flow/finish.json",
                {"result_type": "FAILED", "error_msg": "out of stock"},
                execution_id=execution_id,
                task_name="A",
            )
        await api.ended(execution_id)
        task = await seen(api, "task", execution_id, task="A")
        assert [attempt["error"] for attempt in task["attempts"]] == ["out of stock"]
        assert task["status"] == "failed"
