"""Log events for appends that were not written, of which callers choose how many there are.

Used by `runtime/activation/journal.py`.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from rillflow.errors import ConflictError, StoreError

log = logging.getLogger("rillflow.owner")

PAUSE_S: Final = 60.0


class AppendLog:
    """Logs one refusal and one failure a minute; each event counts those since the one before."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._next_s: dict[str, float] = {}
        self._since = Counter[str]()

    def note(self, error: StoreError, appends: int) -> None:
        """Log why appends were not written, or count it.

        A refusal, of a key that is taken for example, has no traceback, and not what the database
        says of it, which quotes the key.
        """
        is_refused = isinstance(error, ConflictError)
        event = "append_refused" if is_refused else "append_failed"
        self._since[event] += 1
        now_s = self._now_s()
        if now_s < self._next_s.get(event, now_s):
            return
        self._next_s[event] = now_s + PAUSE_S
        facts = {"appends": appends, "times": self._since.pop(event)}
        if is_refused:
            cause = error.__cause__
            reason = str(error) if cause is None else type(cause).__name__
            log.warning(event, extra={**facts, "reason": reason})
        else:
            log.error(event, extra=facts, exc_info=error)
