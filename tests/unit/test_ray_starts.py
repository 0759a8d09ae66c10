"""A large input goes into Ray's object store beside the event loop, and no call is lost by that."""

import asyncio
import threading
from typing import Any, Final

import pytest

from rillflow.ray_tasks.options import CallOptions
from rillflow.ray_tasks.settings import RaySettings
from rillflow.ray_tasks.targets import FunctionTarget
from rillflow.ray_tasks.tasks import SMALL_BYTES, RayTasks, started
from rillflow.ray_tasks.worker import BatchCall, FunctionCall

WAIT_S: Final = 10.0


class Store:
    """What starts a call, as soon as there is room for its input."""

    def __init__(self) -> None:
        self.room = threading.Event()
        self.ended: asyncio.Queue[str] = asyncio.Queue()

    def start(self) -> str:
        if not self.room.wait(WAIT_S):
            raise TimeoutError
        return "reference"


async def test_a_large_input_that_waits_for_room_does_not_hold_the_event_loop() -> None:
    store = Store()
    starting = asyncio.create_task(
        started(SMALL_BYTES + 1, store.start, store.ended.put_nowait, workspace="demo")
    )
    await asyncio.sleep(0)
    store.room.set()  # by the event loop, which goes on
    assert await starting == "reference"
    assert store.ended.empty()


async def test_a_call_that_is_cancelled_while_its_input_is_stored_is_ended_once_begun() -> None:
    store = Store()
    starting = asyncio.create_task(
        started(SMALL_BYTES + 1, store.start, store.ended.put_nowait, workspace="demo")
    )
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    store.room.set()
    assert await asyncio.wait_for(store.ended.get(), WAIT_S) == "reference"


async def test_large_inputs_of_a_workspace_leave_a_thread_to_others() -> None:
    store, other = Store(), Store()
    held = [
        asyncio.create_task(
            started(SMALL_BYTES + 1, store.start, store.ended.put_nowait, workspace="demo")
        )
        for _ in range(9)
    ]
    await asyncio.sleep(0)
    other.room.set()
    async with asyncio.timeout(WAIT_S / 2):
        size, ended = SMALL_BYTES + 1, other.ended.put_nowait
        assert await started(size, other.start, ended, workspace="shop") == "reference"
    store.room.set()
    assert await asyncio.gather(*held) == ["reference"] * 9


class HeldTasks(RayTasks):
    """Ray tasks whose inputs are stored once there is room."""

    def __init__(self) -> None:
        super().__init__(RaySettings())
        self.room = threading.Event()

    def _prepare(self, *_: object) -> Any:
        return self

    def remote(self, call: bytes) -> str:
        if b"many" in call and not self.room.wait(WAIT_S):
            raise TimeoutError
        return "reference"


async def test_large_inputs_of_tasks_take_turns_by_workspace_without_a_store_of_artifacts() -> None:
    tasks = HeldTasks()
    call = FunctionCall(FunctionTarget("f", "g"), b"many" + bytes(SMALL_BYTES), (), (), 1)
    batch = BatchCall(call._replace(fields=b""), (call.fields,))
    held = [asyncio.create_task(tasks.start(call, CallOptions(), "many")) for _ in range(9)]
    held += [asyncio.create_task(tasks.start_batch(batch, CallOptions(), "many")) for _ in "12"]
    await asyncio.sleep(0)
    other = call._replace(fields=bytes(SMALL_BYTES + 1))
    async with asyncio.timeout(WAIT_S / 2):
        assert await tasks.start(other, CallOptions(), "few") == "reference"
    tasks.room.set()
    assert await asyncio.gather(*held) == ["reference"] * 11


async def test_a_small_input_takes_no_thread() -> None:
    store = Store()
    store.room.set()
    threads = set(threading.enumerate())
    assert (
        await started(SMALL_BYTES, store.start, store.ended.put_nowait, workspace="demo")
        == "reference"
    )
    assert set(threading.enumerate()) == threads
