"""The API does with each route what the table of routes says about it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio

from serve.middleware.signatures import request_signature
from serve.route_table import BY_PATH, NONE, ROUTES, Access, methods
from tests.api.serving import Api, served

KEY: Final = "correct-horse-battery"
MODULE_LOOP: Final = pytest.mark.asyncio(loop_scope="module")
ENDPOINTS: Final = [(method, route) for route in ROUTES for method in methods(route)]
PARAMETERS: Final = {
    "business_id": "shop",
    "feature_name": "order",
    "alias": "release",
    "descriptor_id": "shop:order",
    "execution_id": "shop:order_c_8f0f9c00-0000-11f0-8000-000000000000",
    "task_name": "A",
    "id": "shop:order",
    "type": "cron",
}
TOO_LARGE: Final = "context size nonsupport"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def keyed() -> AsyncIterator[Api]:
    async with served(api_key=KEY) as api:
        yield api


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def signed() -> AsyncIterator[Api]:
    async with served(switches={"ENABLE_AUTH_RESOLVER": True}, auth_secret=KEY) as api:
        api.clock.advance(60)  # what was signed before the start is refused
        yield api


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def plain() -> AsyncIterator[Api]:
    async with served() as api:
        yield api


async def status_of(api: Api, method: str, path: str, **headers: str) -> int:
    return (await api.client.request(method, path, headers=headers)).status_code


@MODULE_LOOP
async def test_the_key_is_needed_where_the_table_says_so(keyed: Api) -> None:
    for method, route in ENDPOINTS:
        is_refused = await status_of(keyed, method, route.path) == 401
        assert is_refused == (route.access is Access.KEY), route
        assert await status_of(keyed, method, route.path, Authorization=f"Bearer {KEY}") != 401


@MODULE_LOOP
async def test_the_signature_is_needed_where_the_table_says_so(signed: Api) -> None:
    for method, route in ENDPOINTS:
        answer = await signed.client.request(method, route.path)
        assert ("authentication failed" in answer.text) == (route.access is Access.KEY), route


@MODULE_LOOP
async def test_a_foreign_host_is_taken_where_the_table_says_so(plain: Api) -> None:
    for method, route in ENDPOINTS:
        is_refused = await status_of(plain, method, route.path, Host="elsewhere.example") == 403
        assert is_refused != route.any_host, route


@MODULE_LOOP
async def test_a_link_of_another_page_leads_where_the_table_says_so(plain: Api) -> None:
    visit = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
        "Sec-Fetch-User": "?1",
    }
    for method, route in ENDPOINTS:
        is_refused = await status_of(plain, method, route.path, **visit) == 403
        if route.access is not Access.WEBHOOK:  # an unknown one is not found, whoever asks
            assert is_refused != (route.linked and method == "GET"), route


@MODULE_LOOP
async def test_head_stands_for_get_where_the_table_says_so(plain: Api) -> None:
    for method, route in ENDPOINTS:
        if method == "GET":
            head = await plain.client.head(route.path, params=PARAMETERS)
            got = await plain.client.get(route.path, params=PARAMETERS)
            assert (head.status_code != got.status_code) == route.changed_by_get, route


@MODULE_LOOP
async def test_a_body_over_the_limit_of_the_table_is_refused(plain: Api) -> None:
    for method, route in ENDPOINTS:
        if route.access is Access.WEBHOOK:
            continue  # each has its own limit, see test_webhooks.py
        answer = await announced(plain, method, route.path, 1 << 40)
        if route.body is NONE:
            assert TOO_LARGE not in answer, route
            assert "internal server error" not in answer, route
        else:
            assert answer.startswith(f"HTTP/1.1 {route.body.too_large_status} "), (route, answer)
            assert TOO_LARGE in answer, route


@pytest.mark.parametrize(
    "path", ["/flow/bg/user/login.json", "/flow/cancel.json", "/flow/validate.json"]
)
@MODULE_LOOP
async def test_a_fixed_limit_is_the_one_of_the_table(plain: Api, path: str) -> None:
    limit = BY_PATH[path].body.largest_bytes
    answer = await announced(plain, "POST", path, limit + 1)
    assert TOO_LARGE in answer
    assert f"up to {limit} bytes" in answer
    sent = await plain.client.post(
        path, content=b" " * limit, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert TOO_LARGE not in sent.text


async def announced(api: Api, method: str, path: str, length: int) -> str:
    """Announce a body of a length, and return what is answered before any of it is sent."""
    query = "&".join(f"{name}={value}" for name, value in PARAMETERS.items())
    head = (
        f"{method} {path}?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        f"Content-Length: {length}\r\n"
        "Sec-Fetch-Site: same-origin\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", api.stack.settings.port)
    writer.write(head.encode())
    answer = await reader.read()
    writer.close()
    return answer.decode()


@MODULE_LOOP
async def test_the_document_names_the_credentials_and_limits_of_the_table(
    plain: Api, keyed: Api, signed: Api
) -> None:
    shown = [await operations(api) for api in (plain, keyed, signed)]
    for path, method in shown[0]:
        route = BY_PATH[path]
        secured = [document[path, method]["security"] for document in shown]
        if route.access is Access.KEY:
            assert secured == [[{}], [{"api_key": []}, {"bearer": []}], [{"signature": []}]]
        else:
            assert secured == [[], [], []]
        body = shown[0][path, method].get("requestBody")
        if body:
            bound = route.body.setting or f"{route.body.largest_bytes} bytes"
            assert bound in body["description"]


async def operations(api: Api) -> dict[tuple[str, str], Any]:
    path, fields = "/openapi.json", {"ts": str(api.clock.now_ms())}
    fields["sign"] = request_signature(KEY, "GET", path, fields)
    headers = {"Authorization": f"Bearer {KEY}"}
    document = await api.client.get(path, params=fields, headers=headers)
    return {
        (path, method): operation
        for path, at_path in document.json()["paths"].items()
        for method, operation in at_path.items()
    }
