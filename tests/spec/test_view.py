"""An execution is shown with Rill Flow's keys; what is absent is left out."""

from typing import Any, Final

import pytest

from rillflow.core.events import RouteStep
from rillflow.core.plan import Plan
from rillflow.core.redaction import MASK, redacted
from rillflow.core.state import ExecutionState
from rillflow.core.view import children_view, dag_info, execution_view, progress
from rillflow.definition.model import WorkflowDefinition
from rillflow.testing import Dispatch, Scenario
from tests.spec.notation import Json, choice, each, flow, fn, on_input, pass_, scenario


def shown(run: Scenario, *, brief: bool = False) -> dict[str, Any]:
    return execution_view(run.plan, run.state, at_ms=run.now_ms, brief=brief)


def running() -> Scenario:
    run = scenario(
        fn("A", ins="x", outs="y", to="B"),
        each(
            "B", "list", fn("B1", to="B2"), pass_("B2"), ins="list", identity="$.iteration.element"
        ),
        version="1.10",
        input_schema="[]",
    )
    run.submit({"x": 1, "list": ["a", "b"]})
    return run


def test_the_whole_execution() -> None:
    run = running()
    view = shown(run)
    tasks = view.pop("tasks")
    assert view == {
        "workspace": "demo",
        "dag_name": "scenario",
        "version": "1.10",
        "type": "flow",
        "input_schema": "[]",
        "dag_invoke_msg": {"invoke_time_infos": [{"start_time": 0}]},
        "dag_status": "RUNNING",
        "execution_id": run.state.execution_id,
        "process": 0,
        "context": run.state.context,
        "invoke_summary": {},
    }
    assert list(tasks) == ["A", "B"]


def test_without_tasks_nothing_is_done() -> None:
    plan = Plan(WorkflowDefinition.model_validate(flow()), "")
    state = ExecutionState(execution_id="e", definition_id="", host="")
    assert progress(plan, state, 0) == 0


def test_the_brief_view_leaves_the_tasks_out() -> None:
    assert "tasks" not in shown(running(), brief=True)


def test_a_task() -> None:
    run = running()
    run.advance(2)
    run.finish("A", {"y": 2}, code="7", msg="fine", ext={"e": 1})
    task = shown(run)["tasks"]["A"]
    definition = task.pop("task")
    assert task == {
        "name": "A",
        "status": "SUCCEEDED",
        "contains_sub": False,
        "next": ["B"],
        "invoke_msg": {
            "code": "7",
            "msg": "fine",
            "input": {"x": 1},
            "output": {"y": 2},
            "ext": {"e": 1},
            "invoke_time_infos": [{"start_time": 0, "end_time": 2000}],
        },
        "sub_group_index_to_status": {},
        "sub_group_key_judgement_mapping": {},
        "sub_group_index_to_identity": {},
    }
    assert definition["inputMappings"] == [{"source": "$.context.x", "target": "$.input.x"}]
    assert "outputType" not in definition


def test_what_an_attempt_tells_of_itself_is_shown() -> None:
    args = [{"source": "$.input.x", "variable": "n"}]
    run = scenario(fn("A", "flow_sync", ins="x", progress={"args": args}))
    run.submit({"x": 1})
    run.answer("A", {"execution_id": "small", "invoke_id": "i-1"})
    told = shown(run)["tasks"]["A"]["invoke_msg"]
    assert (told["invoke_id"], told["referenced_dag_execution_id"]) == ("i-1", "small")
    assert told["progress_args"] == {"n": 1}


def test_an_input_and_an_output_are_shown_even_if_they_are_empty() -> None:
    run = scenario(fn("A", to="B"), fn("B"))
    run.submit()
    told = shown(run)["tasks"]
    assert told["A"]["invoke_msg"] == {"input": {}, "invoke_time_infos": [{"start_time": 0}]}
    assert told["B"]["invoke_msg"] == {}
    run.finish("A", {})
    assert shown(run)["tasks"]["A"]["invoke_msg"]["output"] == {}


def test_a_task_is_shown_with_the_degrade_switches_of_this_execution() -> None:
    run = scenario(fn("A", degrade={"current": True}), fn("B"))
    run.submit()
    assert shown(run)["tasks"]["A"]["task"]["degrade"]["current"] is True
    run.degrade("A", current=False, followings=True)
    tasks = shown(run)["tasks"]
    assert tasks["A"]["task"]["degrade"] == {"current": False, "followings": True}
    assert "degrade" not in tasks["B"]["task"]


def test_what_is_named_like_a_secret_is_masked_at_every_depth() -> None:
    rules = [{"source": "$.context.given", "target": "$.input.given"}]
    run = scenario(fn("A", ins=rules))
    run.submit({"given": [{"API-Key": "k", "token": None, "key": "kept"}, "kept"]})
    told = shown(run)["tasks"]["A"]["invoke_msg"]["input"]
    assert told == {"given": [{"API-Key": MASK, "key": "kept"}, "kept"]}


@pytest.mark.parametrize("name", ["pwd", "db_pwd", "DB-PASSWD", "apiKey", "X-Token", "passwd"])
def test_these_are_names_of_secrets(name: str) -> None:
    assert redacted({name: "k"}) == {name: MASK}


@pytest.mark.parametrize("name", ["cwd", "tokens", "passwords", "keys", "author"])
def test_these_are_no_names_of_secrets(name: str) -> None:
    assert redacted({name: "k"}) == {name: "k"}


CONSTANTS: Final[list[Json]] = [
    {"source": "sk-1", "target": "$.input.apikey"},
    {"source": "sk-1", "target": '$.input.header["X-Token"].value'},
    {"source": '{pwd: "sk-1", user: "Bob"}', "target": "$.input.login"},
    {"transform": "'sk-1'", "target": "$.input.password"},
    {"source": "$.context.key", "target": "$.input.secret"},
    {"source": "$.context.a", "transform": "source + 1", "target": "$.input.token"},
    {"source": "sk", "target": "$.input.tokens"},
    {"source": "{a: 1}", "target": "$.input.map"},
]
MASKED: Final[list[Json]] = [
    {"source": MASK, "target": "$.input.apikey"},
    {"source": MASK, "target": '$.input.header["X-Token"].value'},
    {"source": '{"pwd":"***","user":"Bob"}', "target": "$.input.login"},
    {"transform": MASK, "target": "$.input.password"},
    *CONSTANTS[4:],
]


def test_the_constants_of_a_shown_task_are_masked_like_its_input() -> None:
    parameters = {"apikey": "sk-1", "deep": [{"pwd": "sk-1"}], "kept": 1}
    run = scenario(
        fn("A", ins=CONSTANTS, parameters=parameters),
        each("B", "list", fn("C", ins=CONSTANTS, parameters=parameters), ins="list"),
    )
    run.submit({"list": [1]}, callback={"resourceName": "http://h/", "inputMappings": CONSTANTS})
    told = shown(run)
    task = told["tasks"]["A"]["task"]
    assert task["inputMappings"] == MASKED
    assert task["parameters"] == {"apikey": MASK, "deep": [{"pwd": MASK}], "kept": 1}
    members: Any = children_view(run.plan, run.state, "B", 0)
    assert members["B_0-C"]["task"] == {**task, "name": "C", "resourceName": "http://gateway/C"}
    assert "sk-1" not in f"{told}"
    assert "sk-1" not in f"{members}"
    assert "sk-1" not in f"{dag_info(run.plan, run.state)}"


def test_what_is_masked_when_it_is_shown_is_called_as_it_is() -> None:
    run = scenario(fn("A", ins=CONSTANTS[:1], parameters={"pwd": "sk-2"}))
    [call] = run.submit()
    assert shown(run)["tasks"]["A"]["task"]["parameters"] == {"pwd": MASK}
    assert isinstance(call, Dispatch)
    assert call.input == {"apikey": "sk-1", "pwd": "sk-2"}


def test_progress_is_shown_as_of_now() -> None:
    calculation = "taskRunningTimeInMillis / 8000.0"
    run = scenario(fn("A", progress={"calculation": calculation}))
    run.advance(9)
    run.submit()
    run.advance(2)
    assert shown(run)["process"] == 25


def test_a_task_with_groups_and_its_members() -> None:
    run = running()
    run.finish("A")
    task = shown(run)["tasks"]["B"]
    assert task["contains_sub"] is True
    assert task["sub_group_index_to_status"] == {"0": "RUNNING", "1": "RUNNING"}
    assert task["sub_group_index_to_identity"] == {"0": "a", "1": "b"}

    members = children_view(run.plan, run.state, "B", 1)
    assert members is not None
    assert list(members) == ["B_1-B1", "B_1-B2"]
    first: Any = members["B_1-B1"]
    assert (first["status"], first["next"]) == ("RUNNING", ["B_1-B2"])
    assert children_view(run.plan, run.state, "B", 2) is None


def test_branches_of_a_choice_show_running_while_they_run() -> None:
    run = scenario(
        choice("A", (on_input("x == 1"), [fn("A1")]), (on_input("x == 2"), [fn("A2")]), ins="x")
    )
    run.submit({"x": 1})
    assert shown(run)["tasks"]["A"]["sub_group_index_to_status"] == {"0": "RUNNING", "1": "SKIPPED"}


def test_a_callback_of_the_submission_is_shown() -> None:
    run = scenario(fn("A"))
    config: Json = {"resourceName": "http://listener"}
    run.submit(callback=config)
    assert shown(run)["dag_invoke_msg"]["callback"] == config


def test_a_sub_flow_shows_the_chain_of_executions_above() -> None:
    run = Scenario(
        flow(fn("A")), route=[RouteStep(execution_id="big", task="T", pattern="flow_sync")]
    )
    run.submit()
    assert shown(run)["dag_invoke_msg"]["dag_execution_routes"] == [
        {"index": 0, "execution_id": "big", "task_info_name": "T", "execution_type": "flow_sync"}
    ]


def test_what_an_attempt_was_expected_to_cost_is_shown() -> None:
    run = scenario(fn("A", ins="expected_cost"))
    run.submit({"expected_cost": 9})
    infos = shown(run)["tasks"]["A"]["invoke_msg"]["invoke_time_infos"]
    assert infos == [{"start_time": 0, "expected_cost": 9}]


def test_a_message_of_rill_flow_has_a_plain_sentence_beside_it_but_not_for_the_callback() -> None:
    run = scenario(fn("A", "sync"), callback={"resourceName": "http://told"})
    run.submit()
    run.answer("A", error="dispatchTask http fails due to no paper")
    view = shown(run)
    for invoke in (view["dag_invoke_msg"], view["tasks"]["A"]["invoke_msg"]):
        assert invoke["msg"] == "dispatchTask http fails due to no paper"
        assert invoke["hint"] == "the call failed: no paper"
    assert run.state.completion is not None
    assert b"hint" not in run.state.completion


def test_another_hint_and_another_message_stay_as_they_are() -> None:
    for error, hint in (("timeout", "the function sleeps"), ("no paper", "")):
        run = scenario(fn("A", "sync"))
        run.submit()
        run.answer("A", error=error, hint=hint or None)  # type: ignore[arg-type]
        assert shown(run)["tasks"]["A"]["invoke_msg"].get("hint", "") == hint
