"""An execution that is fatal to whoever handles it kills two lives at most; others go on.

Each seed is a world with trouble of its own, in which a third of the executions kill every
process that calls one of their functions, or takes its answer.
"""

import logging
from collections.abc import Iterator
from typing import Final

import pytest

from rillflow.runtime.crashes.crash_history import MOST_DEATHS
from tests.simulation.fatal_world import simulate_fatal

SEEDS: Final = 100
AT_EVERY_RUN: Final = 30


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    "seeds",
    [
        range(AT_EVERY_RUN),
        pytest.param(range(AT_EVERY_RUN, SEEDS), marks=pytest.mark.long),
    ],
    ids=["first seeds", "others"],
)
def test_what_is_fatal_is_set_apart_and_the_others_end(seeds: range) -> None:
    found = {seed: simulate_fatal(seed) for seed in seeds}
    assert {seed: finding.broken for seed, (finding, _) in found.items() if finding.broken} == {}
    killed = [deaths for _, counts in found.values() for deaths in counts.values()]
    assert max(killed) == MOST_DEATHS
    assert killed.count(MOST_DEATHS) > len(seeds) / 10


@pytest.mark.long
def test_the_check_is_not_blind() -> None:
    broken = (simulate_fatal(seed, forgetful=True)[0].broken for seed in range(30))
    assert any("has killed" in str(each) for each in broken)
