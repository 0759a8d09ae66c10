"""No server makes its clients wait, or read, without an end, or fail with a traceback."""

import asyncio
import gzip
import resource
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeAlias

import httpcore
import pytest
from aiohttp import web

import rillflow
from rillflow import errors
from rillflow.client import exchanges, listing
from rillflow.client.http_transport import wire
from rillflow.client.http_transport.transport import MOST_ANSWER_BYTES
from rillflow.client.http_transport.wire import MOST_VALUES, GroupAnswer
from rillflow.client.operations import (
    KeyRequest,
    ListedExecution,
    ListExecutions,
    Read,
    ReadCluster,
    ReadLog,
    Request,
    Submit,
    TriggerRequest,
)
from rillflow.exchange_limits.limit import LEAST_BYTES_PER_S, MOST_HEAD_BYTES, ExchangeLimit
from rillflow.jsontypes import encode_json
from tests.hostile_answers import BUFFERS_BYTES, DRIPS, Dripping, Endless
from tests.loopback import answering, raw_server, web_server
from tests.unit.commands import path, run, stand_in

ID: Final = "b:f_c_01890a5d-ac96-774b-bcce-b302099a8057"
MEBIBYTE: Final = 1 << 20
TIMEOUT_S: Final = 3
SHORT_S: Final = 1
PATIENT_S: Final = 60
EXECUTION: Final = Read(execution_id=ID)
MEMBERS: Final = Read(execution_id=ID, part="children", parent="t", index=0)
LOG: Final = ReadLog(execution_id=ID, task="t")


async def endless(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    while True:
        await answer.write(b" " * MEBIBYTE)


async def dripping(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    never = asyncio.Event()
    while True:
        await answer.write(b" ")
        with suppress(TimeoutError):
            await asyncio.wait_for(never.wait(), 0.02)


async def redirecting(request: web.Request) -> web.StreamResponse:
    assert request.path == "/flow/get.json"
    raise web.HTTPTemporaryRedirect("/elsewhere")


async def packed(_: web.Request) -> web.StreamResponse:
    body = gzip.compress(b" " * MEBIBYTE)
    return web.Response(body=body, headers={"Content-Encoding": "gzip"})


def read(url: str, timeout_s: float) -> Any:
    with rillflow.Client(url, timeout_s=timeout_s) as client:
        return client.execution(ID).get()


async def read_async(url: str, timeout_s: float) -> Any:
    async with rillflow.AsyncClient(url, timeout_s=timeout_s) as client:
        return await client.execution(ID).get()


async def read_in_a_thread(url: str, timeout_s: float) -> Any:
    return await asyncio.to_thread(read, url, timeout_s)


Ask: TypeAlias = Callable[[str, float], Awaitable[Any]]
asked: Final = pytest.mark.parametrize("ask", [read_async, read_in_a_thread], ids=["async", "sync"])


@asked
@pytest.mark.parametrize("part", DRIPS)
async def test_an_answer_that_comes_byte_by_byte_is_given_up(ask: Ask, part: str) -> None:
    dripping = Dripping(*DRIPS[part], every_s=SHORT_S / 20)
    async with raw_server(dripping.talk) as server:
        with pytest.raises(errors.UnreachableError, match="no answer from"):
            await asyncio.wait_for(ask(f"http://127.0.0.1:{server.port}", SHORT_S), PATIENT_S)
        await asyncio.wait_for(dripping.ended.wait(), PATIENT_S)


@asked
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_answers_byte_by_byte_is_given_up(
    ask: Ask, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dripping = Dripping(*DRIPS["header"], every_s=SHORT_S / 20)
    async with raw_server(dripping.talk) as server:
        monkeypatch.setenv(f"{scheme}_proxy", f"http://127.0.0.1:{server.port}")
        with pytest.raises(errors.UnreachableError, match="no answer from"):
            await asyncio.wait_for(ask(f"{scheme}://elsewhere.invalid", SHORT_S), PATIENT_S)
        await asyncio.wait_for(dripping.ended.wait(), PATIENT_S)


@asked
async def test_interim_answers_without_an_end_are_given_up(ask: Ask) -> None:
    endless = Endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1_000)
    async with raw_server(endless.talk) as server:
        told = f"more than {MOST_HEAD_BYTES:,} bytes came before an answer"
        with pytest.raises(errors.UnreachableError, match=told):
            await asyncio.wait_for(ask(f"http://127.0.0.1:{server.port}", PATIENT_S), PATIENT_S)
        await asyncio.wait_for(endless.ended.wait(), PATIENT_S)
    assert endless.sent_bytes < BUFFERS_BYTES


@asked
async def test_a_few_interim_answers_are_passed_over(ask: Ask) -> None:
    body = encode_json(view())
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 100
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with raw_server(answering(interim + head + body)) as server:
        await ask(f"http://127.0.0.1:{server.port}", PATIENT_S)


@asked
@pytest.mark.parametrize(
    ("server", "timeout_s", "told"),
    [
        (endless, PATIENT_S, f"more than {MOST_ANSWER_BYTES:,} bytes"),
        (dripping, TIMEOUT_S, "has not come whole within 3 s"),
        (packed, PATIENT_S, r"is compressed \(gzip\)"),
    ],
)
async def test_an_answer_is_bounded_in_bytes_and_time(
    ask: Ask,
    server: Callable[[web.Request], Awaitable[web.StreamResponse]],
    timeout_s: float,
    told: str,
) -> None:
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with web_server(**{"flow/get.json": server}) as url:
        with pytest.raises(errors.ServerError, match=told):
            await asyncio.wait_for(ask(url, timeout_s), 2 * PATIENT_S)
    grown_bytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) * 1024
    assert grown_bytes < 4 * MOST_ANSWER_BYTES


async def test_a_redirect_is_not_followed() -> None:
    visited: list[str] = []

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        visited.append(request.path)
        return web.json_response({})

    async with web_server(**{"flow/get.json": redirecting, "elsewhere": elsewhere}) as url:
        with pytest.raises(errors.ServerError, match="not Rillflow's: 307"):
            await read_async(url, PATIENT_S)
    assert not visited


def test_a_slow_connection_has_time_for_a_large_answer() -> None:
    assert MOST_ANSWER_BYTES / LEAST_BYTES_PER_S > 3600
    limit = ExchangeLimit(0.0)
    with pytest.raises(httpcore.ReadTimeout):
        limit.left_s(None)
    limit.note_bytes(MOST_ANSWER_BYTES)
    assert limit.left_s(None) > 3600


def test_a_slow_connection_has_time_for_a_large_request() -> None:
    assert ExchangeLimit(1.0, MOST_ANSWER_BYTES).left_s(None) > 3600
    assert ExchangeLimit(1.0, MOST_ANSWER_BYTES).left_s(5.0) == 5.0


def test_an_answer_of_more_values_than_it_may_hold_is_not_decoded() -> None:
    body = b'{"ret":[' + b"[]," * (MOST_VALUES // 2) + b"0]}"
    with pytest.raises(errors.ServerError, match=f"more than {MOST_VALUES:,} values"):
        wire.answer_of(EXECUTION, 200, body)


def view(**over: Any) -> dict[str, Any]:
    return {"ret": {"execution_id": ID, "dag_status": "RUNNING", "tasks": {}, **over}}


def task(**over: Any) -> dict[str, Any]:
    return view(tasks={"t": {"status": "RUNNING", **over}})


TRIGGER: Final[dict[str, Any]] = {
    "id": "t",
    "type": "cron",
    "descriptor_id": "b:f",
    "paused": False,
    "fired": 0,
    "skipped": 0,
    "error": "",
}
ODD: Final[list[tuple[Request, Any]]] = [
    (Submit(descriptor_id="b:f", data={}), {"execution_id": 5}),
    (EXECUTION, {"ret": 7}),
    (EXECUTION, {"ret": ["execution_id"]}),
    (EXECUTION, view(execution_id=[])),
    (EXECUTION, view(dag_status={"a": 1})),
    (EXECUTION, view(dag_status="DONE")),
    (EXECUTION, view(tasks=[1, 2])),
    (EXECUTION, view(tasks={"t": 1})),
    (EXECUTION, view(context=[])),
    (EXECUTION, view(process=10**30)),
    (EXECUTION, view(dag_invoke_msg=7)),
    (EXECUTION, view(dag_invoke_msg={"invoke_time_infos": [{"start_time": 10**30}]})),
    (EXECUTION, view(dag_invoke_msg={"invoke_time_infos": [{"end_time": 1}]})),
    (EXECUTION, view(dag_invoke_msg={"msg": {"a": 1}})),
    (EXECUTION, view(mapping_warnings="many")),
    (EXECUTION, view(warnings=[{"number": 10**40}])),
    (EXECUTION, task(sub_group_index_to_status={"x": "RUNNING"})),
    (EXECUTION, task(sub_group_index_to_status={"99999999999999": "RUNNING"})),
    (EXECUTION, task(sub_group_index_to_status={"1": None})),
    (EXECUTION, task(progress={"fraction": 10**400})),
    (EXECUTION, task(invoke_msg={"invoke_time_infos": [{"start_time": 1, "error": 5}]})),
    (MEMBERS, {"ret": 7}),
    (MEMBERS, {"ret": {"tasks": {"t": []}}}),
    (LOG, {"ret": []}),
    (LOG, {"ret": {"streams": [{"name": "x", "text": "", "is_cut": False}]}}),
    (LOG, {"ret": {"streams": {"name": "out"}}}),
    (ListExecutions(), {"items": [{"execution_id": 1}]}),
    (ListExecutions(), {"items": 5}),
    (ReadCluster(), {"converged": True, "actors": [{"name": 1}], "silent": []}),
    (ReadCluster(), {}),
    (KeyRequest(action="add"), {"key": 7}),
    (KeyRequest(action="list"), {"keys": [{"name": "a", "role": 1, "valid": True}]}),
    (KeyRequest(action="revoke"), {}),
    (KeyRequest(action="audit"), {"entries": [{"at_ms": "x", "action": "a"}]}),
    (TriggerRequest(action="list"), {"triggers": 5}),
    (TriggerRequest(action="list"), {"triggers": [{"id": "t"}]}),
    (TriggerRequest(action="list"), {"triggers": [TRIGGER | {"next_ms": 10**30}]}),
    (TriggerRequest(action="list"), {"triggers": [], "next": 5}),
    (TriggerRequest(action="fire"), {}),
    (TriggerRequest(action="fire"), {"execution_id": 5}),
    (TriggerRequest(action="backfill"), {"execution_ids": [5]}),
    (TriggerRequest(action="backfill"), {"execution_ids": "abc"}),
]
COMMANDS: Final = (("get", ID), ("get", ID, "--json"), ("watch", ID), ("logs", ID), ("redo", ID))


@pytest.mark.parametrize(("request_", "body"), ODD)
def test_an_answer_of_odd_types_is_a_servers_error(request_: Request, body: Any) -> None:
    with pytest.raises(errors.ServerError, match="the answer is not Rillflow's"):
        wire.answer_of(request_, 200, encode_json(body))


@pytest.mark.parametrize("body", [view(tasks=[1, 2]), view(dag_status=None), task(status=[])])
def test_commands_tell_of_odd_answers_without_a_traceback(body: Any) -> None:
    with stand_in(**{path("get"): body, path("redo"): {}}) as (url, _):
        for command in COMMANDS:
            _, shown, told = run(*command, "--url", url)
            assert "Traceback" not in shown + told
    assert "the answer is not Rillflow's" in run_get(body)


@pytest.mark.parametrize(
    "each",
    [
        {"cron": "* * * * *"},
        {"webhook": {}, "type": "webhook"},
        {"kafka": 5, "type": "kafka"},
        {"type": "folder", "state_reason": "a\nTraceback"},
    ],
)
def test_a_line_of_a_trigger_needs_no_more_than_is_checked(each: dict[str, Any]) -> None:
    with stand_in(**{path("triggers__list"): {"triggers": [TRIGGER | each]}}) as (url, _):
        code, shown, told = run("triggers", "list", "--url", url)
    assert (code, told) == (0, "")
    assert shown.startswith("t  b:f  ")
    assert shown.count("\n") == 1


def test_a_list_of_triggers_without_an_end_is_given_up() -> None:
    page = {"triggers": [], "next": "t"}
    with stand_in(**{path("triggers__list"): page}) as (url, _):
        _, _, told = run("triggers", "list", "--url", url)
    assert "lists triggers on more than 1000 pages" in told


def run_get(body: Any) -> str:
    with stand_in(**{path("get"): body}) as (url, _):
        _, _, told = run("watch", ID, "--url", url)
    return told


def group_of(index: int) -> dict[str, Any]:
    return {"status": "RUNNING", "sub_group_index_to_status": {str(index): "RUNNING"}}


def held(exchange: exchanges.Exchange[Any], answer: Any) -> int:
    """Answer each operation with the same until the exchange ends; return how many there were."""
    next(exchange)
    for number in range(1, 10**6):
        try:
            exchange.send(answer(number))
        except StopIteration:
            return number
    raise AssertionError("the exchange has no end")


def test_groups_in_groups_without_end_are_given_up() -> None:
    exchange = exchanges.with_members(ID, {"t": group_of(0)}, {})
    with pytest.raises(errors.ServerError, match="more than 40 levels of groups"):
        held(exchange, lambda number: {f"t{number}": group_of(0)})


def test_groups_without_end_are_given_up() -> None:
    many: dict[str, Any] = {
        str(index): "RUNNING" for index in range(exchanges.MOST_GROUPS_READ + 1)
    }
    exchange = exchanges.with_members(ID, {"t": {"sub_group_index_to_status": many}}, {})
    with pytest.raises(errors.ServerError, match="more than 200,000 groups"):
        held(exchange, lambda _: {})


def test_groups_that_are_gigabytes_together_are_given_up() -> None:
    many: dict[str, Any] = {str(index): "RUNNING" for index in range(100)}
    exchange = exchanges.with_members(ID, {"t": {"sub_group_index_to_status": many}}, {})
    with pytest.raises(errors.ServerError, match=r"more than 1,073,741,824 bytes of groups"):
        held(exchange, lambda _: GroupAnswer({"a": {}}, size_bytes=MOST_ANSWER_BYTES))


def test_members_tell_how_large_their_answer_was() -> None:
    body = encode_json({"ret": {"tasks": {"t_0-a": {"status": "RUNNING"}}}})
    answer = wire.answer_of(MEMBERS, 200, body)
    assert answer == {"t_0-a": {"status": "RUNNING"}}
    assert answer.size_bytes == len(body)


def test_a_list_that_repeats_itself_is_given_up() -> None:
    page = [ListedExecution(f"{ID}{number}", "RUNNING", 5, "b", "f") for number in range(1000)]
    with pytest.raises(errors.ServerError, match="again and again"):
        held(listing.executions(ListExecutions(), 10**6), lambda _: page)
