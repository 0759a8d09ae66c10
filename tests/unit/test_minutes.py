"""What happened in a minute is the difference of what processes counted before and after."""

from collections.abc import Sequence

import pytest

from rillflow.ports.messages import GetMeters, decode_owner_message, encode_message
from rillflow.runtime.process.replica_metrics import ReplicaMetrics
from rillflow.telemetry.meters import Meters
from rillflow.telemetry.metrics import (
    ATTEMPTS,
    EXECUTIONS_ENDED,
    SUBMISSIONS,
    TIMER_LATENESS,
)
from rillflow.telemetry.minutes import (
    MINUTE_MS,
    MOST_HOSTS,
    Minutes,
    decode_minutes,
    quantile_ms,
)
from rillflow.telemetry.states import ProcessState
from tests.api.serving import MovableClock

BOUNDS = (0.1, 0.2, 1.0)


class Process:
    """A process that counts."""

    def __init__(self, name: str) -> None:
        self.meters = Meters(name)

    def submit(self, count: int, workflow: str = "shop:order") -> None:
        self.meters.counter(SUBMISSIONS).add((workflow, "client"), count)

    def end(self, status: str, count: int = 1) -> None:
        self.meters.counter(EXECUTIONS_ENDED).add(("shop:order", status), count)

    def fail(self, host: str, count: int = 1) -> None:
        self.meters.counter(ATTEMPTS).add((host, "failure"), count)
        self.meters.counter(ATTEMPTS).add((host, "success"), 100)

    def late(self, seconds: float) -> None:
        self.meters.histogram(TIMER_LATENESS).observe(seconds)


def look(minutes: Minutes, minute: int, processes: Sequence[Process], silent: str = "") -> None:
    states = [each.meters.state() for each in processes]
    gone = [ProcessState(silent, is_reached=False)] if silent else []
    minutes.add(minute * MINUTE_MS + 59_000, states + gone)


def test_what_was_counted_before_the_first_look_is_of_no_minute() -> None:
    minutes, owner = Minutes(), Process("owner")
    owner.submit(50)
    look(minutes, 0, [owner])
    assert not minutes.kept
    owner.submit(3)
    look(minutes, 1, [owner])
    assert [(each.at_ms, each.submitted) for each in minutes.kept] == [(MINUTE_MS, 3)]


def test_workflows_and_processes_are_summed_and_ends_told_apart() -> None:
    minutes, owners = Minutes(), [Process("a"), Process("b")]
    look(minutes, 0, owners)
    for number, owner in enumerate(owners, start=1):
        owner.submit(number, "shop:order")
        owner.submit(number, "zoo:lion")
        owner.end("succeed", 2)
        owner.end("failed")
        owner.late(0.04)
    look(minutes, 1, owners)
    [minute] = minutes.kept
    assert (minute.submitted, minute.succeeded, minute.failed) == (6, 4, 2)
    assert sum(minute.times["lateness"]) == 2
    assert "callback" not in minute.times


def test_a_process_that_starts_anew_counts_from_nothing() -> None:
    minutes, before = Minutes(), Process("owner")
    before.submit(9)
    look(minutes, 0, [before])
    after = Process("owner")
    after.submit(4)
    look(minutes, 1, [after])
    newcomer = Process("other")
    newcomer.submit(2)
    look(minutes, 2, [after, newcomer])
    assert [each.submitted for each in minutes.kept] == [4, 2]


def test_a_process_that_did_not_answer_is_compared_with_what_it_told_last() -> None:
    minutes, owner = Minutes(), Process("owner")
    owner.submit(10)
    look(minutes, 0, [owner])
    look(minutes, 1, [], silent="owner")
    owner.submit(5)
    look(minutes, 2, [owner])
    assert [each.submitted for each in minutes.kept] == [0, 5]


def test_a_process_that_did_not_answer_at_first_does_not_count_its_whole_life() -> None:
    minutes, owner = Minutes(), Process("owner")
    owner.submit(1_000_000)
    look(minutes, 0, [], silent="owner")
    look(minutes, 1, [owner])
    owner.submit(1)
    look(minutes, 2, [owner])
    assert [each.submitted for each in minutes.kept] == [0, 1]


def test_the_hosts_with_the_most_failures_are_told_apart() -> None:
    minutes, dispatcher = Minutes(), Process("dispatcher")
    look(minutes, 0, [dispatcher])
    for number in range(MOST_HOSTS + 5):
        dispatcher.fail(f"http://host-{number}", number)
    look(minutes, 1, [dispatcher])
    [minute] = minutes.kept
    assert next(iter(minute.failures.items())) == (f"http://host-{MOST_HOSTS + 4}", MOST_HOSTS + 4)
    assert len(minute.failures) == MOST_HOSTS


def test_only_the_last_minutes_are_kept() -> None:
    minutes, owner = Minutes(most=3), Process("owner")
    for minute in range(10):
        look(minutes, minute, [owner])
    assert [each.at_ms // MINUTE_MS for each in minutes.kept] == [7, 8, 9]


@pytest.mark.parametrize(
    ("counts", "part", "expected"),
    [
        ((0, 0, 0, 0), 0.5, None),
        ((), 0.5, None),
        ((10, 0, 0, 0), 0.5, 50),
        ((10, 10, 0, 0), 0.5, 100),
        ((10, 10, 0, 0), 0.75, 150),
        ((99, 0, 1, 0), 0.99, 100),
        ((0, 0, 0, 7), 0.99, 1000),
        ((1, 0, 0, 1), 0.99, 1000),
    ],
)
def test_quantiles_lie_within_their_bucket(
    counts: tuple[float, ...], part: float, expected: int | None
) -> None:
    assert quantile_ms(counts, BOUNDS, part) == expected


def share(owner: ReplicaMetrics, minutes: Minutes) -> None:
    """Tell the owner what a replica keeps, as a message, and keep what it answers."""
    sent = encode_message(GetMeters(asks=False, minutes=list(minutes.kept)))
    message = decode_owner_message(sent)
    assert isinstance(message, GetMeters)
    minutes.merge(decode_minutes(owner.answer(message, Meters("owner"))))


def test_replicas_show_the_same_minutes_whenever_they_have_started() -> None:
    owner, process = ReplicaMetrics(MovableClock()), Process("owner")
    first, second = Minutes(), Minutes()
    for minute in range(3):
        process.submit(10 + minute)
        look(first, minute, [process])
        share(owner, first)
    look(second, 2, [process])
    assert not second.kept
    share(owner, second)
    assert second.kept == first.kept
    assert [each.submitted for each in second.kept] == [11, 12]
    process.submit(5)
    for minutes in (second, first):
        look(minutes, 3, [process])
        share(owner, minutes)
    assert [each.submitted for each in second.kept] == [11, 12, 5]
    assert second.kept == first.kept


def test_of_two_accounts_of_a_minute_the_fuller_one_is_kept() -> None:
    owner, process = ReplicaMetrics(MovableClock()), Process("owner")
    whole, late = Minutes(), Minutes()
    look(whole, 0, [process])
    process.submit(8)
    look(late, 0, [process])
    process.submit(2)
    for minutes in (late, whole):
        look(minutes, 1, [process])
        share(owner, minutes)
    share(owner, late)
    assert [each.submitted for each in whole.kept] == [10]
    assert late.kept == whole.kept


def test_no_more_minutes_are_kept_when_others_tell_theirs() -> None:
    few, many, process = Minutes(most=2), Minutes(), Process("owner")
    for minute in range(5):
        process.submit(1)
        look(many, minute, [process])
    few.merge(many.kept)
    assert [each.at_ms // MINUTE_MS for each in few.kept] == [3, 4]
