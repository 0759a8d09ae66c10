"""A replay notes of each event what it changed, and of each task how long it did what."""

from typing import Any, get_args

import pytest

from rillflow.core.encoding import codec
from rillflow.core.events import Event, ExecutionSubmitted
from rillflow.core.inspection.history.journal import KINDS, data_of
from rillflow.core.inspection.history.recording import MOST_SEGMENTS, Recorder
from rillflow.core.inspection.history.timelines import timeline
from rillflow.errors import StoreError
from rillflow.jsontypes import encode_json
from rillflow.testing import Scenario
from tests.spec.notation import at_most, each, fn, on_input, pass_, scenario, susp, sw


def recorded(run: Scenario) -> tuple[Recorder, list[Any]]:
    """Replay the journal of a scenario, which must come to the scenario's state."""
    recorder = Recorder(run.plan)
    rows = [recorder.take(codec.encode_event(event)) for event in run.journal]
    assert codec.encode_state(recorder.state) == codec.encode_state(run.state)
    encode_json(rows)
    return recorder, rows


def segments(run: Scenario, **asked: Any) -> dict[str, list[tuple[str, int, int | None]]]:
    recorder, _ = recorded(run)
    shown: Any = timeline(
        recorder,
        recorder.state,
        **{"route": "", "offset": 0, "limit": 99, "until_ms": None, **asked},
    )
    return {
        row["name"]: [(each["kind"], each["from_ms"], each["to_ms"]) for each in row["segments"]]
        for row in shown["rows"]
    }


def retried() -> Scenario:
    run = scenario(
        fn("A", retry={"maxRetryTimes": 1, "intervalInSeconds": 5, "multiplier": 1}, to="B"),
        pass_("B"),
    )
    run.submit()
    run.advance(1)
    run.answer("A", error="http status 503")
    run.advance(5)
    run.advance(1)
    run.answer("A", {})
    run.advance(2)
    run.finish("A", {"a": 1})
    return run


def test_attempts_are_segments_of_calls_waits_and_delays() -> None:
    assert segments(retried())["A"] == [
        ("calling", 0, 1_000),
        ("delay", 1_000, 6_000),
        ("calling", 6_000, 7_000),
        ("callback", 7_000, 9_000),
    ]


def test_a_task_that_takes_no_time_has_a_segment_of_no_length() -> None:
    run = scenario(
        sw("S", (on_input("a==1"), "A"), ("default", "C"), ins="a"),
        pass_("A", to="B"),
        fn("B", "sync", to="D"),
        pass_("C"),
        pass_("D"),
    )
    run.advance(1)
    run.submit({"a": 1})
    run.advance(2)
    run.answer("B", {})
    assert segments(run) == {
        "S": [("steps", 1_000, 1_000)],
        "A": [("steps", 1_000, 1_000)],
        "B": [("calling", 1_000, 3_000)],
        "D": [("steps", 3_000, 3_000)],
    }
    recorder, _ = recorded(run)
    shown: Any = timeline(recorder, recorder.state, route="", offset=0, limit=9, until_ms=None)
    assert [row["name"] for row in shown["rows"]] == ["S", "A", "B", "D"]
    assert all(row["critical"] for row in shown["rows"])


def test_the_segment_of_a_failed_attempt_has_its_error() -> None:
    recorder, _ = recorded(retried())
    errors = [segment.error for segment in recorder.segments["A"].all()]
    assert errors == ["http status 503", None, None, None]


def test_a_timeline_as_it_was_has_open_segments_and_nothing_later() -> None:
    assert segments(retried(), until_ms=3_000) == {
        "A": [("calling", 0, 1_000), ("delay", 1_000, None)]
    }


def test_the_critical_chain_leads_back_from_what_ended_last() -> None:
    run = scenario(
        fn("A", "sync", to="C"), fn("B", "sync", to="C"), fn("C", "sync"), fn("D", "sync")
    )
    run.submit()
    run.advance(1)
    run.answer("A", {})
    run.advance(1)
    run.answer("B", {})
    run.answer("D", {})
    run.advance(1)
    run.answer("C", {})
    recorder, _ = recorded(run)
    shown: Any = timeline(recorder, recorder.state, route="", offset=0, limit=9, until_ms=None)
    assert {row["name"] for row in shown["rows"] if row["critical"]} == {"B", "C"}
    first: Any = timeline(recorder, recorder.state, route="", offset=0, limit=2, until_ms=None)
    assert (len(first["rows"]), first["next"], first["total"]) == (2, "2", 4)


def test_a_pause_holds_what_is_ready() -> None:
    run = scenario(fn("A", to="B"), fn("B"))
    run.submit()
    run.pause()
    run.advance(1)
    run.finish("A", {})
    run.advance(2)
    run.resume()
    assert segments(run)["B"] == [("held", 1_000, 3_000), ("calling", 3_000, None)]


def test_each_event_tells_the_tasks_that_it_changed_and_the_keys_that_it_wrote() -> None:
    run = scenario(fn("A", "sync", outs="a", to="B"), susp("B", on_input("go==true"), ins="go"))
    run.submit()
    run.answer("A", {"a": 1})
    _, rows = recorded(run)
    effects = [row["effect"] for row in rows]
    assert effects[0]["changed"] == [{"task": "A", "from": None, "to": "running"}]
    assert effects[1]["changed"] == [
        {"task": "A", "from": "running", "to": "succeeded"},
        {"task": "B", "from": "not_started", "to": "waiting"},
    ]
    assert effects[1]["context"] == ["a"]
    assert [row["kind"] for row in rows] == ["submitted", "dispatch_answered"]


@pytest.mark.parametrize("limit", [None, at_most(2)])
def test_no_change_of_a_status_is_missed(limit: Any) -> None:
    rest = {} if limit is None else {"synchronization": limit}
    run = scenario(
        fn("A", outs="list", to="E"),
        each(
            "E",
            "list",
            fn("F", to="G"),
            susp("G", on_input("go==true"), ins="go"),
            ins="list",
            **rest,
        ),
        pass_("Z"),
    )
    run.submit()
    run.finish("A", {"list": [1, 2, 3]})
    for index in range(2):
        run.finish(f"E_{index}-F", {})
        run.wake(f"E_{index}-G", {"go": True})
    run.pause()
    run.resume()
    run.cancel()
    run.redo()
    recorder = Recorder(run.plan)
    seen: dict[str, str] = {}
    for event in run.journal:
        row: Any = recorder.take(codec.encode_event(event))
        for change in row["effect"]["changed"]:
            assert seen.get(change["task"]) in {change["from"], None, "not_started"}
            seen[change["task"]] = change["to"]
        fresh = Recorder(run.plan, recorder.state)
        now = {name: str(status) for name, status in fresh._known.items()}
        assert {name: seen.get(name, "not_started") for name in now} == now


def test_a_redo_that_drops_instances_is_noted() -> None:
    run = scenario(each("E", "list", fn("F"), ins="list"))
    run.submit({"list": [1, 2]})
    run.cancel()
    run.redo()
    _, rows = recorded(run)
    assert rows[-1]["kind"] == "redo_requested"
    assert {"task": "E", "from": "cancelled", "to": "waiting"} in rows[-1]["effect"]["changed"]


def test_of_many_segments_the_first_and_the_last_are_kept() -> None:
    run = Scenario(
        {
            "workspace": "demo",
            "dagName": "scenario",
            "type": "flow",
            "tasks": [fn("A", "sync", retry={"maxRetryTimes": 999, "intervalInSeconds": 1})],
        }
    )
    run.submit()
    for _ in range(150):
        run.answer("A", error="no")
        run.advance(1)
    recorder, _ = recorded(run)
    kept = list(recorder.segments["A"].all())
    assert len(kept) == 2 * MOST_SEGMENTS
    assert recorder.segments["A"].left_out == 301 - 2 * MOST_SEGMENTS
    assert kept[-1].to_ms is None


def test_a_recording_can_begin_with_a_state() -> None:
    run = retried()
    recorder = Recorder(run.plan)
    for event in run.journal[:3]:
        recorder.take(codec.encode_event(event))
    packed = codec.pack_state(recorder.state)
    assert packed is not None
    resumed = Recorder(run.plan, codec.unpack_state(packed))
    rows = [
        each_recorder.take(codec.encode_event(event))
        for event in run.journal[3:]
        for each_recorder in (resumed, recorder)
    ]
    assert rows[::2] == rows[1::2]


def test_a_journal_begins_with_a_submission() -> None:
    run = retried()
    with pytest.raises(StoreError, match="begins with no submission"):
        Recorder(run.plan).take(codec.encode_event(run.journal[1]))
    with pytest.raises(StoreError, match="empty"):
        assert Recorder(run.plan).state


def test_the_data_of_an_event_are_masked_and_cut() -> None:
    event = ExecutionSubmitted(
        at_ms=1,
        execution_id="demo:scenario_c_1",
        definition_id="d",
        data=encode_json({"password": "hunter2", "film": "x" * 1_000_000}),
        host="h",
        id_key=b"very secret",
        callback=encode_json({"resourceName": "http://u:hunter2@h/x"}),
    )
    shown: Any = data_of(event)
    text = encode_json(shown)
    assert b"hunter2" not in text
    assert b"secret" not in text
    assert len(text) < 128 * 1024
    assert shown["data"]["password"] == "***"


def test_every_kind_of_event_has_a_name() -> None:
    assert set(KINDS) == set(get_args(Event))
    assert len(set(KINDS.values())) == len(KINDS)
