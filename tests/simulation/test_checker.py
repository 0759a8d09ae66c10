"""The checker is not blind: a promise that is broken on purpose is found within a few seeds.

Each mutant is the real code with one fault, such as somebody might make one day.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

import msgspec
import pytest

from rillflow.core import machine, requests
from rillflow.core.commands import Command, DispatchTask
from rillflow.core.events import CallbackReceived
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState, TaskState
from rillflow.core.status import COMPLETED
from rillflow.core.tasks import function_tasks
from rillflow.core.turn import Turn
from rillflow.errors import RillflowError
from rillflow.ids import ExecutionId, partition_of
from rillflow.ports.executions import Delivery, Reply
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.ports.storage.store import Append
from rillflow.runtime.activation import leases
from rillflow.runtime.activation.active_execution import ActiveExecution
from rillflow.runtime.backpressure.held_dispatches import HeldDispatches
from rillflow.runtime.commands import runner
from rillflow.runtime.commands.timers import Timer, Timers
from rillflow.runtime.dispatch.outbox import _Postponed
from rillflow.runtime.dispatch.pool import DispatchPool, _Taken
from rillflow.runtime.endpoints.dispatcher_endpoint import DispatcherEndpoint
from rillflow.runtime.owner.call_handling import CallHandling, CallOutcome
from rillflow.runtime.owner.commits import Commits
from rillflow.runtime.routing import router as routes
from rillflow.runtime.supervision.restarts import Restarts
from rillflow.stores.append_plan import AppendPlan
from rillflow.stores.memory.journal import MemoryJournal
from tests.simulation.stale_owner import simulate_stale_owner
from tests.simulation.world import simulate

pytestmark = pytest.mark.long

SEEDS: Final = 400

Patch: TypeAlias = pytest.MonkeyPatch


def do_nothing(*_args: object, **_facts: object) -> None:
    """Stand in for what a mutant leaves out."""


def failed_appends_count_as_written(patch: Patch) -> None:
    append = Commits._append

    async def mutant(self: Commits, written: Sequence[CallOutcome]) -> tuple[None, float]:
        _, append_s = await append(self, written)
        return None, append_s

    patch.setattr(Commits, "_append", mutant)


def commands_are_carried_out_before_they_are_durable(patch: Patch) -> None:
    append = Commits._append

    async def mutant(
        self: Commits, written: Sequence[CallOutcome]
    ) -> tuple[RillflowError | None, float]:
        for outcome in written:
            if outcome.execution is not None:
                self._carry_out_of(outcome, outcome.execution)
        self._commands.flush()
        return await append(self, written)

    patch.setattr(Commits, "_append", mutant)


def a_dispatch_that_is_repeated_has_another_key(patch: Patch) -> None:
    outstanding_of = machine._outstanding_of

    def mutant(turn: Turn, task: TaskState) -> Iterator[Command]:
        for command in outstanding_of(turn, task):
            if isinstance(command, DispatchTask):
                yield msgspec.structs.replace(command, attempt=command.attempt + 1)
            else:
                yield command

    patch.setattr(machine, "_outstanding_of", mutant)


def a_late_callback_runs_a_completed_task_again(patch: Patch) -> None:
    receive = requests.callback_received

    def mutant(turn: Turn, event: CallbackReceived) -> bool:
        task = turn.state.tasks.get(event.task)
        if task is None or turn.over or not COMPLETED[task.status] or not task.attempt:
            return receive(turn, event)
        function_tasks.run_function(turn, task, turn.plan_of(task), task.invoke.input or {})
        return True

    patch.setattr(requests, "callback_received", mutant)


def the_epoch_is_not_checked(patch: Patch) -> None:
    add = AppendPlan.add

    def add_of_anybody(plan: AppendPlan, appends: Sequence[Append]) -> None:
        plan._epochs = {}
        add(plan, appends)

    patch.setattr(AppendPlan, "add", add_of_anybody)


def families_are_not_counted(patch: Patch) -> None:
    patch.setattr(AppendPlan, "_count_in", do_nothing)


def two_owners_have_one_epoch(patch: Patch) -> None:
    async def mutant(self: MemoryJournal, scopes: Sequence[int]) -> int:
        self._epochs.update(dict.fromkeys(scopes, 1))
        return 1

    patch.setattr(MemoryJournal, "take_scopes", mutant)


def callers_disagree_about_who_owns_a_partition(patch: Patch) -> None:
    asked = iter(range(1_000_000))

    def mutant(execution_id: ExecutionId) -> int:
        return partition_of(execution_id) + next(asked)

    patch.setattr(routes, "partition_of", mutant)


def timers_are_dropped_at_a_restart(patch: Patch) -> None:
    patch.setattr(Timers, "restore", do_nothing)


def timers_fire_early(patch: Patch) -> None:
    set_timer = Timers.set

    def mutant(self: Timers, timer: Timer, *, after_s: float) -> None:
        set_timer(self, timer, after_s=after_s / 2)

    patch.setattr(Timers, "set", mutant)


def a_completion_notice_is_not_insisted_on(patch: Patch) -> None:
    outstanding = machine.outstanding

    def mutant(plan: Plan, state: ExecutionState) -> Iterator[Command]:
        for command in outstanding(plan, state):
            if not isinstance(command, DispatchTask) or command.task:
                yield command

    patch.setattr(machine, "outstanding", mutant)


def a_parent_is_told_only_once(patch: Patch) -> None:
    async def mutant(ask: Callable[[], Any], **_facts: bool) -> Reply:
        try:
            reply: Reply = await ask()
        except RillflowError:
            return Reply()
        return reply

    patch.setattr(runner, "retry_until_answered", mutant)


def an_early_callback_is_acknowledged_and_dropped(patch: Patch) -> None:
    deliver = CallHandling._deliver

    def mutant(
        self: CallHandling, call: Delivery, execution: ActiveExecution | None
    ) -> CallOutcome:
        event = call.event
        if execution is not None and isinstance(event, CallbackReceived):
            task = execution.state.tasks.get(event.task)
            if task is not None and task.in_flight:
                return CallOutcome(Reply(), execution)
        return deliver(self, call, execution)

    patch.setattr(CallHandling, "_deliver", mutant)


def an_early_callback_is_kept_and_never_applied(patch: Patch) -> None:
    patch.setattr(function_tasks, "finish_held", do_nothing)


def a_repetition_is_acknowledged_from_memory(patch: Patch) -> None:
    def mutant(_self: CallHandling, _call: Delivery, execution: ActiveExecution) -> CallOutcome:
        return CallOutcome(Reply(changed=False), execution)

    patch.setattr(CallHandling, "_repetition", mutant)


def answers_are_offered_only_once(patch: Patch) -> None:
    hand_over = DispatchPool._hand_over

    async def mutant(self: DispatchPool, answers: list[DispatchAnswer]) -> None:
        try:
            await hand_over(self, answers)
        except RillflowError:
            return

    patch.setattr(DispatchPool, "_hand_over", mutant)


def a_dispatcher_makes_repeated_calls(patch: Patch) -> None:
    send = DispatchPool.send

    def mutant(self: DispatchPool, requests: Sequence[DispatchRequest]) -> None:
        self._under_way.clear()
        send(self, requests)

    patch.setattr(DispatchPool, "send", mutant)
    patch.setattr(_Taken, "__contains__", lambda _self, _call: False)
    patch.setattr(DispatcherEndpoint, "_is_news", lambda _self, _order: True)


def calls_that_are_awaited_are_abandoned(patch: Patch) -> None:
    patch.setattr(
        leases.LeaseSource, "_is_unawaited", lambda _self, request: leases._lasts(request)
    )


def calls_of_busy_functions_are_forgotten(patch: Patch) -> None:
    patch.setattr(HeldDispatches, "hold", do_nothing)


def an_idempotency_key_is_not_unique(patch: Patch) -> None:
    patch.setattr(AppendPlan, "_take_key", do_nothing)


def lost_owners_are_not_looked_for(patch: Patch) -> None:
    patch.setattr(Restarts, "run", Restarts._look)


def answers_are_not_sent_again_after_a_defect(patch: Patch) -> None:
    patch.setattr(_Postponed, "add", do_nothing)


MUTANTS: Final = [
    failed_appends_count_as_written,
    commands_are_carried_out_before_they_are_durable,
    a_dispatch_that_is_repeated_has_another_key,
    a_late_callback_runs_a_completed_task_again,
    the_epoch_is_not_checked,
    families_are_not_counted,
    two_owners_have_one_epoch,
    callers_disagree_about_who_owns_a_partition,
    timers_are_dropped_at_a_restart,
    timers_fire_early,
    a_completion_notice_is_not_insisted_on,
    a_parent_is_told_only_once,
    an_early_callback_is_acknowledged_and_dropped,
    an_early_callback_is_kept_and_never_applied,
    a_repetition_is_acknowledged_from_memory,
    answers_are_offered_only_once,
    a_dispatcher_makes_repeated_calls,
    calls_that_are_awaited_are_abandoned,
    calls_of_busy_functions_are_forgotten,
    an_idempotency_key_is_not_unique,
    lost_owners_are_not_looked_for,
]


@pytest.mark.parametrize("mutate", MUTANTS, ids=lambda mutate: mutate.__name__)
def test_a_broken_promise_is_found(mutate: Callable[[Patch], None], monkeypatch: Patch) -> None:
    mutate(monkeypatch)
    logging.disable(logging.CRITICAL)
    try:
        assert any(simulate(seed).broken for seed in range(SEEDS))
    finally:
        logging.disable(logging.NOTSET)


def test_without_looks_for_lost_owners_a_stale_one_keeps_its_execution(monkeypatch: Patch) -> None:
    lost_owners_are_not_looked_for(monkeypatch)
    logging.disable(logging.CRITICAL)
    try:
        assert "not settled" in simulate_stale_owner().broken[0]
    finally:
        logging.disable(logging.NOTSET)


def test_an_answer_that_is_lost_by_a_defect_of_its_owner_is_missed(monkeypatch: Patch) -> None:
    answers_are_not_sent_again_after_a_defect(monkeypatch)
    assert any(simulate(seed, defects=0.1).broken for seed in range(SEEDS))
