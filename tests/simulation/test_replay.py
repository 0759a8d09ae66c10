"""A seed is the same world in every process, or looking at it would show another one."""

import os
import subprocess
import sys
from typing import Final

import pytest

from tests.simulation.upgraded_world import ALL_FROM
from tests.simulation.world import simulate

PROGRAM: Final = f"""
import sys
from tests.simulation.upgraded_world import simulate_changing
from tests.simulation.world import simulate
seeds = range(*map(int, sys.argv[1:]))
moves = seeds.start >= {ALL_FROM}
print(*((simulate_changing(seed)[0] if moves else simulate(seed)).digest for seed in seeds))
"""


@pytest.mark.parametrize(
    "seeds",
    [
        range(12),
        range(ALL_FROM, ALL_FROM + 4),
        pytest.param(range(12, 40), marks=pytest.mark.long),
        pytest.param(range(ALL_FROM + 4, ALL_FROM + 30), marks=pytest.mark.long),
    ],
    ids=str,
)
def test_a_seed_leaves_the_same_record_in_every_process(seeds: range) -> None:
    runs = [
        subprocess.Popen(  # noqa: S603 - this very program
            [sys.executable, "-c", PROGRAM, str(seeds.start), str(seeds.stop)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for hash_seed in ("1", "2", "4")
    ]
    first, *others = (run.communicate()[0].split() for run in runs)

    assert len(first) == len(seeds)
    assert others == [first, first]


def test_other_seeds_are_other_worlds() -> None:
    assert len({simulate(seed).digest for seed in range(20)}) == 20
