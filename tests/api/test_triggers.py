"""Triggers are added, listed, paused, fired and removed over HTTP, as in spec 7.1 and beyond."""

import asyncio
import time
from typing import Any, Final

import pytest

from rillflow.errors import UnreadAnswersError
from rillflow.jsontypes import encode_json
from rillflow.ports.triggers import TriggerRow
from rillflow.runtime.definitions.trigger_room import MOST_BYTES_OF_ONE
from rillflow.runtime.triggers.registry import MOST_CONTEXT_BYTES
from rillflow.stores.memory.store import MemoryStore
from rillflow.triggers.spec import TriggerSpec, encode_spec
from tests.api.definition_texts import PASS, SUSPENDED
from tests.api.serving import LONG_S, Api, served
from tests.machine_speed import slowness, tries

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADD: Final = "/flow/trigger/add_trigger.json"
CANCEL: Final = "/flow/trigger/cancel_trigger.json"
TASKS: Final = "/flow/trigger/get_trigger_tasks.json"
OURS: Final = "/flow/triggers"
EVERY_SECOND: Final = {"cron": "0/1 * * * * *", "context": {"a": 1}}
YEARLY: Final = "0 0 0 1 1 *"


async def executions(api: Api, count: int) -> list[dict[str, Any]]:
    """Return the executions once there are so many."""
    params = {"business": "shop", "feature": "order"}
    async with asyncio.timeout(LONG_S):
        while True:
            found = (await api.get("/flow/bg/get_execution_ids.json", **params))["items"]
            if len(found) >= count:
                return list(found)


async def total(api: Api) -> int:
    """Return how many executions there are."""
    params = {"business": "shop", "feature": "order"}
    return int((await api.get("/flow/bg/get_execution_ids.json", **params))["total"])


async def shown_with(api: Api, trigger_id: str, field: str) -> dict[str, Any]:
    """Return a trigger once a field of it is neither empty nor 0."""
    async with asyncio.timeout(LONG_S):
        while True:
            shown = await api.get(f"{OURS}/show.json", trigger_id=trigger_id)
            if shown[field]:
                return dict(shown)


@pytest.mark.case("E2E-22")
async def test_a_cron_trigger_starts_an_execution_each_second_until_it_is_cancelled() -> None:
    async with served() as api:
        await api.add(PASS)
        added = await api.post(ADD, EVERY_SECOND, type="cron", descriptor_id="shop:order")
        assert added == {"code": 0, "data": {"task_id": "1"}}
        [first, *_] = await executions(api, 2)
        shown = await api.ended(first["execution_id"])
        assert shown["context"] == {"a": 1, "flow_execution_id": first["execution_id"]}
        assert await api.get(TASKS, type="cron") == {"code": 0, "data": {"1": EVERY_SECOND}}
        assert await api.post(CANCEL, type="cron", task_id="1") == {"code": 0}
        assert await api.get(TASKS, type="cron") == {"code": 0, "data": {}}
        assert await api.post(CANCEL, type="cron", task_id="1") == {"code": -1}
        before = len(await executions(api, 2))
        await api.add(PASS.replace("order", "other"))
        await api.post(ADD, EVERY_SECOND, type="cron", descriptor_id="shop:other")
        await shown_with(api, "2", "fired")
        assert len(await executions(api, 2)) == before


@pytest.mark.case("E2E-23")
async def test_an_unknown_type_is_refused(shared_api: Api) -> None:
    refusal = (400, 30106, "do not support type: foo")
    assert await shared_api.refusal(ADD, {}, type="foo", descriptor_id="shop:order") == refusal
    assert await shared_api.refusal(ADD, b"", type="foo", descriptor_id="shop:order") == refusal
    assert await shared_api.refusal(CANCEL, type="foo", task_id="1") == refusal
    shown = await shared_api.get(TASKS, type="foo")
    assert shown == {"code": -1, "message": "do not support type: foo"}


@pytest.mark.parametrize("missing", ["type", "descriptor_id"])
async def test_a_missing_parameter_is_refused_as_mistyped(shared_api: Api, missing: str) -> None:
    params = {"type": "cron", "descriptor_id": "shop:order"}
    del params[missing]
    assert (await shared_api.refusal(ADD, EVERY_SECOND, **params))[:2] == (422, 30109)
    assert (await shared_api.refusal(CANCEL, type="cron"))[:2] == (422, 30109)
    assert (await shared_api.get_refusal(TASKS))[:2] == (422, 30109)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "cron is missing"),
        ({"cron": 5}, "cron is missing"),
        ({"cron": "every day"}, "6 fields"),
        ({"cron": "61 * * * * *"}, "Bad second"),
        ({"cron": "0 0 0 30 2 *"}, "Bad day-of-month"),
        ({"cron": YEARLY, "context": [1]}, "context must be a JSON object"),
    ],
)
async def test_a_bad_cron_is_code_minus_1_with_the_reason(
    shared_api: Api, body: dict[str, Any], reason: str
) -> None:
    added = await shared_api.post(ADD, body, type="cron", descriptor_id="shop:order")
    assert added["code"] == -1
    assert reason in added["err_msg"]
    assert (await shared_api.get(TASKS, type="cron"))["data"] == {}


async def test_a_body_that_is_no_object_and_an_id_of_another_form_are_refused(
    shared_api: Api,
) -> None:
    params = {"type": "cron", "descriptor_id": "shop:order"}
    assert (await shared_api.refusal(ADD, "[1]", **params))[:2] == (422, 30109)
    for body in (b"", b" \n", b"null"):
        refusal = await shared_api.refusal(ADD, body, **params)
        assert refusal == (422, 30109, "Required request body is missing")
    params["descriptor_id"] = "shop"
    refusal = await shared_api.refusal(ADD, EVERY_SECOND, **params)
    assert refusal == (400, 30109, "dagDescriptorId:shop format error")


@pytest.mark.parametrize("kind", [{"cron": YEARLY}, {"webhook": {"signature": "none"}}])
async def test_user_name_and_password_of_a_callback_are_sent_and_not_shown(
    kind: dict[str, Any],
) -> None:
    async with served() as api:
        address = "http://bob:hunter2@127.0.0.1:9/done"
        new = {"id": "one", "descriptor_id": await api.add(PASS), "callback": address, **kind}
        shown = [
            await api.post(f"{OURS}/add.json", new),
            await api.get(f"{OURS}/show.json", trigger_id="one"),
            await api.get(f"{OURS}/list.json"),
        ]
        for each in shown:
            assert "127.0.0.1:9/done" in str(each)
            assert "bob" not in str(each)
            assert "hunter2" not in str(each)
        stored = await api.stack.store.trigger("one")
        assert stored is not None
        assert address in stored[0].spec


async def test_what_was_added_is_kept_whole_also_by_a_new_server() -> None:
    async with served() as api:
        store = api.stack.store
        await api.add(PASS)
        body = {"cron": f" {YEARLY} ", "context": {"a": {"b": [1]}}, "note": "mine"}
        params = {
            "type": "cron",
            "descriptor_id": "shop:order",
            "callback": "http://127.0.0.1:9/done",
            "resource_check": '{"check_type": "skip"}',
        }
        assert (await api.post(ADD, body, **params))["code"] == 0
        before = await api.get(TASKS, type="cron")
        assert before["data"]["1"] == body
    async with served(store=store) as again:
        assert await again.get(TASKS, type="cron") == before
        shown = await again.get(f"{OURS}/show.json", trigger_id="1")
        assert '"http://127.0.0.1:9/done"' in shown["callback"]
        assert '"skip"' in shown["resource_check"]
        bad = await again.refusal(ADD, body, **(params | {"callback": "nonsense"}))
        assert bad[:2] == (500, 30603)


async def test_a_trigger_of_ours_is_added_shown_paused_resumed_and_removed() -> None:
    async with served() as api:
        await api.add(PASS)
        new = {
            "id": "nightly",
            "descriptor_id": "shop:order:release",
            "cron": "30 2 * * *",
            "time_zone": "Europe/Berlin",
            "start": "2026-01-01T00:00:00+01:00",
            "end": "2999-01-01T00:00:00Z",
            "jitter_s": 20,
            "overlap": "queue_one",
            "catch_up": 7,
            "context": {"a": 2},
        }
        added = await api.post(f"{OURS}/add.json", new)
        kept = new | {"start": "2025-12-31T23:00:00+00:00", "end": "2999-01-01T00:00:00+00:00"}
        assert {name: added[name] for name in new} == kept
        assert added["paused"] is False
        assert added["next_ms"] > api.clock.now_ms()
        assert (await api.refusal(f"{OURS}/add.json", new))[0] == 409
        again = await api.post(f"{OURS}/add.json", new | {"replace": True, "catch_up": "none"})
        assert again["catch_up"] == "none"
        assert await api.post(f"{OURS}/pause.json", trigger_id="nightly") == {"result": "ok"}
        shown = await api.get(f"{OURS}/show.json", trigger_id="nightly")
        assert shown["paused"] is True
        assert "next_ms" not in shown
        assert await api.post(f"{OURS}/resume.json", trigger_id="nightly") == {"result": "ok"}
        listed = await api.get(f"{OURS}/list.json")
        assert [each["id"] for each in listed["triggers"]] == ["nightly"]
        assert "context" not in listed["triggers"][0]
        assert await api.post(f"{OURS}/remove.json", trigger_id="nightly") == {"result": "ok"}
        for action in ("remove", "pause", "resume", "fire"):
            refusal = await api.refusal(f"{OURS}/{action}.json", trigger_id="nightly")
            assert refusal == (400, 30106, "there is no trigger nightly")
        assert (await api.get_refusal(f"{OURS}/show.json", trigger_id="nightly"))[1] == 30106


async def test_triggers_come_in_pages() -> None:
    async with served() as api:
        for name in "abcde":
            await api.post(f"{OURS}/add.json", {"id": name, "descriptor_id": "s:o", "cron": YEARLY})
        first = await api.get(f"{OURS}/list.json", limit=2)
        assert ([each["id"] for each in first["triggers"]], first["next"]) == (["a", "b"], "b")
        last = await api.get(f"{OURS}/list.json", limit=3, after="c")
        assert [each["id"] for each in last["triggers"]] == ["d", "e"]
        assert "next" not in last


async def test_the_ids_that_triggers_of_others_get_are_refused() -> None:
    async with served() as api:
        new = {"descriptor_id": "shop:order", "cron": YEARLY}
        for taken in ("orders#video:order", "orders#video:order:beta", "1"):
            refusal = await api.refusal(f"{OURS}/add.json", new | {"id": taken, "replace": True})
            assert refusal[:2] == (400, 30110)
        for own in ("orders#shop:order", "a#b", "x:y#z", "v1"):
            assert (await api.post(f"{OURS}/add.json", new | {"id": own}))["id"] == own
        assert (await api.post(f"{OURS}/add.json", new))["id"] == "1"
        changed = new | {"id": "1", "replace": True, "catch_up": 3}
        assert (await api.post(f"{OURS}/add.json", changed))["catch_up"] == 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": "a b"}, "the id of a trigger"),
        ({"id": "x" * 201}, "the id of a trigger"),
        ({"id": "\0"}, "id is missing, or is not text"),
        ({"cron": "x"}, "6 fields"),
        ({"cron": "* " * 200}, "256 characters"),
        ({"time_zone": "Mars"}, "no time zone"),
        ({"time_zone": 3}, "time_zone must be text"),
        ({"start": "tomorrow"}, "start is a time"),
        ({"end": True}, "end is a time"),
        ({"start": "2026-01-02", "end": "2026-01-01"}, "start must be before end"),
        ({"jitter_s": -1}, "jitter_s is a number"),
        ({"jitter_s": 10**400}, "jitter_s is a number"),
        ({"jitter_s": "5"}, "jitter_s is a number"),
        ({"overlap": "maybe"}, "overlap is one of allow, skip, queue_one, cancel_running"),
        ({"catch_up": -1}, "catch_up is none, last"),
        ({"catch_up": 1001}, "catch_up is none, last"),
        ({"catch_up": "sometimes"}, "catch_up is none, last"),
        ({"context": "text"}, "context must be a JSON object"),
        ({"descriptor_id": None}, "descriptor_id is missing"),
        ({"context": {"a": "x" * MOST_CONTEXT_BYTES}}, "context size nonsupport"),
    ],
)
async def test_what_is_wrong_with_a_trigger_is_told(
    shared_api: Api, change: dict[str, Any], reason: str
) -> None:
    new = {"id": "mine", "descriptor_id": "shop:order", "cron": YEARLY} | change
    status, code, message = await shared_api.refusal(f"{OURS}/add.json", new)
    assert (status, code) == (400, 30109)
    assert reason in message


async def test_a_trigger_is_fired_by_hand_and_for_past_times_once() -> None:
    async with served() as api:
        await api.add(PASS)
        new = {"id": "t", "descriptor_id": "shop:order", "cron": "@hourly", "context": {"a": 3}}
        await api.post(f"{OURS}/add.json", new)
        first = await api.post(f"{OURS}/fire.json", trigger_id="t", idempotency_key="k")
        assert await api.post(f"{OURS}/fire.json", trigger_id="t", idempotency_key="k") == first
        assert (await api.post(f"{OURS}/fire.json", trigger_id="t")) != first
        assert (await api.ended(first["execution_id"]))["context"]["a"] == 3
        span = {"from": "2026-03-01T00:00:00Z", "to": "2026-03-01T05:30:00Z"}
        started = (await api.post(f"{OURS}/backfill.json", trigger_id="t", **span))["execution_ids"]
        assert len(set(started)) == 6
        again = (await api.post(f"{OURS}/backfill.json", trigger_id="t", **span))["execution_ids"]
        assert again == started
        long = {"from": "2020-03-01T00:00:00Z", "to": "2026-03-01T05:30:00Z"}
        refusal = await api.refusal(f"{OURS}/backfill.json", trigger_id="t", **long)
        assert refusal[:2] == (400, 30110)
        bad = await api.refusal(f"{OURS}/backfill.json", trigger_id="t", **(span | {"to": "soon"}))
        assert bad[:2] == (400, 30109)


async def test_a_workspace_backfills_one_span_at_once_and_others_do_meanwhile() -> None:
    span = {"from": "2026-03-01T00:00:00Z", "to": "2026-03-10T00:00:00Z"}
    async with served() as api:
        await api.add(PASS)
        await api.add(PASS.replace("workspace: shop", "workspace: other"))
        for name, flow in (("t", "shop:order"), ("o", "other:order")):
            new = {"id": name, "descriptor_id": flow, "cron": "@hourly"}
            await api.post(f"{OURS}/add.json", new)
        ids = ["t", "t", "o"]
        asked = [
            api.client.post(f"{OURS}/backfill.json", params={"trigger_id": each, **span})
            for each in ids
        ]
        one, again, other = await asyncio.gather(*asked)
        assert sorted((one.status_code, again.status_code)) == [200, 429]
        assert other.status_code == 200
        refused = one if one.status_code == 429 else again
        assert refused.headers["Retry-After"]
        await api.post(f"{OURS}/backfill.json", trigger_id="t", **span)


async def test_a_refused_firing_is_told_and_the_next_one_comes() -> None:
    async with served() as api:
        new = {"id": "early", "descriptor_id": "shop:order", "cron": "* * * * * *"}
        await api.post(f"{OURS}/add.json", new)
        shown = await shown_with(api, "early", "error")
        assert shown["error"] == "cannot find descriptor: shop:order:release"
        assert shown["fired"] == 0
        await api.add(PASS)
        await executions(api, 1)


async def test_an_execution_that_still_runs_is_not_overlapped() -> None:
    async with served() as api:
        await api.add(SUSPENDED)
        new = {
            "id": "one",
            "descriptor_id": "shop:order",
            "cron": "* * * * * *",
            "overlap": "skip",
        }
        await api.post(f"{OURS}/add.json", new)
        await shown_with(api, "one", "skipped")
        [only] = await executions(api, 1)
        await api.post("/flow/cancel.json", execution_id=only["execution_id"])
        await executions(api, 2)


async def test_a_page_of_triggers_ends_where_their_settings_are_long() -> None:
    """A list of 500 was 8 MB, made before there was room for it."""
    async with served() as api:
        for number in range(40):
            row = TriggerRow(
                id=f"t{number:02}",
                type="folder",
                descriptor_id="shop:order",
                spec=encode_spec(TriggerSpec(config={"a": "x" * 15_000})),
            )
            await api.stack.store.put_trigger(row, "", replace=False)
        listed: list[str] = []
        after = ""
        while True:
            page = await api.get(f"{OURS}/list.json", limit=500, after=after)
            assert len(encode_json(page)) < 150_000
            listed += [each["id"] for each in page["triggers"]]
            if "next" not in page:
                break
            after = page["next"]
        assert listed == [f"t{number:02}" for number in range(40)]


class AskedStore(MemoryStore):
    """A store that counts how often it is asked for an idempotency key."""

    asked = 0

    async def find_by_idempotency_key(
        self, business: str, feature: str, key: str
    ) -> tuple[str, str] | None:
        self.asked += 1
        return await super().find_by_idempotency_key(business, feature, key)


async def test_a_time_that_nobody_can_have_fired_before_is_not_looked_for() -> None:
    store = AskedStore()
    async with served(store=store) as api:
        await api.post(ADD, EVERY_SECOND, type="cron", descriptor_id=await api.add(PASS))
        # Seconds that had begun when the trigger was learned of are looked for.
        started, asked = 0, -1
        async with asyncio.timeout(LONG_S):
            while store.asked != asked:
                asked, before = store.asked, started
                while started == before:
                    started = await total(api)


async def test_a_trigger_keeps_no_longer_text_than_a_descriptor_id_has(shared_api: Api) -> None:
    for long in ("x" * 900_000, "md5_" + "x" * 900_000, "release:" + "x" * 900_000):
        new = {"descriptor_id": f"shop:order:{long}", "cron": YEARLY}
        status, code, message = await shared_api.refusal(f"{OURS}/add.json", new)
        assert (status, code) == (400, 30109)
        assert len(message) < 200


async def test_there_is_room_for_so_many_triggers() -> None:
    async with served() as api:
        new = {"descriptor_id": "shop:order", "cron": YEARLY, "context": {"a": "x" * 250_000}}
        most = MOST_BYTES_OF_ONE // 250_000
        row = TriggerRow(id="", type="kept", descriptor_id="shop:order")
        for _ in range(most + 1):
            await api.stack.store.put_trigger(row, "x" * 250_000, replace=False)
        status, code, message = await api.refusal(f"{OURS}/add.json", new)
        assert (status, code) == (400, 30110)
        assert "triggers of shop with" in message


async def _all_listed(api: Api) -> int:
    """List all triggers, in as many pages as that takes; return how many there are."""
    number, after = 0, ""
    while True:
        page, after = await api.stack.triggers.lists.page(owner=None, after=after, limit=500)
        number += len(page)
        if not after:
            return number


async def test_the_event_loop_turns_while_the_next_times_of_rare_triggers_are_found() -> None:
    async with served() as api:
        for minute, _ in enumerate(tries()):  # times that were found before are not found faster
            for second in range(50):
                cron = f"{second} {minute % 60} 0 L 2 MON#5"
                row = TriggerRow(
                    id=f"t{second}",
                    type="kept",
                    descriptor_id="shop:order",
                    spec=f'{{"cron":"{cron}","time_zone":"Europe/Berlin"}}',
                )
                await api.stack.store.put_trigger(row, "", replace=minute > 0)
            listing = asyncio.create_task(_all_listed(api))
            longest_s = 0.0
            while not listing.done():
                begun_s = time.thread_time()
                await asyncio.sleep(0)
                longest_s = max(longest_s, time.thread_time() - begun_s)
            assert await listing == 50
            if longest_s < 0.05 * slowness():
                break
        else:
            pytest.fail(f"a turn takes {longest_s:.3f} s")


async def test_the_list_of_all_triggers_takes_its_room_before_it_reads_them() -> None:
    async with served() as api:
        row = TriggerRow(id="", type="cron", descriptor_id="shop:order", spec='{"cron":"@daily"}')
        context = f'{{"a":"{"x" * 100_000}"}}'
        for _ in range(60):
            await api.stack.store.put_trigger(row, context, replace=False)
        found = (await api.get(TASKS, type="cron"))["data"]
        assert len(found) == 60
        assert found["7"] == {"cron": "@daily", "context": {"a": "x" * 100_000}}
        asked: list[int] = []

        def refuse(size: int) -> None:
            asked.append(size)
            raise UnreadAnswersError("too many answers are not read")

        with pytest.raises(UnreadAnswersError):
            await api.stack.triggers.lists.bodies("cron", take_room=refuse)
        ids = sum(len(str(number)) for number in range(1, 61))
        assert asked == [60 * row.bytes_with(context) + ids]
