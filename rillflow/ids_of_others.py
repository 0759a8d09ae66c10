"""Hides ids of executions of other workspaces in texts.

Who knows the id of an execution may call back for its tasks. So ids do not go to other workspaces:
the digits of the unique part become zeros. That keeps the length of the text.

Used by `core`, `runtime/commands/subflows.py` and `serve/limits/id_masks.py`.
"""

import re
from collections.abc import Callable
from typing import Final

from rillflow.ids import LONGEST_NAME, ExecutionId, workspace_of

MARK: Final = b"_c_"
ALPHANUMERIC: Final = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
LONGEST_NAMES: Final = 2 * LONGEST_NAME + len("%3A")
HIDDEN: Final = b"_c_00000000-0000-0000-0000-000000000000"
_UNIQUE: Final = re.compile(
    rb"_c_[0-9a-f]{8}(?:(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|-[0-9a-f-]{0,26}(?=\"))"
)
"""The unique part of an id, or the begin of one at the end of a text in JSON."""
_COLON_IN_ADDRESS: Final = (b"3A", b"3a")
_ADDRESS_ESCAPE_LENGTH: Final = len("3D")
_JSON_ESCAPE_LENGTH: Final = len("u00e9")


def hide_ids(text: bytes, sees: Callable[[str], bool]) -> bytes:
    """Return a text without the ids of workspaces that ``sees`` does not accept."""
    if MARK not in text:
        return text

    def shown(match: re.Match[bytes]) -> bytes:
        begin = match.start()
        before = match.string[max(begin - LONGEST_NAMES - len("\\u0000"), 0) : begin]
        return match[0] if _is_seen(before, sees) else HIDDEN[: len(match[0])]

    return _UNIQUE.sub(shown, text)


def as_told_to(receiver: ExecutionId, text: bytes) -> bytes:
    """Return a text without the ids of workspaces other than that of its receiver."""
    return hide_ids(text, workspace_of(receiver).__eq__)


def _is_seen(before: bytes, sees: Callable[[str], bool]) -> bool:
    """Tell whether the workspace of an id is seen, by the text before its mark."""
    names = before.rstrip(ALPHANUMERIC)
    feature = before[len(names) :]
    if not names.endswith(b":") and not (
        names.endswith(b"%") and feature.startswith(_COLON_IN_ADDRESS)
    ):
        return False
    around = names[:-1].rstrip(ALPHANUMERIC)
    workspace = names[len(around) : -1].decode()
    if sees(workspace):
        return True
    # An escape in JSON or in an address ends with characters that look like those of a name.
    if around.endswith(b"%"):
        return sees(workspace[_ADDRESS_ESCAPE_LENGTH:])
    if around.endswith(b"\\"):
        length = _JSON_ESCAPE_LENGTH if workspace.startswith("u") else 1
        return sees(workspace[length:])
    return False
