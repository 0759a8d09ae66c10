"""A key that is limited to workspaces sees, changes and fires no trigger of another workspace."""

from typing import Any, Final

from rillflow.ports.triggers import TriggerRow
from tests.api.definition_texts import PASS
from tests.api.serving import Api, served
from tests.api.test_access import FIRST, VIDEO, made, shown

OURS: Final = "/flow/triggers"
YEARLY: Final = "0 0 0 1 1 *"
HOOK: Final = {"signature": "github", "secret": "${secret:HOOK}"}


async def test_the_triggers_of_other_workspaces_are_not_there() -> None:
    async with served(api_key=FIRST) as api:
        await _check(api)


async def _check(api: Api) -> None:
    admin = shown(FIRST)
    api.client.headers.update(admin)
    for text in (PASS, VIDEO):
        await api.add(text)
    for name, descriptor_id in (("ours", "video:order"), ("theirs", "shop:order")):
        new = {"id": name, "descriptor_id": descriptor_id, "cron": YEARLY}
        await api.post(f"{OURS}/add.json", new)
    key = await made(api, "limited", "author", workspaces="video")
    api.client.headers.update(shown(key))
    listed = await api.get(f"{OURS}/list.json")
    assert [each["id"] for each in listed["triggers"]] == ["ours"]
    tasks = await api.get("/flow/trigger/get_trigger_tasks.json", type="cron")
    assert list(tasks["data"]) == ["ours"]
    for action in ("pause", "resume", "fire", "remove"):
        refusal = await api.refusal(f"{OURS}/{action}.json", trigger_id="theirs")
        unknown = await api.refusal(f"{OURS}/{action}.json", trigger_id="nowhere")
        assert refusal == (400, 30106, "there is no trigger theirs")
        assert unknown == (400, 30106, "there is no trigger nowhere")
    span = {"trigger_id": "theirs", "from": "2020-01-01", "to": "2021-01-01"}
    assert (await api.refusal(f"{OURS}/backfill.json", **span))[1] == 30106
    assert (await api.get_refusal(f"{OURS}/show.json", trigger_id="theirs"))[1] == 30106
    cancelled = await api.post("/flow/trigger/cancel_trigger.json", type="cron", task_id="theirs")
    assert cancelled == {"code": -1}
    body = {"descriptor_id": "shop:order", "cron": YEARLY}
    assert (await api.refusal(f"{OURS}/add.json", body))[:2] == (403, 30108)
    taken: dict[str, Any] = {"id": "theirs", "descriptor_id": "video:order", "cron": YEARLY}
    for replaces in (False, True):
        refusal = await api.refusal(f"{OURS}/add.json", taken | {"replace": replaces})
        assert refusal[:2] == (400, 30110)
    query: dict[str, Any] = {"type": "cron", "descriptor_id": "shop:order"}
    refusal = await api.refusal("/flow/trigger/add_trigger.json", {"cron": YEARLY}, **query)
    assert refusal[0] == 403
    await api.post(f"{OURS}/fire.json", trigger_id="ours")
    await api.post(f"{OURS}/remove.json", trigger_id="ours")
    api.client.headers.update(admin)
    assert (await api.get(f"{OURS}/show.json", trigger_id="theirs"))["paused"] is False


async def test_a_limited_key_is_not_told_whether_an_id_is_taken_in_another_workspace() -> None:
    async with served(api_key=FIRST) as api:
        api.client.headers.update(shown(FIRST))
        await api.add(VIDEO)
        for name, descriptor_id in (("ours", "video:order"), ("theirs", "shop:order")):
            await api.post(f"{OURS}/add.json", _new(name, descriptor_id))
        key = await made(api, "limited", "author", workspaces="video")
        api.client.headers.update(shown(key))
        for replaces in (False, True):
            told = {
                await api.refusal(f"{OURS}/add.json", _new(name) | {"replace": replaces})
                for name in ("theirs", "nobodys", "1", "7", "shop:x", "t#shop:order", "x/y")
            }
            assert len(told) == 1
            assert told.pop()[:2] == (400, 30110)
        await api.post(f"{OURS}/add.json", _new("ours") | {"replace": True})
        added = await api.post(f"{OURS}/add.json", _new("video:nightly"))
        assert added["id"] == "video:nightly"
        assert (await api.refusal(f"{OURS}/add.json", _new("video:nightly")))[0] == 409


async def test_an_id_with_the_name_of_a_workspace_is_for_its_triggers() -> None:
    async with served() as api:
        refusal = await api.refusal(f"{OURS}/add.json", _new("shop:nightly"))
        assert refusal[:2] == (400, 30110)
        await api.post(f"{OURS}/add.json", _new("video:nightly"))
        hook = {"id": "video:push", "descriptor_id": "video:order", "webhook": HOOK}
        added = await api.post(f"{OURS}/add.json", hook)
        assert added["path"] == "/flow/hooks/video:push"


async def test_a_trigger_that_an_earlier_release_added_with_such_an_id_is_changed_as_before() -> (
    None
):
    async with served() as api:
        row = TriggerRow(id="shop:nightly", type="cron", descriptor_id="video:order")
        await api.stack.store.put_trigger(row, "", replace=False)
        assert (await api.refusal(f"{OURS}/add.json", _new("shop:nightly")))[0] == 409
        await api.post(f"{OURS}/add.json", _new("shop:nightly") | {"replace": True})
        assert (await api.get(f"{OURS}/show.json", trigger_id="shop:nightly"))["cron"] == YEARLY


def _new(trigger_id: str, descriptor_id: str = "video:order") -> dict[str, Any]:
    return {"id": trigger_id, "descriptor_id": descriptor_id, "cron": YEARLY}
