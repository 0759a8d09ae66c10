"""Definitions as callers give them: text, the file that contains it, or a flow in Python.

Used by `client/clients.py`.
"""

from pathlib import Path
from typing import Protocol, TypeAlias

from rillflow.client.files import content_of
from rillflow.definition.yaml_tree.loader import LARGEST_TEXT_BYTES, load
from rillflow.definition.yaml_tree.nodes import Mapping, Scalar
from rillflow.errors import DefinitionError

UNREADABLE = 30402


class YamlSource(Protocol):
    """What can write its definition, such as a flow of ``rillflow.flow``."""

    def to_yaml(self) -> str:
        """Return the definition as YAML."""


DefinitionSource: TypeAlias = str | Path | YamlSource


def definition_text(text_or_path: DefinitionSource) -> str:
    """Return the text of a definition.

    A ``Path`` is a file, and so is a ``str`` of one line that is no JSON object.

    Raises:
        OSError: The file cannot be read, is no ordinary file, or is larger than any definition.
    """
    if not isinstance(text_or_path, str | Path):
        return text_or_path.to_yaml()
    if isinstance(text_or_path, str):
        stripped = text_or_path.strip()
        if "\n" in stripped or stripped.startswith("{"):
            return text_or_path
    text = content_of(Path(text_or_path), most_bytes=LARGEST_TEXT_BYTES).decode()
    return text.replace("\r\n", "\n").replace("\r", "\n")


def names_in(text: str) -> tuple[str, str]:
    """Return ``workspace`` and ``dagName`` of a definition, without validating the rest.

    Raises:
        DefinitionError: The text is not YAML, or lacks one of the two.
    """
    root = load(text)
    entries = root.entries if isinstance(root, Mapping) else {}
    found = []
    for field in ("workspace", "dagName"):
        node = entries.get(field)
        if not isinstance(node, Scalar) or node.is_null:
            raise DefinitionError(UNREADABLE, f"the definition has no {field}")
        found.append(node.text)
    return found[0], found[1]
