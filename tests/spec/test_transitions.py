"""Each entry of the tables of legal transitions is what an execution does, and the page shows them.

An execution is brought into each status by the way that leads there; what nothing leads to
(STASHED, and KEY_SUCCEED of what is no function) is set.
"""

from collections.abc import Callable
from typing import Any, Final

import pytest

from rillflow.core import machine
from rillflow.core.encoding import codec
from rillflow.core.events import (
    CallbackReceived,
    CancelRequested,
    CompletionRequested,
    DegradeRequested,
    DispatchAnswered,
    Event,
    PauseRequested,
    ProgressReported,
    RedoRequested,
    ResumeRequested,
    SubFlowNotice,
    TimerFired,
    WakeUpReceived,
)
from rillflow.core.state import TaskState
from rillflow.core.status import DagStatus, TaskStatus
from rillflow.core.transitions import (
    AFTER_A_CANCELLATION,
    AFTER_THE_END,
    EXECUTION_TRANSITIONS,
    IGNORE,
    TAKE,
    WHILE_IT_RUNS,
    Entry,
    ExecutionTransitions,
    Refusal,
    TaskTransitions,
)
from rillflow.core.turn import Turn
from rillflow.errors import ExecutionError
from rillflow.testing import Scenario
from tests.transitions_page import PAGE, page

HEAD: Final = (
    "workspace: demo\ndagName: moves\ntype: flow\ntimeline: {timeoutInSeconds: 900}\ntasks:\n"
)
AROUND: Final = """
- {name: first, category: function, pattern: task_async, resourceName: "http://f/", next: X}
- {name: beside, category: function, pattern: task_async, resourceName: "http://f/"}
"""
KINDS: Final = {
    "call": "pattern: task_async, category: function, resourceName: 'http://f/'",
    "sub-flow": "pattern: flow_sync, category: function, resourceName: 'rillflow://a:b'",
    "poll": "pattern: task_async, category: function, resourceName: 'http://f/', completion: poll",
    "suspense": "category: suspense, conditions: ['$.input[?(1 == 2)]']",
    "choice": (
        "category: choice, choices: [{condition: '$.input[?(1 == 1)]', tasks:"
        " [{name: Y, category: function, pattern: task_async, resourceName: 'http://f/'}]}]"
    ),
}
SITUATIONS: Final = {
    "running": WHILE_IT_RUNS,
    "ended": AFTER_THE_END,
    "cancelled": AFTER_A_CANCELLATION,
}


def _callback(task: TaskState, **facts: Any) -> CallbackReceived:
    return CallbackReceived(at_ms=9, task="X", attempt=task.attempt, succeeded=True, **facts)


def _timer(kind: str, due_ms: int | None) -> TimerFired:
    return TimerFired(at_ms=10**6, kind=kind, task="X", due_ms=due_ms or 1)


EVENTS: Final[dict[str, tuple[str, Callable[[TaskState], Event]]]] = {
    "answer": (
        "call",
        lambda task: DispatchAnswered(at_ms=9, task="X", attempt=task.attempt, http_status=200),
    ),
    "callback": ("call", _callback),
    "callback_of_other": ("choice", _callback),
    "trigger_of_suspense": ("suspense", lambda task: _callback(task, trigger=True)),
    "wake_up": ("suspense", lambda _: WakeUpReceived(at_ms=9, task="X")),
    "wake_up_of_other": ("call", lambda _: WakeUpReceived(at_ms=9, task="X")),
    "progress": (
        "call",
        lambda task: ProgressReported(at_ms=9, task="X", attempt=task.attempt, fraction=0.5),
    ),
    "child_goes_on": (
        "sub-flow",
        lambda task: _callback(task, sub_flow=SubFlowNotice(number=9, redone=True, running=True)),
    ),
    "child_ended_anew": (
        "sub-flow",
        lambda task: _callback(task, sub_flow=SubFlowNotice(number=9, redone=True)),
    ),
    "delay_over": ("call", lambda task: _timer("delay", task.delay_due_ms)),
    "poll_due": ("poll", lambda task: _timer("poll", task.poll_due_ms)),
    "time_out": ("call", lambda task: _timer("timeout", task.timeout_due_ms)),
}
DAG_EVENTS: Final[dict[str, Callable[[Scenario], Event]]] = {
    "cancel": lambda _: CancelRequested(at_ms=9),
    "pause": lambda _: PauseRequested(at_ms=9),
    "resume": lambda _: ResumeRequested(at_ms=9),
    "complete_well": lambda _: CompletionRequested(at_ms=9, success=True),
    "complete_badly": lambda _: CompletionRequested(at_ms=9, success=False),
    "time_out": lambda flow: TimerFired(
        at_ms=10**6, kind="dag", task="", due_ms=flow.state.timeout_due_ms or 1
    ),
}


# -- the ways that lead to a status ------------------------------------------------------


def reached(kind: str, status: TaskStatus) -> Scenario:
    """Return an execution that runs, and whose task X is in a status."""
    timeline = "timeoutInSeconds: 60"
    if status is TaskStatus.READY:
        timeline = "suspenseIntervalSeconds: 60"
    flow = Scenario(f"{HEAD}{AROUND}- {{name: X, {KINDS[kind]}, timeline: {{{timeline}}}}}\n")
    flow.submit({})
    if status is TaskStatus.NOT_STARTED:
        return flow
    if status is TaskStatus.SKIPPED:
        flow.degrade("X", current=True)
    flow.finish("first")
    _lead_on(flow, kind, status)
    if flow.task("X").status is not status:
        assert status is TaskStatus.STASHED or (
            status is TaskStatus.KEY_SUCCEED and kind in ("suspense", "choice")
        )
        Turn(flow.plan, flow.state, 9).set_status(flow.task("X"), status)
    return flow


def _lead_on(flow: Scenario, kind: str, status: TaskStatus) -> None:
    if kind == "poll" and flow.task("X").in_flight:
        flow.answer("X", http_status=202, poll_url="http://f/result")
    if status is TaskStatus.FAILED and kind == "sub-flow":
        _start_child(flow)
        flow.finish("X", succeeded=False, attempt=1, sub_flow=SubFlowNotice(number=1))
    elif status is TaskStatus.FAILED:
        flow.timeout("X")
    elif status is TaskStatus.KEY_SUCCEED and kind not in ("suspense", "choice"):
        _start_child(flow)
        flow.finish("X", key_succeeded=True)
    elif status is TaskStatus.SUCCEED and kind == "choice":
        flow.finish("X_0-Y")
    elif status is TaskStatus.SUCCEED and kind != "suspense":
        _start_child(flow)
        flow.finish("X")
    elif status is TaskStatus.SUCCEED:
        _set_ended(flow)


def _start_child(flow: Scenario) -> None:
    if flow.plan.by_name["X"].spec.model_dump()["pattern"] == "flow_sync":
        flow.answer("X", {"execution_id": "a:b_c_1"})


def _set_ended(flow: Scenario) -> None:
    """Have a suspense succeed whose condition never holds, so that no wake-up ends it."""
    turn = Turn(flow.plan, flow.state, flow.now_ms)
    turn.finish_task(flow.task("X"), TaskStatus.SUCCEED)


def outcome(flow: Scenario, event: Event) -> Entry | tuple[int, str]:
    """Hand an event to the machine, and tell what became of it."""
    before = codec.encode_state(flow.state)
    try:
        changed = machine.handle(flow.plan, flow.state, event).changed
    except ExecutionError as error:
        assert codec.encode_state(flow.state) == before
        return error.wire_code, str(error)
    assert changed or codec.encode_state(flow.state) == before
    return TAKE if changed else IGNORE


def expected(entry: Entry, flow: Scenario, **facts: str) -> Entry | tuple[int, str]:
    if not isinstance(entry, Refusal):
        return entry
    error = entry.error(execution=flow.state.execution_id, task="X", **facts)
    return entry.code, str(error)


# -- every entry --------------------------------------------------------------------------


@pytest.mark.parametrize("status", TaskStatus, ids=lambda status: status.name)
@pytest.mark.parametrize("event", TaskTransitions._fields)
@pytest.mark.parametrize("situation", SITUATIONS)
def test_an_event_about_a_task_meets_what_the_table_says(
    situation: str, event: str, status: TaskStatus
) -> None:
    kind, make = EVENTS[event]
    flow = reached(kind, status)
    if situation == "ended":
        flow.complete(success=False)
    elif situation == "cancelled":
        flow.cancel()
    assert flow.task("X").status is status
    entry = getattr(SITUATIONS[situation], event)[status]
    assert outcome(flow, make(flow.task("X"))) == expected(entry, flow)


@pytest.mark.parametrize("status", DagStatus, ids=lambda status: status.name)
@pytest.mark.parametrize("event", ExecutionTransitions._fields)
def test_an_event_about_an_execution_meets_what_the_table_says(
    event: str, status: DagStatus
) -> None:
    flow = dag_in(status)
    current = status.name
    wanted = "FAILED" if event == "complete_badly" else "SUCCEED"
    entry = getattr(EXECUTION_TRANSITIONS, event)[status]
    found = outcome(flow, DAG_EVENTS[event](flow))
    assert found == expected(entry, flow, current=current, wanted=wanted)


@pytest.mark.parametrize("status", DagStatus, ids=lambda status: status.name)
def test_a_redo_and_a_degrade_are_taken_in_every_status(status: DagStatus) -> None:
    degrade = DegradeRequested(at_ms=9, task="X", current=True, followings=False)
    assert outcome(dag_in(status), degrade) is TAKE
    assert outcome(dag_in(status), RedoRequested(at_ms=9)) is TAKE


def dag_in(status: DagStatus) -> Scenario:
    """Return an execution in a status; none is NOT_STARTED after its submission, so that is set."""
    text = f"{HEAD}- {{name: X, {KINDS['sub-flow']}}}\n"
    flow = Scenario(text)
    flow.submit({})
    if status is DagStatus.KEY_SUCCEED:
        _start_child(flow)
        flow.finish("X", key_succeeded=True)
    elif status in (DagStatus.SUCCEED, DagStatus.FAILED):
        flow.complete(success=status is DagStatus.SUCCEED)
    elif status is DagStatus.NOT_STARTED:
        flow.state.status = status
    assert flow.state.status is status
    return flow


# -- the tables themselves ------------------------------------------------------------------


def test_each_row_has_an_entry_for_each_status_and_each_event_is_tried() -> None:
    assert [len(row) for row in EXECUTION_TRANSITIONS] == [len(DagStatus)] * len(
        ExecutionTransitions._fields
    )
    for table in SITUATIONS.values():
        assert [len(row) for row in table] == [len(TaskStatus)] * len(TaskTransitions._fields)
    assert (set(EVENTS), set(DAG_EVENTS)) == (
        set(TaskTransitions._fields),
        set(ExecutionTransitions._fields),
    )


def test_the_page_shows_the_tables_as_they_are() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text), "run: python -m tests.transitions_page"
