"""Whatever fails while owners become more and fewer, roll, stop and are taken over: all is kept.

Each seed is a world of its own, as in `test_seeds.py`.
"""

import logging
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.simulation.upgraded_world import simulate_changing

SEEDS: Final = 400
IN_ONE_TEST: Final = 40
AT_EVERY_RUN: Final = 20

FOUND: Final = {
    202335: "answers were offered again to an owner that another batch had found gone meanwhile",
    301612: "the checker forbade to begin an attempt anew that had been ended (no rule was wrong)",
    7001019: "an owner noted an execution of a partition that had moved as resting, when it left"
    " memory, under an epoch later than that of its owner",
    7100507: "the checker forbade a snapshot after a long replay, which a thread encodes"
    " (no rule was wrong)",
    7109900: "a late order took a completion notice from the next owner, to which its answer went",
    7115158: "a late order took a call from the owner that had ordered it since",
    7122954: "an owner that had been stopped, and replaced, ordered its calls of a new dispatcher"
    " again, and a function on Ray began twice",
    7321032: "a dispatcher was replaced between an answer and its append, and the owner had the"
    " function on Ray ended as if the answer were durable",
    8100382: "the checker forbade an order that was late by little more than its sender had been"
    " stopped (no rule was wrong)",
    7120320: "a late order took a call from the owner that had ordered it since, who got no answer",
}
"""Seeds that broke a promise of these worlds once, and what was wrong (``test_seeds.py``)."""


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def _firsts() -> Iterator[Any]:
    for first in range(0, SEEDS, IN_ONE_TEST):
        marks = () if first < AT_EVERY_RUN else (pytest.mark.long,)
        yield pytest.param(first, marks=marks)


@pytest.mark.parametrize("first", list(_firsts()))
def test_every_promise_is_kept(first: int) -> None:
    takeovers = changes = 0
    for seed in range(first, first + IN_ONE_TEST):
        finding, world = simulate_changing(seed)
        assert finding.broken == (), f"python -m tests.simulation --changing --seed {seed}"
        takeovers, changes = takeovers + world.takeovers, changes + world.changes
    assert takeovers
    assert changes


@pytest.mark.parametrize("seed", FOUND)
def test_what_a_seed_has_found_is_mended(seed: int) -> None:
    assert simulate_changing(seed)[0].broken == ()
