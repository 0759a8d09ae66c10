"""Writes the tables of transitions into ``docs/spec``: ``python -m tests.transitions_page``."""

import ast
import inspect
from collections.abc import Iterable, Iterator
from enum import IntEnum
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from rillflow.core import transitions
from rillflow.core.status import DagStatus, TaskStatus
from rillflow.core.transitions import Entry, Refusal, Row

PAGE: Final = Path(__file__).parents[1] / "docs" / "spec" / "3-execution.md"
BEGIN: Final = "<!-- tables of rillflow/core/transitions.py: python -m tests.transitions_page -->"
END: Final = "<!-- end of the tables -->"

TABLES: Final = {
    "While the execution runs:": transitions.WHILE_IT_RUNS,
    "After it has ended:": transitions.AFTER_THE_END,
    "After it was cancelled:": transitions.AFTER_A_CANCELLATION,
}


def main() -> None:
    """Write the tables into the page."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def page(text: str) -> str:
    """Return a page with the tables as they are now."""
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n\n{''.join(_tables())}{END}{after}"


def refusals() -> list[Refusal]:
    """Return every refusal that stands in a table."""
    rows = [row for table in (*TABLES.values(), transitions.EXECUTION_TRANSITIONS) for row in table]
    found = {entry: None for row in rows for entry in row if isinstance(entry, Refusal)}
    return list(found)


def titles_of(kind: type[NamedTuple]) -> dict[str, str]:
    """Return what the docstrings of the fields of a table say."""
    [definition] = ast.parse(inspect.getsource(kind)).body
    assert isinstance(definition, ast.ClassDef)
    return {
        field.target.id: str(ast.literal_eval(text.value)).rstrip(".")
        for field, text in pairwise(definition.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr)
    }


def _tables() -> Iterator[str]:
    titles = titles_of(transitions.TaskTransitions)
    for title, table in TABLES.items():
        yield f"{title}\n\n{_table(table._asdict(), titles, TaskStatus)}\n"
    titles = titles_of(transitions.ExecutionTransitions)
    rows = _table(transitions.EXECUTION_TRANSITIONS._asdict(), titles, DagStatus)
    yield f"What concerns the execution, by its status:\n\n{rows}\n"
    lines = [f"| {each.name} | {each.code} | `{_shown(each.message)}` |" for each in refusals()]
    yield "\n".join(["| refusal | code | message |", "|---|---|---|", *lines]) + "\n\n"


def _table(rows: dict[str, Row], titles: dict[str, str], statuses: type[IntEnum]) -> str:
    names = [status.name for status in statuses]
    lines = [_line(["event", *names]), _line(["---"] * (len(names) + 1)).replace(" ", "")]
    lines += [_line([titles[field], *map(_cell, row)]) for field, row in rows.items()]
    return "\n".join(lines) + "\n"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(entry: Entry) -> str:
    return entry.name if isinstance(entry, Refusal) else entry.value


def _shown(message: str) -> str:
    return message.replace("{", "<").replace("}", ">")


if __name__ == "__main__":
    main()
