"""Parsing of definition texts; refusals have Rill Flow's codes (spec 1.1 to 1.6).

Used by `definition`, `flow/flows.py` and `runtime/submission/intake.py`.
"""

from itertools import islice
from typing import Final

from rillflow.definition.binder import MAX_PROBLEMS, bind, bind_rules
from rillflow.definition.checks.validation import MAX_DEPTH, Finding, findings
from rillflow.definition.model import CallbackConfig, MappingRule, WorkflowDefinition
from rillflow.definition.references import MOST_EXPANDED_BYTES
from rillflow.definition.yaml_tree.loader import MAX_TEXT_BYTES, load
from rillflow.definition.yaml_tree.nodes import Node, place_at, refusal_of, shown, text_at
from rillflow.errors import DefinitionError, Problem
from rillflow.jsontypes import encode_json
from rillflow.suggestions import did_you_mean

_SCALARS: Final = (int, float)


def parse_definition(
    text: str | bytes | None,
    *,
    max_depth: int = MAX_DEPTH,
    max_bytes: int = MAX_TEXT_BYTES,
    most_expanded_bytes: int = MOST_EXPANDED_BYTES,
) -> WorkflowDefinition:
    """Read and validate a definition.

    Args:
        text: YAML or JSON.
        max_depth: How many levels tasks may nest, the top level included; up to 40.
        max_bytes: Largest size that is read. What is stored may be larger than what was
            added, so reading it back takes a limit of its own.
        most_expanded_bytes: How much its references may write out (``references``).

    Raises:
        DefinitionError: The definition is refused. Its code and message are those of the
            first problem in Rill Flow's order, ``problems`` tells all of them with places.
    """
    root = load(text, max_bytes=max_bytes)
    bound = bind(root)
    if bound.errors:
        raise refusal_of(bound.errors)
    definition = WorkflowDefinition.model_validate(bound.values)
    problems = problems_of(
        definition, root, max_depth=max_depth, most_expanded_bytes=most_expanded_bytes
    )
    if problems:
        raise DefinitionError(problems[0].code, problems[0].message, problems)
    return definition


def parse_rules(text: str | bytes) -> tuple[MappingRule, ...]:
    """Read a YAML or JSON list of mapping rules; nothing at all is an empty list.

    Raises:
        DefinitionError: The text is unreadable, or no list of rules.
    """
    if not text.strip():
        return ()
    rules, errors = bind_rules(load(text))
    if errors:
        raise refusal_of(errors)
    return tuple(MappingRule.model_validate(rule) for rule in rules)


def parse_callback(value: object) -> CallbackConfig:
    """Read a completion callback from JSON; scalars of rules count as their text (spec 1.1).

    Raises:
        ValueError: It is no CallbackConfig.
    """
    rules = value.get("inputMappings") if isinstance(value, dict) else None
    if isinstance(value, dict) and isinstance(rules, list):
        value = {**value, "inputMappings": [_with_texts(rule) for rule in rules]}
    return CallbackConfig.model_validate(value)


def _with_texts(rule: object) -> object:
    if not isinstance(rule, dict):
        return rule
    return {
        key: encode_json(value).decode() if isinstance(value, _SCALARS) else value
        for key, value in rule.items()
    }


def problems_of(
    definition: WorkflowDefinition,
    root: Node,
    *,
    max_depth: int,
    most_expanded_bytes: int = MOST_EXPANDED_BYTES,
) -> tuple[Problem, ...]:
    """List the failed checks of a definition, worst first, with their places."""
    all_found = findings(definition, max_depth=max_depth, most_expanded_bytes=most_expanded_bytes)
    found = islice(all_found, MAX_PROBLEMS)
    return tuple(_problem(finding, root) for finding in found)


def _problem(finding: Finding, root: Node) -> Problem:
    hint = finding.hint
    if finding.wrong:
        hint = did_you_mean(finding.wrong, finding.options) or hint
    elif finding.options and (written := text_at(root, finding.path)).strip():
        # The model has nothing for a value that is not in its list.
        near = did_you_mean(written, finding.options) or hint
        hint = f"there is no {finding.path[-1]} `{shown(written)}`; {near}"
    return Problem(finding.code, finding.message, *place_at(root, finding.path), hint)
