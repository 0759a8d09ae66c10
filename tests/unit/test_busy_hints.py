"""How long a function is left alone follows no clock that is wrong (spec 9.3)."""

from rillflow.ports.executions import ResourceCall
from rillflow.runtime.backpressure.busy_functions import BusyFunctions
from tests.loopback import ManualClock

HOUR_S = 3600
SERVICE = "demo:flow"
FUNCTION = "http://functions.test/busy"


def test_a_hint_lasts_as_long_at_a_home_whose_clock_is_an_hour_slow() -> None:
    news: list[ResourceCall] = []
    BusyFunctions(ManualClock(), news.append).heard(SERVICE, "A", FUNCTION, hint_s=5)
    slow = ManualClock()
    slow.wrong_by_s = -HOUR_S
    elsewhere = BusyFunctions(slow)
    for call in news:
        elsewhere.answer(call)

    assert elsewhere.busy_s(FUNCTION) == 5


def test_a_clock_that_is_set_back_makes_no_function_busy_again() -> None:
    clock = ManualClock()
    hints = BusyFunctions(clock)
    hints.heard(SERVICE, "A", FUNCTION, hint_s=5)
    clock.forward(6)
    clock.wrong_by_s = -HOUR_S
    body = hints.answer(ResourceCall(kind="read", service=SERVICE)).body

    assert hints.busy_s(FUNCTION) == 0
    assert body is not None
    assert body.endswith(b",false]]")


def test_a_shorter_hint_does_not_shorten_a_longer_one() -> None:
    clock = ManualClock()
    hints = BusyFunctions(clock)
    hints.heard(SERVICE, "A", FUNCTION, hint_s=9)
    hints.heard(SERVICE, "A", FUNCTION, hint_s=1)
    hints.heard(SERVICE, "A", FUNCTION)

    assert hints.busy_s(FUNCTION) == 9
