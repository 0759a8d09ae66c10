"""A process of its own that writes to a store; run as a script by the store's tests.

``open URL NAME`` opens the store, makes one execution, and ends. ``append URL``
appends with 16 callers and prints each record's place once it is acknowledged,
until it is killed. ``full URL`` lets the disk be full for a while.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from itertools import count

from rillflow.errors import StoreError
from rillflow.ports.storage.store import Store
from rillflow.stores import open_store
from tests.contract.appends import follow, submit
from tests.full_disk import full_disk

LARGE = bytes(200_000)


async def _open(store: Store, number: str) -> None:
    await store.append([submit(int(number))])


async def _append(store: Store) -> None:
    await asyncio.gather(*(_caller(store, number) for number in range(16)))


async def _caller(store: Store, number: int) -> None:
    await store.append([submit(number, _record(number, 1))])
    for seq in count(2):
        _say(f"{number} {seq - 1}")
        await store.append([follow(number, seq, _record(number, seq))])


def _record(number: int, seq: int) -> bytes:
    return b"%d-%d-" % (number, seq) + bytes(300)


async def _full(store: Store) -> None:
    """Print how the appends before, during and after a full disk went."""
    await store.append([submit(1, LARGE)])
    with full_disk():
        group = [store.append([submit(number, LARGE)]) for number in range(2, 6)]
        during = await asyncio.gather(*group, return_exceptions=True)
    await store.append([submit(9, LARGE)])
    failed = [outcome for outcome in during if isinstance(outcome, StoreError)]
    _say(f"{len(during)} {len(failed)}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def _main(task: str, url: str, *arguments: str) -> None:
    store = open_store(url)
    await store.open()
    tasks: dict[str, Callable[..., Awaitable[None]]] = {
        "open": _open,
        "append": _append,
        "full": _full,
    }
    await tasks[task](store, *arguments)
    await store.close()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
