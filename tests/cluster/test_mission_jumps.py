"""Jumps and waits run through Serve: return leaves a branch, pass maps, suspense waits."""

from typing import Final

import pytest

from tests.cluster.api import Api

pytestmark = pytest.mark.cluster

RETURN: Final = """
workspace: mission
dagName: returning
type: flow
tasks:
  - name: enough
    category: return
    inputMappings: [{ source: $.context.n, target: $.input.n }]
    conditions: ["$.input.[?(@.n > 10)]"]
    next: work
  - { name: work, category: pass, next: more }
  - { name: more, category: pass, outputMappings: [{ source: "yes", target: $.context.more }] }
"""


def test_a_return_whose_conditions_hold_ends_its_branch_early(api: Api) -> None:
    ended = api.run(RETURN, {"n": 11})
    assert ended.status == "SUCCEED"
    assert ended.task_statuses() == {"enough": "SUCCEEDED", "work": "SKIPPED", "more": "SKIPPED"}
    assert "more" not in ended.context


def test_a_return_whose_conditions_fail_lets_its_branch_go_on(api: Api) -> None:
    ended = api.run(RETURN, {"n": 10})
    assert ended.task_statuses() == {"enough": "SKIPPED", "work": "SUCCEEDED", "more": "SUCCEEDED"}
    assert ended.context["more"] == "yes"


def test_a_pass_maps_its_input_back_as_its_output(api: Api) -> None:
    ended = api.run(
        """
workspace: mission
dagName: passing
type: flow
tasks:
  - name: only
    category: pass
    inputMappings:
      - { source: $.context.a, target: "$.input.list[1].deep" }
      - { source: "5", target: $.input.five }
    outputMappings: [{ source: $.output, target: $.context.seen }]
""",
        {"a": {"b": 1}},
    )
    assert ended.context["seen"] == {"list": [None, {"deep": {"b": 1}}], "five": 5}


SUSPENSE: Final = """
workspace: mission
dagName: waiting
type: flow
tasks:
  - name: approval
    category: suspense
    inputMappings:
      - { source: $.context.votes, target: $.input.votes }
      - { source: $.context.veto, target: $.input.veto }
    conditions: ["$.input.[?(@.votes >= 2)]"]
    interruptions: ["$.input.veto"]
    outputMappings:
      - { source: $.output.votes, target: $.context.votes }
      - { source: $.output.veto, target: $.context.veto }
    next: after
  - { name: after, category: pass, outputMappings: [{ source: "yes", target: $.context.after }] }
"""


def test_a_suspense_waits_until_a_wake_up_makes_its_conditions_hold(api: Api) -> None:
    execution_id = api.submit(SUSPENSE, {"votes": 0})
    api.until_task(execution_id, "approval", "RUNNING")
    assert api.wake_up(execution_id, "approval", {"votes": 1}) == (200, {"result": "ok"})
    shown = api.get(execution_id)
    assert shown["tasks"]["approval"]["status"] == "RUNNING"
    assert shown["context"]["votes"] == 1
    assert api.wake_up(execution_id, "approval", {"votes": 2}) == (200, {"result": "ok"})
    ended = api.end(execution_id)
    assert (ended.status, ended.context["after"]) == ("SUCCEED", "yes")


def test_a_suspense_can_be_woken_through_the_callback_route_too(api: Api) -> None:
    execution_id = api.submit(SUSPENSE, {"votes": 0})
    api.until_task(execution_id, "approval", "RUNNING")
    assert api.trigger(execution_id, "approval", body={"votes": 3}).status == 200
    assert api.end(execution_id).status == "SUCCEED"


def test_an_interruption_fails_a_suspense_and_what_follows_never_starts(api: Api) -> None:
    execution_id = api.submit(SUSPENSE, {"votes": 0})
    api.until_task(execution_id, "approval", "RUNNING")
    api.wake_up(execution_id, "approval", {"veto": True})
    ended = api.end(execution_id)
    assert ended.status == "FAILED"
    assert ended.task_statuses() == {"approval": "FAILED", "after": "NOT_STARTED"}
    assert ended.task("approval")["invoke_msg"]["msg"] == "interruption"
