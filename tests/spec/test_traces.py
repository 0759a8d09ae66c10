"""A trace has the spans of an execution, by the times of its journal, with ids that are derived."""

from typing import Any

import pytest
from msgspec.structs import replace

from rillflow.core import machine
from rillflow.core.encoding import codec
from rillflow.core.inspection.history.traces import MOST_SPANS, MOST_TASKS, Trace, trace
from rillflow.core.state import ExecutionState
from rillflow.telemetry.spans import Span
from rillflow.telemetry.trace_context import (
    TraceParent,
    TraceStart,
    attempt_id,
    parse_traceparent,
    root_id,
    task_id,
    trace_id_of,
)
from rillflow.testing import Scenario
from tests.spec.notation import each, flow, fn, on_input, pass_, scenario, susp
from tests.spec.test_inspection import seen

RETRY = {"maxRetryTimes": 1, "intervalInSeconds": 3, "multiplier": 1}
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CHILD = "demo:child_c_00000000-0000-7000-8000-000000000001"


def spans_of(run: Scenario) -> list[Span]:
    return spans(run, run.state)


def spans(run: Scenario, state: ExecutionState) -> list[Span]:
    return list(Trace(run.plan, state).spans())


def decoded(event: Any, trace: TraceStart | TraceParent | None = None) -> Any:
    """Return an event as it comes from the journal, with a trace in it."""
    traced = event if trace is None else replace(event, trace=trace)
    return codec.decode_event(codec.encode_event(traced))


def times(run: Scenario) -> list[tuple[str, int, int | None]]:
    return [(span.name, span.start_ms, span.end_ms) for span in spans_of(run)]


def named(run: Scenario, name: str) -> Span:
    [found] = [span for span in spans_of(run) if span.name == name]
    return found


def retried() -> Scenario:
    run = scenario(fn("A", retry=RETRY), pass_("B"))
    run.submit()
    run.now_ms += 500
    run.answer("A", error="http status 503")
    run.advance(3)
    run.now_ms += 200
    run.answer("A", {"ok": 1})
    run.now_ms += 1_000
    run.finish("A", {"done": 1})
    return run


def test_tasks_attempts_and_waits_have_the_times_of_the_journal() -> None:
    assert times(retried()) == [
        ("demo:scenario", 0, 4_700),
        ("A", 0, 4_700),
        ("A attempt 1", 0, 500),
        ("wait: retry", 500, 3_500),
        ("A attempt 2", 3_500, 4_700),
        ("wait: callback", 3_700, 4_700),
        ("B", 0, 0),
    ]


def test_what_is_replayed_from_the_journal_has_the_same_spans() -> None:
    run = retried()
    sender = parse_traceparent(CALLER)
    start = TraceStart("a" * 32, "b" * 16, link=sender)
    first, *rest = [decoded(event) for event in run.journal]
    state, _ = machine.submit(run.plan, decoded(first, start))
    for event in rest:
        is_callback = event.task == "A" and event is rest[-1]
        machine.handle(run.plan, state, decoded(event, sender) if is_callback else event)
        kept = codec.unpack_state(codec.pack_state(state) or b"")
        assert spans(run, kept) == spans(run, state)
        assert kept.trace == start
        state = kept
    found = {span.span_id: span for span in spans(run, state)}
    assert found.keys() == {span.span_id for span in spans_of(run)}
    assert found[attempt_id(run.state.execution_id, "A", 2)].links == (sender,)


def test_spans_lie_inside_of_each_other() -> None:
    run = scenario(each("L", "list", fn("in"), ins="list"))
    run.submit({"list": [1, 2]})
    execution, loop, *_ = spans_of(run)
    assert execution.parent_id == ""
    assert loop.parent_id == execution.span_id == root_id(run.state.execution_id, 1)
    inner = [span for span in spans_of(run) if span.task.startswith("L_1-in")]
    assert [span.kind for span in inner] == ["task", "attempt"]
    assert inner[0].parent_id == loop.span_id == task_id(run.state.execution_id, "L", 1)
    assert inner[1].parent_id == inner[0].span_id
    assert inner[1].span_id == attempt_id(run.state.execution_id, "L_1-in", 1)


def test_what_still_lasts_has_no_end() -> None:
    run = scenario(susp("S", on_input("go==true"), ins="go"), fn("A", retry=RETRY))
    run.submit()
    run.now_ms += 100
    run.answer("A", error="http status 503")
    assert times(run)[1:] == [
        ("S", 0, None),
        ("wait: wake-up", 0, None),
        ("A", 0, None),
        ("A attempt 1", 0, 100),
        ("wait: retry", 100, None),
    ]
    assert named(run, "wait: wake-up").status == "waiting"


def test_what_an_end_interrupts_ends_with_it() -> None:
    run = scenario(fn("A"))
    run.submit()
    run.now_ms += 100
    run.cancel()
    assert times(run) == [("demo:scenario", 0, 100), ("A", 0, 100), ("A attempt 1", 0, 100)]
    assert [span.status for span in spans_of(run)] == ["cancelled"] * 3


def test_a_delay_before_the_call_is_a_wait() -> None:
    run = scenario(fn("A", "sync", timeline={"suspenseIntervalSeconds": 5}))
    run.submit()
    run.advance(5)
    run.now_ms += 10
    run.answer("A", {"ok": 1})
    assert times(run)[2:] == [("wait: delay", 0, 5_000), ("A attempt 1", 5_000, 5_010)]


def test_a_redo_begins_a_round_of_its_own_with_a_link_to_the_one_before() -> None:
    run = Scenario(flow(fn("A", "sync"), fn("B", "sync")))
    run.submit()
    run.state.trace = TraceStart("a" * 32, "b" * 16)
    run.answer("A", {"ok": 1})
    run.now_ms += 50
    run.answer("B", error="http status 400")
    first = spans_of(run)
    run.now_ms += 1_000
    run.redo(failed_only=True)
    run.answer("B", {"ok": 1})
    second = spans_of(run)
    assert [span.name for span in second] == ["demo:scenario", "B", "B attempt 2"]
    assert (first[0].parent_id, first[0].links) == ("b" * 16, ())
    assert second[0].parent_id == ""
    assert second[0].links == (TraceParent("a" * 32, first[0].span_id, is_sampled=True),)
    assert not {span.span_id for span in first} & {span.span_id for span in second}


def test_a_sub_flow_is_linked_with_the_attempt_that_has_started_it() -> None:
    run = Scenario(flow(fn("A", "flow_sync")))
    run.submit()
    run.state.trace = TraceStart("a" * 32)
    run.answer("A", {"execution_id": CHILD})
    wait = named(run, "wait: sub-flow")
    assert wait.links == (TraceParent(trace_id_of(CHILD), root_id(CHILD, 1), is_sampled=True),)
    attempt = named(run, "A attempt 1")
    child = Scenario(flow(pass_("P")), execution_id=CHILD)
    child.submit()
    link = TraceParent("a" * 32, attempt.span_id, is_sampled=True)
    child.state.trace = TraceStart(trace_id_of(CHILD), link=link)
    assert spans_of(child)[0].links == (link,)


def test_a_callback_is_linked_with_the_span_that_has_sent_it() -> None:
    run = Scenario(flow(fn("A")))
    run.submit()
    run.answer("A", {"ok": 1})
    run.finish("A", {"done": 1})
    state, _ = machine.submit(run.plan, decoded(run.journal[0]))
    machine.handle(run.plan, state, run.journal[1])
    sender = parse_traceparent(CALLER)
    machine.handle(run.plan, state, decoded(run.journal[2], sender))
    [attempt] = [span for span in spans(run, state) if span.kind == "attempt"]
    assert attempt.links == (sender,)


def test_facts_hold_no_address_message_or_value() -> None:
    secret = "s3cr3t"
    address = f"https://user:{secret}@host.example/{secret}?key={secret}"
    run = Scenario(
        flow(
            {
                "name": "A",
                "category": "function",
                "pattern": "task_sync",
                "resourceName": address,
                "inputMappings": [{"source": "$.context.k", "target": "$.input.k"}],
            }
        )
    )
    run.submit({"k": secret})
    run.answer("A", {"code": f"<{secret}>", "msg": secret, "result_type": "FAILED"})
    spans = spans_of(run)
    assert [span.status for span in spans] == ["failed"] * 3
    assert not [span for span in spans if secret in repr((span.name, dict(span.facts)))]
    assert spans[2].facts["server.address"] == "host.example"
    assert spans[2].facts["error.type"] == "failed"


@pytest.mark.parametrize(
    "text",
    [
        *("", "00", "x" * 55, CALLER.upper(), CALLER[:-1], CALLER + "0", CALLER + "-x"),
        CALLER.replace("00-", "ff-", 1),
        "00-" + "0" * 32 + CALLER[35:],
        CALLER[:36] + "0" * 16 + "-01",
        CALLER + "\n",
        "01" + CALLER[2:] + "-" + "x" * 300,
    ],
)
def test_a_header_that_is_none_is_ignored(text: str) -> None:
    assert parse_traceparent(text) is None


def test_a_header_says_trace_span_and_whether_it_is_sampled() -> None:
    found = parse_traceparent(CALLER)
    assert found == TraceParent(
        "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", is_sampled=True
    )
    assert str(found) == CALLER
    unsampled = parse_traceparent(CALLER[:-1] + "0")
    assert (unsampled and unsampled.is_sampled, str(unsampled)) == (False, CALLER[:-1] + "0")
    later = parse_traceparent("01" + CALLER[2:-2] + "03-more")
    assert later is not None
    assert str(later) == CALLER


def test_a_wide_execution_has_a_bounded_trace_and_counts_the_rest() -> None:
    run = Scenario(flow(each("L", "list", pass_("in"), ins="list")))
    run.submit({"list": list(range(MOST_TASKS + 500))})
    found: Any = trace(run.plan, run.state, run.now_ms)
    assert found["tasks_left_out"] == 501
    assert len(found["spans"]) == MOST_TASKS + 1 <= MOST_SPANS
    assert found["spans"][0]["facts"]["rillflow.tasks_left_out"] == 501


def test_the_view_says_what_failed_to_who_may_see_the_execution() -> None:
    run = scenario(fn("A", "sync"))
    run.submit()
    run.answer("A", error="http status 400")
    shown = seen(run, "trace")
    assert [each["error"] for each in shown["spans"]] == ["http status 400"] * 3
    assert (shown["round"], shown["trace_id"], shown["tasks_left_out"]) == (1, None, 0)


def test_calls_carry_the_span_of_their_attempt() -> None:
    run = Scenario(flow(fn("A", retry=RETRY)))
    run.submit()
    run.state.trace = TraceStart("a" * 32, is_sampled=False)
    run.answer("A", error="http status 503")
    run.advance(3)
    span_id = attempt_id(run.state.execution_id, "A", 2)
    [command] = [each for each in run.commands if getattr(each, "attempt", 0) == 2]
    assert getattr(command, "traceparent", "") == f"00-{'a' * 32}-{span_id}-00"
