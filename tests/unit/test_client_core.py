"""A client's conversation is the same over every way to a stack.

What is asked for, and what is made of the answers.
"""

import asyncio
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import pytest

import rillflow
from rillflow import errors
from rillflow.client import exchanges
from rillflow.client.definitions import definition_text, names_in
from rillflow.client.operations import (
    AddDescriptor,
    ListExecutions,
    Operation,
    Read,
    RedoMany,
    Request,
    Rest,
)
from rillflow.client.watching import Watch
from rillflow.jsontypes import JsonObject

ID: Final = "b:f_c_01890a5d-ac96-774b-bcce-b302099a8057"
HTPP: Final = "handle functionPattern protocol: htppdo not support"
TEXT: Final = "workspace: b\ndagName: f\ntype: flow\n"


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
        self.asked = self._scripted.asked

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


def test_a_server_that_does_not_wait_is_asked_less_and_less_often() -> None:
    conversation = exchanges.result(ID, 60)
    operation, rests = next(conversation), []
    for _ in range(14):
        answer = execution("RUNNING") if isinstance(operation, Read) else None
        operation = conversation.send(answer)
        if isinstance(operation, Rest):
            rests.append(operation.seconds)
    assert rests == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


def test_the_rules_that_came_to_nothing_are_listed_with_their_tasks() -> None:
    def told(number: int) -> JsonObject:
        facts = {"rule": "$.a -> $.b", "kind": "missing", "reason": "`$.a` does not exist"}
        return {"mappings": "inputMappings", "number": number, **facts}

    brief = execution("SUCCEED", mapping_warnings=3)
    each = task("SUCCEEDED", {"0": "SUCCEED"}) | {"mapping_warnings": 1, "warnings": [told(1)]}
    whole = brief | {"tasks": {"each": each}, "warnings": [told(3)]}
    members = {"each_0-inner": task("SUCCEEDED") | {"warnings": [told(2)]}}
    with rillflow.Client(transport=Scripted(brief, whole, members)) as client:
        warnings = client.execution(ID).warnings()
    assert [(each.task, each.number, each.kind) for each in warnings] == [
        ("", 3, "missing"),
        ("each", 1, "missing"),
        ("each_0-inner", 2, "missing"),
    ]
    assert [str(each) for each in warnings[:2]] == [
        "inputMappings rule 3, $.a -> $.b: `$.a` does not exist",
        "each: inputMappings rule 1, $.a -> $.b: `$.a` does not exist",
    ]


async def test_where_no_rule_came_to_nothing_no_task_is_read() -> None:
    with rillflow.Client(transport=Scripted(execution("SUCCEED"))) as client:
        assert client.execution(ID).warnings() == []
    async with rillflow.AsyncClient(transport=ScriptedAsync(execution("SUCCEED"))) as other:
        assert await other.execution(ID).warnings() == []


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


@pytest.mark.parametrize(
    ("of_execution", "hint"),
    [
        ({"msg": HTPP, "hint": "nothing serves the protocol htpp"}, ""),
        ({"msg": HTPP, "hint": "its resourceName is odd"}, "its resourceName is odd"),
        ({"msg": HTPP}, "told by a"),
        ({"msg": "timeout"}, ""),
    ],
)
def test_the_hint_of_a_failure_is_of_the_same_failure(of_execution: JsonObject, hint: str) -> None:
    failed = execution("FAILED", dag_invoke_msg=of_execution)
    first = task("FAILED", msg=HTPP, hint="told by a")
    last = task("FAILED", msg="conditions can not be null", hint="it has no conditions")
    whole = execution("FAILED", tasks={"a": first, "d": last})
    with (
        rillflow.Client(transport=Scripted(failed, whole)) as client,
        pytest.raises(errors.ExecutionFailedError) as caught,
    ):
        client.execution(ID).result()
    assert caught.value.hint == hint


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


STEERING: Final[dict[str, Callable[[Any], Any]]] = {
    "cancel": lambda one: one.cancel(),
    "pause": lambda one: one.pause(),
    "resume": lambda one: one.resume(),
    "redo": lambda one: one.redo(),
    "wake_up": lambda one: one.wake_up("a"),
    "finish": lambda one: one.finish("a"),
}


@pytest.mark.parametrize("method", STEERING)
def test_an_execution_that_is_not_there_is_an_error_to_whoever_steers_it(method: str) -> None:
    looks: tuple[tuple[Any, type[Exception] | None], ...] = (
        (None, errors.UnknownExecutionError),
        (execution("RUNNING"), None),
        (errors.StoreError("full"), None),
    )
    for refusal in (errors.ExecutionError("not found"), errors.RequestError("task not exists")):
        for look, raised in looks:
            client = rillflow.Client(transport=Scripted(refusal, look))
            expected = f"no execution {ID}" if raised else str(refusal)
            with client, pytest.raises(raised or type(refusal), match=expected):
                STEERING[method](client.execution(ID))

    async def steered() -> None:
        transport = ScriptedAsync(errors.ExecutionError("not found"), None)
        await STEERING[method](rillflow.AsyncClient(transport=transport).execution(ID))

    with pytest.raises(errors.UnknownExecutionError):
        asyncio.run(steered())


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
    refusal, there = errors.ExecutionError("not now", 30601), execution("SUCCEED")
    with pytest.raises(errors.ExecutionError, match="not now"):
        rillflow.Client(transport=Scripted(refusal, there)).execution(ID).cancel()

    async def ask() -> None:
        async with rillflow.AsyncClient(transport=ScriptedAsync(refusal, there)) as client:
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


async def test_the_asynchronous_client_lists_and_redoes_as_well() -> None:
    scripted = ScriptedAsync([], None)
    async with rillflow.AsyncClient(transport=scripted) as client:
        assert await client.executions(status="running") == []
        await client.redo_many("b:f", status="running", tasks=["a"], limit=3)
    assert scripted.asked == [
        ListExecutions(status="running"),
        RedoMany(business="b", feature="f", status="running", tasks=("a",), limit=3),
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


def test_watching_tells_each_failed_attempt_that_was_not_seen() -> None:
    def attempts(*errors: str | None) -> list[dict[str, Any]]:
        return [{} if error is None else {"error": error} for error in errors]

    looks = (
        execution("RUNNING", tasks={"a": task("RUNNING", invoke_time_infos=attempts(None))}),
        execution(
            "RUNNING",
            tasks={"a": task("RUNNING", invoke_time_infos=attempts("x", "y", None), msg="y")},
        ),
        execution(
            "RUNNING",
            tasks={"a": task("READY", invoke_time_infos=attempts("x", "y", "z"), msg="z")},
        ),
        execution(
            "FAILED",
            tasks={"a": task("FAILED", invoke_time_infos=attempts("x", "y", "z", "w"), msg="w")},
        ),
    )
    with rillflow.Client(transport=Scripted(*looks)) as client:
        assert list(client.execution(ID).watch(every_s=0)) == [
            ("a", "RUNNING", None, 1, None),
            ("a", "READY", "RUNNING", 1, "x"),
            ("a", "READY", "READY", 2, "y"),
            ("a", "RUNNING", "READY", 3, None),
            ("a", "READY", "RUNNING", 3, "z"),
            ("a", "FAILED", "READY", 4, "w"),
        ]
