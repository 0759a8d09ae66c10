"""Mapping warnings of an execution on standard error, for `submit --wait` and `watch`.

Used by `cli/commands/flows.py`.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from rillflow.cli.visible import say

if TYPE_CHECKING:
    from rillflow.client.executions import Execution
    from rillflow.client.mapping_warnings import MappingWarning

MOST_TOLD: Final = 10


def tell_mapping_warnings(execution: "Execution") -> None:
    """Write a line for each of the first ten rules, and how many more there are.

    The execution has been waited for, so an answer that does not come any more is no error:
    what was asked for is known already.
    """
    from rillflow.errors import RillflowError

    try:
        warnings = execution.warnings()
        counted = execution.get(brief=True).get("mapping_warnings") if warnings else 0
    except RillflowError:
        return
    unkept = counted - len(warnings) if isinstance(counted, int) else 0
    lines = lines_by_rule(warnings, is_all=unkept <= 0)
    for line in lines[:MOST_TOLD]:
        say(line, err=True, label="warning:", colour="yellow")
    if len(lines) > MOST_TOLD:
        more = len(lines) - MOST_TOLD
        rules = "rule" if more == 1 else "rules"
        say(f"and {more} more {rules} without effect; get shows them", err=True)
    if unkept > 0:
        say(f"{unkept} further warnings are only counted, not kept", err=True)


def lines_by_rule(warnings: "Iterable[MappingWarning]", *, is_all: bool = True) -> list[str]:
    """Make one line for each rule of the definition, however many instances applied it.

    The line has the reason of the first instance, and says how many others there are; without
    ``is_all``, there may be more that were not kept.
    """
    firsts: dict[tuple[str, str, int, str], MappingWarning] = {}
    instances: dict[tuple[str, str, int, str], set[str]] = {}
    for warning in warnings:
        base = warning.task.rpartition("-")[2]
        rule = (base, warning.mappings, warning.number, warning.rule)
        firsts.setdefault(rule, warning)
        instances.setdefault(rule, set()).add(warning.task)
    return [
        str(first._replace(task=_with_others(first.task, len(instances[rule]) - 1, is_all=is_all)))
        for rule, first in firsts.items()
    ]


def _with_others(task: str, others: int, *, is_all: bool) -> str:
    at_least = "" if is_all else "at least "
    return f"{task} and {at_least}{others} more" if others else task
