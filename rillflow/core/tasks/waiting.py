"""Questions of the runtime about what a task waits for.

`runtime/activation` and `runtime/commands` ask them, so that the runtime never reads statuses
itself.

Used by `runtime/activation`, `runtime/commands` and `runtime/owner`.
"""

from rillflow.core.commands import DispatchTask
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState
from rillflow.core.status import DAG_COMPLETED
from rillflow.core.tasks import polling
from rillflow.core.tasks.function_tasks import ASYNC_PATTERNS
from rillflow.definition.model import FunctionTask
from rillflow.ids import ExecutionId, TaskName


def awaits(state: ExecutionState, command: DispatchTask) -> bool:
    """Tell whether the answer of a dispatch would still be accepted."""
    if not command.task:
        return state.completion is not None and state.completion_attempt == command.attempt
    task = state.tasks.get(command.task)
    return (
        not DAG_COMPLETED[state.status]
        and task is not None
        and task.in_flight
        and task.attempt == command.attempt
        and polling.under_way(task) == command.poll
    )


def call_of(
    plan: Plan, execution_id: ExecutionId, task: TaskName, *, attempt: int, poll: int
) -> DispatchTask | None:
    """Return a call by its identity, without input; None if it is that of no function task.

    A poll, and a completion callback, are calls of no task's function.
    """
    spec_of = plan.by_name.get(task.rsplit("-", 1)[-1])
    if spec_of is None or poll or not isinstance(spec_of.spec, FunctionTask):
        return None
    spec = spec_of.spec
    return DispatchTask(
        execution_id=execution_id,
        task=task,
        attempt=attempt,
        pattern=spec.pattern or "task_sync",
        resource_name=spec.resource_name or "",
        resource_protocol=spec.resource_protocol or None,
    )


def is_left_to_a_callback(plan: Plan, state: ExecutionState, command: DispatchTask) -> bool:
    """Tell whether a call that was only accepted leaves its task waiting for a callback."""
    task = state.tasks.get(command.task)
    if task is None or command.pattern not in ASYNC_PATTERNS:
        return False
    return not polling.polls(plan.by_name[task.base])


def resource_of(plan: Plan, state: ExecutionState, name: str) -> str | None:
    """Return the function that a task called last, None if there is none."""
    task = state.tasks.get(name)
    if task is None:
        return None
    chosen = (task.invoke.ext or {}).get("calculated_resource_name")
    spec = plan.by_name[task.base].spec
    named = spec.resource_name if isinstance(spec, FunctionTask) else None
    return chosen if isinstance(chosen, str) else named
