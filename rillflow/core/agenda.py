"""The steps that an event leads to, and those that the execution takes in a later event.

An event takes so many steps only (``turn_max_task_steps`` of the submission). The rest stays
in the state, and a timer that is due at once brings the event that goes on with it. Events
that come in between are handled first; the steps that they lead to come after the rest.
"""

from enum import IntEnum
from typing import Final

import msgspec

TURN_MAX_TASK_STEPS: Final = 2_000
"""Most tasks and groups that one event makes, starts or ends, by default: some 12 ms."""
EXECUTION_MAX_TASKS: Final = 50_000
"""Most tasks of one execution, those in its groups included, by default."""
REMAINING: Final = "remaining"
"""The kind of the timer that brings the rest of an event's steps."""


class Step(IntEnum):
    """What is on the agenda of a turn."""

    RUN = 0
    """Run a READY instance."""
    FOLLOW = 1
    """See what an instance's new status makes ready, or ends."""
    OPEN = 2
    """Start a scope: a group, or the top level."""


RUN: Final = Step.RUN  # read faster than a member of the enumeration
FOLLOW: Final = Step.FOLLOW
OPEN: Final = Step.OPEN


class RemainingSteps(msgspec.Struct, array_like=True):
    """What is left of an agenda: steps, and scopes to be looked at after them.

    ``due_ms`` is when the timer is due that goes on with it.
    """

    due_ms: int
    steps: list[tuple[Step, str]]
    unsettled: list[str]
    failing: list[str]
