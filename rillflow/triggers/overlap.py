"""What a firing does while the execution of an earlier firing runs.

Used by `runtime/triggers/firing.py` and `triggers/spec.py`.
"""

from enum import StrEnum


class Overlap(StrEnum):
    """The policy of a trigger for executions that would overlap."""

    ALLOW = "allow"
    SKIP = "skip"
    QUEUE_ONE = "queue_one"
    CANCEL_RUNNING = "cancel_running"


class Decision(StrEnum):
    """What is done about a firing."""

    START = "start"
    SKIP = "skip"
    QUEUE = "queue"
    CANCEL_AND_START = "cancel_and_start"


def decide(policy: Overlap, *, is_running: bool, has_queued: bool) -> Decision:
    """Decide about a firing that is due.

    Args:
        policy: That of the trigger.
        is_running: Whether the execution that the trigger started last has not ended.
        has_queued: Whether an earlier firing waits for that end already; there is one place.
    """
    if policy is Overlap.ALLOW or not (is_running or has_queued):
        return Decision.START
    if policy is Overlap.SKIP or has_queued:
        return Decision.SKIP
    return Decision.QUEUE if policy is Overlap.QUEUE_ONE else Decision.CANCEL_AND_START
