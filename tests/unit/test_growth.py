"""What a process remembers does not grow with the executions that have ended."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from rillflow.actors.directory import MOST_KNOWN, DedicatedActors
from rillflow.ids import PARTITIONS, ExecutionId, new_execution_id
from rillflow.ports.executions import Call, End, Reply, ResourceCall, Watch
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.runtime.activation.journal import MOST_ADOPTED, OwnerEpoch
from rillflow.runtime.commands.timers import MOST_DEAD
from rillflow.runtime.completion.client import Ended
from rillflow.runtime.completion.server import FORGET_S, CompletionServer
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.dispatch.client import Connection, DispatcherClient
from rillflow.runtime.dispatch.pool import DispatchPool
from rillflow.runtime.endpoints.dispatcher_endpoint import MOST_SENDERS, DispatcherEndpoint
from rillflow.runtime.owner.execution_owner import ExecutionOwner
from rillflow.runtime.routing.router import ExecutionRouter
from rillflow.runtime.submission.intake import Options, Submissions
from rillflow.settings import Settings
from rillflow.stores import open_store
from tests.loopback import NOW_MS, ManualClock, connection_to

MANY: Final = 200
FLOW: Final = """
workspace: growth
dagName: work
type: flow
timeline: { timeoutInSeconds: "86400" }
tasks:
  - name: call
    category: function
    pattern: task_sync
    resourceName: http://127.0.0.1:1/work
    timeline: { timeoutInSeconds: "43200" }
"""


class House:
    """A host whose calls are answered at once."""

    def __init__(self, clock: ManualClock) -> None:
        self.store = open_store("memory:")
        self.host = ExecutionOwner(
            store=self.store,
            clock=clock,
            dispatcher=self,
            executions=self,
            callback_host="http://rillflow.test",
            partitions=range(PARTITIONS),
        )
        self.pool = DispatchPool(Answering(), self.host.answers_arrived)
        self._submissions = Submissions(Settings(), store=self.store, executions=self, clock=clock)

    def send(self, requests: Sequence[DispatchRequest]) -> None:
        self.pool.send(requests)

    async def call(self, call: Call) -> Reply:
        [reply] = await self.host.call_many([call])
        return reply

    async def ask_all(self, call: ResourceCall) -> list[Reply]:
        return [await self.call(call)]

    async def run(self) -> None:
        """Run an execution to its end; somebody watches it who has long left."""
        execution_id = await self._submissions.submit("growth:work", b"", Options())
        await self.call(Watch(execution_id=execution_id, watcher="somebody"))
        await self.host.settled(execution_id)

    def sizes(self) -> dict[str, int]:
        """Return how much is remembered, aside from the bounded memory of what ended lately."""
        host: Any = self.host
        activations, outbound = host._activations, host._commands.outbound
        return {
            "in memory": activations.active,
            "being read": len(activations._loading),
            "waited for": len(activations._settlements),
            "to be resumed": len(activations.unresumed),
            "timers": len(host._timers),
            "executions with timers": len(host._timers._set),
            "quarantine": len(host._quarantine),
            "background tasks": len(host._commands.background),
            "chosen functions": len(outbound._chosen),
            "held dispatches": len(outbound.held),
            "watched": len(host.watchers._of),
            "calls under way": len(self.pool),
        }


class Answering:
    """A gateway that answers every call well."""

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        return DispatchAnswer(
            execution_id=request.execution_id, task=request.task, attempt=request.attempt
        )

    async def close(self) -> None:
        pass


async def test_an_owner_of_executions_forgets_those_that_have_ended() -> None:
    clock = ManualClock()
    built = House(clock)
    await built.store.open()
    await add_descriptor(built.store, "growth", "work", "release", FLOW, at_ms=NOW_MS)
    await built.host.start()
    await built.run()
    before = built.sizes()
    for _ in range(MANY):
        await built.run()
    assert built.sizes() == before
    assert set(before.values()) == {0}
    assert len(built.host._timers._heap) <= MOST_DEAD + 2
    await built.host.stop()
    await built.pool.close()


async def test_a_watcher_that_has_left_is_told_nothing_more() -> None:
    clock = ManualClock()
    watchers = CompletionServer(clock)
    for number in range(MANY):
        watchers.watch("gone", f"e{number}")
    watchers.watch("here", "last")
    question = asyncio.create_task(watchers.take("here", 60))
    await asyncio.sleep(0)
    clock.forward(FORGET_S + 1)
    for number in range(MANY):
        watchers.ended(f"e{number}")
    watchers.ended("last")
    assert await question == [Ended("last")]
    assert list(watchers._watchers) == ["here"]
    assert not watchers._of


async def test_of_watched_executions_that_never_end_the_last_are_remembered() -> None:
    watchers = CompletionServer(ManualClock(), most_watched=2)
    for number in range(MANY):
        watchers.watch("here", f"e{number}")
    watchers.watch("here", f"e{MANY - 2}")
    watchers.watch("here", "newest")
    assert set(watchers._of) == {f"e{MANY - 2}", "newest"}


async def test_what_was_kept_for_a_watcher_that_has_left_goes_when_another_comes() -> None:
    clock = ManualClock()
    watchers = CompletionServer(clock)
    watchers.watch("gone", "seen", "execution")
    watchers.ended("seen", lambda _: b"a view")
    clock.forward(FORGET_S + 1)
    watchers.watch("here", "last")
    assert list(watchers._watchers) == ["here"]


async def test_a_dispatcher_forgets_owners_of_one_execution() -> None:
    told: asyncio.Queue[str] = asyncio.Queue()

    def connect(sender: str) -> Connection:
        async def send(_: bytes) -> bytes:
            told.put_nowait(sender)
            return b""

        return send

    endpoint = DispatcherEndpoint(Answering(), life=b"life", connect=connect)
    for number in range(MOST_SENDERS + MANY):
        sender = _dedicated(number)
        client = DispatcherClient(sender, [connection_to(endpoint)])
        client.send([_request(sender)])
        assert await told.get() == sender
        await client.stop()
    assert len(endpoint._pools) <= MOST_SENDERS + 1
    assert len(endpoint._newest) <= MOST_SENDERS
    assert len(endpoint) == 0


async def test_the_way_to_owners_of_one_execution_is_forgotten() -> None:
    actors = DedicatedActors("nowhere", _nobody)
    for number in range(MOST_KNOWN + MANY):
        assert actors.find(_dedicated(number)) is not None
        assert actors.spawn(_dedicated(number)) is actors.find(_dedicated(number))
    assert len(actors) == MOST_KNOWN
    for number in range(MANY, MOST_KNOWN + MANY):
        actors.forget(_dedicated(number))
    assert len(actors) == 0


class ShortLived:
    """Homes of dedicated executions that have always just ended."""

    def __init__(self) -> None:
        self.known: set[ExecutionId] = set()

    def find(self, execution_id: ExecutionId) -> Any:
        self.known.add(execution_id)
        return self

    spawn = find

    def forget(self, execution_id: ExecutionId) -> None:
        self.known.discard(execution_id)

    async def ask(self, _: Call) -> Reply:
        return Reply()

    async def end(self, _: ExecutionId, __: float, ___: str) -> End:
        return End(has_ended=True)


async def test_the_owner_of_an_execution_that_was_waited_for_is_forgotten() -> None:
    owners = ShortLived()
    routes = ExecutionRouter([], owners)
    for number in range(MANY):
        assert await routes.wait(_dedicated(number), 1) is True
    assert not owners.known


async def test_scopes_of_ended_executions_are_forgotten() -> None:
    store = open_store("memory:")
    await store.open()
    ownership = OwnerEpoch(store, range(PARTITIONS), None)
    for number in range(MOST_ADOPTED + MANY):
        await ownership.adopt(_dedicated(number))
    assert len(ownership._adopted) == MOST_ADOPTED
    assert ownership.fence_of(_dedicated(MOST_ADOPTED + MANY - 1))[1] > 0


def _nobody(execution_id: ExecutionId) -> None:
    raise AssertionError(f"{execution_id} is not called")


def _dedicated(number: int) -> ExecutionId:
    entropy = number.to_bytes(10, "big")
    return new_execution_id("growth", "apart", at_ms=NOW_MS, entropy=entropy, dedicated=True)


def _request(execution_id: ExecutionId) -> DispatchRequest:
    return DispatchRequest(
        execution_id=execution_id,
        task="work",
        attempt=1,
        pattern="task_sync",
        resource_name="http://127.0.0.1:1/work",
    )
