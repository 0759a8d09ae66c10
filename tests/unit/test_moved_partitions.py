"""Who calls by an old partition map is told so, learns the new one, and calls by that."""

import asyncio
from typing import Final, cast

import pytest

from rillflow.core.events import CancelRequested
from rillflow.errors import GoneError, NotOwnerError, UnavailableError
from rillflow.ids import PARTITIONS, new_execution_id, partition_of
from rillflow.ports.executions import (
    Delivery,
    Query,
    Reply,
    decode_refusal,
    encode_refusal,
    encode_replies,
    reply_to_error,
)
from rillflow.ports.gateway import DispatchAnswer
from rillflow.ports.messages import (
    Answers,
    AwaitEnds,
    Calls,
    GetPartitionMap,
    decode_owner_message,
    encode_map,
)
from rillflow.runtime.completion.client import Ended, News, encode_news
from rillflow.runtime.dispatch.client import DispatcherClient
from rillflow.runtime.endpoints.owner_endpoint import OwnerEndpoint, OwnPartitions
from rillflow.runtime.owner.execution_owner import ExecutionOwner
from rillflow.runtime.routing.router import DedicatedOwners, ExecutionRouter, OwnerRef

LONG_S: Final = 20
NOBODY: Final = cast("DedicatedOwners", None)


def execution_in(partition: int) -> str:
    """Make the id of a shared execution of a partition."""
    number = 0
    while True:
        made = new_execution_id("demo", "flow", at_ms=1, entropy=number.to_bytes(10))
        if partition_of(made) == partition:
            return made
        number += 1


class Owners:
    """Owners that end and start with another map; each tells its name."""

    def __init__(self, count: int) -> None:
        self.version = 0
        self.asked: list[int] = []
        self._watched: list[str] = []
        self.waited_for = asyncio.Event()
        self.ended = asyncio.Event()
        self.start(count)

    def start(self, count: int) -> None:
        self.version += 1
        self.own = [
            OwnPartitions(range(index, PARTITIONS, count), version=self.version, owners=count)
            for index in range(count)
        ]

    def routes(self) -> ExecutionRouter:
        return ExecutionRouter(list(map(self.ref, range(len(self.own)))), NOBODY, self.ref)

    def ref(self, index: int) -> OwnerRef:
        async def connection(message: bytes) -> bytes:
            if index >= len(self.own):
                raise GoneError(f"{index} has left")
            return await self._answer(index, message)

        return OwnerRef(connection, watcher="me", moves=True)

    async def _answer(self, index: int, data: bytes) -> bytes:
        message, own = decode_owner_message(data), self.own[index]
        if isinstance(message, GetPartitionMap):
            return encode_map(*own.partition_map)
        if isinstance(message, AwaitEnds):
            life = f"{self.version}.{index}"
            if message.life != life:
                return encode_news(News(life, []))
            self.waited_for.set()
            await self.ended.wait()
            if self.own[index : index + 1] != [own]:
                raise UnavailableError("it has ended meanwhile")
            return encode_news(News(life, [Ended(each) for each in self._watched]))
        assert isinstance(message, Calls)
        self.asked.append(index)
        self._watched = [call.execution_id for call in message.calls]
        return encode_replies(
            [
                Reply(body=str(index).encode()) if own.has(call) else reply_to_error(own.refusal())
                for call in message.calls
            ]
        )


def status_of(execution_id: str) -> Query:
    return Query(execution_id=execution_id, kind="status")


async def owner_told(routes: ExecutionRouter, partition: int) -> int:
    reply = await asyncio.wait_for(routes.call(status_of(execution_in(partition))), LONG_S)
    return int(reply.raise_for_error().body or b"")


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 3), (3, 2), (4, 1)])
async def test_a_call_by_an_old_map_is_made_by_the_new_one(before: int, after: int) -> None:
    owners = Owners(before)
    routes = owners.routes()
    for partition in range(12):
        assert await owner_told(routes, partition) == partition % before
    owners.start(after)
    for partition in range(12):
        assert await owner_told(routes, partition) == partition % after


async def test_the_map_is_learned_once() -> None:
    owners = Owners(2)
    routes = owners.routes()
    owners.start(3)
    assert await owner_told(routes, 2) == 2
    owners.asked.clear()
    for partition in range(12):
        await owner_told(routes, partition)
    assert len(owners.asked) == 12


async def test_an_owner_with_an_older_map_is_asked_again_until_it_has_moved() -> None:
    owners = Owners(2)
    routes = owners.routes()
    owners.start(3)
    await owner_told(routes, 2)
    newer, owners.own = owners.own, owners.own[:1] * 3  # they all own what the first one does
    asked = asyncio.create_task(owner_told(routes, 1))
    await asyncio.sleep(0)
    assert not asked.done()
    owners.own = newer
    assert await asked == 1


@pytest.mark.parametrize(
    ("before", "after", "number", "next_owner"),
    [(2, 3, 2, 2), (3, 2, 5, 1)],
    ids=["of more owners", "after an owner that ends for good"],
)
async def test_who_waits_for_an_end_goes_on_at_the_next_owner(
    before: int, after: int, number: int, next_owner: int
) -> None:
    owners = Owners(before)
    routes = owners.routes()
    moved = execution_in(number)
    waiting = asyncio.create_task(routes.end(moved, LONG_S, ""))
    await owners.waited_for.wait()
    owners.start(after)
    owners.ended.set()
    assert (await asyncio.wait_for(waiting, LONG_S)).has_ended
    assert owners.asked[-1] == next_owner


def test_a_refusal_tells_the_map_to_another_process() -> None:
    own = OwnPartitions([1, 3], version=7, owners=2)
    refusal = decode_refusal(encode_refusal(own.refusal()))
    assert isinstance(refusal, NotOwnerError)
    assert refusal.partition_map == (7, 2)


def test_an_owner_has_its_partitions_and_what_is_for_no_execution() -> None:
    own = OwnPartitions(range(1, PARTITIONS, 2), version=7, owners=2)
    assert own.has(status_of(execution_in(3)))
    assert not own.has(status_of(execution_in(4)))
    assert not own.has(Delivery(execution_id=execution_in(4), event=CancelRequested(at_ms=1)))
    assert OwnPartitions().has(status_of(execution_in(4)))


class Host:
    """An owner of executions that keeps the answers it is handed."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    async def answers_arrived(self, answers: list[DispatchAnswer]) -> None:
        self.taken += [answer.execution_id for answer in answers]


async def test_an_answer_for_an_execution_that_has_moved_is_forwarded_to_its_owner() -> None:
    host, forwarded = Host(), list[str]()

    async def forward(answers: list[DispatchAnswer]) -> None:
        forwarded.extend(answer.execution_id for answer in answers)

    endpoint = OwnerEndpoint(
        cast("ExecutionOwner", host),
        DispatcherClient("me", []),
        life="life",
        own=OwnPartitions(range(0, PARTITIONS, 2), version=7, owners=2),
        forward=forward,
    )
    own, moved = execution_in(4), execution_in(5)
    answers = [
        DispatchAnswer(execution_id=each, task="A", attempt=1, body=b"{}") for each in (own, moved)
    ]
    assert await endpoint.take(Answers(answers), 0) == b""
    assert (host.taken, forwarded) == ([own], [moved])


async def test_answers_are_delivered_to_the_owners_of_their_executions() -> None:
    delivered: dict[int, list[str]] = {}

    def ref(index: int) -> OwnerRef:
        async def connection(message: bytes) -> bytes:
            taken = decode_owner_message(message)
            assert isinstance(taken, Answers)
            delivered[index] = [answer.execution_id for answer in taken.answers]
            return b""

        return OwnerRef(connection, watcher="me")

    routes = ExecutionRouter(list(map(ref, range(3))), NOBODY, ref)
    ids = [execution_in(partition) for partition in (0, 1, 3)]
    await routes.forward(
        [DispatchAnswer(execution_id=each, task="A", attempt=1, body=b"{}") for each in ids]
    )
    assert delivered == {0: [ids[0], ids[2]], 1: [ids[1]]}
