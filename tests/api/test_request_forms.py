"""Requests are understood in every form that Rill Flow's server understands."""

from typing import Any

import httpx
import pytest

from serve.schemas.exchange import MOST_FIELDS
from tests.api.definition_texts import PASS, calling
from tests.api.serving import Api, served

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ADD = "/flow/bg/manage/descriptor/add_descriptor.json"
NAMES = {"business_id": "shop", "feature_name": "order", "alias": "release"}
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("brief", ["true", "TRUE", "1", "yes", "on", " true"])
async def test_a_flag_may_be_any_of_the_words_for_yes(shared_api: Api, brief: str) -> None:
    execution_id = await shared_api.submit(await shared_api.add(PASS))
    assert "tasks" not in await shared_api.shown(execution_id, brief=brief)


@pytest.mark.parametrize("brief", ["false", "0", "no", "Off", ""])
async def test_a_flag_may_be_any_of_the_words_for_no(shared_api: Api, brief: str) -> None:
    execution_id = await shared_api.submit(await shared_api.add(PASS))
    assert "tasks" in await shared_api.shown(execution_id, brief=brief)


async def test_a_flag_that_is_another_word_is_422(shared_api: Api) -> None:
    refusal = await shared_api.get_refusal("/flow/get.json", execution_id="a", brief="perhaps")
    assert refusal == (422, 30109, "brief must be true or false, not perhaps")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ('{"a": "ä"}'.encode("latin-1"), "application/json;charset=ISO-8859-1"),
        ('{"a": "ä"}'.encode("utf-16"), "application/json; charset=UTF-16"),
        ('{"a": "ä"}'.encode("utf-32"), "application/json"),
        ('{"a": "ä"}'.encode("utf-8-sig"), "application/json"),
        ('{"a": "ä"}'.encode(), 'text/plain; charset="nonsense"'),
        ('{"a": "ä"}'.encode(), ""),
        ('{"a": "ä"}'.encode(), "application/x-www-form-urlencoded"),
    ],
)
async def test_data_may_come_in_any_charset(
    shared_api: Api, body: bytes, content_type: str
) -> None:
    await shared_api.add(PASS)
    response = await shared_api.client.post(
        "/flow/submit.json",
        params={"descriptor_id": "shop:order"},
        content=body,
        headers={"Content-Type": content_type},
    )
    shown = await shared_api.ended(response.json()["execution_id"])
    assert shown["context"]["a"] == "ä"


async def test_a_definition_may_come_in_any_charset(shared_api: Api) -> None:
    text = f"{PASS}    title: 你好\n"
    response = await shared_api.client.post(
        ADD,
        params=NAMES,
        content=text.encode("gbk"),
        headers={"Content-Type": "text/plain;charset=GBK"},
    )
    shown = await shared_api.ended(await shared_api.submit(response.json()["descriptor_id"]))
    assert shown["tasks"]["A"]["task"]["title"] == "你好"


async def test_null_is_a_body_without_data(shared_api: Api) -> None:
    await shared_api.add(PASS)
    started = await shared_api.post("/flow/submit.json", b"null", descriptor_id="shop:order")
    shown = await shared_api.ended(started["execution_id"])
    assert set(shown["context"]) == {"flow_execution_id"}


async def test_a_slash_at_the_end_of_a_path_says_nothing(shared_api: Api) -> None:
    await shared_api.add(PASS)
    started = await shared_api.post("/flow/submit.json/", descriptor_id="shop:order")
    shown = await shared_api.get("/flow/get.json/", execution_id=started["execution_id"])
    assert shown["ret"]["execution_id"] == started["execution_id"]
    assert await shared_api.get("/flow/bg/user/currentUser.json/")


async def test_a_base_address_may_end_in_a_slash(shared_api: Api) -> None:
    await shared_api.add(PASS)
    base = f"{shared_api.client.base_url}/"
    url = httpx.URL(f"{base}/flow/submit.json", params={"descriptor_id": "shop:order"})
    assert url.path == "//flow/submit.json"
    started = (await shared_api.client.post(url)).json()
    shown = await shared_api.client.get(
        f"{base}/flow/get.json?execution_id={started['execution_id']}"
    )
    assert shown.json()["ret"]["execution_id"] == started["execution_id"]


@pytest.mark.parametrize(
    "path", ["/flow/service_check.json", "/healthz", "/flow/get.json?execution_id=a", "/docs"]
)
async def test_head_is_get_without_the_body(shared_api: Api, path: str) -> None:
    head, whole = [await shared_api.client.request(verb, path) for verb in ("HEAD", "GET")]
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))


async def test_head_ends_no_task() -> None:
    called: list[Any] = []
    async with served({"work": called.append}) as api:
        await api.add(calling("work", pattern="task_async"))
        execution_id = await api.submit("shop:order")
        while not called:
            await api.shown(execution_id)
        asked = await api.client.head(called[0].headers["X-Callback-Url"])
        assert asked.status_code == 422
        shown = await api.shown(execution_id)
        assert shown["tasks"]["A"]["status"] == "RUNNING"


async def test_a_query_or_a_form_of_very_many_fields_is_refused_before_it_is_parsed(
    shared_api: Api,
) -> None:
    for most, status in ((MOST_FIELDS, 200), (MOST_FIELDS + 1, 400)):
        fields = "&".join(["execution_id=shop:none_c_1"] + ["a=1"] * (most - 1))
        asked = await shared_api.client.get(f"/flow/get.json?{fields}")
        posted = await shared_api.client.post("/flow/multi_redo.json", content=fields, headers=FORM)
        refusals = [f"at most {MOST_FIELDS} fields" in each.text for each in (asked, posted)]
        assert (asked.status_code, refusals) == (status, [status == 400] * 2)
