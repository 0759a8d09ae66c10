"""The artifacts of executions, as callers of the stack see them.

Used by `runtime/stack.py`.
"""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, TypeAlias, TypeVar

from rillflow.artifacts.addresses import ArtifactSettings
from rillflow.artifacts.artifact_quotas import quota_reached, whose
from rillflow.artifacts.calls import opened_store
from rillflow.artifacts.execution_totals import ExecutionTotal
from rillflow.artifacts.marks import KeyMark, charged
from rillflow.artifacts.store import ArtifactStore, execution_key
from rillflow.errors import OverloadedError
from rillflow.gateways.outbound.fair_thread import FairThread
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
Result = TypeVar("Result")
Above: TypeAlias = Callable[[ExecutionId], Awaitable[Sequence[ExecutionId]]]
COUNTED_WITHIN_S: Final = 5.0
"""How long a view waits for the store; then it shows what was known, or nothing of artifacts."""
_COUNTED: Final = b',"artifacts":%b}'

ASKING: Final = FairThread(most=512, most_of_one=64, name="questions for artifacts", threads=8)
"""The threads of this process that look for artifacts and their marks, workspaces in turn."""
MOVING: Final = FairThread(
    most=sys.maxsize, most_of_one=sys.maxsize, name="contents of artifacts", threads=16
)
"""Those that read and write contents, for which ``serve/limits/places.py`` has given a place."""
COUNTING: Final = FairThread(most=256, most_of_one=32, name="counts of artifacts", rest=1.0)
"""The one that counts artifacts for views."""


class Artifacts:
    """Reads and stores artifacts, in threads of their own: a store may be far away.

    Workspaces take turns there, so that none waits for more than a work of each other one.
    """

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
        self._reading: dict[str, asyncio.Future[ExecutionTotal]] = {}
        """The counts of executions that are under way."""

    @property
    def store(self) -> ArtifactStore:
        """The store, which is opened when it is first used."""
        return opened_store(*self.settings[:5])

    async def counted(self, execution_id: ExecutionId, shown: bytes) -> bytes:
        """Return a view with the number and the bytes of the artifacts of its execution.

        They are those that are known, where they are new enough; the names of the artifacts are
        read for all views of the execution together. Without an answer of the store the view has
        what was known before, or nothing of artifacts.
        """
        key = execution_key(execution_id)
        total = self.store.totals.fresh(key)
        if total is None:
            total = await self._counted(execution_id, key) or self.store.totals.last(key)
        if total is None or not shown.endswith(b"}"):
            return shown
        facts = encode_json({"count": total.number, "bytes": total.size_bytes})
        return shown[:-1] + _COUNTED % facts

    async def _counted(self, execution_id: ExecutionId, key: str) -> ExecutionTotal | None:
        reading = self._reading.get(key)
        if reading is None:
            count = partial(self.store.total_of, key)
            try:
                reading = COUNTING.begin(workspace_of(execution_id), count)
            except OverloadedError:
                return None
            self._reading[key] = reading
            reading.add_done_callback(partial(self._end_reading, key))
        done, _ = await asyncio.wait({reading}, timeout=COUNTED_WITHIN_S)
        return reading.result() if done and reading.exception() is None else None

    def _end_reading(self, key: str, reading: "asyncio.Future[ExecutionTotal]") -> None:
        del self._reading[key]
        if not reading.cancelled() and (error := reading.exception()) is not None:
            log.error("artifacts_not_counted", exc_info=error)

    async def keep_key(self, execution_id: ExecutionId, holder: Holder) -> None:
        """Note with which key an execution is started, if that has a quota of artifact bytes.

        Raises:
            OverloadedError: Too many executions of its workspace are being started (429).
        """
        most = holder.quota.artifact_bytes
        if most is None:
            return
        key = KeyMark(holder.key_id, holder.name, most)
        self._has_keys = True
        keep = partial(self.store.keys.keep, execution_key(execution_id), key)
        try:
            await self.ask(workspace_of(execution_id), keep)
        except OverloadedError:
            raise  # by many at once nobody gets an execution whose artifacts do not count
        except Exception:
            log.exception("quota_not_checked", extra={"execution_id": execution_id})

    async def forget_key(self, execution_id: ExecutionId, holder: Holder) -> None:
        """Forget an execution that was not started."""
        if holder.quota.artifact_bytes is not None:
            drop = partial(self.store.keys.drop, execution_key(execution_id))
            try:
                await self.move(workspace_of(execution_id), drop)  # else the key would stay there
            except Exception:
                log.exception("quota_not_checked", extra={"execution_id": execution_id})

    async def key_of(self, execution_id: ExecutionId, above: Above) -> KeyMark | None:
        """Return the key with a quota with which an execution, or its family, was started.

        Args:
            execution_id: The execution.
            above: Returns the executions that have started one as a sub-flow, the outermost first.

        Raises:
            OSError: The store failed.
            OverloadedError: Too much is asked for its workspace at once (429).
            RillflowError: The owner of the execution cannot be reached.
        """
        now_s = asyncio.get_running_loop().time()
        if not self._has_keys and now_s - self._looked_s > FRESH_S:
            self._has_keys = await self.ask(workspace_of(execution_id), self.store.keys.are_there)
            self._looked_s = now_s
        if not self._has_keys:
            return None
        own = execution_key(execution_id)
        names = [own, *(execution_key(each) for each in (await above(execution_id))[:1])]
        find = partial(self.store.keys.find, names)
        found: tuple[str, KeyMark] | None = await self.ask(workspace_of(execution_id), find)
        if found is None:
            return None
        if found[0] != own:
            keep = partial(self.store.keys.keep, own, found[1])
            await self.ask(workspace_of(execution_id), keep)
        return found[1]

    async def require_room(
        self, execution_id: ExecutionId, size_bytes: int, key: KeyMark | None = None
    ) -> None:
        """Refuse an artifact for which the quota of its workspace, or of a key, has no room.

        Raises:
            OverloadedError: There is no room, or too much is asked at once (429).
            OSError: The store failed.
        """
        business = workspace_of(execution_id)
        quota = self._quotas.get(business)
        most = None if quota is None else quota.artifact_bytes
        if most is not None:
            count = partial(self.store.total_of_workspace, business)
            await self._require(business, whose(business), most, size_bytes, count)
        if key is not None:
            count = partial(self.store.keys.total_of, key.key_id)
            await self._require(business, whose(key), key.most_bytes, size_bytes, count)

    async def _require(
        self, business: str, owner: str, most: int, size_bytes: int, count: Callable[[], int]
    ) -> None:
        async with self._counting.setdefault(owner, asyncio.Lock()):
            total = await self._total(business, owner, count)
        if total + charged(size_bytes) > most:
            raise quota_reached(owner, most)

    async def _total(self, business: str, owner: str, count: Callable[[], int]) -> int:
        clock_s = asyncio.get_running_loop().time
        begun_s = clock_s()
        total, until_s = self._totals.get(owner, (0, float("-inf")))
        if begun_s > until_s:
            total = await self.ask(business, count)
            fresh_s = max(FRESH_S, COUNTING_SHARE * (clock_s() - begun_s))
            self._totals[owner] = total, begun_s + min(fresh_s, LONGEST_FRESH_S)
        return total

    def stored(
        self, execution_id: ExecutionId, size_bytes: int, key: KeyMark | None = None
    ) -> None:
        """Count an artifact that was stored."""
        for owner in (whose(workspace_of(execution_id)), *([] if key is None else [whose(key)])):
            if owner in self._totals:
                total, until_s = self._totals[owner]
                self._totals[owner] = total + charged(size_bytes), until_s

    async def ask(self, sender: str, work: Callable[[], Result]) -> Result:
        """Ask the store something in a thread; workspaces, or other senders, take turns.

        Raises:
            OverloadedError: Too much is asked for this sender, or for all, at once (429).
        """
        return await ASKING.run(sender, work)

    async def move(self, sender: str, work: Callable[[], Result]) -> Result:
        """Read or write in a thread what may not be refused, since it has begun already."""
        return await MOVING.run(sender, work)
