"""What tasks keep of answers has a limit for each execution; an answer beyond it is a failure.

The journal has the failure and not the answer, so a replay comes to the same end whatever the
limit is by then.
"""

from typing import Any, Final

import pytest

from rillflow.core import machine
from rillflow.core.encoding import codec
from rillflow.core.events import (
    CallbackReceived,
    DispatchAnswered,
    Event,
    ExecutionSubmitted,
    RedoRequested,
)
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState
from rillflow.core.tasks.kept_outputs import OUTPUTS_MAX_BYTES, within_limit
from rillflow.definition import parse_definition
from rillflow.gateways.outbound.settings import HttpSettings
from rillflow.jsontypes import MOST_WEIGHT_OF_BYTE, encode_json, most_weight_of, weight_of
from rillflow.language.versions import CURRENT
from rillflow.settings import Settings
from tests.submissions import submission_event

FLOW: Final = """
workspace: demo
dagName: wide
type: flow
tasks:
- name: each
  category: foreach
  iterationMapping: {{collection: $.input.items, item: item}}
  inputMappings: [{{source: $.context.items, target: $.input.items}}]
  tasks:
  - name: work
    category: function
    pattern: {pattern}
    resourceName: http://functions.test/work
    tolerance: true
    failConditions: ["$.output[?(@.never == 1)]"]
"""
LIMIT: Final = 10_000
BODY: Final = encode_json({"text": "x" * 3_000})
MESSAGE: Final = f"content length: the outputs of the execution would exceed {LIMIT} bytes together"


class Run:
    """An execution whose owner lets outputs have so many bytes."""

    def __init__(self, pattern: str, items: int = 5, *, flow: str = FLOW) -> None:
        self.plan = Plan(parse_definition(flow.format(pattern=pattern)), "wide")
        submitted = submission_event(
            "demo:wide_c_00000000-0000-7000-8000-000000000000",
            "wide",
            at_ms=0,
            data=encode_json({"items": list(range(items))}),
            language=CURRENT,
        )
        self.events: list[Event] = [submitted]
        self.state, _ = machine.submit(self.plan, submitted)

    def take(self, event: Event) -> None:
        event = within_limit(self.plan, self.state, event, LIMIT)
        machine.handle(self.plan, self.state, event)
        self.events.append(event)

    def answer(self, item: int, body: bytes = BODY, **more: Any) -> None:
        task = f"each_{item}-work"
        attempt = self.state.tasks[task].attempt
        self.take(DispatchAnswered(at_ms=1, task=task, attempt=attempt, body=body, **more))

    def call_back(self, item: int, output: bytes = BODY) -> None:
        self.take(CallbackReceived(at_ms=1, task=f"each_{item}-work", output=output))

    def status(self, item: int) -> str:
        return self.state.tasks[f"each_{item}-work"].status.name

    def replayed(self) -> ExecutionState:
        first, *others = (codec.decode_event(codec.encode_event(each)) for each in self.events)
        assert isinstance(first, ExecutionSubmitted)
        state, _ = machine.submit(self.plan, first)
        for event in others:
            machine.handle(self.plan, state, event)
        return state


def test_the_setting_lets_several_of_the_largest_answers_be_kept() -> None:
    assert Settings().outputs_max_bytes == OUTPUTS_MAX_BYTES
    assert 4 * HttpSettings().max_response_bytes <= OUTPUTS_MAX_BYTES


@pytest.mark.parametrize("pattern", ["task_sync", "task_async"])
def test_an_answer_for_which_there_is_no_room_fails_its_attempt(pattern: str) -> None:
    run = Run(pattern)
    for item in range(5):
        if pattern == "task_sync":
            run.answer(item)
        else:
            run.answer(item, b"{}")
            run.call_back(item)
    assert [run.status(item) for item in range(5)] == ["SUCCEED"] * 3 + ["SKIPPED"] * 2
    invoke = run.state.tasks["each_4-work"].invoke
    assert (invoke.code, invoke.msg) == ("30507", MESSAGE)
    assert "x" * 3_000 not in str(invoke.output)
    assert run.state.status.name == "SUCCEED"


@pytest.mark.parametrize("pattern", ["task_sync", "task_async"])
def test_the_journal_has_the_failure_and_a_replay_comes_to_the_same_end(pattern: str) -> None:
    run = Run(pattern)
    for item in range(5):
        run.answer(item) if pattern == "task_sync" else run.call_back(item)
        if pattern != "task_sync":
            run.answer(item, b"{}")
    records = [codec.encode_event(event) for event in run.events]
    assert sum(map(len, records)) < LIMIT + 3_000
    assert codec.encode_state(run.replayed()) == codec.encode_state(run.state)


def test_an_output_that_takes_the_place_of_another_one_counts_alone() -> None:
    run = Run("task_async", items=1)
    for _ in range(10):
        run.answer(0, BODY)
        run.take(CallbackReceived(at_ms=2, task="each_0-work", output=BODY, key_succeeded=True))
    assert run.status(0) == "KEY_SUCCEED"
    assert run.state.outputs_bytes == len(BODY)


def test_answers_of_attempts_that_are_retried_count_together() -> None:
    retried = FLOW.replace("tolerance: true", "retry: {{maxRetryTimes: 9}}")
    run = Run("task_sync", items=1, flow=retried)
    for attempt in range(1, 4):
        run.answer(0, encode_json({"never": 1, "text": "x" * 3_000}))
        assert run.state.tasks["each_0-work"].attempt > attempt, "it is retried"
    assert run.state.outputs_bytes > 9_000
    run.answer(0, encode_json({"never": 1, "text": "x" * 3_000}))
    assert run.state.tasks["each_0-work"].invoke.msg == MESSAGE
    assert run.state.outputs_bytes < LIMIT
    run.take(RedoRequested(at_ms=3, tasks=("each",)))
    assert run.state.outputs_bytes == 0
    assert codec.encode_state(run.replayed()) == codec.encode_state(run.state)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>" + b"x" * 1_000_000,
        b'"' + b"\\n" * 500_000,
        b"1" + b" " * 1_000_000 + b"x",
        b" " * 1_000_000 + b"x" * 70_000,
        b"[" * 500_000 + b"]" * 500_000,
        b"\xff" * 1_000_000,
    ],
)
@pytest.mark.parametrize("error", [None, "handle fails: 500"])
def test_of_a_long_answer_that_is_no_json_only_the_beginning_is_stored(
    body: bytes, error: str | None
) -> None:
    whole, cut = Run("task_sync", items=1), Run("task_sync", items=1)
    event = DispatchAnswered(at_ms=1, task="each_0-work", attempt=1, body=body, error=error)
    machine.handle(whole.plan, whole.state, event)
    kept = within_limit(cut.plan, cut.state, event, OUTPUTS_MAX_BYTES)
    assert isinstance(kept, DispatchAnswered)
    assert len(kept.body or b"") < 20_000
    machine.handle(cut.plan, cut.state, kept)
    assert codec.encode_state(cut.state) == codec.encode_state(whole.state)


def test_a_redo_gives_the_room_of_what_it_drops_back() -> None:
    run = Run("task_sync")
    for item in range(5):
        run.answer(item)
    assert run.state.outputs_bytes > LIMIT - len(BODY)
    run.take(RedoRequested(at_ms=3, tasks=("each",)))
    assert run.state.outputs_bytes == 0
    run.answer(0)
    assert run.status(0) == "SUCCEED"
    assert run.state.outputs_bytes == len(BODY)


def test_a_call_that_has_failed_keeps_its_error_where_its_answer_is_too_much() -> None:
    run = Run("task_sync")
    for item in range(3):
        run.answer(item, error="handle fails: 500")
    assert run.state.outputs_bytes == 3 * len(BODY)
    run.answer(3, error="handle fails: 500")
    invoke = run.state.tasks["each_3-work"].invoke
    assert (invoke.msg, invoke.output) == ("handle fails: 500", None)


def test_many_small_values_weigh_more_than_their_text() -> None:
    lists = b'{"x":[' + b",".join([b"[]"] * 3_000) + b"]}"
    assert len(lists) < LIMIT < 2.5 * len(lists)
    run = Run("task_sync")
    run.answer(0, lists)
    assert run.status(0) == "SKIPPED"
    assert run.state.tasks["each_0-work"].invoke.msg == MESSAGE
    text = encode_json({"text": "[]," * 2_000})
    run.answer(1, text)
    assert run.status(1) == "SUCCEED"
    assert run.state.outputs_bytes < LIMIT


@pytest.mark.parametrize(
    "text",
    [
        encode_json([{"id": n, "name": f"customer {n}", "price": n / 4} for n in range(5_000)]),
        encode_json({"text": "[]," * 5_000}),
        b"[[],[]]",
    ],
)
def test_ordinary_and_short_texts_weigh_their_length(text: bytes) -> None:
    assert weight_of(text) == len(text)


@pytest.mark.parametrize("value", [b"[]", b"{}", b"[[[]]]", b'{"":{}}'])
def test_no_text_weighs_less_than_its_length_or_more_than_the_most(value: bytes) -> None:
    text = b"[" + b",".join([value] * 4_000) + b"]"
    assert 2 * len(text) < weight_of(text) <= MOST_WEIGHT_OF_BYTE * len(text)
    assert weight_of(text) <= most_weight_of(text)
