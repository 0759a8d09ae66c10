"""Functions that the benchmark of calls on Ray calls; they do nothing."""

from typing import Any


def step(n: int = 0) -> dict[str, int]:
    """Return what it is given."""
    return {"n": n}


def many(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what it is given."""
    return items
