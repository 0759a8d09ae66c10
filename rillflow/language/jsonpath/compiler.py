"""The compiler of paths: from tokens to steps.

The caller, `paths.py`, passes ``nest``, which compiles paths inside filters and arguments, so that
this module does not depend on it.
"""

from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from rillflow.errors import PathSyntaxError, PathUnsupportedError
from rillflow.jsontypes import JsonValue
from rillflow.language.jsonpath.filter_syntax import read_filter
from rillflow.language.jsonpath.filters import OperandPath, compile_filter, count_comparisons
from rillflow.language.jsonpath.functions import ArgumentValue, length_function, path_function
from rillflow.language.jsonpath.steps import (
    FilterStep,
    FunctionStep,
    FurtherNamesStep,
    IndexesStep,
    NamesStep,
    PathFunction,
    Run,
    ScanStep,
    SliceStep,
    Step,
    WildcardStep,
)
from rillflow.language.jsonpath.syntax import (
    Filter,
    Function,
    Indexes,
    JsonArgument,
    Names,
    PathArgument,
    PathSyntax,
    Scan,
    Slice,
    Token,
    Wildcard,
    read_path,
)
from rillflow.language.text.loose_json import JsonSyntaxError, read_json


class NestedPath(OperandPath, Protocol):
    """A path inside another path."""

    def evaluate(self, document: JsonValue, run: Run) -> JsonValue:
        """Read it as an argument of a function, in the mode and on the budget of its run."""


_FREE_NAMES: Final = 2

Nest: TypeAlias = Callable[[PathSyntax, int], NestedPath]


def compile_tokens(tokens: tuple[Token, ...], depth: int, nest: Nest) -> list[Step]:
    """Make the steps of a path.

    Args:
        tokens: The tokens of the path.
        depth: How many tokens and brackets enclose the path.
        nest: Makes the paths inside it.

    Raises:
        PathSyntaxError: A filter or an argument is wrong.
        BudgetExceededError: It is nested too deeply.
    """
    compiler = _TokenCompiler(nest)
    tokens = _functions_first(tokens)
    return [
        FurtherNamesStep(token.names)
        if isinstance(token, Names) and _is_further(tokens[:at])
        else compiler.compile(token, depth + at + 1)
        for at, token in enumerate(tokens)
    ]


def _is_further(before: tuple[Token, ...]) -> bool:
    """Tell whether all tokens before a name are names, and more than a few."""
    row = before[-_FREE_NAMES:]
    return len(row) == _FREE_NAMES and all(isinstance(token, Names) for token in row)


def _functions_first(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """Turn ``$..a.sum()`` into ``$.sum($..a)``, as Jayway does where ``..`` comes first."""
    path = PathSyntax("$", tokens)
    if not path.is_function or not isinstance(tokens[0], Scan):
        return tokens
    at, function = next(
        (at, token) for at, token in enumerate(tokens) if isinstance(token, Function)
    )
    argument = PathArgument(PathSyntax("$", tokens[:at]))
    return (Function(function.name, (argument,)), *tokens[at + 1 :])


class _TokenCompiler:
    def __init__(self, nest: Nest) -> None:
        self._nest = nest

    def compile(self, token: Token, depth: int) -> Step:
        match token:
            case Names(names):
                return NamesStep(names)
            case Indexes(indexes):
                return IndexesStep(indexes)
            case Slice(start, stop):
                return SliceStep(start, stop)
            case Wildcard():
                return WildcardStep()
            case _:
                return self._compile_nesting(token, depth)

    def _compile_nesting(self, token: Token, depth: int) -> Step:
        match token:
            case Filter(text):
                tree = read_filter(text, depth)
                steps = 0

                def operand(path: str) -> OperandPath:
                    nonlocal steps
                    nested = self._nest(read_path(path, depth), depth)
                    steps += nested.operand_steps
                    return nested

                predicate = compile_filter(tree, operand)
                return FilterStep(text, predicate, count_comparisons(tree), steps)
            case Function(name, arguments):
                return FunctionStep(self._function(name, arguments, depth))
            case _:
                return ScanStep()

    def _function(
        self, name: str, arguments: tuple[JsonArgument | PathArgument, ...], depth: int
    ) -> PathFunction:
        if name in ("length", "size") and arguments:
            return self._length(arguments[0], depth)
        return path_function(name, tuple(self._argument(each, depth) for each in arguments))

    def _argument(self, argument: JsonArgument | PathArgument, depth: int) -> ArgumentValue:
        if isinstance(argument, PathArgument):
            path = self._nest(argument.path, depth)
            return lambda run: path.evaluate(run.root, run)
        try:
            value = read_json(argument.text, "words", whole=True)
        except JsonSyntaxError as error:
            raise PathSyntaxError(f"bad argument of a function: {error}") from error
        return lambda _run: value

    def _length(self, argument: JsonArgument | PathArgument, depth: int) -> PathFunction:
        """Count the values below a path, ``length($.a)``, starting at the value itself."""
        if isinstance(argument, JsonArgument):
            raise PathUnsupportedError("length takes a path")
        root, tokens = argument.path
        counts_itself = not tokens or argument.path.is_function
        below = PathSyntax(root, tokens if counts_itself else (*tokens, Wildcard()))
        path = self._nest(below, depth)

        def count(value: JsonValue, run: Run) -> int | None:
            found = path.evaluate(value, run)
            return len(found) if isinstance(found, list) else None

        return length_function(count)
