"""Limits, and when callbacks are overdue, are settings; an execution keeps what it began with."""

from typing import Any, Final

import msgspec
import pytest

from rillflow.core import machine
from rillflow.core.encoding import codec
from rillflow.core.events import (
    CONTEXT_MAX_BYTES,
    DESCENDANTS_MAX,
    FOREACH_MAX_ITEMS,
    ExecutionSubmitted,
)
from rillflow.core.plan import Plan
from rillflow.definition import parse_definition
from rillflow.errors import ExecutionError
from rillflow.ids import ID_KEY_BYTES
from rillflow.jsontypes import encode_json
from rillflow.ports.executions import Call, Reply, Submission
from rillflow.ports.storage.store import StoredExecution
from rillflow.runtime.activation.replay import replay
from rillflow.runtime.commands.subflows import inherited_from
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.submission.intake import Options, Submissions
from rillflow.settings import Settings
from rillflow.stores import open_store
from tests.submissions import submission_event

LOOP: Final = """
workspace: limits
dagName: loop
type: flow
tasks:
  - name: each
    category: foreach
    iterationMapping: { collection: $.input.items, item: item }
    inputMappings: [{ source: $.context.items, target: $.input.items }]
    tasks: [{ name: one, category: pass }]
"""
PLAN: Final = Plan(parse_definition(LOOP), "limits")


def _submitted(
    items: list[Any],
    *,
    context_max_bytes: int = CONTEXT_MAX_BYTES,
    foreach_max_items: int = FOREACH_MAX_ITEMS,
) -> ExecutionSubmitted:
    return submission_event(
        "limits:loop_c_00000000-0000-7000-8000-000000000000",
        PLAN.definition_id,
        data=encode_json({"items": items}),
        context_max_bytes=context_max_bytes,
        foreach_max_items=foreach_max_items,
    )


def test_the_defaults_of_the_settings_are_those_of_the_core() -> None:
    settings = Settings()
    assert settings.context_max_bytes == CONTEXT_MAX_BYTES == 8 * 1024 * 1024
    assert settings.foreach_max_items == FOREACH_MAX_ITEMS == 20_000
    assert settings.max_descendants == DESCENDANTS_MAX == 1_000


@pytest.mark.parametrize(("items", "status"), [(3, "SUCCEED"), (4, "FAILED")])
def test_a_foreach_takes_as_many_items_as_its_execution_may(items: int, status: str) -> None:
    state, _ = machine.submit(PLAN, _submitted([1] * items, foreach_max_items=3))
    assert state.status.name == status
    if status == "FAILED":
        message = "iteration collection has 4 items, at most 3 are taken"
        assert state.tasks["each"].invoke.msg == message


def test_a_context_holds_as_much_as_its_execution_may() -> None:
    items = ["x" * 2000]
    state, _ = machine.submit(PLAN, _submitted(items, context_max_bytes=3000))
    assert state.status.name == "SUCCEED"
    with pytest.raises(ExecutionError, match="more than 1500 exceed the limit") as caught:
        machine.submit(PLAN, _submitted(items, context_max_bytes=1500))
    assert caught.value.wire_code == 30507


def test_a_replay_keeps_to_the_limits_of_the_submission() -> None:
    event = _submitted([1, 2, 3, 4], foreach_max_items=3)
    stored = StoredExecution(
        execution_id=event.execution_id,
        business="limits",
        feature="loop",
        listing_partition=0,
        definition_id=PLAN.definition_id,
        submitted_at_ms=1,
        dedicated=False,
        parent_id=None,
        status="running",
        snapshot=None,
        snapshot_seq=0,
        records=(codec.encode_event(event),),
    )
    state = replay(PLAN, stored).state
    assert state.status.name == "FAILED"
    kept = codec.decode_state(codec.encode_state(state))
    assert (kept.foreach_max_items, kept.context_max_bytes) == (3, CONTEXT_MAX_BYTES)
    assert inherited_from(kept).settings["foreach_max_items"] == 3


def test_a_replay_expects_callbacks_when_the_submission_did() -> None:
    event = msgspec.structs.replace(_submitted([]), expected_callback_s=2.5)
    record = codec.encode_event(event)
    assert codec.decode_event(record) == event
    state, _ = machine.submit(PLAN, event)
    kept = codec.decode_state(codec.encode_state(state))
    inherited = inherited_from(kept).settings
    assert kept.expected_callback_s == inherited["expected_callback_s"] == 2.5


def test_a_family_has_one_limit_and_each_execution_a_key_of_its_own() -> None:
    event = msgspec.structs.replace(_submitted([]), max_descendants=7, id_key=b"k" * ID_KEY_BYTES)
    assert codec.decode_event(codec.encode_event(event)) == event
    state, _ = machine.submit(PLAN, event)
    inherited = inherited_from(codec.decode_state(codec.encode_state(state)))
    assert (inherited.settings["max_descendants"], inherited.id_key) == (7, event.id_key)


class Catcher:
    """Takes a submission, and keeps it."""

    def __init__(self) -> None:
        self.event: ExecutionSubmitted | None = None

    async def call(self, call: Call) -> Reply:
        assert isinstance(call, Submission)
        self.event = call.event
        return Reply()

    async def ask_all(self, _: Call) -> list[Reply]:
        return []


def test_a_replay_is_strict_and_so_are_sub_flows_when_the_submission_was() -> None:
    event = msgspec.structs.replace(_submitted([]), strict_mappings=True)
    assert codec.decode_event(codec.encode_event(event)) == event
    state, _ = machine.submit(PLAN, event)
    kept = codec.decode_state(codec.encode_state(state))
    assert kept.strict_mappings
    assert inherited_from(kept).settings["strict_mappings"]


async def test_a_submission_takes_the_limits_of_the_settings() -> None:
    store, catcher = open_store("memory:"), Catcher()
    await store.open()
    settings = Settings(
        context_max_bytes=4096, foreach_max_items=7, expected_callback_s=0.5, strict_mappings=True
    )
    submissions = Submissions(settings, store=store, executions=catcher, clock=SystemClock())
    await add_descriptor(store, "limits", "loop", "release", LOOP, at_ms=1)
    await submissions.submit("limits:loop", b"", Options())
    assert catcher.event is not None
    assert (catcher.event.context_max_bytes, catcher.event.foreach_max_items) == (4096, 7)
    assert catcher.event.expected_callback_s == 0.5
    first = catcher.event.id_key
    await submissions.submit("limits:loop", b"", Options())
    assert len({first, catcher.event.id_key, bytes(ID_KEY_BYTES)}) == 3
    assert len(catcher.event.id_key) == ID_KEY_BYTES
    assert catcher.event.strict_mappings
