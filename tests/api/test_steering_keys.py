"""An execution tells since when it is paused, and with which key a person has steered it."""

from typing import Any, Final

from tests.api.definition_texts import SUSPENDED
from tests.api.test_access import FIRST, Opened, open_access
from tests.api.test_access import shown as bearing

V1: Final = "/flow/console/v1/"
TWO: Final = (
    SUSPENDED.replace("category: suspense", "category: suspense\n    next: after")
    + "  - {name: after, category: pass}\n"
)


async def shown(access: Opened, path: str, execution_id: str, **query: str) -> Any:
    answer = await access.ask("GET", V1 + path, FIRST, execution_id=execution_id, **query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def steered(access: Opened, action: str, execution_id: str, key: str, **query: str) -> None:
    query["execution_id"] = execution_id
    answer = await access.ask("POST", f"/flow/{action}.json", key, **query)
    assert answer.status_code == 200, answer.text


async def test_a_pause_tells_since_when_and_by_whom_until_it_ends() -> None:
    async with open_access() as access:
        one, operator = access.ids["shop"], access.keys["operator"]
        before_ms = access.api.clock.now_ms()
        await steered(access, "pause", one, operator)
        after_ms = access.api.clock.now_ms()
        head = await shown(access, "execution.json", one)
        assert (head["paused"], head["paused_by"]) == (True, "operator")
        assert before_ms <= head["paused_ms"] <= after_ms
        wait = head["wait"]
        assert (wait["kind"], wait["since_ms"]) == ("paused", head["paused_ms"])
        assert wait["detail"] == {"by": "operator"}
        assert wait["sentence"].startswith("The execution is paused by the key operator since ")
        access.api.clock.advance(60)
        await steered(access, "pause", one, FIRST)
        again = await shown(access, "execution.json", one)
        assert (again["paused_ms"], again["paused_by"]) == (head["paused_ms"], "operator")
        await steered(access, "resume", one, operator)
        head = await shown(access, "execution.json", one)
        assert (head["paused"], head["paused_ms"], head["paused_by"]) == (False, None, "")


async def test_the_key_of_the_settings_has_no_name_to_tell() -> None:
    async with open_access() as access:
        await steered(access, "pause", access.ids["shop"], FIRST)
        head = await shown(access, "execution.json", access.ids["shop"])
        assert head["wait"]["detail"] == {}
        assert head["wait"]["sentence"].startswith("The execution is paused since ")


async def test_the_journal_names_the_key_of_each_request_of_a_person() -> None:
    async with open_access() as access:
        access.api.client.headers.update(bearing(FIRST))
        one, operator = await access.api.submit(await access.api.add(TWO)), access.keys["operator"]
        for action in ("pause", "resume", "cancel", "redo"):
            await steered(access, action, one, operator)
        switches = {"degrade_current_task": "false", "degrade_following_tasks": "true"}
        await steered(access, "task_degrade", one, operator, task_name="after", **switches)
        await steered(access, "complete", one, operator, success="false")
        events = (await shown(access, "events.json", one))["events"]
        told = {each["kind"]: each["sentence"] for each in events if each["facts"].get("by")}
        assert told == {
            "pause_requested": "The execution was paused by the key operator.",
            "resume_requested": "The execution was resumed by the key operator.",
            "cancel_requested": "The execution was cancelled by the key operator.",
            "redo_requested": "A redo was requested by the key operator.",
            "degrade_requested": "after was degraded by the key operator.",
            "completion_requested": "The execution was completed by hand by the key operator.",
        }
        past = await shown(access, "execution.json", one, event=str(cancelled(events)))
        assert (past["cancelled"], past["cancelled_by"]) == (True, "operator")
        head = await shown(access, "execution.json", one)
        assert (head["cancelled"], head["cancelled_by"]) == (False, "")


def cancelled(events: list[dict[str, Any]]) -> int:
    [seq] = [each["seq"] for each in events if each["kind"] == "cancel_requested"]
    return int(seq)
