"""How many of what a rate takes, as ``docs/performance.md`` has it under "Capacity".

    make bench-capacity                   prints that part of the document
    make bench-capacity ARGS=--measure    what each part costs, on a new stack
    make bench-capacity ARGS="--measure --store postgres"

After a new measurement ``MEASURED`` is changed and the printed tables go into the document,
where a test compares them. What two nodes cost is measured by ``tests.bench.nodes``.
"""

import argparse
import os
from collections.abc import Iterator
from math import ceil
from typing import Final, NamedTuple

from tests.bench import measuring
from tests.bench.stacks import Scene, functions, scene, store_of

TASKS: Final = 5
"""In an execution of glue."""
REQUESTS: Final = 1
"""For an execution: a submission that waits for its end."""
CORES: Final = 4
KEPT_AT: Final = 0.6
"""How busy nodes, actors and the database may be, at most."""
CORE_HOUR_USD: Final = 0.05
"""What a processor of a large cloud costs for an hour, roughly."""
RATES: Final = (1_000, 10_000, 100_000)


class Measured(NamedTuple):
    """Processor time in ms for a task of glue at c=64, by part; records that stores take.

    ``owner_apart`` and ``dispatcher_apart`` come on top when the two are on different nodes,
    ``caller_apart`` for the owner and once more for the replica when these are.
    """

    dispatcher: float
    owner: float
    replica: float
    front: float
    ray: float
    postgres: float
    owner_apart: float
    dispatcher_apart: float
    caller_apart: float
    sqlite_records: float
    postgres_records: float

    def apart(self) -> "Measured":
        """Return what the parts cost when each is on another node."""
        return self._replace(
            dispatcher=self.dispatcher + self.dispatcher_apart,
            owner=self.owner + self.owner_apart + self.caller_apart,
            replica=self.replica + self.caller_apart,
        )

    @property
    def task(self) -> float:
        """Processor time of all parts for a task, the store's server left out."""
        return self.dispatcher + self.owner + self.replica + self.front + self.ray


MEASURED: Final = Measured(
    dispatcher=0.07,
    owner=0.10,
    replica=0.04,
    front=0.01,
    ray=0.01,
    postgres=0.04,
    owner_apart=0.07,
    dispatcher_apart=0.08,
    caller_apart=0.04,
    sqlite_records=57_000,
    postgres_records=47_000,
)


def part_rows(measured: Measured) -> Iterator[str]:
    """Return when each part is full, as rows of Markdown."""
    yield "| part | CPU time, one node | limit | CPU time, parts apart | limit | what to add |"
    yield "|---|---|---|---|---|---|"
    apart = measured.apart()
    for name, ms, ms_apart, per, unit, add in (
        ("dispatcher", measured.dispatcher, apart.dispatcher, 1.0, "call", "`dispatcher_actors`"),
        ("execution actor", measured.owner, apart.owner, 1.0, "task", "`execution_actors`"),
        ("replica", measured.replica, apart.replica, TASKS / REQUESTS, "request", "`replicas`"),
        ("HAProxy", measured.front, apart.front, TASKS / REQUESTS, "request", "front machines"),
    ):
        cells = [
            cell
            for each in (ms * per, ms_apart * per)
            for cell in (f"{each:.2f} ms a {unit}", f"{_two_digits(1000 / each)} {unit}s/s")
        ]
        yield f"| {' | '.join([name, *cells, add])} |"
    for name, records, add in (
        ("journal, SQLite", measured.sqlite_records, "PostgreSQL"),
        ("journal, PostgreSQL", measured.postgres_records, "a larger machine for it"),
    ):
        yield f"| {name} | | {_two_digits(records)} records/s | | | {add} |"


def size_rows(measured: Measured) -> Iterator[str]:
    """Return what each rate takes, as rows of Markdown."""
    yield (
        "| tasks/s | CPU-s each second | execution actors | dispatchers | replicas | nodes"
        " | records/s | PostgreSQL servers |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for rate in RATES:
        fits = _wanted(rate * measured.task / 1000 / CORES) == 1
        costs = measured if fits else measured.apart()
        busy = rate * costs.task / 1000
        records = rate * (1 + 1 / TASKS)
        counts = (
            _wanted(rate * costs.owner / 1000),
            _wanted(rate * costs.dispatcher / 1000),
            _wanted(rate * costs.replica / 1000),
            _wanted(busy / CORES),
            records,
            _wanted(records / measured.postgres_records),
        )
        yield f"| {rate:,} | {busy:.2g} | {' | '.join(f'{each:,.0f}' for each in counts)} |"


def million(measured: Measured) -> str:
    """Return what a million tasks cost."""
    prices = []
    for costs in (measured, measured.apart()):
        seconds = (costs.task + costs.postgres) * 1000
        hours = seconds / 3600 / KEPT_AT
        prices.append(f"{seconds:.0f} s of processor time, {hours * CORE_HOUR_USD:.3f} USD")
    return (
        f"A million tasks cost {prices[0]} on one node, and {prices[1]} with all parts apart"
        f" (processors kept at {KEPT_AT:.0%}, {CORE_HOUR_USD} USD for an hour of one)."
    )


def tables(measured: Measured = MEASURED) -> tuple[str, str, str]:
    """Return all that the document has from here."""
    parts = "\n".join(part_rows(measured))
    return parts, "\n".join(size_rows(measured)), million(measured)


def main() -> None:
    """Print the tables, or measure what they are made from."""
    parser = argparse.ArgumentParser(description=__doc__, prog="make bench-capacity")
    parser.add_argument("--measure", action="store_true", help="measure the parts of a stack")
    parser.add_argument("--store", choices=("sqlite", "postgres"), default="sqlite")
    chosen = parser.parse_args()
    if not chosen.measure:
        print(*tables(), sep="\n\n")
        return
    wanted = {"RILLFLOW_STORE": "postgres"} if chosen.store == "postgres" else {}
    with (
        functions() as url,
        store_of(wanted) as environment,
        scene(url, seconds=4, full=False, **environment) as stage,
    ):
        for job, tasks in (("glue", TASKS), ("callback", 1)):
            print(*_measured(stage, job, tasks), sep="\n")
    print(f"load {os.getloadavg()[0]:.2f}")


def _measured(stage: Scene, job: str, tasks: int) -> Iterator[str]:
    before = stage.cpu_s_by_process()
    sample = measuring.measure(stage, job, 64)
    done = sample.per_s * tasks * (sample.elapsed_s + measuring.WARM_UP_S)
    yield f"{job} c=64, {sample.per_s:.0f} executions/s; CPU ms a task:"
    for name, spent in sorted(stage.cpu_s_by_process().items()):
        ms = (spent - before.get(name, 0.0)) * 1000 / done
        if ms >= 0.005:
            yield f"  {name}: {ms:.3f}"


def _wanted(busy: float) -> int:
    return ceil(round(busy / KEPT_AT, 6))


def _two_digits(value: float) -> str:
    """Return two digits that count, as more would pretend."""
    return f"{float(f'{value:.2g}'):,.0f}"


if __name__ == "__main__":
    main()
