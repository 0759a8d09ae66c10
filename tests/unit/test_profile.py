"""Every ten seconds a process tells how often things took how long, if it is to (spec 7.3)."""

import logging
from typing import Any

import pytest

from rillflow.telemetry.profile import COMPLETE, ENGINE, EVERY_S, MOST_KEYS, OTHER, Profile


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def told(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [vars(record)["profile"] for record in caplog.records]


def test_counts_and_intervals_are_told_for_each_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rillflow.profile")
    clock = Clock()
    profile = Profile(clock)
    for taken_ms in (10, 50, 60, 200, 201, 700, 5_000):
        profile.note(COMPLETE, "shop:order", taken_ms / 1000)
    profile.note(ENGINE, "shop:order", 0.001)
    assert not told(caplog)
    clock.now_s = EVERY_S
    profile.note(ENGINE, "shop:order", 0.002)
    assert told(caplog) == [
        {
            "type": "dag_complete",
            "name": "shop:order",
            "slowThreshold": 200,
            "total_count": 7,
            "slow_count": 3,
            "avg_time": 888.714,
            "interval1": 2,
            "interval2": 2,
            "interval3": 1,
            "interval4": 1,
            "interval5": 1,
        },
        {
            "type": "dag",
            "name": "shop:order",
            "slowThreshold": 200,
            "total_count": 1,
            "slow_count": 0,
            "avg_time": 1.0,
            **{f"interval{number}": int(number == 1) for number in range(1, 6)},
        },
    ]
    clock.now_s = 2 * EVERY_S
    profile.note(ENGINE, "shop:order", 0.003)
    assert told(caplog)[2]["avg_time"] == 2.0


def test_names_beyond_a_number_are_one(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rillflow.profile")
    clock = Clock()
    profile = Profile(clock)
    for number in range(MOST_KEYS + 5):
        profile.note(COMPLETE, f"shop:f{number}", 0.1)
    clock.now_s = EVERY_S
    profile.note(COMPLETE, "shop:f0", 0.1)
    found = told(caplog)
    assert len(found) == MOST_KEYS + 1
    assert found[-1]["name"] == OTHER
    assert found[-1]["total_count"] == 5
