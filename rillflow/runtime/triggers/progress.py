"""What a trigger has done so far, as the store keeps it.

Used by `runtime/triggers`.
"""

import msgspec

LONGEST_REASON = 300


class Progress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a trigger has done.

    Attributes:
        fired: How many executions it has started.
        skipped: How many of its times started none, since an execution still ran.
        last_ms: The last scheduled time that started an execution.
        last_execution: That execution.
        queued_ms: The scheduled time that waits for the end of that execution; 0 for none.
        error: Why its last time has started none; empty if it has.
    """

    fired: int = 0
    skipped: int = 0
    last_ms: int = 0
    last_execution: str = ""
    queued_ms: int = 0
    error: str = ""


def encode_progress(progress: Progress) -> str:
    """Encode progress for the store."""
    return msgspec.json.encode(progress).decode()


def decode_progress(text: str) -> Progress:
    """Decode progress from the store; what cannot be read is the beginning."""
    try:
        return msgspec.json.decode(text, type=Progress)
    except msgspec.MsgspecError:
        return Progress()
