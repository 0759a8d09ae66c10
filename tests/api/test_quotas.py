"""A key, or a workspace, starts no more executions than its quota; others are not concerned."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from rillflow.artifacts.marks import LEAST_BYTES
from rillflow.artifacts.store import execution_key
from rillflow.client.http_transport.transport import KEY_VARIABLE
from rillflow.errors import StoreError, UnavailableError
from rillflow.ports.storage.store import ExecutionFilter
from rillflow.ports.triggers import TriggerRow
from rillflow.runtime.backpressure.quotas import store_limit
from rillflow.settings import Settings
from rillflow.stores.memory.store import MemoryStore
from tests.api.definition_texts import PASS, SUSPENDED
from tests.api.serving import Api, MovableClock, refusal_of, served
from tests.api.test_access import FIRST, made, shown
from tests.api.test_artifact_uploads import MAKES, UPLOADS, stored_files, waiting
from tests.api.test_keys_command import said

SUBMIT: Final = "/flow/submit.json"
OURS: Final = "/flow/triggers"
ADDED: Final = {"business_id": "shop", "feature_name": "order", "alias": "release"}
ADD: Final = "/flow/bg/manage/descriptor/add_descriptor.json"
FOREIGN: Final = """
workspace: video
dagName: many
type: flow
tasks:
  - name: start
    category: foreach
    inputMappings: [{ source: "$.context.list", target: "$.input.list" }]
    iterationMapping: { collection: "$.input.list", item: one }
    tasks:
      - { name: a, category: function, pattern: flow_async, resourceName: rillflow://shop:order }
"""


STARTING: Final = """
workspace: video
dagName: starting
type: flow
tasks:
  - name: one
    category: function
    pattern: flow_sync
    resourceName: rillflow://shop:order
    inputMappings: [{ source: $.context.a, target: $.input.a }]
    next: two
  - name: two
    category: function
    pattern: flow_sync
    resourceName: rillflow://shop:order
    inputMappings: [{ source: $.context.a, target: $.input.a }]
"""
CALLING: Final = """
workspace: shop
dagName: calling
type: flow
tasks:
  - { name: a, category: function, pattern: task_sync, resourceName: "URL" }
"""


async def submitted(api: Api, key: str, **params: Any) -> Any:
    """Submit with a key, and return the answer."""
    query = {"descriptor_id": "shop:order", **params}
    return await api.client.post(SUBMIT, params=query, json={}, headers=shown(key))


async def reached(answer: Any, message: str) -> None:
    assert answer.status_code == 429, answer.text
    assert refusal_of(answer)[1:] == (30201, message)
    assert answer.headers["Retry-After"] == "1"


async def with_definition(api: Api, text: str) -> None:
    api.client.headers.update(shown(FIRST))
    await api.add(text)
    for name in shown(FIRST):
        del api.client.headers[name]


async def test_a_key_submits_so_often_in_a_second_and_others_go_on() -> None:
    async with served(api_key=FIRST) as api:
        await with_definition(api, PASS)
        api.clock.stop()
        key = await made(api, "few", "submitter", submissions_per_s=2)
        other = await made(api, "other", "submitter", submissions_per_s=2)
        known = await submitted(api, key, idempotency_key="k")
        assert (await submitted(api, key)).status_code == 200
        message = "the quota submissions_per_s of the key few is reached: 2 submissions a second"
        await reached(await submitted(api, key), message)
        again = await submitted(api, key, idempotency_key="k")
        assert again.json() == known.json(), "what was accepted before is found"
        for each in (other, FIRST):
            assert (await submitted(api, each)).status_code == 200
        api.clock.advance(1)
        assert (await submitted(api, key)).status_code == 200


async def test_a_key_has_so_many_unfinished_executions() -> None:
    async with served(api_key=FIRST) as api:
        await with_definition(api, SUSPENDED)
        key = await made(api, "few", "submitter", running=2)
        ids = [(await submitted(api, key)).json()["execution_id"] for _ in range(2)]
        message = "the quota running of the key few is reached: 2 unfinished executions"
        await reached(await submitted(api, key), message)
        waited = await submitted(api, key, wait_s=1)
        await reached(waited, message)
        assert (await submitted(api, FIRST)).status_code == 200
        await api.client.post(
            "/flow/cancel.json", params={"execution_id": ids[0]}, headers=shown(FIRST)
        )
        async with asyncio.timeout(60):
            while (await submitted(api, key)).status_code != 200:
                pass  # the end of the execution is on its way
        await reached(await submitted(api, key), message)


async def test_what_a_key_starts_by_a_trigger_counts_for_it() -> None:
    async with served(api_key=FIRST) as api:
        await with_definition(api, SUSPENDED)
        trigger = {"id": "hourly", "descriptor_id": "shop:order", "cron": "0 0 * * * *"}
        added = await api.client.post(f"{OURS}/add.json", json=trigger, headers=shown(FIRST))
        assert added.status_code == 200, added.text
        key = await made(api, "few", "author", running=2)
        message = "the quota running of the key few is reached: 2 unfinished executions"

        async def asked(action: str, **params: str) -> Any:
            query = {"trigger_id": "hourly", **params}
            headers = shown(key)
            return await api.client.post(f"{OURS}/{action}.json", params=query, headers=headers)

        assert (await asked("fire", idempotency_key="a")).status_code == 200
        span = {"from": "2026-03-01T00:30:00Z", "to": "2026-03-01T10:30:00Z"}
        await reached(await asked("backfill", **span), message)
        await reached(await asked("fire", idempotency_key="b"), message)
        assert (await asked("fire", idempotency_key="a")).status_code == 200
        listed = await api.client.get(
            "/flow/get_execution_count.json",
            params={"service_id": "shop:order", "type": "running"},
            headers=shown(FIRST),
        )
        assert listed.json()["dag"] == {"running": 2}


async def test_a_submission_that_is_refused_takes_no_place() -> None:
    async with served(api_key=FIRST) as api:
        await with_definition(api, PASS)
        key = await made(api, "few", "submitter", running=1)
        for _ in range(3):
            refused = await submitted(api, key, descriptor_id="shop:nothing")
            assert refused.status_code == 400
            too_long = await submitted(api, key, callback="ftp://x")
            assert too_long.status_code != 429
        assert (await submitted(api, key)).status_code == 200


async def test_a_workspace_has_a_quota_whoever_submits() -> None:
    quotas = {"shop": {"submissions_per_s": 2}}
    async with served(workspace_quotas=quotas) as api:
        await api.add(PASS)
        await api.add(PASS.replace("shop", "free"))
        api.clock.stop()
        for _ in range(2):
            await api.submit("shop:order")
        refusal = await api.refusal(SUBMIT, descriptor_id="shop:order")
        message = "the quota submissions_per_s of the workspace shop is reached"
        assert refusal == (429, 30201, f"{message}: 2 submissions a second")
        for _ in range(5):
            await api.submit("free:order")


async def test_a_workspace_has_so_many_unfinished_executions() -> None:
    async with served(workspace_quotas={"shop": {"running": 2}}) as api:
        await api.add(SUSPENDED)
        ids = [await api.submit("shop:order") for _ in range(2)]
        refusal = await api.refusal(SUBMIT, descriptor_id="shop:order")
        message = "the quota running of the workspace shop is reached: 2 unfinished executions"
        assert refusal == (429, 30201, message)
        await api.post("/flow/cancel.json", execution_id=ids[0])
        await api.ended(ids[0])
        api.clock.advance(2)
        await api.submit("shop:order")
        assert (await api.refusal(SUBMIT, descriptor_id="shop:order"))[0] == 429


async def test_a_workspace_has_so_many_bytes_in_the_store() -> None:
    async with served(workspace_quotas={"shop": {"store_bytes": 700_000}}) as api:
        await api.add(SUSPENDED)
        await api.add(PASS.replace("shop", "free"))
        api.clock.stop()
        message = "the quota store_bytes of the workspace shop is reached: 700000 bytes"
        large = {"text": "x" * 300_000}
        ids = [await api.submit("shop:order", large) for _ in range(2)]
        refused = await api.client.post(SUBMIT, params={"descriptor_id": "shop:order"}, json=large)
        await reached(refused, message)
        api.clock.advance(2)
        await api.submit("shop:order")  # a small one has room
        await api.submit("free:order", large)
        shown_now = await api.client.get("/metrics")
        found = [line for line in shown_now.text.splitlines() if "workspace_store_bytes{" in line]
        [told] = found
        assert told.split("shop")[1].startswith('"} 6')
        await api.post("/flow/cancel.json", execution_id=ids[0])
        await api.ended(ids[0])
        left = [ids[0]]
        while left:
            left = await api.stack.store.purge(left, ended_before_ms=1 << 60, most_records=2_000)
        api.clock.advance(2)
        await api.submit("shop:order", large)


async def test_bytes_that_cannot_be_counted_are_as_many_as_before() -> None:
    async with served(workspace_quotas={"shop": {"store_bytes": 100_000}}) as api:
        await api.add(SUSPENDED)
        message = "the quota store_bytes of the workspace shop is reached: 100000 bytes"
        large = {"text": "x" * 90_000}
        await api.submit("shop:order", large)
        api.clock.advance(2)
        refusal = (429, 30201, message)
        assert await api.refusal(SUBMIT, descriptor_id="shop:order") == refusal

        async def fails(workspace: str) -> int:
            raise StoreError(f"{workspace} cannot be counted")

        api.stack.store.stored_bytes = fails  # type: ignore[method-assign]
        api.clock.advance(2)
        assert await api.refusal(SUBMIT, descriptor_id="shop:order") == refusal


async def test_what_functions_answer_counts_as_well() -> None:
    quotas = {"shop": {"store_bytes": 200_000}}
    answer = {"text": "x" * 300_000}
    async with served({"large": lambda _: answer}, workspace_quotas=quotas) as api:
        await api.add(CALLING.replace("URL", f"{api.gateway.url}/function/large"))
        ended = await api.ended(await api.submit("shop:calling"))
        assert ended["dag_status"] == "SUCCEED", ended
        api.clock.advance(2)
        message = "the quota store_bytes of the workspace shop is reached: 200000 bytes"
        assert await api.refusal(SUBMIT, descriptor_id="shop:calling") == (429, 30201, message)


async def test_sub_flows_are_started_while_the_one_who_pays_has_room() -> None:
    """One small submission may start a thousand, each with megabytes."""
    async with served(workspace_quotas={"video": {"store_bytes": 170_000}}) as api:
        await api.add(PASS)
        await api.add(STARTING)
        ended = await api.ended(await api.submit("video:starting", {"a": "x" * 60_000}))
        assert ended["dag_status"] == "FAILED", ended
        tasks = ended["tasks"]
        assert [tasks[name]["status"] for name in ("one", "two")] == ["SUCCEEDED", "FAILED"]
        message = "the quota store_bytes of the workspace video is reached: 170000 bytes"
        assert message in str(tasks["two"])
        wanted = ExecutionFilter(business="shop")
        assert sum((await api.stack.store.count_executions(wanted)).values()) == 1
        await api.run(PASS.replace("order", "else"), {"a": "x" * 60_000})


async def test_a_sub_flow_waits_while_the_disk_has_too_little_space(tmp_path: Path) -> None:
    clock, store = MovableClock(), MemoryStore()
    await store.open()
    full = Settings(data_dir=tmp_path, store_min_free_bytes=1 << 60)
    with pytest.raises(UnavailableError, match="the disk of the store is full"):
        await store_limit(full, store, clock)("shop", 1)
    await store_limit(Settings(data_dir=tmp_path, store_min_free_bytes=1), store, clock)("shop", 1)


async def test_definitions_count_as_well_and_are_refused_beyond_it() -> None:
    async with served(workspace_quotas={"shop": {"store_bytes": 100_000}}) as api:
        await api.add(PASS)
        added = 0
        for number in range(9):
            text = PASS.replace("$.context.a", f"{number}{'x' * 20_000}")
            answer = await api.client.post(ADD, params=ADDED, content=text)
            api.clock.advance(2)
            if answer.status_code == 429:
                break
            added += 1
        message = "the quota store_bytes of the workspace shop is reached: 100000 bytes"
        assert refusal_of(answer)[1:] == (30201, message)
        assert added == 4
        await api.add(PASS.replace("shop", "free"))


async def test_new_executions_leave_the_disk_of_the_store_some_space(tmp_path: Path) -> None:
    async with served(data_dir=tmp_path, store_min_free_bytes=1 << 60) as api:
        await api.stack.store.add_version("shop", "order", "release", "0" * 32, PASS, at_ms=1)
        answer = await api.client.post(SUBMIT, params={"descriptor_id": "shop:order"}, json={})
        assert answer.status_code == 503, answer.text
        assert "store_min_free_bytes" in answer.text
        added = await api.client.post(ADD, params=ADDED, content=PASS)
        assert added.status_code == 503, added.text
        assert answer.headers["Retry-After"] == "1"
        new = {"id": "t", "descriptor_id": "shop:order", "cron": "0 0 0 1 1 *"}
        assert (await api.refusal(f"{OURS}/add.json", new))[0] == 503
        row = TriggerRow(
            id="t", type="cron", descriptor_id="shop:order", created_at_ms=1, position_ms=1
        )
        await api.stack.store.put_trigger(row, "{}", replace=False)
        assert (await api.refusal(f"{OURS}/fire.json", trigger_id="t"))[0] == 503


async def test_sub_flows_that_another_workspace_starts_use_up_no_quota() -> None:
    async with served(workspace_quotas={"shop": {"running": 2}}) as api:
        await api.add(SUSPENDED)
        await api.add(FOREIGN)
        started = await api.submit("video:many", {"list": [1, 2, 3, 4, 5]})
        await api.ended(started)
        wanted = ExecutionFilter(business="shop")
        assert sum((await api.stack.store.count_executions(wanted)).values()) == 5
        for _ in range(2):
            await api.submit("shop:order")
        assert (await api.refusal(SUBMIT, descriptor_id="shop:order"))[0] == 429


async def test_firings_of_triggers_count_against_their_workspace_and_come_later() -> None:
    async with served(workspace_quotas={"shop": {"running": 1}}) as api:
        await api.add(SUSPENDED)
        new = {"id": "t", "descriptor_id": "shop:order", "cron": "0 0 0 1 1 *"}
        await api.post(f"{OURS}/add.json", new)
        fired = await api.post(f"{OURS}/fire.json", trigger_id="t")
        assert (await api.refusal(f"{OURS}/fire.json", trigger_id="t"))[0] == 429
        await api.post("/flow/cancel.json", execution_id=fired["execution_id"])
        await api.ended(fired["execution_id"])
        api.clock.advance(2)
        await api.post(f"{OURS}/fire.json", trigger_id="t")


async def test_the_artifacts_of_a_workspace_have_so_many_bytes(tmp_path: Path) -> None:
    quotas = {"demo": {"artifact_bytes": 20_000}}
    async with waiting(tmp_path, workspace_quotas=quotas) as (api, url):
        assert (await api.client.post(url, content=b"a" * 12_000)).status_code == 200
        assert (await api.client.post(url, content=b"b" * 6_000)).status_code == 200
        message = "the quota artifact_bytes of the workspace demo is reached: 20000 bytes"

        async def unannounced() -> AsyncIterator[bytes]:
            yield b"c" * 200

        for content in (b"c" * 200, unannounced()):
            refused = await api.client.post(url, content=content)
            assert refused.status_code == 429, refused.text
            assert refusal_of(refused)[1:] == (30201, message)
        assert len(stored_files(tmp_path)) == 2
        assert api.stack.artifacts.store.total_of_workspace("demo") == 18_000
        assert api.stack.artifacts.store.total_of_workspace("other") == 0


async def test_small_artifacts_count_for_what_a_file_takes(tmp_path: Path) -> None:
    quotas = {"demo": {"artifact_bytes": 2 * LEAST_BYTES}}
    async with waiting(tmp_path, workspace_quotas=quotas) as (api, url):
        codes = [
            (await api.client.post(url, content=b"%d" % number)).status_code for number in range(3)
        ]
        assert codes == [200, 200, 429]


NESTED: Final = """
workspace: demo
dagName: nested
type: flow
tasks:
  - { name: below, category: function, pattern: flow_sync, resourceName: "rillflow://demo:films" }
"""


async def test_the_artifacts_of_what_a_key_has_started_have_so_many_bytes(tmp_path: Path) -> None:
    addresses: asyncio.Queue[str] = asyncio.Queue()

    def make(request: Any) -> dict[str, Any]:
        addresses.put_nowait(request.headers["X-Callback-Url"])
        return {}

    async with served({"make": make}, data_dir=tmp_path, api_key=FIRST) as api:
        await with_definition(api, MAKES.replace("URL", f"{api.gateway.url}/function"))
        await with_definition(api, NESTED)
        few = await made(api, "few", "submitter", artifact_bytes=20_000)

        async def uploads(key: str, descriptor_id: str) -> str:
            answer = await submitted(api, key, descriptor_id=descriptor_id)
            assert answer.status_code == 200, answer.text
            url = await addresses.get()
            query = {"execution_id": httpx.URL(url).params["execution_id"]}
            tasks: Any = {}
            while tasks.get("make", {}).get("status") != "RUNNING":  # no event tells
                shown_now = await api.client.get(
                    "/flow/get.json", params=query, headers=shown(FIRST)
                )
                tasks = shown_now.json()["ret"]["tasks"]
            return url.replace("/flow/trigger.json", UPLOADS)

        first = await uploads(few, "demo:films")
        below = await uploads(few, "demo:nested")
        others = await uploads(FIRST, "demo:nested")
        assert (await api.client.post(first, content=b"a" * 12_000)).status_code == 200
        message = "the quota artifact_bytes of the key few is reached: 20000 bytes"
        for url in (first, below):
            refused = await api.client.post(url, content=b"b" * 10_000)
            assert refused.status_code == 429, refused.text
            assert refusal_of(refused)[1:] == (30201, message)
        assert (await api.client.post(below, content=b"c" * 6_000)).status_code == 200
        assert (await api.client.post(others, content=b"d" * 5_000)).status_code == 200
        store = api.stack.artifacts.store
        [key_id] = {key.key_id for key in await api.stack.store.api_keys()}
        assert store.keys.total_of(key_id) == 18_000
        execution = httpx.URL(below).params["execution_id"]
        store.release(execution_key(execution))
        assert store.keys.total_of(key_id) == 12_000
        assert store.keys.find([execution_key(execution)]) is None


async def test_an_execution_that_was_refused_leaves_no_mark_of_its_key(tmp_path: Path) -> None:
    async with served(data_dir=tmp_path, api_key=FIRST, max_queued_submissions=1) as api:
        await with_definition(api, SUSPENDED)
        key = await made(api, "few", "submitter", artifact_bytes=1_000)
        answers = await asyncio.gather(*(submitted(api, key) for _ in range(10)))
        started = [answer for answer in answers if answer.status_code == 200]
        assert {answer.status_code for answer in answers} <= {200, 429}
        names = {execution_key(answer.json()["execution_id"]) for answer in started}
        assert api.stack.artifacts.store.keys.executions() == names


@pytest.mark.parametrize(
    "wrong",
    [
        {"submissions_per_s": 0},
        {"submissions_per_s": -1},
        {"running": 10_001},
        {"artifact_bytes": 0},
        {"artifact_bytes": 1 << 51},
        {"running": ""},
        {"submission_per_s": 5},
        {"running": "many"},
    ],
)
async def test_a_quota_that_would_not_hold_makes_no_key(wrong: dict[str, Any]) -> None:
    async with served(api_key=FIRST) as api:
        query = {"name": "few", "role": "submitter", **wrong}
        answer = await api.client.post("/flow/keys/add.json", params=query, headers=shown(FIRST))
        assert answer.status_code in (400, 422), answer.text
        listed = await api.client.get("/flow/keys/list.json", headers=shown(FIRST))
        assert listed.json()["keys"] == []


async def test_the_command_makes_keys_with_quotas_and_lists_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, FIRST)
    async with served(api_key=FIRST) as api:
        add = ("keys", "add", "few", "--role", "submitter")
        assert (await said(api, *add, "--submissions-per-s", "5", "--running", "9"))[0] == 0
        assert "submissions_per_s 5  running 9" in (await said(api, "keys", "list"))[1]
