"""Task instances of ``get.json``, parsed for display.

Used by `cli/output` and `client/watching.py`.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final, NamedTuple

from rillflow.jsontypes import JsonObject, JsonValue

OVER: Final = ("SUCCEEDED", "FAILED", "SKIPPED")
LONGEST_ERROR: Final = 300
"""How much of its error an attempt keeps."""


class Attempt(NamedTuple):
    """One try at a task, in milliseconds since the epoch; None while it has not ended.

    ``error`` is what it said of its failure, None for one that has not failed.
    """

    started_ms: int
    ended_ms: int | None
    error: str | None


class Instance(NamedTuple):
    """A task instance.

    ``said`` is its message, be it an error or not; ``groups`` tells how many groups have each
    status. ``progress`` is what it has last said of how far it has come, such as
    "40 %, frame 12 of 30".
    """

    name: str
    status: str
    category: str
    pattern: str
    input: JsonValue
    output: JsonValue
    said: str | None
    hint: str | None
    sub_flow: str | None
    attempts: tuple[Attempt, ...]
    groups: Mapping[str, int]
    progress: str | None = None

    @property
    def is_over(self) -> bool:
        """Tell whether it is through."""
        return self.status in OVER

    def duration_ms(self, runs: "Runs") -> int | None:
        """Tell how long it has taken from its first attempt on; None before that.

        The time in which the execution had ended, before a redo, is not counted.
        """
        if not self.attempts:
            return None
        ended_ms = self.attempts[-1].ended_ms
        return runs.between_ms(self.attempts[0].started_ms, ended_ms)


class Runs(NamedTuple):
    """From when to when an execution ran: once, and once more for each redo after an end.

    ``spans`` are in milliseconds since the epoch, the last one until now if it goes on.
    """

    spans: tuple[tuple[int, int], ...]
    now_ms: int

    def between_ms(self, from_ms: int, to_ms: int | None) -> int:
        """Tell how long it ran between two times; None is its end, or now."""
        last_ms = self.spans[-1][1] if self.spans else self.now_ms
        until_ms = last_ms if to_ms is None else to_ms
        idle_ms = sum(
            max(min(begun_ms, until_ms) - max(ended_ms, from_ms), 0)
            for (_, ended_ms), (begun_ms, _) in pairwise(self.spans)
        )
        return max(until_ms - from_ms - idle_ms, 0)

    @property
    def duration_ms(self) -> int:
        """How long it ran in all."""
        return self.between_ms(self.spans[0][0], self.spans[-1][1]) if self.spans else 0


def runs_of(view: Mapping[str, Any], now_ms: int) -> Runs:
    """Read from the view of an execution when it ran."""
    times = _list(_object(view.get("dag_invoke_msg")).get("invoke_time_infos"))
    attempts = map(_attempt, times)
    spans = ((one.started_ms, now_ms if one.ended_ms is None else one.ended_ms) for one in attempts)
    return Runs(tuple(spans), now_ms)


def read_instance(name: str, task: Mapping[str, Any]) -> Instance:
    """Read an instance from its TASK object."""
    invoke = _object(task.get("invoke_msg"))
    definition = _object(task.get("task"))
    attempts = tuple(_attempt(time) for time in _list(invoke.get("invoke_time_infos")))
    status = str(task.get("status"))
    return Instance(
        name=name,
        status=status,
        category=str(definition.get("category") or ""),
        pattern=str(definition.get("pattern") or ""),
        input=invoke.get("input"),
        output=invoke.get("output"),
        said=_text(invoke.get("msg")),
        hint=_text(invoke.get("hint")),
        sub_flow=_text(invoke.get("referenced_dag_execution_id")),
        attempts=attempts,
        groups=_counted(_object(task.get("sub_group_index_to_status"))),
        progress=_progress(_object(task.get("progress"))),
    )


def count_attempts(task: JsonObject) -> int:
    """Tell how often a TASK object says that it was run."""
    return len(_list(_object(task.get("invoke_msg")).get("invoke_time_infos")))


def without_old_error(task: JsonObject) -> JsonObject:
    """Return a TASK object whose success does not say what an earlier attempt said."""
    invoke = _object(task.get("invoke_msg"))
    times = _list(invoke.get("invoke_time_infos"))
    earlier = [time.get("error") for time in times]
    if task.get("status") != "SUCCEEDED" or not any(earlier):
        return task
    message = str(invoke.get("msg"))
    is_old = any(error and is_of(error, message) for error in earlier)
    old = ("msg", "code", "hint") if is_old else ("hint",)
    kept = {key: value for key, value in invoke.items() if key not in old}
    return {**task, "invoke_msg": kept}


def is_of(error: str, message: str) -> bool:
    """Tell whether an error of an attempt is a message, of which it may be the beginning."""
    return error == message or (len(error) >= LONGEST_ERROR and message.startswith(error))


def _attempt(time: Mapping[str, Any]) -> Attempt:
    started, ended = time.get("start_time"), time.get("end_time")
    return Attempt(
        started if isinstance(started, int) else 0,
        ended if isinstance(ended, int) else None,
        _text(time.get("error")),
    )


def _progress(progress: JsonObject) -> str | None:
    fraction, message = progress.get("fraction"), progress.get("message")
    parts = [f"{fraction:.0%}".replace("%", " %")] if isinstance(fraction, int | float) else []
    if isinstance(message, str):
        parts.append(message)
    return ", ".join(parts) or None


def _counted(groups: JsonObject) -> dict[str, int]:
    counts: dict[str, int] = {}
    for status in groups.values():
        counts[str(status)] = counts.get(str(status), 0) + 1
    return counts


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return None if value is None else str(value)
