"""Definitions are stored as versions under aliases, and an id says which version is meant."""

import threading
from itertools import product
from typing import Any

import pytest
from starlette.requests import Request

from rillflow.definition import parse_definition
from rillflow.errors import RequestError
from rillflow.runtime.definitions.catalogue import add_descriptor, resolve_descriptor
from rillflow.stores import open_store
from serve.routes.console.shown_definitions import shown_definition
from tests.api.definition_texts import PASS
from tests.api.serving import Api, refusal_of, served

MANAGE = "/flow/bg/manage/descriptor"
ORDER = {"business_id": "shop", "feature_name": "order"}
BAD_NAMES = ("", "a_b", "a-b", "a@b", "a b")


def version(number: int) -> str:
    return PASS.replace("type: flow", f"type: flow\nversion: '{number}'")


async def version_shown(api: Api, descriptor_id: str, **params: Any) -> str:
    shown = await api.get(f"{MANAGE}/get_descriptor.json", descriptor_id=descriptor_id, **params)
    [line] = [line for line in shown["descriptor"].splitlines() if line.startswith("version")]
    return str(line).partition('"')[2].rstrip('"')


@pytest.mark.case("DE-01", "DE-02", "DE-06")
async def test_an_alias_wins_over_gray_rules_and_these_over_release(api: Api) -> None:
    for number, alias in enumerate(("release", "aliasX", "aliasY"), start=1):
        await api.add(version(number), alias)
    assert await version_shown(api, "shop:order") == "1"

    for alias, rule in (("aliasX", "uid > 100"), ("aliasY", "uid >"), ("release", "false")):
        await api.post(f"{MANAGE}/modify_gray.json", add=True, alias=alias, gray_rule=rule, **ORDER)
    assert await version_shown(api, "shop:order", uid=123) == "2"
    assert await version_shown(api, "shop:order", uid=99) == "1"
    assert await version_shown(api, "shop:order:aliasY", uid=123) == "3"
    assert await version_shown(api, " shop:order:aliasY:more ", uid=123) == "3"


@pytest.mark.case("DE-03", "DE-12")
async def test_versions_are_kept_newest_first_and_each_has_an_id(api: Api) -> None:
    first, second = await api.add(version(1)), await api.add(version(2))
    listed = await api.get(f"{MANAGE}/get_version.json", alias="release", **ORDER)
    ids = [row["descriptor_id"] for row in listed["versions"]]
    assert ids == [second, first]
    assert all(row["create_time"] > 1_600_000_000_000 for row in listed["versions"])
    assert await version_shown(api, first) == "1"
    assert await version_shown(api, "shop:order") == "2"

    await api.add(version(1))
    assert await version_shown(api, "shop:order") == "1"


@pytest.mark.parametrize(("tasks", "is_large"), [(1, False), (600, True)])
async def test_large_definitions_are_written_outside_of_the_event_loop(
    tasks: int, *, is_large: bool
) -> None:
    rows = "\n".join(f"  - {{name: T{number}, category: pass}}" for number in range(tasks))
    text = PASS.partition("tasks:")[0] + f"tasks:\n{rows}\n"
    async with served() as api:
        version = (await resolve_descriptor(api.stack.store, await api.add(text))).version or ""
        request = Request({"type": "http", "headers": [], "client": ("127.0.0.1", 1)})
        thread = await shown_definition(
            api.stack, version, request, lambda _: threading.get_ident()
        )
        assert (thread != threading.get_ident()) is is_large
        shown = await api.get(f"{MANAGE}/get_descriptor.json", descriptor_id="shop:order")
        assert parse_definition(shown["descriptor"]) == parse_definition(text)
        graph = await api.get("/flow/bg/get_descriptor.json", id="shop:order")
        assert len(graph["data"]["tasks"]) == tasks


@pytest.mark.case("DE-05")
@pytest.mark.parametrize("descriptor_id", ["a@b:c", "a:b@c", "a:b:c@d", "a", ":", "a:", "a:b:"])
@pytest.mark.asyncio(loop_scope="module")
async def test_ids_of_another_form_are_refused(shared_api: Api, descriptor_id: str) -> None:
    refusal = await shared_api.get_refusal(
        f"{MANAGE}/get_descriptor.json", descriptor_id=descriptor_id
    )
    assert refusal == (400, 30109, f"dagDescriptorId:{descriptor_id} format error")


@pytest.mark.case("DE-05")
@pytest.mark.parametrize("name", ["a", "a" * 129])
@pytest.mark.asyncio(loop_scope="module")
async def test_ids_may_be_short_and_long(shared_api: Api, name: str) -> None:
    refusal = await shared_api.get_refusal(
        f"{MANAGE}/get_descriptor.json", descriptor_id=f"{name}:{name}"
    )
    assert refusal == (400, 30106, f"cannot find descriptor: {name}:{name}:release")


@pytest.mark.case("DE-08")
@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("bad", ["", "invalid_x"])
async def test_a_definition_is_not_saved_under_a_bad_name(place: int, bad: str) -> None:
    store = open_store("memory:")
    await store.open()
    names = ["shop", "order", "release"]
    names[place] = bad
    business, feature, alias = names
    with pytest.raises(RequestError, match=r"^error data format$") as refused:
        await add_descriptor(store, business, feature, alias, PASS, at_ms=1)
    assert refused.value.wire_code == 30109
    assert await store.businesses() == []


@pytest.mark.case("DE-09")
@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("modify_business", {"business_id": "!"}),
        ("modify_feature", {"business_id": "shop", "feature_name": "!"}),
        ("modify_feature", {"business_id": "!", "feature_name": "order"}),
        ("modify_alias", {**ORDER, "alias": "!"}),
        ("modify_gray", {**ORDER, "alias": "!", "gray_rule": "true"}),
        (
            "modify_function_ab",
            {
                "business_id": "shop",
                "config_key": "!",
                "resource_name": "http://a",
                "ab_rule": "default",
            },
        ),
    ],
)
async def test_bad_names_are_refused_and_nothing_is_stored(
    api: Api, path: str, params: dict[str, str]
) -> None:
    for bad, add in (*product(BAD_NAMES, (True, False)), ("a" * 101, True)):
        named = {key: bad if value == "!" else value for key, value in params.items()}
        refusal = await api.refusal(f"{MANAGE}/{path}.json", add=add, **named)
        assert refusal == (400, 30109, "error data format")
    assert await api.get(f"{MANAGE}/get_business.json") == {"business_ids": []}


@pytest.mark.case("DE-15")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "dag descriptor empty."),
        (PASS.replace("flow", "ttt").encode(), "dag type is invalid."),
        (PASS.encode() + b"# " + b"x" * 645_120, "dag info length:"),
        (b"\xff\xfe\xfa", "utf-8"),
        (b"a: [", "line 2, column 1"),
    ],
)
async def test_whatever_is_wrong_with_an_addition_is_30110(
    api: Api, text: bytes, said: str
) -> None:
    params = {**ORDER, "alias": "release"}
    response = await api.client.post(f"{MANAGE}/add_descriptor.json", params=params, content=text)
    assert response.status_code == 400
    body = response.json()
    assert (body["error_code"], body["pass_through"]) == (30110, True)
    assert said in body["error"]


async def test_the_length_of_a_definition_is_checked_by_a_switch() -> None:
    text = PASS + "# " + "x" * 645_120
    async with served(switches={"ENABLE_DAG_INFO_LENGTH_CHECK": False}) as api:
        added = await api.add(text)
        assert added.startswith("shop:order:md5_")


@pytest.mark.case("DE-16")
async def test_the_callers_uid_is_used_and_echoed(api: Api) -> None:
    await api.add(version(1))
    await api.add(version(2), "gray")
    await api.post(
        f"{MANAGE}/modify_gray.json", add=True, alias="gray", gray_rule="uid == 123", **ORDER
    )
    path = f"{MANAGE}/get_descriptor.json"
    shown = await api.post(path, {"uid": "123"}, descriptor_id="shop:order")
    assert (shown["uid"], shown["descriptor_id"]) == ("123", "shop:order")
    assert 'version: "2"' in shown["descriptor"]

    shown = await api.post(path, {"uid": "123"}, descriptor_id="shop:order", uid="7")
    assert shown["uid"] == "7"
    assert 'version: "1"' in shown["descriptor"]
    assert (await api.get(path, descriptor_id="shop:order"))["uid"] == "0"


@pytest.mark.case("DE-18")
async def test_a_stored_text_that_is_no_longer_valid_is_told(api: Api) -> None:
    await api.stack.store.add_version("shop", "order", "release", "0f" * 16, "type: x", at_ms=1)
    path = f"{MANAGE}/get_descriptor.json"
    assert (await api.get_refusal(path, descriptor_id="shop:order"))[0] == 400
    refusal = await api.get_refusal("/flow/bg/get_descriptor.json", id="shop:order")
    assert refusal == (400, 30109, "descriptor is null: shop:order")
    refusal = await api.refusal("/flow/submit.json", descriptor_id="shop:order")
    assert refusal == (500, 30403, "dag type is invalid.")


@pytest.mark.case("DE-20")
async def test_registering_something_registers_what_it_lies_in(api: Api) -> None:
    async def listings() -> tuple[list[str], list[str], list[str]]:
        businesses = await api.get(f"{MANAGE}/get_business.json")
        features = await api.get(f"{MANAGE}/get_feature.json", business_id="shop")
        aliases = await api.get(f"{MANAGE}/get_alias.json", **ORDER)
        assert features["business_id"] == aliases["business_id"] == "shop"
        assert aliases["feature"] == "order"
        return businesses["business_ids"], features["features"], aliases["aliases"]

    async def modify(path: str, *, add: bool, **params: str) -> None:
        assert await api.post(f"{MANAGE}/{path}.json", add=add, **params) == {"ret": True}

    await modify("modify_business", add=True, business_id="shop")
    assert await listings() == (["shop"], [], [])
    await modify("modify_feature", add=True, **ORDER)
    assert await listings() == (["shop"], ["order"], [])
    await modify("modify_alias", add=True, alias="gray", **ORDER)
    assert await listings() == (["shop"], ["order"], ["gray"])
    await modify("modify_alias", add=False, alias="gray", **ORDER)
    await modify("modify_business", add=False, business_id="shop")
    assert await listings() == ([], ["order"], [])
    await modify("modify_gray", add=True, alias="blue", gray_rule="true", **ORDER)
    assert await listings() == (["shop"], ["order"], ["blue"])


async def test_parameters_may_come_as_a_form(api: Api) -> None:
    form = {"add": "true", "business_id": "shop", "feature_name": "order"}
    response = await api.client.post(f"{MANAGE}/modify_feature.json", data=form)
    assert response.json() == {"ret": True}
    assert await api.stack.store.features("shop") == ["order"]

    for name in ("%00", "\0"):
        response = await api.client.post(
            f"{MANAGE}/modify_feature.json",
            content=f"add=true&business_id=shop&feature_name={name}",
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        assert refusal_of(response) == (422, 30109, "a parameter holds the character NUL")

    form["padding"] = "x" * 70_000
    response = await api.client.post(f"{MANAGE}/modify_feature.json", data=form)
    assert response.status_code == 400


@pytest.mark.case("DE-21")
@pytest.mark.parametrize("descriptor_id", ["shop:order", "shop:order:release"])
async def test_the_business_is_the_first_part_of_an_id(api: Api, descriptor_id: str) -> None:
    await api.add(PASS)
    found = await resolve_descriptor(api.stack.store, descriptor_id)
    assert (found.business, found.feature) == ("shop", "order")


async def test_a_sub_flow_is_submitted_by_0_unless_its_data_name_somebody() -> None:
    child = PASS.replace("dagName: order", "dagName: child")
    parent = """
workspace: shop
dagName: parent
type: flow
tasks:
  - name: P
    category: function
    pattern: flow_sync
    resourceName: rillflow://shop:child
    inputMappings: [{ source: $.context.uid, target: $.input.uid, tolerance: true }]
"""
    async with served() as api:
        await api.add(f"{child}version: one\n")
        await api.add(f"{child}version: two\n", "gray")
        rule = {"alias": "gray", "gray_rule": "uid == 7"}
        names = {"business_id": "shop", "feature_name": "child"}
        await api.post(f"{MANAGE}/modify_gray.json", add=True, **rule, **names)
        for data, version in (({}, "one"), ({"uid": 7}, "two")):
            shown = await api.run(parent, data, uid=7)
            started = shown["tasks"]["P"]["invoke_msg"]["referenced_dag_execution_id"]
            assert (await api.shown(started))["version"] == version


async def test_tasks_nested_more_deeply_than_the_setting_are_refused_at_the_submission() -> None:
    store = open_store("memory:")
    nested = """
workspace: shop
dagName: order
type: flow
tasks:
  - name: A
    category: foreach
    iterationMapping: { collection: $.input.items, item: item }
    tasks: [{ name: B, category: pass }]
"""
    async with served(store=store) as api:
        descriptor = await api.add(nested)
        assert await api.submit(descriptor)
    async with served(store=store, max_depth=1) as api:
        refusal = await api.refusal("/flow/submit.json", {}, descriptor_id=descriptor)
        assert refusal == (500, 30601, "exceed max depth: A")
