"""Garbage collection takes little time in a process of many long-lived objects."""

import gc

from rillflow.runtime.process.gc_tuning import YOUNG_OBJECTS, tune_gc


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
