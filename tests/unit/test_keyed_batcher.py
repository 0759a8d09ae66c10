"""Calls of one workspace do not wait for the replies to another's: each batch is of one key."""

import asyncio
from typing import Final

import pytest

from rillflow.errors import RillflowError, UnavailableError
from rillflow.ids import ExecutionId, workspace_of
from rillflow.ports.executions import Call, Query, Reply
from rillflow.runtime.aio.batching import MOST_IDLE, KeyedBatcher

LONG_S: Final = 60
AT_ONCE: Final = 2


def call(workspace: str, number: int = 1) -> Call:
    return Query(execution_id=ExecutionId(f"{workspace}:f_c_{number}"), kind="brief")


def batcher_of(owner: "Owner") -> KeyedBatcher[Call, Reply]:
    return KeyedBatcher(
        owner.send, key_of=lambda each: workspace_of(each.execution_id), wide=AT_ONCE
    )


class Owner:
    """Replies at once, but to the greedy workspace when it is let go."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.holds_one = asyncio.Event()
        self.batches: list[list[str]] = []

    async def send(self, calls: list[Call]) -> list[Reply]:
        self.batches.append([each.execution_id for each in calls])
        [workspace] = {workspace_of(each.execution_id) for each in calls}
        if workspace == "gone":
            raise UnavailableError("it is not there")
        if workspace == "greedy":
            self.holds_one.set()
            await self.let_go.wait()
        return [Reply(body=each.execution_id.encode()) for each in calls]


async def test_a_workspace_whose_replies_take_long_keeps_no_other_waiting() -> None:
    owner = Owner()
    batches = batcher_of(owner)
    greedy = [asyncio.create_task(batches.ask(call("greedy", n))) for n in range(100)]
    await asyncio.wait_for(owner.holds_one.wait(), LONG_S)
    reply = await asyncio.wait_for(batches.ask(call("other")), LONG_S)
    assert reply.body == b"other:f_c_1"
    assert not any(each.done() for each in greedy)
    assert len(batches) >= 1
    owner.let_go.set()
    replies = await asyncio.wait_for(asyncio.gather(*greedy), LONG_S)
    assert [each.body for each in replies] == [f"greedy:f_c_{n}".encode() for n in range(100)]


async def test_calls_of_several_workspaces_have_their_replies_in_order() -> None:
    owner = Owner()
    owner.let_go.set()
    batches = batcher_of(owner)
    calls = [call(("a", "gone", "b")[number % 3], number) for number in range(9)]
    answers = await batches.ask_many(calls)
    for each, answer in zip(calls, answers, strict=True):
        if workspace_of(each.execution_id) == "gone":
            assert isinstance(answer, RillflowError)
        else:
            assert isinstance(answer, Reply)
            assert answer.body == each.execution_id.encode()
    assert len(owner.batches) == 3
    assert await batches.ask_many([]) == []
    with pytest.raises(UnavailableError):
        await batches.ask(call("gone"))


async def test_what_is_kept_of_idle_workspaces_is_bounded() -> None:
    owner = Owner()
    batches = batcher_of(owner)
    waiting = asyncio.create_task(batches.ask(call("greedy")))
    for number in range(3 * MOST_IDLE):
        await batches.ask(call(f"w{number}"))
    assert len(batches._batchers) <= MOST_IDLE + 1
    owner.let_go.set()
    assert (await asyncio.wait_for(waiting, LONG_S)).body == b"greedy:f_c_1"
