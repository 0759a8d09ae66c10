"""Whatever fails, at whatever moment: what was acknowledged is kept, and every execution ends.

Each seed is a world of its own: hosts and dispatchers that crash, freeze and are replaced,
messages that are lost, doubled and late, a store that fails, clocks that jump. A seed that
breaks a promise does so every time: ``python -m tests.simulation --seed N`` shows it.
"""

import logging
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, Final

import pytest

from tests.simulation.world import simulate

SEEDS: Final = 2000
IN_ONE_TEST: Final = 50
AT_EVERY_RUN: Final = 100
"""So many of the seeds; the rest takes long."""

FOUND: Final = {
    15: "a call waited for news of busy functions, and left although its answer had come",
    40: "the same, of a function that A/B rules had chosen",
    68: "answers for a dedicated execution's owner that had left were offered for ever",
    168: "the owner of a partition showed the first end of a dedicated execution after a redo",
    356: "as 15, in a group",
    466: "an owner that was replaced ended the one that came after it",
    1428: "people asked again and again for a redo that was about to begin (no rule was wrong)",
    2971: "the same, of a dedicated execution",
    3986: "a call was made again because the store could not say that it was over",
    4688: "the checker took two settings of one timer for two timers (no rule was wrong)",
    5259: "an order of an owner that had left made a call again that was over",
    1275: "who submitted and waited was told an end by an owner that did not know it yet",
    101375: "the owner of a dedicated execution left upon an end that was not on disk yet",
    177447: "a question was left open for somebody who had heard of the end already",
    191136: "the news of an end showed what a redo had begun since",
    25031: "a pause during a delay, and a clock that came back an hour, made it wait for the hour",
    3631413: "an owner that had been replaced refused the callback of a task it did not know of",
    5016195: "a group whose end was left to a later event ended its task, which had timed out",
    6000433: "a call that was abandoned before it had begun was never answered",
    6004819: "the same, and its owner waited for the answer",
    3669045: "an owner that was lost waited for answers that were dropped (no rule was wrong)",
    424: "the checker took calls of cancelled executions for awaited ones (no rule was wrong)",
    572: "a redo came while the order to end a call was on its way (no rule was wrong)",
    1844: "the checker forbade to begin an attempt anew that had been ended (no rule was wrong)",
    8015855: "the checker missed that a sub-flow was to tell again (no rule was wrong)",
}
"""Seeds that broke a promise of these worlds once, and what was wrong.

What a seed draws changes with the worlds: whoever changes these gives a rule that was
mended a test of its own, and takes its seed off this list (``stale_owner``, for one).
"""


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(name="workers", scope="module")
def _workers() -> Iterator[Executor]:
    """Two processes, since the worlds know nothing of each other."""
    silent = logging.disable, (logging.CRITICAL,)
    with ProcessPoolExecutor(2, get_context("spawn"), *silent) as workers:
        yield workers


def _firsts() -> Iterator[Any]:
    for first in range(0, SEEDS, IN_ONE_TEST):
        marks = () if first < AT_EVERY_RUN else (pytest.mark.long,)
        yield pytest.param(first, marks=marks)


@pytest.mark.parametrize("first", list(_firsts()))
def test_every_promise_is_kept(workers: Executor, first: int) -> None:
    end = first + IN_ONE_TEST
    halves = workers.map(_broken, (range(first, end, 2), range(first + 1, end, 2)))
    assert [broken for half in halves for broken in half] == []


def _broken(seeds: range) -> list[tuple[int, tuple[str, ...]]]:
    return [(seed, broken) for seed in seeds if (broken := simulate(seed).broken)]


@pytest.mark.parametrize("seed", FOUND)
def test_what_a_seed_has_found_is_mended(seed: int) -> None:
    assert simulate(seed).broken == ()
