"""What a stack finds in its store from long ago: it is to be archived and removed."""

from pathlib import Path
from typing import Final

from rillflow.ports.storage.store import ExecutionFilter
from rillflow.stores import open_store
from tests.contract.appends import close, submit

OLD: Final = range(250)
BUSINESS: Final = "shop"
"""Of the old executions, and of no others."""


async def fill(data_dir: Path) -> None:
    """Make a store with executions that ended in 1970, and one that goes on."""
    store = open_store(_url(data_dir))
    await store.open()
    for number in OLD:
        await store.append([submit(number), close(number, 2, "SUCCEED")])
    # In a partition that nobody owns, so that nobody tries to read it.
    await store.append([submit(1_000, partition=1_000)])
    await store.close()


async def counts(data_dir: Path) -> dict[str, int]:
    """Count what is left of them, by status."""
    store = open_store(_url(data_dir))
    await store.open()
    try:
        return await store.count_executions(ExecutionFilter(business=BUSINESS))
    finally:
        await store.close()


def _url(data_dir: Path) -> str:
    return f"sqlite://{data_dir / 'rillflow.db'}"
