"""The console shows the journal of an execution, and the execution as it was after any event."""

import asyncio
import threading
from contextlib import suppress
from typing import Any, Final

import pytest

from rillflow.errors import OverloadedError
from rillflow.runtime.aio.thread_pool import FOR_HISTORIES
from rillflow.runtime.definitions.catalogue import Plans
from rillflow.runtime.histories.cache import MOST_WAITING, Histories
from rillflow.runtime.histories.history import History
from tests.api.definition_texts import SUSPENDED, calling
from tests.api.serving import LONG_S, Api, served

V1: Final = "/flow/console/v1/"
UNKNOWN: Final = "shop:order_c_8f0f9c00-0000-11f0-8000-000000000000"
ROUTES: Final = ("events", "timeline")
WOKEN: Final = 250


async def seen(api: Api, name: str, execution_id: str, **asked: Any) -> Any:
    return await api.get_patiently(f"{V1}{name}.json", execution_id=execution_id, **asked)


async def woken(api: Api, times: int = WOKEN) -> str:
    """Run an execution that is woken so many times, and still waits."""
    execution_id = await api.submit(await api.add(SUSPENDED))
    for number in range(times):
        await wake(api, execution_id, number)
    return execution_id


async def wake(api: Api, execution_id: str, go: Any) -> None:
    await api.post("/flow/wakeup.json", {"go": go}, execution_id=execution_id, task_name="wait")


async def test_the_journal_is_listed_in_pages_from_both_ends() -> None:
    async with served() as api:
        execution_id = await woken(api)
        for order, expected in (
            ("asc", list(range(1, WOKEN + 2))),
            ("desc", list(range(WOKEN + 1, 0, -1))),
        ):
            found: list[int] = []
            cursor = ""
            while cursor is not None:
                page = await seen(api, "events", execution_id, order=order, limit=90, cursor=cursor)
                assert page["last_seq"] == WOKEN + 1
                found += [event["seq"] for event in page["events"]]
                cursor = page["next"]
            assert found == expected


async def test_events_are_found_by_kind_and_task() -> None:
    async with served({"work": lambda _: {"a": 1}}) as api:
        execution_id = (await api.run(calling("work")))["execution_id"]
        shown = await seen(api, "events", execution_id, kind="dispatch_answered")
        assert [event["seq"] for event in shown["events"]] == [2]
        assert (await seen(api, "events", execution_id, task="A"))["events"] == shown["events"]
        assert (await seen(api, "events", execution_id, task="B"))["events"] == []


async def test_any_state_is_shown_as_it_was_in_any_order() -> None:
    async with served() as api:
        execution_id = await woken(api)
        for seq in (1, WOKEN + 1, 2, 150, 149, 240, 1):
            context = await seen(api, "context", execution_id, event=seq)
            assert context["seq"] == seq
            assert context["value"].get("go") == (None if seq == 1 else seq - 2)
            header = await seen(api, "execution", execution_id, event=seq)
            assert (header["seq"], header["status"]) == (seq, "waiting")
        changes = await seen(api, "changes", execution_id, seq=3)
        assert changes["changes"] == [
            {"route": "", "path": "/go", "op": "replace", "before": 0, "after": 1, "task": "wait"}
        ]


async def test_the_last_state_of_the_past_is_the_present_one() -> None:
    async with served({"work": lambda _: {"a": 1}}) as api:
        execution_id = (await api.run(calling("work")))["execution_id"]
        last = (await seen(api, "events", execution_id))["last_seq"]
        for name in ("graph", "context"):
            now = await seen(api, name, execution_id)
            then = await seen(api, name, execution_id, event=last)
            assert {**now, "at_ms": 0} == {**then, "at_ms": 0}


async def test_a_timeline_of_the_past_has_the_statuses_of_then() -> None:
    async with served({"work": lambda _: {"a": 1}}) as api:
        execution_id = (await api.run(calling("work")))["execution_id"]
        for asked, status in (({"event": 1}, "running"), ({}, "succeeded")):
            [row] = (await seen(api, "timeline", execution_id, **asked))["rows"]
            assert row["status"] == status


async def test_one_event_has_its_data_masked() -> None:
    async with served() as api:
        execution_id = await api.submit(await api.add(SUSPENDED), {"password": "hunter2", "n": 1})
        shown = await seen(api, "event", execution_id, seq=1)
        assert shown["data"]["data"] == {"password": "***", "n": 1}
        assert "id_key" not in shown["data"]


async def test_what_does_not_exist_is_not_found(api: Api) -> None:
    execution_id = await woken(api, 1)
    for name in ROUTES:
        for unknown in (UNKNOWN, "no id"):
            refusal = await api.get_refusal(f"{V1}{name}.json", execution_id=unknown)
            assert refusal[:2] == (404, 30605)
    for name, asked in (
        ("event", {"seq": 3}),
        ("event", {"seq": 0}),
        ("changes", {"seq": -1}),
        ("execution", {"event": 9}),
        ("execution", {"event": 0}),
        ("timeline", {"event": 9}),
        ("timeline", {"route": "A_0"}),
    ):
        status, _, _ = await api.get_refusal(f"{V1}{name}.json", execution_id=execution_id, **asked)
        assert status == 404, (name, asked)
    refusal = await api.get_refusal(f"{V1}events.json", execution_id=execution_id, cursor="x")
    assert refusal[:2] == (400, 30109)


async def test_a_long_journal_is_read_on_by_the_next_request() -> None:
    async with served() as api:
        execution_id = await woken(api)
        history = History(execution_id, api.stack.store, Plans(api.stack.store), longest_s=0)
        with pytest.raises(OverloadedError, match="is being read") as error:
            await history.whole(WOKEN + 1)
        assert error.value.http_status == 503
        for _ in range(WOKEN):
            with suppress(OverloadedError):
                await history.whole(WOKEN + 1)
                break
        assert (await history.whole(WOKEN + 1)).seq == WOKEN + 1


async def test_readers_of_the_past_who_wait_leave_room_for_those_of_others(
    api: Api,
) -> None:
    """One key with 60 connections had the readers of all others refused."""
    execution_id = await woken(api, 1)
    sender = "one"
    histories = Histories(api.stack.store, sender=lambda: sender)

    def ask() -> asyncio.Task[bytes | None]:
        return asyncio.create_task(histories.view(execution_id, 1, "summary", {}))

    many = [ask() for _ in range(60)]
    await asyncio.sleep(0)
    sender = "other"
    assert await ask() is not None
    found = await asyncio.gather(*many, return_exceptions=True)
    assert sum(isinstance(each, OverloadedError) for each in found) == 60 - MOST_WAITING // 2


async def test_few_histories_are_kept() -> None:
    async with served() as api:
        ids = [await woken(api, 1) for _ in range(4)]
        histories = Histories(api.stack.store, most=2)
        for execution_id in ids:
            assert await histories.view(execution_id, 1, "summary", {}) is not None
        assert len(histories) == 2


async def test_checkpoints_take_a_bounded_number_of_bytes() -> None:
    async with served() as api:
        execution_id = await woken(api)
        plans = Plans(api.stack.store)
        history = History(execution_id, api.stack.store, plans, spacing=1, checkpoints_bytes=40_000)
        await history.whole(WOKEN + 1)
        assert 0 < history.size_bytes <= 40_000
        assert (await history.at(200)).seq == 200


async def test_an_execution_whose_state_takes_too_much_memory_has_no_past() -> None:
    async with served() as api:
        execution_id = await api.submit(await api.add(SUSPENDED))
        await wake(api, execution_id, 0)
        await wake(api, execution_id, [[]] * 50_000)
        api.stack.histories = Histories(api.stack.store, state_bytes=2 << 20)
        refusals = [
            await api.client.get(
                f"{V1}execution.json", params={"execution_id": execution_id, "event": 3}
            )
            for _ in range(2)
        ]
        assert [each.status_code for each in refusals] == [413, 413]
        assert "MB is the limit" in refusals[0].json()["error"]
        assert api.stack.histories.weight_bytes == 0
        assert (await seen(api, "execution", execution_id, event=2))["seq"] == 2
        assert (await seen(api, "execution", execution_id))["seq"] == 3


async def test_values_weigh_what_they_take_in_memory() -> None:
    async with served() as api:
        execution_id = await api.submit(await api.add(SUSPENDED))
        await wake(api, execution_id, [[]] * 50_000)
        history = History(execution_id, api.stack.store, Plans(api.stack.store))
        await history.at(2)
        assert history.weight_bytes > 50_000 * 64


async def test_a_long_journal_of_a_small_state_is_shown() -> None:
    async with served() as api:
        execution_id = await woken(api)
        plans = Plans(api.stack.store)
        history = History(execution_id, api.stack.store, plans, state_bytes=20_000)
        assert (await history.whole(WOKEN + 1)).seq == WOKEN + 1


async def test_histories_take_a_bounded_number_of_bytes_together() -> None:
    async with served() as api:
        ids = [await woken(api, 2) for _ in range(3)]
        histories = Histories(api.stack.store, most_bytes=1)
        for execution_id in ids:
            assert await histories.view(execution_id, 3, "summary", {}) is not None
            assert len(histories) == 1
        assert histories.weight_bytes > 1
        histories.stop()
        assert histories.weight_bytes == 0


async def test_a_history_that_nobody_looks_at_is_dropped() -> None:
    async with served() as api:
        execution_id = await woken(api, 1)
        histories = Histories(api.stack.store, kept_s=0.3)
        assert await histories.view(execution_id, 2, "summary", {}) is not None
        assert len(histories) == 1
        async with asyncio.timeout(60):
            while len(histories):
                await api.get("/healthz")


async def test_large_submissions_do_not_wait_for_replays() -> None:
    gate = threading.Event()
    async with served() as api:
        held = [asyncio.create_task(FOR_HISTORIES.run(gate.wait)) for _ in range(65)]
        await asyncio.sleep(0)
        version = await api.add(SUSPENDED)
        async with asyncio.timeout(LONG_S):
            execution_id = await api.submit(version, {"a": "x" * 100_000})
        asked: dict[str, Any] = {
            "url": f"{V1}events.json",
            "params": {"execution_id": execution_id},
        }
        assert (await api.client.get(**asked)).status_code == 429
        gate.set()
        assert all(await asyncio.gather(*held))
        assert (await api.client.get(**asked)).status_code == 200
