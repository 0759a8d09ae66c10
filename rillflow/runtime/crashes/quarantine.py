"""Executions whose handling raises: retried after growing pauses, then quarantined.

Nothing of this is stored. The journal of the execution is unchanged, and the next process of its
owner tries again. Executions that kill the process of their owner are handled by
``runtime.crashes.crash_history``.

Used by `runtime/owner/call_handling.py`, `runtime/owner/execution_owner.py` and
`runtime/owner/recovery.py`.
"""

import logging
from itertools import islice
from typing import Final

from rillflow.errors import CrashedError, RillflowError
from rillflow.ids import ExecutionId
from rillflow.ports.clock import Clock
from rillflow.ports.gateway import DispatchAnswer
from rillflow.runtime.process.crash_log import log_crash

log = logging.getLogger("rillflow.crashes")

MOST_CRASHES: Final = 5
FIRST_PAUSE_S: Final = 1.0
FORGIVEN_S: Final = 600.0
"""Older crashes do not count."""
MOST_LISTED: Final = 1_000


class _Case:
    """The crashes of one execution."""

    __slots__ = ("answers", "crashes", "error", "last_s", "waits")

    def __init__(self) -> None:
        self.crashes = 0
        self.error = ""
        self.last_s = 0.0
        self.waits = False
        self.answers: dict[tuple[str, str, int, int], DispatchAnswer] = {}


class Quarantine:
    """Counts crashes and schedules retries of an execution; none after the fifth crash.

    While an execution waits for its next try, further crashes do not count, because they have the
    same cause. Log events contain where a crash happened, and no values.
    """

    def __init__(self, clock: Clock, *, first_pause_s: float = FIRST_PAUSE_S) -> None:
        self._clock = clock
        self._first_pause_s = first_pause_s
        self._cases: dict[ExecutionId, _Case] = {}

    def __len__(self) -> int:
        return len(self._cases)

    def crashed(self, execution_id: ExecutionId, error: Exception) -> float | None:
        """Count a crash; return the pause before the next try, None if there is none."""
        if self.holds(execution_id):
            return None
        case = self._cases.setdefault(execution_id, _Case())
        now_s = self._clock.monotonic_s()
        if now_s - case.last_s > FORGIVEN_S:
            case.crashes = 0
        case.crashes += 1
        case.last_s, case.error = now_s, type(error).__name__
        if case.crashes >= MOST_CRASHES:
            log_crash("execution_quarantined", execution_id, error, crashes=case.crashes)
            return None
        log_crash("execution_crashed", execution_id, error, crashes=case.crashes)
        case.waits = True
        return float(self._first_pause_s * 2 ** (case.crashes - 1))

    def holds(self, execution_id: ExecutionId) -> bool:
        """Tell whether an execution is not run by itself, until its next try or at all."""
        case = self._cases.get(execution_id)
        return case is not None and (case.waits or case.crashes >= MOST_CRASHES)

    def shown(self, execution_id: ExecutionId) -> str | None:
        """Return why an execution is in quarantine, None if it is not."""
        case = self._cases.get(execution_id)
        if case is None or case.crashes < MOST_CRASHES:
            return None
        return (
            f"handling it crashed {case.crashes} times, last with {case.error}; it goes on after"
            " a redo, a cancellation, or a restart"
        )

    def listed(self) -> dict[ExecutionId, str]:
        """Return the executions in quarantine, with the reasons; at most ``MOST_LISTED``."""
        shown = ((each, self.shown(each)) for each in self._cases)
        held = ((each, reason) for each, reason in shown if reason is not None)
        return dict(islice(held, MOST_LISTED))

    def explain(self, execution_id: ExecutionId, error: RillflowError) -> RillflowError:
        """Return an error that also says why an execution cannot be read, and what to do."""
        shown = self.shown(execution_id)
        is_crash = shown is not None and isinstance(error, CrashedError)
        return CrashedError(f"{error}: {shown}") if is_crash else error

    def keep(self, answer: DispatchAnswer) -> None:
        """Keep an answer that could not be handled for the next try."""
        case = self._cases.setdefault(answer.execution_id, _Case())
        case.answers[answer.call] = answer

    def begin_try(self, execution_id: ExecutionId) -> list[DispatchAnswer]:
        """Begin the next try; return the answers that were kept for it."""
        case = self._cases.get(execution_id)
        if case is None:
            return []
        case.waits = False
        answers, case.answers = case.answers, {}
        return list(answers.values())

    def pardon(self, execution_id: ExecutionId) -> bool:
        """Reset the count of crashes; return whether the execution was held."""
        if not self.holds(execution_id):
            return False
        case = self._cases[execution_id]
        case.crashes, case.waits = 0, False
        return True

    def forget(self, execution_id: ExecutionId) -> None:
        """Drop an execution that has ended."""
        self._cases.pop(execution_id, None)
