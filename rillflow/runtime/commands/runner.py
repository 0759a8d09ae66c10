"""Carrying out commands: dispatches, timers, notices, cancellations and redo requests.

Used by `runtime/owner/execution_owner.py` and `runtime/owner/recovery.py`.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import assert_never

from rillflow.core import ending, timing
from rillflow.core.commands import (
    Announce,
    CancelChild,
    Command,
    DispatchTask,
    NotifyParent,
    RedoChild,
    SetTimer,
)
from rillflow.core.events import (
    CancelRequested,
    DispatchAnswered,
    Event,
    NoticeDelivered,
    RedoRequested,
)
from rillflow.core.tasks.polling import PATTERN as POLL_PATTERN
from rillflow.core.tasks.waiting import is_left_to_a_callback
from rillflow.ids import ExecutionId
from rillflow.ports.clock import Clock
from rillflow.ports.dispatcher import Dispatcher
from rillflow.ports.executions import Call, Delivery, Executions, Reply
from rillflow.ports.gateway import DispatchAnswer
from rillflow.ports.storage.store import Catalogue
from rillflow.runtime.aio.background import BackgroundTasks, Crashed
from rillflow.runtime.aio.retrying import retry_until_answered
from rillflow.runtime.commands.dispatching import Dispatching, Find, StillAwaited
from rillflow.runtime.commands.subflows import StoreLimits, Workspaces
from rillflow.runtime.commands.timers import Timer, Timers
from rillflow.runtime.hooks.chain import HookChain, Moment

log = logging.getLogger("rillflow.commands")


class CommandRunner:
    """Sends dispatches in batches and carries out all other commands.

    ``crashed`` is called for an execution for which something failed unexpectedly; other commands
    continue.
    """

    def __init__(  # noqa: PLR0913 - the ports it joins
        self,
        *,
        clock: Clock,
        catalogue: Catalogue,
        executions: Executions,
        dispatcher: Dispatcher,
        timers: Timers,
        take: Callable[[Sequence[Call]], Awaitable[list[Reply]]],
        find: Find,
        still_awaited: StillAwaited,
        crashed: Crashed,
        host: str,
        guards: HookChain,
        dedicated: ExecutionId | None,
        subflow_workspaces: Workspaces,
        take_store: StoreLimits,
    ) -> None:
        self._clock = clock
        self._executions = executions
        self._dispatcher = dispatcher
        self._timers = timers
        self._take = take
        self._find = find
        self._guards = guards
        self._crashed = crashed
        self.background = BackgroundTasks(crashed)
        self.outbound = Dispatching(
            clock=clock,
            catalogue=catalogue,
            executions=executions,
            dispatcher=dispatcher,
            find=find,
            still_awaited=still_awaited,
            background=self.background,
            answered=self._answered,
            crashed=crashed,
            host=host,
            dedicated=dedicated,
            subflow_workspaces=subflow_workspaces,
            take_store=take_store,
        )

    def carry_out(
        self, execution_id: ExecutionId, commands: Sequence[Command], *, at_ms: int | None
    ) -> None:
        """Start everything that commands ask for; dispatches wait for ``flush``.

        ``at_ms`` is the time of the event that has just given them; None for commands that were
        given before and are outstanding.
        """
        is_told = log.isEnabledFor(logging.DEBUG)
        for command in commands:
            if command.__class__ is Announce and not is_told:
                continue
            try:
                self._begin(execution_id, command, at_ms)
            except Exception as error:  # noqa: BLE001 - one command must not stop the others
                self._crashed(execution_id, error)

    def _begin(self, execution_id: ExecutionId, command: Command, at_ms: int | None) -> None:
        match command:
            case DispatchTask():
                self._dispatch(command)
            case Announce():
                log.debug(command.kind, extra={"execution_id": execution_id, "task": command.task})
            case SetTimer():
                self._set_timer(execution_id, command, at_ms)
            case NotifyParent():
                self._begin_notice(execution_id, command)
            case CancelChild():
                self.background.begin(execution_id, self._cancel_child(execution_id, command))
            case RedoChild():
                self.background.begin(execution_id, self._redo_child(execution_id, command))
            case _:
                assert_never(command)

    def flush(self) -> None:
        """Send the dispatches collected since the last call."""
        self.outbound.flush()

    async def stop(self) -> None:
        """Cancel what is under way; the next owner starts it again."""
        await self.outbound.stop()
        await self.background.stop()

    def _dispatch(self, command: DispatchTask) -> None:
        if command.pattern == POLL_PATTERN:
            # A poll is not an attempt: the hooks have accepted the attempt already.
            self.outbound.add(command)
            return
        if self._guards.is_empty:
            self.outbound.add(command)
            return
        moment = Moment.RUN if command.task else Moment.FINISH
        about = command.execution_id, command.task
        if self._guards.guard(moment, *about, partial(self.outbound.add, command)):
            return
        if moment is Moment.FINISH:
            self._give_up_notice(command.execution_id, "completion", command.attempt)
        elif self._is_left_to_a_callback(command):
            answer = DispatchAnswer(
                execution_id=command.execution_id, task=command.task, attempt=command.attempt
            )
            self.background.begin(command.execution_id, self._answered(answer))

    def _is_left_to_a_callback(self, command: DispatchTask) -> bool:
        execution = self._find(command.execution_id)
        return execution is not None and is_left_to_a_callback(
            execution.plan, execution.state, command
        )

    def _begin_notice(self, execution_id: ExecutionId, command: NotifyParent) -> None:
        def begin() -> None:
            self.background.begin(execution_id, self._notify_parent(execution_id, command))

        if ending.kind_of(command.callback) == "redone":
            begin()  # a notice that the execution was restarted; hooks concern its end
        elif not self._guards.guard(Moment.FINISH, execution_id, "", begin):
            self._give_up_notice(execution_id, "parent", command.attempt)

    def _give_up_notice(self, execution_id: ExecutionId, kind: str, attempt: int) -> None:
        """Have a notice that a hook vetoed recorded as over, so that it is not owed for ever."""
        notice = NoticeDelivered(
            at_ms=self._clock.now_ms(), kind=kind, error="stopped by a hook", attempt=attempt
        )
        self.background.begin(execution_id, self._tell_own(execution_id, notice))

    def _set_timer(self, execution_id: ExecutionId, command: SetTimer, at_ms: int | None) -> None:
        timer = Timer(command.due_ms, execution_id, command.kind, command.task)
        execution = self._find(execution_id)
        if at_ms is not None:
            self._timers.set(timer, after_s=(command.due_ms - at_ms) / 1000)
        elif execution is not None:
            self._timers.restore(
                timer, at_most_s=timing.longest_wait_ms(execution.state, command) / 1000
            )

    def event_of(self, answer: DispatchAnswer, at_ms: int) -> Event:
        """Turn an answer into its event."""
        if answer.task:
            return DispatchAnswered(
                at_ms=at_ms,
                task=answer.task,
                attempt=answer.attempt,
                body=answer.body,
                error=answer.error,
                http_status=answer.http_status,
                retry_after_s=answer.retry_after_s,
                poll_url=answer.poll_url,
                resource_name=self.outbound.chosen(answer),
                poll=answer.poll,
                hint=answer.hint,
                is_outcome=answer.is_outcome,
                polls_public=answer.polls_public,
                log=answer.log,
            )
        if answer.error is not None:
            log.warning(
                "completion_callback_failed",
                extra={"execution_id": answer.execution_id, "reason": answer.error},
            )
        return NoticeDelivered(
            at_ms=at_ms, kind="completion", error=answer.error, attempt=answer.attempt
        )

    async def _answered(self, answer: DispatchAnswer) -> None:
        await self._tell_own(answer.execution_id, self.event_of(answer, self._clock.now_ms()))
        self.outbound.taken([answer])

    async def _notify_parent(self, execution_id: ExecutionId, command: NotifyParent) -> None:
        reply = await self._tell(command.execution_id, command.callback)
        if reply.error is not None:
            log.warning(
                "parent_notice_refused",
                extra={"execution_id": execution_id, "reason": reply.error},
            )
        notice = NoticeDelivered(
            at_ms=self._clock.now_ms(),
            kind=ending.kind_of(command.callback),
            error=reply.error,
            attempt=command.attempt,
        )
        await self._tell_own(execution_id, notice)

    async def _cancel_child(self, execution_id: ExecutionId, command: CancelChild) -> None:
        child = command.execution_id
        at_ms = self._clock.now_ms()
        reply = await self._tell(child, CancelRequested(at_ms=at_ms, parent=execution_id))
        notice = NoticeDelivered(
            at_ms=self._clock.now_ms(), kind="cancel", error=reply.error, child=child
        )
        await self._tell_own(execution_id, notice)

    async def _redo_child(self, execution_id: ExecutionId, command: RedoChild) -> None:
        child, order, at_ms = command.execution_id, command.order, self._clock.now_ms()
        requested = RedoRequested(at_ms=at_ms, failed_only=True, order=order, parent=execution_id)
        reply = await self._tell(child, requested)
        notice = NoticeDelivered(
            at_ms=self._clock.now_ms(),
            kind="redo",
            error=reply.error,
            attempt=order,
            child=child,
            task=command.task,
        )
        await self._tell_own(execution_id, notice)

    async def _tell(self, execution_id: ExecutionId, event: Event) -> Reply:
        """Deliver an event until its receiver has answered; a crash is not an answer."""
        return await retry_until_answered(
            lambda: self._executions.call(Delivery(execution_id=execution_id, event=event)),
            crashes_too=True,
        )

    async def _tell_own(self, execution_id: ExecutionId, event: Event) -> None:
        async def take() -> Reply:
            [reply] = await self._take([Delivery(execution_id=execution_id, event=event)])
            return reply

        await retry_until_answered(take)
