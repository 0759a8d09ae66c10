"""Scanning of texts in the path dialect: spaces, quotes, brackets, escapes.

Positions are indexes into the text; ``last`` is the index of the last character that counts, so
trailing spaces can be omitted without copying. Only the space is blank: tabs and line ends are not,
as in Jayway JsonPath.

Used by `core/redo/names.py`, `language/jsonpath`, `language/mapping` and `language/text`.
"""

import re
from typing import Final

from rillflow.errors import PathSyntaxError

_ESCAPE: Final = re.compile(r"\\(?:u(.{4})|(.))", re.DOTALL)
_CONTROLS: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def skip_blanks(text: str, at: int, last: int) -> int:
    """Return the position of the first character that is not a space, at most ``last``."""
    while at < last and text[at] == " ":
        at += 1
    return at


def next_significant(text: str, at: int, last: int) -> int:
    """Return the position of the next character after ``at`` that is not a space, or -1."""
    at += 1
    while at <= last and text[at] == " ":
        at += 1
    return at if at <= last else -1


def next_is(text: str, at: int, last: int, wanted: str) -> int:
    """Return the position of ``wanted`` when only spaces separate it from ``at``, else -1."""
    found = next_significant(text, at, last)
    return found if found >= 0 and text[found] == wanted else -1


def closing_mark(text: str, at: int, last: int) -> int:
    """Return where the quote, or the slash, that opens at ``at`` closes, or -1."""
    mark = text[at]
    at += 1
    while at <= last:
        if text[at] == "\\":
            at += 1
        elif text[at] == mark:
            return at
        at += 1
    return -1


def matching_bracket(text: str, at: int, last: int, *, patterns: bool = False) -> int:
    """Return where the bracket that opens at ``at`` closes, or -1.

    Quoted strings are skipped, and with ``patterns`` the text between slashes.

    Raises:
        PathSyntaxError: A quote or a pattern does not close.
    """
    opening, closing = text[at], {"(": ")", "[": "]", "{": "}"}[text[at]]
    depth = 0
    while at <= last:
        if text[at] in "'\"":
            at = _after_mark(text, at, last)
        if patterns and at <= last and text[at] == "/":
            at = _after_mark(text, at, last)
        if at <= last and text[at] == opening:
            depth += 1
        elif at <= last and text[at] == closing:
            depth -= 1
            if not depth:
                return at
        at += 1
    return -1


def _after_mark(text: str, at: int, last: int) -> int:
    end = closing_mark(text, at, last)
    if end < 0:
        raise PathSyntaxError(f"missing closing {text[at]} in: {shorten(text)}")
    return end + 1


def unescape(text: str) -> str:
    r"""Resolve backslash escapes: ``\n``, ``\u4e2d``, ``\'``; others drop the backslash.

    Raises:
        PathSyntaxError: An escape is not four hexadecimal digits, or half a character.
    """
    if "\\" not in text:
        return text
    plain = _ESCAPE.sub(_character, text)
    try:
        return plain.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError as error:
        raise PathSyntaxError(f"half a surrogate pair in: {shorten(text)}") from error


def _character(match: re.Match[str]) -> str:
    digits, letter = match[1], match[2]
    if digits is not None:
        try:
            return chr(int(digits, 16))
        except ValueError as error:
            raise PathSyntaxError(f"bad unicode escape: {match[0]}") from error
    return "" if letter == "u" else _CONTROLS.get(letter, letter)


def shorten(text: str) -> str:
    """Cut a text for a message."""
    return text if len(text) <= 200 else f"{text[:197]}..."
