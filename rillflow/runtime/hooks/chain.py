"""Hooks around what happens to an execution: each lets it happen, or does not.

A hook is asked at four moments, and what it stops is as if it had never been. Hooks
decide whether something happens, never how: its outcome passes them by. A replay asks
nobody, since what is in the journal has happened.
"""

import logging
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from typing import Protocol, TypeAlias

from rillflow.core.agenda import REMAINING
from rillflow.core.events import Event, NoticeDelivered, TimerFired
from rillflow.core.machine import Handled
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState
from rillflow.ids import DescriptorId
from rillflow.jsontypes import JsonObject

log = logging.getLogger("rillflow.hooks")

Action: TypeAlias = Callable[[], None]
Handle: TypeAlias = Callable[[Plan, ExecutionState, Event], Handled]
ContextHook: TypeAlias = Callable[[DescriptorId, JsonObject], JsonObject]
"""Gets the id and the data of a submission, and returns the data to start with."""


class Moment(StrEnum):
    """When hooks are asked."""

    NOTIFY = "notify"
    """An event reaches an execution; stopped, it is dropped."""
    TRAVERSAL = "traversal"
    """The execution takes its turn with that event; stopped, the event is dropped."""
    RUN = "run"
    """An attempt at a task is dispatched; stopped, the task waits for a callback or its end."""
    FINISH = "finish"
    """A notice that the execution has ended leaves; stopped, its receiver is never told."""


class Hook(Protocol):
    """The contract of a hook."""

    def __call__(self, moment: Moment, execution_id: str, task: str, proceed: Action, /) -> object:
        """Call ``proceed`` to let it happen, before returning; what is returned is ignored.

        It runs between two steps of many executions, so it must be quick and must not
        wait. ``task`` is empty where no task is concerned. A second call of ``proceed``
        does nothing, nor does one after the return. Raising counts as not letting it
        happen.
        """
        ...


class HookChain:
    """A chain of hooks; the first one is the outermost."""

    def __init__(self, hooks: Sequence[Hook] = ()) -> None:
        self._hooks = tuple(hooks)
        self.is_empty = not self._hooks
        """Whether nobody is asked, so that everything may happen at once."""

    def guard(self, moment: Moment, execution_id: str, task: str, action: Action) -> bool:
        """Do something unless a hook stops it; tell whether it was done.

        Raises:
            Exception: What the action raises; the hooks do not see it.
        """
        if not self._hooks:
            action()
            return True
        guarded = _Guarded(action)
        proceed: Action = guarded.do
        for hook in reversed(self._hooks):
            proceed = _Once(partial(_ask, hook, moment, execution_id, task, proceed))
        proceed()
        return guarded.close()

    def handling(self, handle: Handle) -> Handle:
        """Return a way of handling events that asks the hooks; without any, the same way."""
        return partial(self._handle, handle) if self._hooks else handle

    def _handle(self, handle: Handle, plan: Plan, state: ExecutionState, event: Event) -> Handled:
        """Handle an event unless a hook stops it, which makes it one that changes nothing.

        That a notice was delivered is not asked about: stopped, it would be sent again. Nor is
        the rest of an event that was let pass.
        """
        is_remaining = isinstance(event, TimerFired) and event.kind == REMAINING
        if is_remaining or isinstance(event, NoticeDelivered):
            return handle(plan, state, event)
        about = state.execution_id, getattr(event, "task", "")
        handled = Handled([], changed=False)

        def take_turn() -> None:
            nonlocal handled
            handled = handle(plan, state, event)

        def arrive() -> None:
            self.guard(Moment.TRAVERSAL, *about, take_turn)

        self.guard(Moment.NOTIFY, *about, arrive)
        return handled


class _Once:
    """Something that is done on the first call only."""

    def __init__(self, action: Action) -> None:
        self._action: Action | None = action

    def __call__(self) -> None:
        action, self._action = self._action, None
        if action is not None:
            action()


class _Guarded:
    """The action behind the hooks: what it raises waits until they have returned."""

    def __init__(self, action: Action) -> None:
        self._action: Action | None = action
        self._done = False
        self._error: Exception | None = None

    def do(self) -> None:
        """Do it, if it has not been done and may still be."""
        action, self._action = self._action, None
        if action is None:
            return
        self._done = True
        try:
            action()
        except Exception as error:  # noqa: BLE001 - raised by close
            self._error = error

    def close(self) -> bool:
        """Let it not be done any more; tell whether it was, or raise what it raised."""
        self._action = None
        if self._error is not None:
            raise self._error
        return self._done


def _ask(hook: Hook, moment: Moment, execution_id: str, task: str, proceed: Action) -> None:
    try:
        hook(moment, execution_id, task, proceed)
    except Exception:
        facts = {"moment": moment.value, "execution_id": execution_id, "task": task}
        log.exception("hook_failed", extra=facts)
