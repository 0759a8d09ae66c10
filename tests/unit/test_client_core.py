"""A client's conversation is the same over every way to a stack; HTTP is one of the ways.

What is asked for, what is made of the answers, and which error a refusal becomes.
"""

import asyncio
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web

import rillflow
from rillflow import errors
from rillflow.client import exchanges, wire
from rillflow.client.definitions import definition_text, names_in
from rillflow.client.operations import (
    AddDescriptor,
    Control,
    Finish,
    Operation,
    Read,
    Redo,
    Request,
    Rest,
    Submit,
    WakeUp,
)
from rillflow.client.watching import Watch
from rillflow.jsontypes import JsonObject, encode_json
from tests.loopback import closed_port, responding, web_server

ID: Final = "b:f_c_01890a5d-ac96-774b-bcce-b302099a8057"
TEXT: Final = "workspace: b\ndagName: f\ntype: flow\n"
SUBMIT: Final = Submit(descriptor_id="b:f", data={})


class Scripted:
    """A way to a stack that gives answers in order, and remembers what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.asked: list[Request] = []

    def perform(self, request: Request) -> Any:
        self.asked.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        assert not self._answers, "every answer was wanted"


class ScriptedAsync:
    """The same for asyncio."""

    def __init__(self, *answers: Any) -> None:
        self._scripted = Scripted(*answers)

    async def perform(self, request: Request) -> Any:
        return self._scripted.perform(request)

    async def close(self) -> None:
        self._scripted.close()


def execution(status: str, **more: Any) -> JsonObject:
    return {"execution_id": ID, "dag_status": status, "context": {"n": 1}, **more}


def task(status: str, groups: dict[str, str] | None = None, **invoke: Any) -> JsonObject:
    shown: JsonObject = {"status": status, "invoke_msg": invoke}
    if groups is not None:
        shown["sub_group_index_to_status"] = dict(groups)
    return shown


# -- conversations ---------------------------------------------------------------------


def test_the_result_is_the_context_of_the_end() -> None:
    scripted = Scripted(execution("RUNNING"), execution("SUCCEED"))
    with rillflow.Client(transport=scripted) as client:
        assert client.execution(ID).result(timeout_s=60) == {"n": 1}
    first, second = scripted.asked
    assert isinstance(first, Read)
    assert (first.part, first.wait_s) == ("brief", exchanges.LONGEST_POLL_S)
    assert isinstance(second, Read)
    assert 0 < second.wait_s <= exchanges.LONGEST_POLL_S


def test_waiting_ends_with_the_time_that_was_given() -> None:
    scripted = Scripted(execution("RUNNING"))
    with (
        rillflow.Client(transport=scripted) as client,
        pytest.raises(errors.ExecutionTimeoutError, match=f"{ID} has not ended within 0 s"),
    ):
        client.execution(ID).result(timeout_s=0)


def test_a_failure_names_the_failed_tasks_of_every_depth_and_the_first_reason_there_is() -> None:
    failed = execution("FAILED", dag_invoke_msg={})
    whole = execution("FAILED", tasks={"each": task("FAILED", {"0": "FAILED"})})
    members = {"each_0-inner": task("FAILED", msg="out of ink")}
    with (
        rillflow.Client(transport=Scripted(failed, whole, members)) as client,
        pytest.raises(errors.ExecutionFailedError, match="out of ink") as caught,
    ):
        client.execution(ID).result()
    assert caught.value.tasks == ("each", "each_0-inner")
    assert (caught.value.reason, caught.value.reason_code) == ("out of ink", None)


def test_a_failure_says_what_the_execution_says_of_itself() -> None:
    failed = execution("FAILED", dag_invoke_msg={"code": "30303", "msg": "cancelled"})
    with (
        rillflow.Client(transport=Scripted(failed, execution("FAILED", tasks={}))) as client,
        pytest.raises(errors.ExecutionFailedError, match=f"^{ID} failed: 30303: cancelled$"),
    ):
        client.execution(ID).result()


def test_an_execution_that_is_not_there_is_an_error_to_whoever_reads_it() -> None:
    execution_of_nobody = rillflow.Client(transport=Scripted(None, None, None, None)).execution(ID)
    for ask in (
        execution_of_nobody.get,
        execution_of_nobody.status,
        execution_of_nobody.context,
        execution_of_nobody.tasks,
    ):
        with pytest.raises(errors.UnknownExecutionError, match=ID):
            ask()


def test_members_of_groups_stand_behind_the_task_whose_groups_they_are_in() -> None:
    whole = execution(
        "RUNNING",
        tasks={"each": task("RUNNING", {"0": "RUNNING", "1": "SUCCEED"}), "last": task("READY")},
    )
    scripted = Scripted(
        whole,
        {"each_0-inner": task("RUNNING", {"0": "RUNNING"})},
        {"each_1-inner": task("SUCCEEDED")},
        {"each_0-inner_0-innermost": task("RUNNING")},
    )
    with rillflow.Client(transport=scripted) as client:
        assert list(client.execution(ID).tasks()) == [
            "each",
            "each_0-inner",
            "each_0-inner_0-innermost",
            "each_1-inner",
            "last",
        ]
    assert [getattr(asked, "index", None) for asked in scripted.asked[1:]] == [0, 1, 0]


def test_watching_tells_changes_only_and_stops_at_the_end() -> None:
    looks = (
        execution("RUNNING", tasks={"a": task("RUNNING", invoke_time_infos=[{}])}),
        execution("RUNNING", tasks={"a": task("RUNNING")}),
        execution("SUCCEED", tasks={"a": task("SUCCEEDED", invoke_time_infos=[{}, {}], msg="ok")}),
    )
    with rillflow.Client(transport=Scripted(*looks)) as client:
        assert list(client.execution(ID).watch(every_s=0)) == [
            ("a", "RUNNING", None, 1, None),
            ("a", "SUCCEEDED", "RUNNING", 2, "ok"),
        ]


def test_watching_rests_between_two_looks_and_reads_settled_groups_once() -> None:
    groups = {"0": "SUCCEED", "1": "RUNNING"}
    looks = execution("RUNNING", tasks={"each": task("RUNNING", groups)})
    watch = Watch(ID, every_s=7)
    asked = _hold(watch.look(), looks, {"each_0-i": task("SUCCEEDED")}, {"each_1-i": task("READY")})
    assert len(asked) == 3
    asked = _hold(watch.look(), None, looks, {"each_1-i": task("RUNNING")})
    assert [type(one) for one in asked] == [Rest, Read, Read]
    assert asked[0] == Rest(seconds=7)
    assert isinstance(asked[2], Read)
    assert asked[2].index == 1


def test_a_refusal_reaches_the_caller_of_either_client() -> None:
    refusal = errors.ExecutionError("not now", 30601)
    with pytest.raises(errors.ExecutionError, match="not now"):
        rillflow.Client(transport=Scripted(refusal)).execution(ID).cancel()

    async def ask() -> None:
        async with rillflow.AsyncClient(transport=ScriptedAsync(refusal)) as client:
            await client.execution(ID).cancel()

    with pytest.raises(errors.ExecutionError, match="not now"):
        asyncio.run(ask())


async def test_the_asynchronous_client_holds_the_same_conversations() -> None:
    looks = (execution("RUNNING", tasks={"a": task("RUNNING")}), execution("SUCCEED", tasks={}))
    async with rillflow.AsyncClient(transport=ScriptedAsync(ID, *looks)) as client:
        submitted = await client.submit("b:f")
        assert [change async for change in submitted.watch(every_s=0)] == [
            ("a", "RUNNING", None, 0, None)
        ]


def _hold(exchange: exchanges.Exchange[Any], *answers: Any) -> list[Operation]:
    asked = [next(exchange), *map(exchange.send, answers[:-1])]
    with pytest.raises(StopIteration):
        exchange.send(answers[-1])
    return asked


# -- definitions -----------------------------------------------------------------------


def test_a_definition_goes_under_the_names_it_gives_itself_unless_told_otherwise() -> None:
    scripted = Scripted("b:f:md5_1", "x:y:md5_1")
    client = rillflow.Client(transport=scripted)
    assert client.add(TEXT) == "b:f:md5_1"
    client.add(TEXT, business="x", feature="y", alias="beta")
    assert scripted.asked == [
        AddDescriptor(business="b", feature="f", alias="release", text=TEXT),
        AddDescriptor(business="x", feature="y", alias="beta", text=TEXT),
    ]


def test_one_line_is_a_file_unless_it_is_json(tmp_path: Path) -> None:
    file = tmp_path / "flow.yaml"
    file.write_text(TEXT, encoding="utf-8")
    assert definition_text(file) == definition_text(str(file)) == definition_text(TEXT) == TEXT
    assert definition_text('{"workspace": "b"}') == '{"workspace": "b"}'
    with pytest.raises(FileNotFoundError):
        definition_text("missing.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workspace: b\ntype: flow\n", "has no dagName"),
        ("workspace: [b]\ndagName: f\n", "has no workspace"),
        ("- a\n- b\n", "has no workspace"),
        ("workspace: 'b\ndagName: f\n", "line 3"),
    ],
)
def test_a_definition_without_its_names_is_refused_before_it_is_sent(
    text: str, message: str
) -> None:
    with pytest.raises(errors.DefinitionError) as caught:
        names_in(text)
    assert message in f"{caught.value} line {caught.value.problems[0].line}"


# -- over HTTP -------------------------------------------------------------------------

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
        {"execution_id": ID, "task_names": "s,t"},
        b"{}",
    ),
    (
        Redo(execution_id=ID, tasks=(), data={}),
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


MAKERS: Final[Iterable[Callable[[], errors.RillflowError]]] = (
    lambda: errors.ExecutionFailedError(ID, tasks=("a",), reason="r", reason_code="c"),
    lambda: errors.ExecutionTimeoutError(ID, 1.5),
    lambda: errors.UnknownExecutionError("gone"),
    lambda: errors.ServerError("odd", wire_code=7, http_status=502),
    lambda: errors.UnreachableError("nobody"),
    lambda: errors.StackError("taken"),
)


@pytest.mark.parametrize("make", MAKERS)
def test_errors_of_clients_cross_processes_whole(make: Callable[[], errors.RillflowError]) -> None:
    error = make()
    twin = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(twin), str(twin), vars(twin)) == (type(error), str(error), vars(error))
