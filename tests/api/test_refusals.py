"""A refusal says what is wrong: ``{"error_code", "error"}`` and the status of who must act."""

import asyncio

import pytest

from tests.api.definition_texts import PASS
from tests.api.serving import Api, refusal_of, served

ADD = "/flow/bg/manage/descriptor/add_descriptor.json"
pytestmark = pytest.mark.asyncio(loop_scope="module")

NOBODY = "shop:order_c_00000000-0000-7000-8000-000000000000"


@pytest.mark.case("E2E-16")
async def test_a_missing_parameter_is_422_with_30109(shared_api: Api) -> None:
    status, code, text = await shared_api.refusal("/flow/submit.json")
    assert (status, code) == (422, 30109)
    assert "descriptor_id" in text


@pytest.mark.case("E2E-17")
async def test_a_wrong_method_is_422_with_30105(shared_api: Api) -> None:
    status, code, _ = await shared_api.get_refusal("/flow/submit.json", descriptor_id="shop:order")
    assert (status, code) == (422, 30105)


@pytest.mark.case("E2E-18")
@pytest.mark.parametrize(
    ("descriptor_id", "refusal"),
    [
        ("a:b", (400, 30106, "cannot find descriptor: a:b:release")),
        ("a:b:c", (400, 30106, "cannot find descriptor: a:b:c")),
        ("a:b:md5_0f", (400, 30106, "descriptor:a:b:md5_0f value empty")),
        ("a", (400, 30109, "dagDescriptorId:a format error")),
        ("a:b@c", (400, 30109, "dagDescriptorId:a:b@c format error")),
    ],
)
async def test_an_unknown_definition_is_400(
    shared_api: Api, descriptor_id: str, refusal: tuple[int, int, str]
) -> None:
    assert await shared_api.refusal("/flow/submit.json", descriptor_id=descriptor_id) == refusal


@pytest.mark.case("E2E-19")
async def test_a_definition_under_another_name_than_its_own_is_30110(shared_api: Api) -> None:
    params = {"business_id": "shop", "feature_name": "other", "alias": "release"}
    response = await shared_api.client.post(ADD, params=params, content=PASS)
    assert response.status_code == 400
    assert response.json() == {
        "error_code": 30110,
        "error": "name not match",
        "pass_through": True,
        "hint": "business_id and feature_name must be workspace and dagName of the definition;"
        " they are shop:other, and the definition has shop:order",
    }


@pytest.mark.case("E2E-20")
@pytest.mark.parametrize("execution_id", [NOBODY, "nonsense", ""])
async def test_an_unknown_execution_is_shown_empty(shared_api: Api, execution_id: str) -> None:
    shown = await shared_api.get("/flow/get.json", execution_id=execution_id)
    assert shown == {"ret": {"tasks": "{}", "context": {}, "invoke_summary": {}}}


@pytest.mark.parametrize(
    ("path", "params", "refusal"),
    [
        ("wakeup.json", {"task_name": "A"}, (500, 30605)),
        ("redo.json", {}, (500, 30602)),
        ("finish.json", {"task_name": "A"}, (500, 30605)),
        ("trigger.json", {"task_name": "A"}, (400, 30109)),
        ("cancel.json", {}, (500, 30605)),
        ("pause.json", {}, (500, 30605)),
        ("resume.json", {}, (500, 30605)),
    ],
)
@pytest.mark.parametrize("execution_id", [NOBODY, "nonsense"])
async def test_what_is_done_to_an_unknown_execution_is_refused(
    shared_api: Api, path: str, params: dict[str, str], refusal: tuple[int, int], execution_id: str
) -> None:
    found = await shared_api.refusal(f"/flow/{path}", execution_id=execution_id, **params)
    assert found[:2] == refusal


@pytest.mark.parametrize(
    ("body", "text"),
    [(b"{", "not JSON"), (b"[1]", "JSON object"), (b"nul", "not JSON"), (b'"a"', "JSON object")],
)
@pytest.mark.parametrize("path", ["submit.json", "wakeup.json", "redo.json"])
async def test_a_body_that_is_no_object_is_422(
    shared_api: Api, path: str, body: bytes, text: str
) -> None:
    status, code, said = await shared_api.refusal(
        f"/flow/{path}", body, descriptor_id="a:b", execution_id=NOBODY, task_name="A"
    )
    assert (status, code) == (422, 30109)
    assert text in said


@pytest.mark.parametrize("path", ["submit.json", "wakeup.json", "redo.json", "finish.json"])
@pytest.mark.parametrize(
    ("content_type", "body"),
    [("text/plain", b"a: 1"), ("application/x-www-form-urlencoded", b"a=1")],
)
async def test_a_body_of_another_media_type_is_422_with_30105(
    shared_api: Api, path: str, content_type: str, body: bytes
) -> None:
    refusal = refusal_of(
        await shared_api.client.post(
            f"/flow/{path}",
            params={"descriptor_id": "a:b", "execution_id": NOBODY, "task_name": "A"},
            content=body,
            headers={"Content-Type": content_type},
        )
    )
    assert refusal == (422, 30105, f"Content type '{content_type}' not supported")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/flow/get_execution_count.json?service_id=a:b&start_time_offset=soon"),
        ("GET", "/flow/get_by_parent.json?execution_id=a&parent=b&group_index=99999999999999"),
        ("POST", "/flow/task_degrade.json?execution_id=a&task_name=b&degrade_current_task=maybe"),
        ("GET", "/flow/bg/get_descriptor_ids.json?current=1"),
        ("GET", "/flow/bg/get_descriptor_ids.json?current=1&pageSize="),
        ("GET", "/flow/get_by_parent.json?execution_id=a&parent=b&group_index="),
        ("GET", "/flow/get.json?execution_id=a&wait_s=for%20ever"),
        ("POST", "/flow/submit.json?descriptor_id=a:b&uid=somebody"),
        ("GET", "/flow/get_execution_ids.json?service_id=a:b&code=%00"),
        ("GET", "/flow/get.json?execution_id=%00"),
    ],
)
async def test_a_mistyped_parameter_is_422(shared_api: Api, method: str, path: str) -> None:
    status, code, _ = refusal_of(await shared_api.client.request(method, path))
    assert (status, code) == (422, 30109)


@pytest.mark.parametrize(
    "path",
    [
        "/flow/bg/get_execution_ids.json?startTime=&endTime=&page=&pageSize=%20",
        "/flow/bg/get_descriptor_ids.json?current=1&pageSize=10&page=",
        "/flow/template/get_task_templates.json?id=&page=&page_size=&type=&enable=",
        "/flow/get_execution_ids.json?service_id=a:b&time=&page=&count=",
        "/flow/get_execution_count.json?service_id=a:b&start_time_offset=&end_time_offset=",
        "/flow/get_sub_context.json?execution_id=a&parent=b&group_index=",
        "/flow/get_execution_ids.json?service_id=a:b&type=",
        "/flow/get_execution_count.json?service_id=a:b&type=&code=",
    ],
)
async def test_an_optional_parameter_that_is_left_blank_is_its_default(
    shared_api: Api, path: str
) -> None:
    with_blanks = await shared_api.client.get(path)
    assert with_blanks.status_code == 200
    kept = [part for part in path.partition("?")[2].split("&") if not part.endswith(("=", "%20"))]
    plain = await shared_api.client.get(f"{path.partition('?')[0]}?{'&'.join(kept)}")
    moving = ("cursor_time", "collect_time")
    left, right = (
        {key: value for key, value in answer.json().items() if key not in moving}
        for answer in (with_blanks, plain)
    )
    assert left == right


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/flow/complete.json?execution_id=a&success=", {"code": "-1"}),
        ("/flow/multi_redo.json?service_id=a:b&type=%20", {"result": "ok"}),
        ("/flow/clear_runtime_resources.json?service_id=a:b&clear_all=", {"ret": False}),
        (
            "/flow/mapping_evaluation.json?type=",
            {"ret": {"context": {}, "input": {}, "output": {}}},
        ),
    ],
)
async def test_what_is_left_blank_in_an_order_is_its_default(
    shared_api: Api, path: str, answer: dict[str, object]
) -> None:
    response = await shared_api.client.post(path)
    assert response.status_code == 200
    assert answer.items() <= response.json().items()


@pytest.mark.parametrize("path", ["/flow/nothing.json", "/nothing", "/flow/bg/manage"])
async def test_an_unknown_path_is_404(shared_api: Api, path: str) -> None:
    assert refusal_of(await shared_api.client.get(path))[:2] == (404, 30101)


@pytest.mark.parametrize(
    "path",
    [
        "/flow/finish.json?execution_id=a&task_name=A",
        "/flow/wakeup.json?execution_id=a&task_name=A",
        "/flow/redo.json?execution_id=a",
        "/flow/convert.json",
    ],
)
async def test_a_refusal_keeps_the_connection(shared_api: Api, path: str) -> None:
    url = shared_api.client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        for _ in range(2):
            head = f"POST {path} HTTP/1.1\r\nHost: {url.host}\r\nContent-Length: 2\r\n\r\n"
            writer.write(f"{head}{{}}".encode())
            lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
            assert lines[0].split()[1] in (b"400", b"500")
            [length] = [line for line in lines if line.startswith(b"content-length:")]
            assert b"error_code" in await reader.readexactly(int(length.partition(b":")[2]))
    finally:
        writer.close()


async def test_a_stopped_store_is_503_and_asks_to_come_back() -> None:
    async with served() as api:
        await api.stack.store.close()
        response = await api.client.get("/flow/bg/get_business_options.json")
    assert refusal_of(response)[:2] == (503, 30501)
    assert response.headers["Retry-After"] == "1"


async def test_whoever_asks_for_health_is_not_told_where_the_store_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served() as api:
        await api.until_ready()
        await api.stack.store.close()
        told = await api.until_not_ready()
    assert "closed" not in str(told)
    logged = [record for record in caplog.records if record.message == "not_ready"]
    assert {"closed" in record.__dict__["reason"] for record in logged} == {True}


async def test_a_refusal_in_the_originals_words_is_told_in_plain_ones_too(
    shared_api: Api,
) -> None:
    finished = await shared_api.client.post("/flow/cancel.json?execution_id=a")
    assert finished.json()["error"] == "validateDAGInfo dag executionId:a not found"
    assert finished.json()["hint"] == "there is no execution a"


@pytest.mark.parametrize("path", ["redo.json?execution_id=a", "multi_redo.json?service_id=a:b"])
async def test_a_redo_has_one_of_two_scopes(shared_api: Api, path: str) -> None:
    response = await shared_api.client.post(f"/flow/{path}&scope=some")
    assert refusal_of(response) == (422, 30109, "scope must be whole or failed, not some")
