r"""Escapes control characters in texts of other parties, such as functions, for a terminal.

A terminal obeys control characters: it changes its title, clears the screen, or shows letters in
another order. So they are shown as escapes: ``\x1b``, ``\u202e``.
"""

import json
from typing import Any, Final

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
_JSON_ESCAPES: Final = {code: f"\\u{code:04x}" for code in _CONTROLS}


def visible(text: str) -> str:
    """Return a text with escapes in place of control characters; line ends and tabs stay."""
    return text.replace("\r\n", "\n").translate(_ESCAPES)


def visible_json(value: Any) -> str:
    """Write JSON that people can read, without control characters; it means the same."""
    return json.dumps(value, indent=2, ensure_ascii=False).translate(_JSON_ESCAPES)
