"""What a large execution has kept in memory is freed in portions, between other turns."""

import asyncio
import weakref
from collections.abc import Callable
from itertools import count, pairwise
from typing import Any

from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState, GroupState, InvokeMsg, TaskState
from rillflow.definition import parse_definition
from rillflow.runtime.activation.active_execution import ActiveExecution
from rillflow.runtime.activation.hot_executions import (
    LARGE_WEIGHT,
    PORTION_S,
    free_in_portions,
)
from tests.api.definition_texts import PASS

VALUES = 10


class Value(dict[str, Any]):
    """A value that can be watched."""


def kept(weight: int) -> tuple[ActiveExecution, Callable[[], int]]:
    """Return an execution, and how many of its values are in memory."""
    context = {f"k{number}": Value() for number in range(VALUES)}
    inner = {f"k{number}": Value() for number in range(VALUES)}
    tasks = {
        f"T{number}": TaskState(
            name=f"T{number}", base="T", invoke=InvokeMsg(input=Value(), output=Value())
        )
        for number in range(VALUES)
    }
    state = ExecutionState(
        execution_id="shop:order_c_1",
        definition_id="d",
        host="h",
        context=context,
        tasks=tasks,
        groups={"G_0": GroupState(route="G_0", parent="G", index=0, context=inner)},
    )
    execution = ActiveExecution(Plan(parse_definition(PASS), "d"), state)
    execution.go_on_from((1, weight, 0, 0))
    values: list[Any] = [*context.values(), *inner.values()]
    for task in tasks.values():
        values += [task.invoke.input, task.invoke.output]
    alive = [weakref.ref(value) for value in values]
    return execution, lambda: sum(each() is not None for each in alive)


async def test_the_values_of_a_large_execution_are_freed_over_several_turns() -> None:
    execution, values = kept(LARGE_WEIGHT)
    seconds = count()
    free_in_portions(execution, lambda: next(seconds) * PORTION_S / 4)
    del execution
    left = [values()]
    while left[-1]:
        await asyncio.sleep(0)
        left.append(values())
    assert left[0] == 4 * VALUES
    assert max(before - after for before, after in pairwise(left)) <= 4


async def test_a_small_one_is_freed_at_once() -> None:
    execution, values = kept(LARGE_WEIGHT - 1)
    free_in_portions(execution)
    del execution
    assert values() == 0
