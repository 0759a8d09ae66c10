"""How long a function is left alone follows no clock that is wrong (SEMANTICS 9.3)."""

from rillflow.ports.executions import ResourceCall
from rillflow.runtime.hints import Hints

HOUR_MS = 3_600_000
SERVICE = "demo:flow"
FUNCTION = "http://functions.test/busy"


class Clock:
    """A clock whose wall time may be set wrong."""

    def __init__(self, now_ms: int = 1_760_000_000_000) -> None:
        self.wall_ms = now_ms
        self.passed_s = 100.0

    def now_ms(self) -> int:
        return self.wall_ms + round(self.passed_s * 1000)

    def monotonic_s(self) -> float:
        return self.passed_s


def test_a_hint_lasts_as_long_at_a_home_whose_clock_is_an_hour_slow() -> None:
    news: list[ResourceCall] = []
    Hints(Clock(), news.append).heard(SERVICE, "A", FUNCTION, hint_s=5)
    elsewhere = Hints(Clock(1_760_000_000_000 - HOUR_MS))
    for call in news:
        elsewhere.answer(call)

    assert elsewhere.busy_s(FUNCTION) == 5


def test_a_clock_that_is_set_back_makes_no_function_busy_again() -> None:
    clock = Clock()
    hints = Hints(clock)
    hints.heard(SERVICE, "A", FUNCTION, hint_s=5)
    clock.passed_s += 6
    clock.wall_ms -= HOUR_MS
    body = hints.answer(ResourceCall(kind="read", service=SERVICE)).body

    assert hints.busy_s(FUNCTION) == 0
    assert body is not None
    assert body.endswith(b",false]]")


def test_a_shorter_hint_does_not_shorten_a_longer_one() -> None:
    clock = Clock()
    hints = Hints(clock)
    hints.heard(SERVICE, "A", FUNCTION, hint_s=9)
    hints.heard(SERVICE, "A", FUNCTION, hint_s=1)
    hints.heard(SERVICE, "A", FUNCTION)

    assert hints.busy_s(FUNCTION) == 9
