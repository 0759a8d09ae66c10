"""The time before a redo is no time that something took, in the command line and on the page."""

from typing import Any, Final

import pytest
from rich.console import Console

from rillflow.cli.output.showing import show_execution
from rillflow.client.instances import Runs, runs_of
from rillflow.core.inspection.overview import idle_ms
from rillflow.core.inspection.views import inspect
from rillflow.core.state import TimeInfo
from tests.spec.notation import fn, pass_, scenario

HOUR_MS: Final = 3_600_000
RUNS: Final = Runs(((1_000, 3_000), (HOUR_MS, HOUR_MS + 5_000)), HOUR_MS + 9_000)


@pytest.mark.parametrize(
    ("from_ms", "to_ms", "lasted_ms"),
    [
        (1_500, HOUR_MS + 500, 2_000),
        (1_500, 2_500, 1_000),
        (HOUR_MS + 1_000, None, 4_000),
        (1_000, None, 7_000),
    ],
)
def test_between_two_runs_nothing_lasts(from_ms: int, to_ms: int | None, lasted_ms: int) -> None:
    assert RUNS.between_ms(from_ms, to_ms) == lasted_ms
    assert RUNS.duration_ms == 7_000


def times(*spans: tuple[int, int | None]) -> dict[str, Any]:
    infos = [
        {"start_time": begun} | ({} if ended is None else {"end_time": ended})
        for begun, ended in spans
    ]
    return {"invoke_time_infos": infos}


def test_an_execution_that_runs_lasts_until_now() -> None:
    view = {"dag_status": "RUNNING", "dag_invoke_msg": times((1_000, 2_000), (5_000, None))}
    assert runs_of(view, 9_000).duration_ms == 5_000
    assert runs_of(view, 9_000).between_ms(6_000, None) == 3_000
    assert runs_of({}, 9_000).between_ms(6_000, None) == 3_000


def shown(view: dict[str, Any], now_ms: int) -> str:
    console = Console(record=True, width=100, force_terminal=True)
    show_execution(console, view, view["tasks"], now_ms)
    return console.export_text()


def test_a_task_that_a_cancelled_execution_leaves_has_no_clock() -> None:
    task = {"status": "RUNNING", "invoke_msg": times((2_000, None))}
    view = {"dag_status": "FAILED", "dag_invoke_msg": times((1_000, 4_000)), "tasks": {"a": task}}
    for now_ms in (10_000, 99_000):
        [line] = [one for one in shown(view, now_ms).splitlines() if one.startswith("a ")]
        assert line.split() == ["a", "RUNNING", "2.0", "s"]


def test_an_attempt_that_a_redo_followed_is_not_said_to_be_given_up() -> None:
    task = {"status": "SUCCEEDED", "invoke_msg": times((1_000, 1_200), (HOUR_MS, HOUR_MS + 300))}
    runs = times((900, 1_300), (HOUR_MS, HOUR_MS + 500))
    text = shown({"dag_status": "SUCCEED", "dag_invoke_msg": runs, "tasks": {"a": task}}, HOUR_MS)
    [first] = [one for one in text.splitlines() if "attempt 1" in one]
    assert first.split(maxsplit=4)[2:] == ["0.2", "s", "without an error; the task was redone"]
    assert "SUCCEED after 0.9 s" in text
    [line] = [one for one in text.splitlines() if one.startswith("a ")]
    assert line.split()[2:4] == ["0.6", "s"]  # 1,000 to 1,300, and then to HOUR_MS + 300


def test_the_page_is_told_how_long_an_execution_and_its_tasks_were_idle() -> None:
    run = scenario(fn("A", "sync"), pass_("B"))
    run.submit()
    run.advance(2)
    run.answer("A", {"n": 1})
    assert node(run)["idle_ms"] == 0
    run.advance(3_600)
    run.redo("A")
    run.advance(1)
    run.answer("A", {"n": 2})
    one = node(run)
    summary: Any = inspect("summary", run.plan, run.state, run.now_ms, {})
    for each in (one, summary):
        assert each["idle_ms"] == HOUR_MS
        assert each["ended_ms"] - each["started_ms"] - each["idle_ms"] == 3_000
    assert idle_ms(run.state, [TimeInfo(start_ms=0)]) == 0


def node(run: Any) -> Any:
    level: Any = inspect("level", run.plan, run.state, run.now_ms, {"limit": "9"})
    return next(each for each in level["nodes"] if each["name"] == "A")
