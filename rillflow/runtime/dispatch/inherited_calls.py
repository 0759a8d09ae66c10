"""Calls that earlier processes of an owner have ordered, and that nobody waits for any more.

An execution may be cancelled just before its owner dies. The next process of the owner orders only
what is awaited, so it never hears of the cancelled call, which goes on in the dispatcher. At its
start it therefore asks each dispatcher once for calls that earlier processes have ordered.

Used by `runtime/dispatch/client.py`.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from rillflow.errors import DefectError
from rillflow.gateways.limits.answer_budget import CallId
from rillflow.ports.messages import (
    CancelDispatches,
    GetInheritedCalls,
    GetProcessToken,
    decode_calls,
    encode_message,
)
from rillflow.runtime.aio.retrying import retry_while_unavailable

log = logging.getLogger("rillflow.dispatcher")

_ASK_TOKEN: Final = encode_message(GetProcessToken())


class Owner(Protocol):
    """An owner of executions, which knows what they wait for."""

    @property
    def epoch(self) -> int:
        """The number of its process start, greater than those before."""
        ...

    async def has_started(self) -> None:
        """Wait until the owner has an epoch, and knows which executions it must not read."""
        ...

    async def ended_calls(self, calls: Sequence[CallId]) -> list[CallId]:
        """Return those of some calls that nobody waits for."""
        ...


class InheritedCalls:
    """Ends the calls of earlier processes of an owner in one dispatcher."""

    def __init__(self, sender: str, connection: Callable[[bytes], Awaitable[bytes]]) -> None:
        self._sender = sender
        self._connection = connection

    async def end_unawaited(self, owner: Owner) -> None:
        """Ask for calls, and end those that nobody waits for, until none is left to check."""
        await owner.has_started()
        try:
            await self._end_unawaited(owner)
        except Exception:
            log.exception("inherited_calls_not_ended")

    async def _end_unawaited(self, owner: Owner) -> None:
        # A dispatcher that dies meanwhile takes its calls along.
        token = await self._ask(_ASK_TOKEN)
        judged: list[CallId] = []
        while True:
            question = GetInheritedCalls(self._sender, owner.epoch, token, judged)
            try:
                judged = decode_calls(await self._ask(encode_message(question)))
            except DefectError:  # a dispatcher of an older release does not know the question
                return
            if not judged:
                return
            ended = await owner.ended_calls(judged)
            if ended:
                log.warning("inherited_calls_ended", extra={"calls": len(ended)})
                await self._ask(encode_message(CancelDispatches(self._sender, token, ended)))

    async def _ask(self, message: bytes) -> bytes:
        return await retry_while_unavailable(lambda: self._connection(message), defects_too=False)
