"""Authors can look at a definition, try its rules and hear what is wrong, without running it."""

from typing import Any

import pytest

from tests.api.definition_texts import PASS, SUSPENDED, calling
from tests.api.serving import Api, served

NOBODY = "shop:order_c_00000000-0000-7000-8000-000000000000"
RULES = "- {source: $.context.a, target: $.input.b}"
CALLING = """
workspace: shop
dagName: order
type: flow
callback: {resourceName: http://notify/me}
tasks:
  - {name: A, category: function, resourceName: http://a/b, pattern: task_sync}
  - name: loop
    category: foreach
    iterationMapping: {collection: $.input.items, item: item}
    tasks:
      - {name: B, category: function, resourceName: http://a/b, pattern: task_sync}
      - {name: C, category: function, resourceName: http://a/c, pattern: task_sync}
"""


async def test_a_definition_is_shown_as_an_execution_that_has_not_started(api: Api) -> None:
    shown = (await api.post("/flow/convert.json", SUSPENDED))["ret"]
    assert (shown["dag_status"], shown["process"]) == ("NOT_STARTED", 0)
    assert (shown["workspace"], shown["dag_name"], shown["type"]) == ("shop", "order", "flow")
    assert not {"context", "execution_id"} & set(shown)
    task = shown["tasks"]["wait"]
    assert (task["status"], task["task"]["category"]) == ("NOT_STARTED", "suspense")


@pytest.mark.parametrize("text", ["", "a: [", "type: ttt", "- 1"])
@pytest.mark.asyncio(loop_scope="module")
async def test_what_cannot_be_shown_is_30110(shared_api: Api, text: str) -> None:
    for path in ("convert", "dependency_check"):
        assert (await shared_api.refusal(f"/flow/{path}.json", text))[:2] == (400, 30110)


async def test_the_functions_of_a_definition_are_listed_with_their_callers(api: Api) -> None:
    dependencies = {
        "ret": {
            "dependencies": [
                {"resource_name": "http://a/b", "names": ["A", "B"]},
                {"resource_name": "http://a/c", "names": ["C"]},
                {"resource_name": "http://notify/me", "names": ["flow_completed_callback"]},
            ]
        }
    }
    path = "/flow/dependency_check.json"
    assert await api.post(path, CALLING) == dependencies
    await api.add(CALLING)
    assert await api.get(path, descriptor_id="shop:order") == dependencies
    assert (await api.get_refusal(path, descriptor_id="shop:other"))[:2] == (400, 30106)
    assert (await api.get_refusal(path))[:2] == (400, 30110)


# -- problems -----------------------------------------------------------------------


async def test_all_problems_are_told_with_places_and_hints(api: Api) -> None:
    broken = PASS.replace("    inputMappings", "    next: Bee\n    inputMapings")
    text = f"{broken}  - {{name: Be, category: pass}}\n"
    shown = await api.post("/flow/validate.json", text)
    assert shown["valid"] is False
    worst = shown["problems"][0]
    assert (worst["severity"], worst["code"], worst["line"]) == ("error", 30413, 8)
    assert worst["message"] == "next task Bee not exist."
    assert worst["hint"] == "did you mean `Be`?"
    warning = next(each for each in shown["problems"] if each["severity"] == "warning")
    assert "inputMapings" in warning["message"]
    assert warning["hint"] == "did you mean `inputMappings`?"
    assert all(set(each) == set(worst) for each in shown["problems"])


@pytest.mark.parametrize(
    ("text", "valid", "codes"),
    [
        (PASS, True, []),
        ("", False, [30401]),
        ("a: [", False, [30402]),
        (f"{PASS}output: {{b: 1}}\n  ".replace("name: A", "name: endTask"), False, [30110]),
        (f"{PASS}enforceInputSchema: true\ninputSchema: '5'\n", False, [30110]),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_valid_can_be_added(
    shared_api: Api, text: str, codes: list[int], *, valid: bool
) -> None:
    shown = await shared_api.post("/flow/validate.json", text)
    assert shown["valid"] is valid
    assert [each["code"] for each in shown["problems"]] == codes
    params = {"business_id": "shop", "feature_name": "order", "alias": "release"}
    path = "/flow/bg/manage/descriptor/add_descriptor.json"
    added = await shared_api.client.post(path, params=params, content=text)
    assert added.status_code == (200 if valid else 400)


# -- trials -------------------------------------------------------------------------


async def test_rules_are_applied_to_what_is_given(api: Api) -> None:
    path = "/flow/mapping_evaluation.json"
    shown = await api.post(path, {"context": {"a": 1}}, type="input_eva", mapping_rules=RULES)
    assert shown == {"ret": {"context": {"a": 1}, "input": {"b": 1}, "output": {}}}
    rules = "[{source: '$.output.x', target: '$.context.y'}]"
    given = {"context": {"a": 1}, "output": {"x": [2]}}
    shown = await api.post(path, given, type="output_eva", mapping_rules=rules)
    assert shown["ret"]["context"] == {"a": 1, "y": [2]}


async def test_rules_that_come_to_nothing_are_told(api: Api) -> None:
    path = "/flow/mapping_evaluation.json"
    rules = "[{source: $.context.userNmae, target: $.input.a}]"
    given = {"context": {"userName": 1}}
    shown = await api.post(path, given, type="input_eva", mapping_rules=rules)
    assert shown["ret"]["warnings"] == [
        {
            "mappings": "inputMappings",
            "number": 1,
            "rule": "$.context.userNmae -> $.input.a",
            "kind": "missing",
            "reason": "`$.context.userNmae` does not exist; did you mean `userName`?",
        }
    ]


async def test_rules_and_context_come_from_an_execution_when_none_are_given(api: Api) -> None:
    path = "/flow/mapping_evaluation.json"
    shown = await api.run(PASS, {"a": 5})
    known = {"execution_id": shown["execution_id"], "task_name": "A"}
    found = await api.post(path, type="input_eva", **known)
    assert found["ret"]["input"] == {"a": 5}
    found = await api.post(path, {"context": {"a": 6}}, type="input_eva", **known)
    assert found["ret"]["input"] == {"a": 6}
    found = await api.post(path, type="input_eva", mapping_rules=RULES, **known)
    assert found["ret"]["input"] == {"b": 5}
    unknown = {"execution_id": NOBODY, "task_name": "A"}
    assert (await api.post(path, type="input_eva", **unknown))["ret"]["input"] == {}


@pytest.mark.parametrize(
    ("known", "context", "execution_id"),
    [
        ({}, {"flow_execution_id": "123456"}, "123456"),
        ({}, {"flow_execution_id": 123456}, "123456"),
        ({"execution_id": NOBODY}, {"flow_execution_id": "123456"}, NOBODY),
        ({}, {}, "mockExecutionId"),
    ],
)
async def test_the_address_of_a_task_is_that_of_the_contexts_execution(
    api: Api, known: dict[str, str], context: dict[str, Any], execution_id: str
) -> None:
    rules = "[{source: '$.tasks.T.trigger_url?context=%7B%7D', target: $.input.url}]"
    path, given = "/flow/mapping_evaluation.json", {"context": context}
    found = await api.post(path, given, mapping_rules=rules, **known)
    assert found["ret"]["input"]["url"] == (
        f"{api.stack.settings.callback_base_url}/flow/trigger.json"
        f"?execution_id={execution_id}&task_name=T&context=%7B%7D"
    )


async def test_rules_inside_a_group_see_the_groups_context() -> None:
    text = """
workspace: shop
dagName: order
type: flow
tasks:
  - name: loop
    category: foreach
    inputMappings: [{source: $.context.items, target: $.input.items}]
    iterationMapping: {collection: $.input.items, item: item}
    tasks:
      - name: B
        category: pass
        inputMappings: [{source: $.context.item, target: $.input.got}]
"""
    async with served() as api:
        shown = await api.run(text, {"items": ["x", "y"]})
        known = {"execution_id": shown["execution_id"], "task_name": "loop_1-B"}
        found = await api.post("/flow/mapping_evaluation.json", type="input_eva", **known)
        assert found["ret"]["input"] == {"got": "y"}


@pytest.mark.parametrize(
    "params",
    [
        {"type": "other"},
        {"mapping_rules": "{a: 1}"},
        {"mapping_rules": "- ["},
        {"mapping_rules": "- {source: x, transform: '1 +', target: $.input.a, tolerance: false}"},
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_what_cannot_be_evaluated_is_30110(shared_api: Api, params: dict[str, str]) -> None:
    refusal = await shared_api.refusal("/flow/mapping_evaluation.json", **params)
    assert refusal[:2] == (400, 30110)


@pytest.mark.parametrize(
    "rules", [RULES, [{"source": "$.context.a", "target": "$.input.b"}]], ids=["text", "list"]
)
async def test_the_request_of_a_dispatch_is_shown(api: Api, rules: Any) -> None:
    given = {
        "resource_name": "http://host/path?x=1",
        "input_mapping_rules": rules,
        "context": {"a": 1},
    }
    shown = await api.post("/flow/function_dispatch_params.json", given)
    url = "http://host/path?x=1&execution_id=mockExecutionId&name=mockTaskName"
    assert shown == {"ret": {"url": url, "body": {"execution_id": "mockExecutionId", "b": 1}}}


async def test_the_request_of_a_task_is_shown() -> None:
    more = "    requestType: GET\n"
    async with served({"work": lambda _: {"a": 2}}) as api:
        shown = await api.run(calling("work", more=more), {"a": 1})
        known = {"execution_id": shown["execution_id"], "task_name": "A"}
        found = (await api.post("/flow/function_dispatch_params.json", **known))["ret"]
        assert "body" not in found
        assert found["url"].startswith(f"{api.gateway.url}/function/work?execution_id=shop")
        assert found["url"].endswith("&name=A")


@pytest.mark.parametrize("resource_name", ["", "ftp://a", "http://a b", None])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_request_needs_an_address(shared_api: Api, resource_name: str | None) -> None:
    given = {"resource_name": resource_name}
    refusal = await shared_api.refusal("/flow/function_dispatch_params.json", given)
    assert refusal[:2] == (400, 30110)


# -- legacy -------------------------------------------------------------------------


async def test_the_record_of_an_execution_is_shown(api: Api) -> None:
    shown = await api.run(PASS)
    path = "/flow/dag/details.json"
    found = await api.get(path, id=shown["execution_id"], status="succeed")
    assert found == {"data": shown, "message": "", "success": True}
    assert (await api.get(path, id="nonsense", status="x"))["data"] == {}


async def test_customized_storage_has_no_store(api: Api) -> None:
    storage = "/flow/customized/storage"
    refusal = await api.refusal(f"{storage}/init_bucket.json", execution_id=NOBODY)
    assert refusal == (400, 30110, "client not configured")
    refusal = await api.get_refusal(f"{storage}/load.json", bucket_name="b", field_names="a")
    assert refusal == (400, 30110, "client not configured")
    refusal = await api.refusal(f"{storage}/init_bucket.json")
    assert refusal == (400, 30109, "id can not be empty")
    refusal = await api.get_refusal(f"{storage}/load.json")
    assert refusal == (400, 30109, "execution_id and bucket_name can not be all empty")


async def test_a_definition_is_shown_only_where_it_is_short_when_written_out() -> None:
    rule = f"{{source: '{'x' * 1_000}', target: $.input.a}}"
    text = PASS.replace("tasks:", f"commonMapping: {{c: [{rule}]}}\ntasks:", 1).replace(
        "      - {source: $.context.a", "%s      - {source: $.context.a", 1
    )
    reference = "      - {reference: c}\n"
    async with served(submit_max_bytes=4_096, context_max_bytes=4_096) as api:
        assert (await api.post("/flow/convert.json", text % reference))["ret"]["tasks"]
        status, code, message = await api.refusal("/flow/convert.json", text % (reference * 10))
        assert (status, code) == (400, 30110)
        assert "larger than 8192 bytes" in message
