"""Pauses between tries double up to a longest one, and begin anew after a success."""

from rillflow.backoff import Backoff


def test_each_pause_is_twice_the_one_before_up_to_the_longest() -> None:
    backoff = Backoff(0.5, 3.0)
    assert [backoff.next_s() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_after_a_success_pauses_begin_anew() -> None:
    backoff = Backoff(0.5, 3.0)
    assert [backoff.next_s() for _ in range(3)] == [0.5, 1.0, 2.0]
    backoff.reset()
    assert [backoff.next_s() for _ in range(2)] == [0.5, 1.0]


def test_what_failed_last_decides_how_long_pauses_become() -> None:
    backoff = Backoff(4.0, 5.0)
    assert [backoff.next_s(300.0) for _ in range(3)] == [4.0, 8.0, 16.0]
    assert [backoff.next_s() for _ in range(2)] == [32.0, 5.0]
