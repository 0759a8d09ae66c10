"""An owner that meets a defect with a message loses nothing and does nothing twice.

The defect comes before a message was handled, or after it. Whoever sent it is told; what must not
be lost is sent again.
"""

import logging
from collections.abc import Iterator
from typing import Final

import pytest

from tests.simulation.world import simulate

SEEDS: Final = range(30)
LIKELIHOOD: Final = 0.1
LEAST: Final = 50
"""So many defects are met in all worlds together, at least."""


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_every_promise_is_kept_where_owners_meet_defects() -> None:
    findings = {seed: simulate(seed, defects=LIKELIHOOD) for seed in SEEDS}
    assert {seed: each.broken for seed, each in findings.items() if each.broken} == {}
    kinds = [
        about.split()[0]
        for each in findings.values()
        for _, _, kind, about in each.record
        if kind == "defect"
    ]
    assert {"Calls", "Answers", "EndsQuestion"} <= set(kinds)
    assert len(kinds) >= LEAST


def test_nobody_is_left_with_an_error_that_nobody_reads() -> None:
    # In this world somebody has stopped waiting for an end when a defect is told.
    assert simulate(1221, defects=0.15).broken == ()
