"""The parser of expressions, from the ternary operator down to constants.

Binary operators are grouped with two stacks instead of recursion, so that only brackets, blocks,
prefixes and ``**`` use the interpreter's stack, and those are counted.

Used by `language/expressions/parser.py`.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Never

from rillflow.errors import BudgetExceededError, ExpressionError
from rillflow.language.expressions.extensions import (
    extension_of_call,
    extension_of_operator,
    extension_of_suffix,
)
from rillflow.language.expressions.lexer import Token, excerpt, place_in, syntax_error
from rillflow.language.expressions.patterns import Pattern, compiled
from rillflow.language.expressions.tree import (
    Arguments,
    Assign,
    Chain,
    Conditional,
    Element,
    Extension,
    Function,
    Key,
    Literal,
    Logic,
    Name,
    Node,
    Operator,
    Power,
    Sequence,
    Store,
    Suffix,
    Suffixed,
    Template,
    Unary,
)
from rillflow.language.versions import AVIATOR_AND_JAYWAY_MEASURED, FIRST

MAX_NESTING: Final = 50
_MAX_PATTERNS: Final = 20  # each may take milliseconds to compile

_RANKS: Final = {
    operator: rank
    for rank, operators in enumerate(
        ("||", "&&", "|", "^", "&", "== != =~", "< <= > >=", "<< >> >>>", "+ -", "* / %")
    )
    for operator in operators.split()
}
_PREFIXES: Final = frozenset("!-~")
_AS_ARGUMENTS: Final = frozenset(
    {"+", "-", "*", "/", "%", "**", "!", "~", "&", "|", "^", "<", ">", "<=", ">=", "==", "!="}
)
_CONSTANTS: Final = {"true": True, "false": False, "nil": None}
MUTATORS: Final = frozenset({"seq.add", "seq.add_all", "seq.put", "seq.remove", "into", "reverse"})
_SEGMENT: Final = re.compile(r"([^\[\]()]*)(?:\[([0-9]{1,9})\]|\(([^()]*)\))?")
_MOST_EXTENSIONS: Final = 20


@dataclass(slots=True)
class Names:
    """The names of a text (see ``tree.Program``), and the number of its patterns.

    ``functions`` are the names to which it assigns functions; ``extensions`` have their offsets.
    """

    bound: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    mutates: bool = False
    patterns: int = 0
    extensions: list[tuple[int, Extension]] = field(default_factory=list)
    since: int = FIRST


class OperandParser(ABC):
    """Parses expressions; ``parser.Parser`` adds the statements.

    Args:
        text: The whole text, to say where an error is.
        tokens: Its tokens, or those of one hole of a string.
        names: Shared by the parsers of a text and of the strings in it.
        depth: How deep the strings around this one are nested already.
    """

    def __init__(
        self, text: str, tokens: list[Token], names: Names | None = None, depth: int = 0
    ) -> None:
        self.names = names or Names()
        self.loops = 0
        self._text = text
        self._tokens = tokens
        self._place = 0
        self._depth = depth
        self.token = tokens[0]

    # Implemented by the parser of statements.

    @abstractmethod
    def block_until(self, closing: str) -> Sequence:
        """Parse statements up to the token that closes them."""

    @abstractmethod
    def statement(self) -> Node:
        """Parse one statement."""

    # Tokens.

    def advance(self) -> Token:
        """Return the current token, which is not the end, and go to the next."""
        token = self.token
        self._place += 1
        self.token = self._tokens[self._place]
        return token

    def take(self, mark: str) -> bool:
        """Go past the mark, if it is the current token."""
        found = self.at(mark)
        if found:
            self.advance()
        return found

    def expect(self, mark: str) -> None:
        """Go past the mark."""
        if not self.take(mark):
            self.fail(f"expected '{mark}' and not '{excerpt(self.token.text)}'")

    def at(self, mark: str) -> bool:
        """Tell whether the mark is the current token."""
        return self.token.text == mark and self.token.kind == "mark"

    def at_keyword(self, word: str) -> bool:
        """Tell whether the keyword is the current token."""
        return self.token.text == word and self.token.kind == "keyword"

    def next_token(self) -> Token:
        """Return the token after the current one."""
        return self._tokens[min(self._place + 1, len(self._tokens) - 1)]

    def fail(self, what: str) -> Never:
        """Refuse the text at the current token."""
        raise syntax_error(self._text, self.token.offset, what)

    def enter(self) -> None:
        """Count one more level of nesting."""
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise BudgetExceededError(f"the expression is nested deeper than {MAX_NESTING} levels")

    def leave(self) -> None:
        """Count one level less."""
        self._depth -= 1

    def new_name(self) -> str:
        """Parse a name that gets a value: one without dots."""
        if self.token.kind != "name" or "." in self.token.text or self.token.text == "null":
            self.fail(f"expected a name and not '{excerpt(self.token.text)}'")
        name = self.advance().text
        self.names.bound.add(name)
        return name

    # Expressions.

    def expression(self) -> Node:
        """Parse an expression or assignment."""
        self.enter()
        value = self._conditional()
        if self.at("="):
            value = self._assignment(value)
        self.leave()
        return value

    def assigned(self) -> Node:
        """Parse the right side of an assignment, which may also be an ``if``, loop or block."""
        if self.at_keyword("if"):
            return self.statement()
        if self.at("{") or self.at_keyword("for") or self.at_keyword("while"):
            self.names.since = AVIATOR_AND_JAYWAY_MEASURED
            return self.statement()
        return self.expression()

    def function_literal(self) -> Function:
        """Parse the parameters and the body in braces of a function."""
        parameters, variadic = self._parameters()
        self.expect("{")
        body = self._function_body("}")
        return Function(parameters, variadic, body)

    def _assignment(self, target: Node) -> Node:
        if isinstance(target, Suffixed) and isinstance(target.suffixes[-1], Element):
            last = target.suffixes[-1]
            before = target.suffixes[:-1]
            owner = Suffixed(target.target, before) if before else target.target
            self.names.mutates = True
            self.advance()
            return Store(owner, last.index, self.assigned())
        if not isinstance(target, Name):
            self.fail("this cannot be assigned to")
        self.advance()
        if target.keys:
            self.names.mutates = True
            owner = Name(target.name, target.keys[:-1])
            return Store(owner, Literal(target.keys[-1]), self.assigned())
        self.names.bound.add(target.name)
        return Assign(target.name, self.assigned())

    def _conditional(self) -> Node:
        branches: list[tuple[Node, Node]] = []
        value = self._binary()
        while self.take("?"):
            then = self.expression()
            self.expect(":")
            branches.append((value, then))
            value = self._binary()
        return Conditional(tuple(branches), value) if branches else value

    def _binary(self) -> Node:
        values = [self._prefixed()]
        operators: list[str] = []
        while self.token.kind == "mark" and self.token.text in _RANKS:
            operator = self.advance().text
            rank = _RANKS[operator]
            if operator == "=~" and _is_pattern(values[-1]):
                self._note("a pattern on the left of =~", "text =~ /pattern/")
            while operators and _RANKS[operators[-1]] >= rank:
                _reduce(values, operators.pop())
            operators.append(operator)
            values.append(self._prefixed())
        while operators:
            _reduce(values, operators.pop())
        return values[0]

    def _prefixed(self) -> Node:
        if self.token.kind != "mark" or self.token.text not in _PREFIXES:
            return self._power()
        operator = self.advance().text
        self.enter()
        operand = self._prefixed()
        self.leave()
        return Unary(operator, operand)

    def _power(self) -> Node:
        base = self._suffixed()
        if not self.take("**"):
            return base
        self.enter()
        exponent = self._prefixed()
        self.leave()
        return Power(base, exponent)

    def _suffixed(self) -> Node:
        target = self._primary()
        suffixes: list[Suffix] = []
        while self.token.kind == "mark":
            start = self.token
            added = self._suffix()
            if not added:
                break
            self._note_suffix(target, suffixes, added, start)
            suffixes += added
        return Suffixed(target, tuple(suffixes)) if suffixes else target

    def _suffix(self) -> list[Suffix]:
        """Parse one suffix, which may be several members; none where none is written."""
        if self.take("["):
            index = Element(self.expression())
            self.expect("]")
            return [index]
        if self.take("("):
            return [Arguments(self._arguments())]
        return self._members() if self.take(".") else []

    def _note_suffix(
        self, target: Node, before: list[Suffix], added: list[Suffix], start: Token
    ) -> None:
        (first, *_) = added
        if start.text == ".":
            self._note(
                "a member behind a bracket or a call",
                "#context.orders[1].id, or a variable for what stands before it",
                start,
            )
        elif isinstance(first, Element):
            self._add(extension_of_suffix(target, before), start)
        elif isinstance(target, Name) and not before:
            self._add(extension_of_call(target.text, first.values, self.names.functions), start)

    def _add(self, found: tuple[str, str] | None, at: Token) -> None:
        if found is not None:
            self._note(*found, at)

    def _note(self, what: str, instead: str, at: Token | None = None) -> None:
        """Note a construct that AviatorScript does not support."""
        if len(self.names.extensions) < _MOST_EXTENSIONS:
            offset = (at or self.token).offset
            found = Extension(place_in(self._text, offset), what, instead)
            self.names.extensions.append((offset, found))

    def _members(self) -> list[Suffix]:
        if self.token.kind not in ("name", "keyword"):
            self.fail(f"expected a name after '.' and not '{excerpt(self.token.text)}'")
        return [Element(Literal(key)) for key in self.advance().text.split(".")]

    def _arguments(self) -> tuple[Node, ...]:
        values: list[Node] = []
        if self.take(")"):
            return ()
        while True:
            values.append(self._argument())
            if self.take(")"):
                return tuple(values)
            self.expect(",")

    def _argument(self) -> Node:
        if self.token.kind == "mark" and self.token.text in _AS_ARGUMENTS:
            following = self.next_token()
            if following.kind == "mark" and following.text in (",", ")"):
                self._add(extension_of_operator(self.token.text), self.token)
                return Operator(self.advance().text)
        return self.expression()

    def _primary(self) -> Node:
        if self.take("("):
            value = self.expression()
            self.expect(")")
            return value
        parsers: dict[str, Callable[[], Node]] = {
            "number": lambda: Literal(self.advance().value),
            "string": lambda: Literal(self.advance().text),
            "name": self._name,
            "quoted": self._quoted,
            "template": self._template,
            "regex": self._regex,
            "keyword": self._keyword,
        }
        if self.token.kind not in parsers:
            self.fail(f"unexpected '{excerpt(self.token.text)}'")
        return parsers[self.token.kind]()

    def _name(self) -> Name:
        text = self.advance().text
        name, *keys = text.split(".")
        if "null" in (name, *keys):
            self.fail("'null' is no name; say nil")
        if text in MUTATORS:
            self.names.mutates = True
        return Name(name, tuple(keys))

    def _quoted(self) -> Name:
        """Parse ``#a.b[1].c``; without a dot it is the name of a variable as it stands."""
        self.names.since = AVIATOR_AND_JAYWAY_MEASURED
        text = self.token.text
        if "." not in text:
            self.advance()
            return Name(text)
        (name, *keys) = (key for part in text.rstrip(".").split(".") for key in self._keys(part))
        self.advance()
        return Name(str(name), tuple(keys))

    def _keys(self, part: str) -> list[Key]:
        """Return the keys of one part: ``b``, ``b[1]`` or, between backquotes, ``b(key)``."""
        match = _SEGMENT.fullmatch(part)
        if match is None or not part or not match[1]:
            self.fail(f"'#{excerpt(self.token.text)}' is no name with members and indexes")
        name, index, key = match.groups()
        if index is not None:
            return [name, int(index)]
        return [name] if key is None else [name, key]

    def _keyword(self) -> Node:
        word = self.token.text
        if word in _CONSTANTS:
            self.advance()
            if self.at("["):
                self.fail(f"'{word}' has no elements")
            return Literal(_CONSTANTS[word])
        if word == "fn":
            self.advance()
            return self.function_literal()
        if word == "lambda":
            self.advance()
            parameters, variadic = self._parameters()
            self.expect("->")
            return Function(parameters, variadic, self._function_body("end"))
        return self.fail(f"unexpected '{word}'")

    def _parameters(self) -> tuple[tuple[str, ...], bool]:
        self.expect("(")
        names: list[str] = []
        variadic = False
        while not self.take(")"):
            if variadic:
                self.fail("the parameter with '&' must be the last")
            if names:
                self.expect(",")
            variadic = self.take("&")
            names.append(self.new_name())
        return tuple(names), variadic

    def _function_body(self, closing: str) -> Sequence:
        loops, self.loops = self.loops, 0
        self.enter()
        body = self.block_until(closing)
        self.leave()
        self.loops = loops
        self.advance()
        return body

    def _template(self) -> Template:
        parts: list[str | Sequence] = []
        for part in self.token.value:
            if isinstance(part, str):
                parts.append(part)
                continue
            self.enter()
            inner = type(self)(self._text, part, self.names, self._depth)
            parts.append(inner.block_until("end of text"))
            self.leave()
        self.advance()
        return Template(tuple(parts))

    def _regex(self) -> Literal:
        self.names.patterns += 1
        if self.names.patterns > _MAX_PATTERNS:
            raise BudgetExceededError(f"more than {_MAX_PATTERNS} regular expressions")
        try:
            pattern = compiled(self.token.text)
        except ExpressionError as error:
            offset = self.token.offset
            raise syntax_error(self._text, offset, str(error)) from error
        self.advance()
        return Literal(pattern)


def _is_pattern(node: Node) -> bool:
    return isinstance(node, Literal) and isinstance(node.value, Pattern)


def _reduce(values: list[Node], operator: str) -> None:
    """Apply the operator to the last two values; equal ranks become one flat chain."""
    right = values.pop()
    left = values[-1]
    if operator in ("&&", "||"):
        if isinstance(left, Logic) and left.operator == operator:
            left.operands.append(right)
        else:
            values[-1] = Logic(operator, [left, right])
        return
    rank = _RANKS[operator]
    if isinstance(left, Chain) and left.rank == rank:
        left.rest.append((operator, right))
    else:
        values[-1] = Chain(rank, left, [(operator, right)])
