"""A collection that is too large is refused early, with the reason, whichever way it comes."""

import pytest

from rillflow.core.encoding.codec import encode_state
from rillflow.core.events import CONTEXT_MAX_BYTES
from rillflow.errors import ExecutionError
from rillflow.gateways.outbound.settings import HttpSettings
from rillflow.jsontypes import JsonValue
from rillflow.settings import Settings
from rillflow.testing import Scenario

LOOP = """
workspace: demo
dagName: loop
type: flow
tasks:
- name: read
  category: function
  pattern: task_sync
  resourceName: http://functions.test/read
  outputMappings: [{source: $.output.items, target: $.context.items}]
  next: each
- name: each
  category: foreach
  iterationMapping: {collection: $.input.items, item: item}
  inputMappings: [{source: $.context.items, target: $.input.items}]
  tasks: [{name: one, category: pass}]
"""
REASON = f"content length: more than {CONTEXT_MAX_BYTES} exceed the limit"
HUNDRED_MEGABYTES: list[JsonValue] = ["x" * 1_000_000] * 100


def test_a_submission_with_100_megabytes_does_not_begin() -> None:
    flow = Scenario(LOOP)
    with pytest.raises(ExecutionError, match=REASON) as caught:
        flow.submit({"items": HUNDRED_MEGABYTES})
    assert caught.value.wire_code == 30507
    assert flow.journal == []


def test_a_collection_of_100_megabytes_starts_no_group() -> None:
    flow = Scenario(LOOP)
    flow.submit()
    flow.answer("read", {"items": HUNDRED_MEGABYTES})
    assert flow.status == "FAILED"
    assert flow.task("read").invoke.msg == REASON
    assert flow.state.groups == {}
    assert "items" not in flow.state.context


def test_what_fits_goes_through_every_task() -> None:
    flow = Scenario(LOOP)
    flow.submit()
    flow.answer("read", {"items": HUNDRED_MEGABYTES[:5]})
    assert flow.status == "SUCCEED"
    assert len(encode_state(flow.state)) > 5_000_000


def test_no_body_that_is_too_large_for_a_context_is_read_at_all() -> None:
    settings = Settings()
    assert settings.submit_max_bytes <= CONTEXT_MAX_BYTES
    assert settings.callback_max_bytes <= CONTEXT_MAX_BYTES
    assert HttpSettings().max_response_bytes <= 2 * CONTEXT_MAX_BYTES
