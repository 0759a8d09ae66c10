"""Which trigger has started an execution, as its idempotency key tells.

Used by `serve/routes/console_api/origins.py`.
"""

from collections.abc import Container, Iterator
from itertools import islice
from typing import Final, NamedTuple

from rillflow.triggers.schedule import NEVER_MS

PREFIX: Final = "trigger/"
BY_HAND: Final = "by_hand"
SCHEDULE: Final = "schedule"
EVENT: Final = "event"
MOST_CANDIDATES: Final = 20
_BY_HAND_KEY: Final = "by-hand/"
_LONG_EVENT: Final = "event/"
"""What stands for the id of the trigger where the key of an event is too long to be told."""
_DIGITS: Final = range(12, len(str(NEVER_MS)) + 1)
"""Those of times since 1973: shorter numbers are offsets and the like."""


class Origin(NamedTuple):
    """What has started an execution.

    Attributes:
        trigger_id: The trigger; empty where the key does not tell.
        how: ``schedule``, ``by_hand`` or ``event``.
        scheduled_ms: The time of a schedule.
    """

    trigger_id: str
    how: str
    scheduled_ms: int | None = None


def candidates(key: str) -> list[str]:
    """Return the ids that the trigger of a key may have: both ids and keys may contain ``/``."""
    if not key.startswith(PREFIX) or key.startswith(PREFIX + _LONG_EVENT):
        return []
    rest = key.removeprefix(PREFIX)
    return [rest[:at] for at in islice(_slashes(rest), MOST_CANDIDATES) if at]


def origin_of(key: str, triggers: Container[str]) -> Origin | None:
    """Return which trigger has started an execution; None if none has.

    Args:
        key: Its idempotency key.
        triggers: Those of the candidates that are triggers. Without any the shortest one is taken,
            but a time or what was fired by hand stands at the end of a key.
    """
    if not key.startswith(PREFIX):
        return None
    found = candidates(key)
    if not found:
        return Origin("", EVENT)
    known = [each for each in found if each in triggers]
    ends = [each for each in found if _how(key, each) != EVENT]
    trigger_id = (known or ends or [found[0]])[-1]
    how = _how(key, trigger_id)
    scheduled_ms = int(_rest(key, trigger_id)) if how == SCHEDULE else None
    return Origin(trigger_id, how, scheduled_ms)


def _slashes(text: str) -> Iterator[int]:
    at = text.find("/")
    while at >= 0:
        yield at
        at = text.find("/", at + 1)


def _rest(key: str, trigger_id: str) -> str:
    return key.removeprefix(f"{PREFIX}{trigger_id}/")


def _how(key: str, trigger_id: str) -> str:
    rest = _rest(key, trigger_id)
    if rest.isascii() and rest.isdecimal() and len(rest) in _DIGITS:
        return SCHEDULE
    return BY_HAND if rest.startswith(_BY_HAND_KEY) else EVENT
