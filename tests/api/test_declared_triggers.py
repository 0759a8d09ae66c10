"""The triggers of a definition live and die with its alias, and are refused with their place."""

from typing import Any, Final

import pytest

from rillflow.definition import parse_definition
from rillflow.definition.checks.declared_triggers import MOST_CONTEXT_BYTES, MOST_DECLARED
from rillflow.errors import DefinitionError
from rillflow.ports.triggers import TriggerRow
from rillflow.runtime.definitions.trigger_room import MOST_BYTES, MOST_BYTES_OF_ONE
from tests.api.definition_texts import PASS
from tests.api.serving import Api, served

OURS: Final = "/flow/triggers"
MANAGE: Final = "/flow/bg/manage/descriptor"
FIRST: Final = """triggers:
  - {name: first, cron: "0 0 0 1 1 *", context: {a: 1}}
"""
BOTH: Final = f"""{FIRST}  - {{name: second, cron: "@daily", timeZone: Europe/Berlin, catchUp: 5}}
"""


async def listed(api: Api) -> dict[str, Any]:
    found = (await api.get(f"{OURS}/list.json"))["triggers"]
    return {each["id"]: each for each in found}


async def test_adding_a_definition_makes_its_triggers_those_of_the_alias() -> None:
    async with served() as api:
        await api.add(f"{PASS}{BOTH}")
        found = await listed(api)
        assert list(found) == ["shop:order:release/first", "shop:order:release/second"]
        second = found["shop:order:release/second"]
        assert second["descriptor_id"] == second["declared_by"] == "shop:order:release"
        assert (second["time_zone"], second["catch_up"]) == ("Europe/Berlin", 5)
        shown = await api.get(f"{OURS}/show.json", trigger_id="shop:order:release/first")
        assert shown["context"] == {"a": 1}
        await api.add(f"{PASS}{BOTH}", alias="beta")
        assert len(await listed(api)) == 4
        await api.add(f"{PASS}{FIRST}")
        assert set(await listed(api)) == {
            "shop:order:release/first",
            "shop:order:beta/first",
            "shop:order:beta/second",
        }
        await api.add(PASS)
        assert "shop:order:release/first" not in await listed(api)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("modify_alias", {"feature_name": "order", "alias": "release"}),
        ("modify_feature", {"feature_name": "order"}),
        ("modify_business", {}),
    ],
)
async def test_the_triggers_of_an_alias_that_is_unlisted_are_removed(
    path: str, names: dict[str, str]
) -> None:
    async with served() as api:
        await api.add(f"{PASS}{BOTH}")
        await api.post(f"{MANAGE}/{path}.json", add=True, business_id="shop", **names)
        assert len(await listed(api)) == 2
        await api.post(f"{MANAGE}/{path}.json", add=False, business_id="shop", **names)
        assert await listed(api) == {}


async def test_a_declared_trigger_is_paused_and_fired_but_changed_in_its_definition_only() -> None:
    async with served() as api:
        await api.add(f"{PASS}{FIRST}")
        trigger = "shop:order:release/first"
        await api.post(f"{OURS}/pause.json", trigger_id=trigger)
        await api.add(f"{PASS}{FIRST}")
        assert (await listed(api))[trigger]["paused"], "the same trigger stays as it is"
        fired = await api.post(f"{OURS}/fire.json", trigger_id=trigger)
        assert (await api.ended(fired["execution_id"]))["context"]["a"] == 1
        refusal = await api.refusal(f"{OURS}/remove.json", trigger_id=trigger)
        assert refusal[:2] == (400, 30110)
        new = {"id": trigger, "descriptor_id": "shop:order", "cron": "@daily", "replace": True}
        assert (await api.refusal(f"{OURS}/add.json", new))[:2] == (400, 30110)
        new["replace"] = False
        assert (await api.refusal(f"{OURS}/add.json", new))[:2] == (400, 30110)


async def added_refusal(api: Api, text: str) -> tuple[int, int, str]:
    """Return the refusal of a definition of ``shop:order:release``."""
    names = {"business_id": "shop", "feature_name": "order", "alias": "release"}
    return await api.refusal(f"{MANAGE}/add_descriptor.json", text, **names)


async def test_nobody_takes_the_id_of_a_trigger_that_a_definition_may_declare() -> None:
    async with served() as api:
        own = {"id": "shop:order:release/first", "descriptor_id": "a:b", "cron": "@daily"}
        status, code, message = await api.refusal(f"{OURS}/add.json", own)
        assert (status, code) == (400, 30110)
        assert "belong to triggers that definitions declare" in message
        for similar in ("shop:order/first", "shop:order:release", "shop/order:release:first"):
            await api.post(f"{OURS}/add.json", own | {"id": similar})
        await api.add(f"{PASS}{FIRST}")
        assert "shop:order:release/first" in await listed(api)


async def test_a_trigger_that_an_earlier_release_added_keeps_its_id() -> None:
    async with served() as api:
        row = TriggerRow(id="shop:order:release/first", type="cron", descriptor_id="a:b")
        await api.stack.store.put_trigger(row, "", replace=False)
        refusal = await added_refusal(api, f"{PASS}{FIRST}")
        assert refusal[:2] == (400, 30110)
        assert "its triggers were not" in refusal[2]


async def fill(api: Api, workspace: str, size: int) -> None:
    """Store triggers of a workspace that take so many bytes."""
    while size > 0:
        row = TriggerRow(id="", type="kept", descriptor_id=f"{workspace}:order")
        await api.stack.store.put_trigger(row, "x" * min(size, 4 << 20), replace=False)
        size -= 4 << 20


async def test_declared_triggers_have_the_room_of_their_workspace_and_no_more() -> None:
    async with served() as api:
        await fill(api, "shop", MOST_BYTES_OF_ONE - 300)
        await api.add(f"{PASS}{FIRST}")
        await api.add(f"{PASS}{FIRST}")
        large = FIRST.replace("a: 1", f"a: {'x' * 400}")
        status, code, message = await added_refusal(api, f"{PASS}{large}")
        assert (status, code) == (400, 30110)
        assert "triggers of shop with" in message
        shown = await api.get(f"{OURS}/show.json", trigger_id="shop:order:release/first")
        assert shown["context"] == {"a": 1}, "what was refused has changed nothing"
        names = {"business_id": "shop", "feature_name": "order", "alias": "release"}
        versions = await api.get(f"{MANAGE}/get_version.json", **names)
        assert len(versions["versions"]) == 1, "the definition was not stored"
        new = {"descriptor_id": "shop:order", "cron": "@daily", "context": {"a": "x" * 400}}
        assert (await api.refusal(f"{OURS}/add.json", new))[:2] == (400, 30110)
        await api.post(f"{OURS}/add.json", new | {"descriptor_id": "shopping:order"})
        await fill(api, "other", MOST_BYTES - MOST_BYTES_OF_ONE - 300)
        refusal = await api.refusal(f"{OURS}/add.json", new | {"descriptor_id": "third:order"})
        assert refusal[:2] == (400, 30110)


async def test_a_trigger_fires_the_version_that_its_alias_has_then() -> None:
    async with served() as api:
        every = FIRST.replace("0 0 0 1 1 *", "* * * * * *")
        await api.add(f"{PASS}{every}")
        params = {"business": "shop", "feature": "order"}
        found: list[Any] = []
        while not found:
            found = (await api.get("/flow/bg/get_execution_ids.json", **params))["items"]
        assert (await api.ended(found[0]["execution_id"]))["context"]["a"] == 1


@pytest.mark.parametrize(
    ("trigger", "message", "column"),
    [
        ("{cron: '@daily'}", "a name has 1 to 100 letters", 5),
        ("{name: a b, cron: '@daily'}", "a name has 1 to 100 letters", 12),
        ("{name: a}", "cron is missing", 5),
        ("{name: a, cron: never}", "6 fields", 21),
        ("{name: a, cron: '@daily', timeZone: Mars}", "no time zone", 41),
        ("{name: a, cron: '@daily', overlap: perhaps}", "overlap is one of", 40),
        ("{name: a, cron: '@daily', catchUp: some}", "catch_up is none, last", 40),
        ("{name: a, cron: '@daily', start: soon}", "start is a time", 38),
        ("{name: a, cron: '@daily', jitterInSeconds: -1}", "jitter_s is a number", 48),
        ("{name: a, cron: '@daily', colour: red}", "there is no option `colour`", 31),
    ],
)
def test_what_is_wrong_with_a_declared_trigger_is_told_with_its_place(
    trigger: str, message: str, column: int
) -> None:
    text = f"{PASS}triggers:\n  - {trigger}\n"
    with pytest.raises(DefinitionError) as refused:
        parse_definition(text)
    [problem] = refused.value.problems
    assert message in problem.message
    assert (problem.line, problem.column) == (text.count("\n"), column)


def test_a_definition_declares_so_many_triggers_each_with_its_name_and_a_short_context() -> None:
    one = "  - {name: a, cron: '@daily'}\n"
    with pytest.raises(DefinitionError, match="two triggers have the name a"):
        parse_definition(f"{PASS}triggers:\n{one}{one}")
    many = "".join(one.replace("a,", f"a{each},") for each in range(MOST_DECLARED + 1))
    with pytest.raises(DefinitionError, match="declares up to 100 triggers"):
        parse_definition(f"{PASS}triggers:\n{many}")
    large = one.replace("'@daily'", f"'@daily', context: {{a: {'x' * MOST_CONTEXT_BYTES}}}")
    with pytest.raises(DefinitionError, match="the context of a trigger"):
        parse_definition(f"{PASS}triggers:\n{large}")
