"""Warnings: sub-flows that are started by a wrong pattern or id (spec 3.15).

Only ``flow_sync`` is told when its sub-flow ends, and only the two patterns for flows accept an
answer that is the id of an execution.

Used by `definition/lint/warnings.py`.
"""

import re
from collections.abc import Iterator
from typing import Final

from rillflow.definition.checks.validation import Finding, is_blank
from rillflow.definition.model import FunctionTask
from rillflow.definition.sugar import rules_of_input
from rillflow.definition.yaml_tree.nodes import Path, shown
from rillflow.errors import InvalidIdError
from rillflow.ids import parse_descriptor_id

_FUNCTION: Final = 30410
_PROTOCOL: Final = "rillflow"
_FILLED_IN: Final = "${"
_MD5: Final = re.compile(r"[0-9a-f]{32}")
_OWN_URL: Final = "trigger_url"
_PATTERNS: Final = (
    "flow_sync waits for the sub-flow and gets its context, flow_async only starts it"
)
_FLOW_PATTERNS: Final = ("flow_sync", "flow_async")


def flow_findings(task: FunctionTask, path: Path) -> Iterator[Finding]:
    """Generate what is wrong with a function that starts another workflow."""
    name = (task.resource_name or "").strip()
    scheme, separator, address = name.partition("://")
    protocol = scheme if is_blank(task.resource_protocol) else task.resource_protocol
    if task.resource is not None or protocol != _PROTOCOL or not name:
        return
    yield from _of_pattern(task, path)
    if _FILLED_IN not in name:
        yield from _of_id(address if separator else name, path)


def _of_pattern(task: FunctionTask, path: Path) -> Iterator[Finding]:
    if task.pattern is None or task.pattern in _FLOW_PATTERNS:
        return
    if task.pattern == "task_sync":
        what = "does not wait for the sub-flow, and its output is only the execution_id"
    elif _gives_its_own_url(task):
        return
    else:
        what = "is not told when the sub-flow ends, and waits for a callback that never comes"
    message = f"a sub-flow with pattern {task.pattern} {what}"
    yield Finding(_FUNCTION, message, (*path, "pattern"), hint=_PATTERNS)


def _gives_its_own_url(task: FunctionTask) -> bool:
    """Tell whether a sub-flow might end the task that started it."""
    rules = [*(task.input_mappings or ()), *(rule for _, rule in rules_of_input(task.input))]
    texts = (text for rule in rules for text in (rule.source, rule.transform, rule.reference))
    return any(text is not None and _OWN_URL in text for text in texts)


def _of_id(text: str, path: Path) -> Iterator[Finding]:
    try:
        wanted = parse_descriptor_id(text)
    except InvalidIdError as error:
        message = f"`{shown(text)}` is no descriptor id: no sub-flow is found"
        yield Finding(_FUNCTION, message, (*path, "resourceName"), hint=error.hint)
        return
    if wanted.version is not None and not _MD5.fullmatch(wanted.version):
        message = f"`{shown(text)}` names no version: no sub-flow is found"
        hint = "after md5_ come 32 digits of 0-9 and a-f"
        yield Finding(_FUNCTION, message, (*path, "resourceName"), hint=hint)
