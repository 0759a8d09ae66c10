"""Over HTTP it is seen which rules of mappings came to nothing, and a setting makes them fail."""

from typing import Any, Final

from tests.api.definition_texts import PASS, calling
from tests.api.serving import served

CHILD: Final = PASS.replace("dagName: order", "dagName: child")
PARENT: Final = """
workspace: shop
dagName: parent
type: flow
tasks:
  - name: P
    category: function
    pattern: flow_sync
    resourceName: rillflow://shop:child
    inputMappings: [{source: '1', target: $.input.b}]
"""
WARNING: Final = {
    "mappings": "inputMappings",
    "number": 1,
    "rule": "$.context.a -> $.input.a",
    "kind": "missing",
    "reason": "`$.context.a` does not exist",
}


def own_fields(shown: Any) -> set[str]:
    return {key for key in shown if "warning" in key}


async def test_an_execution_counts_them_and_a_task_lists_them() -> None:
    async with served() as api:
        good = await api.run(PASS, {"a": 1})
        assert own_fields(good) == own_fields(good["tasks"]["A"]) == set()
        shown = await api.run(PASS, {"b": 1})
        assert (shown["dag_status"], shown["mapping_warnings"]) == ("SUCCEED", 1)
        assert shown["tasks"]["A"]["mapping_warnings"] == 1
        assert shown["tasks"]["A"]["warnings"] == [WARNING]
        brief = await api.shown(shown["execution_id"], brief=True)
        assert brief["mapping_warnings"] == 1


async def test_a_setting_makes_them_failures_of_sub_flows_too() -> None:
    async with served(strict_mappings=True) as api:
        await api.add(CHILD)
        shown = await api.run(PARENT)
        assert shown["dag_status"] == "FAILED"
        child = shown["tasks"]["P"]["invoke_msg"]["referenced_dag_execution_id"]
        failed = (await api.shown(child))["tasks"]["A"]
        assert failed["invoke_msg"]["msg"] == (
            "inputMappings rule 1, $.context.a -> $.input.a: `$.context.a` does not exist"
        )


async def test_a_strict_parent_leaves_its_sub_flow_as_it_is() -> None:
    async with served() as api:
        await api.add(CHILD)
        shown = await api.run(f"{PARENT}strict: true\n")
        assert shown["dag_status"] == "SUCCEED"
        shown = await api.run(f"{PASS}strict: true\n")
        assert shown["dag_status"] == "FAILED"


async def test_a_callback_that_a_strict_execution_refuses_is_seen_by_who_looks_at_it() -> None:
    text = calling("work", pattern="task_async", more="strict: true\n")
    async with served({"work": lambda _: {"taken": 1}}) as api:
        execution_id = await api.submit(await api.add(text), {"a": 1})
        while "output" not in (await api.shown(execution_id))["tasks"]["A"]["invoke_msg"]:
            pass  # an outcome that comes before the answer of the call is taken later
        names = {"execution_id": execution_id, "task_name": "A"}
        status, code, message = await api.refusal("/flow/trigger.json", {"b": 1}, **names)
        assert (status, code) == (500, 30603)
        assert message.startswith("outputMappings rule 1, $.output.a -> $.context.a: ")
        task = (await api.shown(execution_id))["tasks"]["A"]
        assert task["status"] == "RUNNING"
        assert task["invoke_msg"]["hint"] == f"a callback was refused: {message}"
        assert [one["kind"] for one in task["warnings"]] == ["missing"]
        await api.post("/flow/trigger.json", {"a": 2}, **names)
        ended = await api.ended(execution_id)
        assert (ended["dag_status"], ended["context"]["a"]) == ("SUCCEED", 2)
        assert own_fields(ended["tasks"]["A"]) == set()
