"""The parser of statements; `operands.py` parses the expressions in them.

The grammar is that of AviatorScript 5.2.7 as far as spec 2.5 needs it. A statement ends with a
semicolon, which may be missing after the last expression (its value is then the value of the block)
and after a closing brace; ``let``, ``return``, ``break``, ``continue`` and ``throw`` always need
one.

Used by `language/expressions`.
"""

from collections.abc import Callable
from typing import Final

from rillflow.language.expressions.lexer import excerpt
from rillflow.language.expressions.operands import OperandParser
from rillflow.language.expressions.tree import (
    For,
    Function,
    If,
    Leave,
    Let,
    Literal,
    Node,
    Program,
    Return,
    Sequence,
    Throw,
    While,
)

_REFUSED: Final = {
    "new": "no Java objects",
    "use": "no Java classes",
    "try": "no exceptions to catch",
    "catch": "no exceptions to catch",
    "finally": "no exceptions to catch",
}
_BLOCKS: Final = (If, For, While, Sequence)


class Parser(OperandParser):
    """Parses a whole text, or the part of a string between ``#{`` and ``}``."""

    def program(self) -> Program:
        """Parse the whole text.

        Raises:
            ExpressionSyntaxError: It is not an expression of the subset.
            BudgetExceededError: It is nested too deeply.
        """
        body = self.block_until("end of text")
        if not body.statements:
            self.fail("the expression is blank")
        names = self.names
        extensions = tuple(extension for _, extension in sorted(names.extensions))
        return Program(body, frozenset(names.bound), names.mutates, extensions, names.since)

    def block_until(self, closing: str) -> Sequence:
        """Parse statements up to the token that closes them, which is left there."""
        statements: list[Node] = []
        discards = left = False
        while not self._closes(closing):
            if left:
                self.fail("unreachable code")
            statement = self.statement()
            statements.append(statement)
            left = _leaves(statement)
            discards = self._end_statement(statement, closing)
        return Sequence(tuple(statements), discards)

    def braces(self) -> Sequence:
        """Parse ``{...}``."""
        self.expect("{")
        self.enter()
        body = self.block_until("}")
        self.leave()
        self.expect("}")
        return body

    def statement(self) -> Node:
        """Parse one statement, with the semicolon only where it needs one."""
        token = self.token
        if token.kind == "mark" and token.text == "{":
            return self.braces()
        if token.kind != "keyword":
            return self.expression()
        if token.text in _REFUSED:
            self.fail(f"'{token.text}' is not supported: there are {_REFUSED[token.text]} here")
        if token.text == "fn" and self.next_token().kind == "name":
            return self._function()
        parsers: dict[str, Callable[[], Node]] = {
            "if": self._if,
            "for": self._for,
            "while": self._while,
            "let": self._let,
            "return": self._return,
            "break": self._leave_loop,
            "continue": self._leave_loop,
            "throw": self._throw,
        }
        return parsers.get(token.text, self.expression)()

    def _closes(self, closing: str) -> bool:
        if self.token.kind == "end":
            if closing != "end of text":
                self.fail(f"missing '{closing}'")
            return True
        return self.token.kind in ("mark", "keyword") and self.token.text == closing

    def _end_statement(self, statement: Node, closing: str) -> bool:
        """Take the semicolon; tell whether one ended the last expression."""
        if isinstance(statement, Let) and isinstance(statement.value, Function):
            return self.take(";")
        if isinstance(statement, Let | Return | Leave | Throw):
            return False  # they have taken their own
        if self.take(";"):
            return True
        if not isinstance(statement, _BLOCKS) and not self._closes(closing):
            self.fail(f"unexpected '{excerpt(self.token.text)}', or a missing ';' before it")
        return False

    def _if(self) -> If:
        branches = []
        while True:
            self.advance()
            test = self.expression()
            branches.append((test, self.braces()))
            if not self.at_keyword("elsif"):
                break
        otherwise = None
        if self.at_keyword("else"):
            self.advance()
            otherwise = self.braces()
        return If(tuple(branches), otherwise)

    def _for(self) -> For:
        self.advance()
        names = [self.new_name()]
        if self.take(","):
            names.append(self.new_name())
        if not self.at_keyword("in"):
            self.fail("expected 'in'")
        self.advance()
        values = self.expression()
        return For(tuple(names), values, self._loop_body())

    def _while(self) -> While:
        self.advance()
        test = self.expression()
        return While(test, self._loop_body())

    def _loop_body(self) -> Sequence:
        self.loops += 1
        body = self.braces()
        self.loops -= 1
        return body

    def _let(self) -> Let:
        self.advance()
        name = self.new_name()
        self.expect("=")
        value = self.assigned()
        self.expect(";")
        if isinstance(value, Function):
            self.names.functions.add(name)
        return Let(name, value)

    def _function(self) -> Let:
        self.advance()
        name = self.new_name()
        self.names.functions.add(name)
        return Let(name, self.function_literal())

    def _return(self) -> Return:
        self.advance()
        if self.take(";"):
            return Return(Literal(None))
        value = self.expression()
        self.expect(";")
        return Return(value)

    def _throw(self) -> Throw:
        self.advance()
        value = self.expression()
        self.expect(";")
        return Throw(value)

    def _leave_loop(self) -> Leave:
        word = self.token.text
        if not self.loops:
            self.fail(f"'{word}' outside a loop")
        self.advance()
        self.expect(";")
        return Leave(word)


def _leaves(statement: Node) -> bool:
    """Tell whether the rest of the block after the statement is unreachable."""
    if isinstance(statement, Return | Leave | Throw):
        return True
    if isinstance(statement, If) and statement.otherwise is not None:
        blocks = [*(block for _, block in statement.branches), statement.otherwise]
        return all(block.statements and _leaves(block.statements[-1]) for block in blocks)
    return False
