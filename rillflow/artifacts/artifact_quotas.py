"""Quotas of artifact bytes where executions begin to use artifacts that are stored already.

Only dispatchers check them, for the inputs of HTTP functions: a worker of Ray that counts would
read the names of all marks, in each process anew.

Used by `artifacts/calls.py` and `runtime/artifacts.py`.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final

from cachetools import TTLCache

from rillflow.artifacts.marks import KeyMark, charged
from rillflow.artifacts.store import ArtifactStore
from rillflow.artifacts.store_total import FRESH_S, StoreTotal
from rillflow.artifacts.users import User, hashed
from rillflow.errors import OverloadedError

MOST_KNOWN: Final = 4_096


class ArtifactQuotas:
    """What the artifacts of a workspace, or of a key, may count for together; threads share it."""

    def __init__(self, by_workspace: Mapping[str, int]) -> None:
        """Hold workspaces to so many bytes; the quotas of keys are in the store."""
        self._by_workspace = {hashed(name, 8): (name, most) for name, most in by_workspace.items()}
        self._totals: dict[str, StoreTotal] = {}
        self._keys: TTLCache[str, tuple[KeyMark | None]] = TTLCache(MOST_KNOWN, FRESH_S)
        self._lock = threading.Lock()

    def require(self, store: ArtifactStore, user: User, size_bytes: int) -> None:
        """Count an artifact that an execution begins to use, or refuse it.

        Raises:
            OverloadedError: A quota is reached (429).
            OSError: The store failed.
        """
        for whose, most, count in self._limits(store, user):
            with self._lock:
                total = self._totals.setdefault(whose, StoreTotal(most))
            if not total.has_room(charged(size_bytes), count):
                raise quota_reached(whose, most)
            total.add(charged(size_bytes))

    def _limits(
        self, store: ArtifactStore, user: User
    ) -> Iterator[tuple[str, int, Callable[[], int]]]:
        workspace = user.workspaces[0]
        if workspace in self._by_workspace:
            name, most = self._by_workspace[workspace]
            yield whose(name), most, partial(store.total_of_workspace, name)
        key = self._key_of(store, user)
        if key is not None:
            yield whose(key), key.most_bytes, partial(store.keys.total_of, key.key_id)

    def _key_of(self, store: ArtifactStore, user: User) -> KeyMark | None:
        with self._lock:
            known = self._keys.get(user.name)
        if known is None:
            found = store.keys.find([user.name])
            known = (None if found is None else found[1],)
            with self._lock:
                self._keys[user.name] = known
        return known[0]


def whose(owner: str | KeyMark) -> str:
    """Return what a message calls a workspace or a key."""
    if isinstance(owner, KeyMark):
        return f"the key {owner.name}"
    return f"the workspace {owner}"


def quota_reached(owner: str, most_bytes: int) -> OverloadedError:
    """Return the refusal of an artifact for which a quota has no room."""
    return OverloadedError(
        f"the quota artifact_bytes of {owner} is reached: {most_bytes} bytes",
        hint="artifacts go with the executions that use them; see keep_finished_s",
    )
