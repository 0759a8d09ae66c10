"""What an earlier release stored may write out more than definitions may now; no view does so."""

from typing import Final

import pytest

from rillflow.core import machine
from rillflow.core.plan import Plan
from rillflow.core.view import dag_info, execution_view
from rillflow.definition import parse_definition
from rillflow.definition.model import WorkflowDefinition
from rillflow.definition.references import MOST_EXPANDED_BYTES, expanded_bytes
from rillflow.errors import DefinitionError
from rillflow.jsontypes import encode_json
from rillflow.runtime.definitions.catalogue import parse_stored
from tests.submissions import submission_event

RULE_BYTES: Final = 200_000


def stored(references: int) -> str:
    """Return a definition of little more than one long rule, which is referred to so often."""
    return (
        "workspace: shop\ndagName: order\ntype: flow\n"
        f"commonMapping: {{c: [{{source: '{'x' * RULE_BYTES}', target: $.input.a}}]}}\n"
        "tasks:\n- name: t\n  category: function\n  pattern: task_async\n"
        "  resourceName: http://a.test/f\n  inputMappings:\n" + "  - {reference: c}\n" * references
    )


def shown(definition: WorkflowDefinition) -> tuple[Plan, bytes]:
    plan = Plan(definition, "shop:order")
    state, _ = machine.submit(plan, submission_event("shop:order", "order"))
    value = {"view": execution_view(plan, state, at_ms=0), "dump": dag_info(plan, state)}
    return plan, encode_json(value)


def test_references_are_written_out_where_that_is_short() -> None:
    plan, text = shown(parse_stored(stored(3)))
    assert len(text) > 9 * RULE_BYTES  # three in the view, six in the dump
    assert b"reference" not in text
    assert plan.shown_bytes > 3 * RULE_BYTES


def test_references_are_shown_as_written_where_they_would_be_too_long() -> None:
    text = stored(MOST_EXPANDED_BYTES // RULE_BYTES + 1)
    with pytest.raises(DefinitionError):
        parse_definition(text)
    definition = parse_stored(text)
    assert expanded_bytes(definition) > MOST_EXPANDED_BYTES
    plan, encoded = shown(definition)
    assert len(encoded) < 4 * RULE_BYTES  # the declaration, and the input that it makes
    assert encoded.count(b'"reference":"c"') == 3 * (MOST_EXPANDED_BYTES // RULE_BYTES + 1)
    assert plan.shown_bytes < MOST_EXPANDED_BYTES
    assert encoded.count(b"x" * RULE_BYTES) == 3  # it still runs as before
