"""All errors and warnings of a definition at once, with their places.

Used by `cli/checking.py`, `cli/loading.py` and `definition`.
"""

from itertools import islice

from rillflow.definition.binder import MAX_PROBLEMS, bind
from rillflow.definition.checks.validation import MAX_DEPTH
from rillflow.definition.lint.expressions import EXTENSION
from rillflow.definition.lint.warnings import warnings_of
from rillflow.definition.model import WorkflowDefinition
from rillflow.definition.parse import problems_of
from rillflow.definition.yaml_tree.loader import load
from rillflow.definition.yaml_tree.nodes import Node, place_at
from rillflow.errors import DefinitionError, Problem
from rillflow.language.jsonpath.paths import paths_read_once


def find_problems(
    text: str | bytes | None, *, max_depth: int = MAX_DEPTH, strict: bool = False
) -> list[Problem]:
    """List what is wrong or suspicious, errors first; never raises for a bad definition.

    An error means that ``parse_definition`` refuses the text, a warning that it does not.
    While the text is unreadable, only that is told. Fields with values that do not fit
    come first, and count as absent in the checks that follow. At most 200 errors of a
    kind and 200 warnings of a kind are listed.

    Args:
        text: The definition.
        max_depth: Levels of tasks that it may have.
        strict: Whether to warn also of what Rillflow takes and Rill Flow does not; the
            ``kind`` of these warnings is ``extension``.
    """
    try:
        root = load(text)
        bound = bind(root, with_warnings=True)
    except DefinitionError as error:
        return list(error.problems)
    definition = WorkflowDefinition.model_validate(bound.values)
    told = {problem[2:4] for problem in bound.errors}
    checks = problems_of(definition, root, max_depth=max_depth)
    errors = [*bound.errors, *(found for found in checks if found[2:4] not in told)]
    if bound.errors:
        return [*errors, *bound.warnings]
    with paths_read_once():
        linted = _lint(definition, root, strict=strict)
    warnings = sorted((*bound.warnings, *linted), key=lambda it: it[2:4])
    return [*errors, *warnings]


def _lint(definition: WorkflowDefinition, root: Node, *, strict: bool) -> list[Problem]:
    told = (found for found in warnings_of(definition) if strict or found.kind != EXTENSION)
    return [
        Problem(
            found.code,
            found.message,
            *place_at(root, found.path),
            found.hint,
            "warning",
            found.kind,
        )
        for found in islice(told, MAX_PROBLEMS)
    ]
