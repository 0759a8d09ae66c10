"""Bounds what callbacks write that end no task: each is an event, with all that it carries.

A gateway says of a failure that it will try again, as often as it likes; and a suspense takes
signals until its conditions hold. Whoever has the address could fill the disk of all.

Used by `runtime/owner/call_handling.py`.
"""

from typing import Final, TypeAlias

import msgspec
from cachetools import LRUCache

from rillflow.core.events import CallbackReceived, Event, WakeUpReceived
from rillflow.definition.model import SuspenseTask
from rillflow.errors import OverloadedError
from rillflow.ids import ExecutionId, TaskName, workspace_of
from rillflow.ports.clock import Clock
from rillflow.runtime.activation.active_execution import ActiveExecution
from rillflow.runtime.commands.subflows import StoreLimits, without_limit

MOST_KEPT: Final = 4_096
NOTE_PAUSE_S: Final = 1.0
"""Of the failures after which a gateway tries again, one is kept in this time, for each task."""
SIGNALS_BYTES: Final = 8 << 20
"""What the signals of a task may carry at once."""
SIGNALS_BYTES_PER_S: Final = 4_096
"""What they may carry on top of that each second, in the long run."""

LIMITED: Final = CallbackReceived, WakeUpReceived
"""The events that may have a limit."""

_Noted: TypeAlias = tuple[ExecutionId, TaskName, int]
_Carried: TypeAlias = tuple[ExecutionId, TaskName, type[Event]]


class CallbackLimits:
    """Counts them by task, in memory: a restart forgets it."""

    def __init__(self, clock: Clock, take_store: StoreLimits = without_limit) -> None:
        """Have the bytes of signals counted by ``take_store``."""
        self._clock = clock
        self._take_store = take_store
        self._noted: LRUCache[_Noted, float] = LRUCache(MOST_KEPT)
        self._carried: LRUCache[_Carried, tuple[float, float]] = LRUCache(MOST_KEPT)

    def bounded(self, execution: ActiveExecution, event: Event) -> Event | None:
        """Return what is kept of an event; None if it is acknowledged, and not kept.

        Nobody reads what comes with a failure of a function that the gateway itself repairs. To a
        suspense every callback is a signal, and a forged one is left to be refused.
        """
        if not isinstance(event, CallbackReceived) or not event.will_retry:
            return event
        task = execution.state.tasks.get(event.task)
        if task is None or isinstance(execution.plan.by_name[task.base].spec, SuspenseTask):
            return event
        if event.sealed_attempt is not None and event.sealed_attempt != task.attempt:
            return event
        key = execution.state.execution_id, event.task, task.attempt
        now_s = self._clock.monotonic_s()
        noted_s = self._noted.get(key)
        if noted_s is not None and now_s - noted_s < NOTE_PAUSE_S:
            return None
        self._noted[key] = now_s
        return msgspec.structs.replace(event, output=b"{}")

    def refuse(self, execution: ActiveExecution, event: Event) -> None:
        """Refuse a signal for a suspense whose signals carry too much, or has no room to be kept.

        Those to its address and those by ``wakeup.json`` count apart: the address may be known to
        anybody.

        Raises:
            OverloadedError: They do; or the quota of the workspace is reached, or the disk full.
        """
        if isinstance(event, CallbackReceived):
            size = len(event.output)
        elif isinstance(event, WakeUpReceived):
            size = len(event.data)
        else:
            return
        task = execution.state.tasks.get(event.task)
        if task is None or not isinstance(execution.plan.by_name[task.base].spec, SuspenseTask):
            return
        key = execution.state.execution_id, event.task, type(event)
        now_s = self._clock.monotonic_s()
        left, at_s = self._carried.get(key, (float(SIGNALS_BYTES), now_s))
        left = min(left + (now_s - at_s) * SIGNALS_BYTES_PER_S, SIGNALS_BYTES)
        if left <= 0:
            raise OverloadedError(
                f"the signals for the task {event.task} carry too much: {SIGNALS_BYTES} bytes, and"
                f" {SIGNALS_BYTES_PER_S} more each second",
                hint="send what a task waits for once, when it is there",
            )
        self._take_store.take_signal(workspace_of(execution.state.execution_id), size)
        self._carried[key] = left - size, now_s
