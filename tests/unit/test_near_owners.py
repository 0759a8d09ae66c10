"""New executions go to owners on the node where they are submitted, unless those are busy."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import pytest

from rillflow.ids import partition_of
from rillflow.ports.executions import Reply, encode_replies
from rillflow.ports.messages import Calls, decode_owner_message
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.routing.router import BUSY_CALLS, ExecutionRouter, OwnerRef
from rillflow.runtime.submission.intake import Options, Submissions
from rillflow.settings import Settings
from rillflow.stores.memory.store import MemoryStore
from tests.unit.test_standing_still import ABSENT

FLOW: Final = """
workspace: near
dagName: flow
type: flow
tasks:
  - { name: a, category: pass }
"""
SUBMITTED: Final = 60


class Owner(OwnerRef):
    """Accepts everything once it is ``open``."""

    def __init__(self, *, near: bool) -> None:
        super().__init__(self._take, watcher="me", is_near=lambda: near)
        self.accepted = 0
        self.open = asyncio.Event()
        self.open.set()
        self.met = asyncio.Event()

    async def _take(self, data: bytes) -> bytes:
        message = decode_owner_message(data)
        assert isinstance(message, Calls)
        await self.open.wait()
        self.met.set()
        self.accepted += len(message.calls)
        return encode_replies([Reply() for _ in message.calls])


@asynccontextmanager
async def submissions_to(owners: Sequence[Owner]) -> AsyncIterator[Submissions]:
    store, clock = MemoryStore(), SystemClock()
    await store.open()
    await add_descriptor(store, "near", "flow", "release", FLOW, at_ms=clock.now_ms())
    routes = ExecutionRouter(owners, ABSENT)
    submissions = Submissions(Settings(), store=store, executions=routes, clock=clock)
    submissions.suits = routes.suits
    yield submissions
    await store.close()


@pytest.mark.parametrize("near", [(True, False), (False, True), (False, True, True)])
async def test_those_that_are_near_get_them(near: tuple[bool, ...]) -> None:
    owners = [Owner(near=each) for each in near]
    async with submissions_to(owners) as submissions:
        for _ in range(SUBMITTED):
            execution_id = await submissions.submit("near:flow", b"{}", Options())
            assert owners[partition_of(execution_id) % len(owners)].is_near()
    assert sum(each.accepted for each in owners) == SUBMITTED


@pytest.mark.parametrize("near", [(True, True), (False, False)])
async def test_where_there_is_no_difference_all_get_them(near: tuple[bool, ...]) -> None:
    owners = [Owner(near=each) for each in near]
    async with submissions_to(owners) as submissions:
        for _ in range(SUBMITTED):
            await submissions.submit("near:flow", b"{}", Options())
    assert all(each.accepted for each in owners)


async def test_the_others_get_what_is_too_much_for_those_that_are_near() -> None:
    near, far = Owner(near=True), Owner(near=False)
    near.open.clear()
    async with submissions_to([near, far]) as submissions, asyncio.TaskGroup() as group:
        for _ in range(BUSY_CALLS + SUBMITTED):
            group.create_task(submissions.submit("near:flow", b"{}", Options()))
        async with asyncio.timeout(60):
            await far.met.wait()
        near.open.set()
    assert near.accepted >= BUSY_CALLS - 1
    assert near.accepted + far.accepted == BUSY_CALLS + SUBMITTED
