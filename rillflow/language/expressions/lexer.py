r"""The lexer: from text to tokens.

A name with dots (``a.b.c``, ``string.length``) is one token, as in AviatorScript. A string is
unescaped first and then searched for ``#{...}``, whose tokens become part of the string's token;
``\#`` is a literal hash sign. Outside strings a hash sign quotes a name, which may then have
indexes (``#a.b[1].c``) or, between backquotes, any characters.

Used by `language/expressions`.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from rillflow.errors import BudgetExceededError, ExpressionSyntaxError

_NAME: Final = r"(?:[^\W\d]|\$)(?:\w|\$)*"
_TOKEN: Final = re.compile(
    rf"""
      (?P<blank>  (?: \s | \#\#[^\n]* )+ )
    | (?P<number> 0[xX][0-9a-fA-F]+
                | (?: [0-9]+\.?[0-9]* | \.[0-9]+ ) (?: [eE][+-]?[0-9]+ )? [NM]? )
    | (?P<name>   {_NAME} (?: \.{_NAME} )* )
    | (?P<quoted> \#(?: `[^`]+` | [\w$.\[\]]+ ) )
    | (?P<mark>   >>> | \*\* | == | != | =~ | <= | >= | && | \|\| | << | >> | ->
                | [-+*/%<>=!&|^~?:;,(){{}}\[\].] )
    | (?P<quote>  ["'] )
    """,
    re.VERBOSE,
)
_PLAIN: Final = re.compile(r"[^\\\"'#]+")
_REGEX: Final = re.compile(r"/((?:[^/\\\n]|\\.)*)/")
_BARE: Final = re.compile(r"/\s*\)|/\s*,(?![^/]*/)")
_NUMBER_END: Final = re.compile(r"[\w$.]")
_UNICODE: Final = re.compile(r"(?:\\u[0-9a-fA-F]{4}){1,2}")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_ESCAPES: Final = {
    "t": "\t", "r": "\r", "n": "\n", "b": "\b", "f": "\f", "\\": "\\", '"': '"', "'": "'", "#": "#",
}  # fmt: skip
_MAX_TEMPLATES_NESTED: Final = 4
_MAX_DIGITS: Final = 1200
_EXCERPT: Final = 60

KEYWORDS: Final = frozenset(
    {
        *("true", "false", "nil", "lambda", "fn", "end", "if", "elsif", "else", "for", "in"),
        *("while", "break", "continue", "return", "let", "try", "catch", "finally", "throw"),
        *("new", "use"),
    }
)
_BEFORE_REGEX: Final = KEYWORDS - {"true", "false", "nil", "end"}


class Token(NamedTuple):
    """One token.

    Attributes:
        kind: ``name``, ``quoted``, ``keyword``, ``mark``, ``number``, ``string``,
            ``template``, ``regex`` or ``end``.
        text: The word or mark itself; of a string, its unescaped text; of a regular
            expression, what stands between the slashes; of a quoted name, the name.
        offset: Where it starts in the whole text, in characters from 0.
        value: The number; the parts of a template, which are strings and token lists.
    """

    kind: str
    text: str
    offset: int
    value: Any = None


class Lexer:
    """Turns one text into tokens.

    Args:
        text: The text.
        whole: For the text of a string: the text that it stands in.
        offset: For the text of a string: where in the whole that string starts.
        nesting: For the text of a string: how many strings there are around its tokens.
    """

    def __init__(self, text: str, *, whole: str = "", offset: int = 0, nesting: int = 0) -> None:
        self._text = text
        self._whole = whole or text
        self._offset = offset
        self._nesting = nesting
        self._place = 0
        if nesting > _MAX_TEMPLATES_NESTED:
            raise BudgetExceededError("strings are nested too deeply in strings")

    def tokens(self) -> list[Token]:
        """Return the tokens of the whole text, and an ``end``.

        Raises:
            ExpressionSyntaxError: Something is not a token.
            BudgetExceededError: Templates are nested too deeply, or a number is too long.
        """
        return [*self._scan(0), self._end(len(self._text))]

    def tokens_to_brace(self, start: int) -> tuple[list[Token], int]:
        """Return the tokens up to the ``}`` that closes a template's hole, and its place."""
        found: list[Token] = []
        depth = 0
        for token in self._scan(start):
            depth += (token.kind, token.text) == ("mark", "{")
            depth -= (token.kind, token.text) == ("mark", "}")
            if depth < 0:
                return [*found, self._end(token.offset)], self._place
            found.append(token)
        raise self._error("missing '}' of a '#{' in a string", len(self._text))

    def _end(self, place: int) -> Token:
        return Token("end", "the end of the text", self._at(place))

    def _scan(self, start: int) -> Iterator[Token]:
        place, previous = start, None
        while place < len(self._text):
            match = self._match(place, previous)
            kind = str(match.lastgroup)
            if kind == "quote":
                previous, place = self._string(place)
            else:
                place = match.end()
                if kind == "blank":
                    continue
                previous = self._token(kind, match.group(), match.start())
            self._place = place - 1
            yield previous

    def _match(self, place: int, previous: Token | None) -> re.Match[str]:
        if self._text[place] == "/" and _expects_value(previous) and not self._is_bare(place):
            match = _REGEX.match(self._text, place)
            if match is None:
                raise self._error("missing '/' of a regular expression", place)
            return match
        match = _TOKEN.match(self._text, place)
        if match is None:
            raise self._error(f"unexpected character {self._text[place]!r}", place)
        return match

    def _is_bare(self, place: int) -> bool:
        """Tell whether the slash is an argument by itself, as in ``reduce(list, /, 1)``."""
        return _BARE.match(self._text, place) is not None

    def _token(self, kind: str, text: str, place: int) -> Token:
        at = self._at(place)
        if kind == "None":
            return Token("regex", text[1:-1].replace("\\/", "/"), at)
        if kind == "number":
            return Token(kind, text, at, self._number(text, place))
        if kind == "quoted":
            return Token(kind, text[1:].strip("`"), at)
        return Token("keyword" if text in KEYWORDS else kind, text, at)

    def _number(self, text: str, place: int) -> int | float:
        after = self._text[place + len(text) : place + len(text) + 1]
        if _NUMBER_END.match(after):
            raise self._error(f"illegal number {excerpt(text + after)!r}", place)
        if len(text) > _MAX_DIGITS:
            raise BudgetExceededError(f"a number has more than {_MAX_DIGITS} digits")
        if text[:2] in ("0x", "0X"):
            return int(text, 16)
        digits = text.rstrip("NM")
        if digits.isdigit() and not text.endswith("M"):
            return int(digits)
        if text.endswith("N"):
            raise self._error(f"illegal number {excerpt(text)!r}", place)
        number = float(digits)
        if number == float("inf"):
            raise self._error(f"number {excerpt(text)!r} is too large", place)
        return number

    def _string(self, start: int) -> tuple[Token, int]:
        """Read a string; return its token and the place behind it."""
        plain: list[str] = []
        hashes: set[int] = set()  # literal hash signs
        place, length, quote = start + 1, 0, self._text[start]
        while self._text[place : place + 1] != quote:
            before = place
            piece, place = self._piece(place, start)
            if piece == "#" and place - before == 2:
                hashes.add(length)
            plain.append(piece)
            length += len(piece)
        text = "".join(plain)
        if _SURROGATE.search(text):
            raise self._error("half of a surrogate pair in a string", start)
        parts = self._parts(text, hashes, self._at(start)) if "#{" in text else [text]
        if parts == [text]:
            return Token("string", text, self._at(start)), place + 1
        return Token("template", text, self._at(start), parts), place + 1

    def _piece(self, place: int, start: int) -> tuple[str, int]:
        """Read a run of plain characters, or one escape; return it and what follows."""
        match = _PLAIN.match(self._text, place)
        if match is not None:
            return match.group(), match.end()
        sign = self._text[place : place + 1]
        if not sign:
            raise self._error("missing quote at the end of a string", start)
        if sign != "\\":
            return sign, place + 1
        escape = self._text[place + 1 : place + 2]
        if escape == "u":
            return self._unicode(place)
        if escape not in _ESCAPES:
            raise self._error(f"unsupported escape \\{escape}", place)
        return _ESCAPES[escape], place + 2

    def _unicode(self, place: int) -> tuple[str, int]:
        match = _UNICODE.match(self._text, place)
        if match is None:
            raise self._error("\\u needs four hexadecimal digits", place)
        codes = bytes.fromhex(match.group().replace("\\u", ""))
        pair = codes.decode("utf-16-be", "surrogatepass")
        if len(pair) == 1:
            return pair, match.end()
        return pair[0], place + 6

    def _parts(self, text: str, hashes: set[int], offset: int) -> list[str | list[Token]]:
        parts: list[str | list[Token]] = []
        start = place = 0
        while (place := text.find("#{", place)) >= 0:
            if place in hashes:
                place += 2
                continue
            inner = Lexer(text, whole=self._whole, offset=offset, nesting=self._nesting + 1)
            tokens, end = inner.tokens_to_brace(place + 2)
            parts += [text[start:place], tokens]
            start = place = end + 1
        return [part for part in (*parts, text[start:]) if part]

    def _at(self, place: int) -> int:
        return self._offset if self._nesting else place

    def _error(self, what: str, place: int) -> ExpressionSyntaxError:
        return syntax_error(self._whole, self._at(place), what)


def excerpt(text: str) -> str:
    """Return the text, or its beginning if it is long, for messages."""
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}..."


def syntax_error(text: str, offset: int, what: str) -> ExpressionSyntaxError:
    """Build the error that says where in the text something is wrong."""
    return ExpressionSyntaxError(f"{place_in(text, offset)}: {what}")


def place_in(text: str, offset: int) -> str:
    """Return line and column of a place in a text, for messages."""
    line = text.count("\n", 0, offset) + 1
    return f"line {line}, column {offset - text.rfind(chr(10), 0, offset)}"


def _expects_value(previous: Token | None) -> bool:
    """Tell whether a slash opens a regular expression here, or divides."""
    if previous is None:
        return True
    if previous.kind == "mark":
        return previous.text not in (")", "]", "}")
    return previous.kind == "keyword" and previous.text in _BEFORE_REGEX
