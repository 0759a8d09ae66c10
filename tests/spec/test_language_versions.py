"""An execution keeps the version of the language that it was submitted under.

So its journal gives the same execution after an upgrade, also where a rule has changed
since: a replay can meet no event that the new rules would refuse.
"""

from typing import Final

import msgspec
import pytest

from rillflow.core import machine
from rillflow.core.encoding.codec import decode_event, decode_state, encode_event, encode_state
from rillflow.core.events import DispatchAnswered, Event, ExecutionSubmitted
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState
from rillflow.definition import parse_definition
from rillflow.jsontypes import JsonObject, decode_json, encode_json
from rillflow.language.versions import CURRENT, FIRST
from rillflow.testing.replay import replay
from tests.spec.notation import Definition, Json, each, flow, fn, pass_
from tests.submissions import submission_event

ROUNDED: Final = [{"source": "2.5", "transform": "math.round(source)", "target": "$.context.n"}]
UNREADABLE: Final = [{"source": "$.context[x]", "target": "$.input.a", "tolerance": False}]
RAISING: Final = [{"transform": "1 + nil", "target": "$.context.x", "tolerance": False}]
NULLS: Final = [{"source": '{"b": null}', "target": "$.input.a"}]


def _submitted(plan: Plan, language: int | None) -> tuple[ExecutionState, list[bytes]]:
    """Submit; without a version, as releases did before there was one."""
    event = submission_event(
        "demo:scenario_c_1", at_ms=0, language=FIRST if language is None else language
    )
    state, _ = machine.submit(plan, event)
    record = encode_event(event)
    return state, [record if language is not None else _without_version(record)]


def _without_version(record: bytes) -> bytes:
    """End a record before the version, as it ends in a journal from before there was one."""
    tag_and_fields = msgspec.msgpack.decode(record[1:])
    place = 1 + ExecutionSubmitted.__struct_fields__.index("language")
    return record[:1] + msgspec.msgpack.encode(tag_and_fields[:place])


def _plan(*tasks: Definition, **rest: Json) -> Plan:
    return Plan(parse_definition(encode_json(flow(*tasks, **rest))), "")


def _take(plan: Plan, state: ExecutionState, journal: list[bytes], event: Event) -> None:
    machine.handle(plan, state, event)
    journal.append(encode_event(event))


@pytest.mark.parametrize(("language", "number"), [(None, 3.0), (FIRST, 3.0), (CURRENT, 3)])
def test_transforms_give_what_the_version_says(language: int | None, number: float) -> None:
    plan = _plan(pass_("A", outs=ROUNDED))
    state, journal = _submitted(plan, language)
    assert encode_json(state.context["n"]) == encode_json(number)
    assert replay(plan, journal).context == state.context


@pytest.mark.parametrize(("language", "status"), [(None, "FAILED"), (CURRENT, "SUCCEED")])
def test_sources_that_cannot_be_read_fail_in_the_first_version(
    language: int | None, status: str
) -> None:
    plan = _plan(pass_("A", ins=UNREADABLE))
    state, journal = _submitted(plan, language)
    assert state.status.name == status
    assert replay(plan, journal) == state


@pytest.mark.parametrize(("language", "status"), [(None, "FAILED"), (CURRENT, "SUCCEED")])
def test_collections_that_cannot_be_read_fail_in_the_first_version(
    language: int | None, status: str
) -> None:
    plan = _plan(each("A", "list[?(", pass_("B")))
    state, journal = _submitted(plan, language)
    assert state.status.name == status
    assert replay(plan, journal) == state


@pytest.mark.parametrize(("language", "status"), [(None, "FAILED"), (CURRENT, "RUNNING")])
def test_an_error_at_an_answer_is_retried_from_the_second_version_on(
    language: int | None, status: str
) -> None:
    plan = _plan(fn("A", "sync", outs=RAISING, retry={"maxRetryTimes": 1}))
    state, journal = _submitted(plan, language)
    _take(plan, state, journal, DispatchAnswered(at_ms=1, task="A", attempt=1, body=b'{"a":1}'))
    assert state.tasks["A"].status.name == status
    assert replay(plan, journal) == state
    assert replay(plan, journal[1:], encode_state(replay(plan, journal[:1]))) == state


@pytest.mark.parametrize(("language", "status"), [(2, "RUNNING"), (CURRENT, "READY")])
def test_the_eleventh_retry_waits_from_the_third_version_on(language: int, status: str) -> None:
    plan = _plan(fn("A", "sync", retry={"maxRetryTimes": 20}))
    state, journal = _submitted(plan, language)
    for attempt in range(1, 12):
        answer = DispatchAnswered(at_ms=1, task="A", attempt=attempt, error="unreachable")
        _take(plan, state, journal, answer)
    assert state.tasks["A"].status.name == status
    assert replay(plan, journal) == state


@pytest.mark.parametrize(("language", "body"), [(None, {"a": {}}), (CURRENT, {"a": {"b": None}})])
def test_the_notice_of_the_end_keeps_nulls_from_the_second_version_on(
    language: int | None, body: JsonObject
) -> None:
    plan = _plan(pass_("A"), callback={"resourceName": "http://x/", "inputMappings": NULLS})
    state, journal = _submitted(plan, language)
    assert decode_json(state.completion or b"") == {**body, "dag_status": "succeed"}
    assert replay(plan, journal) == state


def test_a_record_or_snapshot_without_a_version_is_of_the_first() -> None:
    plan = _plan(fn("A"))
    state, (record,) = _submitted(plan, None)
    event = decode_event(record)
    assert isinstance(event, ExecutionSubmitted)
    assert event.language == state.language == FIRST
    assert b"language" not in encode_state(state)
    assert decode_state(encode_state(state)).language == FIRST
    newer, _ = _submitted(plan, CURRENT)
    assert decode_state(encode_state(newer)).language == CURRENT
