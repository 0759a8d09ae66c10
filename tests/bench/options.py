"""What `make bench` can be told."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
BENCHMARKS: Final = {
    "up": "time until a new stack answers, and its memory before any load",
    "glue": "five HTTP tasks in a row, 1, 16, 64 and 256 executions at once",
    "callback": "one asynchronous task that calls back at once",
    "latency": "from a callback to the next call, 200 times a second",
    "fanout": "foreach over 100 and 10,000 items, ten at once and all at once",
    "storm": "submissions as fast as they are taken",
    "timers": "1,000 and 10,000 retries that are due in the same second",
    "park": "memory of 10,000 executions that wait (--full: of 100,000 too)",
    "ray": "a ray:// task of nothing beside plain Ray, and 10,000 items in batches",
    "traces": "glue without traces, and with those of 1 % and of all executions",
    "postgres": "appends of one and of two writers to a PostgreSQL of its own",
    "cluster": "one node and two, SQLite and PostgreSQL, one and two dispatchers, in turns",
    "micro": "core, owner, paths, expressions, journal and dispatcher on their own",
    "readers": "the slowest text of 16 KiB from outside, malformed and well-formed",
    "references": "the calls of glue without an engine; with a journal; plain uvicorn",
}
"""Names for ``--only``, in the order in which they run."""

PARTS: Final = {
    "execution-actors": "RILLFLOW_EXECUTION_ACTORS",
    "dispatchers": "RILLFLOW_DISPATCHER_ACTORS",
    "replicas": "RILLFLOW_REPLICAS",
}
"""Options for the parts of the stack of which there may be several, and their settings."""

EXPLANATION: Final = """\
benchmarks, in the order in which they run:
{names}

how to read the table:
  goal, to goal   what is wanted, and how near it is; from 1.00 on it holds
  to ref.         glue beside the same calls without an engine, in the same run; the
                  storm beside uvicorn answering with nothing behind it
  change          since the last committed results ({committed}); the better the more.
                  Figures are divided by the yardstick of their run (bare c=64), so that
                  machines of different speed can be compared

examples:
  make bench                              medians of three short runs, some fifteen minutes
  make bench ARGS="--only glue"           one benchmark and the yardstick
  make bench ARGS="--only micro storm --seconds 1"
  make bench ARGS="--only cluster"        what two nodes, PostgreSQL and two dispatchers cost
  make bench ARGS="--only glue --store postgres --execution-actors 2"
                                          the same on another store, with more actors
  make bench-full                         medians of three long runs, some 45 minutes
  make bench-full ARGS=--commit           the same, kept as the results to compare with
  python -m tests.bench.readers           each reader of text, time against length
  make bench-growth, make bench-recovery, make bench-profile
                                          growth, recovery after a kill, where time goes
"""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; ends the program when it makes no sense.

    Returns:
        ``full``, ``runs``, ``seconds``, ``only`` (names, in the order in which they run),
        ``json``, ``commit``, ``store`` and how many there are of each part of the stack.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    options.runs = options.runs or 3
    options.only = [name for name in BENCHMARKS if name in (options.only or BENCHMARKS)]
    options.seconds = (8.0 if options.full else 2.0) if options.seconds is None else options.seconds
    if options.seconds <= 0:
        parser.error("--seconds must be more than 0")
    if options.commit and len(options.only) < len(BENCHMARKS):
        parser.error("--commit needs the results of every benchmark, so leave --only out")
    if options.commit and environment(options):
        parser.error("--commit needs the results of the stack as it is, so choose no parts")
    return options


def _parser() -> argparse.ArgumentParser:
    names = "\n".join(f"  {name:12}{about}" for name, about in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="make bench, or python -m tests.bench",
        description="Measure the whole path: HTTP, actors, journal, dispatch, all on this"
        " machine, with a stack, a store and functions of its own.",
        epilog=EXPLANATION.format(names=names, committed="tests/bench/committed.json"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--full", action="store_true", help="long measurements")
    parser.add_argument("--runs", type=_positive, help="how many runs to take the median of (3)")
    parser.add_argument(
        "--seconds",
        type=float,
        help="length of each measurement of a rate (2; with --full 8)",
    )
    parser.add_argument(
        "--only",
        action="extend",
        nargs="+",
        choices=BENCHMARKS,
        metavar="NAME",
        help="only these benchmarks",
    )
    parser.add_argument(
        "--json",
        type=Path,
        default=Path(".rillflow/bench.json"),
        help="where to write the results (.rillflow/bench.json)",
    )
    parser.add_argument(
        "--commit",
        action="store_const",
        const=HERE / "committed.json",
        help="also write them to tests/bench/committed.json",
    )
    parser.add_argument(
        "--store", choices=("sqlite", "postgres"), default="sqlite", help="store of the stack"
    )
    for part in PARTS:
        parser.add_argument(f"--{part}", type=_positive, default=1, help=f"how many {part} (1)")
    return parser


def environment(chosen: argparse.Namespace) -> dict[str, str]:
    """Return the settings of a stack of other than one of each part, by their variables."""
    counts = {variable: getattr(chosen, part.replace("-", "_")) for part, variable in PARTS.items()}
    found = {variable: str(count) for variable, count in counts.items() if count > 1}
    return found | ({"RILLFLOW_STORE": "postgres"} if chosen.store == "postgres" else {})


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number
