"""A refusal says in ``hint`` which rule was broken and by what; its other words are Rill Flow's."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.definition_texts import PASS, calling
from tests.api.serving import Api, served
from tests.api.test_document import DOCUMENT

MANAGE = "/flow/bg/manage/descriptor"
ADD = f"{MANAGE}/add_descriptor.json"
NAMES = {"business_id": "shop", "feature_name": "order", "alias": "release"}
RULE = "a name has 1 to 100 letters a-z, A-Z and digits 0-9"

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def hinted(api: Api, path: str, body: Any = b"", **params: Any) -> tuple[str, str]:
    """Return error and hint of a POST that is refused."""
    response = await api.client.post(path, params=params, content=body)
    assert response.status_code in (400, 413), response.text
    told = response.json()
    return told["error"], told["hint"]


async def test_a_malformed_name_is_named_with_its_parameter(shared_api: Api) -> None:
    for path in (ADD, f"{MANAGE}/modify_alias.json"):
        params = {**NAMES, "alias": "re-lease", "add": "true"}
        told = await hinted(shared_api, path, PASS, **params)
        assert told == ("error data format", f"alias: {RULE}; 're-lease' has '-'")


async def test_a_refused_definition_is_told_with_the_place(shared_api: Api) -> None:
    error, hint = await hinted(shared_api, ADD, PASS.replace("shop", "s_p"), **NAMES)
    assert error == "name invalid:s_p"
    assert hint.startswith("line 2, column 12: a name has 1 to 100 letters")
    assert hint.endswith("'s_p' has '_'")


async def test_the_place_of_what_has_no_hint_is_told_all_the_same(shared_api: Api) -> None:
    twice = PASS + "  - name: A\n    category: pass\n"
    error, hint = await hinted(shared_api, ADD, twice, **NAMES)
    assert error == "task name duplicated: A"
    assert re.fullmatch(r"line \d+, column 11", hint)


async def test_a_place_that_the_message_has_is_not_told_twice(shared_api: Api) -> None:
    text = PASS.replace("category: pass", "category: pas")
    error, hint = await hinted(shared_api, ADD, text, **NAMES)
    assert error == "category pas is unknown (line 7, column 15)"
    assert hint == "did you mean `pass`?"


async def test_a_definition_that_is_no_text_is_told_so(shared_api: Api) -> None:
    _, hint = await hinted(shared_api, ADD, b"a: \xff", **NAMES)
    assert hint == "the body must be UTF-8, or say its charset in Content-Type"


@pytest.mark.parametrize(
    ("descriptor_id", "hint"),
    [
        ("shop", "the form is business:feature, business:feature:alias"),
        ("shop:or-der", "'or-der' has '-'"),
        ("shop:nothing", "no definition was added to shop:nothing as release"),
    ],
)
async def test_a_descriptor_id_that_leads_nowhere_is_told_why(
    shared_api: Api, descriptor_id: str, hint: str
) -> None:
    assert hint in (await hinted(shared_api, "/flow/submit.json", descriptor_id=descriptor_id))[1]


@pytest.mark.parametrize(
    ("path", "params", "setting"),
    [
        ("submit", {"descriptor_id": "shop:order"}, "submit_max_bytes"),
        ("finish", {"execution_id": "shop:x", "task_name": "A"}, "callback_max_bytes"),
        ("trigger", {"execution_id": "shop:x", "task_name": "A"}, "callback_max_bytes"),
        ("wakeup", {"execution_id": "shop:x", "task_name": "A"}, "callback_max_bytes"),
        ("mapping_evaluation", {}, "submit_max_bytes"),
    ],
)
async def test_a_body_that_is_too_large_is_told_its_limit_and_the_setting(
    shared_api: Api, path: str, params: dict[str, str], setting: str
) -> None:
    large = b'{"a":"%b"}' % (b"x" * 1_048_576)
    error, hint = await hinted(shared_api, f"/flow/{path}.json", large, **params)
    assert error == "context size nonsupport"
    assert hint == (
        f"this body may have up to 1048576 bytes, as {setting} (RILLFLOW_{setting.upper()})"
        f" or {setting}_by_business says"
    )


async def test_a_definition_that_is_too_large_is_told_the_limit(shared_api: Api) -> None:
    error, hint = await hinted(shared_api, ADD, PASS + "#" * 3_000_000, **NAMES)
    assert error.endswith("exceed the limit")
    assert hint == "a definition may have up to 645120 bytes"


async def test_validation_tells_the_rule_of_a_name(shared_api: Api) -> None:
    told = await shared_api.post("/flow/validate.json", PASS.replace("shop", "s_p"))
    [problem] = told["problems"]
    assert (problem["message"], problem["line"]) == ("name invalid:s_p", 2)
    assert problem["hint"].endswith("'s_p' has '_'")


async def test_validation_warns_of_a_number_that_does_not_count(shared_api: Api) -> None:
    text = PASS + "timeline: {timeoutInSeconds: ten}\n"
    told = await shared_api.post("/flow/validate.json", text)
    [problem] = told["problems"]
    assert (told["valid"], problem["severity"]) == (True, "warning")
    assert problem["message"].startswith("timeoutInSeconds `ten` is not a whole number")
    assert problem["hint"].startswith("write digits")


async def test_a_protocol_that_nobody_serves_gets_a_hint_beside_the_message() -> None:
    text = calling("order", resource="rilflow://shop:")
    async with served() as api:
        task = (await api.run(text))["tasks"]["A"]["invoke_msg"]
    assert task["msg"] == "handle functionPattern protocol: rilflowdo not support"
    assert task["hint"] == "did you mean `rillflow`?"


async def test_the_description_of_the_api_cites_nothing_that_its_readers_do_not_have(
    shared_api: Api,
) -> None:
    response: httpx.Response = await shared_api.client.get("/openapi.json")
    assert not re.findall(r"\bspec [Q\d]|``", response.text + str(DOCUMENT))


async def test_the_page_of_the_http_api_names_every_path() -> None:
    page = (Path(__file__).parents[2] / "docs" / "http.md").read_text(encoding="utf-8")
    missing = [path for path in DOCUMENT["paths"] if path.rpartition("/")[2] not in page]
    assert not missing
