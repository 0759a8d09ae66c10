"""`rillflow get` says of everything that has not ended why it waits, as the API tells it."""

from typing import Any, Final

import pytest

from tests.unit.commands import path, run, stand_in

ID: Final = "b:f_c_01890a5d-ac96-774b-bcce-b302099a8057"
FILM: Final = {
    "name": "film",
    "status": "RUNNING",
    "task": {"category": "function", "pattern": "task_async"},
    "invoke_msg": {"invoke_time_infos": [{"start_time": 1_000}]},
}
VIEW: Final = {
    "execution_id": ID,
    "dag_status": "RUNNING",
    "dag_invoke_msg": {"invoke_time_infos": [{"start_time": 1_000}]},
    "context": {},
    "tasks": {"film": FILM},
}
NO_NODE: Final = "The call of film waits for a node with GPU 8, and none has it."
PAUSED: Final = "The execution is paused."
WAITS: Final = "flow__console__v1__waits.json"
TOLD: Final[dict[str, Any]] = {
    "seq": 3,
    "waits": [{"task": "", "sentence": PAUSED}, {"task": "film", "sentence": NO_NODE}],
}


def shown(monkeypatch: pytest.MonkeyPatch, told: Any, *more: str, **view: Any) -> str:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "120")
    answers = {path("get"): {"ret": VIEW | view}, WAITS: told}
    with stand_in(**answers) as (url, _):
        code, printed, errors = run("get", ID, *more, "--url", url)
    assert code == 0, errors
    return printed


def test_a_terminal_shows_why_an_execution_and_its_tasks_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = [line.split() for line in shown(monkeypatch, TOLD).splitlines()]
    assert ["why", *PAUSED.split()] in lines
    assert lines[-1] == ["why", *NO_NODE.split()]


def test_one_task_has_its_own_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = shown(monkeypatch, TOLD, "--task", "film")
    assert NO_NODE in printed
    assert PAUSED not in printed


@pytest.mark.parametrize("told", [(404, {}), (500, {"error_code": 30300, "error": "no"})])
def test_a_server_that_does_not_tell_is_shown_without_reasons(
    monkeypatch: pytest.MonkeyPatch, told: Any
) -> None:
    printed = shown(monkeypatch, told)
    assert "film" in printed
    assert "why" not in printed


def test_nobody_asks_why_an_execution_waits_that_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "why" not in shown(monkeypatch, TOLD, dag_status="SUCCEED")
