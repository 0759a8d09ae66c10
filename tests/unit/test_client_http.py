"""HTTP is one of the ways to a stack: every operation is one of Rill Flow's requests.

What is sent, what is made of the answers, and which error a refusal becomes.
"""

import asyncio
from typing import Any, Final

import pytest
from aiohttp import web

import rillflow
from rillflow import errors
from rillflow.client.http_transport import wire
from rillflow.client.operations import (
    AddDescriptor,
    Control,
    Finish,
    ListedExecution,
    ListExecutions,
    Read,
    Redo,
    RedoMany,
    Request,
    Submit,
    WakeUp,
)
from rillflow.jsontypes import encode_json
from tests.loopback import closed_port, responding, web_server

ID: Final = "b:f_c_01890a5d-ac96-774b-bcce-b302099a8057"
TEXT: Final = "workspace: b\ndagName: f\ntype: flow\n"
SUBMIT: Final = Submit(descriptor_id="b:f", data={})
CALLS: Final[list[tuple[Request, str, str, dict[str, str], bytes]]] = [
    (
        AddDescriptor(business="b", feature="f", alias="a", text=TEXT),
        "POST",
        "/flow/bg/manage/descriptor/add_descriptor.json",
        {"business_id": "b", "feature_name": "f", "alias": "a"},
        TEXT.encode(),
    ),
    (
        Submit(descriptor_id="b:f", data={"a": 1}, callback="http://x/", isolation="dedicated"),
        "POST",
        "/flow/submit.json",
        {"descriptor_id": "b:f", "callback": "http://x/", "isolation": "dedicated"},
        b'{"a":1}',
    ),
    (
        Submit(descriptor_id="b:f", data={}, callback={"resourceName": "http://x/"}),
        "POST",
        "/flow/submit.json",
        {"descriptor_id": "b:f", "callback": '{"resourceName":"http://x/"}'},
        b"{}",
    ),
    (Read(execution_id=ID), "GET", "/flow/get.json", {"execution_id": ID}, b""),
    (
        Read(execution_id=ID, part="brief", wait_s=2.5),
        "GET",
        "/flow/get.json",
        {"execution_id": ID, "brief": "true", "wait_s": "2.500"},
        b"",
    ),
    (
        Read(execution_id=ID, part="children", parent="each", index=3),
        "GET",
        "/flow/get_by_parent.json",
        {"execution_id": ID, "parent": "each", "group_index": "3"},
        b"",
    ),
    (
        WakeUp(execution_id=ID, task="t", data={"a": 1}),
        "POST",
        "/flow/wakeup.json",
        {"execution_id": ID, "task_name": "t"},
        b'{"a":1}',
    ),
    (
        Finish(execution_id=ID, task="t", output={}, failed=True),
        "POST",
        "/flow/trigger.json",
        {"execution_id": ID, "task_name": "t", "status": "failed"},
        b"{}",
    ),
    (
        Redo(execution_id=ID, tasks=("s", "t"), data={}),
        "POST",
        "/flow/redo.json",
        {"execution_id": ID, "task_names": "s,t", "scope": "failed"},
        b"{}",
    ),
    (
        Redo(execution_id=ID, tasks=(), data={}, whole=True),
        "POST",
        "/flow/redo.json",
        {"execution_id": ID},
        b"{}",
    ),
    (
        Control(execution_id=ID, order="pause"),
        "POST",
        "/flow/pause.json",
        {"execution_id": ID},
        b"",
    ),
    (
        Submit(descriptor_id="b:f", data={}, idempotency_key="k 1"),
        "POST",
        "/flow/submit.json",
        {"descriptor_id": "b:f", "idempotency_key": "k 1"},
        b"{}",
    ),
    (
        ListExecutions(),
        "GET",
        "/flow/bg/get_execution_ids.json",
        {"page": "1", "pageSize": "20"},
        b"",
    ),
    (
        ListExecutions(business="b", feature="f", status="failed", code="7", from_ms=1, to_ms=2),
        "GET",
        "/flow/bg/get_execution_ids.json",
        {
            "business": "b",
            "feature": "f",
            "status": "failed",
            "code": "7",
            "startTime": "1",
            "endTime": "2",
            "page": "1",
            "pageSize": "20",
        },
        b"",
    ),
    (
        RedoMany(business="b", feature="f"),
        "POST",
        "/flow/multi_redo.json",
        {
            "service_id": "b:f",
            "type": "failed",
            "count": "100",
            "rate_limit": "30",
            "scope": "failed",
        },
        b"",
    ),
    (
        RedoMany(business="b", feature="f", code="7", tasks=("s", "t"), whole=True),
        "POST",
        "/flow/multi_redo.json",
        {
            "service_id": "b:f",
            "type": "failed",
            "count": "100",
            "rate_limit": "30",
            "code": "7",
            "task_names": "s,t",
        },
        b"",
    ),
]


@pytest.mark.parametrize(("request_", "method", "path", "query", "body"), CALLS)
def test_every_operation_is_one_of_rill_flows_requests(
    request_: Request, method: str, path: str, query: dict[str, str], body: bytes
) -> None:
    call = wire.call_of(request_)
    assert (call.method, call.path, dict(call.query), call.body) == (method, path, query, body)


@pytest.mark.parametrize(
    "data",
    [
        ["a"],
        "a",
        {"a": object()},
        {"a": {1: 2, "1": object()}},
        {"a": float("nan")},
        {"a": [None, {"b": (1.5, float("-inf"))}]},
    ],
)
def test_what_is_no_json_object_is_not_sent(data: Any) -> None:
    with pytest.raises(errors.RequestError, match="JSON object"):
        wire.call_of(Submit(descriptor_id="b:f", data=data))


ANSWERS: Final[list[tuple[Request, Any, Any]]] = [
    (AddDescriptor(business="b", feature="f", alias="a", text=""), {"descriptor_id": "d"}, "d"),
    (SUBMIT, {"execution_id": ID}, ID),
    (Read(execution_id=ID), {"ret": {"execution_id": ID}}, {"execution_id": ID}),
    (Read(execution_id=ID), {"ret": {"tasks": "{}", "context": {}, "invoke_summary": {}}}, None),
    (Read(execution_id=ID, part="children"), {"ret": {"tasks": {"a": {}}}}, {"a": {}}),
    (Read(execution_id=ID, part="children"), {"ret": {"tasks": "{}"}}, None),
    (Finish(execution_id=ID, task="t", output={}, failed=False), {"result": "ok"}, True),
    (
        Finish(execution_id=ID, task="t", output={}, failed=False),
        {"result": "ok", "duplicate": True},
        False,
    ),
    (Control(execution_id=ID, order="pause"), {"result": "ok"}, None),
    (ListExecutions(), {"items": [], "total": 0}, []),
    (
        ListExecutions(),
        {
            "items": [
                {
                    "id": ID,
                    "execution_id": ID,
                    "submit_time": 5,
                    "status": "FAILED",
                    "business_id": "b",
                    "feature_id": "f",
                }
            ],
            "total": 1,
        },
        [ListedExecution(ID, "FAILED", 5, "b", "f")],
    ),
    (RedoMany(business="b", feature="f"), {"result": "ok"}, None),
]


@pytest.mark.parametrize(("request_", "body", "answer"), ANSWERS)
def test_answers_are_what_the_operation_promises(request_: Request, body: Any, answer: Any) -> None:
    assert wire.answer_of(request_, 200, encode_json(body)) == answer


ADD: Final = AddDescriptor(business="b", feature="f", alias="a", text="")
PAUSE: Final = Control(execution_id=ID, order="pause")
REFUSALS: Final[list[tuple[Request, int, int, type[errors.RillflowError]]]] = [
    (ADD, 400, 30110, errors.DefinitionError),
    (ADD, 422, 30109, errors.RequestError),
    (SUBMIT, 400, 30106, errors.UnknownDescriptorError),
    (SUBMIT, 400, 30109, errors.RequestError),
    (SUBMIT, 400, 30201, errors.OverloadedError),
    (SUBMIT, 429, 30201, errors.OverloadedError),
    (SUBMIT, 413, 30109, errors.TooLargeError),
    (SUBMIT, 500, 30408, errors.DefinitionError),
    (SUBMIT, 500, 30603, errors.ExecutionError),
    (SUBMIT, 503, 30501, errors.StoreError),
    (SUBMIT, 503, 30113, errors.UnavailableError),
    (PAUSE, 500, 30605, errors.ExecutionError),
    (PAUSE, 500, 30101, errors.ServerError),
]


@pytest.mark.parametrize(("request_", "status", "code", "kind"), REFUSALS)
def test_a_refusal_becomes_the_error_that_says_who_must_act(
    request_: Request, status: int, code: int, kind: type[errors.RillflowError]
) -> None:
    with pytest.raises(errors.RillflowError, match=r"^because$") as caught:
        wire.answer_of(request_, status, encode_json({"error_code": code, "error": "because"}))
    assert type(caught.value) is kind
    expected = {errors.StoreError: 30501, errors.TooLargeError: 30109}.get(kind, code)
    assert caught.value.wire_code == expected


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b"<html>"), (200, b"[]"), (200, b"{}"), (502, b"bad gateway"), (404, b'{"detail": 1}')],
)
def test_an_answer_that_is_not_rillflows_is_a_servers_error(status: int, body: bytes) -> None:
    with pytest.raises(errors.ServerError, match="not Rillflow's"):
        wire.answer_of(SUBMIT, status, body)


async def test_both_http_clients_ask_and_read_alike() -> None:
    async def submit(request: web.Request) -> web.Response:
        assert request.query["descriptor_id"] == "b:f"
        assert await request.json() == {"n": 1}
        return web.json_response({"execution_id": ID})

    async with web_server(**{"flow/submit.json": submit}) as url:
        async with rillflow.AsyncClient(url) as client:
            assert (await client.submit("b:f", {"n": 1})).id == ID
        assert await asyncio.to_thread(_submit, url) == ID


def _submit(url: str) -> str:
    with rillflow.Client(url) as client:
        return client.submit("b:f", {"n": 1}).id


async def test_a_server_that_is_too_slow_counts_as_not_answering() -> None:
    async def never(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async with (
        web_server(**{"flow/submit.json": never}) as url,
        rillflow.AsyncClient(url, timeout_s=0.05) as client,
    ):
        with pytest.raises(errors.UnreachableError, match="no answer"):
            await client.submit("b:f")


async def test_a_refusal_over_http_arrives_as_an_error() -> None:
    refusal = responding(status=400, text='{"error_code": 30109, "error": "malformed"}')
    async with (
        web_server(**{"flow/submit.json": refusal}) as url,
        rillflow.AsyncClient(url) as client,
    ):
        with pytest.raises(errors.RequestError, match="malformed"):
            await client.submit("b:f")


@pytest.mark.parametrize("url", ["http://[::bad", "ftp://127.0.0.1", "nonsense"])
def test_an_address_that_is_none_is_unreachable(url: str) -> None:
    with pytest.raises(errors.UnreachableError):
        rillflow.Client(url).submit("b:f")


def test_nobody_there_is_unreachable() -> None:
    with (
        rillflow.Client(f"http://127.0.0.1:{closed_port()}") as client,
        pytest.raises(errors.UnreachableError, match="no answer from http"),
    ):
        client.submit("b:f")
