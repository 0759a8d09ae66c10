"""How many of what a rate takes: ``python -m tests.bench.capacity`` prints the tables of the docs.

The figures are those of ``docs/performance.md``; after new measurements they are changed here,
and the tables there are replaced by what this prints (a test compares them).
"""

from collections.abc import Iterator
from math import ceil
from typing import Final, NamedTuple

TASKS_PER_EXECUTION: Final = 5
REQUESTS_PER_EXECUTION: Final = 2
CORES: Final = 4
KEPT_AT: Final = 0.6
"""How busy nodes, actors and the database may be, at most."""
CORE_HOUR_USD: Final = 0.05
"""What a processor costs for an hour in a large cloud, roughly, with its memory."""
RATES: Final = (1_000, 10_000, 100_000)


class Measured(NamedTuple):
    """Processor time in ms for a task of glue, by part; records that a store takes in a second."""

    dispatcher: float
    owner: float
    replica: float
    front: float
    ray: float
    sqlite: float
    postgres: float

    @property
    def task_ms(self) -> float:
        """Processor time of all parts for a task, without the store's."""
        return self.dispatcher + self.owner + self.replica + self.front + self.ray


MEASURED: Final = Measured(
    dispatcher=0.22,
    owner=0.15,
    replica=0.14,
    front=0.02,
    ray=0.05,
    sqlite=23_000,
    postgres=10_000,
)


def part_rows(measured: Measured) -> Iterator[str]:
    """Return what fills each part, as rows of Markdown."""
    yield "| part | CPU time | full at | what to add |"
    yield "|---|---|---|---|"
    requests = TASKS_PER_EXECUTION / REQUESTS_PER_EXECUTION
    for name, ms, what, add in (
        (
            "dispatcher",
            measured.dispatcher,
            "calls",
            "dispatchers (`dispatcher_actors`), each for other gateway hosts",
        ),
        ("execution actor", measured.owner, "tasks", "execution actors (`execution_actors`)"),
        ("replica", measured.replica * requests, "requests", "replicas (`replicas`)"),
        ("HAProxy", measured.front * requests, "requests", "front machines"),
    ):
        yield f"| {name} | {ms:.2f} ms a {what[:-1]} | {_round(1000 / ms)} {what}/s | {add} |"
    for name, records, add in (
        ("journal, SQLite", measured.sqlite, "PostgreSQL"),
        ("journal, PostgreSQL", measured.postgres, "a larger machine for it, or another stack"),
    ):
        yield f"| {name} | | {_round(records)} records/s | {add} |"


def size_rows(measured: Measured) -> Iterator[str]:
    """Return what each rate takes, as rows of Markdown."""
    yield (
        "| tasks/s | CPU-s each second | execution actors | dispatchers | replicas | nodes"
        " | records/s | PostgreSQLs like the one measured |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for rate in RATES:
        busy = rate * measured.task_ms / 1000
        records = rate * (1 + 1 / TASKS_PER_EXECUTION)
        counts = (
            _wanted(rate * measured.owner / 1000),
            _wanted(rate * measured.dispatcher / 1000),
            _wanted(rate * measured.replica / 1000),
            _wanted(busy / CORES),
        )
        cells = (f"{rate:,}", f"{busy:.2g}", *map(str, counts), f"{records:,.0f}")
        yield f"| {' | '.join(cells)} | {_wanted(records / measured.postgres)} |"


def million(measured: Measured) -> str:
    """Return what a million tasks cost."""
    hours = measured.task_ms * 1000 / 3600 / KEPT_AT
    return (
        f"A million tasks take {measured.task_ms * 1000:.0f} s of processor time; with nodes kept"
        f" at {KEPT_AT:.0%} that is {hours:.2f} core hours, or {hours * CORE_HOUR_USD:.3f} USD at"
        f" {CORE_HOUR_USD} USD an hour."
    )


def tables(measured: Measured = MEASURED) -> str:
    """Return all that the document has from here."""
    parts = ("\n".join(part_rows(measured)), "\n".join(size_rows(measured)), million(measured))
    return "\n\n".join(parts)


def _wanted(busy: float) -> int:
    return ceil(round(busy / KEPT_AT, 6))


def _round(value: float) -> str:
    """Return two digits that count, as more would pretend."""
    return f"{float(f'{value:.2g}'):,.0f}"


if __name__ == "__main__":
    print(tables())
