"""Run many worlds, or look at one.

python -m tests.simulation --seeds 1000 --first 5000
python -m tests.simulation --seed 123
python -m tests.simulation --seeds 1000 --defects 0.05
python -m tests.simulation --seeds 1000 --changing
"""

import argparse
import logging
import sys

from tests.simulation.changing_world import simulate_changing
from tests.simulation.world import Finding, simulate


def main() -> int:
    """Run, print, and return 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="only this one, with its record")
    parser.add_argument("--defects", type=float, default=0.0, help="how likely, for a message")
    parser.add_argument("--changing", action="store_true", help="owners change meanwhile")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if options.seed is not None:
        finding = _simulated(options.seed, options)
        for moment in finding.record:
            print(*moment)
        print(*finding.broken, sep="\n")
        return bool(finding.broken)
    failed = 0
    for seed in range(options.first, options.first + options.seeds):
        finding = _simulated(seed, options)
        if finding.broken:
            failed += 1
            print(f"seed {seed}: {finding.broken[0]}", flush=True)
        if sys.stdout.isatty() and seed % 20 == 0:
            print(f"{seed - options.first} of {options.seeds}", end="\r", flush=True)
    print(f"{options.seeds - failed} passed, {failed} failed")
    return bool(failed)


def _simulated(seed: int, options: argparse.Namespace) -> Finding:
    if options.changing:
        return simulate_changing(seed)[0]
    return simulate(seed, defects=options.defects)


if __name__ == "__main__":
    sys.exit(main())
