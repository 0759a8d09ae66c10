"""The palette offers one built-in entry for each category, and the templates that users make."""

import asyncio
from typing import Any, Final

import pytest

from rillflow.errors import UnreadAnswersError
from rillflow.ports.storage.templates import TaskTemplate, TemplateFilter
from rillflow.stores.memory.store import MemoryStore
from serve.routes.console.templates import MOST_TEMPLATES, READ_AT_ONCE
from tests.api.serving import Api, served

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEMPLATE = "/flow/template"
LISTS: Final = ("get_task_templates", "get_template_prototypes")
OFFERED = ["function", "foreach", "suspense", "pass", "return", "switch"]


@pytest.mark.case("FN-29")
async def test_the_function_category_names_its_fields(shared_api: Api) -> None:
    shown = await shared_api.get(f"{TEMPLATE}/get_meta_data_list.json")
    assert [entry["category"] for entry in shown["data"]] == OFFERED
    function = shown["data"][0]
    assert function["icon"] == "ant-design:api-outlined"
    assert len(function["fields"]) == 16
    assert function["fields"]["next"] == {"title": "下一节点", "type": "string", "required": False}
    assert function["fields"]["requestType"]["default"] == "POST"
    assert function["fields"]["tolerance"]["default"] is False


@pytest.mark.case("TT-06")
async def test_the_built_in_entry_of_functions(shared_api: Api) -> None:
    shown = await shared_api.get(f"{TEMPLATE}/get_task_templates.json", node_type="meta")
    assert [entry["category"] for entry in shown["data"]] == OFFERED
    function = shown["data"][0]
    assert "id" not in function
    assert (function["type"], function["node_type"], function["enable"]) == (0, "meta", 1)
    assert function["type_str"] == "函数模板（元数据）"  # noqa: RUF001 - the console's own brackets
    assert (function["task_yaml"], function["output"], function["schema"]) == ("", "{}", "{}")
    assert {entry["type"] for entry in shown["data"][1:]} == {2}


@pytest.mark.case("TT-07")
@pytest.mark.parametrize(
    ("filters", "categories"),
    [
        ({}, [*OFFERED, "1"]),
        ({"id": 1}, ["1"]),
        ({"id": 9}, []),
        ({"id": 2**40}, []),
        ({"id": " 1 "}, ["1"]),
        ({"id": ""}, [*OFFERED, "1"]),
        ({"name": "%"}, []),
        ({"name": "_"}, []),
        ({"name": "模"}, []),
        ({"node_type": "META"}, []),
        ({"type": 5}, []),
        ({"enable": 2}, []),
        ({"category": "choice"}, []),
        ({"enable": 0}, []),
        ({"enable": 1}, [*OFFERED, "1"]),
        ({"node_type": "template"}, ["1"]),
        ({"node_type": "meta"}, OFFERED),
        ({"type": 0}, ["function"]),
        ({"type": 1}, ["1"]),
        ({"type": 2}, OFFERED[1:]),
        ({"name": "s"}, ["suspense", "pass", "switch"]),
        ({"name": "yun-ai"}, ["1"]),
        ({"category": "pass"}, ["pass"]),
        ({"category": "function"}, ["function", "1"]),
        ({"page": 2}, []),
        ({"page": 0, "page_size": 9}, [*OFFERED, "1"]),
        ({"page": 2, "page_size": 501}, []),
    ],
)
async def test_filters_leave_entries_out(
    shared_api: Api, filters: dict[str, Any], categories: list[str]
) -> None:
    shown = await shared_api.get(f"{TEMPLATE}/get_task_templates.json", **filters)
    assert [str(entry.get("id", entry["category"])) for entry in shown["data"]] == categories
    shown = await shared_api.get(f"{TEMPLATE}/get_template_prototypes.json", **filters)
    assert [entry["id"] for entry in shown["data"]] == categories


async def test_a_prototype_says_how_a_task_is_drawn(shared_api: Api) -> None:
    shown = await shared_api.get(f"{TEMPLATE}/get_template_prototypes.json", category="switch")
    [prototype] = shown["data"]
    assert prototype["node_category"] == 0
    assert prototype["icon"] == "ant-design:branches-outlined"
    assert prototype["meta_data"]["category"] == "switch"
    assert "switches" in prototype["meta_data"]["fields"]


async def test_the_template_that_a_new_store_has(shared_api: Api) -> None:
    shown = await shared_api.get(f"{TEMPLATE}/get_task_templates.json", id=1)
    [template] = shown["data"]
    assert (template["name"], template["type"], template["category"]) == (
        "aliyun-ai-module",
        1,
        "function",
    )
    assert (template["type_str"], template["node_type"]) == ("插件模板", "template")
    assert "aliyun_ai://aliyun" in template["task_yaml"]
    assert template["meta_data"]["fields"]["pattern"]["required"] is True
    prototypes = await shared_api.get(f"{TEMPLATE}/get_template_prototypes.json", id=1)
    [prototype] = prototypes["data"]
    assert (prototype["id"], prototype["node_category"]) == ("1", 1)
    assert prototype["icon"] == "ant-design:api-outlined"
    assert prototype["template"] == template


@pytest.mark.case("AP-22")
async def test_a_template_is_created_changed_disabled_and_enabled() -> None:
    async with served() as api:
        new = {"name": "mine", "type": "0", "category": "function"}
        created = await api.post(f"{TEMPLATE}/create_task_template.json", new)
        assert created["code"] == 0
        number = created["data"]["id"]
        template = (await api.get(f"{TEMPLATE}/get_task_templates.json", id=number))["data"][0]
        meta = template.pop("meta_data")
        assert meta["category"] == "function"
        assert template == {
            "id": number,
            "name": "mine",
            "type": 0,
            "type_str": "函数模板",
            "node_type": "template",
            "category": "function",
            "icon": "",
            "task_yaml": "",
            "schema": "{}",
            "output": "{}",
            "enable": 1,
        }
        change = {"id": number, "task_yaml": "pattern: task_sync", "enable": None}
        assert await api.post(f"{TEMPLATE}/update_task_template.json", change) == {"code": 0}
        assert await api.post(f"{TEMPLATE}/update_task_template.json", change) == {"code": 0}
        disabled = await api.post(f"{TEMPLATE}/disable_task_template.json", id=number)
        assert disabled == {"code": 0}
        shown = (await api.get(f"{TEMPLATE}/get_task_templates.json", enable=0))["data"]
        assert [(each["id"], each["task_yaml"]) for each in shown] == [
            (number, "pattern: task_sync")
        ]
        enabled = await api.post(f"{TEMPLATE}/enable_task_template.json", id=number)
        assert enabled == {"code": 0}
        assert (await api.get(f"{TEMPLATE}/get_task_templates.json", enable=0))["data"] == []


@pytest.mark.case("AP-22")
@pytest.mark.parametrize("change", ["enable", "disable", "update"])
async def test_a_change_of_no_template_is_code_1(shared_api: Api, change: str) -> None:
    body = {"id": 99, "name": "x"} if change == "update" else None
    params = {} if change == "update" else {"id": 99}
    path = f"{TEMPLATE}/{change}_task_template.json"
    assert await shared_api.post(path, body, **params) == {"code": 1}


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        ({}, "needs name"),
        ({"name": "a", "type": 0}, "needs category"),
        ({"name": "a", "category": "pass"}, "needs type"),
        ({"name": "", "type": 0, "category": "pass"}, "needs name"),
        ({"name": "a", "type": 0, "category": "loop"}, "category is one of"),
        ({"name": "a", "type": 3, "category": "pass"}, "type is 0"),
        ({"name": "a", "type": "many", "category": "pass"}, "type must be a whole number"),
        ({"name": "a", "type": True, "category": "pass"}, "type must be a whole number"),
        ({"name": "a", "type": 10**30, "category": "pass"}, "type is too large"),
        ({"name": 7, "type": 0, "category": "pass"}, "name must be text"),
        ({"name": "a\0", "type": 0, "category": "pass"}, "NUL"),
        ({"name": "a" * 65, "type": 0, "category": "pass"}, "up to 64"),
        ({"name": "a", "type": 0, "category": "pass", "enable": 2}, "enable is 0 or 1"),
        ({"name": "a", "type": 0, "category": "pass", "icon": "é" * 40_000}, "65535 bytes"),
        ({"name": "aliyun-ai-module", "type": 0, "category": "pass"}, "already"),
    ],
)
async def test_what_is_wrong_with_a_template_is_told(
    shared_api: Api, body: dict[str, Any], hint: str
) -> None:
    path = f"{TEMPLATE}/create_task_template.json"
    response = await shared_api.client.post(path, json=body)
    told = response.json()
    assert (response.status_code, told["error_code"]) == (500, 30101)
    assert told["error"] == "internal server error"
    assert hint in told["hint"]


async def test_an_update_needs_an_id_and_a_free_name() -> None:
    async with served() as api:
        await _check_updates(api)


async def _check_updates(api: Api) -> None:
    path = f"{TEMPLATE}/update_task_template.json"
    refusal = (500, 30101, "internal server error")
    assert await api.refusal(path, {"name": "x"}) == refusal
    assert await api.refusal(path, {"id": 1, "name": ""}) == refusal
    created = await api.post(
        f"{TEMPLATE}/create_task_template.json",
        {"name": "other", "type": 2, "category": "choice", "enable": 0},
    )
    number = created["data"]["id"]
    taken = {"id": number, "name": "aliyun-ai-module"}
    assert await api.refusal(path, taken) == refusal
    assert await api.post(path, {"id": number, "name": "other"}) == {"code": 0}


async def test_a_schema_may_be_an_object() -> None:
    async with served() as api:
        new = {"name": "mine", "type": 0, "category": "pass", "schema": {"type": "object"}}
        created = await api.post(f"{TEMPLATE}/create_task_template.json", new)
        number = created["data"]["id"]
        [shown] = (await api.get(f"{TEMPLATE}/get_task_templates.json", id=number))["data"]
        assert shown["schema"] == '{"type":"object"}'


async def test_a_template_without_a_body_or_an_id_is_refused_as_mistyped(shared_api: Api) -> None:
    missing = (422, 30109, "Required request body is missing")
    for change in ("create", "update"):
        for body in (b"", b" null "):
            path = f"{TEMPLATE}/{change}_task_template.json"
            assert await shared_api.refusal(path, body) == missing
    for change in ("enable", "disable"):
        path = f"{TEMPLATE}/{change}_task_template.json"
        assert (await shared_api.refusal(path))[:2] == (422, 30109)
        assert (await shared_api.refusal(path, id="one"))[:2] == (422, 30109)


async def test_there_is_a_limit_of_templates() -> None:
    async with served() as api:
        path = f"{TEMPLATE}/create_task_template.json"
        for number in range(MOST_TEMPLATES - 1):
            body = {"name": f"t{number}", "type": 0, "category": "function"}
            assert (await api.post(path, body))["code"] == 0
        refusal = await api.refusal(path, {"name": "one more", "type": 0, "category": "function"})
        assert refusal[:2] == (400, 30110)
        listed = (await api.get(f"{TEMPLATE}/get_task_templates.json"))["data"]
        assert len(listed) == 500
        last = (await api.get(f"{TEMPLATE}/get_task_templates.json", page=3))["data"]
        assert [each["id"] for each in last] == list(range(995, 1001))


class ReadTemplates(MemoryStore):
    """A store that notes how many templates are read at once, and by how many at once."""

    def __init__(self) -> None:
        super().__init__()
        self.most = self.most_at_once = self._under_way = 0

    async def list_templates(
        self, wanted: TemplateFilter, *, limit: int, offset: int = 0
    ) -> list[TaskTemplate]:
        self._under_way += 1
        await asyncio.sleep(0)
        found = await super().list_templates(wanted, limit=limit, offset=offset)
        self.most = max(self.most, len(found))
        self.most_at_once = max(self.most_at_once, self._under_way)
        self._under_way -= 1
        return found

    async def add(self, number: int) -> None:
        """Store templates whose texts are six times as long in JSON."""
        for name in map(str, range(number)):
            new = TaskTemplate(id=0, name=name, type=0, category="pass", output="\1" * 60_000)
            await self.create_template(new, at_ms=1)


async def test_lists_of_large_templates_are_made_one_at_a_time_and_in_portions() -> None:
    store, number = ReadTemplates(), 2 * READ_AT_ONCE + 1
    async with served(store=store) as api:
        await store.add(number)
        room: list[int] = []
        take_room, api.stack.take_room = api.stack.take_room, room.append
        lists = [f"{TEMPLATE}/{each}.json" for each in LISTS for _ in range(3)]
        answers = await asyncio.gather(*(api.client.get(each) for each in lists))
        for answer in answers:
            assert len(answer.json()["data"]) == len(OFFERED) + number + 1
        assert (store.most, store.most_at_once) == (READ_AT_ONCE, 1)
        assert max(room) > number * 6 * 60_000, "it has room before it is made whole"
        api.stack.take_room = take_room


async def test_a_list_for_which_there_is_no_room_is_refused_before_it_is_made() -> None:
    store = ReadTemplates()
    async with served(store=store) as api:
        await store.add(3 * READ_AT_ONCE)

        def take_room(size_bytes: int) -> None:
            if size_bytes > 6 * READ_AT_ONCE * 60_000:
                raise UnreadAnswersError("too many answers are not read")

        api.stack.take_room = take_room
        answer = await api.client.get(f"{TEMPLATE}/get_task_templates.json")
        assert answer.status_code == 503
