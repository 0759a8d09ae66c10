"""A function reports how far its attempt has come; that is shown, kept at a bounded rate, and more.

A report is an event, so whatever a function sends, the journal grows by few of them.
"""

import json
import math
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rillflow.core.encoding import codec
from rillflow.core.events import DispatchAnswered, Event, ProgressReported
from rillflow.core.status import TaskStatus
from rillflow.core.tasks.progress import (
    LOG_CHARACTERS,
    MESSAGE_CHARACTERS,
    MOST_POSTED_CHARACTERS,
    POSTED_CHARACTERS,
)
from rillflow.core.view import execution_view, posted_log, task_view
from rillflow.errors import ForgedCallbackError, RequestError
from rillflow.testing import Scenario

FLOW: Final = """
workspace: demo
dagName: slow
type: flow
tasks:
  - {name: film, category: function, pattern: task_async, resourceName: "http://f/", next: cut,
     retry: {maxRetryTimes: 1}}
  - {name: cut, category: function, pattern: task_sync, resourceName: "http://f/"}
  - {name: wait, category: suspense, conditions: ["$.input[?(1 == 2)]"]}
"""
DAY_S: Final = 86_400


def started() -> Scenario:
    flow = Scenario(FLOW)
    flow.submit({})
    return flow


def shown(flow: Scenario, task: str = "film") -> Any:
    return task_view(flow.plan, flow.state, flow.task(task)).get("progress")


def test_the_progress_of_a_task_is_shown_with_its_time() -> None:
    flow = started()
    assert shown(flow) is None
    flow.advance(1)
    flow.progress("film", 0.4, "frame 12 of 30")
    assert shown(flow) == {"fraction": 0.4, "message": "frame 12 of 30", "time": flow.now_ms}
    flow.advance(1)
    flow.progress("film", message="cutting")
    assert shown(flow) == {"message": "cutting", "time": flow.now_ms}


def test_the_progress_of_an_execution_counts_that_of_its_tasks() -> None:
    flow = started()
    flow.progress("film", 0.6)
    assert execution_view(flow.plan, flow.state, at_ms=flow.now_ms)["process"] == 20


def test_a_report_that_comes_within_a_second_is_not_kept() -> None:
    flow = started()
    flow.progress("film", 0.1)
    flow.advance(0.999)
    flow.progress("film", 0.2)
    assert not flow.changed
    flow.advance(0.001)
    flow.progress("film", 0.3)
    assert flow.changed
    assert shown(flow)["fraction"] == 0.3


def test_a_function_that_reports_all_day_fills_no_journal() -> None:
    flow, kept = started(), 0
    for number in range(DAY_S // 10):
        flow.progress("film", number / DAY_S)
        kept += flow.changed
        flow.advance(10)
    assert 300 < kept < 700


def test_many_tasks_of_one_execution_share_a_rate() -> None:
    flow = started()
    flow.progress("film", 0.5)
    flow.finish("film")
    flow.progress("cut", 0.5)
    assert not flow.changed
    flow.advance(0.02)
    flow.progress("cut", 0.5)
    assert flow.changed


def test_a_clock_that_was_set_back_does_not_stop_reports() -> None:
    flow = started()
    flow.progress("film", 0.5)
    flow.take(ProgressReported(at_ms=flow.now_ms - 3_600_000, task="film", fraction=0.6))
    assert flow.changed


def test_the_next_attempt_begins_without_progress_and_the_last_one_keeps_it() -> None:
    flow = started()
    flow.progress("film", 0.5)
    flow.finish("film", succeeded=False)
    assert shown(flow) is None
    flow.progress("film", 0.7)
    assert not flow.changed, "it comes too soon after the last one of the execution"
    flow.advance(1)
    flow.take(ProgressReported(at_ms=flow.now_ms, task="film", fraction=0.9, attempt=1))
    assert not flow.changed, "the first attempt is over"
    flow.take(ProgressReported(at_ms=flow.now_ms, task="film", fraction=0.2, attempt=2))
    flow.finish("film", succeeded=False)
    assert shown(flow)["fraction"] == 0.2


@pytest.mark.parametrize("task", ["cut", "wait"])
def test_a_task_that_runs_no_function_has_no_progress(task: str) -> None:
    flow = started()
    flow.progress(task, 0.5)
    assert not flow.changed


def test_an_address_that_is_not_sealed_for_the_attempt_reports_nothing() -> None:
    flow = started()
    for sealed in (0, 2):
        with pytest.raises(ForgedCallbackError):
            flow.take(ProgressReported(at_ms=1, task="film", sealed_attempt=sealed))
    flow.take(ProgressReported(at_ms=1, task="film", sealed_attempt=1))
    assert flow.changed


def test_a_report_for_an_unknown_task_is_refused() -> None:
    with pytest.raises(RequestError, match="task not exists"):
        started().progress("none", 0.5)


@given(st.floats() | st.none(), st.text(max_size=400))
def test_whatever_is_reported_is_bounded_and_can_be_kept(
    fraction: float | None, message: str
) -> None:
    flow = started()
    event: Event = ProgressReported(
        at_ms=flow.now_ms,
        task="film",
        fraction=fraction,
        message=message.encode(errors="replace").decode(),
    )
    flow.take(codec.decode_event(codec.encode_event(event)))
    progress = flow.task("film").progress
    assert progress is not None
    assert len(progress.message) <= MESSAGE_CHARACTERS
    assert progress.fraction is None or 0 <= progress.fraction <= 1
    assert progress.fraction == fraction or not 0 <= (fraction or math.nan) <= 1
    snapshot = codec.encode_state(flow.state)
    assert codec.decode_state(snapshot) == flow.state


def test_the_place_of_a_log_is_kept_once_for_each_attempt_and_with_its_answer() -> None:
    flow = started()
    assert "log" not in task_view(flow.plan, flow.state, flow.task("film"))
    flow.progress("film", 0.5)
    log = ProgressReported(at_ms=flow.now_ms, task="film", log='{"node":"a"}')
    flow.take(log)
    assert flow.changed, "also where progress comes too soon"
    assert shown(flow)["fraction"] == 0.5
    assert task_view(flow.plan, flow.state, flow.task("film"))["log"] == {"node": "a"}
    flow.take(msgspec.structs.replace(log, log='{"node":"b"}'))
    assert not flow.changed
    flow.take(
        DispatchAnswered(at_ms=9, task="film", attempt=1, error="e", log='{"node":"a","end":1}')
    )
    assert flow.task("film").log is None, "the next attempt has begun"
    flow.take(DispatchAnswered(at_ms=9, task="film", attempt=2, error="e", log='{"end":2}'))
    assert task_view(flow.plan, flow.state, flow.task("film"))["log"] == {"end": 2}


def posted(text: str, **more: Any) -> ProgressReported:
    """Return a report with the end of a log."""
    return ProgressReported(at_ms=1, task="film", log=json.dumps({"text": text}), **more)


def post(flow: Scenario, report: ProgressReported) -> bool:
    """Report it now, and tell whether it is kept."""
    flow.take(msgspec.structs.replace(report, at_ms=flow.now_ms))
    return flow.changed


def log_of(flow: Scenario) -> Any:
    found = posted_log(flow.task("film"))
    return None if found is None else found["text"]


def test_the_log_that_a_function_posts_takes_the_place_of_the_last_one() -> None:
    flow = started()
    assert post(flow, posted("one\n", fraction=0.4, message="of two"))
    flow.advance(1)
    assert post(flow, posted("one\ntwo\n"))
    assert log_of(flow) == "one\ntwo\n"
    assert (shown(flow)["fraction"], shown(flow)["message"]) == (0.4, "of two")
    assert task_view(flow.plan, flow.state, flow.task("film"))["log"] == {"posted": True}
    flow.finish("film", succeeded=False, log='{"text":"three"}')
    assert log_of(flow) is None, "the next attempt has begun"
    flow.finish("film", succeeded=False, log='{"text":"four"}')
    assert log_of(flow) == "four"


def test_logs_are_kept_as_seldom_as_progress_and_long_ones_of_one_execution_more_seldom() -> None:
    flow = started()
    assert post(flow, posted("one"))
    flow.advance(0.999)
    assert not post(flow, posted("two"))
    assert log_of(flow) == "one"
    flow.advance(0.001)
    assert post(flow, posted("x" * 8_000))
    flow.finish("film")
    flow.advance(0.7)
    long = msgspec.structs.replace(posted("x" * 8_000), task="cut")
    assert not post(flow, long)
    flow.advance(0.2)
    assert post(flow, long)


def test_a_function_that_logs_all_day_fills_no_journal() -> None:
    flow, kept = started(), 0
    for _ in range(DAY_S // 10):
        kept += post(flow, posted("line\n" * 800))
        flow.advance(10)
    assert 300 < kept < 700


def test_the_logs_of_an_execution_have_a_limit_and_progress_goes_on() -> None:
    flow = started()
    texts = 0
    while post(flow, posted(f"{texts} {'x' * 8_000}", fraction=0.5)):
        if log_of(flow).partition(" ")[0] != str(texts):
            break
        texts += 1
        flow.advance(1 + flow.now_ms / 50_000)
    assert 0 <= MOST_POSTED_CHARACTERS - flow.state.log_characters < 8_100
    assert shown(flow)["time"] == flow.now_ms
    flow.finish("film", log=json.dumps({"text": "the last words" * 500}))
    assert log_of(flow).startswith(f"{texts - 1} ")


def test_a_posted_log_that_is_too_long_is_not_kept() -> None:
    flow = started()
    assert post(flow, posted("x" * POSTED_CHARACTERS, fraction=0.5))
    assert log_of(flow) is None
    assert shown(flow)["fraction"] == 0.5
    flow.finish("film", log=json.dumps({"text": "x" * POSTED_CHARACTERS}))
    assert log_of(flow) is None
    assert flow.task("film").status is TaskStatus.SUCCEED


def test_a_place_that_is_too_long_is_not_kept() -> None:
    flow = started()
    flow.take(ProgressReported(at_ms=1, task="film", log='"' + "x" * LOG_CHARACTERS + '"'))
    assert not flow.changed
