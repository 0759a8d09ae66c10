"""Bounds what callbacks write that end no task: each is an event, with all that it carries.

A gateway says of a failure that it will try again, as often as it likes; and a suspense takes
signals until its conditions hold. Whoever has the address could fill the disk of all.

Used by `runtime/owner/call_handling.py`.
"""

from typing import Final, TypeAlias

from cachetools import LRUCache

from rillflow.core.events import CallbackReceived, Event, WakeUpReceived
from rillflow.definition.model import SuspenseTask
from rillflow.errors import OverloadedError
from rillflow.ids import ExecutionId, TaskName
from rillflow.ports.clock import Clock
from rillflow.runtime.activation.active_execution import ActiveExecution

MOST_KEPT: Final = 4_096
NOTE_PAUSE_MS: Final = 1_000
"""Of the failures after which a gateway tries again, one is kept in this time, for each task."""
SIGNALS_BYTES: Final = 8 << 20
"""What the signals of a task may carry at once."""
SIGNALS_BYTES_PER_S: Final = 4_096
"""What they may carry on top of that each second, in the long run."""

_Key: TypeAlias = tuple[ExecutionId, TaskName]


class CallbackLimits:
    """Counts them by task, in memory: a restart forgets it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._noted: LRUCache[_Key, int] = LRUCache(MOST_KEPT)
        self._carried: LRUCache[_Key, tuple[float, int]] = LRUCache(MOST_KEPT)

    def is_left_out(self, execution_id: ExecutionId, event: Event) -> bool:
        """Tell whether an event is acknowledged, and not kept."""
        if not isinstance(event, CallbackReceived) or not event.will_retry:
            return False
        key, now_ms = (execution_id, event.task), self._clock.now_ms()
        if now_ms - self._noted.get(key, -NOTE_PAUSE_MS) < NOTE_PAUSE_MS:
            return True
        self._noted[key] = now_ms
        return False

    def refuse(self, execution: ActiveExecution, event: Event) -> None:
        """Refuse a signal for a suspense whose signals carry too much.

        Raises:
            OverloadedError: They do.
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
        key, now_ms = (execution.state.execution_id, event.task), self._clock.now_ms()
        left, at_ms = self._carried.get(key, (float(SIGNALS_BYTES), now_ms))
        left = min(left + (now_ms - at_ms) * SIGNALS_BYTES_PER_S / 1_000, SIGNALS_BYTES)
        if left <= 0:
            raise OverloadedError(
                f"the signals for the task {event.task} carry too much: {SIGNALS_BYTES} bytes, and"
                f" {SIGNALS_BYTES_PER_S} more each second",
                hint="send what a task waits for once, when it is there",
            )
        self._carried[key] = left - size, now_ms
