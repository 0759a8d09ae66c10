"""How processor time and memory grow with size: a table, fitted exponents, and a plot.

    python -m tests.bench.growth [--million] [--only NAME] [--plot FILE]

The exponent is the slope over the largest three sizes on logarithmic scales: 0 is
constant, 1 is linear. Nothing may grow faster than linear. Growth of memory below 1 MB
counts as 1 MB.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tests.bench import growing
from tests.bench.growing import Point

FITTED: Final = 3
LEAST_BYTES: Final = 1e6


class Series(NamedTuple):
    """One thing that grows: what its size counts, and what the time is of."""

    measure: Callable[[int], Point]
    sizes: tuple[int, ...]
    size: str
    time: str


SERIES: Final[Mapping[str, Series]] = {
    "row": Series(
        growing.tasks_in_a_row, (10, 100, 1_000, 10_000), "tasks in a row", "one execution"
    ),
    "items": Series(growing.items, (10, 100, 1_000, 10_000), "items of a foreach", "one execution"),
    "context": Series(
        growing.context,
        (1_000, 10_000, 100_000, 1_000_000),
        "bytes of context",
        "one execution of five tasks",
    ),
    "stored": Series(
        growing.stored,
        (1_000, 10_000, 100_000),
        "ended executions in the store",
        "one execution of five tasks, 64 at once",
    ),
    "waiting": Series(
        growing.waiting,
        (1_000, 10_000, 100_000),
        "waiting executions in the store",
        "start until all go on",
    ),
}


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Return the slope of a straight line through the logarithms of the last points."""
    xs = [math.log(size) for size in sizes][-FITTED:]
    ys = [math.log(max(value, 1e-9)) for value in values][-FITTED:]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread


def main() -> None:
    """Measure, print, and plot."""
    chosen = _parse()
    print(f"load {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores before", file=sys.stderr)
    found = {name: _measure(name, million=chosen.million) for name in chosen.only or SERIES}
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps(found, indent=1) + "\n")
    if chosen.plot:
        plot(found, chosen.plot)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench-growth, or python -m tests.bench.growth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--million", action="store_true", help="1,000,000 executions too")
    parser.add_argument(
        "--only", action="extend", nargs="+", choices=SERIES, metavar="NAME", help=", ".join(SERIES)
    )
    parser.add_argument("--plot", type=Path, help="where to write the plot, as a PNG")
    parser.add_argument("--json", type=Path, default=Path(".rillflow/growth.json"))
    return parser.parse_args()


def _measure(name: str, *, million: bool) -> list[Point]:
    series = SERIES[name]
    more = (1_000_000,) if million and name in ("stored", "waiting") else ()
    print(f"\n{series.size}; processor time of {series.time}", flush=True)
    points = []
    for size in series.sizes + more:
        point = series.measure(size)
        points.append(point)
        print(
            f"{size:>12,}{point.seconds * 1000:>14,.2f} ms{point.grown_bytes / 1e6:>12,.1f} MB",
            flush=True,
        )
    sizes = [point.size for point in points]
    print(
        f"{'exponent':>12}{exponent(sizes, [p.seconds for p in points]):>14.2f}   "
        f"{exponent(sizes, [max(p.grown_bytes, LEAST_BYTES) for p in points]):>12.2f}",
        flush=True,
    )
    return points


def plot(found: Mapping[str, Sequence[Point]], file: Path) -> None:
    """Draw time above memory for every series, beside a line that is linear."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - dear, and needed for nothing else

    figure = Figure(figsize=(3.4 * len(found), 6), layout="constrained")
    axes = figure.subplots(2, len(found), squeeze=False)
    for column, (name, points) in enumerate(found.items()):
        sizes = [point.size for point in points]
        for row, (unit, values) in enumerate(
            (
                ("ms", [point.seconds * 1000 for point in points]),
                ("MB", [max(point.grown_bytes, LEAST_BYTES) / 1e6 for point in points]),
            )
        ):
            axis = axes[row][column]
            linear = [values[-1] * size / sizes[-1] for size in sizes]
            axis.loglog(sizes, linear, ":", color="grey", label="linear")
            label = f"measured, exponent {exponent(sizes, values):.2f}"
            axis.loglog(sizes, values, "o-", label=label)
            axis.set_ylabel(unit)
            axis.legend(fontsize="small")
            axis.grid(alpha=0.3)
        axes[0][column].set_title(f"processor time of {SERIES[name].time}", fontsize="small")
        axes[1][column].set_title("growth of the process", fontsize="small")
        axes[1][column].set_xlabel(SERIES[name].size)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
