"""Whatever a caller has stored is bounded: by bytes and number by workspace, and by free space.

`docs/security.md` lists the routes that write to the store, and what happens to each while the disk
has too little space. What ends or removes something goes on, so that there is a way to make room.
"""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

from rillflow.ports.storage.store import Store
from rillflow.stores.memory.store import MemoryStore
from serve.middleware.audited_changes import SUBJECTS, TOOLS
from serve.route_table import ROUTES
from tests.api.definition_texts import PASS, SUSPENDED
from tests.api.serving import Api, refusal_of, served
from tests.api.test_access import FIRST, made, shown

SECURITY: Final = Path(__file__).parents[2] / "docs" / "security.md"
MANAGE: Final = "/flow/bg/manage/descriptor"
FEATURE: Final = {"business_id": "shop", "feature_name": "order"}
ALIAS: Final = {**FEATURE, "alias": "release"}
TRIGGER: Final = {"id": "shop:daily", "descriptor_id": "shop:order", "cron": "0 0 0 1 1 *"}
TEMPLATE: Final = {"name": "n", "type": 0, "category": "function"}
WRITE_NOTHING: Final = TOOLS | {
    f"{MANAGE}/get_descriptor.json",
    "/flow/clear_runtime_resources.json",
    "/flow/console/v1/evaluate.json",
    "/flow/bg/user/login.json",
    "/console/sign-in",
    *(path for path in SUBJECTS if path.startswith("/flow/customized/storage/")),
}
"""Routes that take a POST, and leave nothing in the store but a row of the audit."""
Requests: TypeAlias = dict[str, tuple[dict[str, Any], Any]]
"""Parameters and a body by path."""
REFUSED: Final = "refused"
REFUSED_AT_HALF: Final = "refused below a half"
GOES_ON: Final = "goes on"


def listed() -> dict[str, str]:
    """Return the paths of the table, with what happens to each while the disk is short."""
    text = SECURITY.read_text(encoding="utf-8")
    section = text.partition("\n## What writes to the store\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line[:1] == "|"][2:]
    return {path: row[3] for row in rows for path in re.findall(r"`(/[^`]+)`", row[0])}


def test_the_table_has_every_route_that_writes_to_the_store() -> None:
    may_write = {
        route.path for route in ROUTES if "POST" in route.methods.split() or route.changed_by_get
    }
    assert set(listed()) == may_write - WRITE_NOTHING
    assert may_write >= WRITE_NOTHING


CALLING: Final = """
workspace: shop
dagName: calling
type: flow
tasks:
  - { name: a, category: function, pattern: task_async, resourceName: "URL" }
"""


PLENTY: Final = 0.5
"""Of the free space must stay free."""
SHORT: Final = 1.3
VERY_SHORT: Final = 4.0


@asynccontextmanager
async def with_disk(folder: Path, share: float, store: Store, **changes: Any) -> AsyncIterator[Api]:
    """Serve a store, of whose disk so many times the free space must stay free."""
    least = int(shutil.disk_usage(folder).free * share)
    changes |= {"data_dir": folder, "store_min_free_bytes": least, "api_key": FIRST}
    async with served({"later": lambda _: {}}, store=store, **changes) as api:
        api.client.headers.update(shown(FIRST))
        yield api


async def _called(api: Api, execution_id: str) -> None:
    """Return when the function of an execution has been called, and waits are for its callback."""
    path = "/flow/console/v1/waits.json"
    async with asyncio.timeout(60):
        while "callback" not in str(await api.get_patiently(path, execution_id=execution_id)):
            pass  # no event tells


async def prepared(folder: Path, store: Store) -> Requests:
    """Fill a store with what the routes of the table change; return requests to them."""
    async with with_disk(folder, PLENTY, store) as api:
        await api.add(SUSPENDED)
        await api.add(CALLING.replace("URL", f"{api.gateway.url}/function/later"))
        await api.post("/flow/triggers/add.json", TRIGGER)
        await api.post("/flow/triggers/add.json", TRIGGER | {"id": "shop:old"})
        await api.post("/flow/template/create_task_template.json", TEMPLATE)
        await made(api, "old", "viewer")
        called = await api.submit("shop:calling")
        await _called(api, called)
        waiting = [await api.submit("shop:order") for _ in range(4)]
        return _of_executions(called, *waiting) | _of_definitions() | _of_others()


def _of_executions(called: str, *waiting: str) -> Requests:
    first, *others = ({"execution_id": each} for each in waiting)
    task = {**first, "task_name": "wait"}
    degraded = {"degrade_current_task": "true", "degrade_following_tasks": "false"}
    return {
        "/flow/submit.json": ({"descriptor_id": "shop:order"}, {}),
        "/flow/finish.json": (
            {"execution_id": called, "task_name": "a"},
            {"result_type": "SUCCESS"},
        ),
        "/flow/trigger.json": (task, {}),
        "/flow/wakeup.json": (task, {}),
        "/flow/redo.json": (others[2], {}),
        "/flow/multi_redo.json": ({"service_id": "shop:order"}, None),
        "/flow/task_degrade.json": ({**task, **degraded}, None),
        "/flow/pause.json": (first, None),
        "/flow/resume.json": (first, None),
        "/flow/complete.json": (others[0], None),
        "/flow/cancel.json": (others[1], None),
    }


def _of_definitions() -> Requests:
    table = {"business_id": "shop", "config_key": "k", "resource_name": "http://h/"}
    return {
        f"{MANAGE}/add_descriptor.json": (ALIAS, SUSPENDED),
        f"{MANAGE}/modify_business.json": ({"add": "true", "business_id": "new"}, None),
        f"{MANAGE}/modify_feature.json": ({"add": "true", **FEATURE}, None),
        f"{MANAGE}/modify_alias.json": ({"add": "true", **ALIAS}, None),
        f"{MANAGE}/modify_gray.json": ({"add": "true", **ALIAS, "gray_rule": "uid == 1"}, None),
        f"{MANAGE}/modify_function_ab.json": (
            {"add": "true", **table, "ab_rule": "default"},
            None,
        ),
    }


def _of_others() -> Requests:
    trigger, template = {"trigger_id": "shop:daily"}, {"id": 2}
    span = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
    cron = {"type": "cron", "cron": "0 0 0 1 1 *", "descriptor_id": "shop:order"}
    return {
        "/flow/trigger/add_trigger.json": ({"descriptor_id": "shop:order", "type": "cron"}, cron),
        "/flow/trigger/cancel_trigger.json": ({"type": "cron", "task_id": "shop:old"}, None),
        "/flow/triggers/add.json": ({}, TRIGGER | {"id": "shop:next"}),
        "/flow/triggers/fire.json": (trigger, None),
        "/flow/triggers/backfill.json": ({**trigger, **span}, None),
        "/flow/triggers/resume.json": (trigger, None),
        "/flow/triggers/pause.json": (trigger, None),
        "/flow/triggers/remove.json": (trigger, None),
        "/flow/template/create_task_template.json": ({}, TEMPLATE | {"name": "m"}),
        "/flow/template/update_task_template.json": ({}, template | {"name": "o"}),
        "/flow/template/enable_task_template.json": (template, None),
        "/flow/template/disable_task_template.json": (template, None),
        "/flow/keys/add.json": ({"name": "new", "role": "viewer"}, None),
        "/flow/keys/revoke.json": ({"name": "old"}, None),
    }


ELSEWHERE: Final = {"/flow/hooks/{name}", "/flow/artifacts", "/console/sign-out"}
"""Routes that take no plain request: their row names the test that shows what holds them."""


@pytest.mark.parametrize(
    ("share", "refused"),
    [(PLENTY, set()), (SHORT, {REFUSED}), (VERY_SHORT, {REFUSED, REFUSED_AT_HALF})],
)
async def test_each_route_is_refused_or_goes_on_as_the_table_says(
    tmp_path: Path, share: float, refused: set[str]
) -> None:
    store, table, found = MemoryStore(), listed(), {}
    sent = await prepared(tmp_path, store)
    assert sent.keys() | ELSEWHERE == table.keys()
    async with with_disk(tmp_path, share, store) as api:
        for path, (params, body) in sent.items():
            content = {"content": body} if isinstance(body, str) else {"json": body}
            answer = await api.client.post(path, params=params, **content)
            assert answer.status_code in (200, 429, 503), (path, answer.text)
            found[path] = answer.status_code != 200
            assert not found[path] or "store_min_free_bytes" in answer.text, (path, answer.text)
    assert found == {path: table[path] in refused for path in sent}


async def test_names_and_rules_are_removed_while_the_disk_is_full(tmp_path: Path) -> None:
    store, changes = MemoryStore(), _of_definitions()
    del changes[f"{MANAGE}/add_descriptor.json"]
    async with with_disk(tmp_path, PLENTY, store) as api:
        for path, (params, _) in changes.items():
            await api.post(path, **params)
    async with with_disk(tmp_path, VERY_SHORT, store) as api:
        for path, (params, _) in changes.items():
            assert (await api.refusal(path, **params))[0] == 503
            await api.post(path, **(params | {"add": "false"}))


MESSAGE: Final = "the quota store_bytes of the workspace shop is reached: 400000 bytes"


async def limited(tmp_path: Path) -> Any:
    return served(data_dir=tmp_path, workspace_quotas={"shop": {"store_bytes": 400_000}})


async def refused_in_the_end(api: Api, path: str, body: Any = None, **params: Any) -> int:
    """Return how many were taken until the quota was reached; ``{n}`` is the number of each."""
    for number in range(1_000):
        numbered = {name: text.replace("{n}", str(number)) for name, text in params.items()}
        answer = await api.client.post(path, params=numbered, json=body)
        if answer.status_code != 200:
            assert refusal_of(answer)[1:] == (30201, MESSAGE)
            return number
        api.clock.advance(2)
    raise AssertionError("no quota was reached")


async def test_the_data_of_redos_count_for_the_workspace(tmp_path: Path) -> None:
    async with await limited(tmp_path) as api:
        await api.add(SUSPENDED)
        execution = await api.submit("shop:order")
        data = {"text": "x" * 50_000}
        number = await refused_in_the_end(api, "/flow/redo.json", data, execution_id=execution)
        assert 3 <= number <= 8
        assert await api.stack.store.stored_bytes("shop") < 500_000
        await api.post("/flow/cancel.json", execution_id=execution)


async def test_rules_count_for_the_workspace(tmp_path: Path) -> None:
    async with await limited(tmp_path) as api:
        name = {"add": "true", "business_id": "shop", "config_key": "key{n}"}
        rule = {"resource_name": f"http://h/{'x' * 30_000}", "ab_rule": "default"}
        path = f"{MANAGE}/modify_function_ab.json"
        assert 9 <= await refused_in_the_end(api, path, **name, **rule) <= 13
        await api.post(path, **(name | rule | {"add": "false", "config_key": "key0"}))
        api.clock.advance(2)
        await api.post(path, **(name | rule | {"config_key": "again"}))


async def test_triggers_count_for_the_workspace(tmp_path: Path) -> None:
    async with await limited(tmp_path) as api:
        taken = 0
        for number in range(20):
            body = TRIGGER | {"id": f"shop:t{number}", "context": {"text": "x" * 60_000}}
            answer = await api.client.post("/flow/triggers/add.json", json=body)
            api.clock.advance(2)
            if answer.status_code != 200:
                break
            taken += 1
        assert refusal_of(answer)[1:] == (30201, MESSAGE)
        assert 4 <= taken <= 6


async def test_orders_go_a_tenth_beyond_the_quota_and_no_further(tmp_path: Path) -> None:
    async with await limited(tmp_path) as api:
        await api.add(SUSPENDED)
        execution = await api.submit("shop:order")
        other = await api.submit("shop:order", {"text": "x" * 350_000})
        data = {"text": "x" * 30_000}
        api.clock.advance(2)
        assert (await api.refusal("/flow/redo.json", data, execution_id=other))[0] == 429
        await api.post("/flow/pause.json", execution_id=execution)
        await api.post("/flow/resume.json", execution_id=execution)
        task = {"execution_id": execution, "task_name": "wait"}
        statuses = []
        for _ in range(20):
            answer = await api.client.post("/flow/wakeup.json", params=task, json=data)
            statuses.append(answer.status_code)
            api.clock.advance(2)
            await api.client.get("/flow/get.json", params=task)
        assert statuses[0] == 200
        assert statuses[-1] == 429
        assert statuses.count(200) < 8
        assert (await api.refusal("/flow/trigger.json", data, **task))[0] == 429
        api.clock.stop_all()
        pauses = [
            (await api.client.post("/flow/pause.json", params=task)).status_code for _ in range(200)
        ]
        assert pauses[0] == 200
        assert pauses[-1] == 429
        await api.post("/flow/cancel.json", execution_id=execution)


async def test_a_workspace_lists_so_many_names() -> None:
    async with served() as api:
        api.stack.stored.most_names = 4
        await api.add(PASS)
        path = f"{MANAGE}/modify_feature.json"
        await api.post(path, add="true", business_id="shop", feature_name="more")
        api.clock.advance(2)
        refused = await api.refusal(path, add="true", business_id="shop", feature_name="most")
        message = "a workspace may have 4 features and aliases; remove one first"
        assert refused == (400, 30110, message)
        await api.add(PASS)
        await api.post(path, add="true", business_id="other", feature_name="most")
        await api.post(path, add="false", business_id="shop", feature_name="more")
        api.clock.advance(2)
        await api.post(path, add="true", business_id="shop", feature_name="most")


async def test_the_rules_of_a_workspace_take_so_much() -> None:
    async with served() as api:
        api.stack.stored.most_rule_bytes = 5_000
        path = f"{MANAGE}/modify_gray.json"
        gray = {"add": "true", "alias": "beta", "gray_rule": "uid == 1", "business_id": "shop"}
        statuses = []
        for number in range(6):
            named = gray | {"feature_name": f"f{number}"}
            statuses.append((await api.client.post(path, params=named)).status_code)
            api.clock.advance(2)
        assert statuses == [200, 200, 200, 200, 400, 400]
        await api.post(path, **(gray | {"feature_name": "f", "business_id": "other"}))


async def test_outcomes_of_functions_arrive_while_the_disk_is_full(tmp_path: Path) -> None:
    store, quotas = MemoryStore(), {"shop": {"store_bytes": 50_000}}
    async with with_disk(tmp_path, PLENTY, store) as api:
        await api.add(CALLING.replace("URL", f"{api.gateway.url}/function/later"))
        ids = [await api.submit("shop:calling") for _ in range(3)]
        for execution in ids:
            await _called(api, execution)
    async with with_disk(tmp_path, VERY_SHORT, store, workspace_quotas=quotas) as api:
        for execution in ids:
            task = {"execution_id": execution, "task_name": "a", "status": "success"}
            await api.post("/flow/trigger.json", {"text": "x" * 30_000}, **task)
            assert (await api.ended(execution))["dag_status"] == "SUCCEED"
