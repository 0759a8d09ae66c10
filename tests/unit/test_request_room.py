"""The inputs of calls under way at a dispatcher have few bytes together; other calls wait.

They wait in their owner, and workspaces get room in turn.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import pytest

from rillflow.core.commands import DispatchTask
from rillflow.core.events import CancelRequested
from rillflow.ports.executions import Delivery, ResourceCall
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.runtime.dispatch.client import LEAST_ROOM_BYTES, DispatcherClient, room_of
from rillflow.runtime.dispatch.request_room import SMALL_BYTES, RequestRoom
from rillflow.runtime.endpoints.dispatcher_endpoint import DispatcherEndpoint
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.submission.intake import Options
from rillflow.settings import Settings
from tests.loopback import answers_in, connection_to
from tests.unit.test_abandoned_calls import Tarpit, living
from tests.unit.test_isolation_of_connections import Owner

LONG_S: Final = 60
LARGE_BYTES: Final = 64 * 1024
ROOM_BYTES: Final = 16 * LARGE_BYTES
MEBIBYTE: Final = 1 << 20


def asked(execution: str, number: int = 0, size_bytes: int = LARGE_BYTES) -> DispatchRequest:
    return DispatchTask(
        execution_id=execution,
        task=f"t{number}",
        attempt=1,
        pattern="task_sync",
        resource_name="http://127.0.0.1:1/f",
        input=b" " * size_bytes,
    )


def tasks_of(requests: Iterable[DispatchRequest]) -> list[str]:
    return [f"{each.execution_id} {each.task}" for each in requests]


async def until(holds: Callable[[], bool]) -> None:
    """Give way until something holds; the dispatcher is looked at once in a second."""
    async with asyncio.timeout(LONG_S):
        while not holds():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0)


def test_workspaces_get_room_in_turn_and_each_leaves_as_much_as_it_has() -> None:
    room = RequestRoom(ROOM_BYTES)
    first = [each for each in (asked("a:1", number) for number in range(20)) if room.enter(each)]
    assert len(first) == 8
    assert [room.enter(asked(f"{name}:1")) for name in "bcd"] == [True] * 3
    assert room.bytes == 11 * LARGE_BYTES
    assert not room.enter(asked("a:2"))
    assert not room.enter(asked("a:1", 19)), "it waits already"
    assert room.waiting("a:1") == [f"t{number}" for number in range(8, 20)]
    assert room.take() == []
    for each in first[:7]:
        room.leave(each.call)
    assert tasks_of(room.take()) == [f"a:1 t{number}" for number in range(8, 13)]
    assert room.bytes == 9 * LARGE_BYTES


def test_small_requests_need_no_room_and_a_huge_one_goes_alone() -> None:
    room = RequestRoom(ROOM_BYTES)
    assert room.enter(asked("a:1", 1, 2 * ROOM_BYTES))
    assert not room.enter(asked("b:1"))
    assert room.enter(asked("b:1", 1, SMALL_BYTES - 1))
    room.leave(asked("a:1", 1).call)
    assert tasks_of(room.take()) == ["b:1 t0"]
    room.leave(asked("b:1").call)
    assert room.is_free


def test_nobody_gets_room_before_a_workspace_that_has_none_and_wants_much() -> None:
    room = RequestRoom(ROOM_BYTES)
    held = [asked(name, size_bytes=size * LARGE_BYTES) for name, size in (("a:1", 8), ("b:1", 4))]
    assert all(map(room.enter, held))
    assert not room.enter(asked("c:1", size_bytes=6 * LARGE_BYTES))
    assert not room.enter(asked("b:2"))
    assert not room.enter(asked("d:1")), "who comes later would keep it from coming ever"
    room.leave(held[1].call)
    assert tasks_of(room.take()) == ["c:1 t0", "b:2 t0", "d:1 t0"]


def test_a_call_that_is_given_up_waits_no_more() -> None:
    room = RequestRoom(ROOM_BYTES)
    assert room.enter(asked("a:1", 0, ROOM_BYTES))
    assert not room.enter(asked("a:1", 1))
    assert room.give_up(asked("a:1", 0).call) is None, "it has room"
    given_up = room.give_up(asked("a:1", 1).call)
    assert given_up is not None
    assert room.give_up(given_up.call) is None
    room.leave(asked("a:1", 0).call)
    assert room.is_free


def test_the_owners_of_partitions_share_half_of_what_the_answers_may_have() -> None:
    settings = Settings(call_answers_max_bytes=256 * MEBIBYTE, execution_actors=2)
    assert room_of(settings, None) == 64 * MEBIBYTE
    assert room_of(settings, "a:1") == LEAST_ROOM_BYTES
    assert room_of(settings.model_copy(update={"execution_actors": 64}), None) == LEAST_ROOM_BYTES


class Holding:
    """A gateway that answers one call after the other, and counts the bytes that all hold."""

    def __init__(self) -> None:
        self.bytes = self.most_bytes = 0
        self.called: list[str] = []
        self.held = Counter[str]()
        self.gates: dict[str, asyncio.Event] = {}

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        self.called.append(request.execution_id)
        self.bytes += len(request.input)
        self.most_bytes = max(self.most_bytes, self.bytes)
        gate = self.gates.get(request.execution_id)
        await (asyncio.sleep(0) if gate is None else gate.wait())
        self.bytes -= len(request.input)
        return DispatchAnswer(execution_id=request.execution_id, task=request.task, attempt=1)

    async def close(self) -> None:
        """Nothing is open."""


class Apart(Owner):
    """An owner whose calls are made by a dispatcher in another process, as it were."""

    def __init__(self, gateway: Holding, room_bytes: int = ROOM_BYTES) -> None:
        super().__init__()
        self.gateway, self.lives, self.ended = gateway, 1, set[str]()
        self.has_successor = False
        self._changed = asyncio.Event()
        self._endpoint = self._new_endpoint()
        self.client = DispatcherClient("me", [self._connection], room_bytes=room_bytes)
        self.client.serve(self)

    async def is_replaced(self) -> bool:
        return self.has_successor

    async def still_awaited(self, requests: Sequence[DispatchRequest]) -> list[DispatchRequest]:
        return [each for each in requests if each.execution_id not in self.ended]

    async def until_answered(self, number: int) -> None:
        async with asyncio.timeout(LONG_S):
            while len(self.answers) < number:
                self._changed.clear()
                await self._changed.wait()

    def die(self) -> None:
        """Have a new dispatcher in the place of this one."""
        self.lives += 1
        self._endpoint = self._new_endpoint()

    def _new_endpoint(self) -> DispatcherEndpoint:
        life = f"life {self.lives}".encode()
        return DispatcherEndpoint(self.gateway, life=life, connect=lambda _: self._back)

    async def _connection(self, message: bytes) -> bytes:
        return await connection_to(self._endpoint)(message)

    async def _back(self, message: bytes) -> bytes:
        answers = answers_in(message)
        await self.answers_arrived(answers)
        self.client.answered(answers)
        self._changed.set()
        return b""


async def settle() -> None:
    """Let everything happen that waits for nothing from outside."""
    for _ in range(50):
        await asyncio.sleep(0)


@asynccontextmanager
async def apart(gateway: Holding) -> AsyncIterator[Apart]:
    owner = Apart(gateway)
    yield owner
    await owner.client.stop()


async def test_a_thousand_calls_with_large_inputs_hold_no_more_than_their_room() -> None:
    gateway = Holding()
    async with apart(gateway) as owner:
        owner.client.send([asked(f"{name}:1", number) for number in range(250) for name in "abcd"])
        await owner.until_answered(1_000)
        assert gateway.most_bytes <= ROOM_BYTES
        assert Counter(gateway.called) == {f"{name}:1": 250 for name in "abcd"}
        assert len(owner.client) == 0
        assert owner.client.input_bytes == 0


@pytest.mark.parametrize(("is_replaced", "calls"), [(False, 2), (True, 1)])
async def test_an_owner_orders_again_of_a_new_dispatcher_unless_it_was_replaced(
    *, is_replaced: bool, calls: int
) -> None:
    gateway = Holding()
    gateway.gates["a:1"] = asyncio.Event()
    async with apart(gateway) as owner:
        owner.client.send([asked("a:1", 1)])
        await settle()
        owner.has_successor = is_replaced
        owner.die()
        [link] = owner.client._links
        await link._check()
        await settle()
        assert (len(gateway.called), len(owner.client)) == (calls, calls - 1)


async def test_calls_that_are_never_answered_hold_up_no_other_workspace() -> None:
    gateway = Holding()
    gateway.gates["a:1"] = asyncio.Event()
    async with apart(gateway) as owner:
        owner.client.send([asked("a:1", number) for number in range(100)])
        owner.client.send([asked("b:1", number) for number in range(100)])
        await owner.until_answered(100)
        assert {answer.execution_id for answer in owner.answers} == {"b:1"}
        assert len(owner.client.waiting("a:1")) == 92
        assert gateway.called.count("a:1") == 8


async def test_what_has_ended_while_it_waited_is_not_called() -> None:
    gateway = Holding()
    gateway.gates["a:1"] = asyncio.Event()
    async with apart(gateway) as owner:
        owner.client.send([asked("a:1", number) for number in range(8)])
        owner.client.send([asked("a:2", 0), asked("a:3", 0)])
        assert owner.client.waiting("a:2") == ["t0"]
        owner.ended.add("a:2")
        gateway.gates["a:1"].set()
        await owner.until_answered(9)
        assert "a:2" not in gateway.called
        assert len(owner.client) == 0


async def test_a_dispatcher_that_died_gets_no_more_than_its_room_again() -> None:
    gateway = Holding()
    gateway.gates["a:1"] = asyncio.Event()
    async with apart(gateway) as owner:
        owner.client.send([asked("a:1", number) for number in range(50)])
        await until(lambda: len(gateway.called) == 8)
        owner.die()
        watching = asyncio.create_task(owner.client.watch_dispatchers())
        await until(lambda: len(gateway.called) == 16)
        gateway.gates["a:1"].set()
        await until(lambda: len(owner.client) == 0)
        assert len(gateway.called) == 58
        watching.cancel()


FLOW: Final = """
workspace: abandoned
dagName: tarpit
type: flow
defaultContext: {{text: "{}"}}
tasks:
  - name: slow
    category: function
    pattern: task_sync
    resourceName: http://127.0.0.1:1/slow
    inputMappings: [{{source: $.context.text, target: $.input.text}}]
    timeline: {{ timeoutInSeconds: TIMEOUT }}
""".format("x" * 2 * SMALL_BYTES)


async def test_a_call_that_waits_says_so_and_is_answered_when_its_execution_is_cancelled() -> None:
    gateway = Tarpit()
    async with living(gateway, 86_400, flow=FLOW) as (executions, submissions):
        executions.client._links[0].room = RequestRoom(SMALL_BYTES)
        await submissions.submit("abandoned:tarpit", b"", Options())
        second = await submissions.submit("abandoned:tarpit", b"", Options())
        await gateway.until(1)
        waiting = ResourceCall(kind="room", service=second)
        await until(lambda: executions.client.waiting(second) == ["slow"])
        assert (await executions.call(waiting)).body == b'["slow"]'
        event = CancelRequested(at_ms=SystemClock().now_ms())
        await executions.call(Delivery(execution_id=second, event=event))
        await until(lambda: len(executions.client) == 1)
        assert (await executions.call(waiting)).body == b"[]"
        assert len(gateway.under_way) == 1
