"""Placeholders as the language writes them: paths, expressions and filters.

A path is used where a value is only copied, an expression where it is computed, and a filter in
the conditions of a function, which see no expressions.

Used by `flow/assembly.py`, `flow/placeholders/literals.py` and `flow/retries.py`.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from rillflow.flow.placeholders.values import (
    ALL,
    Constant,
    Node,
    Operation,
    Reference,
    Step,
    Steps,
    Value,
    references_in,
    shown,
)
from rillflow.flow.places import refusal
from rillflow.language.expressions.lexer import KEYWORDS

FORMS: Final[Mapping[str, str]] = {
    **{kind: f"{{0}} {kind} {{1}}" for kind in ("+", "-", "*", "**", "<", "<=", ">", ">=")},
    "==": "{0} == {1}",
    "!=": "{0} != {1}",
    # Of integers, the language divides towards zero, and its remainder has the dividend's sign.
    "/": "{0} * 1.0 / {1}",
    "//": "long(math.floor({0} * 1.0 / {1}))",
    "%": "({0} % {1} + {1}) % {1}",
    "negative": "-{0}",
    "&": "{0} && {1}",
    "|": "{0} || {1}",
    "not": "!{0}",
    "get": "seq.get({0}, {1})",
    "length": "count({0})",
    "contains": "include({0}, {1})",
    "text": "str({0})",
    "join": "string.join({0}, {1})",
    "if": "{0} ? {1} : {2}",
}
"""What each kind of operation is in the language."""
_VARIADIC: Final = {"list": "seq.list", "map": "seq.map"}
_CALLS: Final = frozenset(
    {"get", "length", "contains", "text", "join", "list", "map", "expression"}
)
_ATOMS: Final = _CALLS | {"//"}
_CHAINED: Final = frozenset("+*&|")
_COMPARED: Final = {"==": "==", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_JOINED: Final = {"&": "&&", "|": "||"}
_MIRRORED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ESCAPED: Final = {"\\": "\\\\", "'": "\\'", "#": "\\#", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def path_of(root: str, steps: Steps) -> str:
    """Return a path, such as ``$.context.story.parts[*].text``."""
    return root + "".join(map(_path_step, steps))


def reads(node: Node) -> tuple[str | None, str | None]:
    """Return the source and the transform of a mapping rule that gives the value of a node.

    A value that is copied is a source. One that is computed from a single value of the context
    reads it as ``source``, which is nil where the path leads nowhere.
    """
    if isinstance(node, Reference):
        return _source(node), None
    paths = {_source(reference) for reference in references_in(node)}
    if len(paths) == 1:
        return paths.pop(), _Writer(source=True).whole(node)
    return None, _Writer(source=False).whole(node)


def constant_text(value: object) -> str:
    """Return an expression with the value of a constant."""
    return _Writer(source=False).expression(Constant(value))


class _Writer:
    """Writes one expression.

    Args:
        source: Whether its only value of the context is called ``source``.
    """

    def __init__(self, *, source: bool) -> None:
        self._source = source

    def whole(self, node: Node) -> str:
        """Write an expression that is a transform by itself."""
        if isinstance(node, Operation) and node.kind == "expression":
            named = zip(node.names, map(self.expression, node.operands), strict=True)
            return "".join(f"let {name} = {text}; " for name, text in named) + node.text
        return self.expression(node)

    def expression(self, node: Node) -> str:
        """Write an expression that may be a part of another."""
        if isinstance(node, Reference):
            return "source" if self._source else _context(node)
        if isinstance(node, Constant):
            return self._constant(node.value)
        bare = node.kind in _CALLS
        operands = [
            self.expression(operand) if bare else self._operand(node, place)
            for place, operand in enumerate(node.operands)
        ]
        if node.kind == "expression":
            return f"(lambda({', '.join(node.names)}) -> {node.text} end)({', '.join(operands)})"
        if node.kind in _VARIADIC:
            return f"{_VARIADIC[node.kind]}({', '.join(operands)})"
        return FORMS[node.kind].format(*operands)

    def _operand(self, node: Operation, place: int) -> str:
        operand = node.operands[place]
        text = self.expression(operand)
        if isinstance(operand, Operation) and operand.kind not in _ATOMS:
            is_chained = place == 0 and operand.kind == node.kind and node.kind in _CHAINED
            return text if is_chained else f"({text})"
        return f"({text})" if text.startswith("-") else text

    def _constant(self, value: Any) -> str:
        if value is None or isinstance(value, bool):
            return {None: "nil", True: "true", False: "false"}[value]
        if isinstance(value, str):
            return "'" + "".join(map(_escaped, value)) + "'"
        if isinstance(value, list):
            return f"seq.list({', '.join(map(self._constant, value))})"
        if isinstance(value, dict):
            parts = (self._constant(part) for pair in value.items() for part in pair)
            return f"seq.map({', '.join(parts)})"
        return repr(value)


def _source(reference: Reference) -> str:
    return path_of("$.context", (reference.origin.key, *reference.steps))


def _context(reference: Reference) -> str:
    steps: Steps = (reference.origin.key, *reference.steps)
    if ALL in steps:
        place = steps.index(ALL)
        before, behind = steps[:place], steps[place + 1 :]
        elements = _from("context", before)
        return f"map({elements}, lambda(it) -> {_from('it', behind)} end)" if behind else elements
    return _from("context", steps)


def _from(root: str, steps: Steps) -> str:
    if all(isinstance(it, str) and _PLAIN.fullmatch(it) and it not in KEYWORDS for it in steps):
        return ".".join((root, *map(str, steps)))
    return root + "".join(f"[{constant_text(step)}]" for step in steps)


def _path_step(step: Step) -> str:
    if isinstance(step, slice):
        return "[*]"
    if isinstance(step, int):
        return f"[{step}]"
    if _PLAIN.fullmatch(step):
        return f".{step}"
    return "['" + step.replace("\\", "\\\\").replace("'", "\\'") + "']"


def _escaped(character: str) -> str:
    if character in _ESCAPED:
        return _ESCAPED[character]
    if character.isprintable():
        return character
    code = ord(character)
    if code > 0xFFFF:
        high, low = divmod(code - 0x10000, 0x400)
        return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
    return f"\\u{code:04x}"


def filter_of(node: Node, root: str) -> str:
    """Return a condition on a document, such as ``$.output[?(@.count >= 3)]``.

    Raises:
        FlowError: It is more than comparisons of the document's values with constants.
    """
    if isinstance(node, Reference):
        return path_of(root, node.steps)
    return f"{root}[?({_filter(node)})]"


def _filter(node: Node) -> str:
    if isinstance(node, Operation):
        if node.kind in _JOINED:
            return f" {_JOINED[node.kind]} ".join(map(_nested, node.operands))
        if node.kind == "not":
            return f"!({_filter(node.operands[0])})"
        if node.kind in _COMPARED:
            return _comparison(node)
        if node.kind == "contains":
            return f"{_term(node.operands[0])} contains {_term(node.operands[1])}"
    raise refusal(
        f"`{shown(Value(node))}` is no condition of a function: it may compare fields of the output"
        " with constants, and join such comparisons by all_of, any_of and not_"
    )


def _nested(node: Node) -> str:
    text = _filter(node)
    return f"({text})" if isinstance(node, Operation) and node.kind in _JOINED else text


def _comparison(node: Operation) -> str:
    left, right = node.operands
    kind = _COMPARED[node.kind]
    if isinstance(left, Constant):
        left, right, kind = right, left, _MIRRORED[kind]
    return f"{_term(left)} {kind} {_term(right)}"


def _term(node: Node) -> str:
    if isinstance(node, Reference):
        return path_of("@", node.steps)
    if isinstance(node, Constant):
        value = node.value
        if value is None or isinstance(value, bool):
            return {None: "null", True: "true", False: "false"}[value]
        if isinstance(value, int | float):
            return repr(value)
        if isinstance(value, str) and value.isprintable():
            return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    raise refusal(
        f"`{shown(Value(node))}` stands in a condition of a function, which compares fields of the"
        " output with numbers, texts, True, False and None"
    )
