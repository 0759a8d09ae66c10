"""A Python function becomes an HTTP function: it answers, or accepts and calls back until taken.

What callers send is bounded, and results are posted only where the application allows it.
"""

import asyncio
import threading
import time
from collections.abc import Generator
from typing import Any, Final

import httpx
import pytest
from pydantic import BaseModel

import rillflow
from rillflow.functions import Functions, Limits
from rillflow.gateways.callbacks.urls import callback_url
from rillflow.gateways.outbound.settings import HttpSettings
from tests.unit.kit_callers import TASK, WAIT_S, calling

SECRET: Final = "the-secret-of-the-server"


class Size(BaseModel):
    width: int
    height: int = 2


def application(**options: Any) -> Functions:
    app = Functions(**options)

    @app.function
    def area(size: Size, times: int = 1) -> int:
        return size.width * size.height * times

    @app.function
    async def slowly(text: str) -> dict[str, str]:
        await asyncio.sleep(0)
        return {"text": text}

    @app.function
    def whose(execution_id: str) -> str:
        return execution_id

    @app.function
    def declines() -> dict[str, str]:
        return {"result_type": "FAILED", "error_msg": "no paper"}

    @app.function
    def raises(text: str) -> None:
        raise ValueError(text)

    @app.function
    def leaves(how: str = "") -> None:
        raise StopIteration(how) if how else SystemExit(3)

    @app.function
    def renders() -> Generator[tuple[float, str], None, dict[str, int]]:
        yield 0.25, "one of four"
        return {"frames": 4}

    return app


async def test_a_call_is_answered_with_the_result_and_the_function_stays_a_function() -> None:
    app = Functions()

    @app.function
    def greet(name: str) -> dict[str, str]:
        return {"greeting": f"Hello, {name}!"}

    assert greet("Bob") == {"greeting": "Hello, Bob!"}
    async with calling(app) as caller:
        for path in ("/greet", "/function/greet", "/function/greet.openfaas-fn", "/"):
            answer = await caller.call(path, {"name": "Bob"})
            assert (answer.status_code, answer.json()) == (200, {"greeting": "Hello, Bob!"})
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_what_is_no_object_is_the_data_of_the_answer_and_types_are_converted() -> None:
    async with calling(application()) as caller:
        answer = await caller.call("/area", {"size": {"width": "3"}, "times": 2})
        assert answer.json() == {"data": 12}
        assert (await caller.call("/whose")).json() == {"data": "demo:film_c_1"}
        answer = await caller.http.get("/slowly", params={**TASK, "text": "by address"})
        assert answer.json() == {"text": "by address"}
        form = {"size": '{"width": 2}', "times": "2"}
        assert (await caller.http.post("/area", data=form)).json() == {"data": 8}


async def test_a_wrong_input_is_refused_field_by_field_also_of_an_asynchronous_call() -> None:
    async with calling(application()) as caller:
        for call in (caller.call, caller.accept):
            answer = await call("/area", {"size": {"width": "wide"}, "time": 2})
            assert answer.status_code == 422
            said = answer.json()
            assert said["result_type"] == "FAILED"
            assert said["error"]["type"] == "FunctionInputError"
            assert "Size" in said["error"]["fields"]["size"]
            assert "did you mean `times`" in said["error"]["fields"]["time"]
        assert caller.server.arrived.empty()


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("raises", {"text": "no film"}, "ValueError: no film"),
        ("leaves", {}, "SystemExit: 3"),
        ("leaves", {"how": "over"}, "StopIteration: over"),
        ("declines", {}, "no paper"),
    ],
)
async def test_a_failure_is_told_to_who_waits_and_to_who_is_called_back(
    name: str, fields: dict[str, str], message: str
) -> None:
    async with calling(application()) as caller:
        answer = await caller.call(f"/{name}", fields)
        assert answer.status_code == 200
        assert (answer.json()["result_type"], answer.json()["error_msg"]) == ("FAILED", message)
        assert "traceback" not in answer.json().get("error", {})
        assert (await caller.accept(f"/{name}", fields)).status_code == 202
        query, headers, body = await caller.server.next()
        assert (query["status"], headers["X-Function-Status"]) == ("failed", "500")
        assert body == answer.json()


@pytest.mark.parametrize("path", ["/slowly", "/async-function/slowly"])
async def test_an_asynchronous_call_is_accepted_and_its_result_is_posted(path: str) -> None:
    async with calling(application()) as caller:
        mode = {} if "async" in path else {"x_mode": "async"}
        address = {"x_callback_url": caller.server.address(seal="a%2Fb")}
        answer = await caller.call(path, {"text": "film"}, x_call_id="c-1", **address, **mode)
        assert (answer.status_code, answer.json()) == (202, {})
        query, headers, body = await caller.server.next()
        assert body == {"text": "film"}
        assert query == {
            "execution_id": "demo:film_c_1",
            "task_name": "cut",
            "seal": "a/b",
            "status": "success",
        }
        assert headers["X-Call-Id"] == "c-1"
        assert headers["X-Function-Name"] == "slowly"


async def test_a_result_is_posted_again_until_it_is_taken() -> None:
    async with calling(application(), 503, 429, 500, 200) as caller:
        await caller.accept("/slowly", {"text": "film"})
        assert [(await caller.server.next())[2] for _ in range(4)] == [{"text": "film"}] * 4
        await caller.app.drain()
        assert caller.server.arrived.empty()


async def test_a_result_that_is_refused_for_good_is_not_posted_again() -> None:
    async with calling(application(), 403) as caller:
        await caller.accept("/slowly", {"text": "film"})
        await caller.server.next()
        assert await caller.app.drain() == 0
        assert caller.server.arrived.empty()


async def test_a_result_that_is_too_large_for_the_server_fails_its_task() -> None:
    async with calling(application(), 413) as caller:
        await caller.accept("/slowly", {"text": "film"})
        await caller.server.next()
        query, _, body = await caller.server.next()
        assert query["status"] == "failed"
        assert body["error"]["type"] == "FunctionResultError"


async def test_a_redirect_of_a_server_is_not_followed() -> None:
    async with calling(application(), 302) as caller:
        await caller.accept("/slowly", {"text": "film"})
        await caller.server.next()
        assert await caller.app.drain() == 0
        assert caller.server.arrived.empty()


async def test_what_a_function_reports_and_yields_is_posted_as_its_progress() -> None:
    app = application()
    told = threading.Event()

    @app.function
    def films() -> int:
        rillflow.progress(0.5, "frame 2 of 4")
        assert told.wait(WAIT_S)
        return 4

    async with calling(app) as caller:
        await caller.accept("/films")
        query, _, body = await caller.server.next()
        assert (query["progress"], query["message"], body) == ("0.5000", "frame 2 of 4", None)
        told.set()
        assert (await caller.server.next())[2] == {"data": 4}
        await caller.accept("/renders")
        seen = [(await caller.server.next())[0] for _ in range(2)]
        assert {query.get("message") for query in seen} == {"one of four", None}
        rillflow.progress(0.9, "nobody's")
        assert (await caller.call("/renders")).json() == {"frames": 4}
        assert caller.server.arrived.empty()


async def test_a_call_that_is_made_again_under_its_key_is_not_run_again() -> None:
    app = Functions()
    runs: list[str] = []
    may_end = threading.Event()

    @app.function
    def film(text: str) -> int:
        runs.append(text)
        assert may_end.wait(WAIT_S)
        return len(runs)

    key = {"idempotency_key": "demo:film_c_1/cut/1"}
    async with calling(app) as caller:
        both = [asyncio.ensure_future(caller.call("/film", {"text": "a"}, **key)) for _ in range(2)]
        accepted = await caller.accept("/film", {"text": "a"}, **key)
        may_end.set()
        assert accepted.status_code == 202
        assert [answer.json() for answer in await asyncio.gather(*both)] == [{"data": 1}] * 2
        assert (await caller.server.next())[2] == {"data": 1}
        while len(app._calls):  # noqa: ASYNC110 - until the first delivery is over
            await asyncio.sleep(0)
        assert (await caller.call("/film", {"text": "a"}, **key)).json() == {"data": 1}
        await caller.accept("/film", {"text": "a"}, **key)
        assert (await caller.server.next())[2] == {"data": 1}
        other = await caller.call("/film", {"text": "b"}, **key)
        assert other.status_code == 409
        another = {"idempotency_key": "demo:film_c_1/cut/2"}
        assert (await caller.call("/film", {"text": "a"}, **another)).json() == {"data": 2}
    assert runs == ["a", "a"]


async def test_outcomes_are_kept_within_limits() -> None:
    app = application(limits=Limits(kept_outcomes=2, kept_bytes=100))
    kept = app._calls._kept
    async with calling(app) as caller:
        for number in range(5):
            await caller.call("/slowly", {"text": "x"}, idempotency_key=f"key {number}")
        assert len(kept) == 2
        await caller.call("/slowly", {"text": "x" * 60}, idempotency_key="large")
        await caller.call("/slowly", {"text": "x" * 200}, idempotency_key="too large")
        assert len(kept) == 2
        assert kept.kept_bytes <= 100


async def test_calls_beyond_the_limits_are_refused_until_others_have_ended() -> None:
    app = Functions(limits=Limits(concurrency=1, queue=1))
    may_end = threading.Event()
    running = [0, 0]

    @app.function
    def waits() -> None:
        running[0] += 1
        running[1] = max(running)
        assert may_end.wait(WAIT_S)
        running[0] -= 1

    async with calling(app) as caller:
        statuses = [(await caller.accept("/waits")).status_code for _ in range(3)]
        assert statuses == [202, 202, 429]
        refused = await caller.accept("/waits")
        assert refused.headers["retry-after"] == "5"
        may_end.set()
        for _ in range(2):
            await caller.server.next()
        await app.drain()
    assert running == [0, 1]
    assert app._calls.room.held_bytes == 0


async def test_bodies_are_bounded_one_by_one_and_together() -> None:
    app = application(limits=Limits(body_bytes=1_000, held_bytes=1_500))
    may_end = threading.Event()

    @app.function
    def waits(text: str) -> int:
        assert may_end.wait(WAIT_S)
        return len(text)

    async with calling(app) as caller:
        assert (await caller.call("/waits", {"text": "x" * 1_000})).status_code == 413
        assert (await caller.accept("/waits", {"text": "x" * 800})).status_code == 202
        assert (await caller.accept("/waits", {"text": "x" * 800})).status_code == 429
        may_end.set()
        assert (await caller.server.next())[2] == {"data": 800}
    assert app._calls.room.held_bytes == 0


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"[1]", {}, 400),
        (b'{"text": ' + b"[" * 300 + b"]" * 300 + b"}", {}, 400),
        (b'{"text": [' + b"0," * 400_000 + b"0]}", {}, 400),
        (b"\xff=1", {"Content-Type": "application/x-www-form-urlencoded"}, 400),
        (b"a=1&" * 2_000, {"Content-Type": "application/x-www-form-urlencoded"}, 400),
        (b"\x1f\x8b", {"Content-Encoding": "gzip"}, 415),
        (b"{}", {"Origin": "https://elsewhere.example"}, 403),
        (b"{}", {"Sec-Fetch-Site": "cross-site"}, 403),
        (b"{}", {"Idempotency-Key": "k" * 2_000}, 400),
        (b"{}", {"X-Mode": "async"}, 400),
    ],
)
async def test_what_cannot_be_read_is_refused(
    content: bytes, headers: dict[str, str], status: int
) -> None:
    app = application()
    async with calling(app) as caller:
        answer = await caller.http.post("/slowly", content=content, headers=headers)
        assert answer.status_code == status, answer.text
        assert answer.json()["result_type"] == "FAILED"
        assert (await caller.http.post("/slow", content=b"{}")).status_code == 404
        assert (await caller.http.get("/async-function/slowly")).status_code == 405
        assert (await caller.http.get("/healthz")).json() == {"status": "ok"}
    assert app._calls.room.held_bytes == 0
    assert (await _healthz(app)) == 503


async def _healthz(app: Functions) -> int:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as http:
        return (await http.get("/healthz")).status_code


PATH: Final = "/flow/trigger.json?execution_id=e&task_name=t"
HERE: Final = f"http://127.0.0.1:1{PATH}"


@pytest.mark.parametrize(
    ("hosts", "url", "client", "status"),
    [
        ((), HERE, "127.0.0.1", 202),
        ((), f"http://localhost:1{PATH}", "127.0.0.1", 202),
        ((), f"http://[::1]:1{PATH}", "::1", 202),
        ((), HERE, "10.1.2.3", 403),
        ((), f"http://10.1.2.3{PATH}", "127.0.0.1", 403),
        ((), f"http://169.254.169.254{PATH}", "127.0.0.1", 403),
        ((), f"http://127.0.0.1.elsewhere.invalid{PATH}", "127.0.0.1", 403),
        ((), "http://127.0.0.1:1/admin?a=/flow/trigger.json", "127.0.0.1", 403),
        ((), "http://127.0.0.1:1/admin#/flow/trigger.json", "127.0.0.1", 403),
        ((), f"http://user@127.0.0.1:1{PATH}", "127.0.0.1", 400),
        ((), f"ftp://127.0.0.1:1{PATH}", "127.0.0.1", 400),
        ((), f"http://[::1{PATH}", "::1", 400),
        ((), f"http://127.0.0.1:99999{PATH}", "127.0.0.1", 400),
        (("flow.invalid:1",), f"http://flow.invalid:1{PATH}", "10.1.2.3", 202),
        (("flow.invalid",), f"http://FLOW.invalid:7{PATH}", "10.1.2.3", 202),
        (("*.flow.invalid",), f"http://a.flow.invalid{PATH}", "10.1.2.3", 202),
        (("*.flow.invalid",), f"http://aflow.invalid{PATH}", "10.1.2.3", 403),
        (("flow.invalid:1",), f"http://flow.invalid:2{PATH}", "10.1.2.3", 403),
        (("flow.invalid",), HERE, "127.0.0.1", 403),
    ],
)
async def test_results_are_posted_only_to_servers_that_are_allowed(
    hosts: tuple[str, ...], url: str, client: str, status: int
) -> None:
    app = application(callback_hosts=hosts, limits=Limits(callback_patience_s=0))
    transport = httpx.ASGITransport(app=app, client=(client, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as http:
        headers = {"X-Mode": "async", "X-Callback-Url": url}
        answer = await http.post("/slowly", json={"text": "a"}, headers=headers)
        assert answer.status_code == status, answer.text
        await app.drain()


def signed(made_s: float, secret: str = SECRET, **changes: str) -> str:
    settings = HttpSettings(auth_secret=secret, callback_keys=("k",), callback_ttl_s=60)
    named = {"execution_id": TASK["execution_id"], "task": TASK["name"]} | changes
    return callback_url(settings, attempt=1, ts_ms=int(made_s * 1000), signed=True, **named)


async def test_where_there_is_a_secret_calls_need_a_signed_fresh_address_of_their_task() -> None:
    now_s = time.time()  # noqa: TID251 - that of the kit
    async with calling(application(auth_secret=SECRET)) as caller:

        async def status(url: str, **headers: str) -> int:
            sent = {"x_callback_url": url} if url else {}
            return (await caller.call("/slowly", {"text": "a"}, **sent, **headers)).status_code

        assert await status(signed(now_s)) == 200
        assert await status("") == 403
        assert await status(signed(now_s, "another secret")) == 403
        assert await status(signed(now_s) + "&extra=1") == 403
        assert await status(signed(now_s - 100_000)) == 403
        assert await status(signed(now_s, task="another")) == 403
        assert await status(signed(now_s, execution_id="demo:film_c_2")) == 403
        assert await status(signed(now_s - 100), x_mode="async") == 403  # its seal is too old


async def test_a_function_has_one_name_and_is_a_function() -> None:
    app = application()
    with pytest.raises(ValueError, match="there is a function slowly already"):

        @app.function
        def slowly() -> None:
            """Be another one."""

    with pytest.raises(TypeError, match="is no function"):
        app.function(Size)


async def test_it_is_mounted_in_another_application() -> None:
    from fastapi import FastAPI  # noqa: PLC0415 - of this test only

    outer = FastAPI()
    outer.mount("/mine", application())
    transport = httpx.ASGITransport(app=outer)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as http:
        answer = await http.post("/mine/slowly", json={"text": "a"})
        assert answer.json() == {"text": "a"}
        assert (await http.get("/mine/healthz")).status_code == 200
