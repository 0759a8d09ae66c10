"""Reported progress is kept at a bounded rate, since each report is an event.

`core/requests.py` applies it. A report that comes too soon is ignored, so its sender repeats the
latest one. The dispatcher keeps the same pauses for functions of Ray.

Used by `core/machine.py`, `core/requests.py` and `ray_tasks/progress.py`.
"""

from typing import Final

from rillflow.core.events import ProgressReported, is_posted
from rillflow.core.state import ExecutionState, Progress, TaskState

LEAST_PAUSE_MS: Final = 1_000
"""Least time between two reports of one attempt that are kept."""
SHARE: Final = 100
"""It grows to this part of the time that the attempt has taken, which bounds their number: some 800
in a day."""
PAUSE_OF_ALL_MS: Final = 20
"""Least time between two reports of one execution, however many tasks it has."""
MESSAGE_CHARACTERS: Final = 200
"""Limit of the characters of a message that are kept."""
LOG_CHARACTERS: Final = 512
"""The place of a log that has more characters is not kept."""
POSTED_CHARACTERS: Final = 8_192
"""Nor is the end of a log, which a function has posted, that has more as JSON."""
POSTED_PER_MS: Final = 10
"""So many characters of posted logs are kept of one execution for each millisecond, at most."""
MOST_POSTED_CHARACTERS: Final = 4_000_000
"""And so many in all, which is a day of one attempt that posts as often as it may."""


def keep_progress(state: ExecutionState, task: TaskState, event: ProgressReported) -> bool:
    """Keep a report; return False for one that comes too soon.

    The place of a log is kept once for each attempt, and may come alone. The end of a log that a
    function has posted takes the place of the last one, at the same rate as progress.
    """
    if event.log is not None and is_posted(event.log):
        return _keep_posted(state, task, event, event.log)
    has_log = task.log is None and keep_log(task, event.log)
    if event.log is not None and event.fraction is None and not event.message:
        return has_log
    return _keep(state, task, event) or has_log


def keep_log(task: TaskState, log: str | None) -> bool:
    """Keep the place of what an attempt has printed; return False if there is none."""
    if log is None or len(log) > LOG_CHARACTERS:
        return False
    task.log = log
    return True


def keep_posted_log(state: ExecutionState, task: TaskState, log: str | None) -> None:
    """Keep the end of a log that a function has posted, within the limits of its execution."""
    if log is None or len(log) > POSTED_CHARACTERS:
        return
    if state.log_characters + len(log) <= MOST_POSTED_CHARACTERS:
        state.log_characters += len(log)
        task.log = log


def _keep_posted(state: ExecutionState, task: TaskState, event: ProgressReported, log: str) -> bool:
    last = task.progress
    if not _keep(state, task, event, max(PAUSE_OF_ALL_MS, len(log) // POSTED_PER_MS)):
        return False
    if event.fraction is None and not event.message and last is not None:
        task.progress = Progress(event.at_ms, last.fraction, last.message)
    keep_posted_log(state, task, log)
    return True


def _keep(
    state: ExecutionState,
    task: TaskState,
    event: ProgressReported,
    pause_of_all_ms: int = PAUSE_OF_ALL_MS,
) -> bool:
    last, at_ms = task.progress, event.at_ms
    if last is not None and 0 <= at_ms - last.at_ms < pause_ms(_started_ms(task), at_ms):
        return False
    if state.progress_ms is not None and 0 <= at_ms - state.progress_ms < pause_of_all_ms:
        return False
    task.progress = Progress(at_ms, fraction_of(event.fraction), event.message[:MESSAGE_CHARACTERS])
    state.progress_ms = at_ms
    return True


def pause_ms(started_ms: int, at_ms: int) -> int:
    """Return for how long no other report of an attempt is kept."""
    return max(LEAST_PAUSE_MS, (at_ms - started_ms) // SHARE)


def fraction_of(value: float | None) -> float | None:
    """Return a fraction, None for what is none, such as NaN."""
    return value if value is not None and 0.0 <= value <= 1.0 else None


def _started_ms(task: TaskState) -> int:
    times = task.invoke.time_infos
    return times[-1].start_ms if times else 0
