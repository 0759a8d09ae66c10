"""Events and states are written as bytes and read again as they were."""

from typing import get_args

import pytest

from rillflow.core.encoding.codec import (
    APART_FORMAT,
    FORMAT,
    decode_event,
    decode_state,
    encode_event,
    encode_state,
    snapshot_text,
)
from rillflow.core.events import CallbackReceived, CancelRequested, Event, ParentLink
from rillflow.core.machine import outstanding
from rillflow.errors import StoreError
from rillflow.jsontypes import decode_json
from rillflow.testing import Scenario
from rillflow.testing.replay import JournalReplay, check_outstanding, replay
from tests.spec.notation import flow, fn, pass_, scenario, susp, within


def test_every_kind_of_event_survives_writing_and_reading() -> None:
    link = ParentLink(execution_id="big", task="T", attempt=1, pattern="flow_sync")
    run = Scenario(
        flow(
            fn("A", timeline=within(1), retry={"maxRetryTimes": 3}),
            susp("S", "$.input.x", ins="x", outs="x"),
            fn("B"),
        ),
        parent=link,
        check=True,
    )
    run.submit({"n": 10**30})
    run.finish("A", {"x": 1}, early=True, ext={"e": 1}, code="c", msg="m", attempt=1)
    run.redo("A", data={"y": 1})
    run.progress("A", 0.5, "half")
    run.wake("S", {"x": 1})
    run.degrade("B", current=True)
    run.pause()
    run.resume()
    run.answer("A", [1], error="e", retry_after_s=0.5)
    run.advance(1)
    run.timeout("A")
    run.cancel()
    run.deliver("parent")
    run.redo()
    run.complete(success=True)
    assert {type(event) for event in run.journal} == set(get_args(Event))
    for event in run.journal:
        assert decode_event(encode_event(event)) == event
    assert run.state.context["n"] == 10**30


def test_a_snapshot_is_the_whole_state() -> None:
    run = scenario(fn("A"))
    run.submit({"n": 10**30})
    run.finish("A", {"x": 1}, early=True)
    state = decode_state(encode_state(run.state))
    assert state == run.state
    assert list(outstanding(run.plan, state)) == list(outstanding(run.plan, run.state))


def test_the_text_of_a_snapshot_is_json() -> None:
    run = scenario(fn("A"))
    run.submit({"n": 10**30})
    text = decode_json(snapshot_text(encode_state(run.state)))
    assert isinstance(text, dict)
    assert text["context"] == run.state.context


@pytest.mark.parametrize(
    ("data", "found"), [(b"", "nothing"), (bytes([APART_FORMAT + 1]) + b"x", str(APART_FORMAT + 1))]
)
def test_another_format_is_refused(data: bytes, found: str) -> None:
    for read in (decode_event, decode_state, snapshot_text):
        with pytest.raises(StoreError, match=f"journal format {found} is not {FORMAT};"):
            read(data)


def test_damaged_bytes_are_refused() -> None:
    with pytest.raises(StoreError, match="record cannot be read"):
        decode_event(bytes([FORMAT]) + b"x")
    with pytest.raises(StoreError, match="snapshot cannot be read"):
        decode_state(bytes([FORMAT]) + b"x")


def test_a_record_with_fields_of_a_newer_release_left_out_is_read() -> None:
    event = CallbackReceived(at_ms=1, task="A")
    assert decode_event(encode_event(event)) == event
    assert decode_event(encode_event(CancelRequested(at_ms=1))) == CancelRequested(at_ms=1)


# -- the checks that scenarios make --------------------------------------------------------


def test_a_journal_without_a_submission_is_no_journal() -> None:
    run = scenario(pass_("A"))
    with pytest.raises(ValueError, match="begins with a submission"):
        replay(run.plan, [encode_event(CancelRequested(at_ms=0))])


def test_a_state_that_its_journal_does_not_give_is_found() -> None:
    run = scenario(fn("A"))
    run.submit()
    run.state.context["smuggled"] = 1
    with pytest.raises(AssertionError, match="another execution"):
        JournalReplay(run.plan).check(run.state, run.journal)


def test_a_scenario_finds_it_at_the_next_step() -> None:
    run = scenario(fn("A"))
    run.submit()
    run.state.context["smuggled"] = 1
    with pytest.raises(AssertionError, match="another execution"):
        run.pause()


def test_a_command_that_was_never_given_is_found() -> None:
    run = scenario(fn("A"))
    run.submit()
    with pytest.raises(AssertionError, match="never given"):
        check_outstanding(run.plan, run.state, [])


def test_a_scenario_has_no_state_before_its_submission() -> None:
    with pytest.raises(LookupError, match="nothing was submitted"):
        _ = Scenario(flow(pass_("A"))).status


def test_a_scenario_knows_when_there_is_no_time_out() -> None:
    run = scenario(fn("A"))
    run.submit()
    with pytest.raises(LookupError, match="A has no time-out"):
        run.timeout("A")
    with pytest.raises(LookupError, match="the execution has no time-out"):
        run.timeout()


def test_a_scenario_is_written_in_yaml_as_well() -> None:
    run = Scenario("""
workspace: demo
dagName: double
type: flow
tasks:
  - name: Double
    category: function
    pattern: task_sync
    resourceName: http://gateway/double
    input: {n: $.context.n}
output: {doubled: $.Double.n}
""")
    assert run.submit({"n": 2}) == [("Double", {"n": 2})]
    run.answer("Double", '{"n": 4}')
    assert run.context["doubled"] == 4
