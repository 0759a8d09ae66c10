"""Submissions with idempotency keys are written a few together, those of a workspace at a time.

A key that is taken refuses only its own submission.
"""

import os
from collections.abc import Sequence
from typing import Final, Self

from rillflow.errors import ConflictError
from rillflow.ids import PARTITIONS, new_execution_id
from rillflow.ports.executions import Submission
from rillflow.ports.storage.store import Append
from rillflow.runtime.aio.fair_turns import FIRED_TOGETHER, KEYED_TOGETHER, FairTurns
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.owner.execution_owner import ExecutionOwner
from rillflow.runtime.process.clock import SystemClock
from rillflow.stores.memory.store import MemoryStore
from tests.own_executions import OwnExecutions
from tests.submissions import submission_event

ENDS: Final = "{{workspace: {}, dagName: work, type: flow, tasks: [{{name: A, category: pass}}]}}"


class Appends(MemoryStore):
    """A store that tells which executions were to be written together."""

    def __init__(self) -> None:
        super().__init__()
        self.together: list[list[str]] = []

    async def append(self, appends: Sequence[Append]) -> None:
        self.together.append([each.execution_id for each in appends])
        await super().append(appends)


class House(OwnExecutions):
    """An owner of all executions."""

    def __init__(self) -> None:
        self.store = Appends()
        self._versions: dict[str, str] = {}
        self.owner = ExecutionOwner(
            store=self.store,
            clock=SystemClock(),
            dispatcher=self,
            executions=self,
            callback_host="http://rillflow.test",
            partitions=range(PARTITIONS),
            # However slow the machine is, no turn is full, which would divide what is written.
            turns=FairTurns(cpu_s=lambda: 0.0, clock_s=lambda: 0.0),
        )

    async def __aenter__(self) -> Self:
        await self.store.open()
        for business in ("shop", "video"):
            text = ENDS.format(business)
            found = await add_descriptor(self.store, business, "work", "release", text, at_ms=1)
            self._versions[business] = found.version or ""
        await self.owner.start()
        await self.owner.recovered()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.owner.stop()

    def submission(self, business: str, key: str | None) -> Submission:
        """Return a new submission with a key."""
        execution_id = new_execution_id(business, "work", at_ms=1, entropy=os.urandom(10))
        event = submission_event(execution_id, self._versions[business])
        digest = None if key is None else "digest"
        return Submission(
            business=business,
            feature="work",
            event=event,
            idempotency_key=key,
            request_digest=digest,
        )


async def test_those_of_a_workspace_are_written_a_few_together() -> None:
    async with House() as house:
        count = 2 * KEYED_TOGETHER
        calls = [house.submission("shop", f"key {number}") for number in range(count)]
        house.store.together.clear()
        replies = await house.owner.call_many(calls)
    assert [reply.error for reply in replies] == [None] * count
    ids = [call.execution_id for call in calls]
    assert sorted(house.store.together) == sorted([ids[:KEYED_TOGETHER], ids[KEYED_TOGETHER:]])


async def test_those_of_triggers_are_written_more_together() -> None:
    """Nobody else can have taken their keys."""
    async with House() as house:
        count = FIRED_TOGETHER + 1
        calls = [house.submission("shop", f"trigger/{number}/1") for number in range(count)]
        calls.append(house.submission("shop", "mine"))
        house.store.together.clear()
        replies = await house.owner.call_many(calls)
    assert [reply.error for reply in replies] == [None] * len(calls)
    ids = [call.execution_id for call in calls]
    expected = [ids[:FIRED_TOGETHER], ids[FIRED_TOGETHER:count], ids[count:]]
    assert sorted(house.store.together) == sorted(expected)


async def test_those_of_others_and_those_without_a_key_are_written_apart_from_them() -> None:
    async with House() as house:
        asked = [("shop", "a"), ("video", "a"), ("shop", None), ("video", "b"), ("shop", "b")]
        calls = [house.submission(business, key) for business, key in asked]
        house.store.together.clear()
        replies = await house.owner.call_many(calls)
    assert [reply.error for reply in replies] == [None] * 5
    ids = [call.execution_id for call in calls]
    expected = [[ids[0], ids[4]], [ids[1], ids[3]], [ids[2]]]
    assert sorted(house.store.together) == sorted(expected)


async def test_a_key_that_is_taken_refuses_only_its_own_submission() -> None:
    async with House() as house:
        (await house.call(house.submission("shop", "taken"))).raise_for_error()
        keys = ["one", "taken", "other"]
        calls = [house.submission("shop", key) for key in keys]
        replies = await house.owner.call_many(calls)
        stored = [await house.store.find_by_idempotency_key("shop", "work", key) for key in keys]
    assert [reply.kind for reply in replies] == ["", ConflictError.code, ""]
    found = [each[0] for each in stored if each is not None]
    assert [found[0], found[2]] == [calls[0].execution_id, calls[2].execution_id]
    assert found[1] != calls[1].execution_id


async def test_of_two_with_one_key_in_a_batch_one_is_refused_and_nothing_is_written_twice() -> None:
    async with House() as house:
        keys = ["one", "twice", "twice", "other"]
        calls = [house.submission("shop", key) for key in keys]
        house.store.together.clear()
        replies = await house.owner.call_many(calls)
    kinds = [reply.kind for reply in replies]
    assert sorted(kinds) == sorted(["", "", "", ConflictError.code])
    assert kinds[0] == kinds[3] == ""
    ids = [call.execution_id for call in calls]
    assert [ids[0], ids[1], ids[3]] in house.store.together
    assert [ids[2]] in house.store.together
