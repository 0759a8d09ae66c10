"""Garbage collection takes little time in a process of many long-lived objects."""

import gc
from typing import Final

from rillflow.runtime.process.gc_tuning import (
    LONG_S,
    REST,
    THRESHOLDS,
    YOUNG_OBJECTS,
    PauseOfCollections,
    tune_gc,
)

MOST_AT_ONCE: Final = 110_000
"""To pass over so many objects takes some 15 ms."""


def test_the_collector_runs_seldom_and_passes_over_what_the_start_has_made() -> None:
    before, frozen_before = gc.get_threshold(), gc.get_freeze_count()
    callbacks = list(gc.callbacks)
    gc.set_threshold(700, 10, 10)
    made = [[number] for number in range(100)]
    try:
        tune_gc()
        assert gc.get_threshold()[0] == YOUNG_OBJECTS > 700
        assert gc.get_freeze_count() >= frozen_before + len(made)
        assert len(gc.callbacks) == len(callbacks) + 1
    finally:
        gc.callbacks[:] = callbacks
        gc.set_threshold(*before)


def test_a_collection_of_the_middle_generation_passes_over_few_objects() -> None:
    """Those of one event of a wide execution, or of a large plan, whatever came before."""
    before, passed = gc.get_threshold(), [0]

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and info["generation"] == 1:
            passed.append(sum(len(gc.get_objects(generation=each)) for each in (0, 1)))

    gc.collect()
    gc.set_threshold(*THRESHOLDS)
    gc.callbacks.append(note)
    try:
        kept = [[number] for number in range(10 * MOST_AT_ONCE)]
    finally:
        gc.callbacks.remove(note)
        gc.set_threshold(*before)
    assert len(kept) == 10 * MOST_AT_ONCE
    assert 0 < max(passed) < MOST_AT_ONCE


def test_after_a_long_collection_of_the_oldest_objects_the_next_one_is_put_off() -> None:
    before, now_s = gc.get_threshold(), [0.0]

    def pass_over(generation: int, took_s: float) -> int:
        """Tell how many collections of the middle generation come before the next full one."""
        info = {"generation": generation, "collected": 0, "uncollectable": 0}
        oldest.note("start", info)
        now_s[0] += took_s
        oldest.note("stop", info)
        return gc.get_threshold()[2]

    oldest = PauseOfCollections(clock_s=lambda: now_s[0], cpu_s=lambda: now_s[0])
    gc.set_threshold(*THRESHOLDS)
    try:
        assert pass_over(2, LONG_S / 2) == THRESHOLDS[2]
        assert pass_over(2, 2 * LONG_S) > 1_000_000
        assert pass_over(1, 0.01) > 1_000_000
        now_s[0] += 2 * LONG_S * REST
        assert pass_over(1, 0.01) == THRESHOLDS[2], (
            "a process that had large ones goes on as before"
        )
    finally:
        gc.set_threshold(*before)
