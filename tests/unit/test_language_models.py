"""Language models are built in: ``chatgpt`` and ``aliyun_ai`` (spec 4.7, Q39)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from rillflow.definition.addresses import MODEL_PROTOCOLS
from rillflow.gateways.language_models import ALIYUN_AI, CHATGPT
from rillflow.gateways.outbound.egress import egress_rules
from rillflow.gateways.outbound.settings import HttpSettings
from rillflow.gateways.registry import GatewayRegistry
from rillflow.jsontypes import decode_json, encode_json
from rillflow.ports.gateway import DispatchAnswer
from rillflow.runtime.dispatch.client import dispatcher_index
from tests.loopback import FAILS, PATIENT_S, Handler, StoppedClock, attempt

KEY = "sk-test/0123456789"
CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "你好"}}],
}
GENERATION = {
    "output": {"finish_reason": "stop", "text": "你好"},
    "usage": {"input_tokens": 1, "output_tokens": 2},
    "request_id": "r-1",
}


class Vendor:
    """Stands for both vendors: answers what it is told, and remembers what it was asked."""

    def __init__(self, **answer: Any) -> None:
        self.answer = answer
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.base_url = ""

    async def chat(self, request: web.Request) -> web.Response:
        """Answer as the test wants, else with a completion."""
        return await self._take(request, CHAT)

    async def generation(self, request: web.Request) -> web.Response:
        """Answer as the test wants, else with a generation."""
        return await self._take(request, GENERATION)

    async def _take(self, request: web.Request, usual: Any) -> web.Response:
        self.bodies.append(decode_json(await request.read()))
        self.headers.append(dict(request.headers))
        return web.Response(**(self.answer or {"body": encode_json(usual)}))

    @asynccontextmanager
    async def open(self, *, path: str = "", handler: Handler | None = None) -> AsyncIterator[None]:
        """Serve the paths of both APIs, perhaps another one too."""
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_post("/v1/services/aigc/text-generation/generation", self.generation)
        if handler is not None:
            app.router.add_route("*", path, handler)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        try:
            yield
        finally:
            await runner.cleanup()


async def ask(
    vendor: Vendor, protocol: str, fields: Any, settings: Any = None, **changes: Any
) -> DispatchAnswer:
    given = {
        "call_timeout_s": PATIENT_S,
        "chatgpt_base_url": vendor.base_url,
        "aliyun_ai_base_url": vendor.base_url,
    }
    http = HttpSettings(**(given | (settings or {})))
    registry = GatewayRegistry.with_http(http, StoppedClock(), discover=False)
    try:
        request = attempt(f"{protocol}://any", input=encode_json(fields), **changes)
        return await registry.call(request)
    finally:
        await registry.close()


async def asked(protocol: str, fields: Any, answer: Any = None, **changes: Any) -> Any:
    vendor = Vendor(**(answer or {}))
    async with vendor.open():
        found = await ask(vendor, protocol, fields, **changes)
    return vendor, found


def output_of(answer: DispatchAnswer) -> Any:
    assert answer.error is None
    assert answer.body is not None
    return decode_json(answer.body)


async def test_chatgpt_is_asked_one_message_and_its_answer_is_there_twice() -> None:
    vendor, answer = await asked(
        "chatgpt",
        {"apikey": KEY, "prompt": 'say "hi"\n', "prompt_prefix": "Please: ", "prompt_suffix": "!"},
    )
    assert vendor.bodies == [
        {
            "model": "gpt-3.5-turbo",
            "messages": [{"role": "user", "content": 'Please: say "hi"\n!'}],
        }
    ]
    assert vendor.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert output_of(answer) == {**CHAT, "result": CHAT}
    assert not answer.is_outcome


async def test_aliyun_is_asked_one_message_for_an_answer_in_text() -> None:
    fields = {"apikey": KEY, "message": "b", "message_prefix": "a", "message_suffix": "c"}
    vendor, answer = await asked("aliyun_ai", fields)
    assert vendor.bodies == [
        {
            "model": "qwen-plus",
            "input": {"messages": [{"role": "user", "content": "abc"}]},
            "parameters": {"result_format": "text"},
        }
    ]
    assert vendor.headers[0]["Authorization"] == f"Bearer {KEY}"
    output = output_of(answer)
    assert output["output"]["text"] == "你好"
    assert output["requestId"] == output["request_id"] == "r-1"


@pytest.mark.parametrize(("protocol", "text"), [("chatgpt", "prompt"), ("aliyun_ai", "message")])
async def test_another_model_can_be_named_and_any_value_is_asked(protocol: str, text: str) -> None:
    vendor, _ = await asked(protocol, {"apikey": KEY, text: {"a": [1]}, "model": "other"})
    assert vendor.bodies[0]["model"] == "other"
    messages = vendor.bodies[0].get("input", vendor.bodies[0])["messages"]
    assert messages == [{"role": "user", "content": '{"a":[1]}'}]


async def test_nothing_of_the_execution_is_told_to_the_vendor() -> None:
    vendor, _ = await asked("chatgpt", {"apikey": KEY, "prompt": "p", "other": "private"})
    told = str((vendor.bodies, vendor.headers))
    assert "b:f_c_1" not in told
    assert "Callback" not in told
    assert "private" not in told


@pytest.mark.parametrize("pattern", ["task_async", "task_scheduler"])
async def test_the_answer_of_an_asynchronous_task_is_what_a_callback_would_bring(
    pattern: str,
) -> None:
    fields = {"apikey": KEY, "prompt": "p"}
    _, answer = await asked("chatgpt", fields, pattern=pattern)
    assert output_of(answer) == {"result_type": "SUCCESS", "result": CHAT}
    assert answer.is_outcome


@pytest.mark.parametrize(
    ("pattern", "timeout_s", "error"),
    [
        ("task_sync", None, "no answer from POST"),
        ("task_async", None, "no answer from POST"),
        ("task_sync", 0.1, "timeout"),
        ("task_async", 0.1, "timeout"),
    ],
)
async def test_a_call_may_take_the_time_of_its_task_also_when_that_is_longer_than_usual(
    pattern: str, timeout_s: float | None, error: str
) -> None:
    vendor = Vendor()

    async def silent(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async with vendor.open(path="/silent/chat/completions", handler=silent):
        base = vendor.base_url.replace("/v1", "/silent")
        settings = {"call_timeout_s": 0.05, "chatgpt_base_url": base}
        fields = {"apikey": KEY, "prompt": "p"}
        answer = await ask(
            vendor, "chatgpt", fields, settings, pattern=pattern, timeout_s=timeout_s
        )
    assert answer.error is not None
    assert answer.error.removeprefix(FAILS).startswith(error)


@pytest.mark.parametrize(
    ("protocol", "fields", "error"),
    [
        ("chatgpt", {}, "parameters is empty"),
        ("chatgpt", {"prompt": "p"}, "apikey is empty"),
        ("chatgpt", {"prompt": "p", "apikey": " "}, "apikey is empty"),
        ("chatgpt", {"apikey": KEY}, "prompt is empty"),
        ("chatgpt", {"apikey": KEY, "prompt": None}, "prompt is empty"),
        ("chatgpt", {"apikey": KEY, "prompt": "", "prompt_prefix": "a"}, "prompt is empty"),
        (
            "chatgpt",
            {"apikey": "a\r\nHost: b", "prompt": "p"},
            "apikey is not one word of visible ASCII characters",
        ),
        (
            "chatgpt",
            {"apikey": "k" * 2_049, "prompt": "p"},
            "apikey has more than 2048 characters",
        ),
        ("aliyun_ai", {}, "parameters is empty"),
        ("aliyun_ai", {"message": "m"}, "apikey is empty"),
        ("aliyun_ai", {"apikey": KEY}, "message is empty"),
    ],
)
async def test_an_input_that_lacks_something_is_not_sent(
    protocol: str, fields: Any, error: str
) -> None:
    vendor, answer = await asked(protocol, fields)
    assert answer.error == f"handle fails: {error}"
    assert vendor.bodies == []


@pytest.mark.parametrize(
    ("protocol", "pattern", "known"),
    [
        ("aliyun_ai", "task_async", "task_sync"),
        ("aliyun_ai", "flow_sync", "task_sync"),
        ("chatgpt", "flow_async", "task_sync or task_async or task_scheduler"),
    ],
)
async def test_a_pattern_that_could_never_end_is_refused(
    protocol: str, pattern: str, known: str
) -> None:
    fields = {"apikey": KEY, "prompt": "p", "message": "m"}
    vendor, answer = await asked(protocol, fields, pattern=pattern)
    assert answer.error == f"handle fails: {protocol} is called with the pattern {known}"
    assert vendor.bodies == []


@pytest.mark.parametrize("pattern", ["task_sync", "task_async"])
async def test_a_status_of_failure_fails_the_attempt_and_never_shows_the_key(pattern: str) -> None:
    body = encode_json({"error": {"message": f"Incorrect API key: {KEY}", "code": "bad_key"}})
    said = {"status": 429, "body": body, "headers": {"Retry-After": "7"}}
    _, answer = await asked("chatgpt", {"apikey": KEY, "prompt": "p"}, said, pattern=pattern)
    assert answer.error is not None
    assert answer.error.startswith(f"{FAILS}429 Too Many Requests: ")
    assert "Incorrect API key: ***" in answer.error
    assert (answer.http_status, answer.retry_after_s) == (429, 7.0)
    assert not answer.is_outcome
    assert KEY not in str(answer)
    assert KEY.partition("/")[2] not in str(answer)


async def test_a_key_that_the_vendor_repeats_in_a_success_is_masked() -> None:
    body = encode_json({"choices": [], "note": f"for {KEY}"}).replace(b"/", rb"\/")
    _, answer = await asked("chatgpt", {"apikey": KEY, "prompt": "p"}, {"body": body})
    assert output_of(answer)["note"] == "for ***"


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b""])
@pytest.mark.parametrize("pattern", ["task_sync", "task_async"])
async def test_what_is_no_json_object_is_no_answer(body: bytes, pattern: str) -> None:
    fields = {"apikey": KEY, "prompt": "p"}
    _, answer = await asked("chatgpt", fields, {"body": body}, pattern=pattern)
    assert answer.error == "handle fails: chatgpt answered no JSON object"


async def test_the_key_may_be_a_reference_to_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RILLFLOW_SECRET_CHAT", KEY)
    fields = {"apikey": "${secret:CHAT}", "prompt": "${secret:CHAT}"}
    vendor, _ = await asked("chatgpt", fields, secrets=(("apikey",),))
    assert vendor.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert vendor.bodies[0]["messages"][0]["content"] == "${secret:CHAT}"


async def test_egress_rules_hold_for_models() -> None:
    vendor = Vendor()
    async with vendor.open():
        settings = {"egress": egress_rules(allow=(), deny=("127.0.0.0/8",))}
        answer = await ask(vendor, "chatgpt", {"apikey": KEY, "prompt": "p"}, settings)
    assert answer.error == "egress to 127.0.0.1 (127.0.0.1) is not allowed"
    assert vendor.bodies == []


async def test_answers_have_the_size_limit_of_all_calls() -> None:
    vendor = Vendor(body=b"x" * 2000)
    async with vendor.open():
        settings = {"max_response_bytes": 1000}
        answer = await ask(vendor, "chatgpt", {"apikey": KEY, "prompt": "p"}, settings)
    assert answer.error is not None
    assert "1000" in answer.error


async def test_no_key_follows_a_redirect_to_another_host() -> None:
    vendor, answer = await asked(
        "chatgpt",
        {"apikey": KEY, "prompt": "p"},
        {"status": 307, "headers": {"Location": "http://localhost:1/"}},
    )
    assert answer.error is not None
    assert "a redirect that would take secrets to" in answer.error
    assert len(vendor.bodies) == 1


async def test_a_plugin_of_the_same_name_takes_its_place() -> None:
    class Mine:
        name = "chatgpt"

        def handle(self, resource: Any, dispatch_info: Any) -> str:
            del resource, dispatch_info
            return '{"mine": true}'

    registry = GatewayRegistry.with_http(HttpSettings(), StoppedClock(), discover=False)
    registry.add_plugin(Mine())
    answer = await registry.call(attempt("chatgpt://any"))
    await registry.close()
    assert output_of(answer) == {"mine": True}


def test_one_dispatcher_asks_a_model_whatever_its_addresses_say() -> None:
    assert (CHATGPT.name, ALIYUN_AI.name) == MODEL_PROTOCOLS
    for protocol in MODEL_PROTOCOLS:
        found = {dispatcher_index(f"{protocol}://{name}", 7) for name in "abcdefgh"}
        assert len(found) == 1
