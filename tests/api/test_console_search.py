"""The console finds executions by what the store knows of them, and by what only owners know."""

import asyncio
from typing import Any, Final

import pytest

from rillflow.ids import ExecutionId
from rillflow.ports.storage.store import StoredExecution
from rillflow.runtime.activation.replays import LARGE_BYTES
from rillflow.stores.memory.store import MemoryStore
from serve.routes.console_api.searching import MOST_AT_ONCE, counted
from serve.schemas.search_texts import read_search
from tests.api.definition_texts import PASS, SUSPENDED, calling
from tests.api.serving import Api, MovableClock, served

V1: Final = "/flow/console/v1/"
UNKNOWN: Final = "shop:order_c_8f0f9c00-0000-11f0-8000-000000000000"


def failing(_: object) -> dict[str, Any]:
    return {"result_type": "FAILED", "error_code": 7, "error_msg": "out of stock"}


async def fill(api: Api) -> dict[str, str]:
    """Run one execution of each kind; return their ids, the newest last."""
    ids = {"succeeded": (await api.run(PASS))["execution_id"]}
    ids["failed"] = (await api.run(calling("work")))["execution_id"]
    suspended = await api.add(SUSPENDED)
    ids["waiting"] = await api.submit(suspended)
    ids["held"] = await api.submit(suspended)
    await api.post("/flow/pause.json", execution_id=ids["held"])
    ids["cancelled"] = await api.submit(suspended)
    await api.post("/flow/cancel.json", execution_id=ids["cancelled"])
    return ids


async def found(api: Api, **asked: Any) -> list[str]:
    page = await api.get(f"{V1}executions.json", **asked)
    return [row["execution_id"] for row in page["rows"]]


async def test_executions_are_found_by_status_flow_time_and_id() -> None:
    async with served({"work": failing}) as api:
        ids = await fill(api)
        newest_first = list(reversed(ids.values()))
        assert await found(api) == newest_first
        assert await found(api, q="status:succeeded") == [ids["succeeded"]]
        assert await found(api, status="failed") == [ids["cancelled"], ids["failed"]]
        assert await found(api, q="status:unfinished") == [ids["held"], ids["waiting"]]
        assert await found(api, flow="shop:order") == newest_first
        assert await found(api, flow="shop") == newest_first
        assert await found(api, flow="zoo") == []
        assert await found(api, q=ids["failed"]) == [ids["failed"]]
        assert await found(api, id=ids["failed"].partition("_c_")[2]) == [ids["failed"]]
        assert await found(api, until="1h") == []
        api.clock.advance(7_200)
        assert await found(api, since="1h") == []
        assert await found(api, since="3h", until="1h") == newest_first


@pytest.mark.parametrize(
    ("word", "told", "hint"),
    [
        ("foo:bar", "there is no field `foo`", "did you mean `context.foo:bar`?"),
        ("shpo:order", "there is no field `shpo`", "did you mean `shop:order`?"),
        ("zoo", "there is no workspace `zoo`", "the fields are status, flow, since"),
        ("statu:failed", "word 2 of the search is not understood", "is status: meant"),
    ],
)
async def test_a_word_that_is_neither_a_field_nor_a_flow_is_refused(
    word: str, told: str, hint: str
) -> None:
    async with served({"work": failing}) as api:
        ids = await fill(api)
        assert await found(api, q="shop:order") == list(reversed(ids.values()))
        assert await found(api, q="shop:nothing") == []
        for path in ("executions.json", "counts.json"):
            refused = await api.client.get(f"{V1}{path}", params={"q": f"status:failed {word}"})
            body = refused.json()
            assert refused.status_code == 400
            assert told in body["error"]
            assert "word 2 of the search" in body["error"]
            assert hint in body["hint"]


async def test_of_very_many_only_the_newest_are_counted_and_the_answer_says_so() -> None:
    async with served({"work": failing}) as api:
        await fill(api)
        api.clock.advance(60)
        ids = [(await api.run(PASS))["execution_id"] for _ in range(2)]
        now_ms = api.stack.clock.now_ms()
        search = read_search({}, now_ms)
        whole = await counted(api.stack, search, 60, now_ms, most=4)
        assert (whole["at_least"], whole["total"]) == ([], 7)
        shown = await counted(api.stack, search, 60, now_ms, most=2)
        assert shown["counts"] == {"unfinished": 2, "succeeded": 2, "failed": 2}
        assert shown["at_least"] == ["unfinished", "succeeded", "failed"]
        newest = await api.get(f"{V1}executions.json", q="status:succeeded", limit=2)
        assert [row["execution_id"] for row in newest["rows"]] == ids[::-1]
        # What the bars show begins with the oldest that was counted of each status.
        sums = {word: sum(each[word] for each in shown["buckets"]) for word in shown["counts"]}
        assert sums == {"unfinished": 0, "succeeded": 2, "failed": 0}
        assert shown["from_ms"] <= newest["rows"][-1]["submitted_at_ms"] < shown["to_ms"] + 1


async def test_what_only_owners_know_is_found_too() -> None:
    async with served({"work": failing}) as api:
        ids = await fill(api)
        for status in ("waiting", "held", "cancelled"):
            page = await api.get(f"{V1}executions.json", status=status)
            assert [(row["execution_id"], row["status"]) for row in page["rows"]] == [
                (ids[status], status)
            ]
        both = await found(api, q="status:waiting,succeeded")
        assert both == [ids["waiting"], ids["succeeded"]]
        assert await found(api, q="status:delayed") == []


async def test_pages_follow_each_other_while_executions_are_submitted() -> None:
    async with served() as api:
        descriptor = await api.add(SUSPENDED)
        ids = [await api.submit(descriptor) for _ in range(5)]
        for search in ("", "status:waiting"):
            seen: list[str] = []
            cursor = ""
            while True:
                page = await api.get(f"{V1}executions.json", q=search, limit=2, cursor=cursor)
                seen += [row["execution_id"] for row in page["rows"]]
                await api.submit(descriptor)
                cursor = page["next"]
                if cursor is None:
                    break
            assert [each for each in seen if each in ids] == list(reversed(ids))
            assert len(seen) == len(set(seen))


async def test_a_search_is_counted_by_status_and_over_time() -> None:
    async with served({"work": failing}) as api:
        await fill(api)
        shown = await api.get(f"{V1}counts.json", q="since:1h", buckets=10)
        assert shown["total"] == 5
        assert shown["counts"] == {"unfinished": 2, "succeeded": 1, "failed": 2}
        assert shown["unfinished"] == {"running": 0, "waiting": 1, "delayed": 0, "held": 1}
        assert len(shown["buckets"]) <= 10
        assert shown["from_ms"] % shown["step_ms"] == 0
        for status, number in shown["counts"].items():
            assert sum(bucket[status] for bucket in shown["buckets"]) == number
        only = await api.get(f"{V1}counts.json", q="status:failed", buckets=0)
        assert (only["total"], only["buckets"]) == (2, [])
        api.clock.advance(90_000)
        await api.run(PASS)
        days = await api.get(f"{V1}counts.json", q="status:succeeded", buckets=2)
        assert [bucket["succeeded"] for bucket in days["buckets"]] == [1, 1]
        nothing = await api.get(f"{V1}counts.json", q="flow:zoo")
        assert (nothing["total"], nothing["unfinished"]["running"]) == (0, 0)


async def test_a_summary_says_how_far_an_execution_is_and_why_it_failed_or_waits() -> None:
    async with served({"work": failing}) as api:
        ids = await fill(api)
        asked = ",".join([*ids.values(), UNKNOWN, "no id"])
        summaries = (await api.get(f"{V1}summaries.json", ids=asked))["summaries"]
        assert summaries.keys() == {*ids.values(), UNKNOWN, "no id"}
        assert summaries[UNKNOWN] is summaries["no id"] is None
        by_kind = {kind: summaries[ids[kind]] for kind in ids}
        assert {kind: shown["status"] for kind, shown in by_kind.items()} == {
            kind: kind for kind in ids
        }
        assert by_kind["failed"]["failure"]["message"] == "out of stock"
        assert by_kind["failed"]["failure"]["task"] == "A"
        assert by_kind["succeeded"]["progress"] == {"done": 1, "total": 1}
        assert by_kind["waiting"]["wait"]["kind"] == "wake_up"
        assert by_kind["held"]["wait"]["kind"] == "paused"
        many = ",".join(["x"] * 2 + [f"x{number}" for number in range(50)])
        assert (await api.get_refusal(f"{V1}summaries.json", ids=many))[0] == 400


@pytest.mark.parametrize("cursor", ["x", "LTEuNQ", "é" * 900])
async def test_a_cursor_that_is_none_is_refused(api: Api, cursor: str) -> None:
    assert (await api.get_refusal(f"{V1}executions.json", cursor=cursor))[:2] == (400, 30109)


async def test_hostile_words_are_refused_or_find_nothing(api: Api) -> None:
    words = ["<script>", "\u202ex", "'; DROP TABLE executions", "status:", "a" * 5_000, "%00"]
    answers = await asyncio.gather(
        *(api.client.get(f"{V1}executions.json", params={"q": word}) for word in words)
    )
    assert {answer.status_code for answer in answers} <= {200, 400, 422}


async def test_a_list_brings_no_large_execution_into_memory() -> None:
    async with served(hot_executions=1, submit_max_bytes=4 << 20) as api:
        descriptor = await api.add(SUSPENDED)
        large = await api.submit(descriptor, {"text": "x" * (LARGE_BYTES + 1)})
        small = await api.submit(descriptor)
        await api.submit(descriptor)  # the others leave memory
        summaries = (await api.get(f"{V1}summaries.json", ids=f"{large},{small}"))["summaries"]
        assert summaries.keys() == {small}
        page = await api.get(f"{V1}executions.json", status="waiting")
        assert len(page["rows"]) == 2
        assert page["unread"] == 1
        assert (await api.get(f"{V1}counts.json"))["unfinished"] is None
        assert (await api.get("/flow/get.json", execution_id=large))["ret"]
        summaries = (await api.get(f"{V1}summaries.json", ids=large))["summaries"]
        assert summaries[large]["status"] == "waiting"
        assert (await api.get(f"{V1}executions.json", status="waiting"))["unread"] == 0


class SlowStore(MemoryStore):
    """Takes a while to read an execution."""

    def __init__(self, clock: MovableClock) -> None:
        super().__init__()
        self._clock = clock

    async def load(
        self, execution_id: ExecutionId, most_bytes: int | None = None
    ) -> StoredExecution | None:
        """Read it late."""
        self._clock.advance(0.01)
        return await super().load(execution_id, most_bytes)


async def test_a_page_that_asks_owners_ends_in_time_and_the_next_one_goes_on() -> None:
    clock = MovableClock()
    async with served(store=SlowStore(clock), clock=clock, hot_executions=1) as api:
        descriptor = await api.add(SUSPENDED)
        held = await api.submit(descriptor)
        await api.post("/flow/pause.json", execution_id=held)
        for _ in range(2 * MOST_AT_ONCE):
            await api.submit(descriptor)
        pages = []
        cursor: str | None = ""
        while cursor is not None:
            page = await api.get(f"{V1}executions.json", status="held", cursor=cursor)
            pages.append([row["execution_id"] for row in page["rows"]])
            cursor = page["next"]
        assert len(pages) > 1
        assert [each for found in pages for each in found] == [held]
