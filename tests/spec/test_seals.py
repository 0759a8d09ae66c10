"""Where callback addresses are sealed, only the one of the present attempt ends a call."""

import pytest

from rillflow.core.events import CallbackReceived
from rillflow.errors import ForgedCallbackError
from rillflow.testing import Scenario
from tests.spec.notation import fn, scenario, susp

NO_SEAL = 0


def called_back(run: Scenario, task: str, sealed_attempt: int | None) -> str:
    """Call back under an address with this seal, and tell the task's status."""
    run.take(
        CallbackReceived(
            at_ms=run.now_ms,
            task=task,
            succeeded=True,
            trigger=True,
            sealed_attempt=sealed_attempt,
        )
    )
    return run.statuses[task]


def second_attempt() -> Scenario:
    run = scenario(fn("A", retry={"maxRetryTimes": 1}, to="B"), fn("B"))
    run.submit()
    run.answer("A", error="no")
    run.answer("A")
    return run


@pytest.mark.parametrize("seal", [2, None], ids=["of this attempt", "not asked for"])
def test_a_callback_under_the_present_seal_counts(seal: int | None) -> None:
    assert called_back(second_attempt(), "A", seal) == "SUCCEED"


@pytest.mark.parametrize("seal", [1, 3, NO_SEAL])
def test_a_callback_under_another_seal_or_none_is_refused(seal: int) -> None:
    run = second_attempt()
    with pytest.raises(ForgedCallbackError, match="not sealed for this attempt of task A"):
        called_back(run, "A", seal)
    assert run.statuses["A"] == "RUNNING"


def test_a_task_that_was_never_called_has_no_seal() -> None:
    with pytest.raises(ForgedCallbackError):
        called_back(second_attempt(), "B", NO_SEAL)


def test_a_forged_repetition_is_refused_and_a_sealed_one_is_a_repetition() -> None:
    run = second_attempt()
    called_back(run, "A", 2)
    with pytest.raises(ForgedCallbackError):
        called_back(run, "A", NO_SEAL)
    called_back(run, "A", 2)
    assert not run.changed


def test_anybody_may_wake_a_suspense() -> None:
    run = scenario(susp("A", "$.input.x", ins="x"))
    run.submit()
    assert called_back(run, "A", NO_SEAL) == "RUNNING"
