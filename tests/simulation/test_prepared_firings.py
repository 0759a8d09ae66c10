"""Executions of many triggers of one time are handled before it comes, and only written then.

Nothing starts that must not: what was removed, or has changed, until the time has come.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any, Final

import pytest

from rillflow.ids import PARTITIONS, ExecutionId, partition_of
from rillflow.ports.storage.store import Append
from rillflow.ports.triggers import TriggerRow
from rillflow.runtime.aio.fair_turns import FairTurns
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.hooks.chain import ContextHook
from rillflow.runtime.local import LocalExecutions
from rillflow.runtime.submission.groups import GroupSubmissions
from rillflow.runtime.triggers.ahead import AHEAD_MS, LEAST_AHEAD, PREPARED_TOGETHER, Ahead
from rillflow.runtime.triggers.firing_rates import MOST_AT_ONCE, MOST_PER_S
from rillflow.runtime.triggers.registry import TriggerRegistry
from rillflow.runtime.triggers.runner import TriggerRunner
from rillflow.settings import Settings
from rillflow.stores.memory.store import MemoryStore
from rillflow.triggers.spec import read_cron
from rillflow.triggers.trigger_types import ReadTrigger
from tests.api.definition_texts import SUSPENDED
from tests.simulation.surroundings import SimulatedClock
from tests.simulation.virtual_loop import VirtualLoop

MANY: Final = PREPARED_TOGETHER + LEAST_AHEAD
MINUTELY: Final = ReadTrigger("cron", read_cron({"cron": "0 * * * * *"}))
CHANGE_S: Final = 0.2
"""So long before the time something changes."""
BEFORE_S: Final = AHEAD_MS / 1000 + 0.05
"""So long before it nothing is prepared yet."""
MANY_MORE: Final = 200


class NotedStore(MemoryStore):
    """A store that notes when it was asked for triggers, and what was appended."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        super().__init__()
        self._now_ms = now_ms
        self.read_ms: list[int] = []
        self.appended: list[tuple[int, list[Append]]] = []

    async def triggers_now(self, ids: Sequence[str]) -> dict[str, tuple[TriggerRow, str]]:
        self.read_ms.append(self._now_ms())
        return await super().triggers_now(ids)

    async def append(self, appends: Sequence[Append]) -> None:
        self.appended.append((self._now_ms(), list(appends)))
        await super().append(appends)


class Machine:
    """An owner that fires the triggers of a store, in virtual time."""

    def __init__(self, hook: ContextHook | None) -> None:
        self.loop = VirtualLoop(Random(1))
        self.wrong_by_s = 0.0
        self.clock = SimulatedClock(self.loop, lambda: self.wrong_by_s)
        self.store = NotedStore(self.clock.now_ms)
        gateway: Any = None
        # Computing takes no time: one turn handles a group also where this machine is slow.
        turns = FairTurns(cpu_s=lambda: 0.0)
        self.executions = LocalExecutions(
            store=self.store, gateway=gateway, clock=self.clock, turns=turns
        )
        settings = Settings(switches={"ENABLE_RUNTIME_STORAGE_USAGE_CHECK": False})
        self.submissions = GroupSubmissions(
            settings,
            store=self.store,
            executions=self.executions,
            clock=self.clock,
            hook=hook,
        )
        self.registry = TriggerRegistry(self.store, self.submissions, self.clock)
        self.runner: TriggerRunner
        self.due_ms = 0

    async def change(self, text: str) -> None:
        """Add a version of the definition that triggers start."""
        at_ms = self.clock.now_ms()
        await add_descriptor(self.store, "shop", "order", "release", text, at_ms=at_ms)

    async def wait_until(self, at_ms: int) -> None:
        await asyncio.sleep((at_ms - self.clock.now_ms()) / 1000)

    @property
    def started(self) -> dict[str, Append]:
        """What was appended of new executions, by the trigger of each."""
        found = [each for _, appends in self.store.appended for each in appends if each.new]
        by_key = {each.new.idempotency_key or "": each for each in found if each.new}
        assert len(by_key) == len(found)
        return {key.split("/")[1]: each for key, each in by_key.items()}

    @property
    def suspended(self) -> int:
        """How many executions are in memory that have not ended."""
        return self.executions.host.active


Change = Callable[[Machine], Awaitable[object]]
Suits = Callable[[ExecutionId], bool]


def fired(
    change: Change | None = None,
    suits: Suits = lambda _: True,
    many: int = MANY,
    hook: ContextHook | None = None,
    before: Change | None = None,
) -> Machine:
    """Have many triggers become due, with a change before that; return what has become of it."""
    machine = Machine(hook)
    machine.loop.run_until_complete(_fire(machine, change, suits, many, before))
    assert not machine.loop.complaints
    return machine


async def _fire(
    machine: Machine,
    change: Change | None,
    suits: Suits,
    many: int,
    before: Change | None,
) -> None:
    store, clock, executions = machine.store, machine.clock, machine.executions
    await store.open()
    await machine.change(SUSPENDED)
    await executions.start()
    for number in range(many):
        await machine.registry.add("shop:order", MINUTELY, {}, trigger_id=f"t{number}")
    machine.runner = TriggerRunner(
        store=store,
        submissions=machine.submissions,
        executions=executions,
        clock=clock,
        partitions=range(PARTITIONS),
        ahead=Ahead(machine.submissions, suits, executions.submit_ahead),
    )
    machine.runner.start()
    machine.due_ms = (clock.now_ms() // 60_000 + 1) * 60_000
    if before is not None:
        await machine.wait_until(machine.due_ms - int(BEFORE_S * 1000))
        await before(machine)
    await machine.wait_until(machine.due_ms - int(CHANGE_S * 1000))
    if change is None:
        is_prepared = many >= LEAST_AHEAD
        assert machine.suspended == (many if is_prepared else 0)
        assert not store.appended
    else:
        await change(machine)
    await asyncio.sleep(2 * CHANGE_S)
    await machine.runner.stop()


def test_they_are_handled_before_and_written_at_their_time() -> None:
    machine = fired()
    assert len(machine.started) == machine.suspended == MANY
    assert {at_ms for at_ms, _ in machine.store.appended} == {machine.due_ms}
    assert len(machine.store.appended) == -(-MANY // PREPARED_TOGETHER)
    assert max(machine.store.read_ms) < machine.due_ms
    times = {each.new.submitted_at_ms for each in machine.started.values() if each.new}
    assert times == {machine.due_ms}


def test_a_few_are_not_prepared() -> None:
    machine = fired(many=LEAST_AHEAD - 1)
    assert len(machine.started) == machine.suspended == LEAST_AHEAD - 1
    assert min(machine.store.read_ms) >= machine.due_ms


async def _remove(machine: Machine) -> None:
    assert await machine.registry.remove("t3")


async def _pause(machine: Machine) -> None:
    await machine.registry.pause("t3", is_paused=True)


@pytest.mark.parametrize("change", [_remove, _pause])
def test_what_was_removed_or_paused_before_the_time_is_not_started(change: Change) -> None:
    machine = fired(change)
    assert sorted(machine.started) == sorted(f"t{each}" for each in range(MANY) if each != 3)
    assert machine.suspended == MANY - 1


async def _change_another(machine: Machine) -> None:
    added = machine.registry.add
    await added("shop:order", MINUTELY, {}, trigger_id="another", is_paused=True)


def test_a_change_of_another_trigger_changes_nothing() -> None:
    machine = fired(_change_another)
    assert len(machine.started) == MANY
    assert max(machine.store.read_ms) < machine.due_ms


async def _change_definition(machine: Machine) -> None:
    await machine.change(SUSPENDED.replace("wait", "pause"))


def test_they_start_what_the_alias_means_when_the_time_has_come() -> None:
    machine = fired(_change_definition)
    [version] = {each.new.definition_id for each in machine.started.values() if each.new}
    assert "pause" in machine.loop.run_until_complete(_text_of(machine, version))
    assert len(machine.started) == machine.suspended == MANY


async def _text_of(machine: Machine, version: str) -> str:
    return await machine.store.definition_text(version) or ""


async def _set_clock_back(machine: Machine) -> None:
    machine.wrong_by_s = -3600.0


def test_nothing_is_kept_for_long_when_the_clock_is_set_back() -> None:
    machine = fired(_set_clock_back)
    assert not machine.store.appended
    assert not machine.suspended


async def _see_some(machine: Machine) -> None:
    assert LEAST_AHEAD < machine.suspended < LEAST_AHEAD + MOST_PER_S / 5


async def _see_nothing(machine: Machine) -> None:
    assert not machine.suspended


def test_what_needs_a_check_of_its_own_is_submitted_alone_at_its_time() -> None:
    machine = fired(_see_nothing, hook=lambda _, document: document)
    assert len(machine.started) == machine.suspended == MANY
    assert min(at_ms for at_ms, _ in machine.store.appended) >= machine.due_ms


async def _use_up(machine: Machine) -> None:
    """Leave the workspace so few firings that not all of its triggers may fire."""
    machine.runner._rates.count("shop", MOST_AT_ONCE - LEAST_AHEAD - 1)


def test_a_workspace_prepares_no_more_than_it_may_fire() -> None:
    machine = fired(_see_some, many=MANY_MORE, before=_use_up)
    # More may fire by now, as some time has passed.
    refilled = 1 + int(MOST_PER_S * (BEFORE_S + 2 * CHANGE_S))
    assert LEAST_AHEAD < len(machine.started) <= LEAST_AHEAD + 1 + refilled < MANY_MORE


def test_their_executions_belong_to_the_owner_that_prepares_them() -> None:
    machine = fired(suits=lambda each: partition_of(each) % 2 == 0)
    assert {partition_of(each.execution_id) % 2 for each in machine.started.values()} == {0}
