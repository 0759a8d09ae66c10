"""An actor is left alone for a time, not for a number of looks, and each time for longer."""

from rillflow.runtime.supervision.actor_pauses import ActorPauses


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_an_actor_is_left_alone_until_its_pause_is_over_however_often_one_looks() -> None:
    clock = Clock()
    pauses = ActorPauses(60.0, 240.0, now_s=clock)
    assert pauses.begin("d0") == 60.0
    for _ in range(1000):
        assert pauses.names() == {"d0"}
    clock.now_s += 59.9
    assert pauses.names() == {"d0"}
    clock.now_s += 0.2
    assert pauses.names() == set()


def test_each_pause_of_an_actor_is_twice_its_last_one_up_to_the_longest() -> None:
    pauses = ActorPauses(60.0, 240.0, now_s=Clock())
    assert [pauses.begin("d0") for _ in range(4)] == [60.0, 120.0, 240.0, 240.0]
    assert pauses.begin("d1") == 60.0


def test_after_a_success_nobody_is_left_alone_and_pauses_are_short_again() -> None:
    pauses = ActorPauses(60.0, 240.0, now_s=Clock())
    pauses.begin("d0")
    pauses.begin("d0")
    pauses.forget("d0")
    assert pauses.names() == set()
    assert pauses.begin("d0") == 60.0
