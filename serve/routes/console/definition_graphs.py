"""Definitions in the form of the console's graph (spec 5.6).

Used by `serve/routes/console/listings.py`.
"""

from rillflow.definition import collapse_sugar
from rillflow.definition.model import FunctionTask, Task, WorkflowDefinition
from rillflow.gateways.outbound.targets import effective_protocol
from rillflow.jsontypes import JsonObject


def definition_graph(definition: WorkflowDefinition) -> JsonObject:
    """Return a definition with its top-level tasks by name, each with its successors."""
    shown = collapse_sugar(definition)
    graph: JsonObject = shown.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude={"tasks"}
    )
    graph["tasks"] = {
        task.name or "": {"task": _task(task), "next": list(task.next_names)}
        for task in shown.tasks or ()
    }
    return graph


def _task(task: Task) -> JsonObject:
    """Return a task with Rill Flow's keys, and the protocol of its function."""
    fields: JsonObject = task.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(task, FunctionTask) and not task.resource_protocol and task.resource_name:
        protocol = effective_protocol(task.resource_name, None)
        if protocol:
            fields["resourceProtocol"] = protocol
    return fields
