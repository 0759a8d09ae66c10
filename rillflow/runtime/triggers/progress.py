"""What a trigger has done so far, as the store keeps it.

Used by `runtime/triggers`.
"""

from typing import Final

import msgspec

FAILED: Final = "failed"
"""The state of a source that cannot be read."""
WAITING: Final = "waiting"
"""The state of a source that was closed, and is read again when its turn comes."""
LONGEST_REASON: Final = 300
MOST_REFUSALS: Final = 20


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """An event that started no execution, by its key, and why."""

    key: str
    reason: str
    at_ms: int


class Progress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a trigger has done.

    Attributes:
        fired: How many executions it has started.
        skipped: How many of its times started none, since an execution still ran; or how many
            events, since they are not wanted.
        last_ms: The last scheduled time that started an execution.
        last_execution: That execution.
        queued_ms: The scheduled time that waits for the end of that execution; 0 for none.
        error: Why its last time or event has started none; empty if it has.
        refused: How many of its events started none, as they, or their executions, were refused.
        refusals: The last of those that are kept nowhere else.
        state: How its source is: ``connecting``, ``connected``, ``failed``, ``stopped`` or
            ``waiting``; empty for a trigger without a source.
        state_ms: Since when.
        state_reason: Why it has failed, or waits.
    """

    fired: int = 0
    skipped: int = 0
    last_ms: int = 0
    last_execution: str = ""
    queued_ms: int = 0
    error: str = ""
    refused: int = 0
    refusals: tuple[Refusal, ...] = ()
    state: str = ""
    state_ms: int = 0
    state_reason: str = ""


def encode_progress(progress: Progress) -> str:
    """Encode progress for the store."""
    return msgspec.json.encode(progress).decode()


def decode_progress(text: str) -> Progress:
    """Decode progress from the store; what cannot be read is the beginning."""
    try:
        return msgspec.json.decode(text, type=Progress)
    except msgspec.MsgspecError:
        return Progress()
