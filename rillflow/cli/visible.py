r"""The way of texts to the terminal: control characters are escaped in all that a command writes.

A terminal carries out control characters: it changes its title, clears the screen, or shows letters
in another order. Texts of functions, callers, servers and files may hold some. So they are shown as
escapes: ``\x1b``, ``\u202e``. Commands write through ``say``, ``print_json`` and ``output.console``
only, so that no text is forgotten.

Used by `cli`, `cli/commands` and `cli/output`.
"""

import json
from typing import Any, Final

import typer

_CONTROLS: Final = (
    *(code for code in range(0x20) if chr(code) not in "\n\t"),
    *range(0x7F, 0xA0),  # DEL and C1
    0x061C,  # what follows changes the order of letters or ends lines
    *(0x200E, 0x200F, 0x2028, 0x2029),
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
)
_ESCAPES: Final = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _CONTROLS
}
_LINE_ESCAPES: Final = {**_ESCAPES, ord("\n"): "\\n", ord("\t"): "\\t"}
_JSON_ESCAPES: Final = {code: f"\\u{code:04x}" for code in _CONTROLS}


def visible(text: str) -> str:
    """Return a text with escapes in place of control characters; line ends and tabs stay."""
    return text.replace("\r\n", "\n").translate(_ESCAPES)


def visible_line(text: str) -> str:
    """Return a text as one line, so that it cannot pass for another line of a report."""
    return text.translate(_LINE_ESCAPES)


def visible_json(value: Any) -> str:
    """Write JSON that people can read, without control characters; it means the same."""
    return json.dumps(value, indent=2, ensure_ascii=False).translate(_JSON_ESCAPES)


def say(text: str, *, err: bool = False, label: str = "", colour: str = "") -> None:
    """Write a line, or several, without control characters.

    Args:
        text: What to write, of whatever origin.
        err: Whether it goes to standard error.
        label: A word of the command's own in front, such as ``error:``.
        colour: Its colour, where the terminal has colours.
    """
    front = f"{typer.style(label, fg=colour or None)} " if label else ""
    typer.echo(front + visible(text), err=err)


def print_json(value: Any) -> None:
    """Write a value to standard output as JSON that people can read."""
    typer.echo(visible_json(value))
