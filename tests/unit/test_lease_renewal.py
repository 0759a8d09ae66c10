"""A process renews the lease of its actor until another process has taken it."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from rillflow.ports.storage.lease import OwnerLease
from rillflow.ports.storage.store import Store
from rillflow.runtime.supervision.lease_renewal import renewed_lease
from rillflow.stores import open_store
from rillflow.stores.sqlite.store import SqliteStore

NAME: Final = "rillflow:execution:0"
LONG_S: Final = 60.0
LOOK_S: Final = 0.01


@pytest.fixture(name="opens")
def _opens(tmp_path: Path) -> Callable[[], Store]:
    return lambda: open_store(f"sqlite:///{tmp_path / 'store.db'}")


async def _until_renewed(store: Store, times: int) -> None:
    async with asyncio.timeout(LONG_S):
        while True:
            [lease] = await store.owner_leases()
            if lease.renewals >= times:
                return
            await asyncio.sleep(0)


async def test_it_is_renewed_until_another_process_has_taken_it(opens: Callable[[], Store]) -> None:
    store, lost = opens(), asyncio.Event()
    await store.open()
    await renewed_lease(store, opens, (NAME, "a"), lost=lost.set)
    await _until_renewed(store, 2)
    assert not lost.is_set()
    await store.take_owner_lease(NAME, "b")
    async with asyncio.timeout(LONG_S):
        await lost.wait()
    assert await store.owner_leases() == [OwnerLease(NAME, "b", 0)]
    await store.close()


async def test_it_is_renewed_while_the_event_loop_is_held(
    opens: Callable[[], Store], tmp_path: Path
) -> None:
    store, lost = opens(), asyncio.Event()
    await store.open()
    await renewed_lease(store, opens, (NAME, "a"), lost=lost.set)
    _hold_until_renewed(tmp_path / "store.db", 2)
    await store.take_owner_lease(NAME, "b")
    async with asyncio.timeout(LONG_S):
        await lost.wait()
    await store.close()


async def test_it_is_renewed_again_whatever_has_gone_wrong(tmp_path: Path) -> None:
    failures = [RuntimeError("a library is broken")]

    class Failing(SqliteStore):
        async def renew_owner_lease(self, name: str, life: str) -> bool:
            if failures:
                raise failures.pop()
            return await super().renew_owner_lease(name, life)

    def open_failing() -> Store:
        return Failing(tmp_path / "store.db")

    store, lost = open_failing(), asyncio.Event()
    await store.open()
    await renewed_lease(store, open_failing, (NAME, "a"), lost=lost.set)
    await _until_renewed(store, 1)
    await store.take_owner_lease(NAME, "b")
    async with asyncio.timeout(LONG_S):
        await lost.wait()
    await store.close()


def _hold_until_renewed(file: Path, times: int) -> None:
    """Read the file again and again, and let nobody else use the event loop."""
    give_up = time.monotonic() + LONG_S
    with closing(sqlite3.connect(file)) as connection:
        while connection.execute("SELECT max(renewals) FROM owner_leases").fetchone()[0] < times:
            assert time.monotonic() < give_up
            threading.Event().wait(LOOK_S)
