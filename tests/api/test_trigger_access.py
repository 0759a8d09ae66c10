"""A key that is limited to workspaces sees, changes and fires no trigger of another workspace."""

from typing import Any, Final

from tests.api.definition_texts import PASS
from tests.api.serving import Api, served
from tests.api.test_access import FIRST, VIDEO, made, shown

OURS: Final = "/flow/triggers"
YEARLY: Final = "0 0 0 1 1 *"


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
        assert refusal[0] == 409
    query: dict[str, Any] = {"type": "cron", "descriptor_id": "shop:order"}
    refusal = await api.refusal("/flow/trigger/add_trigger.json", {"cron": YEARLY}, **query)
    assert refusal[0] == 403
    await api.post(f"{OURS}/fire.json", trigger_id="ours")
    await api.post(f"{OURS}/remove.json", trigger_id="ours")
    api.client.headers.update(admin)
    assert (await api.get(f"{OURS}/show.json", trigger_id="theirs"))["paused"] is False
