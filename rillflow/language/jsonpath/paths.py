"""Paths: the JSONPath dialect of Jayway JsonPath 2.8.0 (spec 2.7 to 2.9).

``compile_path`` returns a ``Path``, which reads documents in three ways: ``find`` as the source of
a mapping, ``matches`` as a condition, and ``read`` as the library itself with the mappings'
options. Paths that only name members and elements, nearly all of those in workflows, are evaluated
without runs and steps.

Evaluation is limited by a budget of visited values, and by what is left of a total budget if there
is one. The depth of documents costs no stack. Values are shared with the document, never copied.

Used by `core`, `definition`, `language` and `triggers`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, cast

from rillflow.errors import (
    BudgetExceededError,
    LanguageError,
    PathEvaluationError,
    PathFunctionError,
    PathNotFoundError,
    PathSyntaxError,
    PathUnsupportedError,
)
from rillflow.jsontypes import JsonValue
from rillflow.language.bounded_cache import PATTERN_BYTES, BoundedCache
from rillflow.language.budget import Budget, TotalBudget
from rillflow.language.jsonpath.comparisons import UNDEFINED, Operand
from rillflow.language.jsonpath.compiler import compile_tokens
from rillflow.language.jsonpath.steps import (
    CONDITION,
    EXISTENCE,
    MAPPING,
    READ,
    Mode,
    Place,
    Run,
    link,
)
from rillflow.language.jsonpath.syntax import (
    Filter,
    Function,
    Indexes,
    Names,
    PathSyntax,
    Token,
    read_path,
)
from rillflow.language.text.lexing import shorten

MAX_PATTERNS: Final = 20  # each may take milliseconds to compile
_CACHED_BYTES: Final = 1 << 26
_BYTES_PER_CHARACTER: Final = 128
_CACHED_CHARS: Final = 1024
_COMPILE_STEPS: Final = 10  # and one for each character of the path
_PATTERN_STEPS: Final = 1000  # to compile what stands between two slashes
_KEYS_PER_STEP: Final = 16
_RUN_STEPS: Final = 1
_MATCHES: Final = "=~"
LOST: Final = (KeyError, IndexError, TypeError)
"""What is raised where a value has no such key or element."""


def compile_path(text: str, budget: TotalBudget | None = None) -> "Path":
    """Compile a path; recent ones of ordinary length are cached, others cost steps.

    Raises:
        PathSyntaxError: The text is not a path of the dialect.
        BudgetExceededError: It is too long or too deep.
        WorkLimitError: Nothing is left of the budget.
    """
    if budget is None:
        return _compiled(text)
    if budget.charges_costs:
        return _compiled_once(text, budget)
    budget.spend(1 if len(text) <= _CACHED_CHARS else len(text))
    return _compiled(text)


def path_tokens(text: str) -> tuple[Token, ...]:
    """Return the tokens of a path that can be compiled, for checks that do not read documents.

    Raises:
        LanguageError: As by ``compile_path``.
    """
    known = _tokens_read.get()
    if known is None:
        return _compiled(text).syntax.tokens
    found = known.get(text)
    if found is None:
        try:
            found = known[text] = _tokens_of(text)
        except LanguageError as error:
            found = known[text] = error
    if isinstance(found, LanguageError):
        raise found.with_traceback(None)
    return found


@contextmanager
def paths_read_once() -> Iterator[None]:
    """Have ``path_tokens`` read each path once in the body, however many there are.

    The checks of a definition look at each of its paths several times, and it may have more than
    the cache of compiled paths holds.
    """
    token = _tokens_read.set({})
    try:
        yield
    finally:
        _tokens_read.reset(token)


def _tokens_of(text: str) -> tuple[Token, ...]:
    syntax = _syntax_of(text)
    if any(isinstance(token, Filter | Function) for token in syntax.tokens):
        Path(text, syntax)  # only what is inside of these may be wrong besides
    return syntax.tokens


def _compiled_once(text: str, budget: TotalBudget) -> "Path":
    """Compile a path for a budget, which is charged for each text once and keeps the result.

    The charge does not depend on which paths are cached.
    """
    known = budget.compiled
    if known is None:
        known = budget.compiled = {}
    path = known.get(text)
    if path is None:
        budget.spend(_COMPILE_STEPS + len(text) + text.count("/") // 2 * _PATTERN_STEPS)
        path = known[text] = _compiled(text)
    else:
        budget.spend(1)
    return path


def _compiled(text: str) -> "Path":
    if len(text) > _CACHED_CHARS:
        return _new(text)
    return _paths.get(text) or _paths.put(text, _new(text), compiled_bytes(text))


def _new(text: str) -> "Path":
    return Path(text, _syntax_of(text))


def _syntax_of(text: str) -> PathSyntax:
    if text.count(_MATCHES) > MAX_PATTERNS:
        raise BudgetExceededError(f"more than {MAX_PATTERNS} regular expressions in a path")
    return read_path(text)


def compiled_bytes(text: str) -> int:
    """Estimate the memory of a compiled path, as if its regular expressions were all large."""
    return len(text) * _BYTES_PER_CHARACTER + text.count(_MATCHES) * PATTERN_BYTES


def reads_as_null(error: LanguageError) -> bool:
    """Tell whether a source with this error is null, and not a failure (spec 2.7).

    That is so where the library throws its ``InvalidPathException``: for a text that is not a path,
    an unknown function, and a filter on a scalar. Its functions throw another exception, and
    Rillflow's own limits are no part of the library.
    """
    if isinstance(error, PathFunctionError | PathUnsupportedError):
        return False
    return isinstance(error, PathSyntaxError | PathEvaluationError)


class Path:
    """A compiled path.

    Attributes:
        text: The path as it was written.
        syntax: The parsed path.
        definite: Whether it has one result at most; otherwise reads give a list.
        names: The names that it consists of; None where it has anything else.
        operand_steps: What reading it inside a filter costs, whatever its result.
    """

    __slots__ = (
        "_first", "_follow", "_from_root", "definite", "names", "operand_steps", "syntax", "text",
    )  # fmt: skip

    def __init__(self, text: str, syntax: PathSyntax, depth: int = 0) -> None:
        self.text = text
        self.syntax = syntax
        self._from_root = syntax.root == "$"
        steps = compile_tokens(syntax.tokens, depth, _nested)
        self.definite = link(steps)
        self._first = steps[0] if steps else None
        keys = _keys_of(syntax.tokens)
        is_names = keys is not None and all(isinstance(key, str) for key in keys)
        self.names = cast("tuple[str, ...]", keys) if is_names else None
        self._follow = None if keys is None else _follow_keys(keys)
        is_followed = self._follow is not None
        self.operand_steps = len(syntax.tokens) // _KEYS_PER_STEP if is_followed else _RUN_STEPS

    def find(self, document: JsonValue, total: TotalBudget | None = None) -> JsonValue:
        """Read as the source of a mapping: a definite path without a result gives None.

        Raises:
            PathEvaluationError: A filter met a scalar, or a function failed.
            BudgetExceededError: The path visits too many values.
            WorkLimitError: Nothing is left of the total.
        """
        if self._follow is not None:
            try:
                return self._follow(document)
            except LOST:
                return None
        try:
            return self.read(document, total)
        except PathNotFoundError:
            return None

    def read(self, document: JsonValue, total: TotalBudget | None = None) -> JsonValue:
        """Read as Jayway does with a missing last name as null.

        Raises:
            PathNotFoundError: The path is definite and leads nowhere.
            PathEvaluationError: A filter met a scalar, or a function failed.
            BudgetExceededError: The path visits too many values.
            WorkLimitError: Nothing is left of the total.
        """
        return self._value(self._begin(document, MAPPING, total))

    def read_strict(self, document: JsonValue, total: TotalBudget | None = None) -> JsonValue:
        """Read as Jayway does by default: a missing last name is missing.

        Raises:
            PathNotFoundError: The path is definite and leads nowhere.
            PathEvaluationError: A filter met a scalar, or a function failed.
            BudgetExceededError: The path visits too many values.
            WorkLimitError: Nothing is left of the total.
        """
        return self._value(self._begin(document, READ, total))

    def matches(self, document: JsonValue, total: TotalBudget | None = None) -> bool:
        """Tell whether the path, as a condition, has a result; functions never do.

        Raises:
            PathEvaluationError: A filter met a scalar.
            BudgetExceededError: The path visits too many values.
            WorkLimitError: Nothing is left of the total.
        """
        if self._follow is not None:
            try:
                self._follow(document)
            except LOST:
                return False
            return True
        if self.syntax.is_function:
            return False
        return bool(self._begin(document, CONDITION, total).found)

    def places(self, document: JsonValue, total: TotalBudget | None = None) -> list[Place]:
        """Return the places in the document that writing to this path would change.

        Raises:
            PathNotFoundError: The path is definite and leads nowhere.
            PathEvaluationError: A filter met a scalar, or a function failed.
            BudgetExceededError: The path visits too many values.
            WorkLimitError: Nothing is left of the total.
        """
        return self._begin(document, MAPPING, total, ()).places

    def operand(self, item: JsonValue, run: Run) -> Operand:
        """Return the value inside a filter (see ``filters.OperandPath``)."""
        document = run.root if self._from_root else item
        if self._follow is not None:
            try:
                return self._follow(document)
            except LOST:
                return self._missing_operand(document, run)
        if not self._from_root:
            return self._operand_by_steps(document, run)
        if id(self) not in run.root_operands:
            run.root_operands[id(self)] = self._operand_by_steps(document, run)
        return run.root_operands[id(self)]

    def exists(self, item: JsonValue, run: Run) -> bool:
        """Tell whether the path exists inside a filter (see ``filters.OperandPath``).

        As in Jayway, a path that may lead to several values exists also when it leads
        to none, as long as nothing that it names is missing.
        """
        document = run.root if self._from_root else item
        if self._follow is not None:
            try:
                self._follow(document)
            except LOST:
                return False
            return True
        try:
            inner = self._run(document, EXISTENCE, run.root, run.budget)
        except PathNotFoundError:
            return False
        return bool(inner.found) or not self.definite

    def evaluate(self, document: JsonValue, run: Run) -> JsonValue:
        """Read as an argument of a function, in the mode and on the budget of its run.

        Raises:
            PathNotFoundError: The path is definite and leads nowhere.
            PathEvaluationError: A filter met a scalar, or a function failed.
        """
        return self._value(self._run(document, run.mode, document, run.budget))

    def _missing_operand(self, document: JsonValue, run: Run) -> Operand:
        if run.mode.suppress:
            return None
        return self._operand_by_steps(document, run) if run.mode.leaf_to_null else UNDEFINED

    def _operand_by_steps(self, document: JsonValue, run: Run) -> Operand:
        try:
            found = self._run(document, run.mode, run.root, run.budget).found
        except PathNotFoundError:
            return UNDEFINED
        if not self.definite:
            return found
        if found:
            return found[-1]
        return None if run.mode.suppress else UNDEFINED

    def _begin(
        self,
        document: JsonValue,
        mode: Mode,
        total: TotalBudget | None,
        place: Place | None = None,
    ) -> Run:
        """Run over a separate document, with a separate budget."""
        budget = Budget(total)
        try:
            return self._run(document, mode, document, budget, place)
        finally:
            budget.settle()

    def _run(
        self,
        document: JsonValue,
        mode: Mode,
        root: JsonValue,
        budget: Budget,
        place: Place | None = None,
    ) -> Run:
        run = Run(root, mode, budget)
        if self._first is None:
            run.add(document, place)
        else:
            self._first.apply(document, run, place)
        return run

    def _value(self, run: Run) -> JsonValue:
        if not self.definite:
            return run.found
        if run.found:
            return run.found[-1]
        if run.mode.suppress:
            return None
        raise PathNotFoundError(f"no results for path {shorten(self.text)}")


_paths: Final = BoundedCache[Path](_CACHED_BYTES)
_tokens_read: Final = ContextVar[dict[str, tuple[Token, ...] | LanguageError] | None](
    "_tokens_read", default=None
)


def _nested(syntax: PathSyntax, depth: int) -> Path:
    return Path("(nested)", syntax, depth)


def _keys_of(tokens: tuple[Token, ...]) -> tuple[str | int, ...] | None:
    """Return the keys of a path of single names and indexes, else None."""
    keys: list[str | int] = []
    for token in tokens:
        if isinstance(token, Names) and len(token.names) == 1:
            keys.append(token.names[0])
        elif isinstance(token, Indexes) and len(token.indexes) == 1:
            keys.append(token.indexes[0])
        else:
            return None
    return tuple(keys)


def _follow_keys(keys: tuple[str | int, ...]) -> Callable[[JsonValue], JsonValue]:
    def follow_names(value: Any) -> JsonValue:
        for name in keys:
            value = value[name]
        found: JsonValue = value  # a cast would be a call
        return found

    def follow(value: Any) -> JsonValue:
        for key in keys:
            if isinstance(value, str):
                raise TypeError
            value = value[key]
        found: JsonValue = value
        return found

    return follow_names if all(isinstance(key, str) for key in keys) else follow
