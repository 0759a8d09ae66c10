"""Submissions as the runtime makes them: with limits, a secret key and a language version."""

import asyncio
import os
from functools import cache
from typing import Final

from rillflow.core.events import ExecutionSettings, ExecutionSubmitted
from rillflow.ids import ID_KEY_BYTES, ExecutionId, new_execution_id
from rillflow.language.versions import CURRENT
from rillflow.ports.executions import Call, Reply, Submission
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.submission.intake import Options, Submissions, execution_settings
from rillflow.settings import Settings
from rillflow.stores import open_store

WORKSPACE: Final = "bench"
TICKS: Final = 10_000
"""As many ids of one millisecond differ by their last two random bytes."""


def numbered_id(name: str, number: int, at_ms: int) -> ExecutionId:
    """Return the id of an execution of ``WORKSPACE``, which differs for each number.

    Its time is ``at_ms`` or some milliseconds later.
    """
    milliseconds, rest = divmod(number, TICKS)
    return new_execution_id(WORKSPACE, name, at_ms=at_ms + milliseconds, entropy=rest.to_bytes(10))


def submitted_event(name: str, text: str, data: bytes) -> ExecutionSubmitted:
    """Return the event that a submission of a definition of ``WORKSPACE`` makes."""
    return asyncio.run(_submit(name, text, data))


async def _submit(name: str, text: str, data: bytes) -> ExecutionSubmitted:
    store, kept = open_store("memory:"), _Kept()
    await store.open()
    clock = SystemClock()
    submissions = Submissions(Settings(), store=store, executions=kept, clock=clock)
    await add_descriptor(store, WORKSPACE, name, "release", text, at_ms=clock.now_ms())
    await submissions.submit(f"{WORKSPACE}:{name}", data, Options())
    await store.close()
    return kept.events[0]


def stored_submission(
    execution_id: ExecutionId, definition_id: str, data: bytes, *, host: str
) -> ExecutionSubmitted:
    """Return the same event for a definition that is stored under no name."""
    return ExecutionSubmitted(
        at_ms=SystemClock().now_ms(),
        execution_id=execution_id,
        definition_id=definition_id,
        data=data,
        host=host,
        id_key=os.urandom(ID_KEY_BYTES),
        language=CURRENT,
        **_kept(),
    )


@cache
def _kept() -> ExecutionSettings:
    return execution_settings(Settings())


class _Kept:
    """Keeps the events of submissions instead of running them."""

    def __init__(self) -> None:
        self.events: list[ExecutionSubmitted] = []

    async def call(self, call: Call) -> Reply:
        if isinstance(call, Submission):
            self.events.append(call.event)
        return Reply()

    async def ask_all(self, call: Call) -> list[Reply]:
        return [await self.call(call)]
