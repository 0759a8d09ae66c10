"""Regular expressions by RE2: linear in time, without look-around or back-references.

Patterns and replacements have Java's syntax (``$1`` stands for a group), as far as RE2 supports the
construct; others are refused.

Used by `language/expressions`, `language/expressions/functions` and `runtime/definitions`.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, TypeAlias

import re2

from rillflow.errors import BudgetExceededError, ExpressionError
from rillflow.language.budget import CHARACTERS_PER_STEP, search_steps
from rillflow.language.expressions.budget import Meter
from rillflow.language.expressions.lexer import excerpt
from rillflow.language.text.regular_expressions import Program, compile_program
from rillflow.language.versions import MEMORY_CHARGED

Match: TypeAlias = Any  # re2 ships no types

_COMPILE_STEPS: Final = 2000
_MATCH_STEPS: Final = 6
_INSTRUCTIONS_PER_STEP: Final = 100
_GROUP_STEPS: Final = 2
_GROUPS_AT_ONCE: Final = 50  # this many cost as much as the instructions themselves
_MAX_PATTERN: Final = 1000
_MAX_PROGRAM: Final = 2000
_CACHED: Final = 128
_TEMPLATE_CHARACTERS_PER_STEP: Final = 8
_SPECIAL: Final = frozenset(".^$*+?()[]{}|\\")
_UNBOUNDED: Final = frozenset("*+{")
_SIMPLE: Final = re.compile(r"(?:\\[dDsSwW]|\[[^\[\]\\]*\]|[^\\.^$*+?()\[\]{}|])[*+]?")


class Pattern:
    """A compiled regular expression.

    Attributes:
        source: Its text.
        size: Instructions of its program, at least 1.
        groups: How many groups it captures.
        is_local: Whether finding one match reads no further than about its end. Of
            other patterns, every match may read the text to its end, so finding all
            of them may take the square of its length.
    """

    __slots__ = ("_compiled", "groups", "is_local", "size", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self._compiled, self.size = _compile(source)
        self.groups = int(self._compiled.groups)
        simple = _SIMPLE.fullmatch(source) is not None
        self.is_local = simple or _UNBOUNDED.isdisjoint(source)

    def steps(self, length: int) -> int:
        """Return what reading ``length`` characters costs, by RE2's slowest engine."""
        return _MATCH_STEPS + length * self.size // _INSTRUCTIONS_PER_STEP

    def group_steps(self, length: int) -> int:
        """Return what the groups add: RE2 keeps the positions of all for each instruction."""
        work = length * self.size * self.groups
        return self.groups * _GROUP_STEPS + work // (_INSTRUCTIONS_PER_STEP * _GROUPS_AT_ONCE)

    def full_match(self, text: str) -> Match | None:
        """Match the whole text."""
        return self._compiled.fullmatch(text)

    def matches(self, text: str) -> Iterator[Match]:
        """Yield the matches from left to right."""
        found: Iterator[Match] = self._compiled.finditer(text)
        return found


def pattern_of(meter: Meter, source: str) -> Pattern:
    """Return the compiled pattern; an evaluation is charged for it once."""
    meter.cost(len(source) // CHARACTERS_PER_STEP)
    pattern: Pattern | None = meter.patterns.get(source)
    if pattern is None:
        meter.work(_COMPILE_STEPS)
        pattern = meter.patterns[source] = compiled(source)
    return pattern


@lru_cache(maxsize=_CACHED)
def compiled(source: str) -> Pattern:
    """Compile a pattern.

    Raises:
        ExpressionError: It is not a pattern of RE2.
        BudgetExceededError: It is too long.
    """
    return Pattern(source)


def match_whole(meter: Meter, text: str, pattern: Pattern) -> bool:
    """Answer ``text =~ pattern``; the groups become ``$0``, ``$1`` and so on."""
    meter.work(pattern.steps(len(text)))
    meter.cost(pattern.group_steps(len(text)))
    match = pattern.full_match(text)
    if match is None:
        return False
    spans = [match.span(number) for number in range(len(match.groups()) + 1)]
    meter.make_text(sum(end - start for start, end in spans), wide=not text.isascii())
    groups = (text[start:end] if start >= 0 else None for start, end in spans)
    meter.root.update((f"${number}", group) for number, group in enumerate(groups))
    return True


_LOOKED_AT_TOGETHER: Final = 1_024


def split(meter: Meter, text: str, source: str, limit: int) -> list[str]:
    """Split as Java does: without a limit, empty texts at the end are dropped."""
    meter.make_text(len(text), wide=not text.isascii())
    meter.cost(len(source) // CHARACTERS_PER_STEP)
    if source and _SPECIAL.isdisjoint(source) and limit <= 0:
        meter.read_text(len(text))
        meter.cost(search_steps(len(text), len(source)))
        if meter.language >= MEMORY_CHARGED:
            meter.check_size(text.count(source))
        # Those at the end give empty parts only; it takes a tenth of the time not to make them.
        rest = text.rstrip(source) if limit == 0 and len(source) == 1 else text
        parts: list[str] = rest.split(source) if rest or not text else []
    else:
        parts = _split_by_pattern(meter, text, pattern_of(meter, source), limit)
    if limit == 0 and len(parts) > 1:
        _drop_empty_end(parts)
    meter.make_collection(len(parts))
    return parts


def _drop_empty_end(parts: list[str]) -> None:
    """Drop empty texts at the end, which may be all: many of them are not looked at singly."""
    end = len(parts)
    while end and not any(parts[max(end - _LOOKED_AT_TOGETHER, 0) : end]):
        end = max(end - _LOOKED_AT_TOGETHER, 0)
    while end and not parts[end - 1]:
        end -= 1
    del parts[end:]


def replace(meter: Meter, text: str, source: str, replacement: str, *, once: bool) -> str:
    """Replace the first match, or every match, by a Java replacement."""
    meter.cost(len(replacement) // _TEMPLATE_CHARACTERS_PER_STEP)
    template = _template(replacement)
    pieces: list[str] = []
    place = length = 0
    for match in _matches(meter, text, pattern_of(meter, source)):
        for piece in (text[place : match.start()], *template):
            pieces.append(piece if isinstance(piece, str) else _group(match, piece))
            length += len(pieces[-1])
            _check_progress(meter, length)
        place = match.end()
        if once:
            break
    wide = not (text.isascii() and replacement.isascii())
    meter.make_text(length + len(text) - place, wide=wide)
    return "".join((*pieces, text[place:]))


def _split_by_pattern(meter: Meter, text: str, pattern: Pattern, limit: int) -> list[str]:
    parts: list[str] = []
    place = 0
    for match in _matches(meter, text, pattern):
        if match.end() == 0:
            continue  # an empty match at the very start does not split
        if limit > 0 and len(parts) == limit - 1:
            break
        meter.check_size(len(parts))
        parts.append(text[place : match.start()])
        place = match.end()
    return [*parts, text[place:]]


def _matches(meter: Meter, text: str, pattern: Pattern) -> Iterator[Match]:
    meter.work(pattern.steps(len(text)))
    meter.cost(pattern.group_steps(len(text)))
    for match in pattern.matches(text):
        rest = 0 if pattern.is_local else len(text) - match.end()
        meter.work(pattern.steps(rest))
        meter.cost(pattern.group_steps(rest))
        yield match


def _check_progress(meter: Meter, length: int) -> None:
    meter.work(1)
    if length > meter.budget.string_length:
        meter.make_text(length)


def _template(replacement: str) -> list[str | int]:
    """Read a Java replacement: texts, and numbers of groups."""
    parts: list[str | int] = []
    signs = iter(replacement)
    for sign in signs:
        if sign == "\\":
            parts.append(next(signs, ""))
        elif sign == "$":
            digit = next(signs, "")
            if not (digit.isascii() and digit.isdigit()):
                raise ExpressionError("a '$' in a replacement needs the number of a group")
            parts.append(int(digit))
        else:
            parts.append(sign)
    return _joined(parts)


def _joined(parts: list[str | int]) -> list[str | int]:
    joined: list[str | int] = []
    texts: list[str] = []
    for part in (*parts, 0):
        if isinstance(part, str):
            texts.append(part)
            continue
        joined += ["".join(texts)] if texts else []
        joined.append(part)
        texts.clear()
    return joined[:-1]


def _group(match: Match, number: int) -> str:
    try:
        return match.group(number) or ""
    except IndexError as error:
        raise ExpressionError(f"a replacement names group {number}, which is not there") from error


def _compile(source: str) -> Program:
    if len(source) > _MAX_PATTERN:
        raise BudgetExceededError(f"a regular expression is longer than {_MAX_PATTERN} characters")
    try:
        return compile_program(source, most=_MAX_PROGRAM)
    except re2.error as error:
        detail = error.args[0].decode("utf-8", "replace")
        raise ExpressionError(
            f"regular expression /{excerpt(source)}/ is refused: {detail}"
        ) from error
