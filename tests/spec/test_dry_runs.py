"""A dry run tells which calls a definition would make, as a real execution makes them.

Nobody is called. Answers are given, taken from an execution, or assumed; what has none waits. A run
ends after a bounded number of events, steps, bytes and tasks, and when its time is over.
"""

from collections.abc import Callable
from typing import Any

import pytest

from rillflow.core.inspection import dry_runs
from rillflow.core.inspection.dry_runs import Answer, DryRun, answers_of
from rillflow.core.plan import Plan
from rillflow.definition import WorkflowDefinition
from rillflow.errors import ExecutionError
from rillflow.jsontypes import JsonObject, encode_json
from tests.spec.notation import each, fn, on_input, pass_, scenario, susp, sw


def never() -> bool:
    return False


def ran(
    *tasks: Any,
    data: JsonObject | None = None,
    assumes: bool = False,
    is_over: Callable[[], bool] = never,
    more: dict[str, list[Answer]] | None = None,
    **answers: Answer | list[Answer],
) -> Any:
    """Return what a dry run of these tasks shows, as JSON can hold it."""
    plan = scenario(*tasks).plan
    given = {name: one if isinstance(one, list) else [one] for name, one in answers.items()}
    run = DryRun(
        plan, given | (more or {}), assumes=assumes, settings={}, at_ms=1_000, is_over=is_over
    )
    run.run(data or {})
    shown = run.shown()
    encode_json(shown)
    return shown


def of(value: JsonObject) -> Answer:
    return Answer(encode_json(value))


def test_calls_are_those_of_an_execution_with_the_same_answers() -> None:
    tasks = (
        fn("A", "sync", to="B", ins="name", outs="text"),
        fn("B", ins="text"),
    )
    real = scenario(*tasks)
    real.submit({"name": "Bob"})
    real.answer("A", {"text": "hi"})
    real.finish("B", {"done": True})
    shown = ran(*tasks, data={"name": "Bob"}, A=of({"text": "hi"}), B=of({"done": True}))
    assert [(call["task"], call["input"]) for call in shown["calls"]] == [
        (call.task, call.input) for call in real.dispatched
    ]
    assert (shown["status"], shown["context"]) == ("succeeded", real.context)
    assert [call["answer"] for call in shown["calls"]] == ["given", "given"]


def test_a_call_without_an_answer_is_awaited_or_assumed_to_succeed() -> None:
    tasks = (fn("A", to="B"), fn("B"))
    awaited = ran(*tasks)
    assert (awaited["status"], [each["task"] for each in awaited["waiting"]]) == ("running", ["A"])
    assert [call["answer"] for call in awaited["calls"]] == ["awaited"]
    assumed = ran(*tasks, assumes=True)
    assert assumed["status"] == "succeeded"
    assert [call["answer"] for call in assumed["calls"]] == ["assumed", "assumed"]


def test_an_error_is_retried_after_its_delay_and_attempts_have_answers_of_their_own() -> None:
    retry = {"maxRetryTimes": 2, "intervalInSeconds": 30}
    answers = [Answer(error="busy"), of({"ok": 1})]
    shown = ran(fn("A", retry=retry), A=answers)
    first, second = shown["calls"]
    assert (first["error"], first["attempt"], second["attempt"]) == ("busy", 1, 2)
    assert (shown["status"], second["at_ms"] >= 30_000) == ("succeeded", True)
    assert ran(fn("A"), A=Answer(error="busy"))["status"] == "failed"


def test_delays_pass_at_once_and_time_outs_never_come() -> None:
    delay = {"suspenseIntervalSeconds": 60, "timeoutInSeconds": 5}
    shown = ran(fn("A", timeline=delay))
    assert [call["at_ms"] for call in shown["calls"]] == [60_000]
    assert (shown["status"], shown["took_ms"]) == ("running", 60_000)
    assert [each["task"] for each in shown["waiting"]] == ["A"]


def test_an_answer_by_the_name_of_an_instance_comes_before_that_of_its_task() -> None:
    loop = each("E", "list", fn("A"), ins="list")
    shown = ran(
        loop,
        data={"list": [1, 2]},
        A=of({"n": 1}),
        more={"E_1-A": [Answer(error="no")]},
    )
    answers = {call["task"]: call["error"] for call in shown["calls"]}
    assert answers == {"E_0-A": None, "E_1-A": "no"}
    assert set(shown["levels"]) == {"", "E_0", "E_1"}


def test_a_suspended_task_is_woken_up_with_its_answer_once() -> None:
    waits = susp("W", on_input("go == true"), ins="go", outs="go")
    assert ran(waits)["waiting"][0]["kind"] == "wake_up"
    woken = ran(waits, W=of({"go": True}))
    assert (woken["status"], woken["context"]) == ("succeeded", {"go": True})


def test_sub_flows_are_calls_too() -> None:
    shown = ran(fn("A", "flow_sync"), A=of({"done": 1}))
    assert (shown["status"], shown["calls"][0]["pattern"]) == ("succeeded", "flow_sync")
    assert ran(fn("A", "flow_sync"), A=Answer(error="no"))["status"] == "failed"


def test_answers_are_taken_from_an_execution() -> None:
    past = scenario(fn("A", "sync", to="B"), fn("B"))
    past.submit()
    past.answer("A", {"text": "hi"})
    past.finish("B", {}, succeeded=False, msg="broken")
    answers = answers_of(past.plan, past.state)
    assert answers["A"] == [Answer(b'{"text":"hi"}', source="past")]
    assert answers["B"][0].error == "broken"


def test_secrets_of_inputs_are_masked() -> None:
    shown = ran(fn("A", ins="password<=p"), data={"p": "hunter2"})
    assert shown["calls"][0]["input"] == {"password": "***"}


def test_a_run_ends_when_its_time_is_over() -> None:
    shown = ran(fn("A", to="B"), fn("B"), assumes=True, is_over=lambda: True)
    assert (shown["stopped"], len(shown["calls"])) == ("time", 1)


@pytest.mark.parametrize("pattern", ["sync", "async"])
def test_what_answers_hold_counts_as_memory_of_the_run(pattern: str) -> None:
    answer = Answer(b'{"q":[' + b"[]," * 10_000 + b"[]]}")
    shown = ran(
        each("E", "list", fn("A", pattern), ins="list"), data={"list": list(range(100))}, A=answer
    )
    assert (shown["stopped"], shown["status"]) == ("memory", "running")
    assert 60 <= len(shown["calls"]) <= 70


def test_what_wakes_tasks_up_counts_as_memory_of_the_run() -> None:
    answer = Answer(b'{"q":[' + b"[]," * 10_000 + b"[]]}")
    shown = ran(susp("W", on_input("go == true")), W=[answer] * 100)
    assert (shown["stopped"], shown["events"] < 70) == ("memory", True)


def test_a_loop_that_is_too_wide_is_refused_as_in_an_execution() -> None:
    items: JsonObject = {"list": list(range(dry_runs.MOST_TASKS + 1))}
    shown = ran(each("E", "list", pass_("P"), ins="list"), data=items)
    assert (shown["status"], shown["stopped"]) == ("failed", None)
    assert len(encode_json(shown)) < 1 << 20


def test_retries_without_end_are_stopped() -> None:
    retry = {"maxRetryTimes": 1_000_000, "intervalInSeconds": 1}
    shown = ran(fn("A", retry=retry), A=Answer(error="busy"))
    assert shown["stopped"] == "events"
    assert len(shown["calls"]) == dry_runs.MOST_CALLS
    assert shown["more_calls"] > 1_000


def test_a_definition_with_too_many_tasks_is_refused() -> None:
    tasks = [{"name": f"t{number}", "category": "pass"} for number in range(3_000)]
    definition = WorkflowDefinition.model_validate(
        {"workspace": "a", "dagName": "b", "type": "flow", "tasks": tasks}
    )
    run = DryRun(
        Plan(definition, ""), {}, assumes=True, settings={}, at_ms=0, is_over=lambda: False
    )
    with pytest.raises(ExecutionError):
        run.run({})


def test_a_choice_and_a_switch_show_which_way_is_taken() -> None:
    shown = ran(
        sw("S", (on_input("n > 1"), "A"), ("default", "B"), ins="n"),
        fn("A"),
        fn("B"),
        data={"n": 2},
    )
    assert [call["task"] for call in shown["calls"]] == ["A"]
