"""Garbage collection takes little time in a process of many long-lived objects."""

import gc
from typing import Final

from rillflow.runtime.process.gc_tuning import THRESHOLDS, YOUNG_OBJECTS, tune_gc

MOST_AT_ONCE: Final = 110_000
"""To pass over so many objects takes some 15 ms."""


def test_the_collector_runs_seldom_and_passes_over_what_the_start_has_made() -> None:
    before, frozen_before = gc.get_threshold(), gc.get_freeze_count()
    gc.set_threshold(700, 10, 10)
    made = [[number] for number in range(100)]
    try:
        tune_gc()
        assert gc.get_threshold()[0] == YOUNG_OBJECTS > 700
        assert gc.get_freeze_count() >= frozen_before + len(made)
    finally:
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
