"""Whether a callback would be taken is known before its outcome is read (spec 3.11)."""

import pytest

from rillflow.core.events import CallbackReceived
from rillflow.core.machine import awaits_callback
from rillflow.errors import ExecutionError, ForgedCallbackError, RequestError
from rillflow.testing import Scenario
from tests.spec.notation import fn, scenario, susp


def awaits(
    run: Scenario, task: str, *, trigger: bool = True, sealed_attempt: int | None = None
) -> bool:
    event = CallbackReceived(
        at_ms=run.now_ms, task=task, trigger=trigger, sealed_attempt=sealed_attempt
    )
    before = run.state.seq, dict(run.statuses)
    try:
        return awaits_callback(run.plan, run.state, event)
    finally:
        assert (run.state.seq, run.statuses) == before


@pytest.mark.parametrize("trigger", [True, False])
def test_a_function_awaits_one_outcome_and_none_once_it_has_ended(*, trigger: bool) -> None:
    run = scenario(fn("A"), fn("B"))
    run.submit()
    run.answer("A", {})
    assert awaits(run, "A", trigger=trigger)
    run.finish("A", {"a": 1})
    assert not awaits(run, "A", trigger=trigger)
    assert awaits(run, "B", trigger=trigger)
    run.finish("B", {})
    assert run.status == "SUCCEED"
    assert not awaits(run, "B", trigger=trigger)


def test_a_suspense_awaits_signals_until_it_has_ended() -> None:
    run = scenario(susp("W", "$.input.[?(@.go == true)]", inps=[]))
    run.submit()
    assert awaits(run, "W")
    run.trigger("W", {"other": 1})
    assert awaits(run, "W")


def test_what_would_be_refused_is_refused_with_the_same_words() -> None:
    run = scenario(fn("A"))
    run.submit()
    for trigger, kind in ((True, RequestError), (False, ExecutionError)):
        with pytest.raises(kind) as asked:
            awaits(run, "unknown", trigger=trigger)
        with pytest.raises(kind) as told:
            run.finish("unknown", {}, trigger=trigger)
        assert str(asked.value) == str(told.value)
    with pytest.raises(ForgedCallbackError):
        awaits(run, "A", sealed_attempt=0)
