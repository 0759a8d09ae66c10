"""The sub-flows of one execution, at all levels, are no more than its submission allows, and
nobody finds them by what functions are told."""

from typing import Any, Final

from rillflow.ids import ID_KEY_BYTES, child_execution_id, submitted_at_ms
from rillflow.ports.storage.store import ExecutionFilter
from tests.api.serving import Api, served

LINE: Final = """
    category: function
    pattern: flow_sync
    resourceName: rillflow://bombs:{target}
    tolerance: {tolerance}
"""
LEAF: Final = """
workspace: bombs
dagName: leaf
type: flow
tasks: [{ name: A, category: pass }]
"""
MESSAGE: Final = "as the setting max_descendants (RILLFLOW_MAX_DESCENDANTS) said"


def flow(name: str, *starts: str, tolerance: str = "false") -> str:
    """Describe a flow that starts others."""
    tasks = [
        f"  - name: T{number}{LINE.format(target=target, tolerance=tolerance)}"
        for number, target in enumerate(starts)
    ]
    return f"workspace: bombs\ndagName: {name}\ntype: flow\ntasks:\n{''.join(tasks)}"


async def count(api: Api) -> int:
    return sum((await api.stack.store.count_executions(ExecutionFilter())).values())


def messages(shown: dict[str, Any]) -> list[str]:
    return [task["invoke_msg"].get("msg") or "" for task in shown["tasks"].values()]


async def test_a_flow_that_starts_itself_twice_ends_at_the_limit() -> None:
    async with served(max_descendants=5) as api:
        text = flow("twice", "twice", "twice", tolerance="true")
        shown = await api.run(text)
        assert shown["dag_status"] == "SUCCEED"
        assert await count(api) == 1 + 5


async def test_the_task_that_would_exceed_it_fails_and_names_the_setting() -> None:
    async with served(max_descendants=2) as api:
        await api.add(LEAF)
        shown = await api.run(flow("wide", "leaf", "leaf", "leaf"))
        assert shown["dag_status"] == "FAILED"
        assert [task["status"] for task in shown["tasks"].values()].count("FAILED") == 1
        [message] = filter(None, messages(shown))
        assert MESSAGE in message
        assert message.startswith("handle fails: bombs:wide_c_")
        assert "has 2 sub-flows, at all levels, and may have 2" in message


async def test_an_execution_keeps_the_limit_that_it_was_submitted_with() -> None:
    async with served(max_descendants=0) as api:
        await api.add(LEAF)
        shown = await api.run(flow("none", "leaf"))
        assert shown["dag_status"] == "FAILED"
        assert await count(api) == 1


async def test_the_id_of_a_sub_flow_does_not_follow_from_what_functions_are_told() -> None:
    async with served() as api:
        await api.add(LEAF)
        shown = await api.run(flow("outer", "leaf"))
        child = shown["tasks"]["T0"]["invoke_msg"]["referenced_dag_execution_id"]
        known = (shown["execution_id"], "T0", 1)
        for key in (b"", bytes(ID_KEY_BYTES)):
            guessed = child_execution_id(
                "bombs", "leaf", attempt=known, at_ms=submitted_at_ms(child), key=key
            )
            assert guessed != child
        assert "id_key" not in str(shown)
