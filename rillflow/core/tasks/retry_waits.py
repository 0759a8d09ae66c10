"""How long a retry waits, by its back-off and by the pace of retries without one (spec 3.12).

Used by `core/tasks/function_tasks.py`.
"""

from rillflow.definition.model import Retry

UNPACED_ATTEMPTS = 10
"""How many attempts may follow each other without a wait."""
LONGEST_PACE_S = 10
"""The longest wait before a retry for which the author gave no interval."""
_LONGEST_WAIT_S = 10 * 365 * 86400


def retry_wait_s(retry: Retry, attempts: int) -> int:
    """Return how many whole seconds to wait after a number of attempts.

    The wait is ``interval * multiplier ** attempts``: with 3 s and a factor of 2 the second attempt
    starts 6 s after the first failed, the third 12 s after the second (spec 3.12, Q2).
    ``maxIntervalInSeconds`` caps it.
    """
    interval = max(retry.interval_s or 0, 0)
    multiplier = retry.multiplier if retry.multiplier and retry.multiplier > 0 else 1.0
    cap = retry.max_interval_s if retry.max_interval_s and retry.max_interval_s > 0 else None
    try:
        wait = interval * multiplier**attempts
    except OverflowError:
        wait = float(cap or _LONGEST_WAIT_S)
    return int(min(wait, cap if cap is not None else _LONGEST_WAIT_S))


def pace_s(attempts: int) -> int:
    """Return the minimum wait in seconds after attempts that followed each other without a wait.

    Retries without an interval must not use the capacity of other executions.
    """
    return min(max(attempts - UNPACED_ATTEMPTS, 0), LONGEST_PACE_S)
