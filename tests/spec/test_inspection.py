"""The console tells what each task does, and why it waits, from the state of the execution."""

from collections.abc import Callable
from typing import Any, Final

import pytest

from rillflow.core.events import ParentLink
from rillflow.core.inspection.sentences import KINDS as SENTENCES
from rillflow.core.inspection.sentences import sentence
from rillflow.core.inspection.statuses import Status
from rillflow.core.inspection.views import KINDS, inspect
from rillflow.core.inspection.waits import Wait
from rillflow.jsontypes import encode_json
from rillflow.testing import Scenario
from tests.spec.notation import (
    at_most,
    choice,
    each,
    flow,
    fn,
    on_input,
    pass_,
    scenario,
    susp,
    sw,
    within,
)
from tests.unit.test_linear_readers import lines_of

LINES_OF_SUMMARY = 90_000
"""How many lines the summary of an execution of any size may run."""
SPENT = {"maxRetryTimes": 1, "intervalInSeconds": 60, "multiplier": 1}


def seen(run: Scenario, kind: str, **asked: str) -> Any:
    """Return a view of a scenario as it is, as JSON can hold it."""
    found = inspect(kind, run.plan, run.state, run.now_ms, asked)
    encode_json(found)
    return found


def called() -> Scenario:
    run = scenario(fn("A", timeline=within(90), to="B"), pass_("B"))
    run.submit()
    return run


def accepted() -> Scenario:
    run = called()
    run.advance(2)
    run.answer("A", {"ok": 1})
    return run


def polled(*, is_asked: bool) -> Scenario:
    run = scenario(fn("A", completion="poll", polling={"intervalInSeconds": 5}))
    run.submit()
    run.answer("A", poll_url="http://gateway/result", http_status=202)
    if is_asked:
        run.advance(5)
    return run


def suspended() -> Scenario:
    run = scenario(susp("A", on_input("go==true"), ins="go", timeline=within(30)))
    run.submit()
    return run


def delegated() -> Scenario:
    run = scenario(fn("A", "flow_sync"))
    run.submit()
    run.answer("A", {"execution_id": "demo:child_c_1"})
    return run


def retried() -> Scenario:
    run = scenario(fn("A", retry=SPENT))
    run.submit()
    run.advance(1)
    run.answer("A", error="http status 503")
    return run


def delayed() -> Scenario:
    run = scenario(pass_("A", timeline={"suspenseIntervalSeconds": 40}))
    run.submit()
    return run


def paused() -> Scenario:
    run = called()
    run.pause()
    run.answer("A", {})
    run.finish("A")
    return run


def looping() -> Scenario:
    run = scenario(each("A", "list", fn("B"), ins="list", synchronization=at_most(1)))
    run.submit({"list": ["one", "two", "three"]})
    run.answer("A_0-B", {})
    return run


def on_ray() -> Scenario:
    task = fn("A") | {"resourceName": "ray://film:draw", "rayOptions": {"num_gpus": 2}}
    run = scenario(task)
    run.submit()
    return run


ON_RAY: Final = {"attempt": 1, "resource": "ray://film:draw", "ray_options": {"num_gpus": 2.0}}
WAITING: list[tuple[Callable[[], Scenario], str, str, dict[str, Any]]] = [
    (called, "A", "running", {"kind": "call", "since_ms": 0, "until_ms": 90_000}),
    (on_ray, "A", "running", {"kind": "call", "detail": ON_RAY}),
    (called, "B", "not_started", {"kind": "dependencies", "detail": {"tasks": ["A"], "total": 1}}),
    (accepted, "A", "waiting", {"kind": "callback", "until_ms": 90_000, "actions": ["finish"]}),
    (lambda: polled(is_asked=False), "A", "waiting", {"kind": "poll", "until_ms": 5_000}),
    (lambda: polled(is_asked=True), "A", "running", {"kind": "poll_call"}),
    (suspended, "A", "waiting", {"kind": "wake_up", "until_ms": 30_000, "actions": ["wakeup"]}),
    (delegated, "A", "waiting", {"kind": "sub_flow"}),
    (retried, "A", "delayed", {"kind": "retry", "since_ms": 1_000, "until_ms": 61_000}),
    (delayed, "A", "delayed", {"kind": "delay", "until_ms": 40_000}),
    (paused, "B", "held", {"kind": "paused", "actions": ["resume"]}),
    (looping, "A", "waiting", {"kind": "groups"}),
    (looping, "A_0-B", "waiting", {"kind": "callback"}),
    (looping, "A_1-B", "not_started", {"kind": "group_limit"}),
]


@pytest.mark.parametrize(("make", "name", "status", "expected"), WAITING)
def test_a_task_that_has_not_ended_says_for_what_it_waits(
    make: Callable[[], Scenario], name: str, status: str, expected: dict[str, Any]
) -> None:
    run = make()
    task = seen(run, "instance", task=name)
    assert task["status"] == status
    assert {key: task["wait"][key] for key in expected} == expected
    assert task["wait"]["task"] == name
    [alone] = seen(run, "waits", task=name, limit="1")["waits"]
    assert alone == task["wait"]
    listed = seen(run, "waits", limit="100")["waits"]
    assert [wait for wait in listed if wait["task"] == name] == [alone]


@pytest.mark.parametrize(
    ("make", "status", "kind"),
    [
        (called, "running", "call"),
        (accepted, "waiting", "callback"),
        (retried, "delayed", "retry"),
        (paused, "held", "paused"),
        (looping, "waiting", "callback"),
    ],
)
def test_an_execution_has_the_status_and_the_wait_of_what_goes_on_in_it(
    make: Callable[[], Scenario], status: str, kind: str
) -> None:
    run = make()
    shown = seen(run, "summary")
    assert (shown["status"], shown["wait"]["kind"]) == (status, kind)
    assert shown["seq"] == len(run.journal)
    assert seen(run, "header")["wait"] == shown["wait"]


def test_what_runs_comes_before_what_waits() -> None:
    run = scenario(susp("A", on_input("go==true"), ins="go"), fn("B"))
    run.submit()
    assert seen(run, "summary")["status"] == "running"
    run.answer("B", {})
    assert seen(run, "summary")["status"] == "waiting"


def test_a_paused_execution_is_held_unless_a_call_is_under_way() -> None:
    run = called()
    run.pause()
    assert seen(run, "summary")["status"] == "running"
    run.answer("A", {})
    shown = seen(run, "summary")
    assert (shown["status"], shown["wait"]["kind"], shown["paused"]) == ("held", "paused", True)


def test_what_has_ended_waits_for_nothing() -> None:
    run = called()
    run.answer("A", {})
    run.finish("A")
    shown = seen(run, "summary")
    assert (shown["status"], shown["wait"], shown["failure"]) == ("succeeded", None, None)
    assert shown["progress"] == {"done": 2, "total": 2}
    assert seen(run, "waits", limit="9")["waits"] == []


def test_an_end_that_is_still_to_be_told_is_a_wait() -> None:
    parent = ParentLink(execution_id="demo:p_c_1", task="A", attempt=1, pattern="flow_sync")
    run = Scenario(
        {"workspace": "demo", "dagName": "scenario", "type": "flow", "tasks": [pass_("A")]},
        parent=parent,
    )
    run.submit()
    wait = seen(run, "summary")["wait"]
    assert (wait["kind"], wait["detail"]) == ("notice", {"to": ["parent"]})


def test_a_cancelled_execution_differs_from_a_failed_one() -> None:
    run = called()
    run.cancel()
    assert seen(run, "summary")["status"] == "cancelled"
    nodes = seen(run, "level", limit="9")["nodes"]
    assert [node["status"] for node in nodes] == ["cancelled", "cancelled"]


def test_a_failure_is_that_of_the_task_that_failed_however_deep_it_lies() -> None:
    run = scenario(each("A", "list", fn("B", "sync"), ins="list"))
    run.submit({"list": [1, 2]})
    run.answer("A_0-B", {})
    run.answer("A_1-B", {"result_type": "FAILED", "error_code": 409, "error_msg": "out of stock"})
    failure = seen(run, "summary")["failure"]
    assert (failure["task"], failure["code"], failure["message"]) == (
        "A_1-B",
        "409",
        "out of stock",
    )
    [item] = seen(run, "items", task="A", limit="9", status="failed")["items"]
    assert item["failure"] == failure


def test_groups_that_fail_differently_fail_by_the_message_of_their_task() -> None:
    run = scenario(each("A", "list", fn("B", "sync"), ins="list"))
    run.submit({"list": [1, 2]})
    for index in range(2):
        run.answer(f"A_{index}-B", {"result_type": "FAILED", "error_msg": f"no disk {index}"})
    failure = seen(run, "summary")["failure"]
    assert (failure["task"], failure["base"]) == ("A", "A")
    assert failure["message"] == run.state.invoke.msg


def test_a_failure_of_a_known_kind_is_told_in_plain_words_too() -> None:
    run = scenario(fn("A", "sync"))
    run.submit()
    message = "handle functionPattern protocol: htppdo not support"
    run.answer("A", {"result_type": "FAILED", "error_msg": message})
    failure = seen(run, "summary")["failure"]
    assert (failure["message"], failure["sentence"]) == (
        message,
        "nothing serves the protocol htpp",
    )
    assert seen(run, "instance", task="A")["sentence"] == failure["sentence"]


def test_a_failure_that_is_being_retried_is_shown_while_the_execution_runs() -> None:
    assert seen(retried(), "summary")["failure"]["message"] == "http status 503"


def test_the_items_of_a_group_come_in_pages_and_by_status() -> None:
    run = looping()
    node = seen(run, "level", limit="9")["nodes"][0]
    assert node["group"]["strip"] == "wnn"
    assert (node["group"]["total"], node["group"]["started"], node["group"]["done"]) == (3, 1, 0)
    first = seen(run, "items", task="A", limit="2")
    assert [item["route"] for item in first["items"]] == ["A_0", "A_1"]
    rest = seen(run, "items", task="A", offset=first["next"], limit="2")
    assert ([item["index"] for item in rest["items"]], rest["next"]) == ([2], None)
    waiting = seen(run, "items", task="A", limit="9", status="waiting")
    assert [item["index"] for item in waiting["items"]] == [0]


def test_a_level_below_is_opened_by_the_route_of_its_group() -> None:
    run = looping()
    inner = seen(run, "level", route="A_0", limit="9")
    assert [node["name"] for node in inner["nodes"]] == ["A_0-B"]
    assert inner["parents"] == [{"task": "A", "route": "A_0", "index": 0}]
    assert seen(run, "level", route="A_9", limit="9") is None
    assert seen(run, "instance", task="A_9-B") is None
    assert seen(run, "items", task="nobody", limit="9") is None


def test_edges_tell_their_condition_and_whether_they_were_taken() -> None:
    run = scenario(
        sw("S", (on_input("a==1"), "A"), ("default", "B"), ins="a"),
        pass_("A"),
        fn("B", catch="C"),
        pass_("C"),
    )
    run.submit({"a": 1})
    edges = {(edge["from"], edge["to"]): edge for edge in seen(run, "level", limit="9")["edges"]}
    assert edges["S", "A"]["kind"] == "switch"
    assert edges["S", "A"]["label"] == on_input("a==1")
    assert (edges["S", "A"]["taken"], edges["S", "B"]["taken"]) == (True, False)
    assert edges["B", "C"]["kind"] == "catch"


def test_the_names_of_a_switch_are_read_once_however_many_successors_it_has() -> None:
    names = [f"T{number}" for number in range(50)]

    def lines(repeated: int) -> int:
        following = ",".join([*["T0"] * repeated, *names])
        run = scenario(sw("S", (on_input("a==1"), following), ins="a"), *map(pass_, names))
        run.submit({"a": 1})
        return lines_of(lambda: seen(run, "level", limit="99"))

    assert lines(4_000) - lines(1_000) < 10 * 3_000


def test_the_branches_of_a_choice_have_their_conditions() -> None:
    run = scenario(
        choice("A", (on_input("a==1"), [pass_("B")]), (on_input("a==2"), [pass_("C")]), ins="a")
    )
    run.submit({"a": 2})
    found = seen(run, "items", task="A", limit="9")["items"]
    assert [(item["condition"], item["status"]) for item in found] == [
        (on_input("a==1"), "skipped"),
        (on_input("a==2"), "succeeded"),
    ]


def test_nodes_come_in_pages_and_edges_with_the_first() -> None:
    run = scenario(pass_("A", to="B"), pass_("B", to="C"), pass_("C"))
    run.submit()
    first = seen(run, "level", limit="2")
    assert [node["name"] for node in first["nodes"]] == ["A", "B"]
    assert len(first["edges"]) == 2
    second = seen(run, "level", offset="2", limit="2")
    assert ([node["name"] for node in second["nodes"]], second["edges"]) == (["C"], [])
    assert second["total"] == 3


def test_a_summary_of_a_wide_execution_reads_few_of_its_groups() -> None:
    run = Scenario(
        {
            "workspace": "demo",
            "dagName": "scenario",
            "type": "flow",
            "tasks": [each("A", "list", susp("B", on_input("go==true"), ins="go"), ins="list")],
        },
        turn_max_task_steps=1_000_000,
    )
    run.submit({"list": list(range(4_000))})
    shown = seen(run, "summary")
    assert shown["status"] == "running"
    assert shown["wait"]["kind"] == "groups"


def test_a_summary_of_many_waiting_tasks_reads_few_of_them() -> None:
    tasks = (susp(f"S{each}", on_input("go==true"), ins="go") for each in range(4_000))
    run = Scenario(flow(*tasks))
    run.submit({"go": False})
    assert lines_of(lambda: seen(run, "summary")) < LINES_OF_SUMMARY


def test_values_named_like_secrets_are_masked() -> None:
    run = scenario(fn("A", ins="password,b"))
    run.submit({"password": "hunter2", "b": 1})
    shown = seen(run, "instance", task="A")
    assert shown["input"] == {"password": "***", "b": 1}
    assert "hunter2" not in str(shown)


def test_a_task_with_a_large_input_is_shown_without_looking_at_all_of_it() -> None:
    run = scenario(susp("A", on_input("go==true"), ins="a"))
    run.submit({"a": {f"k{number}": "v" for number in range(14_000)}})
    seen(run, "instance", task="A")
    assert 50 < lines_of(lambda: seen(run, "instance", task="A")) < 3_000


def test_every_kind_of_wait_has_a_sentence() -> None:
    found = {expected["kind"] for _, _, _, expected in WAITING}
    facts = {"circuit", "limit", "resources", "room", "busy", "quarantine", "notice", "steps"}
    assert found | facts == SENTENCES
    for kind in SENTENCES:
        wait = Wait(task="A", base="A", status=Status.HELD, kind=kind, since_ms=0, until_ms=1)
        assert sentence(wait, 5).endswith(".")


def test_a_sentence_has_clock_times_of_the_day_and_dates_of_other_days() -> None:
    wait = Wait(task="A", base="A", status=Status.WAITING, kind="callback", since_ms=1_000)
    assert sentence(wait, 2_000) == "Waiting for the callback of A since 00:00:01."
    assert sentence(wait, 90_000_000) == "Waiting for the callback of A since 1970-01-01 00:00:01."


def test_all_views_are_known_by_name() -> None:
    shown = {"summary", "header", "level", "items", "instance", "context_part", "waits", "trace"}
    assert shown == KINDS
