"""Without a key programs and our own pages are served, and pages of other sites are not."""

from collections.abc import MutableMapping
from typing import Any, Final

import httpx
import pytest

from rillflow.errors import ForeignRequestError
from rillflow.settings import Settings
from rillflow.testing import FunctionRequest
from serve.middleware.browsers import Browsers
from tests.api.definition_texts import PASS, SUSPENDED, calling
from tests.api.serving import Api, refusal_of, served

MODULE_LOOP: Final = pytest.mark.asyncio(loop_scope="module")
EVERY_ROUTE: Final = (
    ("GET", "/flow/get.json"),
    ("POST", "/flow/submit.json"),
    ("GET", "/flow/trigger.json"),
    ("POST", "/flow/trigger.json"),
    ("POST", "/flow/bg/manage/descriptor/add_descriptor.json"),
    ("GET", "/flow/bg/get_business_options.json"),
    ("GET", "/flow/service_check.json"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/docs"),
    ("GET", "/swagger-ui.html"),
    ("GET", "/openapi.json"),
    ("GET", "/nothing"),
    ("GET", "//flow/get.json"),
    ("HEAD", "/flow/get.json"),
    ("OPTIONS", "/flow/submit.json"),
)
ANY_HOST: Final = ("/flow/trigger.json", "/healthz", "/readyz")
CONSOLE: Final = "https://console.example.com"


async def ask(
    api: Api, headers: list[tuple[str, str]], method: str = "GET", path: str = "/flow/get.json"
) -> httpx.Response:
    return await api.client.request(method, path, headers=headers)


@pytest.mark.parametrize(
    "headers",
    [
        [("Origin", "https://evil.example")],
        [("Origin", "null")],
        [("Origin", "")],
        [("Origin", "file://")],
        [("Origin", "http://localhost:3000"), ("Sec-Fetch-Site", "same-site")],
        [("Origin", "http://127.0.0.1.evil.example:{port}")],
        [("Origin", "http://127.0.0.1:{port}@evil.example")],
        [("Origin", "https://evil.example"), ("Sec-Fetch-Site", "same-origin")],
        [("Origin", "http://127.0.0.1:{port}"), ("Origin", "https://evil.example")],
        [("Sec-Fetch-Site", "cross-site")],
        [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")],
        [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Site", "none")],
        [("Sec-Fetch-Site", "CROSS-SITE")],
        [("Sec-Fetch-Site", "same-site")],
        [
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Mode", "navigate"),
            ("Sec-Fetch-Dest", "iframe"),
            ("Sec-Fetch-User", "?1"),
        ],
        [  # A script navigates, and nobody has clicked.
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Mode", "navigate"),
            ("Sec-Fetch-Dest", "document"),
        ],
    ],
)
@MODULE_LOOP
async def test_a_page_of_another_site_reaches_no_route(
    shared_api: Api, headers: list[tuple[str, str]]
) -> None:
    port = str(shared_api.stack.settings.port)
    sent = [(name, value.replace("{port}", port)) for name, value in headers]
    for method, path in EVERY_ROUTE:
        answer = await ask(shared_api, sent, method, path)
        assert answer.status_code == 403, (method, path)
        assert "access-control-allow-origin" not in answer.headers
        if method != "HEAD":
            status, code, text = refusal_of(answer)
            assert (status, code) == (403, 30108)
            assert "RILLFLOW_ALLOWED_ORIGINS" in text


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "user:word@127.0.0.1:{port}",
        "evil.example.",
        "192.0.2.7:{port}",
        "[2001:db8::1]:{port}",
        "127.0.0.1:{port}/x",
        "127.0.0.1, evil.example",
        "",
        ":80",
    ],
)
@MODULE_LOOP
async def test_a_foreign_name_for_this_server_reaches_only_callbacks_and_health(
    shared_api: Api, host: str
) -> None:
    host = host.replace("{port}", str(shared_api.stack.settings.port))
    for method, path in EVERY_ROUTE:
        answer = await ask(shared_api, [("Host", host)], method, path)
        if path in ANY_HOST:
            assert answer.status_code != 403
            continue
        assert answer.status_code == 403, (method, path)
        if method != "HEAD":
            assert "RILLFLOW_ALLOWED_HOSTS" in refusal_of(answer)[2]


@MODULE_LOOP
@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:1",
        "127.8.9.10:80",
        "localhost:8080",
        "LocalHost",
        "localhost.",
        "[::1]:8080",
        "[0:0::0:1]",
        "[::ffff:127.0.0.1]:80",
    ],
)
async def test_programs_call_by_any_name_of_loopback(shared_api: Api, host: str) -> None:
    assert (await ask(shared_api, [("Host", host)])).status_code != 403


@MODULE_LOOP
async def test_our_own_pages_call_from_where_the_browser_found_them(shared_api: Api) -> None:
    port = shared_api.stack.settings.port
    for headers in (
        [("Origin", f"http://127.0.0.1:{port}"), ("Sec-Fetch-Site", "same-origin")],
        [("Origin", f"http://127.0.0.1:{port}")],
        [("Host", "localhost"), ("Origin", "http://localhost")],
        [("Host", "localhost:80"), ("Origin", "http://LOCALHOST")],
        [("Sec-Fetch-Site", "same-origin")],
        [("Sec-Fetch-Site", "none"), ("Sec-Fetch-Mode", "navigate")],
        # A console behind a reverse proxy of this machine, which puts our Host.
        [("Origin", "http://localhost:8088"), ("Sec-Fetch-Site", "same-origin")],
    ):
        assert (await ask(shared_api, headers)).status_code != 403, headers


@MODULE_LOOP
async def test_a_link_on_another_page_leads_to_pages_and_suspense_tasks_only(
    shared_api: Api,
) -> None:
    visit = [
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Dest", "document"),
        ("Sec-Fetch-User", "?1"),
    ]
    for path in ("/docs", "/swagger-ui.html", "/flow/trigger.json"):
        assert (await ask(shared_api, visit, path=path)).status_code != 403
    for path in ("/flow/get.json", "/openapi.json", "/healthz"):
        assert (await ask(shared_api, visit, path=path)).status_code == 403
    assert (await ask(shared_api, visit, "POST", "/flow/trigger.json")).status_code == 403


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ([(b"host", b"127.0.0.1"), (b"host", b"evil.example")], False),
        ([(b"host", b"evil.example"), (b"host", b"127.0.0.1")], False),
        ([(b"host", b"127.0.0.1"), (b"host", b"127.0.0.1")], True),
        ([], True),
    ],
)
def test_two_hosts_are_none_and_no_host_is_no_browser(
    headers: list[tuple[bytes, bytes]], *, passes: bool
) -> None:
    assert is_taken(Browsers(Settings()), headers) is passes


def is_taken(browsers: Browsers, headers: list[tuple[bytes, bytes]]) -> bool:
    try:
        browsers.refuse_foreign({"path": "/flow/get.json", "method": "GET", "headers": headers})
    except ForeignRequestError:
        return False
    return True


@pytest.mark.parametrize(
    ("settings", "host"),
    [
        ({"server_host": "http://flows.example.com:9000"}, "flows.example.com"),
        ({"callback_host": "http://host.docker.internal:8080"}, "host.docker.internal:8080"),
        ({"allowed_hosts": ("flows", "192.0.2.7")}, "FLOWS.:80"),
        ({"allowed_hosts": ("flows", "192.0.2.7")}, "192.0.2.7"),
        ({"allowed_hosts": "[2001:DB8::1]"}, "[2001:db8:0::1]:80"),
        ({"allowed_hosts": "*"}, "any.example"),
    ],
)
async def test_settings_name_more_hosts(settings: dict[str, Any], host: str) -> None:
    async with served(**settings) as api:
        url = f"http://127.0.0.1:{api.stack.settings.port}/flow/get.json"
        answer = await api.client.get(url, headers={"Host": host})
        assert answer.status_code != 403
        other = await api.client.get(url, headers={"Host": "evil.example"})
        assert (other.status_code == 403) is (settings.get("allowed_hosts") != "*")


@pytest.mark.parametrize(
    ("host", "called", "passes"),
    [
        ("0.0.0.0", "192.0.2.7:8080", True),
        ("::", "[2001:db8::1]", True),
        ("0.0.0.0", "evil.example", False),
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "192.0.2.8", False),
    ],
)
def test_who_listens_everywhere_is_called_by_every_address(
    host: str, called: str, *, passes: bool
) -> None:
    for browsers in (Browsers(Settings(host=host)), Browsers(Settings(), listens_on=host)):
        assert is_taken(browsers, [(b"host", called.encode())]) is passes


async def test_named_origins_may_call_and_read_every_answer() -> None:
    async with served(allowed_origins=CONSOLE) as api:
        sent = [("Origin", CONSOLE), ("Sec-Fetch-Site", "cross-site")]
        for method, path in EVERY_ROUTE:
            answer = await ask(api, sent, method, path)
            assert answer.status_code != 403
            assert answer.headers["Access-Control-Allow-Origin"] == CONSOLE
            assert "Origin" in answer.headers["Vary"]
        preflight = await ask(api, sent, "OPTIONS", "/flow/submit.json")
        assert preflight.status_code == 204
        allowed = preflight.headers["Access-Control-Allow-Headers"]
        assert allowed.split(", ") == ["*", "Authorization"]
        for other in (f"{CONSOLE}.evil.example", "http://console.example.com", f"{CONSOLE}:8443"):
            answer = await ask(api, [("Origin", other)])
            assert answer.status_code == 403
            assert "access-control-allow-origin" not in answer.headers
        assert "access-control-allow-origin" not in (await ask(api, [])).headers


async def test_every_origin_may_be_named() -> None:
    async with served(allowed_origins="*") as api:
        answer = await ask(api, [("Origin", "null"), ("Sec-Fetch-Site", "cross-site")])
        assert answer.status_code != 403
        assert answer.headers["Access-Control-Allow-Origin"] == "*"


async def test_with_a_key_the_key_decides_and_pages_read_only_what_is_named() -> None:
    async with served(api_key="a-long-secret", allowed_origins=CONSOLE) as api:
        key = ("X-Rillflow-Api-Key", "a-long-secret")
        foreign = [("Host", "any.example"), ("Origin", "https://other.example"), key]
        answer = await ask(api, foreign)
        assert answer.status_code == 422
        assert "access-control-allow-origin" not in answer.headers
        answer = await ask(api, [("Origin", CONSOLE)])
        assert answer.status_code == 401
        assert answer.headers["Access-Control-Allow-Origin"] == CONSOLE
        preflight = await ask(api, [("Origin", "https://other.example")], "OPTIONS")
        assert preflight.status_code == 204
        assert "access-control-allow-origin" not in preflight.headers


async def test_a_foreign_page_cannot_add_or_submit_and_a_function_can_call_back() -> None:
    async with served() as api:
        page = {
            "Origin": "https://evil.example",
            "Sec-Fetch-Site": "cross-site",
            "Content-Type": "text/plain",
        }
        params = {"business_id": "shop", "feature_name": "order", "alias": "release"}
        add = "/flow/bg/manage/descriptor/add_descriptor.json"
        refused = await api.client.post(add, params=params, content=PASS, headers=page)
        assert refused.status_code == 403
        assert await api.stack.store.businesses() == []
        execution = await api.submit(await api.add(SUSPENDED))
        call = {"execution_id": execution, "task_name": "wait"}
        answer = await api.client.post(
            "/flow/trigger.json", params=call, json={}, headers={"Host": "rillflow.internal:8080"}
        )
        assert answer.json() == {"result": "ok"}


@MODULE_LOOP
async def test_what_an_answer_led_here_reaches_only_callbacks_and_health(shared_api: Api) -> None:
    for method, path in EVERY_ROUTE:
        answer = await ask(shared_api, [("X-Rillflow-Redirected", "true")], method, path)
        if path in ANY_HOST:
            assert answer.status_code != 403
        else:
            assert answer.status_code == 403, (method, path)
            assert method == "HEAD" or "RILLFLOW_API_KEY" in refusal_of(answer)[2]


@pytest.mark.parametrize("status", [303, 307])
async def test_no_function_calls_this_server_through_its_dispatcher(status: int) -> None:
    """A redirect cancelled other executions, and read their contexts."""

    def work(_: FunctionRequest) -> tuple[int, dict[str, Any], dict[str, str]]:
        leads_to = {303: "get_context.json", 307: "cancel.json"}[status]
        return status, {}, {"Location": f"{base}/flow/{leads_to}?execution_id={victim}"}

    async with served({"work": work}) as api:
        base = str(api.client.base_url).rstrip("/")
        victim = await api.submit(await api.add(SUSPENDED))
        ended = await api.run(calling("work", name="steered"))
        assert ended["tasks"]["A"]["status"] == "FAILED"
        assert "403" in ended["tasks"]["A"]["invoke_msg"]["msg"]
        shown = await api.get("/flow/get.json", execution_id=victim)
        assert shown["ret"]["dag_status"] == "RUNNING"


@pytest.mark.parametrize("kind", ["http", "websocket"])
@MODULE_LOOP
async def test_every_kind_of_connection_is_judged(shared_api: Api, kind: str) -> None:
    sent: list[MutableMapping[str, Any]] = []
    scope = {
        "type": kind,
        "method": "GET",
        "path": "/flow/get.json",
        "headers": [(b"host", b"evil.example")],
    }

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await shared_api.app(scope, receive, send)
    assert (sent[0].get("status") or sent[0].get("code")) in (403, 1008)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("allowed_hosts", "http://flows"),
        ("allowed_hosts", "flows:80"),
        ("allowed_hosts", "*.example.com"),
        ("allowed_origins", "console.example.com"),
        ("allowed_origins", "https://console.example.com/"),
        ("allowed_origins", "null"),
    ],
)
def test_what_no_header_can_say_is_refused_as_a_setting(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="is no "):
        Settings.model_validate({name: value})
