"""Hides the ids of executions of other workspaces from callers that are limited to workspaces.

Who knows the id of an execution may call back for its tasks. Views of an execution have the ids of
others where there are sub-flows: of what has started it, of what it has started, and in its data.
So each id is replaced in answers whose workspace the caller does not see: the digits of its unique
part become zeros. That keeps the length of the answer. Artifacts are sent as they are.

Used by `serve/middleware/entry.py`.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Final

from starlette.types import Message, Send

from rillflow.ids import LONGEST_NAME
from serve.limits.callers import Caller

ARTIFACTS: Final = "/flow/artifacts"
_MARK: Final = b"_c_"
_UNIQUE: Final = re.compile(rb"_c_[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HIDDEN: Final = b"_c_00000000-0000-0000-0000-000000000000"
_ALPHANUMERIC: Final = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_COLON_IN_ADDRESS: Final = (b"3A", b"3a")
_ADDRESS_ESCAPE_LENGTH: Final = len("3D")
_JSON_ESCAPE_LENGTH: Final = len("u00e9")
_MANY_BYTES: Final = 16 << 10
_LONGEST_NAMES: Final = 2 * LONGEST_NAME + len("%3A")
_LONGEST: Final = _LONGEST_NAMES + len(_HIDDEN)
_OF_ID: Final = _ALPHANUMERIC + b":%_-\\"


def masking(caller: Caller, path: str, send: Send) -> Send:
    """Return a ``send`` that hides ids in the answer to a caller that is limited to workspaces."""
    if not caller.workspaces or path.startswith(ARTIFACTS):
        return send
    mask = IdMask(caller.sees)

    async def send_masked(message: Message) -> None:
        if message["type"] == "http.response.body":
            body = mask.part(message.get("body", b""), message.get("more_body", False))
            message = {**message, "body": body}
            if len(body) >= _MANY_BYTES:
                await asyncio.sleep(0)  # a large answer comes in parts: others have a turn
        await send(message)

    return send_masked


class IdMask:
    """Hides ids in a text that comes in parts."""

    def __init__(self, sees: Callable[[str], bool]) -> None:
        """``sees`` tells of the name of a workspace whether its ids are shown."""
        self._sees = sees
        self._held = b""

    def part(self, part: bytes, has_more: bool) -> bytes:  # noqa: FBT001 - as ASGI tells it
        """Return the next part, without an end with which an id may begin if there is more."""
        if not self._held and not has_more and _MARK not in part:
            return part
        text = self._held + part
        self._held = b""
        if has_more:
            end = text[-_LONGEST:]
            cut = len(text) - len(end) + len(end.rstrip(_OF_ID))
            text, self._held = text[:cut], text[cut:]
        if _MARK not in text:
            return text
        return _UNIQUE.sub(self._shown, text)

    def _shown(self, match: re.Match[bytes]) -> bytes:
        begin = match.start()
        before = match.string[max(begin - _LONGEST_NAMES - len("\\u0000"), 0) : begin]
        return match[0] if self._is_seen(before) else _HIDDEN

    def _is_seen(self, before: bytes) -> bool:
        """Tell whether the caller sees the workspace of an id, by the text before its mark."""
        names = before.rstrip(_ALPHANUMERIC)
        feature = before[len(names) :]
        if not names.endswith(b":") and not (
            names.endswith(b"%") and feature.startswith(_COLON_IN_ADDRESS)
        ):
            return False
        around = names[:-1].rstrip(_ALPHANUMERIC)
        workspace = names[len(around) : -1].decode()
        if self._sees(workspace):
            return True
        # An escape in JSON or in an address ends with characters that look like those of a name.
        if around.endswith(b"%"):
            return self._sees(workspace[_ADDRESS_ESCAPE_LENGTH:])
        if around.endswith(b"\\"):
            length = _JSON_ESCAPE_LENGTH if workspace.startswith("u") else 1
            return self._sees(workspace[length:])
        return False
