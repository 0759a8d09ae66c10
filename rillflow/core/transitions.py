"""Which event is legal in which status: one table for tasks and one for executions (spec 3.22).

The functions that handle an event look it up here. No other code decides by the status of a task
whether an event counts. What a transition needs besides the status, such as the attempt, is
documented in the functions that look it up. ``docs/spec`` shows these tables, and a test drives
every entry.

Used by `core` and `core/tasks`.
"""

from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from rillflow.core.state import ExecutionState
from rillflow.core.status import DAG_COMPLETED, TaskStatus
from rillflow.errors import ExecutionError


class Effect(Enum):
    """What happens to an event that is not refused."""

    TAKE = "taken"
    """The event counts: it is journalled and changes the execution."""
    IGNORE = "ignored"
    """The event is ignored as a repetition or as too late; its sender gets no error."""


class Refusal(NamedTuple):
    """Code and message with which an event is refused; braces are filled in.

    ``name`` identifies the refusal in the documentation.
    """

    name: str
    code: int
    message: str

    def error(self, **facts: str) -> ExecutionError:
        """Return the error that the sender of the event gets."""
        return ExecutionError(self.message.format_map(facts), self.code)


Entry: TypeAlias = Effect | Refusal
Row: TypeAlias = tuple[Entry, ...]

TAKE: Final = Effect.TAKE
IGNORE: Final = Effect.IGNORE
FINISHED: Final = Refusal(
    "finished", 30601, "validateDAGInfo dag executionId:{execution} is finished"
)
WRONG_TASK: Final = Refusal("wrong task", 30601, "attempt finish wrong task {task}")
NO_SUSPENSE: Final = Refusal("no suspense", 30601, "task {task} category is not suspense type")
REPEATED: Final = Refusal("repeated", 30601, "repeated finish task {task}")
NO_WAY_BACK: Final = Refusal(
    "no way back", 30601, "status is {current} now, and cannot be set to {wanted}"
)


class TaskTransitions(NamedTuple):
    """The rows of the events about one task; each has an entry for each ``TaskStatus``."""

    answer: Row
    """The answer of the call under way."""
    callback: Row
    """A callback for a function."""
    callback_of_other: Row
    """A callback for a task that is not a function."""
    trigger_of_suspense: Row
    """`trigger.json` for a suspense."""
    wake_up: Row
    """`wakeup.json` for a suspense."""
    wake_up_of_other: Row
    """`wakeup.json` for a task that is not a suspense."""
    progress: Row
    """A function reports its progress."""
    child_goes_on: Row
    """A sub-flow reports that it was restarted."""
    child_ended_anew: Row
    """A restarted sub-flow has ended."""
    delay_over: Row
    """The delay of a task is over."""
    poll_due: Row
    """The next poll is due, or a callback is overdue."""
    time_out: Row
    """The time-out of a task is due."""


class ExecutionTransitions(NamedTuple):
    """The rows of the events about an execution; each has an entry for each ``DagStatus``."""

    cancel: Row
    """A cancellation."""
    pause: Row
    """A pause."""
    resume: Row
    """A resumption."""
    complete_well: Row
    """`complete.json` with success."""
    complete_badly: Row
    """`complete.json` with failure."""
    time_out: Row
    """The time-out of the execution is due."""


_NOTHING: Final = (IGNORE,) * len(TaskStatus)
_RUNNING_ONLY: Final = tuple(
    TAKE if status is TaskStatus.RUNNING else IGNORE for status in TaskStatus
)

# The columns are those of ``TaskStatus``:
# NOT_STARTED, READY, RUNNING, STASHED, KEY_SUCCEED, SUCCEED, FAILED, SKIPPED
WHILE_IT_RUNS: Final = TaskTransitions(
    # A call is under way in RUNNING only; a callback that comes before its answer is held.
    answer=_RUNNING_ONLY,
    # After KEY_SUCCEED the real outcome follows. A repetition is no error (spec Q23): its sender
    # cannot know that the first one arrived. READY is the wait for the next attempt: the
    # outcome of the last one has been decided.
    callback=(WRONG_TASK, WRONG_TASK, TAKE, WRONG_TASK, TAKE, IGNORE, IGNORE, IGNORE),
    callback_of_other=(*(WRONG_TASK,) * 5, IGNORE, IGNORE, IGNORE),
    # A signal that comes before the task has started is kept: its data are mapped.
    trigger_of_suspense=(TAKE, TAKE, TAKE, TAKE, TAKE, IGNORE, IGNORE, IGNORE),
    # The same signal, but its repetition is refused here, as Rill Flow does.
    wake_up=(TAKE, TAKE, TAKE, TAKE, TAKE, REPEATED, REPEATED, REPEATED),
    wake_up_of_other=(NO_SUSPENSE,) * len(TaskStatus),
    progress=_RUNNING_ONLY,
    # The sub-flow withdraws its failure, so the task waits for it again.
    child_goes_on=(IGNORE, IGNORE, IGNORE, IGNORE, IGNORE, IGNORE, TAKE, IGNORE),
    # The same if the outcome arrived before the notice of the restart.
    child_ended_anew=(WRONG_TASK, WRONG_TASK, TAKE, WRONG_TASK, TAKE, IGNORE, TAKE, IGNORE),
    delay_over=(IGNORE, TAKE, IGNORE, IGNORE, IGNORE, IGNORE, IGNORE, IGNORE),
    poll_due=_RUNNING_ONLY,
    time_out=_RUNNING_ONLY,
)
AFTER_THE_END: Final = TaskTransitions(
    # The end of the execution cancels no call, so its result is recorded; nothing starts because of
    # it.
    answer=_RUNNING_ONLY,
    callback=(*(FINISHED,) * 5, IGNORE, IGNORE, IGNORE),
    callback_of_other=(*(FINISHED,) * 5, IGNORE, IGNORE, IGNORE),
    trigger_of_suspense=(*(FINISHED,) * 5, IGNORE, IGNORE, IGNORE),
    wake_up=(FINISHED,) * len(TaskStatus),
    wake_up_of_other=(FINISHED,) * len(TaskStatus),
    # The journal of an execution that has ended grows by outcomes only.
    progress=_NOTHING,
    # That failure may have ended the execution, so the execution is restarted, too.
    child_goes_on=(IGNORE, IGNORE, IGNORE, IGNORE, IGNORE, IGNORE, TAKE, IGNORE),
    child_ended_anew=(*(FINISHED,) * 5, IGNORE, TAKE, IGNORE),
    delay_over=_NOTHING,
    poll_due=_NOTHING,
    time_out=_NOTHING,
)
AFTER_A_CANCELLATION: Final = AFTER_THE_END._replace(
    # The function has done its work, so its result is kept.
    callback=(FINISHED, FINISHED, TAKE, FINISHED, FINISHED, IGNORE, IGNORE, IGNORE),
    # No task waits for the sub-flow any more.
    child_goes_on=_NOTHING,
    child_ended_anew=(FINISHED, FINISHED, TAKE, FINISHED, FINISHED, IGNORE, IGNORE, IGNORE),
)

# The columns are those of ``DagStatus``: NOT_STARTED, RUNNING, KEY_SUCCEED, SUCCEED, FAILED
EXECUTION_TRANSITIONS: Final = ExecutionTransitions(
    cancel=(TAKE, TAKE, TAKE, FINISHED, FINISHED),
    pause=(TAKE, TAKE, TAKE, FINISHED, FINISHED),
    resume=(TAKE, TAKE, TAKE, FINISHED, FINISHED),
    complete_well=(TAKE, TAKE, TAKE, NO_WAY_BACK, NO_WAY_BACK),
    # Ending by hand may turn a success into a failure, not the reverse (spec Q50).
    complete_badly=(TAKE, TAKE, TAKE, TAKE, NO_WAY_BACK),
    time_out=(IGNORE, TAKE, TAKE, IGNORE, IGNORE),
)
"""A redo and a degrade are legal in every status."""


def task_transitions(state: ExecutionState) -> TaskTransitions:
    """Return the transitions of events about the tasks of an execution in its present status."""
    if not DAG_COMPLETED[state.status]:
        return WHILE_IT_RUNS
    return AFTER_A_CANCELLATION if state.cancelled else AFTER_THE_END
