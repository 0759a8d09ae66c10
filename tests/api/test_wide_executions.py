"""Other executions get their turn while a wide one goes on, and its limits are told."""

from typing import Final

from tests.api.serving import served

WIDE: Final = """
workspace: turns
dagName: wide
type: flow
tasks:
  - name: each
    category: foreach
    inputMappings: [{ source: $.context.items, target: $.input.items }]
    iterationMapping: { collection: $.input.items, item: item }
    tasks: [{ name: one, category: pass }]
"""
SMALL: Final = """
workspace: turns
dagName: small
type: flow
tasks: [{ name: only, category: pass }]
"""


async def test_another_execution_begins_and_ends_while_a_wide_one_goes_on() -> None:
    async with served() as api:
        wide, small = await api.add(WIDE), await api.add(SMALL)
        first = await api.submit(wide, {"items": list(range(20_000))})
        second = await api.ended(await api.submit(small))
        meanwhile = await api.shown(first)
        assert second["dag_status"] == "SUCCEED"
        assert meanwhile["dag_status"] == "RUNNING"
        assert (await api.ended(first))["dag_status"] == "SUCCEED"


async def test_more_tasks_than_an_execution_may_have_fail_their_foreach() -> None:
    async with served(execution_max_tasks=30, turn_max_task_steps=3) as api:
        assert (await api.run(WIDE, {"items": list(range(29))}))["dag_status"] == "SUCCEED"
        shown = await api.run(WIDE, {"items": list(range(30))})
        assert shown["dag_status"] == "FAILED"
        told = shown["tasks"]["each"]["invoke_msg"]
        assert told["code"] == "30507"
        assert "may have 30, as the setting execution_max_tasks" in told["msg"]
