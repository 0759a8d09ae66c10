"""One line of the report of `rillflow doctor`.

Used by `cli/commands` and `cli/doctor`.
"""

from typing import Final, Literal, TypeAlias

import msgspec

MOST_SHOWN: Final = 500
"""Characters of what another program has said."""

State: TypeAlias = Literal["ok", "warning", "error"]


class Finding(msgspec.Struct, frozen=True):
    """What was found about one thing.

    Attributes:
        area: The part of the report to which it belongs.
        state: ``error`` keeps a stack from working, ``warning`` costs or risks something.
        message: What is so, or what is wrong and what follows.
        remedy: How to mend it; empty where nothing is wrong.
    """

    area: str
    state: State
    message: str
    remedy: str = ""


def fine(area: str, message: str) -> Finding:
    """Return a finding that nothing is wrong."""
    return Finding(area, "ok", message)


def warning(area: str, message: str, remedy: str) -> Finding:
    """Return a finding that something costs or risks something."""
    return Finding(area, "warning", message, remedy)


def error(area: str, message: str, remedy: str) -> Finding:
    """Return a finding that something keeps a stack from working."""
    return Finding(area, "error", message, remedy)


def one_line(problem: BaseException) -> str:
    """Return the text of an exception as one line; its name where it has no text."""
    return one_line_of(problem) or type(problem).__name__


def one_line_of(text: object) -> str:
    """Return what another program has said as one line of bounded length."""
    words = " ".join(str(text).split())
    return words if len(words) <= MOST_SHOWN else f"{words[:MOST_SHOWN]}..."
