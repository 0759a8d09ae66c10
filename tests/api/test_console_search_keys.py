"""Executions are found by the values that their context has under declared search keys."""

from typing import Any, Final

from msgspec import structs

from rillflow.ports.storage.execution_search import Place, Wanted
from rillflow.stores.memory.store import MemoryStore
from tests.api.definition_texts import SUSPENDED
from tests.api.serving import Api, served
from tests.api.test_access import FIRST, VIDEO, open_access, shown
from tests.unit.commands import run

V1: Final = "/flow/console/v1/"
KEYED: Final = SUSPENDED + "searchKeys: [$.context.user, $.context.order.id, $.context.go]\n"


class Windowed(MemoryStore):
    """Looks at three executions with the first value at once."""

    async def window_of(
        self, wanted: Wanted, *, before: Place | None = None, most: int
    ) -> int | None:
        """Return the time of the fourth."""
        del most
        first = structs.replace(wanted, keys=wanted.keys[:1])
        found = await self.search_executions(first, before=before, limit=4)
        return found[3].submitted_at_ms if len(wanted.keys) > 1 and len(found) > 3 else None


async def found(api: Api, text: str) -> list[str]:
    page = await api.get(f"{V1}executions.json", q=text)
    return [row["execution_id"] for row in page["rows"]]


async def test_executions_are_found_by_what_was_submitted() -> None:
    async with served({}) as api:
        keyed = await api.add(KEYED)
        bob = await api.submit(keyed, {"user": "bob", "order": {"id": 7}})
        smith = await api.submit(keyed, {"user": "Bob Smith", "order": {"id": 7}})
        assert await found(api, "context.user:bob") == [bob]
        assert await found(api, 'context.user:"Bob Smith"') == [smith]
        assert await found(api, "context.order.id:7") == [smith, bob]
        assert await found(api, "context.order.id:7 context.user:bob") == [bob]
        assert await found(api, "context.order.id:7 flow:zoo") == []
        assert await found(api, "context.order.id:7 status:waiting") == [smith, bob]
        assert await found(api, "context.nothing:7") == []
        counts = await api.get(f"{V1}counts.json", q="context.order.id:7")
        assert counts["counts"] == {"unfinished": 2, "succeeded": 0, "failed": 0}


async def test_a_search_by_two_values_goes_on_where_it_stopped_and_counts_what_it_saw() -> None:
    async with served({}, store=Windowed()) as api:
        keyed = await api.add(KEYED)
        ids = []
        for number in range(10):
            ids.append(await api.submit(keyed, {"user": "bob", "order": {"id": number // 9}}))
            api.clock.advance(1)
        text = "context.user:bob context.order.id:0"
        pages = [await api.get(f"{V1}executions.json", q=text)]
        while pages[-1]["next"] is not None:
            cursor = pages[-1]["next"]
            pages.append(await api.get(f"{V1}executions.json", q=text, cursor=cursor))
        assert [len(page["rows"]) for page in pages] == [3, 4, 2]
        rows = [row["execution_id"] for page in pages for row in page["rows"]]
        assert rows == ids[8::-1]
        counts = await api.get(f"{V1}counts.json", q=text)
        assert (counts["counts"]["unfinished"], counts["unfinished"]["waiting"]) == (3, 3)
        assert counts["at_least"] == ["unfinished", "succeeded", "failed"]
        only = await api.get(f"{V1}counts.json", q=f"{text} status:unfinished")
        assert only["at_least"] == ["unfinished"]
        one = await api.get(f"{V1}counts.json", q="context.order.id:0")
        assert (one["counts"]["unfinished"], one["at_least"]) == (9, [])


async def test_values_that_a_task_writes_are_found_with_the_status_that_they_came_with() -> None:
    async with served({}) as api:
        one = await api.submit(await api.add(KEYED), {"user": "bob"})
        assert await found(api, "context.go:true") == []
        await api.post("/flow/wakeup.json", {"go": True}, execution_id=one, task_name="wait")
        await api.ended(one)
        assert await found(api, "context.go:true status:succeeded") == [one]
        assert await found(api, "context.user:bob status:unfinished") == []
        assert await found(api, "context.user:bob status:succeeded") == [one]


async def test_a_definition_without_search_keys_has_no_values() -> None:
    async with served({}) as api:
        await api.submit(await api.add(SUSPENDED), {"user": "bob"})
        assert await found(api, "context.user:bob") == []


async def test_what_was_understood_and_what_is_declared_are_shown() -> None:
    async with served({}) as api:
        version = await api.add(KEYED)
        page = await api.get(f"{V1}executions.json", q="context.user:bob")
        assert page["query"]["context"] == {"user": "bob"}
        shown = await api.get(f"{V1}definition.json", descriptor_id=version)
        assert shown["search_keys"] == ["user", "order.id", "go"]


async def test_hostile_words_are_refused() -> None:
    async with served({}) as api:
        for text in ("context.a[0]:b", "context.:b", f"context.a:{'x' * 201}"):
            status, code, _ = await api.get_refusal(f"{V1}executions.json", q=text)
            assert (status, code) == (400, 30109), text
        hostile: list[Any] = ['{"a": 1}', "[]", "{", '{"a b": "c"}', '{"a": "\\u0000"}']
        for text in hostile:
            path = "/flow/bg/get_execution_ids.json"
            status, code, _ = await api.get_refusal(path, context=text)
            assert (status, code) == (400, 30109), text


async def test_the_command_line_lists_by_search_keys() -> None:
    async with served({}) as api:
        keyed = await api.add(KEYED)
        bob = await api.submit(keyed, {"user": "bob"})
        await api.submit(keyed, {"user": "eve"})
        page = await api.get(
            "/flow/bg/get_execution_ids.json", context='{"user": "bob"}', business="shop"
        )
        assert ([each["id"] for each in page["items"]], page["total"]) == ([bob], 1)


def test_a_value_on_the_command_line_has_its_name() -> None:
    for given in ("user", "user:", ":bob"):
        code, _, told = run("list", "--context", given)
        assert code == 2
        assert "NAME:VALUE" in told


async def test_a_key_finds_no_value_of_another_workspace() -> None:
    async with open_access() as access:
        access.api.client.headers.update(shown(FIRST))
        ids = [
            await access.api.submit(
                await access.api.add(text + "searchKeys: [$.context.user]\n"), {"user": "bob"}
            )
            for text in (SUSPENDED, VIDEO)
        ]
        del access.api.client.headers["Authorization"]
        path = "/flow/console/v1/executions.json"
        for key, expected in (("video", ids[1:]), ("viewer", ids[::-1])):
            answer = await access.ask("GET", path, access.keys[key], q="context.user:bob")
            assert [row["execution_id"] for row in answer.json()["rows"]] == expected
        query = {"context": '{"user": "bob"}', "business": "video"}
        path = "/flow/bg/get_execution_ids.json"
        answer = await access.ask("GET", path, access.keys["video"], **query)
        assert [row["id"] for row in answer.json()["items"]] == ids[1:]
