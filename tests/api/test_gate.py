"""With an API key only who shows it is let in; functions, health and the page need none."""

import asyncio
import re
from typing import Any, Final

import pytest

import rillflow
from rillflow.client.clients import AsyncClient
from rillflow.client.http_transport.transport import KEY_VARIABLE
from rillflow.errors import RequestError
from rillflow.settings import Settings
from tests.api.definition_texts import PASS, SUSPENDED
from tests.api.serving import Api, refusal_of, served

KEY: Final = "correct-horse-battery"
SHOWN: Final = {"X-Rillflow-Api-Key": KEY}
CLOSED: Final = (
    ("POST", "/flow/submit.json"),
    ("POST", "/flow/finish.json"),
    ("POST", "/flow/wakeup.json"),
    ("POST", "/flow/cancel.json"),
    ("GET", "/flow/get.json"),
    ("GET", "/flow/bg/get_business_options.json"),
    ("POST", "/flow/bg/user/login.json"),
    ("POST", "/flow/bg/manage/descriptor/add_descriptor.json"),
    ("GET", "/openapi.json"),
    ("GET", "//flow/trigger.json"),
    ("GET", "/nothing"),
)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Rillflow-Api-Key": ""},
        {"X-Rillflow-Api-Key": "wrong"},
        {"X-Rillflow-Api-Key": f"{KEY}x"},
        {"X-Rillflow-Api-Key": KEY.upper()},
        {"Authorization": KEY},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer"},
        {"Authorization": f"Basic {KEY}"},
    ],
)
async def test_without_the_key_nothing_is_answered(headers: dict[str, str]) -> None:
    async with served(api_key=KEY) as api:
        for method, path in CLOSED:
            response = await api.client.request(method, path, headers=headers)
            status, code, text = refusal_of(response)
            assert (status, code) == (401, 30101)
            assert "X-Rillflow-Api-Key" in text
            assert KEY not in response.text
            assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "headers",
    [
        SHOWN,
        {"authorization": f"bearer {KEY}"},
        {"x-rillflow-api-key": "wrong"} | {"Authorization": f"Bearer {KEY}"},
    ],
)
async def test_with_the_key_everything_is_answered(headers: dict[str, str]) -> None:
    async with served(api_key=KEY) as api:
        for method, path in CLOSED:
            response = await api.client.request(method, path, headers=headers)
            assert response.status_code != 401


async def test_functions_health_and_the_page_need_no_key() -> None:
    async with served(api_key=KEY) as api:
        await api.stack.add_descriptor("shop", "order", "release", SUSPENDED)
        submitted = await api.client.post(
            "/flow/submit.json", params={"descriptor_id": "shop:order"}, json={}, headers=SHOWN
        )
        call = {"execution_id": submitted.json()["execution_id"], "task_name": "wait"}
        assert await api.post("/flow/trigger.json", {"go": True}, **call) == {"result": "ok"}
        for path in (
            "/flow/service_check.json",
            "/healthz",
            "/readyz",
            "/docs",
            "/swagger-ui.html",
        ):
            response = await api.client.get(path, follow_redirects=True)
            assert response.status_code == 200, path
        assert (await api.client.options("/flow/submit.json")).status_code == 204


async def test_a_client_shows_the_key_it_is_given_or_that_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with served(api_key=KEY) as api:
        url = api.stack.settings.base_url
        async with AsyncClient(url, api_key=KEY) as client:
            assert await client.add(PASS) != ""
        async with AsyncClient(url, api_key="wrong") as client:
            with pytest.raises(RequestError, match="Authorization is wrong"):
                await client.add(PASS)
        monkeypatch.setenv(KEY_VARIABLE, KEY)
        async with AsyncClient(url) as client:
            assert await client.add(PASS) != ""


def test_the_key_is_never_shown() -> None:
    settings = Settings(api_key=KEY, callback_keys=(KEY,), auth_secret=KEY)
    assert KEY not in f"{settings!r} {settings} {settings.model_dump()['api_key']}"
    with rillflow.Client(api_key=KEY) as client:
        assert KEY not in repr(vars(client))


@pytest.mark.parametrize("key", ["", " ", "two words", "schlüssel", "a\nb"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(ValueError, match="a key is one word") as refused:
        Settings(api_key=key)
    assert "schl" not in str(refused.value)


# -- sizes and forms -------------------------------------------------------------------


async def test_headers_over_their_limit_are_431() -> None:
    async with served(header_max_bytes=2048) as api:
        response = await api.client.get("/healthz", headers={"X": "x" * 2048})
        assert refusal_of(response) == (431, 30109, "the headers hold more than 2048 bytes")
        assert (await api.client.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/flow/submit.json?descriptor_id=shop:order", 400, 30109),
        ("/flow/trigger.json?execution_id=e&task_name=t", 413, 30109),
        ("/flow/finish.json?execution_id=e&task_name=t", 400, 30109),
        ("/flow/wakeup.json?execution_id=e&task_name=t", 400, 30109),
        ("/flow/redo.json?execution_id=e", 400, 30109),
        ("/flow/cancel.json", 400, 30109),
        ("/flow/bg/user/login.json", 400, 30109),
        (
            "/flow/bg/manage/descriptor/add_descriptor.json?business_id=a&feature_name=b&alias=c",
            400,
            30110,
        ),
    ],
)
async def test_bodies_over_their_limit_are_refused(
    api: Api, path: str, status: int, code: int
) -> None:
    # No body is sent: the length that is announced is enough.
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        f"Content-Length: {1 << 40}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", api.stack.settings.port)
    writer.write(head.encode())
    answer = (await reader.read()).decode()
    writer.close()
    assert answer.startswith(f"HTTP/1.1 {status} ")
    assert f'"error_code":{code}' in answer
    assert "context size nonsupport" in answer


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/flow/get.json", {"execution_id": "<script>"}),
        ("/flow/submit.json", {"descriptor_id": "<script>"}),
        ("/flow/status/check.json", {"descriptor_id": "<script>"}),
        ("/flow/bg/get_descriptor.json", {"id": "<script>"}),
        ("/<script>", {}),
    ],
)
async def test_no_answer_that_repeats_a_question_is_a_page(
    api: Api, path: str, params: dict[str, Any]
) -> None:
    response = await api.client.get(path, params=params)
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_the_page_of_the_api_fetches_nothing_from_elsewhere(api: Api) -> None:
    page = await api.client.get("/docs")
    assert re.findall(r"https?://|//[a-z]", page.text) == []
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert (await api.client.get("/openapi.json")).json()["info"]["version"] == "0.1.0"
