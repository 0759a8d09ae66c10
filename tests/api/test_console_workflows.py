"""The console shows definitions, their versions and differences, and the state of the server."""

from typing import Any, Final

from rillflow.definition import parse_definition
from rillflow.jsontypes import encode_json
from rillflow.ports.storage.store import Death
from serve.routes.console_api.called_flows import CalledFlows, Place
from tests.api.definition_texts import PASS, SUSPENDED, calling
from tests.api.serving import Api, served

V1: Final = "/flow/console/v1/"
CALLER: Final = """
workspace: shop
dagName: cart
type: flow
tasks:
  - { name: order, category: function, pattern: flow_sync, resourceName: "rillflow://shop:order" }
"""
MANY: Final = 100
MANY_CALLS: Final = "workspace: shop\ndagName: crowd\ntype: flow\ntasks:\n" + "".join(
    f"- {{name: t{number}, category: function, pattern: flow_sync,"
    " resourceName: 'rillflow://shop:order'}\n"
    for number in range(MANY)
)


async def seen(api: Api, name: str, **asked: Any) -> Any:
    return await api.get(f"{V1}{name}.json", **asked)


async def test_workflows_are_listed_by_workspace_in_pages(api: Api) -> None:
    await api.add(PASS)
    await api.add(SUSPENDED, "next")
    await api.add(CALLER)
    first = await seen(api, "workspaces", limit=1)
    [shop] = first["workspaces"]
    assert (shop["business"], [flow["feature"] for flow in shop["features"]]) == ("shop", ["cart"])
    rest = await seen(api, "workspaces", cursor=first["next"])
    [order] = rest["workspaces"][0]["features"]
    assert [alias["alias"] for alias in order["aliases"]] == ["next", "release"]
    assert rest["next"] is None


async def test_a_list_of_workflows_has_the_beginnings_of_rules_and_ends_where_they_are_long(
    api: Api,
) -> None:
    """Rules of 200 workflows were an answer of 36 MB, made before there was room for it."""
    many = {f"r{number:02}": "x" * 30_000 for number in range(25)}
    store = api.stack.store
    for number in range(30):
        await api.add(PASS.replace("order", f"f{number:02}"))
        for name, rule in many.items():
            await store.set_rule("gray", ("shop", f"f{number:02}"), name, rule)
    await store.set_rule("gray", ("shop", "f00"), "r00", "uid > 1")
    listed: list[str] = []
    cursor = ""
    while cursor is not None:
        page = await seen(api, "workspaces", cursor=cursor)
        assert len(encode_json(page)) < 100_000
        features = page["workspaces"][0]["features"]
        for flow in features:
            assert (len(flow["gray"]), flow["has_more_gray"]) == (20, True)
        listed += [flow["feature"] for flow in features]
        cursor = page["next"]
    assert listed == [f"f{number:02}" for number in range(30)]
    first = (await seen(api, "workspaces", limit=1))["workspaces"][0]["features"][0]["gray"]
    assert (first["r00"], first["r01"]) == ("uid > 1", "x" * 199 + "…")


async def test_no_listing_has_more_rows_than_its_limit_however_many_aliases_there_are(
    api: Api,
) -> None:
    """A thousand aliases of one workflow were one row, and the whole list was made of all."""
    texts = [PASS, SUSPENDED]
    for number in range(12):
        await api.add(texts[number % 2], f"a{number:02}")
        api.clock.advance(1)
    page = await seen(api, "workspaces", limit=5)
    assert page["next"] == "shop:order:a05"
    [order] = page["workspaces"][0]["features"]
    assert len(order["aliases"]) == 5
    read, cursor = [], ""
    while cursor is not None:
        page = await seen(api, "workspaces", limit=5, cursor=cursor)
        [order] = page["workspaces"][0]["features"]
        read += [alias["alias"] for alias in order["aliases"]]
        cursor = page["next"]
    assert read == [f"a{number:02}" for number in range(12)]
    newest = await seen(api, "versions", flow="shop:order", limit=1)
    assert len(newest["versions"][0]["aliases"]) == 6
    other = await seen(api, "versions", flow="shop:order", limit=1, cursor=newest["next"])
    assert other["versions"][0]["definition_id"] != newest["versions"][0]["definition_id"]
    assert other["next"] is None
    page = await api.get("/flow/bg/get_descriptor_ids.json", current=2, pageSize=5)
    assert page["total"] == 12
    assert [item["alias"] for item in page["items"]] == ["a06", "a05", "a04", "a03", "a02"]
    huge = await api.get("/flow/bg/get_descriptor_ids.json", current=1, pageSize=2**31 - 1)
    assert len(huge["items"]) == 12
    for name, cursor in (("workspaces", "x"), ("versions", "1"), ("versions", "-1:a")):
        refused = await api.get_refusal(f"{V1}{name}.json", flow="shop:order", cursor=cursor)
        assert refused[0] == 400


async def test_versions_are_listed_once_with_their_aliases(api: Api) -> None:
    first = (await api.add(PASS)).rpartition("md5_")[2]
    await api.add(PASS, "next")
    api.clock.advance(1)
    second = (await api.add(SUSPENDED)).rpartition("md5_")[2]
    shown = await seen(api, "versions", flow="shop:order")
    assert [each["definition_id"] for each in shown["versions"]] == [second, first]
    assert shown["versions"][0]["is_newest_of"] == ["release"]
    assert sorted(shown["versions"][1]["aliases"]) == ["next", "release"]
    assert shown["versions"][1]["is_newest_of"] == ["next"]
    assert (await seen(api, "versions", flow="zoo:lion"))["versions"] == []


async def test_a_definition_is_shown_with_its_text_and_graph(api: Api) -> None:
    await api.add(CALLER)
    shown = await seen(api, "definition", descriptor_id="shop:cart:release")
    assert parse_definition(shown["text"]).dag_name == "cart"
    [node] = shown["graph"]["nodes"]
    assert (node["name"], node["pattern"]) == ("order", "flow_sync")
    by_version = await seen(
        api, "definition", descriptor_id=f"shop:cart:md5_{shown['definition_id']}"
    )
    assert by_version["text"] == shown["text"]
    status, code, _ = await api.get_refusal(f"{V1}definition.json", descriptor_id="shop:nothing")
    assert (status, code) == (404, 30106)
    malformed = await api.get_refusal(f"{V1}definition.json", descriptor_id="<script>")
    assert malformed[0] == 400


async def test_two_versions_are_compared(api: Api) -> None:
    old = (await api.add(calling("work"))).rpartition("md5_")[2]
    new = (await api.add(calling("work", pattern="task_async"))).rpartition("md5_")[2]
    shown = await api.client.get(f"{V1}diff.json", params={"from": old, "to": new})
    found = shown.json()
    assert (found["added"], found["removed"], found["is_exact"]) == (1, 1, True)
    changed = [line for line in found["hunks"][0]["lines"] if line["op"] != " "]
    assert ["task_sync" in changed[0]["text"], "task_async" in changed[1]["text"]] == [True] * 2
    unknown = await api.client.get(f"{V1}diff.json", params={"from": "0" * 32, "to": new})
    assert unknown.status_code == 404


async def test_users_of_a_workflow_are_found(api: Api) -> None:
    await api.add(PASS)
    await api.add(CALLER)
    fact = {"task": "order", "alias": "release", "descriptor_id": "shop:order"}
    used = await seen(api, "uses", flow="shop:order")
    used_by = [{"flow": "shop:cart", **fact}]
    assert used == {"flow": "shop:order", "uses": [], "used_by": used_by, "next": None}
    using = await seen(api, "uses", flow="shop:cart")
    assert using["uses"] == [{"flow": "shop:order", **fact}]


async def test_uses_come_in_pages_that_have_each_call_once(api: Api) -> None:
    aliases = [f"r{number}" for number in range(3)]
    for alias in aliases:
        await api.add(MANY_CALLS, alias)
    expected = [(alias, f"t{number}") for alias in aliases for number in range(MANY)]
    for flow, kind in (("shop:order", "used_by"), ("shop:crowd", "uses")):
        found: list[tuple[str, str]] = []
        cursor: str | None = ""
        while cursor is not None:
            page = await seen(api, "uses", flow=flow, limit=70, cursor=cursor)
            assert len(page["uses"]) + len(page["used_by"]) <= 70
            found += [(each["alias"], each["task"]) for each in page[kind]]
            cursor = page["next"]
        assert found == expected
    assert len((await seen(api, "uses", flow="shop:order", limit=9_999))["used_by"]) == 200
    for malformed in ("x", "a:b:c:d", "a:b:c:-1", "a:b:c:1:1"):
        refusal = await api.get_refusal(f"{V1}uses.json", flow="shop:order", cursor=malformed)
        assert refusal[:2] == (400, 30109)


async def test_a_page_of_uses_ends_after_a_while_and_the_next_one_goes_on(api: Api) -> None:
    for alias in ("r0", "r1", "r2"):
        await api.add(MANY_CALLS, alias)
    called_flows = CalledFlows(api.stack, page_s=0)
    place: Place | None = Place()
    pages = found = 0
    while place is not None:
        page = await called_flows.page("shop:order", place, 200)
        pages, found = pages + 1, found + len(page["used_by"])
        place = Place.of(page["next"]) if page["next"] else None
    assert (pages, found) == (3, 3 * MANY)


async def test_the_calls_that_are_kept_take_bounded_memory(api: Api) -> None:
    await api.add(MANY_CALLS)
    called_flows = CalledFlows(api.stack, known_bytes=1_000)
    page = await called_flows.page("shop:order", Place(), 200)
    assert len(page["used_by"]) == MANY
    assert called_flows.known_bytes == 0


async def test_the_language_has_a_schema(api: Api) -> None:
    schema = await seen(api, "language.schema")
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert {"workspace", "dagName", "tasks"} <= schema["properties"].keys()
    assert "ForeachTask" in schema["$defs"]


async def test_executions_in_quarantine_are_named_with_the_reason() -> None:
    async with served() as api:
        waiting = await api.submit(await api.add(SUSPENDED))
        for life in ("1", "2"):
            step, at_ms = "DispatchAnswered one 1", api.stack.clock.now_ms()
            death = Death(execution_id=waiting, life=life, step=step, at_ms=at_ms)
            await api.stack.store.note_death(death)
        shown = await seen(api, "operations")
        assert not shown["is_well"]
        quarantined = [each for each in shown["problems"] if each["kind"] == "quarantined"]
        assert [each["detail"] for each in quarantined] == [{"count": 1}]
        assert shown["quarantined"]["total"] == 1
        [held] = shown["quarantined"]["executions"]
        assert held["execution_id"] == waiting
        assert "died 2 times" in held["reason"]


async def test_the_state_of_the_server_names_what_is_not_well() -> None:
    async with served(breaker_failures=1, breaker_pause_s=60) as api:
        await api.until_ready()
        await api.run(PASS)
        shown = await seen(api, "operations")
        assert shown["last_hour"]["counts"]["succeeded"] == 1
        assert shown["dispatchers"] == {"count": 1, "reached": 1}
        assert shown["quarantined"] == {"total": 0, "executions": []}
        assert shown["store"] == {"bytes": await api.stack.store.size_bytes()}
        assert shown["is_well"] == (shown["problems"] == [])
        assert not [each for each in shown["problems"] if each["kind"] == "circuit_open"]
        await api.run(calling("x", name="refused", resource="http://127.0.0.1:1/function/"))
        after = await seen(api, "operations")
        assert not after["is_well"]
        opened = [each for each in after["problems"] if each["kind"] == "circuit_open"]
        assert "127.0.0.1:1" in opened[0]["subject"]
        assert opened[0]["detail"]["open_for_ms"] > 0
