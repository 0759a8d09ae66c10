"""What callers of functions may use, and how a call beyond that is refused.

Used by `functions`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

BUSY_S: Final = 5
"""How many seconds a caller is asked to wait when there is no room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of an application.

    Attributes:
        concurrency: Functions that run at once.
        queue: Further calls that wait, or whose outcome the caller has not taken yet.
        body_bytes: The body of a request.
        body_s: Seconds within which a body must have arrived.
        result_bytes: The JSON of a result.
        artifact_bytes: An artifact that is fetched.
        held_bytes: Bodies and outcomes of all calls under way together; one may always come.
        kept_outcomes: Outcomes that are kept for repeated calls.
        kept_bytes: Bytes of these outcomes together.
        kept_s: Seconds for which an outcome is kept.
        callback_patience_s: Seconds for which an outcome is sent again until it is taken.
        drain_s: Seconds that calls under way have after SIGTERM.
    """

    concurrency: int = 8
    queue: int = 1_000
    body_bytes: int = 10 * 1024 * 1024
    body_s: float = 30.0
    result_bytes: int = 10 * 1024 * 1024
    artifact_bytes: int = 1024 * 1024 * 1024
    held_bytes: int = 256 * 1024 * 1024
    kept_outcomes: int = 10_000
    kept_bytes: int = 64 * 1024 * 1024
    kept_s: float = 3_600.0
    callback_patience_s: float = 3_600.0
    drain_s: float = 25.0


class CallRefusedError(Exception):
    """A request that no function is called for.

    Attributes:
        status: The HTTP status.
        headers: Headers of the answer.
        fields: What is wrong with each field of the input, by its name.
        kind: The type of the error, for conditions of ``retry``.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
        kind: str = "CallRefusedError",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.fields = dict(fields or {})
        self.kind = kind

    def content(self) -> dict[str, Any]:
        """Return the body of the answer, which a workflow sees as the output of the task."""
        error: dict[str, Any] = {"type": self.kind, "message": str(self)}
        if self.fields:
            error["fields"] = self.fields
        return {"result_type": "FAILED", "error_msg": str(self), "error": error}


def no_room(what: str) -> CallRefusedError:
    """Return the refusal of a call for which there is no room now."""
    return CallRefusedError(429, f"{what}; try again later", headers={"Retry-After": str(BUSY_S)})
