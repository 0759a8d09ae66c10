"""The artifacts of executions, as callers of the stack see them.

Used by `runtime/stack.py`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeAlias

from rillflow.artifacts.addresses import ArtifactSettings
from rillflow.artifacts.calls import opened_store
from rillflow.artifacts.marks import KeyMark
from rillflow.artifacts.store import ArtifactStore, execution_key
from rillflow.errors import OverloadedError
from rillflow.ids import ExecutionId, workspace_of
from rillflow.jsontypes import encode_json
from rillflow.ports.storage.access import Holder
from rillflow.setting_values import QuotaSetting

log = logging.getLogger("rillflow.artifacts")

FRESH_S: Final = 10.0
"""How old the bytes of a workspace, or of a key, may be, for its quota."""
LONGEST_FRESH_S: Final = 300.0
COUNTING_SHARE: Final = 20
"""They are as old as it takes to count them, so many times, where that is longer: of a large store
of artifacts, the names of all marks of a workspace are read."""
Above: TypeAlias = Callable[[ExecutionId], Awaitable[Sequence[ExecutionId]]]
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
        """Bytes of the workspaces and keys that have a quota, and until when they are valid."""
        self._counting: dict[str, asyncio.Lock] = {}
        self._has_keys, self._looked_s = False, float("-inf")
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

    async def keep_key(self, execution_id: ExecutionId, holder: Holder) -> None:
        """Note with which key an execution is started, if that has a quota of artifact bytes."""
        most = holder.quota.artifact_bytes
        if most is None:
            return
        key = KeyMark(holder.key_id, holder.name, most)
        self._has_keys = True
        try:
            await self.run(self.store.keys.keep, execution_key(execution_id), key)
        except Exception:
            log.exception("quota_not_checked", extra={"execution_id": execution_id})

    async def forget_key(self, execution_id: ExecutionId, holder: Holder) -> None:
        """Forget an execution that was not started."""
        if holder.quota.artifact_bytes is not None:
            try:
                await self.run(self.store.keys.drop, execution_key(execution_id))
            except Exception:
                log.exception("quota_not_checked", extra={"execution_id": execution_id})

    async def key_of(self, execution_id: ExecutionId, above: Above) -> KeyMark | None:
        """Return the key with a quota with which an execution, or its family, was started.

        Args:
            execution_id: The execution.
            above: Returns the executions that have started one as a sub-flow, the outermost first.

        Raises:
            OSError: The store failed.
            RillflowError: The owner of the execution cannot be reached.
        """
        now_s = asyncio.get_running_loop().time()
        if not self._has_keys and now_s - self._looked_s > FRESH_S:
            self._has_keys = await self.run(self.store.keys.are_there)
            self._looked_s = now_s
        if not self._has_keys:
            return None
        own = execution_key(execution_id)
        names = [own, *(execution_key(each) for each in (await above(execution_id))[:1])]
        found: tuple[str, KeyMark] | None = await self.run(self.store.keys.find, names)
        if found is None:
            return None
        if found[0] != own:
            await self.run(self.store.keys.keep, own, found[1])
        return found[1]

    async def require_room(
        self, execution_id: ExecutionId, size_bytes: int, key: KeyMark | None = None
    ) -> None:
        """Refuse an artifact for which the quota of its workspace, or of a key, has no room.

        Raises:
            OverloadedError: There is no room (429).
            OSError: The store failed.
        """
        business = workspace_of(execution_id)
        quota = self._quotas.get(business)
        most = None if quota is None else quota.artifact_bytes
        if most is not None:
            count = partial(self.store.total_of_workspace, business)
            await self._require(_whose(business), most, size_bytes, count)
        if key is not None:
            count = partial(self.store.keys.total_of, key.key_id)
            await self._require(_whose(key), key.most_bytes, size_bytes, count)

    async def _require(
        self, whose: str, most: int, size_bytes: int, count: Callable[[], int]
    ) -> None:
        async with self._counting.setdefault(whose, asyncio.Lock()):
            total = await self._total(whose, count)
        if total + size_bytes > most:
            raise OverloadedError(
                f"the quota artifact_bytes of {whose} is reached: {most} bytes",
                hint="artifacts go with the executions that use them; see keep_finished_s",
            )

    async def _total(self, whose: str, count: Callable[[], int]) -> int:
        clock_s = asyncio.get_running_loop().time
        begun_s = clock_s()
        total, until_s = self._totals.get(whose, (0, float("-inf")))
        if begun_s > until_s:
            total = await self.run(count)
            fresh_s = max(FRESH_S, COUNTING_SHARE * (clock_s() - begun_s))
            self._totals[whose] = total, begun_s + min(fresh_s, LONGEST_FRESH_S)
        return total

    def stored(
        self, execution_id: ExecutionId, size_bytes: int, key: KeyMark | None = None
    ) -> None:
        """Count an artifact that was stored."""
        for whose in (_whose(workspace_of(execution_id)), *([] if key is None else [_whose(key)])):
            if whose in self._totals:
                total, until_s = self._totals[whose]
                self._totals[whose] = total + size_bytes, until_s

    async def run(self, work: Any, *given: Any) -> Any:
        """Run something that blocks."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *given)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _whose(owner: str | KeyMark) -> str:
    if isinstance(owner, KeyMark):
        return f"the key {owner.name}"
    return f"the workspace {owner}"
