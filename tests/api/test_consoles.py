"""Rill Flow's web console finds everything it asks for under ``/flow/bg``."""

from typing import Any

import pytest

from rillflow.definition import parse_definition
from serve.routes.console.definition_graphs import definition_graph
from tests.api.definition_texts import PASS, SUSPENDED, calling
from tests.api.serving import Api, served

GRAPH = """
workspace: shop
dagName: order
type: flow
tasks:
  - {name: task1, category: pass, next: "task2,task3"}
  - {name: task2, category: function, resourceName: "http://a/b", pattern: task_sync}
  - name: task3
    category: function
    resourceName: http://a/b
    resourceProtocol: https
    pattern: task_sync
"""
NOBODY = "shop:order_c_00000000-0000-7000-8000-000000000000"


@pytest.mark.case("DE-17", "DE-19")
async def test_a_definition_is_shown_as_a_graph(api: Api) -> None:
    await api.add(GRAPH)
    shown = await api.get("/flow/bg/get_descriptor.json", id="shop:order")
    assert (shown["message"], shown["success"]) == ("", True)
    data = shown["data"]
    assert (data["workspace"], data["dagName"], data["type"]) == ("shop", "order", "flow")
    assert {name: task["next"] for name, task in data["tasks"].items()} == {
        "task1": ["task2", "task3"],
        "task2": [],
        "task3": [],
    }
    protocols = {name: task["task"].get("resourceProtocol") for name, task in data["tasks"].items()}
    assert protocols == {"task1": None, "task2": "http", "task3": "https"}
    assert data["tasks"]["task1"]["task"]["category"] == "pass"


async def test_the_graph_shows_what_was_written_not_what_it_was_made_of(api: Api) -> None:
    text = f"{PASS}output: {{b: $.A.b}}\n"
    await api.add(text)
    shown = await api.get("/flow/bg/get_descriptor.json", id="shop:order")
    assert list(shown["data"]["tasks"]) == ["A"]
    assert shown["data"]["output"] == {"b": "$.A.b"}
    assert "tasks" in definition_graph(parse_definition(text))


async def test_the_graph_tells_the_alias_that_the_console_saves_under(api: Api) -> None:
    version = await api.add(PASS, alias="beta")

    async def alias(descriptor_id: str) -> str:
        shown = await api.get("/flow/bg/get_descriptor.json", id=descriptor_id)
        return str(shown["data"]["alias"])

    assert await alias("shop:order:beta") == "beta"
    assert await alias(version) == "beta"
    await api.add(PASS)
    assert await alias("shop:order") == "release"
    manage, names = "/flow/bg/manage/descriptor", {"business_id": "shop", "feature_name": "order"}
    for name in ("beta", "release"):
        await api.post(f"{manage}/modify_alias.json", add=False, alias=name, **names)
    assert await alias(version) == ""


async def test_definitions_are_listed_by_business_and_feature(api: Api) -> None:
    await api.add(PASS)
    await api.add(PASS.replace("order", "visit"))
    await api.add(PASS.replace("shop", "mall"))

    async def listed(**params: str) -> list[str]:
        path = "/flow/bg/get_descriptor_ids.json"
        shown = await api.get(path, current=1, pageSize=10, **params)
        assert shown["total"] == len(shown["items"])
        return sorted(f"{each['business_id']}:{each['feature_id']}" for each in shown["items"])

    assert await listed(business=" shop ") == ["shop:order", "shop:visit"]
    assert await listed(business="shop", feature="visit") == ["shop:visit"]
    assert await listed(feature="order") == ["mall:order", "shop:order"]
    assert await listed(business="nobody") == []
    assert len(await listed(business="", feature="")) == 3


@pytest.mark.parametrize("descriptor_id", ["shop:order", "shop:order:md5_0f", "shop", ""])
async def test_an_unknown_definition_is_null(api: Api, descriptor_id: str) -> None:
    refusal = await api.get_refusal("/flow/bg/get_descriptor.json", id=descriptor_id)
    assert refusal == (400, 30109, f"descriptor is null: {descriptor_id}")


async def test_aliases_are_listed_page_by_page_the_youngest_first(api: Api) -> None:
    for number in range(5):
        api.clock.advance(1)
        await api.add(PASS.replace("order", f"order{number}"))
    api.clock.advance(1)
    await api.add(PASS.replace("order", "order0").replace("type: flow", "type: flow\nversion: b"))

    async def page(current: int, size: int) -> tuple[list[str], int]:
        path = "/flow/bg/get_descriptor_ids.json"
        shown = await api.get(path, current=current, pageSize=size)
        return [item["feature_id"] for item in shown["items"]], shown["total"]

    assert await page(1, 2) == (["order4", "order3"], 5)
    assert await page(3, 2) == (["order0"], 5)
    assert await page(4, 2) == ([], 5)
    assert await page(-1, 0) == (["order4"], 5)
    shown = await api.get("/flow/bg/get_descriptor_ids.json", current=5, pageSize=1)
    [item] = shown["items"]
    assert item["descriptor_id"] == "shop:order0:release"
    assert (item["business_id"], item["alias"]) == ("shop", "release")
    assert item["update_time"] - item["create_time"] >= 5000


async def test_the_consoles_page_wins_over_the_current_that_it_never_changes(api: Api) -> None:
    for number in range(3):
        api.clock.advance(1)
        await api.add(PASS.replace("order", f"order{number}"))

    async def page(number: int) -> list[str]:
        path = "/flow/bg/get_descriptor_ids.json"
        shown = await api.get(path, current=1, page=number, pageSize=2)
        assert shown["total"] == 3
        return [item["feature_id"] for item in shown["items"]]

    assert await page(1) == ["order2", "order1"]
    assert await page(2) == ["order0"]


async def test_what_is_taken_off_a_listing_is_no_longer_listed(api: Api) -> None:
    await api.add(PASS)
    await api.add(PASS, alias="beta")
    manage, names = "/flow/bg/manage/descriptor", {"business_id": "shop", "feature_name": "order"}

    async def listed() -> list[str]:
        shown = await api.get("/flow/bg/get_descriptor_ids.json", current=1, pageSize=10)
        assert shown["total"] == len(shown["items"])
        return [item["alias"] for item in shown["items"]]

    await api.post(f"{manage}/modify_alias.json", add=False, alias="beta", **names)
    assert await listed() == ["release"]
    await api.post(f"{manage}/modify_business.json", add=False, business_id="shop")
    assert await listed() == []
    await api.submit("shop:order:beta")
    await api.add(PASS)
    assert await listed() == ["release"]


async def test_executions_are_listed_by_what_they_are(api: Api) -> None:
    done = (await api.run(PASS))["execution_id"]
    api.clock.advance(1)
    text = SUSPENDED.replace("shop", "mall").replace("order", "visit")
    waiting = await api.submit(await api.add(text))

    async def listed(**params: Any) -> list[str]:
        shown = await api.get("/flow/bg/get_execution_ids.json", **params)
        assert shown["total"] == len(shown["items"])
        return [item["execution_id"] for item in shown["items"]]

    assert await listed() == [waiting, done]
    assert await listed(business="shop") == [done]
    assert await listed(business="shop", feature="other") == []
    assert await listed(feature="visit") == [waiting]
    assert await listed(status="SUCCEED") == [done]
    assert await listed(status="running") == [waiting]
    assert await listed(status="whatever") == [waiting, done]
    assert await listed(code="7") == []
    assert await listed(startTime=api.clock.now_ms() + 1000) == []
    assert await listed(endTime=1000) == []

    shown = await api.get("/flow/bg/get_execution_ids.json", page=2, pageSize=1)
    [item] = shown["items"]
    assert shown["total"] == 2
    assert item == {
        "id": done,
        "execution_id": done,
        "submit_time": item["submit_time"],
        "business_id": "shop",
        "feature_id": "order",
        "status": "SUCCEED",
    }


async def test_one_execution_is_found_by_its_id(api: Api) -> None:
    shown = await api.run(PASS)
    path = "/flow/bg/get_execution_ids.json"
    found = await api.get(path, id=f" {shown['execution_id']} ")
    assert found["total"] == 1
    assert found["items"][0]["status"] == "SUCCEED"
    assert await api.get(path, execution_id=shown["execution_id"]) == found
    for unknown in (NOBODY, "nonsense"):
        assert await api.get(path, execution_id=unknown) == {"total": 0, "items": []}
        assert await api.get(path, id=unknown) == {"total": 0, "items": []}


async def test_an_execution_is_shown_as_by_get(api: Api) -> None:
    shown = await api.run(PASS, {"a": 1})
    found = await api.get("/flow/bg/get_execution.json", id=shown["execution_id"])
    assert found == {"data": {**shown, "trace_url": ""}, "message": "", "success": True}
    found = await api.get("/flow/bg/get_execution.json", id=NOBODY)
    nothing: dict[str, Any] = {"tasks": "{}", "context": {}, "invoke_summary": {}}
    assert found["data"] == {**nothing, "trace_url": ""}


async def test_an_execution_has_a_link_to_its_trace_where_traces_are_kept() -> None:
    async with served(trace_query_host="http://traces/") as api:
        traced, plain = await api.run(PASS, {"traceId": "abc"}), await api.run(PASS)
        found = await api.get("/flow/bg/get_execution.json", id=traced["execution_id"])
        assert found["data"]["trace_url"] == "http://traces/trace/abc"
        found = await api.get("/flow/bg/get_execution.json", id=plain["execution_id"])
        assert found["data"]["trace_url"] == "http://traces/trace/null"


async def test_any_credentials_log_in_the_one_user(api: Api) -> None:
    user = await api.post("/flow/bg/user/login.json", {"username": "x", "password": "y"})
    assert user == {
        "realName": "admin",
        "roles": [{"roleName": "Super Admin", "value": "super"}],
        "userId": "1",
        "username": "admin",
        "token": "fakeToken1",
        "desc": "manager",
    }
    current = await api.get("/flow/bg/user/currentUser.json")
    more = {"password": "123456", "homePath": "/flow-definition/list", "avatar": ""}
    assert current == {**user, **more}


async def test_businesses_are_offered_to_choose_from(api: Api) -> None:
    await api.add(PASS)
    shown = await api.get("/flow/bg/get_business_options.json")
    assert shown == {"business_ids": [{"id": "shop", "name": "shop"}]}


async def test_failed_executions_are_found_by_their_code() -> None:
    answer = {"result_type": "FAILED", "error_code": 7}
    async with served({"work": lambda _: answer}) as api:
        shown = await api.run(calling("work"))
        found = await api.get("/flow/bg/get_execution_ids.json", code="7", status="failed")
        assert [item["id"] for item in found["items"]] == [shown["execution_id"]]
