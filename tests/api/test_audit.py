"""The audit has who changed what, before the change is answered; reads and values are not in it."""

import asyncio
from typing import Any, Final

from starlette.responses import Response

from rillflow.core.events import CancelRequested
from rillflow.errors import StoreError
from rillflow.ports.storage.access import AuditEntry
from rillflow.runtime.retention import Retention
from rillflow.stores.memory.store import MemoryStore
from serve.middleware.audited_changes import (
    LEFT,
    REFUSED_PER_S,
    SUBJECTS,
    TOOLS,
    WAKE_UP_PAUSE_S,
    AuditedChanges,
)
from serve.route_table import ROUTES, Access, Role
from tests.api.definition_texts import PASS
from tests.api.serving import MovableClock, served
from tests.api.test_access import FIRST, Opened, made, open_access, shown


async def _nothing(*_: Any) -> Any:
    """Receive, or send, nothing."""


NOBODY: Final = (_nothing, _nothing)


async def newest(access: Opened) -> dict[str, Any]:
    listed = await access.ask("GET", "/flow/audit.json", FIRST, limit="1")
    entry: dict[str, Any] = listed.json()["entries"][0]
    return entry


async def test_a_change_is_noted_with_key_address_and_time() -> None:
    async with open_access() as access:
        order = {"execution_id": access.ids["shop"]}
        await access.ask("GET", "/flow/get.json", FIRST, **order)
        done = await access.ask("POST", "/flow/cancel.json", access.keys["operator"], **order)
        assert done.status_code == 200
        posted = await access.api.client.post(
            "/flow/pause.json",
            data={"execution_id": access.ids["video"]},
            headers=shown(access.keys["video"]),
        )
        assert posted.status_code == 200
        listed = (await access.ask("GET", "/flow/audit.json", FIRST)).json()["entries"]
    paused, cancelled, *earlier = listed
    assert (paused["action"], paused["subject"]) == ("pause", access.ids["video"])
    assert (cancelled["action"], cancelled["key"]) == ("cancel", "operator")
    assert (cancelled["subject"], cancelled["workspace"]) == (access.ids["shop"], "shop")
    assert (cancelled["address"], cancelled["status"]) == ("127.0.0.1", 200)
    assert len(cancelled["key_id"]) == 12
    actions = [each["action"] for each in earlier]
    assert actions.count("keys/add") == 6
    assert actions.count("bg/manage/descriptor/add_descriptor") == 2
    assert {each["key"] for each in earlier} == {""}
    assert len(actions) == 8, "neither reads nor submissions"


async def test_submissions_are_noted_with_keys_that_are_made_so() -> None:
    async with open_access() as access:
        noted = await made(access.api, "noted", "submitter", audit_submissions="true")
        other = await made(access.api, "other", "submitter")
        query = {"descriptor_id": "shop:order"}
        started = [
            await access.ask("POST", "/flow/submit.json", key, **query, **more)
            for key in (noted, other, FIRST)
            for more in ({}, {"wait_s": "0.1"})
        ]
        assert {answer.status_code for answer in started} == {200}
        listed = (await access.ask("GET", "/flow/audit.json", FIRST)).json()["entries"]
        [shown_key] = [
            each
            for each in (await access.ask("GET", "/flow/keys/list.json", FIRST)).json()["keys"]
            if each["name"] == "noted"
        ]
    entries = [each for each in listed if each["action"] == "submit"]
    ids = [answer.json()["execution_id"] for answer in started[:2]]
    assert [each["subject"] for each in entries] == ids[::-1]
    assert {each["key"] for each in entries} == {"noted"}
    assert {each["key_id"] for each in entries} == {shown_key["key_id"]}
    assert {each["workspace"] for each in entries} == {"shop"}
    assert {each["address"] for each in entries} == {"127.0.0.1"}
    assert shown_key["audit_submissions"] is True


async def test_a_submission_that_cannot_be_noted_is_made_and_logged(caplog: Any) -> None:
    async with open_access(store=NoAudit()) as access:
        noted = await made(access.api, "noted", "submitter", audit_submissions="true")
        query = {"descriptor_id": "shop:order"}
        started = await access.ask("POST", "/flow/submit.json", noted, **query)
    assert started.status_code == 200
    assert "audit_not_kept" in {record.getMessage() for record in caplog.records}


async def test_a_refused_change_is_noted_and_one_that_was_not_let_in_is_not() -> None:
    async with open_access() as access:
        before = len((await access.ask("GET", "/flow/audit.json", FIRST)).json()["entries"])
        for key in (access.keys["viewer"], access.keys["video"], "wrong"):
            order = {"execution_id": access.ids["shop"]}
            refused = await access.ask("POST", "/flow/cancel.json", key, **order)
            assert refused.is_client_error
        await access.ask("POST", "/flow/cancel.json", FIRST, execution_id="shop:order_c_1")
        listed = (await access.ask("GET", "/flow/audit.json", FIRST)).json()["entries"]
    assert len(listed) == before + 1
    assert listed[0]["status"] >= 400


async def test_a_key_of_a_workspace_sees_what_was_changed_there() -> None:
    async with open_access() as access:
        for name in ("shop", "video"):
            order = {"execution_id": access.ids[name]}
            await access.ask("POST", "/flow/cancel.json", FIRST, **order)
        answer = await access.ask("GET", "/flow/audit.json", access.keys["video"])
        assert answer.status_code == 200
        assert {each["workspace"] for each in answer.json()["entries"]} == {"video"}
        assert "shop" not in answer.text


async def test_pages_follow_each_other() -> None:
    async with served(api_key=FIRST) as api:
        for number in range(5):
            await made(api, f"k{number}", "viewer")
        names: list[str] = []
        query: dict[str, Any] = {"limit": 2}
        while True:
            page = await api.client.get("/flow/audit.json", params=query, headers=shown(FIRST))
            names += [each["subject"] for each in page.json()["entries"]]
            if page.json().get("next") is None:
                break
            query["before"] = page.json()["next"]
    assert names == ["k4", "k3", "k2", "k1", "k0"]


class NoAudit(MemoryStore):
    """A store that keeps everything but the audit."""

    async def note_audit(self, entries: Any) -> None:
        raise StoreError(f"no room for {len(entries)} entries")


async def test_a_change_that_cannot_be_noted_is_made_and_logged(caplog: Any) -> None:
    async with served(store=NoAudit()) as api:
        await api.run(PASS)
    assert "audit_not_kept" in caplog.text


async def test_old_entries_are_removed_apart_from_executions() -> None:
    store, clock = MemoryStore(), MovableClock()
    await store.open()
    kept = Retention(store, clock, keep_s=None, keep_count=None, audit=store, keep_audit_s=60)
    await store.note_audit([AuditEntry(at_ms=clock.now_ms(), action="cancel")])
    assert await kept.trim_audit() == 0
    clock.advance(61)
    await store.note_audit([AuditEntry(at_ms=clock.now_ms(), action="redo")])
    assert await kept.trim_audit() == 1
    assert [each.entry.action for each in await store.audit_entries(limit=9)] == ["redo"]


def test_an_entry_has_no_place_for_values() -> None:
    assert set(AuditEntry.__struct_fields__) == {
        *("at_ms", "action", "subject", "workspace"),
        *("key", "key_id", "address", "status", "unnoted"),
    }


async def test_a_caller_who_leaves_before_the_answer_is_noted() -> None:
    async with open_access() as access:
        stack, made_change = access.api.stack, asyncio.Event()
        execution = access.ids["shop"]

        async def route(*_: Any) -> None:
            await stack.deliver(execution, CancelRequested(at_ms=stack.clock.now_ms()))
            made_change.set()
            await asyncio.Event().wait()

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/flow/cancel.json",
            "query_string": f"execution_id={execution}".encode(),
            "headers": [],
            "client": ("192.0.2.1", 1),
        }
        request = asyncio.create_task(AuditedChanges(route, stack)(scope, *NOBODY))
        await made_change.wait()
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        while (entry := await newest(access))["status"] != LEFT:  # noqa: ASYNC110 - in the background
            await asyncio.sleep(0)
        assert (entry["action"], entry["subject"]) == ("cancel", execution)
        assert (entry["workspace"], entry["address"]) == ("shop", "192.0.2.1")


async def test_one_caller_has_so_many_changes_noted_and_others_go_on() -> None:
    async with open_access() as access:
        access.api.clock.stop()
        statuses: list[int] = []

        async def route(scope: Any, receive: Any, send: Any) -> None:
            await Response(status_code=int(scope["query_string"]))(scope, receive, send)

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        changes = AuditedChanges(route, access.api.stack, burst=5)

        async def asked(answer: int, path: str = "pause", host: str = "192.0.2.1") -> int:
            scope = {
                "type": "http",
                "method": "POST",
                "path": f"/flow/{path}.json",
                "query_string": str(answer).encode(),
                "headers": [],
                "client": (host, 1),
            }
            await changes(scope, _nothing, send)
            return statuses[-1]

        assert [await asked(200, "wakeup") for _ in range(9)] == [200] * 9, "functions wake up"
        assert [await asked(status) for status in (200, 404, 400, 200)] == [200, 404, 400, 200]
        assert [await asked(404, "wakeup") for _ in range(3)] == [404, 429, 429]
        assert await asked(200) == 429
        assert await asked(200, host="192.0.2.9") == 200
        assert await asked(200, host="127.0.0.1") == 200
        listed = (await access.ask("GET", "/flow/audit.json", FIRST)).json()["entries"]
        assert sum(each["address"] == "192.0.2.1" for each in listed) == 1 + 5
        access.api.clock.advance(1)
        assert await asked(200) == 200


async def test_who_is_refused_again_and_again_adds_few_entries_that_count_the_others() -> None:
    async with open_access() as access:
        clock = access.api.clock
        clock.stop_all()

        async def route(scope: Any, receive: Any, send: Any) -> None:
            await Response(status_code=int(scope["query_string"]))(scope, receive, send)

        changes = AuditedChanges(route, access.api.stack, burst=100, burst_of_refused=3)

        async def ask(*statuses: int, host: str = "192.0.2.1") -> None:
            for status in statuses:
                scope = {
                    "type": "http",
                    "method": "POST",
                    "path": "/flow/cancel.json",
                    "query_string": str(status).encode(),
                    "headers": [],
                    "client": (host, 1),
                }
                await changes(scope, _nothing, _nothing)

        async def noted(host: str) -> list[tuple[int, int]]:
            listed = (await access.ask("GET", "/flow/audit.json", FIRST)).json()["entries"]
            mine = [each for each in listed if each["address"] == host]
            return [(each["status"], each["unnoted"]) for each in reversed(mine)]

        await ask(*[400] * 10, 200, 503)
        await ask(404, host="192.0.2.9")
        first = [(400, 0)] * 3 + [(200, 0), (503, 0)]
        assert await noted("192.0.2.1") == first
        assert await noted("192.0.2.9") == [(404, 0)]
        clock.advance(1 / REFUSED_PER_S)
        await ask(404, 404, 200)
        assert await noted("192.0.2.1") == [*first, (404, 7), (200, 0)]


async def test_of_the_wake_ups_of_an_execution_one_is_noted_in_an_hour() -> None:
    async with open_access() as access:
        clock = access.api.clock
        clock.stop_all()
        statuses: list[int] = []

        async def route(scope: Any, receive: Any, send: Any) -> None:
            await Response(status_code=200)(scope, receive, send)

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        changes = AuditedChanges(route, access.api.stack, burst=3, most_woken=4)

        async def woken(execution: str, host: str = "192.0.2.1") -> int:
            scope = {
                "type": "http",
                "method": "POST",
                "path": "/flow/wakeup.json",
                "query_string": f"execution_id=shop:{execution}".encode(),
                "headers": [],
                "client": (host, 1),
            }
            await changes(scope, _nothing, send)
            return statuses[-1]

        async def noted() -> int:
            listed = (await access.ask("GET", "/flow/audit.json", FIRST)).json()["entries"]
            return sum(each["action"] == "wakeup" for each in listed)

        assert {await woken("a") for _ in range(20)} == {200}
        assert await noted() == 1
        await woken("b")
        await woken("a", host="192.0.2.2")
        assert await noted() == 3
        clock.advance(WAKE_UP_PAUSE_S)
        await woken("a")
        assert await noted() == 4
        assert [await woken(f"c{number}") for number in range(9)] == [200] * 3 + [429] * 6
        assert await noted() == 7


async def test_changes_of_triggers_are_noted_with_their_workspace() -> None:
    async with open_access() as access:
        trigger = {"id": "nightly", "descriptor_id": "video:order", "cron": "0 0 3 * * *"}
        author = shown(access.keys["author"])
        added = await access.api.client.post(
            "/flow/triggers/add.json", json=trigger, headers=author
        )
        assert added.status_code == 200, added.text
        noted = [await newest(access)]
        for action in ("pause", "resume", "fire", "remove"):
            answer = await access.ask(
                "POST", f"/flow/triggers/{action}.json", access.keys["author"], trigger_id="nightly"
            )
            assert answer.status_code == 200, answer.text
            noted.append(await newest(access))
    assert [each["action"].rpartition("/")[2] for each in noted] == [
        *("add", "pause", "resume", "fire", "remove")
    ]
    assert {(each["subject"], each["workspace"]) for each in noted} == {("nightly", "video")}


async def test_what_a_route_does_not_read_names_no_subject() -> None:
    async with open_access() as access:
        await made(access.api, "x", "viewer")
        decoy = {"execution_id": access.ids["video"]}
        await access.ask("POST", "/flow/keys/revoke.json", FIRST, name="x", **decoy)
        revoked = await newest(access)
        path = "/flow/bg/manage/descriptor/modify_alias.json"
        named = {"business_id": "shop", "feature_name": "order", "alias": "new"}
        await access.ask("POST", path, FIRST, **named, **decoy)
        changed = await newest(access)
    assert (revoked["subject"], revoked["workspace"]) == ("x", "")
    assert (changed["subject"], changed["workspace"]) == ("shop:order:new", "shop")


def test_every_route_that_changes_something_says_what_it_changes() -> None:
    changing = {
        route.path
        for route in ROUTES
        if route.access is Access.KEY
        and not route.hot
        and route.needs.role >= Role.SUBMITTER
        and "POST" in route.methods
    }
    assert changing == SUBJECTS.keys() | TOOLS
    assert not SUBJECTS.keys() & TOOLS


async def test_subjects_are_parameters_that_routes_read() -> None:
    async with served() as api:
        paths = (await api.get("/openapi.json"))["paths"]
    for path, names in SUBJECTS.items():
        read = {each["name"] for each in paths[path]["post"].get("parameters", ())}
        assert read.issuperset(names), path
