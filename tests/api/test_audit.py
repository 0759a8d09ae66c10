"""The audit has who changed what, before the change is answered; reads and values are not in it."""

from typing import Any

from rillflow.errors import StoreError
from rillflow.ports.access import AuditEntry
from rillflow.runtime.retention import Retention
from rillflow.stores.memory.store import MemoryStore
from tests.api.definition_texts import PASS
from tests.api.serving import MovableClock, served
from tests.api.test_access import FIRST, made, open_access, shown


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
        *("key", "key_id", "address", "status"),
    }
