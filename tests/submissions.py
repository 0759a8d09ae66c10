"""Submission events of tests, which say only what a test is about."""

from typing import Any

from rillflow.core.events import ExecutionSubmitted
from rillflow.ids import ExecutionId


def submission_event(
    execution_id: str,
    definition_id: str = "",
    *,
    data: bytes = b"{}",
    at_ms: int = 1,
    host: str = "http://rillflow.test",
    **more: Any,
) -> ExecutionSubmitted:
    """Return the first event of an execution; ``more`` are other fields of the event."""
    return ExecutionSubmitted(
        at_ms=at_ms,
        execution_id=ExecutionId(execution_id),
        definition_id=definition_id,
        data=data,
        host=host,
        **more,
    )
