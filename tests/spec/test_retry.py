"""A failed attempt is made again while the retries last, at once or after a growing wait."""

from itertools import pairwise

import pytest

from rillflow.core.commands import SetTimer
from rillflow.core.plan import Plan
from rillflow.core.state import LONGEST_ERROR, NOTHING_SAID, TaskState, TimeInfo
from rillflow.core.tasks.function_tasks import may_retry
from rillflow.core.tasks.retry_waits import retry_wait_s
from rillflow.core.view import invoke_view
from rillflow.definition import parse_definition
from rillflow.definition.model import Retry
from rillflow.errors import ExecutionError
from rillflow.jsontypes import encode_json
from rillflow.testing import dispatch
from rillflow.testing.scenario import Scenario
from tests.spec.notation import (
    Definition,
    Json,
    each,
    flow,
    fn,
    on_output,
    refused,
    scenario,
    within,
)

ONE_TWO_THREE = [on_output("a==1"), on_output("b==2"), on_output("c==3")]


def retried(**retry: Json) -> Definition:
    return fn("A", ins="x", retry={"maxRetryTimes": 2, "multiplier": 1, **retry})


# -- whether ----------------------------------------------------------------------------


@pytest.mark.case("FR-04")
def test_a_negative_interval_retries_at_once() -> None:
    run = scenario(retried(intervalInSeconds=-1))
    run.submit()
    assert run.finish("A", succeeded=False) == [dispatch("A")]
    assert len(run.dispatched) == 2
    assert run.timers == []
    assert run.announced == []


@pytest.mark.case("FR-06")
def test_a_positive_interval_waits_with_a_timer() -> None:
    run = scenario(retried(intervalInSeconds=1))
    run.submit()
    assert run.finish("A", succeeded=False) == [SetTimer(kind="delay", task="A", due_ms=1000)]
    assert len(run.dispatched) == 1
    assert run.announced == []
    assert run.statuses == {"A": "READY"}

    assert run.advance(1) == [dispatch("A")]


def test_retries_end_with_their_number() -> None:
    run = scenario(retried())
    run.submit()
    for _ in range(2):
        assert run.finish("A", succeeded=False) == [dispatch("A")]
    run.finish("A", succeeded=False)
    assert run.statuses == {"A": "FAILED"}
    assert [info.end_ms for info in run.task("A").invoke.time_infos] == [0, 0, 0]


def test_a_retry_maps_the_input_again() -> None:
    run = scenario(retried(intervalInSeconds=1), fn("B", outs="x"))
    run.submit({"x": "old"})
    run.finish("A", succeeded=False)
    run.finish("B", {"x": "new"})
    assert run.advance(1) == [dispatch("A", x="new")]


def test_the_first_failures_message_stays_unless_a_later_result_has_its_own() -> None:
    run = scenario(retried())
    run.submit()
    run.answer("A", error="first")
    run.answer("A", error="second")
    assert run.task("A").invoke.msg == "first"
    run.answer("A", {"msg": "third"}, error="third")
    assert run.task("A").invoke.msg == "third"


def test_the_first_failures_code_stays_unless_a_later_result_has_its_own() -> None:
    run = scenario(retried())
    run.submit()
    run.answer("A", {"code": 7}, error="first")
    run.answer("A", error="second")
    assert run.task("A").invoke.code == "7"
    run.answer("A", {"code": 8}, error="third")
    assert run.task("A").invoke.code == "8"


def test_a_failed_dispatch_a_sync_answer_and_a_callback_are_all_retried() -> None:
    run = scenario(fn("A", "sync", retry={"maxRetryTimes": 1}))
    run.submit()
    assert run.answer("A", {"result_type": "FAILED"}) == [dispatch("A")]

    run = scenario(retried())
    run.submit()
    assert run.answer("A", error="refused") == [dispatch("A")]
    assert run.finish("A", succeeded=False) == [dispatch("A")]


def test_a_failure_to_map_is_not_retried() -> None:
    broken = [{"transform": "1 +", "target": "$.input.x", "tolerance": False}]
    run = scenario(fn("A", ins=broken, retry={"maxRetryTimes": 3}))
    assert run.submit() == []
    assert run.statuses == {"A": "FAILED"}


def test_output_of_a_failure_that_is_retried_is_not_mapped() -> None:
    run = scenario(fn("A", outs="x", tolerance=True, retry={"maxRetryTimes": 1}))
    run.submit()
    run.finish("A", {"x": 1}, succeeded=False)
    assert run.context == {}
    run.finish("A", {"x": 2}, succeeded=False)
    assert run.context == {"x": 2}


def test_a_held_failure_is_retried_and_the_next_attempts_early_callback_counts() -> None:
    run = scenario(fn("A", outs="x", retry={"maxRetryTimes": 1}))
    run.submit()
    run.finish("A", succeeded=False, early=True)
    assert run.answer("A") == [dispatch("A")]
    run.finish("A", {"x": 1}, early=True)
    run.answer("A")
    assert run.context == {"x": 1}


def test_a_callback_while_the_task_waits_for_its_retry_is_refused() -> None:
    run = scenario(retried(intervalInSeconds=5))
    run.submit()
    run.finish("A", succeeded=False)
    with pytest.raises(ExecutionError) as error:
        run.finish("A")
    assert refused(error) == (30601, "attempt finish wrong task A")


def test_a_waiting_retry_is_dropped_when_the_execution_ends() -> None:
    run = scenario(retried(intervalInSeconds=5))
    run.submit()
    run.finish("A", succeeded=False)
    run.cancel()
    assert run.timers == []
    assert run.advance(5) == []
    assert not run.changed


def _attempts(number: int, **retry: Json) -> tuple[TaskState, Plan]:
    definition = flow(fn("A", retry={"maxRetryTimes": 3, "multiplier": 2, **retry}))
    task = TaskState(name="A", base="A")
    task.invoke.time_infos = [TimeInfo(start_ms=0) for _ in range(number)]
    return task, Plan(parse_definition(encode_json(definition)), "")


def allowed(output: Json, attempts: int = 2, **retry: Json) -> bool:
    task, plan = _attempts(attempts, **retry)
    return may_retry(task, plan.by_name["A"], output)


@pytest.mark.parametrize(
    ("output", "retry", "expected"),
    [
        pytest.param(None, {"intervalInSeconds": 3}, True, id="RP-01"),
        pytest.param({"a": 1, "b": 2, "c": 3}, {}, True, id="RP-05"),
        pytest.param({"a": 1, "b": 2, "c": 3}, {"conditions": ONE_TWO_THREE}, True, id="RP-06"),
        pytest.param({"a": 1, "b": 0, "c": 0}, {"conditions": ONE_TWO_THREE}, True, id="RP-08"),
        pytest.param({"a": 0}, {"conditions": ONE_TWO_THREE}, False, id="no condition matches"),
        pytest.param(None, {"conditions": ONE_TWO_THREE}, False, id="conditions, no output"),
        pytest.param({"a": 1}, {"conditions": ["$$$"]}, False, id="a broken condition"),
        pytest.param({"a": 1}, {"maxRetryTimes": 1}, False, id="budget spent"),
        pytest.param({"a": 1}, {"maxRetryTimes": None}, False, id="no number"),
    ],
)
def test_a_failure_may_be_retried(output: Json, retry: Json, *, expected: bool) -> None:
    assert allowed(output, **retry) is expected


@pytest.mark.case("RP-02", "RP-09")
@pytest.mark.parametrize("conditions", [None, ONE_TWO_THREE])
def test_a_success_is_never_retried(conditions: list[str] | None) -> None:
    run = scenario(retried(conditions=conditions))
    run.submit()
    run.finish("A", {"a": 1, "b": 2, "c": 3})
    assert run.statuses == {"A": "SUCCEED"}


@pytest.mark.case("RP-09")
def test_matching_conditions_do_not_save_a_spent_budget() -> None:
    assert not allowed({"a": 1}, 4, conditions=ONE_TWO_THREE)


def test_after_a_dispatch_error_conditions_look_at_an_empty_output() -> None:
    run = scenario(retried(conditions=["$.output"]))
    run.submit()
    assert run.answer("A", error="refused") == [dispatch("A")]
    run = scenario(retried(conditions=["$.output.code"]))
    run.submit()
    assert run.answer("A", error="refused") == []
    assert run.task("A").invoke.msg == "refused"


def test_what_came_with_a_dispatch_error_is_no_output_for_conditions() -> None:
    run = scenario(retried(conditions=[on_output("busy == 1")]))
    run.submit()
    assert run.answer("A", {"busy": 1}, error="status 503") == []
    run = scenario(retried(conditions=[on_output("busy != 1")]))
    run.submit()
    assert run.answer("A", {"busy": 1}, error="status 503") == [dispatch("A")]


@pytest.mark.parametrize("said", [None, [1]])
def test_without_an_output_no_condition_holds(said: Json) -> None:
    run = scenario(retried(conditions=[on_output("busy != 1")]))
    run.submit()
    assert run.answer("A", said) == []


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_conditions_look_at_the_output_of_the_attempt(kind: str) -> None:
    run = scenario(
        fn("A", kind, retry={"maxRetryTimes": 9, "conditions": [on_output("busy == 1")]})
    )
    run.submit()
    for busy, again in ((1, [dispatch("A")]), (2, [])):
        said: Json = {"busy": busy, "result_type": "FAILED"}
        ends = run.answer if kind == "sync" else run.trigger
        assert ends("A", said) == again


def test_a_retry_without_a_number_of_times_is_none() -> None:
    run = scenario(fn("A", retry={"intervalInSeconds": 1}))
    run.submit()
    assert run.finish("A", succeeded=False) == []
    assert run.statuses == {"A": "FAILED"}


def test_a_task_without_retry_is_tried_once() -> None:
    run = scenario(fn("A"))
    run.submit()
    assert run.finish("A", succeeded=False) == []


# -- when --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interval", "multiplier", "attempts", "wait"),
    [
        pytest.param(3, 2, 2, 12, id="RP-11"),
        pytest.param(1, None, 2, 1, id="RP-12"),
        pytest.param(None, None, 2, 0, id="RP-13"),
        pytest.param(3, 2, 1, 6, id="the first retry waits once multiplied"),
        pytest.param(3, -2, 1, 3, id="a negative multiplier is none"),
        pytest.param(3, 1.5, 1, 4, id="whole seconds"),
        pytest.param(8, 0.5, 2, 2, id="a multiplier below one shortens the waits"),
        pytest.param(-5, 2, 1, 0, id="a negative interval is none"),
        pytest.param(1, 1e300, 2, 10 * 365 * 86400, id="ten years at most"),
    ],
)
def test_the_wait_grows_with_the_attempts_made(
    interval: int | None, multiplier: float | None, attempts: int, wait: int
) -> None:
    assert retry_wait_s(Retry(interval_s=interval, multiplier=multiplier), attempts) == wait


@pytest.mark.parametrize(
    ("multiplier", "cap", "wait"), [(2, 5, 5), (2, 1, 1), (1e300, 60, 60), (2, 0, 24)]
)
def test_a_longest_interval_caps_the_wait(multiplier: float, cap: int, wait: int) -> None:
    retry = Retry(interval_s=3, multiplier=multiplier, max_interval_s=cap)
    assert retry_wait_s(retry, 3) == wait


def test_each_retry_waits_longer() -> None:
    run = scenario(fn("A", retry={"maxRetryTimes": 3, "intervalInSeconds": 2, "multiplier": 3}))
    run.submit()
    for wait_s in (6, 18, 54):
        due_ms = run.now_ms + wait_s * 1000
        assert run.finish("A", succeeded=False) == [SetTimer(kind="delay", task="A", due_ms=due_ms)]
        assert run.advance(wait_s) == [dispatch("A")]


def test_a_functions_own_wish_to_wait_lengthens_the_wait() -> None:
    run = scenario(retried(intervalInSeconds=1))
    run.submit()
    [timer] = run.answer("A", error="status 429", retry_after_s=7.5)
    assert timer == SetTimer(kind="delay", task="A", due_ms=7500)


def test_the_wish_to_wait_is_of_one_attempt() -> None:
    run = scenario(
        retried(),
    )
    run.submit()
    run.answer("A", error="status 429", retry_after_s=2.0)
    assert run.advance(2) == [dispatch("A")]
    assert run.finish("A", early=True, succeeded=False) == []
    assert run.answer("A") == [dispatch("A")]


def test_jitter_makes_the_wait_longer_by_up_to_its_share() -> None:
    retry = "{maxRetryTimes: 3, intervalInSeconds: 10, multiplier: 1, jitter: 0.5}"
    flow = Scenario(
        f"""
workspace: demo
dagName: jittered
type: flow
tasks:
- name: A
  category: function
  pattern: task_sync
  resourceName: http://functions.test/a
  retry: {retry}
"""
    )
    flow.submit({})
    waits = []
    for _ in range(3):
        begun_ms = flow.now_ms
        flow.answer("A", {"result_type": "FAILED"})
        [timer] = flow.timers
        waits.append(timer.due_ms - begun_ms)
        flow.advance(15)
    assert all(10_000 <= wait < 15_000 for wait in waits)
    assert len(set(waits)) == 3


def test_a_jitter_above_one_is_one() -> None:
    due = []
    for jitter in (1, 7):
        run = scenario(retried(intervalInSeconds=10, jitter=jitter))
        run.submit()
        run.finish("A", succeeded=False)
        due += [timer.due_ms for timer in run.timers]
    assert 10_000 < due[0] == due[1] < 20_000


# -- what each attempt said ----------------------------------------------------------------


def errors(run: Scenario, task: str = "A") -> list[str | None]:
    return [info.error for info in run.task(task).invoke.time_infos]


def test_each_attempt_keeps_its_own_message_and_the_last_success_has_none() -> None:
    run = scenario(fn("A", "sync", retry={"maxRetryTimes": 4}))
    run.submit()
    run.answer("A", error="refused")
    run.answer("A", {"result_type": "FAILED", "msg": "no disk"})
    run.answer("A", {"result_type": "FAILED"})
    run.answer("A", error="reset")
    run.answer("A", {"msg": "done"})
    assert errors(run) == ["refused", "no disk", NOTHING_SAID, "reset", None]
    assert run.task("A").invoke.msg == "done"


def test_messages_of_callbacks_time_outs_and_mappings_belong_to_their_attempt() -> None:
    broken = [{"transform": "1 +", "target": "$.context.x", "tolerance": False}]
    retry = {"maxRetryTimes": 2}
    run = scenario(fn("A", retry=retry, timeline=within(9), outs=broken))
    run.submit()
    run.timeout("A")
    run.finish("A", succeeded=False, msg="no luck")
    run.answer("A")
    run.timeout("A")
    assert errors(run) == ["timeout", "no luck", "timeout"]
    assert run.task("A").invoke.msg == "timeout"


def test_what_is_kept_of_an_error_is_bounded() -> None:
    run = scenario(fn("A"))
    run.submit()
    run.finish("A", succeeded=False, msg="x" * 5000)
    assert errors(run) == ["x" * LONGEST_ERROR]


def test_a_foreach_has_the_error_of_the_iteration_that_failed() -> None:
    run = scenario(each("E", "list", fn("A"), ins="list"))
    run.submit({"list": [1]})
    run.finish("E_0-A", succeeded=False, msg="no")
    assert (errors(run, "E"), errors(run, "E_0-A")) == (["no"], ["no"])


# -- many retries ------------------------------------------------------------------------


def retried_for_ever(attempts: int, **retry: Json) -> Scenario:
    """Return a scenario in which so many attempts have failed, each made as soon as it may be."""
    run = scenario(fn("A", "sync", retry={"maxRetryTimes": 1_000_000_000, **retry}))
    run.submit()
    for _ in range(attempts):
        if run.statuses == {"A": "READY"}:
            run.advance(10)
        run.answer("A", error="unreachable")
    return run


def waits_s(run: Scenario) -> list[int]:
    infos = run.task("A").invoke.time_infos
    return [(later.start_ms - (earlier.end_ms or 0)) // 1000 for earlier, later in pairwise(infos)]


@pytest.mark.parametrize("retry", [{}, {"intervalInSeconds": 0}, {"intervalInSeconds": -3}])
def test_retries_without_an_interval_wait_longer_and_longer_after_the_tenth(
    retry: dict[str, int],
) -> None:
    run = scenario(fn("A", "sync", retry={"maxRetryTimes": 100, **retry}))
    run.submit()
    for _ in range(25):
        run.answer("A", error="unreachable")
        if run.statuses == {"A": "READY"}:
            due_ms = run.task("A").delay_due_ms or 0
            run.advance((due_ms - run.now_ms) // 1000)
    assert waits_s(run) == [0] * 10 + list(range(1, 11)) + [10] * 5


def test_an_interval_that_shrinks_to_nothing_is_paced_and_one_of_a_second_is_not() -> None:
    shrinking = Retry.model_validate({"intervalInSeconds": 3, "multiplier": 0.5})
    assert [retry_wait_s(shrinking, attempts) for attempts in (1, 2)] == [1, 0]
    run = retried_for_ever(11, intervalInSeconds=3, multiplier=0.5)
    assert run.timers[-1].due_ms - run.now_ms == 1000
    run = retried_for_ever(30, intervalInSeconds=1)
    assert run.timers[-1].due_ms - run.now_ms == 1000


def test_the_first_and_the_last_hundred_attempts_are_kept_and_the_others_counted() -> None:
    run = retried_for_ever(215)
    invoke = run.task("A").invoke
    assert len(invoke.time_infos) == 200
    assert invoke.times_left_out == 15
    assert invoke.attempts == 215
    starts = [info.start_ms for info in invoke.time_infos]
    assert starts == sorted(starts)
    assert starts[0] == 0
    assert invoke.time_infos[-1].error == "unreachable"
    assert invoke_view(invoke, with_ours=True)["invoke_times_left_out"] == 15
    assert "invoke_times_left_out" not in invoke_view(invoke)


def test_attempts_that_are_not_kept_count_for_the_number_of_retries() -> None:
    run = scenario(fn("A", "sync", retry={"maxRetryTimes": 205, "intervalInSeconds": 1}))
    run.submit()
    for _ in range(206):
        if run.statuses == {"A": "READY"}:
            run.advance(1)
        run.answer("A", error="unreachable")
    assert run.statuses == {"A": "FAILED"}
    assert run.task("A").invoke.attempts == 206


# -- what a function raises ---------------------------------------------------------------


@pytest.mark.parametrize(("told_by", "attempts"), [("function", 2), ("gateway", 1)])
def test_conditions_see_what_a_function_raised_and_not_what_a_gateway_says(
    told_by: str, attempts: int
) -> None:
    is_outcome = told_by == "function"
    condition = "$.output.error[?(@.type == 'Busy')]"
    run = scenario(fn("A", "sync", retry={"maxRetryTimes": 1, "conditions": [condition]}))
    run.submit()
    run.answer("A", {"error": {"type": "Busy"}}, error="Busy: later", is_outcome=is_outcome)
    assert run.task("A").attempt == attempts
    if is_outcome:
        run.answer("A", {"error": {"type": "Other"}}, error="Other: no", is_outcome=True)
    assert run.statuses == {"A": "FAILED"}
