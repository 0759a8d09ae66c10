"""Mapping warnings of an execution, as clients read them.

Used by `cli/output`, `client/executions.py` and `rillflow/__init__.py`.
"""

from collections.abc import Iterator
from typing import NamedTuple

from rillflow.client.exchanges import Exchange, read, with_members
from rillflow.ids import ExecutionId
from rillflow.jsontypes import JsonValue


class MappingWarning(NamedTuple):
    """A mapping rule without effect; it changed no status.

    Attributes:
        task: The full name of the task instance; empty for the completion callback.
        mappings: The list that the rule stands in, such as ``inputMappings``.
        number: Its place in the list, from 1; 0 is the whole list.
        rule: What goes where, such as ``$.context.userNmae -> $.input.name``.
        kind: Why, in one word: missing, null, bad_path, transform_failed, transform_nil,
            not_written, root, not_kept, literal_path, no_source, no_target or no_output.
        reason: Why, in plain words.
    """

    task: str
    mappings: str
    number: int
    rule: str
    kind: str
    reason: str

    def __str__(self) -> str:
        whose = f"{self.task}: " if self.task else ""
        which = f" rule {self.number}, {self.rule}" if self.number else ""
        return f"{whose}{self.mappings}{which}: {self.reason}"


def mapping_warnings(execution_id: ExecutionId) -> Exchange[list[MappingWarning]]:
    """Read the mapping warnings of an execution, task by task.

    The tasks are read only where there is such a rule.

    Raises:
        UnknownExecutionError: There is none of this id.
    """
    brief = yield from read(execution_id, brief=True)
    if not brief.get("mapping_warnings"):
        return []
    view = yield from read(execution_id)
    found = list(warnings_of("", view))
    tasks = yield from with_members(execution_id, view.get("tasks") or {}, {})
    for name, task in tasks.items():
        found.extend(warnings_of(name, task))
    return found


def warnings_of(name: str, shown: JsonValue) -> Iterator[MappingWarning]:
    """Read what a task, or without a name an execution, lists in its view."""
    listed = shown.get("warnings") if isinstance(shown, dict) else None
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict):
            texts = [str(one.get(key, "")) for key in ("mappings", "rule", "kind", "reason")]
            number = one.get("number")
            yield MappingWarning(
                name, texts[0], number if isinstance(number, int) else 0, *texts[1:]
            )
