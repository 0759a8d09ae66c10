"""The triggers of one workspace fire so often, in turn with those of the others."""

from rillflow.ports.triggers import TriggerRow
from rillflow.runtime.triggers.firing import ActiveTrigger
from rillflow.runtime.triggers.firing_rates import (
    MOST_AT_ONCE,
    MOST_PER_S,
    PAUSE_MS,
    FiringRates,
    in_turn,
)
from tests.loopback import ManualClock


def active(trigger_id: str, descriptor_id: str) -> ActiveTrigger:
    spec = '{"cron":"* * * * * *"}'
    row = TriggerRow(id=trigger_id, type="cron", descriptor_id=descriptor_id, spec=spec)
    return ActiveTrigger(row, 0)


def test_workspaces_take_turns() -> None:
    many = [active(f"a{number}", "a:flow") for number in range(3)]
    due = [*many, active("b0", "b:flow:release")]
    assert [each.id for each in in_turn(due)] == ["a0", "b0", "a1", "a2"]


def test_a_workspace_that_has_fired_too_often_waits_and_others_do_not() -> None:
    clock = ManualClock()
    rates = FiringRates(clock)
    rates.count("a", MOST_AT_ONCE - 1)
    assert rates.pause_ms("a") == 0
    rates.count("a", 1 + 2 * MOST_PER_S)
    assert rates.pause_ms("a") >= PAUSE_MS + 2_000
    assert rates.pause_ms("b") == 0
    clock.forward(1.5)
    assert rates.pause_ms("a") > PAUSE_MS
    clock.forward(1)
    assert rates.pause_ms("a") == 0
