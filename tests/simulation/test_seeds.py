"""Whatever fails, at whatever moment: what was acknowledged is kept, and every execution ends.

Each seed is a world of its own: hosts and dispatchers that crash, freeze and are replaced,
messages that are lost, doubled and late, a store that fails, clocks that jump. A seed that
breaks a promise does so every time: ``python -m tests.simulation --seed N`` shows it.
"""

import logging

import pytest

from tests.simulation.world import simulate

SEEDS = 150
IN_ONE_TEST = 10


@pytest.mark.parametrize("first", range(0, SEEDS, IN_ONE_TEST))
def test_every_promise_is_kept(first: int) -> None:
    logging.disable(logging.CRITICAL)
    try:
        broken = {
            seed: finding.broken
            for seed in range(first, first + IN_ONE_TEST)
            if (finding := simulate(seed)).broken
        }
    finally:
        logging.disable(logging.NOTSET)
    assert broken == {}
