"""Check of the instance names in a redo request.

Used by `core/redo/requested.py`.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from rillflow.core.redo.failed_parts import was_left_out
from rillflow.core.status import TaskStatus
from rillflow.core.turn import Turn
from rillflow.errors import RequestError
from rillflow.language.text.lexing import shorten

_MOST_NAMES: Final = 20


def refuse_unknown_names(turn: Turn, names: Iterable[str]) -> None:
    """Refuse names of instances that do not exist or have not started.

    Raises:
        RequestError: One is not, or has not (30109); it is told what there is.
    """
    for name in dict.fromkeys(name.strip() for name in names):
        task = turn.state.tasks.get(name)
        if task is None:
            raise RequestError(f"there is no task {shorten(name)}; {_what_there_is(turn, name)}")
        if task.status is TaskStatus.NOT_STARTED or was_left_out(turn, task):
            raise RequestError(f"the task {name} has not started, so it cannot be done again")


def _what_there_is(turn: Turn, name: str) -> str:
    """Name instances near to an unknown name: in its group, its foreach, or the top level."""
    group = turn.state.groups.get(name)
    if group is not None:
        return f"{name} is a group, with {_listed(group.members)}"
    group = turn.state.groups.get(name.rpartition("-")[0])
    if group is not None:
        return f"the group {group.route} has {_listed(group.members)}"
    owner = turn.state.tasks.get(name.rpartition("-")[0].rpartition("_")[0])
    owner = owner or turn.state.tasks.get(name.rpartition("_")[0])
    if owner is None:
        return f"there are {_listed(list(turn.plan.level.tasks))}"
    if not owner.routes:
        return f"{owner.name} has no groups"
    first, last = (route.rpartition("_")[2] for route in (owner.routes[0], owner.routes[-1]))
    members = turn.state.groups[owner.routes[0]].members
    return f"{owner.name} has the groups {first} to {last}; the first has {_listed(members)}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more
