"""How many lines the triggers of a workspace have in the log in a minute.

Whoever writes to a topic, or calls a webhook, chooses how many of its events are refused. All of
them are counted with the trigger, whether or not there is a line of each.

Used by `runtime/triggers`.
"""

import logging
from typing import Final

from cachetools import TTLCache

from rillflow.ports.clock import Clock

log = logging.getLogger("rillflow.triggers")

MOST_A_MINUTE: Final = 100
_MINUTE_S: Final = 60.0
_MOST_WORKSPACES: Final = 1_000


class LogRoom:
    """The lines of the triggers of each workspace."""

    def __init__(self, clock: Clock) -> None:
        self._taken = TTLCache[str, list[int]](_MOST_WORKSPACES, _MINUTE_S, timer=clock.monotonic_s)

    def warn(self, workspace: str, message: str, **facts: object) -> None:
        """Log what has become of an event or a time, while there is room for it in this minute."""
        if self._has(workspace):
            log.warning(message, extra=facts)

    def _has(self, workspace: str) -> bool:
        taken = self._taken.get(workspace)
        if taken is None:
            taken = self._taken[workspace] = [0]
        taken[0] += 1
        return taken[0] <= MOST_A_MINUTE
