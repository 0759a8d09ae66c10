"""Dispatches: resolving the function, starting sub-flows, holding what is busy, and batching.

Used by `runtime/commands/runner.py` and `runtime/owner/call_handling.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeAlias

from rillflow.core.commands import DispatchTask
from rillflow.core.events import ExecutionSettings
from rillflow.core.tasks.waiting import resource_of
from rillflow.errors import RillflowError
from rillflow.gateways.outbound.hints import HINT_FIELD, retry_interval_s
from rillflow.gateways.outbound.threads import LARGE_BYTES
from rillflow.ids import ExecutionId, TaskName, workflow_of, workspace_of
from rillflow.jsontypes import JsonObject, is_ahead
from rillflow.ports.clock import Clock
from rillflow.ports.dispatcher import BoundedDispatcher, Dispatcher
from rillflow.ports.executions import Call, Executions, Reply, ResourceCall
from rillflow.ports.gateway import HANDLE_FAILS, DispatchAnswer, failed
from rillflow.ports.storage.store import Catalogue
from rillflow.runtime.activation.active_execution import ActiveExecution
from rillflow.runtime.aio.background import BackgroundTasks, Crashed
from rillflow.runtime.aio.retrying import retry_while_unavailable
from rillflow.runtime.backpressure.busy_functions import BusyFunctions
from rillflow.runtime.backpressure.held_dispatches import HeldDispatches
from rillflow.runtime.backpressure.sync import HintSync
from rillflow.runtime.commands.resource_names import Chooser, is_flow, is_indirect, is_web_call
from rillflow.runtime.commands.subflows import (
    Inherited,
    StoreLimits,
    Workspaces,
    child_of,
    inherited_from,
    start_flow,
    without_limit,
)
from rillflow.runtime.definitions.alias_rules import RuleTurns
from rillflow.runtime.process.crash_log import log_crash
from rillflow.task_set import TaskSet

_LONGEST_TELL_S: Final = 1.0

Find: TypeAlias = Callable[[ExecutionId], ActiveExecution | None]
StillAwaited: TypeAlias = Callable[[Sequence[DispatchTask]], Awaitable[list[DispatchTask]]]
Take: TypeAlias = Callable[[DispatchAnswer], Awaitable[None]]


class Dispatching:
    """Collects dispatches into batches, and holds those whose function is busy.

    Sub-flows are started here; their answers, and those of dispatches that could not be made, go to
    ``answered``. ``find`` returns an execution that is in memory; ``still_awaited`` the dispatches
    whose answers would be accepted. ``crashed`` is called for an execution whose dispatch cannot be
    sent, which affects no other. The owner of a ``dedicated`` execution queries the owners of
    partitions for busy functions, because they do not report to it.
    """

    def __init__(  # noqa: PLR0913 - the ports it joins
        self,
        *,
        clock: Clock,
        catalogue: Catalogue,
        executions: Executions,
        dispatcher: Dispatcher,
        find: Find,
        still_awaited: StillAwaited,
        background: BackgroundTasks,
        answered: Take,
        crashed: Crashed,
        host: str,
        dedicated: ExecutionId | None,
        subflow_workspaces: Workspaces = MappingProxyType({}),
        take_store: StoreLimits = without_limit,
    ) -> None:
        self._take_store = take_store
        self._subflow_workspaces = subflow_workspaces
        self._clock = clock
        self._catalogue = catalogue
        self._executions = executions
        self._dispatcher = dispatcher
        self._find = find
        self._still_awaited = still_awaited
        self._background = background
        self._answered = answered
        self._crashed = crashed
        self._host = host
        self._batch: list[DispatchTask] = []
        self._rule_turns = RuleTurns()
        self._chooser = Chooser(catalogue, clock, subflow_workspaces, self._rule_turns)
        self._chosen: dict[tuple[str, str, int], str] = {}
        self._telling = TaskSet[list[Reply]]()
        self._untold: list[asyncio.Task[list[Reply]]] = []
        self.hints = BusyFunctions(clock, self._spread, tells_all=dedicated is not None)
        self._following = None
        if dedicated is not None:
            self._following = HintSync(self.hints, executions, clock, workspace_of(dedicated))
        self.held = HeldDispatches(self.hints.busy_s, self._release, self._refresh)
        """The dispatches that wait for busy functions."""
        self.hints.on_clear = self.held.look_again

    def add(self, command: DispatchTask) -> None:
        """Add a dispatch; it leaves with ``flush``, or when its function is free."""
        if self._following is None and command.task and is_web_call(command):
            self._hold_or_gather(command)  # as nearly all
        elif not command.task:
            # A completion callback goes out by HTTP only: its resource name is never resolved.
            self._batch.append(command)
        elif is_indirect(command):
            execution = self._find(command.execution_id)
            context, uid = (execution.state.context, execution.state.uid) if execution else ({}, 0)
            self._background.begin(command.execution_id, self._choose(command, context, uid))
        elif is_flow(command):
            execution = self._find(command.execution_id)
            inherited = (
                inherited_from(execution.state) if execution else Inherited(ExecutionSettings())
            )
            self._background.begin(command.execution_id, self._start_flow(command, inherited))
        elif self._following is not None and not self._following.is_fresh:
            self._background.begin(command.execution_id, self._add_by_news(command))
        else:
            self._hold_or_gather(command)

    def _hold_or_gather(self, command: DispatchTask) -> None:
        if self.hints.are_busy and self.hints.busy_s(
            command.resource_name, workflow_of(command.execution_id)
        ):
            self.held.hold(command)
        else:
            self._batch.append(command)

    async def _add_by_news(self, command: DispatchTask) -> None:
        await self._refresh()
        if await self._still_awaited([command]):
            self._hold_or_gather(command)
            self.flush()

    async def _refresh(self) -> None:
        if self._following is not None:
            await self._following.refresh()

    def flush(self) -> None:
        """Send the dispatches collected since the last call."""
        if self._batch:
            batch, self._batch = self._batch, []
            self._send(batch)

    def _send(self, batch: list[DispatchTask]) -> None:
        """Send dispatches together, or one by one if they cannot be sent together."""
        try:
            self._dispatcher.send(batch)
        except Exception as error:  # noqa: BLE001 - one dispatch must not stop the others
            if len(batch) == 1:
                self._crashed(batch[0].execution_id, error)
                return
            for command in batch:
                self._send([command])

    def waiting_for_room(self, execution_id: ExecutionId) -> list[TaskName]:
        """Return the tasks of an execution whose large requests wait for those of others."""
        dispatcher = self._dispatcher
        return dispatcher.waiting(execution_id) if isinstance(dispatcher, BoundedDispatcher) else []

    async def stop(self) -> None:
        """Drop the waiting dispatches; the next owner makes them."""
        await self.held.stop()
        if self._following is not None:
            await self._following.stop()
        await self._telling.stop()

    def chosen(self, answer: DispatchAnswer) -> str | None:
        """Return the function that a rule chose for an attempt; None without a rule."""
        return self._chosen.get(answer.key) if self._chosen else None

    def taken(self, answers: Sequence[DispatchAnswer], but: Sequence[DispatchAnswer] = ()) -> None:
        """Note that answers are durable, but for some of them that come again."""
        if not self._chosen:
            return
        kept = {answer.key for answer in but}
        for answer in answers:
            if answer.key not in kept:
                self._chosen.pop(answer.key, None)

    def learn_all(self, answers: Sequence[DispatchAnswer]) -> None:
        """Note the hints in the answers of a batch.

        An answer without a hint says only that its function was used, which one answer of a batch
        says for all executions of a workflow, and for all groups of a foreach.
        """
        used: set[tuple[str, str]] = set()
        for answer in answers:
            body = answer.body
            if not body:
                continue
            if HINT_FIELD not in body and len(body) <= LARGE_BYTES and not self._chosen:
                # Written out, since each answer asks for it.
                use = answer.execution_id.partition("_c_")[0], answer.task.rpartition("-")[2]
                if use in used or not _is_object(body):
                    continue
                used.add(use)
            try:
                self.learn(answer)
            except Exception as error:  # noqa: BLE001 - the answer itself matters more
                log_crash("hint_not_understood", answer.execution_id, error)

    def learn(self, answer: DispatchAnswer) -> None:
        """Note the hint in an answer that is a JSON object (spec 6.2).

        A large one that was not decoded ahead is beyond its limit, and not read.
        """
        body = answer.body
        if answer.task and body and _is_object(body):
            if len(body) > LARGE_BYTES and not is_ahead(body):
                return
            hint_s = retry_interval_s(answer.body)
            self.learn_of(answer.execution_id, answer.task, hint_s, self.chosen(answer))

    def learn_of(
        self,
        execution_id: ExecutionId,
        name: str,
        hint_s: int,
        chosen: str | None = None,
        *,
        for_service_only: bool = False,
    ) -> None:
        """Note that the function of a task was used, and its hint; whose calls it concerns."""
        execution = self._find(execution_id)
        task = execution.state.tasks.get(name) if execution else None
        if execution is None or task is None:
            return
        resource = chosen or resource_of(execution.plan, execution.state, name)
        if resource:
            self.hints.heard(
                workflow_of(execution_id),
                task.base,
                resource,
                hint_s=hint_s,
                for_service_only=for_service_only,
            )

    async def _choose(self, command: DispatchTask, context: JsonObject, uid: int) -> None:
        """Dispatch to the function that a rule or a reference names."""
        try:
            chosen = await retry_while_unavailable(
                lambda: self._chooser.choose(command, context=context, uid=uid)
            )
        except RillflowError as error:
            await self._answered(failed(command, f"{HANDLE_FAILS}{error}"))
            return
        if not await self._still_awaited([command]):
            return  # A call of the earlier owner was answered meanwhile.
        if chosen.resource_name != command.resource_name:
            self._chosen[command.key] = chosen.resource_name
        self.add(chosen)
        self.flush()

    async def _start_flow(self, command: DispatchTask, inherited: Inherited) -> None:
        answer = await retry_while_unavailable(
            lambda: start_flow(
                command,
                catalogue=self._catalogue,
                executions=self._executions,
                clock=self._clock,
                host=self._host,
                inherited=inherited,
                workspaces=self._subflow_workspaces,
                turns=self._rule_turns,
                take_store=self._take_store,
            )
        )
        child = child_of(answer)
        if child is not None:
            self.hints.copy_worst(
                workflow_of(command.execution_id),
                command.task.rpartition("-")[2],
                command.resource_name,
                child=workflow_of(child),
            )
        await self._answered(answer)

    async def _release(self, commands: list[DispatchTask]) -> None:
        """Dispatch what was held, if its execution still waits for it."""
        for command in await self._still_awaited(commands):
            try:
                self.add(command)
            except Exception as error:  # noqa: BLE001 - one dispatch must not stop the others
                self._crashed(command.execution_id, error)
        self.flush()

    async def learn_from(
        self, answers: Mapping[int, DispatchAnswer], calls: Sequence[Call]
    ) -> None:
        """Have known what answers teach, which are found by the identity of their calls."""
        self.learn_all([answers[id(call)] for call in calls])
        await self.told()

    async def told(self) -> None:
        """Wait, for a second at most, until every owner knows the hints just learnt."""
        telling, self._untold = self._untold, []
        if telling:
            await asyncio.wait(telling, timeout=_LONGEST_TELL_S)

    def _spread(self, news: ResourceCall) -> None:
        self._untold.append(self._telling.start(self._executions.ask_all(news)))


def _is_object(body: bytes) -> bool:
    return body.lstrip()[:1] == b"{"
