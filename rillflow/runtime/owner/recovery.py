"""Recovery: resuming executions at the start, after memory was dropped, and after crashes.

Used by `runtime/owner/call_handling.py` and `runtime/owner/execution_owner.py`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from rillflow.backoff import Backoff
from rillflow.core import machine
from rillflow.core.events import CancelRequested, Event, RedoRequested
from rillflow.errors import StoreError
from rillflow.ids import ExecutionId
from rillflow.ports.executions import Call, Delivery
from rillflow.ports.gateway import DispatchAnswer
from rillflow.runtime.activation.active_execution import ActiveExecution
from rillflow.runtime.activation.cache import ActivationCache
from rillflow.runtime.aio.background import Crashed
from rillflow.runtime.aio.retrying import FIRST_PAUSE_S, LONGEST_PAUSE_S, retry_while_unavailable
from rillflow.runtime.commands.runner import CommandRunner
from rillflow.runtime.commands.timers import Timer
from rillflow.runtime.crashes.crash_history import COMMANDS, OUTSTANDING, CrashHistory
from rillflow.runtime.crashes.quarantine import Quarantine

log = logging.getLogger("rillflow.recovery")

SEEING_TO: Final = (RedoRequested, CancelRequested)
"""Events of an operator that release an execution from quarantine."""


class Recovery:
    """Carries out what is outstanding of executions that were not running by themselves.

    ``take`` is given the answers that were kept from a try that crashed, ``ended`` each execution
    that turns out to have ended durably, and ``failed`` each crash.
    """

    def __init__(
        self,
        quarantine: Quarantine,
        crashes: CrashHistory,
        take: Callable[[Sequence[DispatchAnswer]], Awaitable[None]],
        ended: Callable[[ActiveExecution], None],
        failed: Crashed,
    ) -> None:
        self._quarantine = quarantine
        self._crashes = crashes
        self._take = take
        self._ended = ended
        self._failed = failed
        self._activations: ActivationCache
        self._commands: CommandRunner

    def join(self, activations: ActivationCache, commands: CommandRunner) -> None:
        """Connect the parts that report crashes here, and act on what follows from a crash.

        Each needs the other, so one of them has to exist first.
        """
        self._activations = activations
        self._commands = commands

    async def run(self) -> None:
        """Resume all executions; those that cannot be read now are retried later."""
        left = sorted(self._activations.unresumed)
        backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while left:
            passed_over: list[ExecutionId] = []
            for execution_id in left:
                if await self._is_resumed(execution_id):
                    backoff.reset()
                    continue
                passed_over.append(execution_id)
                # If the store is unavailable, all of them fail.
                await asyncio.sleep(backoff.next_s())
            left = passed_over

    async def _is_resumed(self, execution_id: ExecutionId) -> bool:
        try:
            await self._activations.try_to_resume(execution_id)
        except StoreError as error:
            facts = {"execution_id": execution_id, "reason": str(error)}
            log.warning("not_resumed", extra=facts)
            return False
        except Exception as error:  # noqa: BLE001 - one execution must not stop the others
            self.crashed(execution_id, error)
        return True

    def resumed(self, execution: ActiveExecution) -> None:
        """Carry out what is outstanding of an execution in memory."""
        execution_id = execution.state.execution_id
        try:
            with self._crashes.during(execution_id, OUTSTANDING):
                outstanding = list(machine.outstanding(execution.plan, execution.state))
                if execution.over:
                    # The append of its end may have failed, or seemed to, so that no watcher was
                    # told.
                    self._ended(execution)
        except Exception as error:  # noqa: BLE001 - what it is about must not stop others
            self.crashed(execution_id, error)
            return
        with self._crashes.during(execution_id, COMMANDS):
            self._commands.carry_out(execution_id, outstanding, at_ms=None)
        self._commands.flush()

    def forgotten(self, execution_id: ExecutionId) -> None:
        """Read a dropped execution again, unless it waits for its next try."""
        if not self._quarantine.holds(execution_id):
            self._activations.unresumed.add(execution_id)
            self._commands.background.begin(execution_id, self._activations.resume(execution_id))

    def crashed(self, execution_id: ExecutionId, error: Exception) -> None:
        """Note that handling an execution failed unexpectedly, and schedule its next try."""
        self._failed(execution_id, error)
        pause_s = self._quarantine.crashed(execution_id, error)
        if pause_s is not None:
            self._commands.background.begin(execution_id, self._try_later(execution_id, pause_s))

    def timer_crashed(self, timer: Timer, error: Exception) -> None:
        """Note that a timer of an execution could not be handled."""
        self.crashed(timer.execution_id, error)

    def called(self, execution_id: ExecutionId, event: Event) -> None:
        """Resume an execution in quarantine when somebody intervenes."""
        if _sees_to(event) and self._quarantine.pardon(execution_id):
            log.warning("quarantine_lifted", extra={"execution_id": execution_id})
            self._commands.background.begin(execution_id, self._try_now(execution_id))

    def released(self, calls: Sequence[Call]) -> list[ExecutionId]:
        """Have quarantined executions read again when somebody intervenes.

        They ``go_on`` by themselves once that call is handled: a cancellation must come first.
        """
        asked = (
            call.execution_id
            for call in calls
            if isinstance(call, Delivery) and _sees_to(call.event)
        )
        return [each for each in asked if self._crashes.forget(each)]

    def go_on(self, released: Sequence[ExecutionId]) -> None:
        """Resume executions that were quarantined."""
        for execution_id in released:
            log.warning("set_apart_no_more", extra={"execution_id": execution_id})
            self._commands.background.begin(execution_id, self._try_now(execution_id))

    async def _try_later(self, execution_id: ExecutionId, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        await self._try_now(execution_id)

    async def _try_now(self, execution_id: ExecutionId) -> None:
        """Handle the answers that were kept, then carry out what is still outstanding."""
        answers = self._quarantine.begin_try(execution_id)
        if answers:
            await retry_while_unavailable(lambda: self._take(answers))
        if self._quarantine.holds(execution_id):
            return
        self._activations.unresumed.add(execution_id)
        await self._activations.resume(execution_id)
        is_nothing = self._activations.find(execution_id) is None
        if is_nothing and not self._quarantine.holds(execution_id):
            self._quarantine.forget(execution_id)


def _sees_to(event: Event) -> bool:
    return isinstance(event, SEEING_TO)
