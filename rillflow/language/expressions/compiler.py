"""The compiler: from the syntax tree to code, with the cost and the depth of every block.

Used by `language/expressions`.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from rillflow.language.expressions.closures import operand_closures, statement_closures
from rillflow.language.expressions.closures.operand_closures import Step
from rillflow.language.expressions.functions import FUNCTIONS
from rillflow.language.expressions.lexer import excerpt
from rillflow.language.expressions.scopes import CALL_FRAMES, Code
from rillflow.language.expressions.tree import (
    Arguments,
    Assign,
    Chain,
    Conditional,
    Extension,
    For,
    Function,
    If,
    Leave,
    Let,
    Literal,
    Logic,
    Name,
    Node,
    Operator,
    Power,
    Program,
    Return,
    Sequence,
    Store,
    Suffixed,
    Template,
    Throw,
    Unary,
    While,
)

_STATEMENTS = (Sequence, If, For, While, Return, Leave, Throw, Let)
_LEAF_FRAMES = 4


class Compiler:
    """Compiles one program.

    Attributes:
        frames: Frames of the interpreter that the code takes, without its calls.
        calls: The functions that it calls by name and does not define, as dictionary
            keys in the order written.
        outer: The variables that it reads and that can only come from outside, likewise.
    """

    def __init__(self, program: Program) -> None:
        self.calls: dict[str, None] = {}
        self.outer: dict[str, None] = {}
        self._program = program
        self._level = 0
        self._deepest = 0
        self._cost = 0
        self._declares = False

    @property
    def extensions(self) -> tuple[Extension, ...]:
        """The constructs of the program that only Rillflow supports."""
        return self._program.extensions

    @property
    def since(self) -> int:
        """The language version that supports all of the program's syntax."""
        return self._program.since

    @property
    def frames(self) -> int:
        """Frames of the interpreter that the compiled program takes without its calls."""
        return self._deepest + _LEAF_FRAMES

    @property
    def cost(self) -> int:
        """The steps of every evaluation, which are charged to a total."""
        return 1 + self._cost

    def program(self) -> Code:
        """Compile the whole program; a single expression needs no block."""
        statements = self._program.body.statements
        if len(statements) == 1 and not self._program.body.discards:
            (only,) = statements
            if isinstance(only, Return):
                return self._compile(only.value)
            if not isinstance(only, _STATEMENTS):
                return self._compile(only)
        return self._block(self._program.body, own_names=False)

    def _compile(self, node: Node) -> Code:
        self._level += 1
        self._deepest = max(self._deepest, self._level)
        self._cost += 1
        code = self._BY_TYPE[type(node)](self, node)
        self._level -= 1
        return code

    def _all(self, nodes: Any) -> list[Code]:
        return [self._compile(node) for node in nodes]

    def _block(self, node: Sequence, *, own_names: bool = True) -> Code:
        """Compile a block; it gets a scope only if something in it may add a name."""
        cost, self._cost = self._cost, 1
        declares, self._declares = self._declares, False
        codes = self._all(node.statements)
        code = statement_closures.sequence(
            codes,
            cost=self._cost,
            discards=node.discards,
            scoped=own_names and self._declares,
        )
        self._cost, self._declares = cost, declares
        return code

    # Expressions.

    def _literal(self, node: Literal) -> Code:
        return operand_closures.constant(node.value)

    def _template(self, node: Template) -> Code:
        parts = [part if isinstance(part, str) else self._compile(part) for part in node.parts]
        return operand_closures.template(parts)

    def _name(self, node: Name) -> Code:
        name, keys = node.name, node.keys
        if keys and node.text in FUNCTIONS:
            return operand_closures.constant(FUNCTIONS[node.text])
        bound, mutates = name in self._program.bound, self._program.mutates
        if not bound and name not in FUNCTIONS and not name.startswith("$"):
            self.outer[name] = None
        if keys and mutates and not bound:
            return operand_closures.copied_path(name, keys, excerpt(node.text))
        read = operand_closures.copied_variable if mutates else operand_closures.outer_variable
        code = read(name)
        if bound or name.startswith("$"):
            code = operand_closures.scoped_variable(name, code)
        return operand_closures.path(code, keys, excerpt(node.text)) if keys else code

    def _suffixed(self, node: Suffixed) -> Code:
        suffixes = node.suffixes
        first = suffixes[0]
        if isinstance(node.target, Name) and isinstance(first, Arguments):
            code = self._named_call(node.target, first.values)
            suffixes = suffixes[1:]
        else:
            code = self._compile(node.target)
        text = excerpt(node.target.text) if isinstance(node.target, Name) else ""
        steps = [self._step(suffix, text) for suffix in suffixes]
        return operand_closures.suffixed(code, steps) if steps else code

    def _step(self, suffix: Any, text: str) -> Step:
        if isinstance(suffix, Arguments):
            return operand_closures.call_step(self._all(suffix.values), text)
        return operand_closures.index_step(self._compile(suffix.index))

    def _named_call(self, target: Name, values: tuple[Node, ...]) -> Code:
        name = target.text
        if name == "is_def" and len(values) == 1 and isinstance(values[0], Name):
            return operand_closures.is_defined(values[0].name, values[0].keys)
        bound = target.name in self._program.bound
        if not bound:
            self.calls[name] = None
        if name in FUNCTIONS and (target.keys or not bound):
            return operand_closures.library_call(FUNCTIONS[name], self._all(values))
        if not bound:
            return operand_closures.unknown_call(excerpt(name))
        called = self._compile(target)
        if name in FUNCTIONS:
            called = operand_closures.function_or(called, FUNCTIONS[name])
        step = operand_closures.call_step(self._all(values), excerpt(name))
        return operand_closures.suffixed(called, [step])

    def _unary(self, node: Unary) -> Code:
        return operand_closures.prefixed(node.operator, self._compile(node.operand))

    def _chain(self, node: Chain) -> Code:
        rest = [(symbol, self._compile(operand)) for symbol, operand in node.rest]
        return operand_closures.chain(self._compile(node.first), rest)

    def _logic(self, node: Logic) -> Code:
        self._level += 1  # the generator that goes through the operands
        codes = self._all(node.operands)
        self._level -= 1
        join = (
            operand_closures.conjunction if node.operator == "&&" else operand_closures.disjunction
        )
        return join(codes)

    def _power(self, node: Power) -> Code:
        return operand_closures.power(self._compile(node.base), self._compile(node.exponent))

    def _conditional(self, node: Conditional) -> Code:
        branches = [(self._compile(test), self._compile(value)) for test, value in node.branches]
        return operand_closures.conditional(branches, self._compile(node.otherwise))

    def _function(self, node: Function) -> Code:
        level, deepest = self._level, self._deepest
        self._level = self._deepest = 0
        body = self._block(node.body, own_names=False)
        frames = self._deepest + CALL_FRAMES
        self._level, self._deepest = level, deepest
        return operand_closures.function(
            node.parameters, body, frames=frames, variadic=node.variadic
        )

    def _operator(self, node: Operator) -> Code:
        return operand_closures.constant(operand_closures.operator_function(node.operator))

    # Statements.

    def _sequence(self, node: Sequence) -> Code:
        return self._block(node)

    def _let(self, node: Let) -> Code:
        self._declares = True
        return statement_closures.define(node.name, self._compile(node.value))

    def _assign(self, node: Assign) -> Code:
        self._declares = True
        return statement_closures.assign(node.name, self._compile(node.value))

    def _store(self, node: Store) -> Code:
        target, key = self._compile(node.target), self._compile(node.key)
        return statement_closures.store_element(target, key, self._compile(node.value))

    def _if(self, node: If) -> Code:
        branches = [(self._compile(test), self._compile(block)) for test, block in node.branches]
        otherwise = self._compile(node.otherwise) if node.otherwise is not None else None
        return statement_closures.choose(branches, otherwise)

    def _for(self, node: For) -> Code:
        values = self._compile(node.values)
        self._level += 1
        body = self._block(node.body, own_names=False)
        self._level -= 1
        return statement_closures.repeat_for(node.names, values, body)

    def _while(self, node: While) -> Code:
        before = self._cost
        test = self._compile(node.test)
        cost, self._cost = self._cost - before, before
        return statement_closures.repeat_while(test, self._compile(node.body), cost=cost)

    def _return(self, node: Return) -> Code:
        return statement_closures.give_back(self._compile(node.value))

    def _throw(self, node: Throw) -> Code:
        return statement_closures.fail(self._compile(node.value))

    def _leave(self, node: Leave) -> Code:
        return statement_closures.leave_loop(node.word)

    _BY_TYPE: ClassVar[dict[type, Callable[..., Code]]] = {
        Literal: _literal,
        Template: _template,
        Name: _name,
        Suffixed: _suffixed,
        Unary: _unary,
        Chain: _chain,
        Logic: _logic,
        Power: _power,
        Conditional: _conditional,
        Function: _function,
        Operator: _operator,
        Sequence: _sequence,
        Let: _let,
        Assign: _assign,
        Store: _store,
        If: _if,
        For: _for,
        While: _while,
        Return: _return,
        Throw: _throw,
        Leave: _leave,
    }
