"""A key that is limited to workspaces is shown no ids of executions of others (docs/access.md)."""

import asyncio
from typing import Final

from rillflow.ids import hidden_id
from tests.api.serving import LONG_S
from tests.api.test_access import FIRST, made, open_access, shown

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


async def test_data_of_an_execution_have_no_ids_of_another_workspace_for_anybody() -> None:
    """An author could have a function or a transform write them in another form."""
    async with open_access() as access:
        access.api.client.headers.update(shown(FIRST))
        parent = await access.api.submit(await access.api.add(PARENT))
        sub: dict[str, object] = {}
        async with asyncio.timeout(LONG_S):
            while "referenced_dag_execution_id" not in sub:
                sub = (await access.api.shown(parent))["tasks"]["sub"]["invoke_msg"]
        child = str(sub["referenced_dag_execution_id"])
        assert sub["output"] == {"execution_id": hidden_id(child)}
        context = (await access.api.shown(child))["context"]
        assert context["flow_root_execution_id"] == hidden_id(parent)


APPROVED: Final = """
workspace: shop
dagName: parent
type: flow
tasks:
  - { name: approve, category: suspense, conditions: [$.input.approved] }
"""
CONTEXT: Final = "/flow/console/v1/context.json"
EVALUATE: Final = "/flow/console/v1/evaluate.json"
MAPPING: Final = "/flow/mapping_evaluation.json"
SPLIT: Final = """
- { source: $.context.child, transform: "string.split(source, '-')", target: $.context.parts }
"""
QUESTIONS: Final = (
    ("expression", "string.replace_all(context.child, '-', '_')"),
    ("path", "$.context.child"),
    ("mappings", SPLIT),
)


async def test_no_part_of_a_text_and_no_rule_tells_a_limited_key_an_id_of_others() -> None:
    """Who asks for a part of a text, or has an expression write it anew, learns no more."""
    async with open_access() as access:
        access.api.client.headers.update(shown(FIRST))
        child = access.ids["video"]
        parent = await access.api.submit(await access.api.add(APPROVED), {"child": child})
        del access.api.client.headers["Authorization"]
        key = await made(access.api, "of-shop", "author", workspaces="shop")
        unique = child.rpartition("_c_")[2]
        for offset in range(len(child)):
            query = {"execution_id": parent, "path": "/child", "offset": str(offset)}
            told = await access.api.client.get(CONTEXT, params=query, headers=shown(key))
            assert (told.json()["value"], told.json()["offset"]) == (hidden_id(child), 0)

        async def end_of_id_is_told(
            key: str, path: str, body: dict[str, str], **query: str
        ) -> bool:
            headers, query = shown(key), {"execution_id": parent, **query}
            told = await access.api.client.post(path, params=query, json=body, headers=headers)
            assert told.status_code == 200, told.text
            return unique[-12:] in told.text

        for kind, text in QUESTIONS:
            body = {"kind": kind, "text": text}
            assert not await end_of_id_is_told(key, EVALUATE, body), kind
            assert await end_of_id_is_told(FIRST, EVALUATE, body), "who may see it is told"
        rules = {"task_name": "approve", "mapping_rules": SPLIT}
        assert not await end_of_id_is_told(key, MAPPING, {}, **rules)
        assert await end_of_id_is_told(FIRST, MAPPING, {}, **rules)
