"""A wait as an English sentence, for readers that have no catalogue of their own.

Used by `core/inspection`.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from rillflow.core.inspection.waits import Wait
from rillflow.jsontypes import JsonValue

_DAY_MS: Final = 86_400_000
_LATEST_MS: Final = 253_402_300_799_000


def sentence(wait: Wait, at_ms: int) -> str:
    """Return what a wait is for, since when, and what ends it. Clock times are UTC."""
    made = _SENTENCES[wait.kind](wait)
    since = "" if wait.since_ms is None else f" since {_clock(wait.since_ms, at_ms)}"
    return f"{made}{since}{_end(wait, at_ms)}."


def _end(wait: Wait, at_ms: int) -> str:
    if wait.until_ms is None:
        return ""
    clock = _clock(wait.until_ms, at_ms)
    if wait.kind in {"retry", "delay"}:
        return f"; it starts at {clock}"
    if wait.kind == "poll":
        return f"; the next poll is at {clock}"
    return f"; times out at {clock}"


def _clock(at_ms: int, now_ms: int) -> str:
    at = datetime.fromtimestamp(min(max(at_ms, 0), _LATEST_MS) / 1000, UTC)
    return f"{at:%H:%M:%S}" if abs(at_ms - now_ms) < _DAY_MS else f"{at:%Y-%m-%d %H:%M:%S}"


def _call(wait: Wait) -> str:
    return f"Calling the function of {wait.task}, attempt {_number(wait, 'attempt')},"


def _poll_call(wait: Wait) -> str:
    return f"Asking for the result of {wait.task}, poll {_number(wait, 'polls')},"


def _steps(wait: Wait) -> str:
    return f"{wait.task or 'The execution'} goes on with its next steps"


def _callback(wait: Wait) -> str:
    return f"Waiting for the callback of {wait.task}"


def _poll(wait: Wait) -> str:
    return f"Waiting for the result of {wait.task}, which is polled,"


def _wake_up(wait: Wait) -> str:
    return f"Waiting for a wake-up of {wait.task}"


def _sub_flow(wait: Wait) -> str:
    return f"Waiting for the sub-flow of {wait.task}"


def _groups(wait: Wait) -> str:
    done, total = _number(wait, "done"), _number(wait, "total")
    return f"{wait.task} has ended {done} of {total} groups, and runs"


def _retry(wait: Wait) -> str:
    error = wait.detail.get("error")
    because = f" ({error})" if error else ""
    attempt, most = _number(wait, "attempt"), _number(wait, "most_attempts")
    return f"{wait.task} failed{because} and waits for attempt {attempt} of {most}"


def _delay(wait: Wait) -> str:
    return f"{wait.task} waits for its time"


def _paused(wait: Wait) -> str:
    by = wait.detail.get("by")
    return f"{wait.task or 'The execution'} is paused{f' by the key {by}' if by else ''}"


def _group_limit(wait: Wait) -> str:
    most = _number(wait, "most_groups")
    return f"{wait.task} waits for its turn: {most} groups run at once"


def _dependencies(wait: Wait) -> str:
    names = wait.detail.get("tasks")
    first = ", ".join(map(str, names[:3])) if isinstance(names, list) else ""
    total = _number(wait, "total")
    more = f" and {total - 3} more" if total > 3 else ""
    return f"{wait.task} waits for {first}{more}" if first else f"{wait.task} has not started"


def _notice(wait: Wait) -> str:
    return f"The end is being told to {_listed(wait.detail.get('to'))}"


def _circuit(wait: Wait) -> str:
    host = wait.detail.get("host")
    return f"The call of {wait.task} is held: the circuit of {host} is open. It is held"


def _limit(wait: Wait) -> str:
    host, waiting = wait.detail.get("host"), _number(wait, "waiting")
    return f"The call of {wait.task} may be among the {waiting} that wait for {host}. It waits"


def _resources(wait: Wait) -> str:
    needs = wait.detail.get("needs")
    return f"The call of {wait.task} waits for a node with {needs}, and none has it. It waits"


def _room(wait: Wait) -> str:
    return f"The request of {wait.task} is large, and waits until others are answered. It waits"


def _busy(wait: Wait) -> str:
    return f"{wait.detail.get('resource')} is busy, and {wait.task} waits for it"


def _quarantine(wait: Wait) -> str:
    return f"The execution is in quarantine: {wait.detail.get('reason')}; a redo runs it again,"


def _listed(value: JsonValue) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _number(wait: Wait, name: str) -> int:
    value = wait.detail.get(name)
    return value if isinstance(value, int) else 0


_SENTENCES: Final[Mapping[str, Callable[[Wait], str]]] = {
    "call": _call,
    "poll_call": _poll_call,
    "steps": _steps,
    "callback": _callback,
    "poll": _poll,
    "wake_up": _wake_up,
    "sub_flow": _sub_flow,
    "groups": _groups,
    "retry": _retry,
    "delay": _delay,
    "paused": _paused,
    "group_limit": _group_limit,
    "dependencies": _dependencies,
    "notice": _notice,
    "circuit": _circuit,
    "limit": _limit,
    "resources": _resources,
    "room": _room,
    "busy": _busy,
    "quarantine": _quarantine,
}

KINDS: Final = frozenset(_SENTENCES)
"""All kinds of waits."""
