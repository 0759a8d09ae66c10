"""`rillflow status` shows a whole stack at a glance, and by its exit code whether all is well."""

import json
from io import StringIO
from typing import Any, Final

import pytest

from rillflow.cli.output import stack_state
from rillflow.cli.output.console import VisibleConsole
from tests.unit.commands import path, run, stand_in
from tests.unit.test_cli_cluster import actor
from tests.unit.test_cli_cluster import state as cluster

OPERATIONS: Final = "flow__console__v1__operations.json"


def operations(**changes: Any) -> dict[str, Any]:
    owner = actor("rillflow:execution:0", partitions=256, hot=1_500, queue=2, append_ms=1.26)
    buckets = [{"at_ms": 1, "succeeded": n, "failed": 1, "unfinished": 0} for n in range(9)]
    return {
        "is_well": True,
        "problems": [],
        "last_hour": {
            "counts": {"unfinished": 5, "succeeded": 1_204, "failed": 7},
            "buckets": buckets,
        },
        "hosts": [
            host("http://idle:8081"),
            host("http://busy:8081", under_way=3, waiting=2, state="open", rate_per_s=2.5),
        ],
        "cluster": cluster(actor("rillflow:dispatcher:0"), owner),
        "readiness": {"ready": True},
        **changes,
    }


def host(name: str, **facts: Any) -> dict[str, Any]:
    usual = {"state": "closed", "under_way": 0, "waiting": 0, "held": 0, "rate_per_s": None}
    return {"name": name, **usual, **facts}


def drawn(state: dict[str, Any], width: int = 100) -> str:
    console = VisibleConsole(file=StringIO(), force_terminal=True, width=width, color_system=None)
    with console.capture() as shown:
        console.print(stack_state.shown(state, "http://here", "12:00:00"))
    return shown.get()


def test_a_stack_that_is_well_is_told_in_lines_for_programs() -> None:
    with stand_in(**{OPERATIONS: operations()}) as (url, _):
        code, printed, told = run("status", "--url", url)
    assert (code, told) == (0, "")
    lines = printed.splitlines()
    assert lines[0].split() == ["ready", url]
    assert lines[1].split() == ["code", "0.2/1,", "settings", "3"]
    assert lines[2].endswith("5 unfinished, 1,204 succeeded, 7 failed")
    assert lines[3].endswith(
        "http://busy:8081  circuit open, under way 3, waiting 2, held 0, calls/s at most 2.5"
    )
    assert lines[4].endswith("http://idle:8081  circuit closed, under way 0, waiting 0, held 0")
    assert (
        "rillflow:execution:0  node 01234567, state runs, partitions 256, in memory 1,500"
        in (lines[6])
    )
    assert "queue 2, append ms 1.3" in lines[6]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"readiness": {"ready": False}}, "not ready"),
        ({"cluster": cluster(converged=False)}, "ready, not as wanted"),
    ],
)
def test_what_is_not_well_is_the_exit_code(changes: dict[str, Any], word: str) -> None:
    with stand_in(**{OPERATIONS: operations(**changes)}) as (url, _):
        code, printed, _ = run("status", "--url", url)
    assert code == 1
    assert printed.startswith(word)


def test_problems_are_told_in_sentences_and_each_once() -> None:
    problems = [
        {"kind": "circuit_open", "subject": "http://gw", "detail": {"state": "open", "held": 2}},
        {"kind": "not_ready", "subject": "x", "detail": {"code": "x", "message": "no store"}},
        {"kind": "not_ready", "subject": "x", "detail": {"code": "x", "message": "no store"}},
    ]
    state = operations(problems=problems, cluster=cluster(silent=["rillflow:dispatcher:0"]))
    assert stack_state.problems(state) == [
        "circuit open: http://gw (state open, held 2)",
        "no store",
        "rillflow:dispatcher:0 does not answer",
    ]


def test_a_terminal_shows_tables_without_empty_columns() -> None:
    shown = drawn(operations())
    assert "● ready  http://here  12:00:00" in shown
    assert "▁" in shown
    assert "█" in shown
    assert "partitions" in shown
    assert "fencings" not in shown
    assert shown.index("busy:8081") < shown.index("idle:8081")


@pytest.mark.parametrize("width", [60, 80])
def test_a_narrow_terminal_cuts_nothing_off(width: int) -> None:
    shown = drawn(operations(), width=width)
    assert all(len(line) <= width for line in shown.splitlines())
    assert "…" not in shown
    assert "busy:8081" in shown


def test_control_characters_of_hosts_do_not_reach_the_terminal() -> None:
    state = operations(hosts=[host("http://\x1b[31mred")])
    assert "\x1b[31m" not in drawn(state)


def test_all_of_it_may_be_had_as_json() -> None:
    with stand_in(**{OPERATIONS: operations()}) as (url, _):
        code, printed, _ = run("status", "--json", "--url", url)
    assert code == 0
    assert json.loads(printed) == operations()


@pytest.mark.parametrize(
    "answer",
    [
        {},
        operations(hosts=[{"name": 1}]),
        operations(last_hour={"counts": {"failed": "x"}, "buckets": []}),
        operations(last_hour={"counts": {}, "buckets": [{"failed": -1}]}),
        operations(readiness={"ready": "yes"}),
        operations(problems=[[]]),
    ],
)
def test_an_answer_of_another_form_is_one_clear_error(answer: dict[str, Any]) -> None:
    with stand_in(**{OPERATIONS: answer}) as (url, _):
        code, printed, told = run("status", "--url", url)
    assert (code, printed) == (1, "")
    assert told.startswith("error:")
    assert "Traceback" not in told


def test_a_server_that_does_not_answer_is_an_error() -> None:
    code, _, told = run("status", "--url", "http://127.0.0.1:1")
    assert code == 1
    assert told.startswith("error:")


def test_where_there_are_no_keys_the_list_says_so() -> None:
    with stand_in(**{path("keys__list"): {"keys": []}}) as (url, _):
        told = run("keys", "list", "--url", url)
    assert told == (0, "", "there are no keys; rillflow keys add makes one\n")
