"""A function may name any execution in its answer; only its parent cancels or redoes one."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from rillflow.core.events import CancelRequested, Event, ParentLink, RedoRequested
from rillflow.errors import RequestError
from rillflow.ids import ExecutionId
from rillflow.runtime.local import LocalExecutions
from rillflow.testing import Scenario
from tests.api.definition_texts import SUSPENDED, calling
from tests.api.serving import served

PARENT = ParentLink(execution_id="shop:parent", task="A", attempt=1, pattern="flow_sync")


def ordered_by(parent: str) -> list[Event]:
    return [
        RedoRequested(at_ms=1, failed_only=True, order=1, parent=parent),
        CancelRequested(at_ms=1, parent=parent),
    ]


async def until(holds: Callable[[], bool]) -> None:
    while True:
        if holds():
            return
        await asyncio.sleep(0)


@pytest.mark.parametrize("link", [None, PARENT])
def test_an_order_of_an_execution_that_is_not_the_parent_changes_nothing(
    link: ParentLink | None,
) -> None:
    for event in ordered_by("shop:stranger"):
        running = Scenario(SUSPENDED, parent=link, check=True)
        running.submit()
        with pytest.raises(RequestError, match="is no sub-flow of shop:stranger"):
            running.take(event)
        assert running.status == "RUNNING"


def test_an_order_of_the_parent_is_carried_out() -> None:
    running = Scenario(SUSPENDED, parent=PARENT, check=True)
    running.submit()
    redo, cancel = ordered_by(PARENT.execution_id)
    running.take(cancel)
    assert running.status == "FAILED"
    running.take(redo)
    assert running.status == "RUNNING"


async def test_what_a_function_names_as_its_sub_flow_is_not_cancelled_with_its_task() -> None:
    answer: dict[str, Any] = {}
    async with served({"name": lambda _: answer}) as api:
        victim = await api.submit(await api.add(SUSPENDED), {})
        answer["execution_id"] = victim
        naming = await api.add(calling("name", pattern="flow_sync", name="naming"))
        execution = await api.submit(naming, {})
        executions = api.stack.executions
        assert isinstance(executions, LocalExecutions)
        active = executions.host._activations.find(ExecutionId(execution))
        assert active is not None
        async with asyncio.timeout(60):
            await until(lambda: active.state.tasks["A"].invoke.referenced_execution_id == victim)
            await api.post("/flow/cancel.json", execution_id=execution)
            await until(lambda: not active.state.uncancelled)
        assert (await api.shown(victim))["dag_status"] == "RUNNING"
