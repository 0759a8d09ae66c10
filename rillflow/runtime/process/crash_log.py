"""The log event of an unexpected error: its kind and place, without values.

Used by `runtime/crashes`, `runtime/dispatch` and `runtime/owner`.
"""

import logging
import traceback
from pathlib import Path

from rillflow.ids import ExecutionId

log = logging.getLogger("rillflow.crashes")


def log_crash(message: str, execution_id: ExecutionId, error: Exception, **facts: object) -> None:
    """Log the kind of an error and where it was raised, without the values that it may contain."""
    frames = traceback.extract_tb(error.__traceback__)
    where = (f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames)
    log.error(
        message,
        extra={
            "execution_id": execution_id,
            "error": type(error).__name__,
            "where": " > ".join(where),
            **facts,
        },
    )
