"""How long a function is left alone follows no clock that is wrong (spec 9.3)."""

import pytest

from rillflow.ports.executions import ResourceCall
from rillflow.runtime.backpressure.busy_functions import BusyFunctions
from tests.loopback import ManualClock

HOUR_S = 3600
SERVICE = "demo:flow"
FUNCTION = "http://functions.test/busy"


def test_a_hint_lasts_as_long_at_an_owner_whose_clock_is_an_hour_slow() -> None:
    news: list[ResourceCall] = []
    BusyFunctions(ManualClock(), news.append).heard(SERVICE, "A", FUNCTION, hint_s=5)
    slow = ManualClock()
    slow.wrong_by_s = -HOUR_S
    elsewhere = BusyFunctions(slow)
    for call in news:
        elsewhere.answer(call)

    assert elsewhere.busy_s(FUNCTION, SERVICE) == 5


def test_a_clock_that_is_set_back_makes_no_function_busy_again() -> None:
    clock = ManualClock()
    hints = BusyFunctions(clock)
    hints.heard(SERVICE, "A", FUNCTION, hint_s=5)
    clock.forward(6)
    clock.wrong_by_s = -HOUR_S
    body = hints.answer(ResourceCall(kind="read", service=SERVICE)).body

    assert hints.busy_s(FUNCTION, SERVICE) == 0
    assert body is not None
    assert body.endswith(b",false]]")


def test_a_shorter_hint_does_not_shorten_a_longer_one() -> None:
    clock = ManualClock()
    hints = BusyFunctions(clock)
    hints.heard(SERVICE, "A", FUNCTION, hint_s=9)
    hints.heard(SERVICE, "A", FUNCTION, hint_s=1)
    hints.heard(SERVICE, "A", FUNCTION)

    assert hints.busy_s(FUNCTION, SERVICE) == 9


def test_a_hint_that_anyone_could_send_holds_back_the_calls_of_its_service_alone() -> None:
    news: list[ResourceCall] = []
    here, clock = BusyFunctions(ManualClock(), news.append), ManualClock()
    here.heard(SERVICE, "A", FUNCTION, hint_s=9, for_service_only=True)
    elsewhere = BusyFunctions(clock)
    for call in news:
        elsewhere.answer(call)

    for hints in (here, elsewhere):
        assert hints.are_busy
        assert hints.busy_s(FUNCTION, SERVICE) == 9
        assert hints.busy_s(FUNCTION, "shop:order") == 0
        assert hints.answer(ResourceCall(kind="blocks", service="")).body == b"{}"
        own = hints.answer(ResourceCall(kind="blocks", service=SERVICE)).body
        assert own == b'{"%b":9.0}' % FUNCTION.encode()
    clock.forward(9)
    assert elsewhere.busy_s(FUNCTION, SERVICE) == 0
    assert not elsewhere.are_busy


def test_a_hint_in_an_answer_holds_back_the_calls_of_its_workspace_alone() -> None:
    """An answer may repeat its input: a submitter had a shared function left alone for all."""
    news: list[ResourceCall] = []
    here, clock = BusyFunctions(ManualClock(), news.append), ManualClock()
    here.heard(SERVICE, "A", FUNCTION, hint_s=9)
    elsewhere = BusyFunctions(clock)
    for call in news:
        elsewhere.answer(call)

    for hints in (here, elsewhere):
        assert hints.busy_s(FUNCTION, SERVICE) == 9
        assert hints.busy_s(FUNCTION, "demo:other") == 9
        assert hints.busy_s(FUNCTION, "shop:order") == 0
        for asked in ("demo", "demo:other"):
            body = hints.answer(ResourceCall(kind="blocks", service=asked)).body
            assert body == b'{"%b":9.0}' % FUNCTION.encode()
        assert hints.answer(ResourceCall(kind="blocks", service="shop")).body == b"{}"
    elsewhere.answer(ResourceCall(kind="clear", service=SERVICE))
    assert elsewhere.busy_s(FUNCTION, "demo:other") == 0


@pytest.mark.parametrize("for_service_only", [False, True])
def test_a_bounded_number_of_hints_is_kept(*, for_service_only: bool) -> None:
    hints = BusyFunctions(ManualClock())
    for number in range(10_001):
        name = f"{FUNCTION}/{number}"
        hints.heard(SERVICE, "A", name, hint_s=9, for_service_only=for_service_only)

    assert hints.busy_s(f"{FUNCTION}/0", SERVICE) == 0
    assert hints.busy_s(f"{FUNCTION}/10000", SERVICE) == 9


def test_a_hint_of_a_service_is_cleared_with_the_others() -> None:
    hints = BusyFunctions(ManualClock())
    hints.heard(SERVICE, "A", FUNCTION, hint_s=9, for_service_only=True)
    hints.answer(ResourceCall(kind="clear", service=SERVICE))

    assert hints.busy_s(FUNCTION, SERVICE) == 0
