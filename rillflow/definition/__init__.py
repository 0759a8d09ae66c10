"""Workflow definitions: from YAML text to validated definitions, and back to canonical text.

The catalogue, the command line and tools for authors call it. It runs nothing and stores nothing.
"""

from rillflow.definition.canonical import canonical_text, version_of
from rillflow.definition.checks.validation import MAX_DEPTH
from rillflow.definition.model import Task, WorkflowDefinition
from rillflow.definition.normal import initial_context, normalise
from rillflow.definition.parse import parse_callback, parse_definition, parse_rules
from rillflow.definition.problems import find_problems
from rillflow.definition.sugar import collapse_sugar, expand_sugar
from rillflow.definition.tasks import all_tasks, levels
from rillflow.definition.yaml_tree.loader import LARGEST_TEXT_BYTES, MAX_TEXT_BYTES

__all__ = [
    "LARGEST_TEXT_BYTES",
    "MAX_DEPTH",
    "MAX_TEXT_BYTES",
    "Task",
    "WorkflowDefinition",
    "all_tasks",
    "canonical_text",
    "collapse_sugar",
    "expand_sugar",
    "find_problems",
    "initial_context",
    "levels",
    "normalise",
    "parse_callback",
    "parse_definition",
    "parse_rules",
    "version_of",
]
