"""The result of a call in memory, before its reply may be sent.

`runtime/owner` builds it for each call of a batch.
"""

import asyncio
from collections.abc import Sequence

import msgspec

from rillflow.core.commands import Command
from rillflow.errors import ConflictError, RillflowError
from rillflow.ports.executions import Reply, Submission, reply_to_error
from rillflow.ports.store import Append
from rillflow.runtime.activation.active_execution import ActiveExecution


class CallOutcome(msgspec.Struct, frozen=True):
    """The result of a call in memory: its reply, and what to write and do before it is sent.

    ``at_ms`` is the time of the event that gave the commands; ``over`` tells whether the execution
    ended with it. ``execution`` is the execution that the reply is about, and ``watch`` a
    submission whose sender waits for the end.
    """

    reply: Reply
    execution: ActiveExecution | None = None
    append: Append | None = None
    commands: list[Command] = []
    at_ms: int = 0
    over: bool = False
    watch: Submission | None = None


def appends_under_way(batch: Sequence[CallOutcome]) -> set["asyncio.Future[None]"]:
    """Return the appends that must be over before replies that wrote nothing may be sent."""
    return {
        outcome.execution.append_under_way
        for outcome in batch
        if outcome.append is None and outcome.execution and outcome.execution.append_under_way
    }


def reply_of(outcome: CallOutcome, error: RillflowError | None) -> Reply:
    """Return the reply to send; ``error`` is the error of the append."""
    if outcome.append is not None:
        return outcome.reply if error is None else reply_to_error(error)
    if outcome.execution is not None and outcome.execution.is_distrusted:
        return reply_to_error(ConflictError("what was read could not be written"))
    return outcome.reply
