"""The command line sends what a task waits for, and tells what came of it."""

import json
from typing import Any, Final

from tests.unit.commands import path, run, stand_in

ID: Final = "b:f_c_01890a5d-ac96-774b-bcce-b302099a8057"
DONE: Final = {"result": "ok"}


def shown(status: str) -> dict[str, Any]:
    tasks = {"approve": {"name": "approve", "status": status}}
    return {"ret": {"execution_id": ID, "dag_status": "RUNNING", "context": {}, "tasks": tasks}}


def test_a_suspense_task_gets_its_signal_and_its_status_is_told() -> None:
    signal = '{"approved": true}'
    with stand_in(**{path("get"): shown("SUCCEEDED"), path("wakeup"): DONE}) as (url, asked):
        code, printed, told = run("wake", ID, "approve", "--data", signal, "--url", url)
    assert (code, told) == (0, "")
    assert printed == f"woken {ID}: approve is SUCCEEDED\n"
    [sent] = [one for one in asked if one["query"].get("task_name")]
    assert sent["query"] == {"execution_id": ID, "task_name": "approve"}
    assert json.loads(sent["body"]) == {"approved": True}


def test_a_task_that_waits_gets_its_outcome() -> None:
    with stand_in(**{path("get"): shown("FAILED"), path("trigger"): DONE}) as (url, asked):
        code, printed, _ = run("finish", ID, "approve", "--failed", "--url", url)
    assert (code, printed) == (0, f"finished {ID}: approve is FAILED\n")
    assert [one["query"].get("status") for one in asked] == [None, "failed", None]


def test_a_task_that_is_not_there_is_told_with_those_that_are() -> None:
    with stand_in(**{path("get"): shown("RUNNING")}) as (url, asked):
        for command in ("wake", "finish"):
            code, _, told = run(command, ID, "approval", "--url", url)
            assert code == 1
            assert told == "error: there is no task approval; there are approve\n"
    assert len(asked) == 2


def test_an_outcome_that_came_too_late_is_refused() -> None:
    late = {**DONE, "duplicate": True}
    with stand_in(**{path("get"): shown("SUCCEEDED"), path("trigger"): late}) as (url, _):
        code, _, told = run("finish", ID, "approve", "--url", url)
    assert code == 1
    assert told == "error: the task approve has an outcome already; nothing was changed\n"
