"""The nodes of a definition's YAML tree, with source text and place.

Nothing is resolved yet. A text field takes a scalar's ``text``, a place without a declared type
takes its ``value`` (spec 1.1.4).

Used by `client/definitions.py`, `definition`, `definition/lint` and
`definition/yaml_tree/loader.py`.
"""

from collections.abc import Mapping as MappingOf
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from typing import ClassVar, Final, NamedTuple, NoReturn, Protocol, TypeAlias

from rillflow.definition.yaml_tree.scalars import NULLS, resolve_plain, resolve_tagged
from rillflow.errors import DefinitionError, Problem
from rillflow.jsontypes import JsonValue

UNREADABLE: Final = 30402

OTHER_NAMES: Final[MappingOf[str | int, tuple[str, ...]]] = {
    "timeline": ("timer",),
    "callback": ("callback_config", "callbackConfig"),
    "workspace": ("namespace",),
    "dagName": ("service",),
}
"""Other keys that fields of the whole definition may have (spec 1.2)."""

Path: TypeAlias = tuple[str | int, ...]
"""Keys and list positions that lead from the root to a node."""


class Mark(Protocol):
    """A place as the parser keeps it; line and column count from 0."""

    line: int
    column: int


class Place(NamedTuple):
    """A place in the text; line and column count from 1, 0 is unknown."""

    line: int = 0
    column: int = 0


@dataclass(slots=True)
class Scalar:
    """A scalar: its text after quotes and escapes, and how it was written."""

    text: str
    mark: Mark
    quoted: bool = False
    tag: str | None = None

    height: ClassVar[int] = 0

    @property
    def place(self) -> Place:
        """Where it starts."""
        return place_of(self.mark)

    @property
    def size(self) -> int:
        """Nodes plus characters."""
        return len(self.text) + 1

    @property
    def is_null(self) -> bool:
        """Tell whether a field with this value counts as absent."""
        if self.tag is not None:
            return self.tag == "null"
        return not self.quoted and self.text in NULLS

    @property
    def value(self) -> JsonValue:
        """The value in a place without a declared type (spec 1.1.4).

        Raises:
            ValueError: The scalar has no JSON value, for example ``.nan``.
        """
        if self.tag is not None:
            return resolve_tagged(self.text, self.tag)
        return self.text if self.quoted else resolve_plain(self.text)


@dataclass(slots=True)
class Sequence:
    """A list."""

    mark: Mark
    items: list["Node"] = field(default_factory=list)
    size: int = 1
    height: int = 1

    @property
    def place(self) -> Place:
        """Where it starts."""
        return place_of(self.mark)


@dataclass(slots=True)
class Mapping:
    """A map; keys are kept as their source text, in the order written."""

    mark: Mark
    entries: dict[str, "Node"] = field(default_factory=dict)
    keys: dict[str, Scalar] = field(default_factory=dict)
    size: int = 1
    height: int = 1

    @property
    def place(self) -> Place:
        """Where it starts."""
        return place_of(self.mark)


Node: TypeAlias = Scalar | Sequence | Mapping


def place_at(root: Node, path: Path) -> Place:
    """Find where a path leads, or where the last part of it that was written is."""
    return _followed(root, path)[-1].place


def text_at(root: Node, path: Path) -> str:
    """Read the text that was written where a path leads; empty if there is none."""
    nodes = _followed(root, path)
    node = nodes[-1]
    if len(nodes) <= len(path) or not isinstance(node, Scalar) or node.is_null:
        return ""
    return node.text


def _followed(root: Node, path: Path) -> list[Node]:
    """List the nodes along a path, from the root to the last that was written."""
    nodes = [root]
    for step in path:
        names = (step, *OTHER_NAMES.get(step, ())) if len(nodes) == 1 else (step,)
        found = (_child(nodes[-1], name) for name in names)
        child = next((each for each in found if each is not None), None)
        if child is None:
            break
        nodes.append(child)
    return nodes


def _child(node: Node, step: str | int) -> Node | None:
    if isinstance(node, Mapping) and isinstance(step, str):
        return node.entries.get(step)
    if isinstance(node, Sequence) and isinstance(step, int):
        return node.items[step]
    return None


def refuse(message: str, place: Place) -> NoReturn:
    """Raise a DefinitionError that says where in the text the trouble is."""
    raise refusal_of([Problem(UNREADABLE, message, *place)])


def refusal_of(problems: SequenceOf[Problem]) -> DefinitionError:
    """Make the error that tells the first of some problems, and carries all of them."""
    return DefinitionError(problems[0].code, with_place(problems[0]), tuple(problems))


def with_place(problem: Problem) -> str:
    """Put the place of a problem behind its message."""
    return f"{problem.message} (line {problem.line}, column {problem.column})"


def place_of(mark: Mark) -> Place:
    """Give the place of a mark of the parser."""
    return Place(mark.line + 1, mark.column + 1)


def shown(text: str | None) -> str:
    """Shorten text from a definition for a message."""
    return str(text) if text is None or len(text) <= 60 else f"{text[:57]}..."
