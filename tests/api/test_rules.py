"""A/B rules choose the function behind ``ab://<key>``; gray rules choose the version of an id."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from rillflow.errors import RequestError
from rillflow.runtime.commands.resource_names import find_resource
from rillflow.stores.memory.store import MemoryStore
from rillflow.testing import FunctionRequest
from tests.api.definition_texts import PASS, calling
from tests.api.serving import LONG_S, Api, served

MANAGE = "/flow/bg/manage/descriptor"
KEY = {"business_id": "shop", "config_key": "greeter"}
RESOURCES = """
workspace: shop
dagName: things
type: resource
resources:
  - {name: resource1, category: machine}
"""


def echo(request: FunctionRequest) -> dict[str, Any]:
    return {"a": request.function}


async def set_rule(api: Api, resource_name: str, rule: str, *, add: bool = True) -> Any:
    return await api.post(
        f"{MANAGE}/modify_function_ab.json",
        add=add,
        resource_name=resource_name,
        ab_rule=rule,
        **KEY,
    )


async def table(api: Api) -> Any:
    return (await api.get(f"{MANAGE}/get_function_ab.json", **KEY))["ab"]


@pytest.mark.case("DE-10")
async def test_the_default_comes_first(api: Api) -> None:
    path = f"{MANAGE}/modify_function_ab.json"
    refusal = await api.refusal(path, add=True, resource_name="http://b", ab_rule="uid > 1", **KEY)
    assert refusal == (400, 30109, "default resource value should be configured")
    assert await table(api) == {"rules": []}

    assert await set_rule(api, "http://a", "default") == {"ret": True}
    await set_rule(api, "http://b", "uid > 1")
    shown = {
        "default_resource_name": "http://a",
        "rules": [{"resource_name": "http://b", "rule": "uid > 1"}],
    }
    assert await table(api) == shown
    assert await api.get(f"{MANAGE}/get_ab_key.json", business_id="shop") == {
        "business_id": "shop",
        "config_keys": ["greeter"],
    }
    refusal = await api.refusal(path, add=True, resource_name="http://a", ab_rule="uid > 1", **KEY)
    assert refusal[2] == "default resource value should be configured"


async def test_there_is_one_default_and_it_can_be_removed(api: Api) -> None:
    await set_rule(api, "http://a", "default")
    await set_rule(api, "http://b", "default")
    assert await table(api) == {"default_resource_name": "http://b", "rules": []}
    await set_rule(api, "http://b", "", add=False)
    assert await table(api) == {"rules": []}
    assert (await api.get(f"{MANAGE}/get_ab_key.json", business_id="shop"))["config_keys"] == []


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"resource_name": "http://a", "ab_rule": " "}, "ab_rule can not be empty when add action"),
        ({"resource_name": "ftp://a", "ab_rule": "default"}, "resource_name format is not support"),
        ({"resource_name": "", "ab_rule": "default"}, "resource_name format is not support"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_what_no_rule_can_be_made_of_is_refused(
    shared_api: Api, params: dict[str, str], said: str
) -> None:
    refusal = await shared_api.refusal(
        f"{MANAGE}/modify_function_ab.json", add=True, **params, **KEY
    )
    assert refusal == (400, 30109, said)


async def test_a_gray_rule_is_needed_to_add_one(api: Api) -> None:
    order = {"business_id": "shop", "feature_name": "order"}
    path = f"{MANAGE}/modify_gray.json"
    refusal = await api.refusal(path, add=True, alias="gray", **order)
    assert refusal == (400, 30109, "gray_rule can not be empty when add gray")
    await api.post(path, add=True, alias="gray", gray_rule="input.vip", **order)
    shown = await api.get(f"{MANAGE}/get_gray.json", **order)
    assert shown == {"business_id": "shop", "feature": "order", "gray": {"gray": "input.vip"}}
    await api.post(path, add=False, alias="gray", **order)
    assert (await api.get(f"{MANAGE}/get_gray.json", **order))["gray"] == {}


async def test_a_rule_that_is_no_expression_is_kept_and_told(api: Api) -> None:
    gray = {"add": True, "business_id": "shop", "feature_name": "order", "alias": "gray"}
    answer = await api.post(f"{MANAGE}/modify_gray.json", gray_rule="uid ==", **gray)
    assert answer["ret"] is True
    assert answer["hint"].startswith("the rule is no expression, so it never holds: ")
    assert await api.post(f"{MANAGE}/modify_gray.json", gray_rule="uid == 1", **gray) == {
        "ret": True
    }
    url = "http://function/"
    table = {"add": True, "resource_name": url, **KEY}
    set_ab = f"{MANAGE}/modify_function_ab.json"
    assert await api.post(set_ab, ab_rule="default", **table) == {"ret": True}
    other = {**table, "resource_name": f"{url}other"}
    answer = await api.post(set_ab, ab_rule="input.vip ==", **other)
    assert answer["hint"].startswith("the rule is no expression, so it never holds: ")


async def test_rules_beyond_their_limits_are_refused_when_they_are_set(api: Api) -> None:
    order = {"business_id": "shop", "feature_name": "order"}
    path, long = f"{MANAGE}/modify_gray.json", "uid == 1 || " + " " * 32_000
    refusal = await api.refusal(path, add=True, alias="a", gray_rule=long + " " * 800, **order)
    assert refusal[:2] == (400, 30110)
    assert "a rule may have up to 32768 characters" in refusal[2]
    setting = [
        api.client.post(path, params={"add": True, "alias": f"a{n}", "gray_rule": long, **order})
        for n in range(9)
    ]
    statuses = [response.status_code for response in await asyncio.gather(*setting)]
    assert sorted(statuses) == [200] * 6 + [400] * 3
    assert len((await api.get(f"{MANAGE}/get_gray.json", **order))["gray"]) == 6
    await set_rule(api, "http://a", "default")
    refusal = await api.refusal(
        f"{MANAGE}/modify_function_ab.json",
        add=True,
        resource_name="http://b",
        ab_rule="x" * 33_000,
        **KEY,
    )
    assert refusal[:2] == (400, 30110)
    assert (await table(api))["rules"] == []


async def test_gray_rules_see_the_data_and_the_caller_of_a_submission(api: Api) -> None:
    await api.add(PASS)
    await api.add(PASS.replace("type: flow", "type: flow\nversion: gray"), "gray")
    rule = "input.vip == true && uid == 127001"
    await api.post(
        f"{MANAGE}/modify_gray.json",
        add=True,
        business_id="shop",
        feature_name="order",
        alias="gray",
        gray_rule=rule,
    )
    shown = await api.ended(await api.submit("shop:order", {"vip": True}))
    assert shown["version"] == "gray"
    shown = await api.ended(await api.submit("shop:order", {"vip": True}, uid="7"))
    assert "version" not in shown


async def test_the_winner_is_called_and_recorded() -> None:
    async with served({"one": echo, "two": echo}) as api:
        base = f"{api.gateway.url}/function"
        await set_rule(api, f"{base}/one", "default")
        await set_rule(api, f"{base}/two", "input.n > 5 && uid == 9")
        await api.add(calling("greeter", resource="ab://"))
        for data, uid, winner in (
            ({"n": 1}, "9", "one"),
            ({"n": 6}, "9", "two"),
            ({"n": 6}, "8", "one"),
        ):
            shown = await api.ended(await api.submit("shop:order", data, uid=uid))
            assert shown["context"]["a"] == winner
            ext = shown["tasks"]["A"]["invoke_msg"]["ext"]
            assert ext == {"calculated_resource_name": f"{base}/{winner}"}


async def test_the_winner_may_be_a_sub_flow() -> None:
    async with served() as api:
        await api.add(PASS.replace("order", "inner"))
        await set_rule(api, "rillflow://shop:inner", "default")
        shown = await api.run(calling("greeter", resource="ab://", pattern="flow_sync"), {"a": 3})
        assert shown["dag_status"] == "SUCCEED"
        assert shown["tasks"]["A"]["invoke_msg"]["referenced_dag_execution_id"].startswith(
            "shop:inner_c_"
        )


async def test_a_winner_in_a_workspace_that_is_not_allowed_is_refused() -> None:
    async with served(subflow_workspaces={"*": []}) as api:
        await set_rule(api, "rillflow://tools:inner", "default")
        shown = await api.run(calling("greeter", resource="ab://", pattern="flow_sync"), {"a": 3})
        assert shown["dag_status"] == "FAILED"
        told = shown["tasks"]["A"]["invoke_msg"]["msg"]
        assert "the workspace shop may not start workflows of the workspace tools" in told


async def test_without_a_default_the_task_fails(api: Api) -> None:
    shown = await api.run(calling("greeter", resource="ab://"))
    assert shown["dag_status"] == "FAILED"
    message = shown["tasks"]["A"]["invoke_msg"]["msg"]
    assert message == "handle fails: no default resource for ab config key: greeter"


@pytest.mark.case("DE-22")
async def test_a_resource_is_found_by_reference(api: Api) -> None:
    await api.add(RESOURCES)
    await api.add(PASS)
    store = api.stack.store
    found = await find_resource(store, "dag://shop:things?name=resource1")
    assert (found.name, found.category) == ("resource1", "machine")
    for uri, said in (
        ("dag://shop:things?name=other", "dag resource null"),
        ("dag://shop:order?name=resource1", "dag resources empty"),
        ("dag://shop:nothing?name=resource1", "getTaskResource fails: cannot find descriptor"),
        ("dag://?", "getTaskResource fails: "),
    ):
        with pytest.raises(RequestError, match=f"^{said}") as refused:
            await find_resource(store, uri)
        assert refused.value.wire_code == 30106


async def test_a_referenced_resource_needs_a_plugin_for_its_category(api: Api) -> None:
    await api.add(RESOURCES)
    text = calling("shop:things?name=resource1", resource="resourceRef://")
    shown = await api.run(text)
    message = shown["tasks"]["A"]["invoke_msg"]["msg"]
    assert message == "function resource category: machinedo not support"


class HeldRules(MemoryStore):
    """A store that sets the rules of one workspace when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.goes_on = asyncio.Event(), asyncio.Event()

    async def set_rule(self, kind: str, scope: Sequence[str], name: str, rule: str) -> None:
        """Set a rule, later where it is one of the shop."""
        if scope[0] == "shop":
            self.asked.set()
            await self.goes_on.wait()
        await super().set_rule(kind, scope, name, rule)


@pytest.mark.parametrize(
    ("route", "params"),
    [
        ("modify_gray", {"feature_name": "order", "alias": "gray", "gray_rule": "uid == 1"}),
        (
            "modify_function_ab",
            {"config_key": "k", "resource_name": "http://a", "ab_rule": "default"},
        ),
    ],
)
async def test_who_sets_a_rule_waits_for_rules_of_its_own_workspace_only(
    route: str, params: dict[str, str]
) -> None:
    store = HeldRules()
    async with served(store=store) as api:
        path = f"{MANAGE}/{route}.json"

        async def set_in(business: str) -> Any:
            return await api.post(path, add=True, business_id=business, **params)

        setting = [asyncio.create_task(set_in("shop")) for _ in range(3)]
        await store.asked.wait()
        async with asyncio.timeout(LONG_S):
            assert await set_in("other") == {"ret": True}
        assert not any(each.done() for each in setting)
        store.goes_on.set()
        assert await asyncio.gather(*setting) == [{"ret": True}] * 3
