"""Secrets reach the function that a definition names, and come back from nowhere."""

import asyncio
import json
import logging
import threading
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
from aiohttp import web
from msgspec.structs import replace

from rillflow.actors.dispatcher_actor import http_settings
from rillflow.gateways.http.requests import build_request
from rillflow.gateways.http.responses import LONGEST_ERROR
from rillflow.gateways.outbound.settings import HttpSettings
from rillflow.gateways.outbound.threads import _FOR_MIDDLE_TEXTS
from rillflow.gateways.plugins.gateway import DispatchInfo, Resource
from rillflow.gateways.registry import GatewayRegistry
from rillflow.gateways.secrets.masks import Mask
from rillflow.gateways.secrets.store import FRESH_S, KnownSecrets, Secrets
from rillflow.jsontypes import encode_json
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest, failed
from rillflow.runtime.process.log_lines import LineFormatter
from rillflow.settings import Settings
from tests.loopback import ManualClock, StoppedClock, attempt, moved, raw_server, web_server

TOKEN: Final = 'p&ss/wörd "1"'
REFERENCE: Final = "${secret:TOKEN}"


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RILLFLOW_SECRET_TOKEN", TOKEN)


async def call(
    url: str, fields: Any, *places: tuple[str | int, ...], **more: Any
) -> DispatchAnswer:
    changes = {
        name: more.pop(name) for name in ("secrets_dir", "egress", "secret_hosts") if name in more
    }
    settings = HttpSettings(call_timeout_s=30, **changes)
    registry = GatewayRegistry.with_http(settings, StoppedClock(), discover=False)
    plugin = more.pop("plugin", None)
    if plugin is not None:
        registry.add_plugin(plugin)
    try:
        request = attempt(url, input=encode_json(fields), secrets=places, **more)
        return await registry.call(request)
    finally:
        await registry.close()


class Seen:
    """A function that keeps what it was asked and answers as it is told."""

    def __init__(self, status: int = 200, text: str = "{}") -> None:
        self.header = self.body = self.query = ""
        self._status, self._text = status, text

    async def take(self, request: web.Request) -> web.Response:
        self.header = request.headers.get("X-Key", "")
        self.body = await request.text()
        self.query = request.query.get("key", "")
        return web.Response(status=self._status, text=self._text)


async def test_references_are_replaced_where_they_count_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RILLFLOW_SECRET_PIN", "1234")
    seen = Seen()
    fields = {
        "header": {"X-Key": "key=${secret:PIN}"},
        "a": [REFERENCE, f"<{REFERENCE}>"],
        "said": REFERENCE,
    }
    async with web_server(f=seen.take) as url:
        places = (("header", "X-Key"), ("a", 1), ())
        answer = await call(f"{url}/f?key={REFERENCE}", fields, *places)
    assert answer.error is None
    assert seen.header == "key=1234"
    assert seen.query == TOKEN
    sent = json.loads(seen.body)
    assert sent["a"] == [REFERENCE, f"<{TOKEN}>"]
    assert sent["said"] == REFERENCE


async def test_without_places_a_reference_is_a_text() -> None:
    seen = Seen()
    async with web_server(f=seen.take) as url:
        await call(f"{url}/f", {"header": {"X-Key": REFERENCE}})
    assert seen.header == REFERENCE


async def test_a_secret_may_be_a_file_and_changes_with_it(tmp_path: Path) -> None:
    seen = Seen()
    file = tmp_path / "FILED"
    fields, place = {"header": {"X-Key": "${secret:FILED}"}}, ("header", "X-Key")
    async with web_server(f=seen.take) as url:
        for value in ("first", "second"):
            file.write_text(f"{value}\n", encoding="utf-8")
            await call(f"{url}/f", fields, place, secrets_dir=tmp_path)
            assert seen.header == value


@pytest.mark.parametrize("content", [None, "", "\n", "\ufeff".encode("utf-16")])
async def test_an_unknown_secret_fails_the_call_and_is_named(
    tmp_path: Path, content: str | bytes | None
) -> None:
    if isinstance(content, str):
        (tmp_path / "OTHER").write_text(content)
    elif content is not None:
        (tmp_path / "OTHER").write_bytes(content)
    seen = Seen()
    async with web_server(f=seen.take) as url:
        answer = await call(f"{url}/f", {"a": "${secret:OTHER}"}, ("a",), secrets_dir=tmp_path)
    assert answer.error is not None
    assert "the secret OTHER " in answer.error
    assert seen.body == ""


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"error_msg": f"bad {TOKEN}", TOKEN: [TOKEN]}),
        json.dumps({"error_msg": TOKEN}, ensure_ascii=False),
        f"no JSON {TOKEN}",
        f"see {quote(TOKEN, safe='')} or {quote(TOKEN)}",
        "x" * 505 + TOKEN,
        json.dumps({"error_msg": TOKEN}).replace("/", r"\/"),
        json.dumps({"error_msg": TOKEN}).replace("&", r"\u0026"),
        json.dumps({"error_msg": TOKEN}, ensure_ascii=False).replace("&", r"\u0026"),
    ],
)
async def test_a_function_that_repeats_a_secret_is_not_heard(status: int, text: str) -> None:
    async with web_server(f=Seen(status, text).take) as url:
        answer = await call(f"{url}/f", {"a": REFERENCE}, ("a",))
    body = (answer.body or b"").decode()
    heard = f"{answer.error} {json.loads(body) if text.startswith('{') else body}"
    assert REFERENCE in heard
    assert "p&ss" not in heard
    assert r"p\u0026ss" not in heard
    assert "p%26ss" not in heard
    if text.startswith("{"):
        assert isinstance(json.loads(answer.body or b""), dict)


async def test_a_result_that_is_asked_for_is_masked_as_well() -> None:
    async with web_server(f=Seen(200, json.dumps({"said": TOKEN})).take) as url:
        answer = await call(f"{url}/f", {}, pattern="poll", poll=1)
    assert json.loads(answer.body or b"") == {"said": REFERENCE}


async def test_an_address_with_a_secret_is_not_shown_when_nobody_answers() -> None:
    async def hang(*_: object) -> None:
        raise ConnectionAbortedError

    async with raw_server(hang) as server:
        answer = await call(f"{server.url}/{REFERENCE}", {}, ())
    assert answer.error is not None
    assert REFERENCE in answer.error
    assert quote(TOKEN, safe="") not in answer.error


@pytest.mark.parametrize("status", [302, 307])
async def test_a_redirect_takes_no_secret_to_another_host(status: int) -> None:
    other = Seen()
    async with web_server(g=other.take) as elsewhere:
        async with web_server(f=moved(status, f"{elsewhere}/g")) as url:
            answer = await call(f"{url}/f", {"header": {"X-Key": REFERENCE}}, ("header", "X-Key"))
        assert answer.error is not None
        assert "would take secrets to" in answer.error
        assert (other.header, other.body) == ("", "")


async def test_a_redirect_within_the_host_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RILLFLOW_SECRET_TOKEN", "plain")
    seen = Seen()
    async with web_server(f=moved(307, "/g"), g=seen.take) as url:
        await call(f"{url}/f", {"header": {"X-Key": REFERENCE}}, ("header", "X-Key"))
    assert seen.header == "plain"


@pytest.mark.parametrize(
    ("hosts", "is_sent"),
    [
        (("127.0.0.1",), True),
        (("127.0.0.1:{port}",), True),
        (("example.org", "127.0.0.1"), True),
        (("127.0.0.1:1",), False),
        (("example.org",), False),
        (("*.0.0.1",), True),
        (("*.127.0.0.1",), False),
        ((), False),
    ],
)
async def test_a_secret_is_sent_only_where_secret_hosts_lets_it(
    hosts: tuple[str, ...], *, is_sent: bool
) -> None:
    seen = Seen()
    async with web_server(f=seen.take) as url:
        allowed = tuple(each.replace("{port}", url.rpartition(":")[2]) for each in hosts)
        fields = {"header": {"X-Key": REFERENCE}}
        answer = await call(
            f"{url}/f", fields, ("header", "X-Key"), secret_hosts={"TOKEN": allowed}
        )
        assert (answer.error is None) is is_sent
        await call(f"{url}/f", {"header": {"X-Key": "open"}}, secret_hosts={"TOKEN": allowed})
    assert seen.header == "open"
    if not is_sent:
        assert answer.error == f"the secret TOKEN may not be sent to {url.removeprefix('http://')}"
        assert answer.hint == "secret_hosts has the hosts that TOKEN may be sent to"


@pytest.mark.parametrize(
    ("host", "is_sent"),
    [
        ("api.example", True),
        ("API.example:{port}", True),
        ("api.example:1", True),
        ("tenant.example", False),
        ("tenant.example:{port}", False),
        ("x.api.example", False),
        ("127.0.0.1:1", False),
    ],
)
async def test_a_secret_is_not_sent_with_the_name_of_another_host(
    host: str, *, is_sent: bool
) -> None:
    seen = Seen()
    async with web_server(f=seen.take) as url:
        place = url.removeprefix("http://")
        port = place.rpartition(":")[2]
        named = host.replace("{port}", port)
        answer = await call(
            f"{url}/f",
            {"header": {"X-Key": REFERENCE}, "request_header_1": {"hOST": named}},
            ("header", "X-Key"),
            secret_hosts={"TOKEN": ("api.example", place)},
        )
    assert (answer.error is None) is is_sent
    assert bool(seen.header) is is_sent
    if not is_sent:
        told = named if ":" in named else f"{named}:{port}"
        assert answer.error == f"the secret TOKEN may not be sent to {told}"


async def test_no_refusal_of_a_host_shows_the_secret_in_it() -> None:
    fields = {"header": {"Host": f"{REFERENCE}"}}
    answer = await call("http://127.0.0.1:1/f", fields, ("header", "Host"))
    assert answer.error is not None
    assert "wörd" not in repr(answer)


async def test_a_bounded_secret_in_an_address_is_bounded_by_the_address_that_it_makes() -> None:
    seen = Seen()
    async with web_server(f=seen.take) as url:
        bounds = {"TOKEN": ("gateway.example",)}
        answer = await call(f"{url}/f?key={REFERENCE}", {}, (), secret_hosts=bounds)
    assert answer.error is not None
    assert answer.error.startswith("the secret TOKEN may not be sent to 127.0.0.1:")
    assert seen.query == ""


@pytest.mark.parametrize(
    "address",
    [
        "http://api.example.com:{}/",
        "http://h\\@api.example.com/{}",
        "http://{}@127.0.0.1:1/",
        "http://user:{}@127.0.0.1:1/",
        "http://127.0.0.1:1/{}",
        "http://127.0.0.1:1/?a={}",
        "http://[{}]/",
        "ftp://{}/",
        "http://127.0.0.1:1/#{}",
        "{}",
    ],
)
@pytest.mark.parametrize("bounds", [{}, {"TOKEN": ("api.example.com",)}, {"TOKEN": ()}])
async def test_no_refusal_of_an_address_shows_the_secret_in_it(
    monkeypatch: pytest.MonkeyPatch, address: str, bounds: dict[str, tuple[str, ...]]
) -> None:
    monkeypatch.setenv("RILLFLOW_SECRET_TOKEN", "sk-proj-a7f3k9q2mzx8")
    answer = await call(address.format(REFERENCE), {}, (), secret_hosts=bounds)
    assert answer.error is not None
    assert "a7f3k9" not in repr(answer)


@pytest.mark.parametrize("address", ["http://{}.example.org/", "http://{}/"])
async def test_a_refusal_of_a_host_does_not_show_the_secret_in_it(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("RILLFLOW_SECRET_TOKEN", "sk-proj-a7f3k9q2mzx8")
    bounds = {"TOKEN": ("api.example.com",)}
    answer = await call(address.format(REFERENCE), {}, (), secret_hosts=bounds)
    assert answer.error is not None
    assert answer.error.startswith("the secret TOKEN may not be sent to ${secret:TOKEN}")
    assert "a7f3k9" not in repr(answer)


@pytest.mark.parametrize(("protocol", "is_sent"), [("mine", True), ("other", False)])
async def test_of_a_plugin_the_protocol_counts(protocol: str, *, is_sent: bool) -> None:
    class Plugin:
        name = "mine"

        def handle(self, resource: Resource, info: DispatchInfo) -> object:
            assert resource.scheme_value == "x"
            return {"sent": str(info.input["a"]) == TOKEN}

    bounds = {"TOKEN": (protocol,)}
    answer = await call("mine://x", {"a": REFERENCE}, ("a",), plugin=Plugin(), secret_hosts=bounds)
    assert (answer.body == b'{"sent":true}') is is_sent


def test_secrets_without_bounds_are_told_of() -> None:
    environment = {"RILLFLOW_SECRET_B": "value-b", "RILLFLOW_SECRET_A": "value-a"}
    assert Secrets(None, environment).unbounded() == ["A", "B"]
    assert Secrets(None, environment, hosts={"A": ("h",)}).unbounded() == ["B"]


async def test_plugins_get_secrets_too_and_their_errors_are_masked() -> None:
    class Plugin:
        name = "mine"

        def handle(self, resource: Resource, info: DispatchInfo) -> object:
            raise ValueError(f"{resource.scheme_value} {info.input['a']}")

    answer = await call("mine://x", {"a": REFERENCE}, ("a",), plugin=Plugin())
    assert answer.error == f"handle fails: x {REFERENCE}"


@pytest.mark.parametrize("secrets", [(), (("a",),)])
async def test_a_long_error_is_masked_beside_the_loop(secrets: tuple[tuple[str], ...]) -> None:
    class Failing:
        async def call(self, request: DispatchRequest) -> DispatchAnswer:
            return replace(failed(request, TOKEN * 1_000), is_outcome=True)

        async def close(self) -> None:
            """Have nothing to close."""

    registry = GatewayRegistry(HttpSettings(), StoppedClock())
    registry.register("failing", Failing())
    gate = threading.Event()
    held = asyncio.create_task(_FOR_MIDDLE_TEXTS.run("another", gate.wait))
    try:
        request = attempt("failing://x", input=encode_json({"a": REFERENCE}), secrets=secrets)
        answered = asyncio.create_task(registry.call(request))
        async with asyncio.timeout(60):
            while "b" not in _FOR_MIDDLE_TEXTS._taken:
                assert not answered.done(), "it was masked by the event loop"
                await asyncio.sleep(0)
    finally:
        gate.set()
    assert (await answered).error == (REFERENCE * 1_000)[:LONGEST_ERROR]
    assert await held


async def test_an_accident_is_logged_without_what_was_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        def check(self, host: str, ip: str) -> None:
            raise RuntimeError(f"{host} {ip} {TOKEN}")

    with caplog.at_level(logging.DEBUG):
        answer = await call("http://127.0.0.1:1/", {"a": REFERENCE}, ("a",), egress=Broken())
    assert caplog.records
    formatter = LineFormatter()
    assert all(TOKEN not in formatter.format(record) for record in caplog.records)
    assert TOKEN not in (answer.error or "")


def test_settings_show_no_secret_of_theirs() -> None:
    settings = Settings(
        store=f"postgresql://me:{TOKEN}@db/rillflow",
        api_key="key-to-come-in",
        callback_keys=("key-to-seal",),
        auth_secret="secret-to-sign",
    )
    shown = f"{settings!r} {settings} {http_settings(settings)!r}"
    for secret in (TOKEN, "key-to-come-in", "key-to-seal", "secret-to-sign"):
        assert secret not in shown
    assert settings.store_url.startswith("postgresql://me:")


def test_json_that_spells_its_characters_out_hides_no_secret() -> None:
    spelt = "".join(f"\\u{ord(character):04X}" for character in TOKEN)
    mask = Mask({"TOKEN": TOKEN})
    assert mask.body(f'{{"a":["{spelt}"]}}'.encode()) == b'{"a":["${secret:TOKEN}"]}'
    harmless = rb'{"a": "x\/y"}'
    assert mask.body(harmless) == harmless


def test_an_address_is_masked_as_it_was_sent() -> None:
    secret = "a*b~c d&e/f"
    call = build_request(
        attempt(f"http://f/{quote(secret, safe='')}", input=encode_json({"query": {"k": secret}})),
        HttpSettings(),
        now_ms=0,
    )
    assert Mask({"S": secret}).text(call.url).count("${secret:S}") == 2


def test_short_secrets_are_not_looked_for() -> None:
    assert Mask({"PIN": "123"}).body(b'{"n":123}') == b'{"n":123}'
    assert Mask({"PIN": "1234"}).body(b'{"n":1234}') == b'{"n":"${secret:PIN}"}'


def test_all_secrets_that_can_be_found_are_known(tmp_path: Path) -> None:
    (tmp_path / "FILED").write_text("filed-value")
    (tmp_path / "not a name").write_text("ignored")
    (tmp_path / "EMPTY").write_text("")
    environment = {"RILLFLOW_SECRET_A": "value-a", "RILLFLOW_SECRETS_DIR": "x", "OTHER": "y"}
    clock = ManualClock()
    known = KnownSecrets(Secrets(tmp_path, environment), clock)
    assert known.mask().text("value-a filed-value x y") == "${secret:A} ${secret:FILED} x y"
    environment["RILLFLOW_SECRET_A"] = "value-b"
    assert known.mask().text("value-b") == "value-b"
    clock.forward(FRESH_S + 1)
    assert known.mask().text("value-b") == "${secret:A}"


def test_a_folder_that_cannot_be_read_holds_no_answer_up(tmp_path: Path) -> None:
    environment = {"RILLFLOW_SECRET_A": "value-a"}
    for folder in (tmp_path / "missing", tmp_path / ("x" * 300)):
        assert Secrets(folder, environment).known() == {"A": "value-a"}


@pytest.mark.parametrize("is_outcome", [True, False])
async def test_what_a_function_raises_shows_no_secret_that_it_was_not_given(
    *, is_outcome: bool
) -> None:
    class Raises:
        """A gateway of functions that see the environment of the server."""

        async def call(self, request: DispatchRequest) -> DispatchAnswer:
            error = f"RuntimeError: {TOKEN}"
            return replace(
                failed(request, error), body=encode_json({"m": error}), is_outcome=is_outcome
            )

        async def close(self) -> None:
            """Hold nothing open."""

    registry = GatewayRegistry.with_http(HttpSettings(), StoppedClock(), discover=False)
    registry.register("ray", Raises())
    answer = await registry.call(attempt("ray://m:f"))
    is_shown = TOKEN in (answer.error or "") and TOKEN in json.loads(answer.body or b"")["m"]
    assert is_shown is not is_outcome
    assert ("${secret:TOKEN}" in (answer.error or "")) is is_outcome
    await registry.close()
