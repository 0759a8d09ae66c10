"""Failures of Ray, not of the function: what they are, and whether the call is repeated.

Used by `ray_tasks`.
"""

import re
from typing import Final, NamedTuple

from ray import exceptions

ENVIRONMENT_FAILED: Final = "the runtime environment could not be set up; the log has the reason"
"""Ray's own words may have addresses with credentials, which belong to the operator."""
MOST_REASON: Final = 900
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 10.0


class SystemFailure(NamedTuple):
    """A failure in words; one that ``is_passing`` is worth another try."""

    text: str
    is_passing: bool


class SystemFailureError(Exception):
    """A failure of Ray that another process has met."""

    def __init__(self, failure: SystemFailure) -> None:
        super().__init__(failure.text)
        self.failure = failure


_USER: Final = re.compile(r"://[^/@\s]{1,512}@")
_QUERY: Final = re.compile(r"\?[^\s?]+")

_OUT_OF_MEMORY: Final = "the node ran out of memory, and Ray killed the worker"
_LOW_MEMORY: Final = "running low on memory"
_PASSING: Final[tuple[tuple[type[Exception], str], ...]] = (
    (exceptions.OutOfMemoryError, _OUT_OF_MEMORY),
    (exceptions.NodeDiedError, "the node of the worker was lost"),
    (exceptions.ActorDiedError, "the process or node of the actor was lost"),
    (exceptions.WorkerCrashedError, "the process of the worker died"),
    (exceptions.LocalRayletDiedError, "the Ray of the node has ended"),
    (exceptions.ActorUnavailableError, "the process of the actor cannot be reached"),
    (exceptions.ObjectLostError, "the result was lost with its worker"),
    (exceptions.ObjectStoreFullError, "the object store of the node is full"),
    (exceptions.OutOfDiskError, "the disk of the node is full"),
    (exceptions.GetTimeoutError, "the result was not fetched in time"),
    (exceptions.PendingCallsLimitExceeded, "too many calls wait for the actor"),
)
_LASTING: Final[tuple[tuple[type[Exception], str], ...]] = (
    (exceptions.TaskUnschedulableError, "no node can run the task"),
    (exceptions.ActorUnschedulableError, "no node can run the actor"),
    (exceptions.TaskCancelledError, "the Ray task was cancelled outside of Rillflow"),
    (exceptions.RayTaskError, "the worker could not call the function"),
)


def system_failure(error: exceptions.RayError) -> SystemFailure:
    """Say what a failure of Ray is; one that is not known to pass may come after the call's end."""
    if isinstance(error, exceptions.RuntimeEnvSetupError):
        return SystemFailure(ENVIRONMENT_FAILED, is_passing=False)
    detail = _detail(error)
    if _LOW_MEMORY in str(error):  # an actor's death has no error of its own for that
        return SystemFailure(f"{_OUT_OF_MEMORY}: {detail}", is_passing=True)
    for kind, text in _PASSING:
        if isinstance(error, kind):
            return SystemFailure(f"{text}: {detail}", is_passing=True)
    for kind, text in _LASTING:
        if isinstance(error, kind):
            return SystemFailure(f"{text}: {detail}", is_passing=False)
    return SystemFailure(f"a failure of Ray: {detail}", is_passing=False)


def reason_for_the_log(error: object) -> str:
    """Return the end of an error's text, its addresses without user information and parameters."""
    text = str(error)[-4 * MOST_REASON :]
    return _QUERY.sub("?***", _USER.sub("://***@", text))[-MOST_REASON:]


def _detail(error: Exception) -> str:
    """Return the last words of an error that are about it: Ray's own are long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[-1 if isinstance(error, exceptions.RayTaskError) else 0][:512]
