"""What functions and listeners see of an execution, and what becomes of their answers."""

import asyncio
from typing import Any

import pytest

from rillflow.testing import FakeOpenFaaS, FunctionRequest
from tests.api.definition_texts import PASS, calling
from tests.api.serving import Api, served
from tests.loopback import RawServer, answering, closed_port


class Listener:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def __call__(self, request: FunctionRequest) -> dict[str, Any]:
        self.told.append(request.json())
        return {}


@pytest.mark.case("E2E-24")
async def test_a_function_that_answers_500_fails_its_task_after_one_call() -> None:
    async with served({"work": lambda _: (500, "broken", {})}) as api:
        shown = await api.run(calling("work"))
        message = shown["tasks"]["A"]["invoke_msg"]["msg"]
        assert (shown["dag_status"], shown["tasks"]["A"]["status"]) == ("FAILED", "FAILED")
        assert message.startswith("dispatchTask http fails due to ")
        assert "broken" in message
        assert len(api.gateway.calls) == 1


@pytest.mark.case("E2E-25")
async def test_the_definitions_listener_is_told_of_the_end_once() -> None:
    listener = Listener()
    async with FakeOpenFaaS({"told": listener}) as other, served() as api:
        callback = f"callback: {{resourceName: {other.url}/function/told, fullContext: true}}\n"
        shown = await api.run(f"{PASS}{callback}", {"a": 1})
        while not listener.told:
            await api.shown(shown["execution_id"])
        [told] = listener.told
        assert told["execution_id"] == shown["execution_id"]
        assert told["dag_status"] == "succeed"
        assert told["data"]["a"] == 1


@pytest.mark.case("E2E-26")
@pytest.mark.parametrize("form", ['{{"resourceName":"{url}"}}', "{url}"])
async def test_the_submissions_listener_takes_the_place_of_the_definitions(form: str) -> None:
    first, second = Listener(), Listener()
    async with FakeOpenFaaS({"first": first, "second": second}) as other, served() as api:
        callback = f"callback: {{resourceName: {other.url}/function/first}}\n"
        asked = form.format(url=f"{other.url}/function/second")
        shown = await api.run(f"{PASS}{callback}", callback=asked)
        while not second.told:
            await api.shown(shown["execution_id"])
        assert [told["execution_id"] for told in second.told] == [shown["execution_id"]]
        assert first.told == []
        callback = shown["dag_invoke_msg"]["callback"]
        assert callback["resourceName"] == f"{other.url}/function/second"


@pytest.mark.case("E2E-28", "E2E-29")
@pytest.mark.parametrize(
    ("resource", "message"),
    [
        ("foo://", "handle functionPattern protocol: foodo not support"),
        ("function://", "scheme protocol:function unsupported"),
    ],
)
async def test_an_address_that_nobody_serves_fails_the_task(resource: str, message: str) -> None:
    async with served() as api:
        shown = await api.run(calling("x", resource=resource))
        assert shown["dag_status"] == "FAILED"
        assert message in shown["tasks"]["A"]["invoke_msg"]["msg"]


async def test_a_gateway_that_cannot_be_reached_fails_each_attempt_and_is_named() -> None:
    port = closed_port()
    retry = "    retry: {maxRetryTimes: 2, intervalInSeconds: 0}\n"
    async with served() as api:
        text = calling("work", resource=f"http://127.0.0.1:{port}/function/", more=retry)
        shown = await api.run(text)
        invoke = shown["tasks"]["A"]["invoke_msg"]
        assert (shown["dag_status"], len(invoke["invoke_time_infos"])) == ("FAILED", 3)
        assert f"cannot connect to 127.0.0.1:{port}" in invoke["msg"]


async def test_a_retry_reaches_a_gateway_that_is_up_again() -> None:
    port = closed_port()
    retry = "    retry: {maxRetryTimes: 5, intervalInSeconds: 1}\n"
    async with served() as api:
        text = calling("work", resource=f"http://127.0.0.1:{port}/", more=retry)
        execution_id = await api.submit(await api.add(text))
        while not await _was_not_reached(api, execution_id, port):
            pass
        up = RawServer(answering(b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{"a":7}'))
        async with await asyncio.start_server(up.serve, "127.0.0.1", port):
            shown = await api.ended(execution_id)
        assert (shown["dag_status"], shown["context"]["a"]) == ("SUCCEED", 7)
        assert up.requests == 1


async def _was_not_reached(api: Api, execution_id: str, port: int) -> bool:
    shown = await api.shown(execution_id)
    message = shown["tasks"]["A"].get("invoke_msg", {}).get("msg") or ""
    return f"cannot connect to 127.0.0.1:{port}" in message


@pytest.mark.case("E2E-30")
async def test_a_function_may_call_back_before_it_answers() -> None:
    async with served() as api:

        async def work(request: FunctionRequest) -> dict[str, Any]:
            answer = await api.client.post(request.headers["X-Callback-Url"], json={"a": 7})
            return {"called_back": answer.status_code}

        async with FakeOpenFaaS({"work": work}) as other:
            text = calling("work", pattern="task_async", resource=f"{other.url}/function/")
            shown = await api.run(text)
            assert (shown["dag_status"], shown["context"]["a"]) == ("SUCCEED", 7)


@pytest.mark.case("DD-31")
async def test_parameters_fill_what_the_mappings_leave_open() -> None:
    more = "    parameters: {a: 1, b: 2}\n"
    async with served({"work": lambda _: {}}) as api:
        shown = await api.run(calling("work", more=more), {"a": 9})
        [call] = api.gateway.calls
        assert call.request.json() == {"execution_id": shown["execution_id"], "a": 9, "b": 2}
        assert shown["tasks"]["A"]["invoke_msg"]["input"] == {"a": 9, "b": 2}


@pytest.mark.case("HT-10")
async def test_a_gateways_504_is_a_failed_dispatch_without_a_code() -> None:
    async with served({"work": lambda _: (504, "", {})}) as api:
        shown = await api.run(calling("work"))
        invoke = shown["tasks"]["A"]["invoke_msg"]
        assert shown["tasks"]["A"]["status"] == "FAILED"
        assert invoke["msg"].startswith("dispatchTask http fails due to 504")
        assert "code" not in invoke


async def test_a_function_that_never_calls_back_is_asked_once_it_is_overdue() -> None:
    functions = {
        "work": lambda _: (202, "", {"Location": "/function/status"}),
        "status": lambda _: {"a": 7},
    }
    async with served(functions, expected_callback_s=0.5) as api:
        shown = await api.run(calling("work", pattern="task_async"))
        assert (shown["dag_status"], shown["context"]["a"]) == ("SUCCEED", 7)
        assert [call.request.method for call in api.gateway.calls] == ["POST", "GET"]


async def test_a_function_that_cannot_be_asked_fails_when_its_callback_is_overdue() -> None:
    async with served({"work": lambda _: (202, "", {})}, expected_callback_s=0.5) as api:
        shown = await api.run(calling("work", pattern="task_async"))
        assert shown["dag_status"] == "FAILED"
        assert shown["tasks"]["A"]["invoke_msg"]["msg"] == "no callback within 0.5 s"


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_result_that_is_asked_for_at_another_origin_is_asked_without_what_is_sealed(
    *, elsewhere: bool
) -> None:
    asked: list[FunctionRequest] = []

    def status(request: FunctionRequest) -> dict[str, Any]:
        asked.append(request)
        return {"a": 7}

    async with FakeOpenFaaS({"status": status}) as other:
        address = f"{other.url}/function/status" if elsewhere else "/function/status"
        functions = {"work": lambda _: (202, "", {"Location": address}), "status": status}
        text = calling("work", pattern="task_async").replace(
            "pattern: task_async", "pattern: task_async\n    completion: poll"
        )
        async with served(functions) as api:
            shown = await api.run(text)
            assert (shown["dag_status"], shown["context"]["a"]) == ("SUCCEED", 7)
    [request] = asked
    sealed = {"X-Callback-Url", "Idempotency-Key", "X-Flow-Server"} & set(request.headers)
    assert len(sealed) == (0 if elsewhere else 3)
    assert request.headers["X-Call-Id"]
