"""Calls of Ray functions with workers that are sockets, which the tests hold."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from rillflow.gateways.limits.concurrency import Caller
from rillflow.ray_tasks.call_feed import Feed
from rillflow.ray_tasks.limits.input_room import InputRoom
from rillflow.ray_tasks.limits.task_queue import TaskQueue
from rillflow.ray_tasks.options import CallOptions
from rillflow.ray_tasks.sharing.shared_tasks import Limits, SharedTasks
from rillflow.ray_tasks.targets import FunctionTarget
from rillflow.ray_tasks.tasks import CallOutcome, Result
from rillflow.ray_tasks.worker import Done, FunctionCall

NEVER_S: Final = 3_600.0
WAIT_S: Final = 60.0
PLAIN: Final = CallOptions()
CALLER: Final = Caller("one", "one:flow_c_1")
OTHER: Final = Caller("other", "other:flow_c_1")


def nodes(cpus: int) -> list[dict[str, Any]]:
    """Return a cluster of one node."""
    return [{"Alive": True, "Resources": {"CPU": float(cpus)}, "Labels": {}}]


class Reference:
    """What Ray gives for a call: what the worker returns is set by the test."""

    def __init__(self, call: FunctionCall) -> None:
        self.call = call
        self.returned: Future[Any] = Future()

    def future(self) -> "Future[Any]":
        return self.returned

    def __await__(self) -> Any:
        return asyncio.wrap_future(self.returned).__await__()

    def returns(self, body: bytes, took_s: float = 0.0) -> None:
        """End as a worker does that takes one call."""
        self.returned.set_result(msgspec.msgpack.encode(Done(body, took_s=took_s)))


class FakeRay:
    """Keeps what is started; ``refused`` is raised in its place."""

    def __init__(self) -> None:
        self.started: list[Reference] = []
        self.ended: list[Reference] = []
        self.refused: Exception | None = None
        self._news = asyncio.Event()

    async def until_started(self, count: int) -> None:
        """Wait until so many calls were started."""
        async with asyncio.timeout(WAIT_S):
            while len(self.started) < count:
                self._news.clear()
                await self._news.wait()

    async def start(self, call: FunctionCall, options: CallOptions, _: str) -> Reference:
        return self.start_now(call, options)

    def start_now(self, call: FunctionCall, options: CallOptions) -> Reference:
        del options
        if self.refused is not None:
            raise self.refused
        self.started.append(Reference(call))
        self._news.set()
        return self.started[-1]

    def end(self, reference: Reference) -> None:
        self.ended.append(reference)


class Worker:
    """The worker of a Ray task that was started."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.call: FunctionCall | None = reference.call
        self._feed = Feed(reference.call.feed)

    async def ends_call(self, body: bytes = b"{}", took_s: float = 0.0) -> int | None:
        """Tell the outcome of the present call, and return the number of the next one."""
        assert self.call is not None
        token = self.reference.call.token
        told = CallOutcome(token, self.call.number, Done(body, took_s=took_s))
        following = await asyncio.to_thread(self._feed.tell, msgspec.msgpack.encode(told))
        if following:
            self.call = msgspec.msgpack.decode(following, type=FunctionCall)
            return self.call.number
        self.call = None
        self.close()
        self.reference.returned.set_result(b"")
        return None

    def close(self) -> None:
        """Break the connection off."""
        self._feed.close()


class Stage:
    """Calls under way, by number."""

    def __init__(self, path: str, limits: Limits, cpus: int = 1_000) -> None:
        self.ray = FakeRay()
        self.queue = TaskQueue(lambda: nodes(cpus), InputRoom(0))
        self.queue.learn(nodes(cpus))
        self.shared = SharedTasks(self.ray, path, self.queue, limits)
        self.calls: dict[int, asyncio.Task[Result]] = {}
        self.workers: list[Worker] = []

    def worker(self, place: int) -> Worker:
        """Return the worker of the Ray task that was started in this place."""
        self.workers.append(Worker(self.ray.started[place]))
        return self.workers[-1]

    async def begin(
        self,
        *numbers: int,
        options: CallOptions = PLAIN,
        caller: Caller = CALLER,
        function: str = "a_function",
    ) -> None:
        """Make calls, until each was started or waits."""
        for number in numbers:
            target = FunctionTarget("a_module", function)
            call = FunctionCall(target, b"{}", (), (), 1_000, number=number)
            self.calls[number] = asyncio.create_task(self.shared.result(call, options, caller))
        await asyncio.sleep(0)

    async def close(self) -> None:
        """Cancel what is under way."""
        for call in self.calls.values():
            call.cancel()
        await asyncio.gather(*self.calls.values(), return_exceptions=True)
        for worker in self.workers:
            worker.close()
        self.queue.close()
        self.shared.close()

    async def body(self, number: int) -> bytes:
        """Return what came of a call."""
        return (await asyncio.wait_for(self.calls[number], WAIT_S)).body

    def begun(self) -> list[int]:
        """Return the numbers of the calls that are the first of a Ray task."""
        return [reference.call.number for reference in self.ray.started]


@asynccontextmanager
async def stage(path: Path, **limits: float) -> AsyncIterator[Stage]:
    """Listen for workers, and know that the function is quick."""
    given = Limits(**{"quick_s": NEVER_S, "shared_s": NEVER_S, "patience_s": NEVER_S, **limits})
    scene = Stage(str(path / "calls"), given)
    await scene.begin(1)
    await asyncio.gather(*(it for it in asyncio.all_tasks() if it.get_name() == "feed"))
    scene.ray.started[0].returns(b'{"n":1}')
    assert await scene.body(1) == b'{"n":1}'
    try:
        yield scene
    finally:
        await scene.close()


@asynccontextmanager
async def small_cluster(cpus: int = 2) -> AsyncIterator[Stage]:
    """Calls of functions that are not quick, which have Ray tasks of their own."""
    scene = Stage("", Limits(), cpus)
    try:
        yield scene
    finally:
        await scene.close()
