"""Figures: what was measured, what it should be, and how it compares with the last results.

Machines differ, so figures are compared by their ratio to a yardstick of the same run:
how many executions a second the same five calls make without any workflow engine.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

YARDSTICK: Final = "bare c=64"


class Figure(NamedTuple):
    """One figure of one run. ``unit`` tells how it depends on the speed of a machine.

    What counts per second (``calls/s``) is the better the more; times (``ms``, ``s``,
    ``CPU-s``), sizes (``KB``, ``MB``) and ``opcodes`` the less; a ``ratio`` the more, and what
    is a part ``of one`` the less.
    """

    name: str
    unit: str
    value: float

    @property
    def more_is_better(self) -> bool:
        return self.unit == "ratio" or self.unit.endswith("/s")

    def relative(self, yardstick: float) -> float:
        """Return the figure as it would be on a machine of yardstick 1."""
        if self.unit.endswith("/s"):
            return self.value / yardstick
        if self.unit in ("ms", "s", "CPU-s"):
            return self.value * yardstick
        return self.value


GOALS: Final[Mapping[str, float]] = {
    "glue c=64": 600,
    "glue c=256": 700,
    "glue c=1 p50": 8,
    "glue c=64, 1,000 tasks": 0.6,
    "glue to bare, best c": 0.30,
    "callback c=64": 900,
    "callback to next call p99": 20,
    "fanout of 100, 10 at once, c=16": 4000,
    "fanout of 10,000 in batches": 5000,
    "submit storm": 2000,
    "parked execution": 3,
    "1,000 retries in a second, late p99": 200,
    "core": 50_000,
    "idle stack": 900,
    "up to first answer": 10,
    "PostgreSQL to SQLite": 0.85,
    "two nodes to one": 0.85,
    "two dispatchers, CPU of a call": 1.10,
}

REFERENCES: Final[Mapping[str, str]] = {
    **{f"glue c={c}": f"bare c={c}" for c in (1, 16, 64, 256)},
    **{f"bare with a journal c={c}": f"bare c={c}" for c in (1, 16, 64, 256)},
    "submit storm": "plain uvicorn c=64",
    "ray task c=64": "plain Ray c=64",
    "1 % traced, glue c=64": "not traced, glue c=64",
    "all traced, glue c=64": "not traced, glue c=64",
}
"""Which figure of the same run a figure is set beside."""


class Row(NamedTuple):
    """A row of the table; what is unknown is None. ``to_goal`` above 1 is better than it."""

    figure: Figure
    goal: float | None
    to_goal: float | None
    to_reference: float | None
    change: float | None


def medians(runs: Iterable[Sequence[Figure]]) -> list[Figure]:
    """Return the median of every figure over several runs, in the order of the first."""
    values: dict[tuple[str, str], list[float]] = {}
    for run in runs:
        for figure in run:
            values.setdefault((figure.name, figure.unit), []).append(figure.value)
    return [Figure(*key, statistics.median(found)) for key, found in values.items()]


def with_ratios(figures: Sequence[Figure]) -> list[Figure]:
    """Add how near the best of glue comes to the best without durability, and with it."""
    glue = _best(figures, "glue c=")
    ratios = [
        Figure(f"glue to {other}, best c", "ratio", glue / best)
        for other in ("bare", "bare with a journal")
        if glue and (best := _best(figures, f"{other} c="))
    ]
    return [*figures, *ratios]


def _best(figures: Iterable[Figure], prefix: str) -> float:
    found = (f.value for f in figures if f.name.startswith(prefix) and f.unit == "executions/s")
    return max(found, default=0.0)


def rows(figures: Sequence[Figure], committed: Mapping[str, Any]) -> list[Row]:
    """Set every figure beside its goal, its reference, and the last committed results.

    ``committed`` is what ``document`` returned then, empty when there is none. The
    change is that of the ratio to the yardstick; positive is better.
    """
    values = {figure.name: figure.value for figure in figures}
    before = committed.get("figures", {})
    found = []
    for figure in figures:
        goal = GOALS.get(figure.name)
        reference = values.get(REFERENCES.get(figure.name, ""))
        found.append(
            Row(
                figure=figure,
                goal=goal,
                to_goal=_gain(figure, figure.value, goal) if goal else None,
                to_reference=figure.value / reference if reference else None,
                change=_change(figure, values.get(YARDSTICK), before.get(figure.name)),
            )
        )
    return found


def _gain(figure: Figure, value: float, other: float) -> float | None:
    """Return how many times better ``value`` is than ``other``."""
    if not value or not other:
        return None
    return value / other if figure.more_is_better else other / value


def _change(
    figure: Figure, yardstick: float | None, before: Mapping[str, Any] | None
) -> float | None:
    if before is None or yardstick is None or before.get("unit") != figure.unit:
        return None
    gain = _gain(figure, figure.relative(yardstick), before["relative"])
    return None if gain is None else gain - 1


def document(
    runs: Sequence[Sequence[Figure]], figures: Sequence[Figure], machine: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the results as JSON: medians, the runs they are of, and the machine.

    Without the yardstick among the figures there are no relative values.
    """
    yardstick = next((each.value for each in figures if each.name == YARDSTICK), None)
    found = {}
    for figure in figures:
        found[figure.name] = {
            "unit": figure.unit,
            "value": round(figure.value, 4),
            "runs": [round(f.value, 4) for run in runs for f in run if f.name == figure.name],
            **({"relative": figure.relative(yardstick)} if yardstick else {}),
        }
    return {"machine": dict(machine), "figures": found}


HEADER: Final = (
    f"{'figure':38}{'measured':>10} {'':14}{'goal':>9}{'to goal':>9}{'holds':>7}"
    f"{'to ref.':>9}{'change':>9}"
)


def shown(row: Row) -> str:
    """Return a row as a line below ``HEADER``."""
    figure = row.figure
    goal = "" if row.goal is None else _number(row.goal)
    to_goal = "" if row.to_goal is None else f"{row.to_goal:.2f}"
    holds = "" if row.to_goal is None else "yes" if row.to_goal >= 1 else "no"
    to_reference = "" if row.to_reference is None else f"{row.to_reference:.2f}"
    change = "" if row.change is None else f"{row.change:+.0%}"
    return (
        f"{figure.name:38}{_number(figure.value):>10} {figure.unit:14}"
        f"{goal:>9}{to_goal:>9}{holds:>7}{to_reference:>9}{change:>9}"
    ).rstrip()


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
