"""Reads what a document shows: workflows with their results, and tables of small texts."""

import re
from typing import Any, Final, NamedTuple

import yaml

from rillflow.jsontypes import JsonValue, decode_json

WORKFLOW: Final = "yaml"
RESULT: Final = "yaml result"
DOCUMENT: Final = "json document"

_FENCE: Final = re.compile(r"^```(.*)$")
_HEADING: Final = re.compile(r"^#+ (.*)$")
_CELL: Final = re.compile(r"(?<!\\)\|")
_RULE: Final = re.compile(r"^\|[-|: ]+\|$")


class Block(NamedTuple):
    """A fenced block; ``line`` is where its text starts."""

    info: str
    text: str
    line: int
    heading: str


class Example(NamedTuple):
    """A workflow and what is said to come of it; ``line`` is where the workflow starts."""

    workflow: str
    result: dict[str, Any]
    line: int


class Row(NamedTuple):
    """A row of a table: its cells without backticks, and the document shown before it."""

    cells: tuple[str, ...]
    document: JsonValue
    line: int


class Table(NamedTuple):
    """A table with the titles of its columns and the heading it stands under."""

    titles: tuple[str, ...]
    rows: tuple[Row, ...]
    heading: str


def blocks_of(text: str) -> list[Block]:
    """List the fenced blocks of a document."""
    found: list[Block] = []
    inside: tuple[str, int] | None = None
    heading, lines = "", text.splitlines()
    for number, line in enumerate(lines, start=1):
        fence = _FENCE.match(line)
        if fence and inside is None:
            inside = fence[1].strip(), number + 1
        elif fence and inside is not None:
            info, start = inside
            found.append(Block(info, "\n".join(lines[start - 1 : number - 1]), start, heading))
            inside = None
        elif inside is None and (title := _HEADING.match(line)):
            heading = title[1]
    return found


def examples_of(text: str) -> list[Example]:
    """List the workflows with the result that follows each.

    Raises:
        ValueError: A workflow has no result, or a result no workflow.
    """
    shown = [block for block in blocks_of(text) if block.info != DOCUMENT]
    pairs = list(zip(shown[::2], shown[1::2], strict=True))
    for workflow, result in pairs:
        if (workflow.info, result.info) != (WORKFLOW, RESULT):
            raise ValueError(f"no workflow and result in line {workflow.line}")
    return [
        Example(workflow.text, yaml.load(result.text, Loader=yaml.CSafeLoader), workflow.line)
        for workflow, result in pairs
    ]


def tables_of(text: str) -> list[Table]:
    """List the tables of a document."""
    reader = _TableReader()
    blocks = {block.line - 1: block for block in blocks_of(text)}
    fenced = _fenced_lines(text)
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        if number in blocks and blocks[number].info == DOCUMENT:
            reader.document = decode_json(blocks[number].text)
        elif number not in fenced:
            reader.take(line, number)
    return reader.tables


class _TableReader:
    def __init__(self) -> None:
        self.tables: list[Table] = []
        self.document: JsonValue = None
        self._heading = ""
        self._titles: tuple[str, ...] = ()
        self._rows: list[Row] = []

    def take(self, line: str, number: int) -> None:
        """Take a line that is in no block."""
        if title := _HEADING.match(line):
            self._heading = title[1]
        if not line.startswith("|"):
            self._end()
        elif not self._titles:
            self._titles = _cells(line)
        elif not _RULE.match(line):
            self._rows.append(Row(_cells(line), self.document, number))

    def _end(self) -> None:
        if self._titles:
            self.tables.append(Table(self._titles, tuple(self._rows), self._heading))
        self._titles, self._rows = (), []


def headings_of(text: str) -> list[str]:
    """List the headings of a document."""
    fenced = _fenced_lines(text)
    titles = (_HEADING.match(line) for line in text.splitlines())
    return [it[1] for number, it in enumerate(titles, start=1) if it and number not in fenced]


def _fenced_lines(text: str) -> set[int]:
    return {
        number
        for block in blocks_of(text)
        for number in range(block.line - 1, block.line + block.text.count("\n") + 2)
    }


def _cells(line: str) -> tuple[str, ...]:
    return tuple(_bare(cell.strip()) for cell in _CELL.split(line.strip().strip("|")))


def _bare(cell: str) -> str:
    """Take the backticks and the escapes off that only the table needs."""
    cell = cell.replace("\\|", "|")
    whole = re.fullmatch(r"(`+)(.*)\1", cell)
    if whole and whole[1] not in whole[2]:
        return whole[2].strip() if len(whole[1]) > 1 else whole[2]
    return cell
