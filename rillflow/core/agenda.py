"""The queue of steps of an event, and the steps that a later event takes.

One event takes a limited number of steps (``turn_max_task_steps`` of the submission), and no
further one once evaluations have spent ``EVENT_WORK``. The remaining steps stay in the state. The
machine sets a timer that is due at once, and its event continues with them. Events that
arrive before that timer are handled first; their own steps are queued behind the remaining ones.

Used by `core`, `runtime/hooks` and `testing`.
"""

from enum import IntEnum
from typing import Final

import msgspec

TURN_MAX_TASK_STEPS: Final = 2_000
"""Default limit of tasks and groups that one event makes, starts or ends; about 12 ms of work."""
EVENT_WORK: Final = 50_000
"""Steps of the budget after which the rest of an event is left to a later one; some 25 ms."""
EXECUTION_MAX_TASKS: Final = 50_000
"""Default limit of the tasks of one execution, including the tasks in its groups."""
REMAINING: Final = "remaining"
"""Kind of the timer that continues with the remaining steps of an event."""


class Step(IntEnum):
    """Kind of a step on the agenda of a turn."""

    RUN = 0
    """Run a READY instance."""
    FOLLOW = 1
    """Apply the consequences of an instance's new status: successors become ready, scopes end."""
    OPEN = 2
    """Start a scope: a group, or the top level."""
    MAKE = 3
    """Make further groups of a foreach whose collection is not used up."""


RUN: Final = Step.RUN  # a module constant is read faster than an enumeration member
FOLLOW: Final = Step.FOLLOW
OPEN: Final = Step.OPEN
MAKE: Final = Step.MAKE


class RemainingSteps(msgspec.Struct, array_like=True):
    """Steps left over from an event, and the scopes to check after them.

    ``due_ms`` is the due time of the timer that continues with them. ``memory_bytes`` is what is
    left of the budget of memory, which they share with the event, and ``has_reserve`` whether its
    reserve is left; None for executions before the language version ``EVENTS_CUT_BY_WORK``.
    """

    due_ms: int
    steps: list[tuple[Step, str]]
    unsettled: list[str]
    failing: list[str]
    memory_bytes: int | None = None
    has_reserve: bool = True
