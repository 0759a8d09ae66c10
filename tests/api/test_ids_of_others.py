"""A key that is limited to workspaces is shown no ids of executions of others (docs/access.md)."""

import asyncio
from typing import Final

from tests.api.serving import LONG_S
from tests.api.test_access import FIRST, open_access, shown

PARENT: Final = """
workspace: shop
dagName: parent
type: flow
tasks:
  - { name: sub, category: function, pattern: flow_sync, resourceName: "rillflow://video:order" }
"""


async def test_a_limited_key_is_shown_no_id_of_an_execution_of_another_workspace() -> None:
    """Who knew the id of what had started a sub-flow could call back for its tasks."""
    async with open_access() as access:
        access.api.client.headers.update(shown(FIRST))
        parent = await access.api.submit(await access.api.add(PARENT))
        path = "/flow/console/v1/executions.json"
        rows: list[dict[str, str]] = []
        async with asyncio.timeout(LONG_S):
            while not rows:
                rows = (await access.ask("GET", path, FIRST, parent=parent)).json()["rows"]
        del access.api.client.headers["Authorization"]
        child = rows[0]["execution_id"]
        v1 = "/flow/console/v1"
        for path in (
            f"{v1}/executions.json",
            f"{v1}/execution.json",
            f"{v1}/events.json",
            f"{v1}/event.json",
            "/flow/get.json",
        ):
            query = {"seq": "1"} if path.endswith("event.json") else {}
            query |= {} if path.endswith("executions.json") else {"execution_id": child}
            whole = await access.ask("GET", path, FIRST, **query)
            limited = await access.ask("GET", path, access.keys["video"], **query)
            assert limited.status_code == 200, limited.text
            assert child in limited.text or path.endswith("events.json")
            assert parent not in limited.text
            assert parent in whole.text or path.endswith("events.json")
