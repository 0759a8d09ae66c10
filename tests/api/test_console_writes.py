"""The console shows what each task wrote into contexts, in the order in which it was written."""

from typing import Any, Final

import pytest

from rillflow.runtime.histories.writes_page import MOST_OF_EVENT
from tests.api.serving import Api, served

WRITES: Final = "/flow/console/v1/writes.json"
ORDER: Final = """
workspace: shop
dagName: order
type: flow
tasks:
  - name: price
    category: function
    pattern: task_sync
    resourceName: ${GW}/function/price
    outputMappings: [{source: $.output.price, target: $.context.price}]
    next: double
  - name: double
    category: pass
    inputMappings: [{source: $.context.price, target: $.input.price}]
    outputMappings: [{source: $.context.price, transform: source * 2, target: $.context.price}]
    next: each
  - name: each
    category: foreach
    iterationMapping: {collection: $.input.items, item: item}
    inputMappings: [{source: $.context.items, target: $.input.items}]
    tasks:
      - name: note
        category: pass
        inputMappings: [{source: $.context.item, target: $.input.item}]
        outputMappings: [{source: $.output.item, target: $.context.noted}]
    next: quiet
  - name: quiet
    category: pass
"""
WAITS: Final = """
workspace: shop
dagName: waits
type: flow
tasks:
  - name: wait
    category: suspense
    conditions: ['$.input.[?(@.go == true)]']
    inputMappings:
      - {source: $.context.by, transform: 6 / source, target: $.input.part, tolerance: false}
    outputMappings:
      - {source: $.output.note, target: $.context.note}
      - {source: $.output.by, target: $.context.by}
"""


def price(_: object) -> dict[str, Any]:
    return {"result_type": "SUCCESS", "price": 21}


async def wrote(api: Api, execution_id: str, **asked: Any) -> Any:
    return await api.get_patiently(WRITES, execution_id=execution_id, **asked)


def told(page: Any) -> list[tuple[int, str, list[tuple[str, str, Any, Any]]]]:
    """Return the writes of a page without the ids that an execution puts into its context."""
    found = []
    for each in page["writes"]:
        changes = [
            (change["path"], change["op"], change["before"], change["after"])
            for change in each["changes"]
            if change["path"] != "/flow_execution_id"
        ]
        found.append((each["seq"], each["task"], changes))
    return found


async def ordered(api: Api, items: int = 2) -> str:
    definition = await api.add(ORDER)
    execution_id = await api.submit(definition, {"items": list(range(items))})
    await api.ended(execution_id)
    return execution_id


async def test_each_task_is_shown_with_what_it_wrote_also_within_one_event() -> None:
    async with served({"price": price}) as api:
        execution_id = await ordered(api)
        page = await wrote(api, execution_id)
        assert told(page) == [
            (1, "", [("/items", "add", None, [0, 1])]),
            (2, "price", [("/price", "add", None, 21)]),
            (2, "double", [("/price", "replace", 21, 42)]),
            (2, "each_0-note", [("/noted", "add", None, 0)]),
            (2, "each_1-note", [("/noted", "add", None, 1)]),
        ]
        assert [each["route"] for each in page["writes"]] == ["", "", "", "each_0", "each_1"]
        assert (page["last_seq"], page["next"], page["left_out"]) == (2, None, 0)
        assert told(await wrote(api, execution_id, event=1)) == told(page)[:1]


async def test_writes_are_paged_by_events_and_those_of_one_event_are_bounded() -> None:
    async with served({"price": price}) as api:
        execution_id = await ordered(api, items=MOST_OF_EVENT + 5)
        first = await wrote(api, execution_id, limit=1)
        assert [each["seq"] for each in first["writes"]] == [1]
        second = await wrote(api, execution_id, limit=1, cursor=first["next"])
        assert len(second["writes"]) == MOST_OF_EVENT
        assert (second["left_out"], second["next"]) == (7, None)


async def test_what_was_taken_back_was_not_written() -> None:
    async with served() as api:
        execution_id = await api.submit(await api.add(WAITS), {"by": 1})
        query = {"execution_id": execution_id, "task_name": "wait"}
        await api.client.post("/flow/wakeup.json", json={"note": "lost", "by": 0}, params=query)
        await api.client.post("/flow/wakeup.json", json={"note": "kept", "by": 2}, params=query)
        notes = [
            change["after"]
            for each in (await wrote(api, execution_id))["writes"]
            for change in each["changes"]
            if change["path"] == "/note"
        ]
        assert "kept" in notes
        assert "lost" not in notes


@pytest.mark.parametrize("asked", [{"cursor": "x"}, {"execution_id": "shop:order_c_x"}])
async def test_what_is_malformed_is_refused(asked: dict[str, str]) -> None:
    async with served({"price": price}) as api:
        given = {"execution_id": await ordered(api)} | asked
        status, _, _ = await api.get_refusal(WRITES, **given)
        assert status in {400, 404}
