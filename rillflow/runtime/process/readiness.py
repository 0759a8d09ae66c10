"""Background checks of readiness, so that a request for readiness never waits.

Used by `actors/execution_actor.py` and `actors/readiness.py`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias

from rillflow.ports.readiness import (
    STORE_REFUSES_WRITES,
    STORE_UNREADABLE,
    Reason,
)
from rillflow.ports.storage.store import Store

log = logging.getLogger("rillflow.readiness")

PAUSE_S: Final = 0.5
"""Pause after a check that succeeded."""
PATIENCE_S: Final = 1.5
"""Time limit of a check; together with the pause, how long an outage may go unnoticed."""
WRITE_PAUSE_S: Final = 5.0
"""Pause between write checks of a store; each waits for the disk."""

Ask: TypeAlias = Callable[[], Awaitable[Sequence[Reason]]]


class Check(NamedTuple):
    """A check returns what is wrong. ``silent`` is the reason if it fails or does not answer.

    It runs again ``pause_s`` after a success, and after ``PAUSE_S`` if that is less.
    """

    ask: Ask
    silent: Reason
    pause_s: float = PAUSE_S


class ReadinessWatch:
    """Runs each check repeatedly, and keeps the last results; see ``Readiness``."""

    def __init__(
        self,
        checks: Iterable[Check],
        *,
        warnings: Iterable[Check] = (),
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Run these checks, each with a time limit of ``patience_s``.

        The results of ``warnings`` do not keep the stack from being ready.
        """
        self._kept = [_Kept(check, patience_s) for check in checks]
        self._warnings = [_Kept(check, patience_s) for check in warnings]
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start; nothing is ready before its first check."""
        kept = (*self._kept, *self._warnings)
        self._tasks = [asyncio.create_task(each.run(), name="readiness") for each in kept]

    async def stop(self) -> None:
        """Stop all checks."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def reasons(self) -> list[Reason]:
        """Return the reasons of the last results, each once."""
        return _found(self._kept)

    def warnings(self) -> list[Reason]:
        """Return the warnings of the last results, each once."""
        return _found(self._warnings)


def _found(kept: "Iterable[_Kept]") -> list[Reason]:
    return list(dict.fromkeys(reason for each in kept for reason in each.found))


class _Kept:
    """One check with its last result."""

    def __init__(self, check: Check, patience_s: float) -> None:
        self._check = check
        self._patience_s = patience_s
        self.found: tuple[Reason, ...] = (check.silent,)
        self._logged: tuple[Reason, ...] = ()

    async def run(self) -> None:
        """Run the check repeatedly; a check that has not returned is not started twice."""
        while True:
            question = asyncio.ensure_future(self._check.ask())
            try:
                await asyncio.wait({question}, timeout=self._patience_s)
                if not question.done():
                    self._note((self._check.silent,), f"no answer within {self._patience_s:g} s")
                    await asyncio.wait({question})
            finally:
                question.cancel()
            self._note_answer(question)
            pause_s = self._check.pause_s
            await asyncio.sleep(min(pause_s, PAUSE_S) if self.found else pause_s)

    def _note_answer(self, question: "asyncio.Future[Sequence[Reason]]") -> None:
        error = None if question.cancelled() else question.exception()
        if error is not None:
            self._note((self._check.silent,), f"{type(error).__name__}: {error}")
        elif question.cancelled():
            self._note((self._check.silent,), "the question was dropped")
        else:
            self._note(tuple(question.result()), "it says so itself")

    def _note(self, found: tuple[Reason, ...], why: str) -> None:
        """Keep a result, and log it if it has changed."""
        if found != self._logged and found:
            codes = [reason.code for reason in found]
            log.warning("not_ready", extra={"codes": codes, "reason": why})
        self.found = self._logged = found


def writing(store: Store, *, pause_s: float = WRITE_PAUSE_S) -> Check:
    """Return the check that a store accepts writes."""

    async def write() -> Sequence[Reason]:
        await store.probe()
        return ()

    return Check(write, STORE_REFUSES_WRITES, pause_s)


def reading(store: Store) -> Check:
    """Return the check that a store can be read."""

    async def read() -> Sequence[Reason]:
        await store.newest_version("", "", "")
        return ()

    return Check(read, STORE_UNREADABLE)
