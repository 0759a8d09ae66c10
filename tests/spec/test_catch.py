"""A task with ``catch`` hands its failure to another task, instead of failing the execution."""

import pytest

from rillflow.definition import parse_definition
from rillflow.errors import DefinitionError
from rillflow.testing.scenario import Scenario
from tests.spec.notation import each, fn, pass_, scenario

FLOW = """
workspace: demo
dagName: caught
type: flow
tasks:
- name: A
  category: function
  pattern: task_sync
  resourceName: http://functions.test/a
  next: B
  catch: C
- name: B
  category: pass
  next: D
- name: C
  category: pass
  inputMappings:
  - source: $.input.error.msg
    target: $.input.reason
  outputMappings:
  - source: $.output.reason
    target: $.context.reason
  next: D
- name: D
  category: pass
"""


def test_after_a_success_the_catching_task_is_skipped() -> None:
    flow = Scenario(FLOW, check=True)
    flow.submit({})
    flow.answer("A", {"n": 1})
    assert flow.statuses == {"A": "SUCCEED", "B": "SUCCEED", "C": "SKIPPED", "D": "SUCCEED"}
    assert flow.status == "SUCCEED"


def test_after_a_failure_only_the_catching_task_runs_and_sees_the_error() -> None:
    flow = Scenario(FLOW, check=True)
    flow.submit({})
    flow.answer("A", {"result_type": "FAILED", "error_msg": "no disk", "error_code": 7})
    assert flow.statuses == {"A": "SKIPPED", "B": "SKIPPED", "C": "SUCCEED", "D": "SUCCEED"}
    assert flow.status == "SUCCEED"
    assert flow.context["reason"] == "no disk"
    assert flow.task("C").invoke.input == {
        "error": {"task": "A", "code": "7", "msg": "no disk"},
        "reason": "no disk",
    }


def test_inside_a_group_a_task_catches_what_its_own_sibling_left() -> None:
    reason = [{"source": "$.input.error.msg", "target": "$.input.reason"}]
    run = scenario(
        each(
            "G",
            "list",
            fn("A", "sync", catch="C"),
            pass_("C", ins=reason, outs="reason"),
            ins="list",
        )
    )
    run.submit({"list": [1, 2]})
    run.answer("G_0-A", {"n": 1})
    run.answer("G_1-A", error="no disk")
    assert [run.statuses[name] for name in ("G_0-C", "G_1-C")] == ["SKIPPED", "SUCCEED"]
    assert [group.get("reason") for group in run.group_contexts("G")] == [None, "no disk"]


def test_retries_come_before_the_catch() -> None:
    retry = "  catch: C\n  retry: {maxRetryTimes: 1}\n"
    flow = Scenario(FLOW.replace("  catch: C\n", retry))
    flow.submit({})
    flow.answer("A", {"result_type": "FAILED"})
    assert flow.statuses["A"] == "RUNNING"
    flow.answer("A", {"result_type": "FAILED"})
    assert flow.statuses["A"] == "SKIPPED"
    assert flow.statuses["C"] == "SUCCEED"


def test_a_time_out_is_caught_too() -> None:
    flow = Scenario(FLOW.replace("  catch: C\n", "  catch: C\n  timeline: {timeoutInSeconds: 3}\n"))
    flow.submit({})
    flow.advance(3)
    assert flow.context["reason"] == "timeout"
    assert flow.status == "SUCCEED"


def test_a_redo_forgets_what_was_caught() -> None:
    flow = Scenario(FLOW, check=True)
    flow.submit({})
    flow.answer("A", {"result_type": "FAILED", "error_msg": "no disk"})
    flow.redo("A")
    flow.answer("A", {})
    assert flow.statuses == {"A": "SUCCEED", "B": "SUCCEED", "C": "SKIPPED", "D": "SUCCEED"}


def test_what_catches_must_be_a_sibling() -> None:
    with pytest.raises(DefinitionError, match=r"next task X not exist\."):
        parse_definition(FLOW.replace("catch: C", "catch: X"))


def test_a_task_that_catches_its_own_failure_is_a_circle() -> None:
    with pytest.raises(DefinitionError, match="circle found: A->A"):
        parse_definition(FLOW.replace("catch: C", "catch: A"))
