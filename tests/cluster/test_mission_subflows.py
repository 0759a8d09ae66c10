"""A task may be a whole workflow: its child runs as an execution of its own (spec 3.15)."""

from typing import Any, Final

import pytest

from tests.cluster.api import Api, Functions

pytestmark = pytest.mark.cluster

CHILD: Final = """
workspace: mission
dagName: child
type: flow
tasks:
  - name: work
    category: function
    pattern: task_async
    resourceName: FUNCTIONS/late
    inputMappings:
      - { source: $.context.n, target: $.input.n }
      - { source: $.context.callbacks, target: $.input.callbacks }
    outputMappings: [{ source: $.output.n, target: $.context.n }]
"""
PARENT: Final = """
workspace: mission
dagName: parent
type: flow
tasks:
  - name: ask
    category: function
    pattern: PATTERN
    resourceName: rillflow://mission:child
    inputMappings:
      - { source: $.context.n, target: $.input.n }
      - { source: $.context.callbacks, target: $.input.callbacks }
    outputMappings: [{ source: $.output, target: $.context.child }]
    next: after
  - { name: after, category: pass, outputMappings: [{ source: "yes", target: $.context.after }] }
"""


def _child_of(task: dict[str, Any]) -> str:
    return str(task["invoke_msg"]["referenced_dag_execution_id"])


def test_a_synchronous_sub_flow_ends_its_task_with_the_childs_whole_context(
    api: Api, functions: Functions
) -> None:
    api.add(CHILD.replace("FUNCTIONS", functions.url))
    data = {"n": 1, "callbacks": [{"json": {"n": 2}}]}
    ended = api.run(PARENT.replace("PATTERN", "flow_sync"), data)
    child = api.get(_child_of(ended.task("ask")))
    assert (ended.status, child["dag_status"]) == ("SUCCEED", "SUCCEED")
    assert ended.context["child"] == child["context"]
    assert child["context"]["n"] == 2
    assert child["context"]["flow_execution_id"] == child["execution_id"] != ended.execution_id
    assert child["context"]["flow_root_execution_id"] == ended.execution_id
    [route] = child["dag_invoke_msg"]["dag_execution_routes"]
    assert (route["execution_id"], route["task_info_name"]) == (ended.execution_id, "ask")


def test_the_failure_of_a_child_is_its_parents_failure(api: Api, functions: Functions) -> None:
    api.add(CHILD.replace("FUNCTIONS", functions.url))
    data = {"callbacks": [{"query": {"status": "failed"}, "json": {"error_msg": "no ink"}}]}
    ended = api.run(PARENT.replace("PATTERN", "flow_sync"), data)
    assert ended.status == "FAILED"
    assert ended.task_statuses() == {"ask": "FAILED", "after": "NOT_STARTED"}
    assert ended.task("ask")["invoke_msg"]["msg"] == "no ink"
    assert api.get(_child_of(ended.task("ask")))["dag_status"] == "FAILED"


def test_an_asynchronous_sub_flow_is_started_and_left_alone(api: Api, functions: Functions) -> None:
    api.add(CHILD.replace("FUNCTIONS/late", f"{functions.url}/gate/child"))
    ended = api.run(PARENT.replace("PATTERN", "flow_async"), {"n": 1})
    child_id = _child_of(ended.task("ask"))
    assert (ended.status, ended.context["after"]) == ("SUCCEED", "yes")
    assert ended.context["child"] == {"execution_id": child_id}
    assert api.get(child_id)["dag_status"] == "RUNNING"
    functions.open("child")
    api.until_task(child_id, "work", "RUNNING")
    api.trigger(child_id, "work", body={"n": 3})
    assert api.end(child_id).context["n"] == 3


@pytest.mark.parametrize("pattern", ["flow_sync", "flow_async"])
def test_a_sub_flow_that_does_not_exist_fails_its_task(api: Api, pattern: str) -> None:
    text = PARENT.replace("PATTERN", pattern).replace("mission:child", "mission:nowhere")
    ended = api.run(text)
    assert ended.status == "FAILED"
    message = ended.task("ask")["invoke_msg"]["msg"]
    assert "cannot find descriptor: mission:nowhere:release" in message


LEVEL: Final = """
workspace: mission
dagName: levelLEVEL
type: flow
tasks:
  - name: down
    category: function
    pattern: flow_sync
    resourceName: rillflow://mission:levelNEXT
    outputMappings: [{ source: $.output.depth, target: $.context.depth, transform: source + 1 }]
"""
BOTTOM: Final = """
workspace: mission
dagName: level5
type: flow
tasks:
  - { name: here, category: pass, outputMappings: [{ source: "1", target: $.context.depth }] }
"""


def test_sub_flows_nest_five_levels_deep(api: Api) -> None:
    api.add(BOTTOM)
    for level in (4, 3, 2):
        api.add(LEVEL.replace("LEVEL", str(level)).replace("NEXT", str(level + 1)))
    ended = api.run(LEVEL.replace("LEVEL", "1").replace("NEXT", "2"))
    assert (ended.status, ended.context["depth"]) == ("SUCCEED", 5)


def test_a_workflow_that_calls_itself_for_ever_is_stopped_at_the_fifth_level(api: Api) -> None:
    text = LEVEL.replace("LEVEL", "Endless").replace("NEXT", "Endless")
    ended = api.run(text)
    assert ended.status == "FAILED"
    depth = 1
    execution = ended.shown
    while child := execution["tasks"]["down"]["invoke_msg"].get("referenced_dag_execution_id"):
        execution = api.get(child)
        depth += 1
    assert depth == 5
    message = execution["tasks"]["down"]["invoke_msg"]["msg"]
    assert "exceed max depth, dag route: " in message
    assert message.count("#down") == 5


LOOP: Final = """
workspace: mission
dagName: family
type: flow
tasks:
  - name: each
    category: foreach
    inputMappings: [{ source: $.context.list, target: $.input.list }]
    iterationMapping: { collection: $.input.list, item: item }
    outputMappings: [{ source: "$.output.sub_context.[*].n", target: $.context.results }]
    tasks:
      - name: ask
        category: function
        pattern: flow_sync
        resourceName: rillflow://mission:child
        inputMappings:
          - { source: $.context.item, target: $.input.n }
          - source: $.context.item
            target: $.input.callbacks
            transform: 'seq.list(seq.map("json", seq.map("n", source * 10)))'
        outputMappings: [{ source: $.output.n, target: $.context.n }]
"""


def test_every_element_of_a_foreach_may_have_a_child_of_its_own(
    api: Api, functions: Functions
) -> None:
    api.add(CHILD.replace("FUNCTIONS", functions.url))
    ended = api.run(LOOP, {"list": [1, 2, 3]})
    assert (ended.status, ended.context["results"]) == ("SUCCEED", [10, 20, 30])
    children = {
        _child_of(api.group(ended.execution_id, "each", index)[f"each_{index}-ask"])
        for index in range(3)
    }
    assert len(children) == 3
