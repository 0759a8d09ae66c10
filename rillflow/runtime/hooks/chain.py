"""The chain of hooks around events, turns, dispatches and completion notices.

A hook is called at four moments. A vetoed operation does not take place at all. A hook decides
whether an operation takes place, and does not see its result. A replay calls no hooks, since the
events of the journal have been accepted before.

Used by `runtime/owner`, `runtime/commands/runner.py` and `runtime/submission/intake.py`.
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
    """The moments at which hooks are called."""

    NOTIFY = "notify"
    """An event reaches an execution; with a veto, the event is dropped."""
    TRAVERSAL = "traversal"
    """The execution handles that event; with a veto, the event is dropped."""
    RUN = "run"
    """An attempt at a task is dispatched; with a veto, the task waits for a callback or its end."""
    FINISH = "finish"
    """A notice of the end of the execution is sent; with a veto, its receiver is never told."""


class Hook(Protocol):
    """The protocol of a hook."""

    def __call__(self, moment: Moment, execution_id: str, task: str, proceed: Action, /) -> object:
        """Call ``proceed`` to let the operation take place; the return value is ignored.

        A hook runs in the event loop between the steps of many executions, so it must be quick and
        must not wait. ``task`` is empty if no task is concerned. A second call of ``proceed`` does
        nothing, nor does a call after the return. Raising is a veto.
        """
        ...


class HookChain:
    """A chain of hooks; the first one is the outermost."""

    def __init__(self, hooks: Sequence[Hook] = ()) -> None:
        self._hooks = tuple(hooks)
        self.is_empty = not self._hooks
        """Whether there are no hooks, so that every operation takes place at once."""

    def guard(self, moment: Moment, execution_id: str, task: str, action: Action) -> bool:
        """Run an action unless a hook vetoes it; return whether it ran.

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
        """Return a handler that calls the hooks; without hooks, the same handler."""
        return partial(self._handle, handle) if self._hooks else handle

    def _handle(self, handle: Handle, plan: Plan, state: ExecutionState, event: Event) -> Handled:
        """Handle an event unless a hook vetoes it; a vetoed event changes nothing.

        Hooks are not called for a delivered notice, which would be sent again after a veto, nor for
        the remaining steps of an event that they accepted.
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
    """An action that runs on the first call only."""

    def __init__(self, action: Action) -> None:
        self._action: Action | None = action

    def __call__(self) -> None:
        action, self._action = self._action, None
        if action is not None:
            action()


class _Guarded:
    """An action inside the hooks: its exception waits until they have returned."""

    def __init__(self, action: Action) -> None:
        self._action: Action | None = action
        self._done = False
        self._error: Exception | None = None

    def do(self) -> None:
        """Run the action, if it has not run and may still run."""
        action, self._action = self._action, None
        if action is None:
            return
        self._done = True
        try:
            action()
        except Exception as error:  # noqa: BLE001 - raised by close
            self._error = error

    def close(self) -> bool:
        """Prevent further runs; return whether it ran, or raise what it raised."""
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
