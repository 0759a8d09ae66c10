"""The stand-in for OpenFaaS does on the wire what OpenFaaS does (spec 10.1 to 10.4)."""

import asyncio
import gzip
import json
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from rillflow.gateways.callbacks.arrivals import Callback, read_callback
from rillflow.jsontypes import decode_json
from rillflow.testing import FakeOpenFaaS, Function, FunctionRequest
from rillflow.testing.functions import duration_s
from rillflow.testing.openfaas import load_functions
from tests.loopback import attempt, closed_port, gateway, web_server


class Reply:
    """An HTTP response, read to its end."""

    def __init__(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        self.status, self.headers, self.body = response.status, response.headers, body


class CallbackServer:
    """Takes callbacks as the server would, and keeps what it understood."""

    def __init__(self) -> None:
        self.url = ""
        self.taken: list[Callback] = []
        self.headers: list[dict[str, str]] = []
        self.statuses: list[int] = []
        """What the next callbacks are answered with, 200 where there is nothing."""

    async def take(self, request: web.Request) -> web.Response:
        self.headers.append(dict(request.headers))
        self.taken.append(
            read_callback(
                query=dict(request.query),
                headers=request.headers,
                body=await request.read(),
                max_body_bytes=1_000_000,
            )
        )
        status = self.statuses.pop(0) if self.statuses else 200
        return web.json_response({"result": "ok"}, status=status)


@asynccontextmanager
async def callback_server() -> AsyncIterator[CallbackServer]:
    server = CallbackServer()
    async with web_server(trigger=server.take) as url:
        server.url = f"{url}/trigger?execution_id=b%3Af_c_1&task_name=A"
        yield server


async def send(method: str, url: str, body: bytes = b"", **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession(skip_auto_headers=("Content-Type",)) as session,
        session.request(method, url, data=body, headers=named) as response,
    ):
        return Reply(response, await response.read())


async def called_back(given: Any, body: bytes = b"{}", **headers: str) -> CallbackServer:
    """Call function ``f`` asynchronously and return what came back."""
    async with callback_server() as server, FakeOpenFaaS({"f": given}) as faas:
        url = f"{faas.url}/async-function/f"
        reply = await send("POST", url, body, X_Callback_Url=server.url, **headers)
        assert reply.status == 202
        await faas.drain()
    return server


def echo(request: FunctionRequest) -> dict[str, Any]:
    return {
        "method": request.method,
        "path": request.path,
        "query": dict(request.query),
        "body": request.json(),
    }


# --- synchronous calls --------------------------------------------------------


async def test_a_synchronous_call_answers_with_the_functions_answer() -> None:
    async with FakeOpenFaaS({"echo": echo}) as faas:
        reply = await send("PUT", f"{faas.url}/function/echo/a/b?q=1", b'{"n":1}', X_Call_Id="c1")
        assert [call.asynchronous for call in faas.calls] == [False]
    seen = {"method": "PUT", "path": "/a/b", "query": {"q": "1"}, "body": {"n": 1}}
    assert decode_json(reply.body) == seen
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["X-Call-Id"] == "c1"
    assert float(reply.headers["X-Duration-Seconds"]) >= 0


async def test_a_namespace_is_part_of_the_name() -> None:
    async with FakeOpenFaaS({"echo": echo, "echo.blue": lambda _: "blue"}) as faas:
        assert (await send("POST", f"{faas.url}/function/echo.green", b"1")).status == 200
        assert (await send("POST", f"{faas.url}/function/echo.blue")).body == b"blue"


async def test_an_unknown_function_has_no_endpoints() -> None:
    async with FakeOpenFaaS({}) as faas:
        reply = await send("POST", f"{faas.url}/function/gone")
    assert (reply.status, reply.body) == (503, b"No endpoints available for: gone.")


@pytest.mark.parametrize(
    ("result", "status", "body", "content_type"),
    [
        ({"a": 1}, 200, b'{"a": 1}', "application/json"),
        ([1, 2], 200, b"[1, 2]", "application/json"),
        ((201, "made", {"X-Made": "yes", "Content-Type": "text/css"}), 201, b"made", "text/css"),
        ((500, b"\x00\x01"), 500, b"\x00\x01", "application/octet-stream"),
        (None, 200, b"", None),
    ],
)
async def test_what_a_function_returns_is_its_answer(
    result: object, status: int, body: bytes, content_type: str | None
) -> None:
    async with FakeOpenFaaS({"f": lambda _: result}) as faas:
        reply = await send("POST", f"{faas.url}/function/f")
    assert (reply.status, reply.body) == (status, body)
    assert content_type is None or reply.headers["Content-Type"] == content_type


async def test_a_coroutine_function_is_a_function_and_a_raised_error_is_500() -> None:
    async def fine(request: FunctionRequest) -> str:
        return request.text()

    async def broken(_: FunctionRequest) -> str:
        raise ValueError("no ink")

    async with FakeOpenFaaS({"fine": fine, "broken": broken}) as faas:
        assert (await send("POST", f"{faas.url}/function/fine", b"hi")).body == b"hi"
        reply = await send("POST", f"{faas.url}/function/broken")
    assert (reply.status, reply.body) == (500, b"ValueError: no ink")


async def test_a_function_can_be_a_url() -> None:
    async def service(request: web.Request) -> web.Response:
        seen = f"{request.method} {request.path_qs} {await request.text()}"
        return web.Response(status=418, text=seen, headers={"X-Mine": "1"})

    async with web_server(**{"base/x": service}) as url:
        functions = {"f": f"{url}/base/", "down": f"http://127.0.0.1:{closed_port()}/"}
        async with FakeOpenFaaS(functions) as faas:
            reply = await send("POST", f"{faas.url}/function/f/x?q=%20", b"body")
            down = await send("POST", f"{faas.url}/function/down")
    assert (reply.status, reply.body) == (418, b"POST /base/x?q=%20 body")
    assert reply.headers["X-Mine"] == "1"
    assert down.status == 502


async def test_calls_over_the_limit_of_a_function_answer_429() -> None:
    inside, gate = asyncio.Event(), asyncio.Event()

    async def slow(_: FunctionRequest) -> str:
        inside.set()
        await gate.wait()
        return "done"

    async with FakeOpenFaaS({"f": Function(handler=slow, max_inflight=1)}) as faas:
        first = asyncio.create_task(send("POST", f"{faas.url}/function/f"))
        await inside.wait()
        second = await send("POST", f"{faas.url}/function/f")
        gate.set()
        assert (await first).status == 200
    assert second.status == 429


@pytest.mark.parametrize(("timeout_s", "header"), [(0.02, "60s"), (None, "20ms"), (60.0, "0.02")])
async def test_a_function_that_takes_too_long_answers_504(
    timeout_s: float | None, header: str
) -> None:
    slow = Function(handler=lambda _: "late", delay_s=60, timeout_s=timeout_s)
    async with FakeOpenFaaS({"f": slow}) as faas:
        reply = await send("POST", f"{faas.url}/function/f", X_Timeout=header)
    assert reply.status == 504


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30.0), ("1m30s", 90.0), ("250ms", 0.25), ("5", 5.0), ("", None), ("soon", None)],
)
def test_durations_are_read_as_go_writes_them(text: str, seconds: float | None) -> None:
    assert duration_s(text) == seconds


async def test_healthz_answers() -> None:
    async with FakeOpenFaaS({}) as faas:
        assert (await send("GET", f"{faas.url}/healthz")).status == 200


# --- asynchronous calls -------------------------------------------------------


async def test_an_asynchronous_call_is_accepted_with_an_empty_202() -> None:
    async with FakeOpenFaaS({"echo": echo}) as faas:
        url = f"{faas.url}/async-function/echo"
        bare, named = await send("POST", url), await send("POST", url, X_Call_Id="c1")
        await faas.drain()
        assert [call.asynchronous for call in faas.calls] == [True, True]
        assert faas.callbacks == []
    assert (bare.status, bare.body) == (202, b"")
    assert {"X-Start-Time", "X-Served-By", "X-Call-Id"} <= set(bare.headers)
    assert "X-Call-Id" not in named.headers


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_only_post_is_queued(method: str) -> None:
    async with FakeOpenFaaS({"echo": echo}) as faas:
        assert (await send(method, f"{faas.url}/async-function/echo")).status == 405


@pytest.mark.parametrize("url", ["http://[bad", "http://h:port/", "http://h/%zz", "http://h/a b"])
async def test_a_callback_address_that_is_no_url_is_refused(url: str) -> None:
    async with FakeOpenFaaS({"echo": echo}) as faas:
        address = f"{faas.url}/async-function/echo"
        assert (await send("POST", address, X_Callback_Url=url)).status == 400
        assert faas.calls == []


async def test_a_queue_that_is_down_answers_500() -> None:
    async with FakeOpenFaaS({"echo": echo}) as faas:
        faas.queue_is_down = True
        assert (await send("POST", f"{faas.url}/async-function/echo")).status == 500


async def test_the_function_gets_path_query_body_and_all_headers_of_the_call() -> None:
    seen: list[FunctionRequest] = []
    async with callback_server() as server, FakeOpenFaaS({"f": seen.append}) as faas:
        url = f"{faas.url}/async-function/f/a?b=1"
        await send("POST", url, b"body", X_Callback_Url=server.url, X_Mine="1", X_Call_Id="c1")
        await faas.drain()
    request = seen[0]
    assert (request.method, request.path, request.query) == ("POST", "/a", {"b": "1"})
    assert request.body == b"body"
    assert request.headers["X-Callback-Url"] == server.url
    assert (request.headers["x-mine"], request.headers["X-Call-Id"]) == ("1", "c1")


async def test_the_callback_carries_the_answer_and_what_the_gateway_knows() -> None:
    server = await called_back(lambda _: (200, {"a": 1}, {"X-Mine": "1"}), X_Call_Id="c1")
    callback = server.taken[0]
    assert (callback.execution_id, callback.task_name) == ("b:f_c_1", "A")
    assert callback.succeeded is True
    assert decode_json(callback.output) == {"a": 1}
    assert callback.facts["status"] == 200
    assert (callback.facts["function"], callback.facts["call_id"]) == ("f", "c1")
    assert server.headers[0]["X-Mine"] == "1"


async def test_text_may_come_back_under_the_content_type_of_the_request() -> None:
    server = await called_back(lambda _: "plain words", Content_Type="application/json")
    assert server.headers[0]["Content-Type"] == "application/json"
    assert decode_json(server.taken[0].output) == {"body": "plain words"}


@pytest.mark.parametrize(
    ("result", "output"),
    [
        ([1, 2], {"data": [1, 2]}),
        ("text", {"body": "text"}),
        (
            (200, b"\x89PNG\x00", {"Content-Type": "image/png"}),
            {"body_base64": "iVBORwA=", "content_type": "image/png"},
        ),
        (None, {}),
    ],
)
async def test_results_of_every_kind_come_back(result: object, output: object) -> None:
    server = await called_back(lambda _: result)
    assert decode_json(server.taken[0].output) == output


async def test_a_failed_function_comes_back_with_its_words() -> None:
    def broken(_: FunctionRequest) -> str:
        raise ValueError("no ink")

    callback = (await called_back(broken)).taken[0]
    assert (callback.succeeded, callback.message) == (False, "ValueError: no ink")
    assert callback.facts["status"] == 500


async def test_an_unreachable_function_comes_back_as_503_with_nothing() -> None:
    async with (
        callback_server() as server,
        FakeOpenFaaS({"down": f"http://127.0.0.1:{closed_port()}"}) as faas,
    ):
        for name in ("gone", "down"):
            url = f"{faas.url}/async-function/{name}"
            assert (await send("POST", url, X_Callback_Url=server.url)).status == 202
        await faas.drain()
        assert [sent.body for sent in faas.callbacks] == [b"", b""]
    assert [callback.facts["status"] for callback in server.taken] == [503, 503]
    assert not any("Content-Type" in headers for headers in server.headers)


async def test_a_compressed_answer_comes_back_compressed() -> None:
    async with callback_server() as server:
        zipped = Function(handler=lambda _: {"a": 1}, compress=True)
        async with FakeOpenFaaS({"f": zipped}) as faas:
            await send("POST", f"{faas.url}/async-function/f", X_Callback_Url=server.url)
            await faas.drain()
            assert json.loads(gzip.decompress(faas.callbacks[0].body)) == {"a": 1}


async def test_a_callback_can_be_lost_or_come_twice() -> None:
    lost = await called_back(Function(handler=echo, drop_callback=True))
    twice = await called_back(Function(handler=echo, deliveries=2))
    assert (len(lost.taken), len(twice.taken)) == (0, 2)


async def test_failures_are_repeated_when_the_gateway_is_set_so() -> None:
    answers = [(500, "first"), (200, "second")]
    repeated = Function(handler=lambda _: answers.pop(0), retries=3)
    server = await called_back(repeated)
    assert [callback.will_retry for callback in server.taken] == [True, False]
    assert [callback.succeeded for callback in server.taken] == [False, True]
    assert server.taken[1].facts["retry"] == 1


async def test_nobody_at_the_callback_address_is_noted_and_harmless() -> None:
    async with FakeOpenFaaS({"echo": echo}) as faas:
        for url in (f"http://127.0.0.1:{closed_port()}/", "nowhere"):
            await send("POST", f"{faas.url}/async-function/echo", X_Callback_Url=url)
            await faas.drain()
        assert [callback.answer_status for callback in faas.callbacks] == [None, None]


async def test_a_dispatch_of_ours_goes_out_and_comes_back() -> None:
    """The HTTP gateway and the callback reader meet in the stand-in."""
    async with callback_server() as server, FakeOpenFaaS({"echo": echo}) as faas:
        host = server.url.partition("/trigger")[0]
        async with gateway(callback_host=host, call_timeout_s=5.0) as opened:
            url = f"{faas.url}/async-function/echo"
            answer = await opened.call(attempt(url, pattern="task_async", input=b'{"n":1}'))
        await faas.drain()
        request = faas.calls[0].request
        sent_to = faas.callbacks[0].url
    assert (answer.http_status, answer.body, answer.error) == (202, None, None)
    assert "X-Mode" not in request.headers
    assert request.query == {"execution_id": "b:f_c_1", "name": "A"}
    assert sent_to.startswith(f"{host}/flow/trigger.json?execution_id=b%3Af_c_1&task_name=A&ts=")


async def test_stopping_loses_what_is_under_way() -> None:
    inside = asyncio.Event()

    async def slow(_: FunctionRequest) -> None:
        inside.set()
        await asyncio.Event().wait()

    faas = FakeOpenFaaS({"f": slow})
    await faas.start()
    await send("POST", f"{faas.url}/async-function/f")
    await inside.wait()
    await faas.stop()


async def test_a_line_tells_of_each_call_and_nothing_of_what_was_sent() -> None:
    def ill(_: FunctionRequest) -> object:
        return 500, "secret words", {}

    lines: list[str] = []
    functions = {"well": lambda _: {"secret": 1}, "ill": ill}
    async with FakeOpenFaaS(functions, tell=lines.append) as faas:
        await send("POST", f"{faas.url}/function/well?secret=1", b"secret")
        await send("POST", f"{faas.url}/function/ill")
        await send("POST", f"{faas.url}/function/line%0Abreak")
        await send("POST", f"{faas.url}/async-function/well", b"secret")
        await faas.drain()
        nobody = f"http://127.0.0.1:{closed_port()}/secret"
        await send("POST", f"{faas.url}/async-function/well", X_Callback_Url=nobody)
        await faas.drain()
    assert [re.sub("[0-9]+ ms", "N ms", line) for line in lines] == [
        "well 200 N ms",
        "ill 500 N ms",
        r"'line\nbreak' 503 N ms, there is no such function",
        "well 200 N ms, asynchronous, no callback",
        "well 200 N ms, asynchronous, callback answered by no server",
    ]


async def test_a_callback_that_nobody_takes_is_sent_again_for_as_long_as_asked_for() -> None:
    async with callback_server() as server:
        server.statuses = [503, 502, 200, 500]
        async with FakeOpenFaaS({"f": lambda _: {}}) as faas:
            faas.callback_patience_s = 60
            for _ in range(2):
                await send("POST", f"{faas.url}/async-function/f", X_Callback_Url=server.url)
                await faas.drain()
            assert [one.answer_status for one in faas.callbacks] == [503, 502, 200, 500]


async def test_the_author_of_a_function_that_raises_is_shown_where() -> None:
    def broken(request: FunctionRequest) -> object:
        return request.query["nope"]

    lines: list[str] = []
    async with FakeOpenFaaS({"f": broken}, tell=lines.append) as faas:
        reply = await send("POST", f"{faas.url}/function/f")
    assert reply.body == b"KeyError: 'nope'"
    failed, called = lines
    assert failed.startswith("f failed\nTraceback")
    assert 'return request.query["nope"]' in failed
    assert failed.endswith("KeyError: 'nope'")
    assert called.startswith("f 500 ")


# --- as a process -------------------------------------------------------------


def test_functions_are_loaded_from_files_and_modules(tmp_path: Path) -> None:
    file = tmp_path / "functions.py"
    file.write_text("FUNCTIONS = {'a': 'http://h'}\nOTHER = {'b': 'http://h'}\nBAD = 1\n")
    assert load_functions(str(file)) == {"a": "http://h"}
    assert load_functions(f"{file}:OTHER") == {"b": "http://h"}
    with pytest.raises(TypeError):
        load_functions(f"{file}:BAD")
    with pytest.raises(AttributeError):
        load_functions("json")


@pytest.mark.parametrize(("options", "lines"), [([], 1), (["--quiet"], 0)])
async def test_the_stand_in_runs_as_a_process_of_its_own(
    tmp_path: Path, options: list[str], lines: int
) -> None:
    file = tmp_path / "functions.py"
    file.write_text("FUNCTIONS = {'hi': lambda request: {'hi': request.json()}}\n")
    command = [sys.executable, "-m", "rillflow.testing.openfaas", "--port", "0"]
    command += [*options, "--functions", str(file)]
    process = subprocess.Popen(  # noqa: S603, ASYNC220 - our own module
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    killer = threading.Timer(20, process.kill)
    killer.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+:\d+", line)
        assert found is not None
        reply = await send("POST", f"{found[0]}/function/hi", b"1")
        process.terminate()
        assert process.wait() == 0
    finally:
        killer.cancel()
        process.kill()
        _, told = process.communicate()
    assert decode_json(reply.body) == {"hi": 1}
    assert len(re.findall(r"^\d\d:\d\d:\d\d hi 200 \d+ ms$", told, re.MULTILINE)) == lines
