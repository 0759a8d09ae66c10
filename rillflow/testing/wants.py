"""The commands of an execution, in a form that is easy to compare.

Used by `testing` and `testing/scenario.py`.
"""

from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from rillflow.core.agenda import REMAINING
from rillflow.core.commands import (
    Announce,
    CancelChild,
    Command,
    DispatchTask,
    NotifyParent,
    RedoChild,
    SetTimer,
)
from rillflow.jsontypes import JsonObject, JsonValue, decode_json


class Dispatch(NamedTuple):
    """One call of a function, without its attempt: which instance, with what input.

    The completion callback of the execution is a call for the task ``""``.
    """

    task: str
    input: JsonObject


Want: TypeAlias = Dispatch | SetTimer | NotifyParent | CancelChild | RedoChild
"""What a step wants from the outside."""


def dispatch(task: str, /, **values: JsonValue) -> Dispatch:
    """Describe a call, to compare it with what a step returned."""
    return Dispatch(task, values)


def wants_of(commands: Iterable[Command]) -> list[Want]:
    """Leave out announcements, which nobody answers, and the rest of a step; shorten the calls."""
    return [
        _want(command)
        for command in commands
        if not isinstance(command, Announce)
        and not (isinstance(command, SetTimer) and command.kind == REMAINING)
    ]


def _want(command: DispatchTask | SetTimer | NotifyParent | CancelChild | RedoChild) -> Want:
    if not isinstance(command, DispatchTask):
        return command
    document = decode_json(command.input)
    return Dispatch(command.task, document if isinstance(document, dict) else {})
