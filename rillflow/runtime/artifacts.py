"""The artifacts of executions, as callers of the stack see them.

Used by `runtime/stack.py`.
"""

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from rillflow.artifacts.addresses import ArtifactSettings
from rillflow.artifacts.calls import opened_store
from rillflow.artifacts.store import ArtifactStore, execution_key
from rillflow.errors import OverloadedError
from rillflow.ids import ExecutionId, workspace_of
from rillflow.jsontypes import encode_json
from rillflow.setting_values import QuotaSetting

log = logging.getLogger("rillflow.artifacts")

FRESH_S: Final = 10.0
"""How old the bytes of a workspace may be, for its quota."""
_THREADS: Final = 8
_COUNTED: Final = b',"artifacts":%b}'


class Artifacts:
    """Reads and stores artifacts, in threads of their own: a store may be far away."""

    def __init__(
        self, settings: ArtifactSettings, quotas: Mapping[str, QuotaSetting] | None = None
    ) -> None:
        """Use the store of the settings; ``quotas`` are those of workspaces."""
        self.settings = settings
        self._quotas = quotas or {}
        self._totals: dict[str, tuple[int, float]] = {}
        """Bytes of the workspaces that have a quota, and when they were counted."""
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="artifacts")

    @property
    def store(self) -> ArtifactStore:
        """The store, which is opened when it is first used."""
        return opened_store(*self.settings[:5])

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

    async def require_room(self, execution_id: ExecutionId, size_bytes: int) -> None:
        """Refuse an artifact for which the quota of its workspace has no room.

        Raises:
            OverloadedError: There is no room (429).
            OSError: The store failed.
        """
        business = workspace_of(execution_id)
        quota = self._quotas.get(business)
        most = None if quota is None else quota.artifact_bytes
        if most is None:
            return
        now_s = asyncio.get_running_loop().time()
        total, counted_s = self._totals.get(business, (0, float("-inf")))
        if now_s - counted_s > FRESH_S:
            total = await self.run(self.store.total_of_workspace, business)
            self._totals[business] = total, now_s
        if total + size_bytes > most:
            raise OverloadedError(
                f"the quota artifact_bytes of the workspace {business} is reached: {most} bytes",
                hint="artifacts go with the executions that use them; see keep_finished_s",
            )

    def stored(self, execution_id: ExecutionId, size_bytes: int) -> None:
        """Count an artifact that was stored."""
        business = workspace_of(execution_id)
        if business in self._totals:
            total, counted_s = self._totals[business]
            self._totals[business] = total + size_bytes, counted_s

    async def run(self, work: Any, *given: Any) -> Any:
        """Run something that blocks."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *given)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
