"""The console's palette offers one built-in entry for each category."""

from typing import Any

import pytest

from tests.api.serving import Api

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEMPLATE = "/flow/template"
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
    shown = await shared_api.get(f"{TEMPLATE}/get_task_templates.json")
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
        ({"id": 1}, []),
        ({"enable": 0}, []),
        ({"enable": 1}, OFFERED),
        ({"node_type": "template"}, []),
        ({"node_type": "meta"}, OFFERED),
        ({"type": 0}, ["function"]),
        ({"type": 1}, []),
        ({"type": 2}, OFFERED[1:]),
        ({"name": "s"}, ["suspense", "pass", "switch"]),
        ({"category": "pass"}, ["pass"]),
        ({"page": 2}, []),
        ({"page": 0, "page_size": 9}, OFFERED),
        ({"page": 2, "page_size": 501}, []),
    ],
)
async def test_filters_leave_entries_out(
    shared_api: Api, filters: dict[str, Any], categories: list[str]
) -> None:
    shown = await shared_api.get(f"{TEMPLATE}/get_task_templates.json", **filters)
    assert [entry["category"] for entry in shown["data"]] == categories
    shown = await shared_api.get(f"{TEMPLATE}/get_template_prototypes.json", **filters)
    assert [entry["id"] for entry in shown["data"]] == categories


async def test_a_prototype_says_how_a_task_is_drawn(shared_api: Api) -> None:
    shown = await shared_api.get(f"{TEMPLATE}/get_template_prototypes.json", category="switch")
    [prototype] = shown["data"]
    assert prototype["node_category"] == 0
    assert prototype["icon"] == "ant-design:branches-outlined"
    assert prototype["meta_data"]["category"] == "switch"
    assert "switches" in prototype["meta_data"]["fields"]


@pytest.mark.parametrize("change", ["create", "update", "enable", "disable"])
async def test_templates_cannot_be_changed(shared_api: Api, change: str) -> None:
    refusal = await shared_api.refusal(
        f"{TEMPLATE}/{change}_task_template.json", {"name": "x"}, id=1
    )
    assert refusal == (400, 30105, "task templates are built in")
