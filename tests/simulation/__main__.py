"""Run many worlds, or look at one.

python -m tests.simulation --seeds 1000 --first 5000
python -m tests.simulation --seed 123
python -m tests.simulation --seeds 1000 --defects 0.05
python -m tests.simulation --seeds 1000 --changing
python -m tests.simulation --seeds 1000 --world triggers
"""

import argparse
import gc
import logging
import sys
from collections.abc import Callable
from typing import Final

from tests.simulation import test_source_seeds, test_trigger_seeds
from tests.simulation.upgraded_world import simulate_changing
from tests.simulation.world import Finding, simulate

COLLECTED: Final = 100_000
"""New objects between collections: with Python's default a third of the time goes into them."""
WORLDS: Final = ("executions", "triggers", "records")
CHECKS: Final = {"triggers": test_trigger_seeds.check, "records": test_source_seeds.check}


def main() -> int:
    """Run, print, and return 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="only this one, with its record")
    parser.add_argument("--defects", type=float, default=0.0, help="how likely, for a message")
    parser.add_argument("--changing", action="store_true", help="owners change meanwhile")
    parser.add_argument("--world", choices=WORLDS, default="executions", help="what is simulated")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    gc.freeze()
    gc.set_threshold(COLLECTED)
    if options.world != "executions":
        seeds = options.seeds if options.seed is None else 1
        first = options.first if options.seed is None else options.seed
        return _run(first, seeds, lambda seed: _unmet(options.world, seed))
    if options.seed is not None:
        finding = _simulated(options.seed, options)
        for moment in finding.record:
            print(*moment)
        print(*finding.broken, sep="\n")
        return bool(finding.broken)
    return _run(options.first, options.seeds, lambda seed: _simulated(seed, options).broken)


def _run(first: int, seeds: int, broken_by: Callable[[int], tuple[str, ...]]) -> int:
    failed = 0
    for seed in range(first, first + seeds):
        broken = broken_by(seed)
        if broken:
            failed += 1
            print(f"seed {seed}: {broken[0]}", flush=True)
        if sys.stdout.isatty() and seed % 20 == 0:
            print(f"{seed - first} of {seeds}", end="\r", flush=True)
    print(f"{seeds - failed} passed, {failed} failed")
    return bool(failed)


def _simulated(seed: int, options: argparse.Namespace) -> Finding:
    if options.changing:
        return simulate_changing(seed)[0]
    return simulate(seed, defects=options.defects)


def _unmet(world: str, seed: int) -> tuple[str, ...]:
    """Return the promise that a world of triggers or of records breaks, if any."""
    try:
        CHECKS[world](seed)
    except AssertionError as error:
        return (str(error) or "a promise is broken",)
    return ()


if __name__ == "__main__":
    sys.exit(main())
