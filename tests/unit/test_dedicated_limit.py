"""Only so many dedicated executions run at once, since each of them has a process."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest

from rillflow.actors.directory import RayExecutions
from rillflow.core.events import RedoRequested
from rillflow.errors import OverloadedError, StoreError
from rillflow.ids import ExecutionId, new_execution_id
from rillflow.ports.executions import ELSEWHERE, Delivery, Reply, Submission, encode_replies
from rillflow.runtime.process.machine_memory import memory_bytes
from rillflow.runtime.routing.dedicated_limit import (
    FRESH_S,
    PROCESS_CONNECTIONS,
    START_S,
    DedicatedLimit,
    most_dedicated,
)
from rillflow.runtime.routing.router import DedicatedOwners, ExecutionRouter, OwnerRef
from rillflow.runtime.routing.start_turns import StartTurns
from rillflow.settings import Settings
from rillflow.stores.memory.store import MemoryStore
from rillflow.stores.postgres.database import FEW_CONNECTIONS
from tests.loopback import ManualClock
from tests.submissions import submission_event


class Actors:
    """Actors that run, named like their executions, which the store lists."""

    def __init__(self, most: int) -> None:
        self.living: set[str] = set()
        self.others = 0
        """How often it was asked whose they are."""
        self.clock = ManualClock()
        self.limit = self.of_another_replica(most)

    def of_another_replica(self, most: int) -> DedicatedLimit:
        """Return the limit of a replica that has admitted nothing."""

        async def all_of_them() -> int:
            return most

        return self.of(all_of_them)

    def of(self, most: Callable[[], Awaitable[int]]) -> DedicatedLimit:
        """Return the limit of a replica that asks how many there may be."""
        return DedicatedLimit(
            most, self._names, self._unfinished, name_of=lambda each: each, clock=self.clock
        )

    async def _names(self) -> set[str]:
        return set(self.living)

    async def _unfinished(self) -> list[ExecutionId]:
        self.others += 1
        return sorted(self.living)

    async def is_admitted(self, execution_id: ExecutionId) -> bool:
        try:
            await self.limit.admit(execution_id)
        except OverloadedError:
            return False
        return True


def of(workspaces: str) -> list[ExecutionId]:
    """Return an execution for each of some workspaces with names of one letter."""
    return [f"{each}:flow_c_{number}" for number, each in enumerate(workspaces)]


async def test_one_more_is_refused_until_another_has_left() -> None:
    actors = Actors(2)
    actors.living = {"a:f", "b:f"}
    with pytest.raises(OverloadedError, match="isolation=shared") as refused:
        await actors.limit.admit("c:f")
    assert refused.value.http_status == 429
    actors.living = {"b:f"}
    assert await actors.is_admitted("c:f")
    assert not await actors.is_admitted("d:f")


async def test_those_that_are_admitted_count_before_they_are_listed() -> None:
    actors = Actors(2)
    assert [await actors.is_admitted(each) for each in of("abc")] == [True, True, False]
    actors.living = {*of("ab")}
    assert not await actors.is_admitted("c:f")
    actors.living = set()
    assert [await actors.is_admitted(each) for each in of("cde")] == [True, True, False]
    actors.clock.forward(START_S + 1)
    assert await actors.is_admitted("e:f")


@pytest.mark.parametrize("is_listed", [False, True])
async def test_a_submission_that_comes_again_is_admitted_again(*, is_listed: bool) -> None:
    actors = Actors(1)
    assert await actors.is_admitted("a:f")
    actors.living = {"a:f"} if is_listed else set()
    assert await actors.is_admitted("a:f")


async def test_a_workspace_that_submits_without_an_end_leaves_places_to_others() -> None:
    actors = Actors(90)
    admitted = [await actors.is_admitted(each) for each in of("a" * 100)]
    assert admitted == [True] * 80 + [False] * 20
    with pytest.raises(OverloadedError, match="the workspace a has 80 of 90 places"):
        await actors.limit.admit("a:f_c_last")
    assert [await actors.is_admitted(each) for each in of("b" * 10)] == [True] * 8 + [False] * 2
    assert await actors.is_admitted("c:f")
    assert await actors.is_admitted("d:f")
    assert not await actors.is_admitted("e:f"), "there is no place at all"


async def test_places_that_come_free_go_to_those_that_have_few() -> None:
    actors = Actors(90)
    actors.living = {*of("a" * 80 + "b" * 8)}
    for _ in range(80):
        if of_a := sorted(each for each in actors.living if each.startswith("a")):
            actors.living.remove(of_a[0])
        for workspace in "ab":
            new = f"{workspace}:flow_c_new{len(actors.living)}_{actors.clock.monotonic_s()}"
            if await actors.is_admitted(new):
                actors.living.add(new)
        actors.clock.forward(FRESH_S + 1)
    counts = [sum(each.startswith(workspace) for each in actors.living) for workspace in "ab"]
    assert abs(counts[0] - counts[1]) <= 8, counts


async def test_what_another_replica_has_admitted_counts_for_its_workspace() -> None:
    actors = Actors(90)
    actors.living = {*of("a" * 80)}
    assert not await actors.is_admitted("a:f")
    assert await actors.is_admitted("b:f")
    assert actors.others == 1, "the store is asked once, not for every submission"
    await actors.of_another_replica(90).admit("b:g")


async def test_while_many_places_are_free_nobody_is_asked_whose_the_others_are() -> None:
    actors = Actors(90)
    actors.living = {*of("a" * 60)}
    assert await actors.is_admitted("a:f")
    assert actors.others == 0


async def accepts(_: bytes) -> bytes:
    return encode_replies([Reply()])


def submission(*, dedicated: bool, number: int = 0) -> Submission:
    entropy = number.to_bytes(10, "big")
    execution_id = new_execution_id("demo", "flow", at_ms=1, entropy=entropy, dedicated=dedicated)
    return Submission(business="demo", feature="flow", event=submission_event(execution_id))


class Left:
    """The actors of dedicated executions that have ended."""

    def __init__(self) -> None:
        self.spawned: list[ExecutionId] = []

    def find(self, _: ExecutionId) -> None:
        """They have left."""

    def forget(self, _: ExecutionId) -> None:
        """They are not known."""

    def spawn(self, execution_id: ExecutionId) -> OwnerRef:
        self.spawned.append(execution_id)
        return OwnerRef(accepts, watcher="own")


@pytest.mark.parametrize("parent", [None, "demo:parent"])
async def test_a_redo_that_starts_an_actor_again_needs_to_be_admitted(parent: str | None) -> None:
    execution_id = submission(dedicated=True).execution_id
    actors, left = Actors(1), Left()
    actors.living = {"a:f"}

    async def elsewhere(_: bytes) -> bytes:
        return encode_replies([Reply(changed=False, error="elsewhere", kind=ELSEWHERE)])

    home = OwnerRef(elsewhere, watcher="me")
    routes = ExecutionRouter([home], cast("DedicatedOwners", left), admit=actors.limit.admit)
    redo = Delivery(execution_id=execution_id, event=RedoRequested(at_ms=1, parent=parent))
    if parent is None:
        with pytest.raises(OverloadedError, match="max_dedicated"):
            await routes.call(redo)
        assert left.spawned == []
        actors.living = set()
    assert (await routes.call(redo)).error is None
    assert left.spawned == [execution_id]


async def test_only_submissions_of_dedicated_executions_need_to_be_admitted() -> None:
    asked: list[ExecutionId] = []

    async def admit(execution_id: ExecutionId) -> None:
        asked.append(execution_id)
        raise OverloadedError("too many")

    nobody = cast("DedicatedOwners", None)
    routes = ExecutionRouter([OwnerRef(accepts, watcher="me")], nobody, admit=admit)
    assert (await routes.call(submission(dedicated=False))).error is None
    assert not asked
    refused = submission(dedicated=True)
    with pytest.raises(OverloadedError):
        await routes.call(refused)
    with pytest.raises(OverloadedError):
        await routes.run(refused, 1.0, "")
    assert asked == [refused.execution_id] * 2


async def test_submissions_that_would_wait_too_long_for_their_process_are_refused() -> None:
    goes_on = threading.Event()

    def spawn(_: ExecutionId) -> None:
        goes_on.wait()
        raise ValueError("Ray starts none")

    executions = RayExecutions(
        Settings(max_dedicated=1_000),
        spawn,
        MemoryStore(),
        names=lambda _: set(),
        turns=StartTurns(1),
    )
    calls = [
        asyncio.create_task(executions.call(submission(dedicated=True, number=number)))
        for number in range(200)
    ]
    try:
        first = asyncio.FIRST_COMPLETED
        refused, _ = await asyncio.wait(calls, timeout=60.0, return_when=first)
        with pytest.raises(OverloadedError, match="wait for their processes"):
            await refused.pop()
    finally:
        goes_on.set()
        for each in calls:
            each.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize(
    ("wanted", "memory", "most"),
    [
        (None, 8 * 1000**3, 50),
        (None, 64 * 1000**3, 256),
        (None, 100 * 1000**2, 1),
        (None, None, 256),
        (300, 1000**3, 300),
        (0, 64 * 1000**3, 0),
    ],
)
def test_without_the_setting_so_many_are_admitted_as_a_quarter_of_memory_holds(
    wanted: int | None, memory: int | None, most: int
) -> None:
    assert most_dedicated(wanted, memory) == most


@pytest.mark.parametrize(
    ("wanted", "connections", "most"),
    [(None, 97, 24), (None, 3, 1), (None, None, 256), (None, 10_000, 256), (40, 97, 40)],
)
def test_without_the_setting_they_take_half_of_the_connections_of_a_database_at_most(
    wanted: int | None, connections: int | None, most: int
) -> None:
    assert most_dedicated(wanted, None, connections) == most


def test_a_process_takes_no_more_connections_than_are_counted_for_it() -> None:
    assert PROCESS_CONNECTIONS == FEW_CONNECTIONS


async def test_the_limit_is_asked_for_until_the_database_has_answered() -> None:
    actors = Actors(1)
    answers: list[int | StoreError] = [StoreError("it is away"), 1]

    async def most() -> int:
        answer = answers.pop(0)
        if isinstance(answer, StoreError):
            raise answer
        return answer

    limit = actors.of(most)
    with pytest.raises(StoreError, match="away"):
        await limit.admit("a:f")
    await limit.admit("a:f")
    with pytest.raises(OverloadedError, match="1 dedicated executions"):
        await limit.admit("b:f")


@pytest.mark.parametrize(
    ("groups", "files", "most"),
    [
        ("0::/", {}, 8_192_000),
        ("0::/", {"memory.max": "max"}, 8_192_000),
        ("0::/", {"memory.max": "5000000"}, 5_000_000),
        ("0::/a/b", {"a/memory.max": "3000000", "a/b/memory.max": "max"}, 3_000_000),
        ("0::/outside", {"memory.max": "2000000"}, 2_000_000),
        ("4:memory:/job", {"memory/job/memory.limit_in_bytes": "1000000"}, 1_000_000),
        ("4:memory:/", {"memory/memory.limit_in_bytes": str(2**63 - 4096)}, 8_192_000),
        ("nothing", {}, 8_192_000),
    ],
)
def test_memory_is_what_the_machine_or_a_group_of_the_process_has(
    tmp_path: Path, groups: str, files: dict[str, str], most: int
) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "meminfo").write_text("MemTotal:       8000 kB\nMemFree: 1 kB\n")
    (tmp_path / "self" / "cgroup").write_text(f"9:name=systemd:/\n{groups}\n")
    for name, content in files.items():
        file = tmp_path / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{content}\n")
    assert memory_bytes(tmp_path, tmp_path / "groups") == most


def test_memory_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    assert memory_bytes(tmp_path, tmp_path) is None
