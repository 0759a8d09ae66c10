"""An error at the answer of a call is a failed attempt with the error's text (spec 3.10).

So is one when nobody is there to be told of it, as with an early callback. Retries apply, and
their conditions look at the output that there was.
"""

from typing import Final

import pytest

from tests.spec.notation import Json, fn, scenario

BROKEN_RULE: Final = [{"transform": "1 + nil", "target": "$.context.x", "tolerance": False}]
RAISING: Final[dict[str, dict[str, Json]]] = {
    "a success condition": {"success_conditions": ["$.output.a[?(@.x)]"]},
    "a fail condition": {"fail_conditions": ["$.output.a[?(@.x)]"]},
    "no path as a condition": {"success_conditions": ["$$$"]},
    "an output rule": {"outs": BROKEN_RULE},
}


@pytest.mark.parametrize("raising", RAISING.values(), ids=RAISING)
def test_an_error_at_the_answer_of_a_call_is_a_failed_attempt_and_is_retried(
    raising: dict[str, Json],
) -> None:
    run = scenario(fn("A", "sync", retry={"maxRetryTimes": 1}, **raising))
    run.submit()
    run.answer("A", {"a": 1, "msg": "fine"})
    assert (run.statuses, run.task("A").attempt) == ({"A": "RUNNING"}, 2)
    run.answer("A", {"a": 1, "msg": "fine"})
    assert run.statuses == {"A": "FAILED"}
    message = run.task("A").invoke.msg
    assert message
    assert message != "fine"


def test_an_attempt_after_an_error_may_succeed() -> None:
    filtering = ["$.output.a[?(@.x == 1)]"]
    retry = {"maxRetryTimes": 1}
    run = scenario(fn("A", "sync", outs="b", retry=retry, success_conditions=filtering))
    run.submit()
    run.answer("A", {"a": 1, "b": 1})
    assert (run.statuses, run.context.get("b")) == ({"A": "RUNNING"}, None)
    run.answer("A", {"a": {"x": 1}, "b": 2})
    assert (run.statuses, run.context["b"]) == ({"A": "SUCCEED"}, 2)


def test_after_an_error_at_an_answer_conditions_of_retry_look_at_its_output() -> None:
    for condition, status in (("$.output[?(@.a == 1)]", "RUNNING"), ("$.output.b", "FAILED")):
        retry = {"maxRetryTimes": 1, "conditions": [condition]}
        run = scenario(fn("A", "sync", outs=BROKEN_RULE, retry=retry))
        run.submit()
        run.answer("A", {"a": 1})
        assert run.statuses == {"A": status}


def test_where_conditions_of_retry_raise_an_error_too_there_is_no_retry() -> None:
    retry = {"maxRetryTimes": 1, "conditions": ["$.output.a[?(@.x)]"]}
    run = scenario(fn("A", "sync", outs=BROKEN_RULE, retry=retry))
    run.submit()
    run.answer("A", {"a": 1})
    assert run.statuses == {"A": "FAILED"}


def test_an_error_at_an_answer_is_tolerated_where_the_task_is_tolerant() -> None:
    run = scenario(fn("A", "sync", outs=BROKEN_RULE, tolerance=True))
    run.submit()
    run.answer("A", {"a": 1})
    assert run.statuses == {"A": "SKIPPED"}


@pytest.mark.parametrize("kind", ["flow_sync", "flow_async"])
def test_an_error_at_the_start_of_a_sub_flow_is_a_failed_attempt(kind: str) -> None:
    run = scenario(fn("A", kind, outs=BROKEN_RULE, retry={"maxRetryTimes": 1}))
    run.submit()
    run.answer("A", {"execution_id": "child"})
    assert (run.statuses, run.task("A").attempt) == ({"A": "RUNNING"}, 2)
    run.answer("A", {"execution_id": "child"})
    assert run.statuses == {"A": "FAILED"}


def test_an_early_callback_that_cannot_be_applied_is_a_failed_attempt() -> None:
    run = scenario(fn("A", outs=BROKEN_RULE, retry={"maxRetryTimes": 1}))
    run.submit()
    run.finish("A", {"a": 1}, early=True)
    run.answer("A")
    assert (run.statuses, run.task("A").attempt) == ({"A": "RUNNING"}, 2)
