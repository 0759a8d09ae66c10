"""Warnings: literals that were probably meant as paths (``language/mapping/path_like.py``).

Used by `definition/lint/warnings.py`.
"""

from collections.abc import Iterator
from typing import Final

from rillflow.definition.checks.validation import Finding
from rillflow.definition.model import MappingRule
from rillflow.definition.yaml_tree.nodes import Path, shown
from rillflow.language.mapping.path_like import has_path_inside, literal_meant_as_path
from rillflow.language.mapping.secret_references import is_path

_MAPPING: Final = 30406


def literal_findings(rule: MappingRule, path: Path) -> Iterator[Finding]:
    """Generate what looks like a path in the source of a rule, and is none.

    A rule with ``tolerance: true`` means it as it is written.
    """
    source = rule.source or ""
    text = source.strip()
    if not text or is_path(source) or rule.tolerance is True:
        return
    meant = literal_meant_as_path(text)
    if meant:
        message = f"`{shown(text)}` is taken as a text, since a path begins with `$.`"
        yield Finding(_MAPPING, message, path, hint=f"did you mean `{shown(meant)}`?")
    elif has_path_inside(text):
        message = f"a path inside a text is not replaced by its value: `{shown(text)}`"
        yield Finding(_MAPPING, message, path, hint="a transform can put values together")
