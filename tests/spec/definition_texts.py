"""Short ways to write definitions, and to see what becomes of them, for the specs."""

from typing import Final

import pytest

from rillflow.definition.model import Task, WorkflowDefinition
from rillflow.definition.parse import parse_definition
from rillflow.errors import DefinitionError

HEADER: Final = "workspace: demo\ndagName: example\ntype: flow\n"
PASS: Final = "tasks:\n- {name: A, category: pass}\n"
FUNCTION: Final = "category: function, pattern: task_sync, resourceName: 'http://gateway/a'"


def flow(rest: str) -> WorkflowDefinition:
    """Read a definition of a flow, its header given."""
    return parse_definition(HEADER + rest)


def only_task(rest: str) -> Task:
    """Read a task named A of a flow without others."""
    (task,) = flow(f"tasks:\n- {{name: A, {rest}}}\n").tasks or ()
    return task


def refusal_of(text: str | bytes | None, **limits: int) -> tuple[int, str]:
    """Give code and message with which a text is refused."""
    with pytest.raises(DefinitionError) as refusal:
        parse_definition(text, **limits)
    assert refusal.value.problems[0].code == refusal.value.wire_code
    return refusal.value.wire_code, str(refusal.value)


def nested(category: str, levels: int) -> str:
    """Write passes inside so many foreach or choice tasks, one in the other."""
    task = "{name: Leaf, category: pass}"
    for level in range(levels, 0, -1):
        if category == "foreach":
            inside = f"iterationMapping: {{collection: $.input.c, item: i}}, tasks: [{task}]"
        else:
            inside = f"choices: [{{condition: $.input.c, tasks: [{task}]}}]"
        task = f"{{name: N{level}, category: {category}, {inside}}}"
    return f"{HEADER}tasks: [{task}]\n"
