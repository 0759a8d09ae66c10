"""Hints: how long a function asks for a pause, in its answer or in a header (spec 6.2).

Used by `gateways/http/responses.py`, `gateways/callbacks/arrivals.py` and
`runtime/commands/dispatching.py`.
"""

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from rillflow.jsontypes import JsonValue, decode_untrusted_json

LONGEST_HINT_S: Final = 10_800
"""A hint expires after three hours, whatever it asked for."""

_LONGEST_WAIT_S: Final = 86_400.0
_FIELD: Final = "retry_interval_seconds"
HINT_FIELD: Final = _FIELD.encode()
"""An answer without this text has no hint."""


def retry_interval_s(body: bytes | None) -> int:
    """Find ``retry_interval_seconds`` in an answer's text; 0 if there is none.

    Only JSON objects are parsed. An answer without a hint, the usual case, costs one substring
    search.
    """
    if not body or HINT_FIELD not in body:
        return 0
    try:
        return retry_interval_of(decode_untrusted_json(body))
    except ValueError:
        return 0


def retry_interval_of(answer: JsonValue) -> int:
    """Find the hint in a decoded answer: seconds, 0 if there is none.

    ``sys_info`` is looked for in ``data`` if that is a map, else in the root; then comes the root's
    ``error_detail``. The first positive number counts.
    """
    if not isinstance(answer, dict):
        return 0
    data = answer.get("data")
    holder = data if isinstance(data, dict) else answer
    for place in (holder.get("sys_info"), answer.get("error_detail")):
        seconds = _whole_seconds(place.get(_FIELD)) if isinstance(place, dict) else 0
        if seconds > 0:
            return min(seconds, LONGEST_HINT_S)
    return 0


def _whole_seconds(value: JsonValue) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return 0
    try:
        return int(value)
    except (ValueError, OverflowError):
        return 0


def retry_after_s(value: str | None, *, now_ms: int) -> float | None:
    """Read ``Retry-After``: seconds or a date, a day at most; None when absent or unreadable."""
    if not value:
        return None
    if value.strip().isdecimal():
        return min(float(value), _LONGEST_WAIT_S)
    try:
        due = parsedate_to_datetime(value)
        due = due if due.tzinfo else due.replace(tzinfo=UTC)
        seconds = due.timestamp() - now_ms / 1000
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(0.0, seconds), _LONGEST_WAIT_S)
