"""A workspace starts sub-flows in others only where the setting ``subflow_workspaces`` says so."""

from typing import Any, Final

import pytest

from rillflow.settings import Settings
from tests.api.serving import Api, served

OTHER: Final = """
workspace: tools
dagName: leaf
type: flow
tasks: [{ name: A, category: pass }]
"""
PARENT: Final = """
workspace: video
dagName: parent
type: flow
tasks:
  - name: P
    category: function
    pattern: flow_sync
    resourceName: "%s"
"""
REFUSED: Final = (
    "handle fails: the workspace video may not start workflows of the workspace tools: the setting"
    " subflow_workspaces names those where it may"
)


async def outcome(api: Api, name: str = "rillflow://tools:leaf") -> tuple[str, str]:
    """Return the status of a parent, and why its sub-flow was not started."""
    shown = await api.run(PARENT % name)
    return shown["dag_status"], shown["tasks"]["P"]["invoke_msg"].get("msg") or ""


@pytest.mark.parametrize(
    "allowed",
    [
        {},
        {"video": ["tools"]},
        {"video": ["a", "*"]},
        {"*": ["tools"]},
        {"*": ["*"], "other": []},
    ],
)
async def test_a_sub_flow_starts_where_nothing_forbids_it(allowed: dict[str, Any]) -> None:
    async with served(subflow_workspaces=allowed) as api:
        await api.add(OTHER)
        assert await outcome(api) == ("SUCCEED", "")


@pytest.mark.parametrize(
    "allowed", [{"tools": ["*"]}, {"video": []}, {"video": [], "*": ["*"]}, {"*": ["a"]}]
)
@pytest.mark.parametrize("name", ["rillflow://tools:leaf", "rillflow://tools:missing:x"])
async def test_a_refused_sub_flow_fails_its_task_and_is_not_told_whether_it_exists(
    allowed: dict[str, Any], name: str
) -> None:
    async with served(subflow_workspaces=allowed) as api:
        await api.add(OTHER)
        assert await outcome(api, name) == ("FAILED", REFUSED)


async def test_sub_flows_of_the_own_workspace_always_start() -> None:
    async with served(subflow_workspaces={"*": []}) as api:
        await api.add(OTHER.replace("tools", "video"))
        assert await outcome(api, "rillflow://video:leaf") == ("SUCCEED", "")


@pytest.mark.parametrize("wrong", [{"a b": []}, {"a": ["b:c"]}, {"a": "b"}, {"a": [""]}])
def test_what_is_no_workspace_is_refused_at_the_start(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="subflow_workspaces"):
        Settings(subflow_workspaces=wrong)


async def test_resources_of_a_workspace_are_used_where_its_workflows_may_be_started() -> None:
    library = OTHER.replace("leaf", "library") + "resources: [{ name: r, category: function }]\n"
    refused = REFUSED.replace("start workflows", "use resources")
    async with served(subflow_workspaces={"video": []}) as api:
        await api.add(library)
        for name in ("library?name=r", "library?name=x", "missing?name=r"):
            assert await outcome(api, f"resourceRef://tools:{name}") == ("FAILED", refused)
    async with served(subflow_workspaces={"video": ["tools"]}) as api:
        await api.add(library)
        _, message = await outcome(api, "resourceRef://tools:library?name=x")
        assert message == "handle fails: dag resource null"
