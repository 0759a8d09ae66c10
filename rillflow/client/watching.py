"""Watching an execution: the changes since the last look.

Used by `cli/output/progress.py`, `client/executions.py` and `rillflow/__init__.py`.
"""

from typing import Final, NamedTuple

from rillflow.client.exchanges import (
    Exchange,
    Groups,
    Settled,
    has_ended,
    read,
    status_of,
    with_members,
)
from rillflow.client.instances import (
    OVER,
    Instance,
    count_attempts,
    is_of,
    read_instance,
    without_old_error,
)
from rillflow.client.operations import Rest
from rillflow.ids import ExecutionId
from rillflow.jsontypes import JsonObject, JsonValue

_RETRIED: Final = "READY"
"""The status of a task between two attempts."""
_ENDED: Final = (_RETRIED, *OVER)
"""Statuses with which the end of the last attempt is told."""


class TaskChange(NamedTuple):
    """A task that has another status than before; ``previous`` None means it is new.

    ``task`` is the full instance name, so members of groups have their route in front.
    ``attempts`` counts how often it was run, ``message`` is what it last said. A failed attempt
    is a change to READY, also where the next attempt has begun before the look.
    """

    task: str
    status: str
    previous: str | None
    attempts: int = 0
    message: str | None = None


class Look(NamedTuple):
    """What was seen of an execution at once.

    ``view`` is the execution as ``get.json`` shows it, ``tasks`` the tasks by their full names
    with the members of groups, ``changes`` what is new about them.
    """

    view: JsonObject
    tasks: dict[str, JsonValue]
    changes: list[TaskChange]


class Watch:
    """The looks at one execution, one after the other."""

    def __init__(
        self, execution_id: ExecutionId, every_s: float, most_groups: int | None = None
    ) -> None:
        self._execution_id = execution_id
        self._every_s = every_s
        self._seen: dict[str, tuple[str, int]] = {}
        self._most_groups = most_groups
        self._settled: Settled = {}
        self.tasks: dict[str, JsonValue] = {}
        self._begun = False
        self.view: JsonObject = {}
        self.status = ""
        self.ended = False

    def look(self) -> Exchange[list[TaskChange]]:
        """Wait a little, except before the first look, and return what changed.

        Afterwards ``view`` is the execution as ``get.json`` shows it, ``status`` its status,
        and ``ended`` tells whether this was the last look.

        Raises:
            UnknownExecutionError: There is no such execution.
        """
        if self._begun:
            yield Rest(seconds=self._every_s)
        self._begun = True
        self.view = yield from read(self._execution_id)
        top: dict[str, JsonValue] = self.view.get("tasks") or {}  # type: ignore[assignment]
        found = yield from with_members(self._execution_id, top, self._settled, self._choose)
        self.tasks = found
        self.status = status_of(self.view)
        self.ended = has_ended(self.status)
        return [change for name, task in found.items() for change in self._change(name, task)]

    def _choose(self, groups: Groups) -> Groups:
        """Choose the groups to read, of many the ones that failed and those that run."""
        if self._most_groups is None or len(groups) <= self._most_groups:
            return groups
        failed = [group for group in groups if group[1] == "FAILED"]
        running = [group for group in groups if group[1] == "RUNNING"]
        most, half = self._most_groups, self._most_groups // 2
        kept = failed[: max(half, most - len(running))]
        return kept + running[: most - len(kept)]

    def _change(self, name: str, task: JsonValue) -> list[TaskChange]:
        if not isinstance(task, dict):
            return []
        status, count = str(task.get("status")), count_attempts(task)
        previous, told = self._seen.get(name, (None, 0))
        if (status, count) == (previous, told):
            return []
        self._seen[name] = status, count
        instance = read_instance(name, without_old_error(task))
        changes = []
        for number, attempt in enumerate(instance.attempts[:-1], 1):
            is_told = number < told or (number == told and previous in _ENDED)
            if attempt.error is not None and not is_told:
                changes.append(TaskChange(name, _RETRIED, previous, number, attempt.error))
                previous = _RETRIED
        if status != previous or count > told:
            changes.append(TaskChange(name, status, previous, count, _said(instance)))
        return changes


def _said(instance: Instance) -> str | None:
    """Return what an instance says now; a new attempt has not said what the last one has."""
    said = instance.said or instance.hint
    if said is None or instance.status != "RUNNING":
        return said
    is_old = any(one.error and is_of(one.error, said) for one in instance.attempts[:-1])
    return None if is_old else said
