"""Starting the execution of a firing, with the key that makes it happen once.

Used by `runtime/triggers`.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from rillflow.core.redaction import redacted_part
from rillflow.errors import (
    DefectError,
    OverloadedError,
    RillflowError,
    StoreError,
    UnavailableError,
)
from rillflow.ids import ExecutionId
from rillflow.jsontypes import decode_json, encode_json
from rillflow.runtime.submission.groups import SendMany, SubmissionRequest
from rillflow.runtime.submission.intake import Options
from rillflow.settings import ResourceCheck
from rillflow.triggers.spec import TriggerSpec

NOT_NOW_CODES: Final = (30200, 30201)
"""Codes of submissions that are refused for the load (spec 6)."""
CONFLICT: Final = 409


class Submitter(Protocol):
    """What accepts submissions: ``Submissions``."""

    async def submit(self, descriptor_id: str, data: bytes, options: Options) -> ExecutionId:
        """Start an execution; when this returns, it is on disk."""
        ...


class CheckingSubmitter(Submitter, Protocol):
    """What also tells whether there is anything to submit to."""

    async def missing(self, descriptor_id: str) -> str:
        """Say what a submission to a descriptor would lack now; nothing if it is all there."""
        ...


class GroupSubmitter(Submitter, Protocol):
    """What also accepts submissions together."""

    async def submit_plain(
        self, asked: Sequence[SubmissionRequest], send: SendMany
    ) -> list[ExecutionId | RillflowError | None]:
        """Start executions together; see ``GroupSubmissions``."""
        ...


def options_of(spec: TriggerSpec, key: str) -> Options:
    """Return the options of a submission by a trigger."""
    check = spec.resource_check
    return Options(
        callback=spec.callback.encode() if spec.callback else None,
        uid=spec.uid,
        idempotency_key=key,
        resource_check=ResourceCheck.model_validate_json(check) if check else None,
    )


def is_not_now(error: RillflowError) -> bool:
    """Tell whether a submission may be accepted later, as it is."""
    if isinstance(error, StoreError | UnavailableError | DefectError | OverloadedError):
        return True
    return error.wire_code in NOT_NOW_CODES


def was_started_before(error: RillflowError) -> bool:
    """Tell whether an earlier firing with this key has started an execution, with other data.

    The author of the trigger has changed them since.
    """
    return error.http_status == CONFLICT


def shown_spec(spec: TriggerSpec) -> TriggerSpec:
    """Return a trigger as it is shown: with no user name and password in its callback."""
    if not spec.callback:
        return spec
    callback = decode_json(spec.callback.encode())
    if isinstance(callback, dict):
        callback = redacted_part(callback)
    return msgspec.structs.replace(spec, callback=encode_json(callback).decode())
