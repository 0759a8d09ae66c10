"""The artifacts of executions, as callers of the stack see them.

Used by `runtime/stack.py`.
"""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from rillflow.artifacts.addresses import ArtifactSettings
from rillflow.artifacts.calls import opened_store
from rillflow.artifacts.store import ArtifactStore, execution_key
from rillflow.ids import ExecutionId
from rillflow.jsontypes import encode_json

log = logging.getLogger("rillflow.artifacts")

_THREADS: Final = 8
_COUNTED: Final = b',"artifacts":%b}'


class Artifacts:
    """Reads and stores artifacts, in threads of their own: a store may be far away."""

    def __init__(self, settings: ArtifactSettings) -> None:
        self.settings = settings
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="artifacts")

    @property
    def store(self) -> ArtifactStore:
        """The store, which is opened when it is first used."""
        return opened_store(*self.settings[:4])

    async def counted(self, execution_id: ExecutionId, shown: bytes) -> bytes:
        """Return a view with the number and the bytes of the artifacts of its execution.

        Without an answer of the store the view is as it was.
        """
        try:
            count, size = await self.run(self.store.total_of, execution_key(execution_id))
        except Exception:
            log.exception("artifacts_not_counted")
            return shown
        facts = encode_json({"count": count, "bytes": size})
        return shown[:-1] + _COUNTED % facts if shown.endswith(b"}") else shown

    async def run(self, work: Any, *given: Any) -> Any:
        """Run something that blocks."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *given)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
