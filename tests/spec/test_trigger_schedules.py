"""A trigger fires each of its times once: on time, or as its catch-up policy says."""

from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from rillflow.ids import PARTITIONS
from rillflow.triggers.cron import Cron
from rillflow.triggers.overlap import Decision, Overlap, decide
from rillflow.triggers.schedule import (
    LATE_MS,
    MOST_CAUGHT_UP,
    Schedule,
    key_of_firing,
    partition_of_trigger,
    plan,
)
from tests.fuzzing import examples
from tests.machine_speed import processor_time

DAY_MS: Final = 86_400_000
NOW_MS: Final = 1_780_000_000_000
EVERY_SECOND: Final = Cron.parse("* * * * * *")
EVERY_MINUTE: Final = Cron.parse("* * * * *")


def test_a_time_fires_when_it_is_due_and_not_before() -> None:
    schedule = Schedule(EVERY_MINUTE)
    minute_ms = NOW_MS // 60_000 * 60_000
    early = plan(schedule, "t", minute_ms - 60_000, minute_ms - 1)
    assert (early.fire_ms, early.next_ms) == ((), minute_ms)
    due = plan(schedule, "t", early.position_ms, minute_ms)
    assert due.fire_ms == (minute_ms,)
    assert (due.position_ms, due.next_ms) == (minute_ms, minute_ms + 60_000)
    assert plan(schedule, "t", due.position_ms, minute_ms).fire_ms == ()


def test_after_an_outage_the_policy_decides_about_missed_times() -> None:
    late = LATE_MS // 1000
    for catch_up, missed in ((0, 0), (1, 1), (5, 5)):
        found = plan(Schedule(EVERY_SECOND, catch_up=catch_up), "t", NOW_MS - DAY_MS, NOW_MS)
        assert len(found.fire_ms) == missed + late
        assert found.fire_ms[-1] == found.position_ms == NOW_MS
        # The missed ones that are fired are the latest.
        assert found.fire_ms[0] == NOW_MS - (missed + late - 1) * 1000
    few = plan(Schedule(EVERY_MINUTE, catch_up=1000), "t", NOW_MS - 3_600_000, NOW_MS)
    assert len(few.fire_ms) == 60


def test_catching_up_after_years_is_quick() -> None:
    for text in ("* * * * * *", "0 0 0 29 2 *", "0 0 0 29 2 MON", "0 0 12 1 1 ?"):
        schedule = Schedule(Cron.parse(text, "Europe/Berlin"), catch_up=MOST_CAUGHT_UP)
        with processor_time(0.5):
            plan(schedule, "t", 0, NOW_MS)


def test_a_trigger_fires_from_its_start_and_before_its_end() -> None:
    schedule = Schedule(EVERY_SECOND, start_ms=NOW_MS, end_ms=NOW_MS + 3_000)
    assert schedule.next_after(0) == NOW_MS
    assert list(schedule.times(0, NOW_MS + DAY_MS)) == [NOW_MS, NOW_MS + 1000, NOW_MS + 2000]
    assert plan(schedule, "t", NOW_MS + 2000, NOW_MS + 2000).next_ms is None


@given(st.text(), st.integers(0, 10**12), st.floats(0.001, 3600))
def test_jitter_delays_by_less_than_it_says_and_always_by_the_same(
    trigger_id: str, scheduled_ms: int, jitter_s: float
) -> None:
    schedule = Schedule(EVERY_SECOND, jitter_s=jitter_s)
    due_ms = schedule.due_ms(trigger_id, scheduled_ms)
    assert scheduled_ms <= due_ms < scheduled_ms + jitter_s * 1000
    assert schedule.due_ms(trigger_id, scheduled_ms) == due_ms


def test_jitter_spreads_triggers() -> None:
    schedule = Schedule(EVERY_MINUTE, jitter_s=10)
    found = {schedule.due_ms(str(number), NOW_MS) - NOW_MS for number in range(1000)}
    assert len(found) > 800
    assert (min(found), max(found)) < (500, 9_999)


@given(
    st.sampled_from(["* * * * * *", "*/7 * * * * *", "0 * * * * *"]),
    st.sampled_from([0.0, 0.5, 20.0]),
    st.lists(st.integers(1, LATE_MS), max_size=30),
)
@settings(max_examples=examples(100))
def test_whoever_looks_often_enough_fires_every_time_once_in_order(
    text: str, jitter_s: float, waits_ms: list[int]
) -> None:
    schedule = Schedule(Cron.parse(text), jitter_s=jitter_s, catch_up=0)
    now_ms = position_ms = NOW_MS
    fired: list[int] = []
    for wait_ms in waits_ms:
        now_ms += wait_ms
        found = plan(schedule, "t", position_ms, now_ms)
        fired += found.fire_ms
        assert all(schedule.due_ms("t", each) <= now_ms for each in found.fire_ms)
        assert found.position_ms >= position_ms
        position_ms = found.position_ms
        if found.next_ms is not None:
            assert found.next_ms > position_ms
    until_ms = max(fired, default=NOW_MS)
    assert fired == list(schedule.times(NOW_MS, until_ms))


def test_a_firing_has_a_key_of_its_own_and_an_owner() -> None:
    keys = {key_of_firing(trigger, at) for trigger in ("1", "2", "1/2") for at in (1, 2, 21)}
    assert len(keys) == 9
    assert {partition_of_trigger(str(each)) for each in range(5000)} == set(range(PARTITIONS))


def test_what_a_firing_does_while_an_earlier_execution_runs() -> None:
    for policy in Overlap:
        assert decide(policy, is_running=False, has_queued=False) is Decision.START
    expected = {
        Overlap.ALLOW: (Decision.START, Decision.START),
        Overlap.SKIP: (Decision.SKIP, Decision.SKIP),
        Overlap.QUEUE_ONE: (Decision.QUEUE, Decision.SKIP),
        Overlap.CANCEL_RUNNING: (Decision.CANCEL_AND_START, Decision.SKIP),
    }
    for policy, (first, second) in expected.items():
        assert decide(policy, is_running=True, has_queued=False) is first
        assert decide(policy, is_running=True, has_queued=True) is second
