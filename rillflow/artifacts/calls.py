"""The artifacts of a call that reaches the store itself, as those of Ray do.

Used by `ray_tasks/worker.py`.
"""

from functools import lru_cache
from typing import BinaryIO, NamedTuple

from rillflow.artifacts.references import ArtifactReference
from rillflow.artifacts.store import ArtifactStore


class ArtifactAccess(NamedTuple):
    """What a call needs to reach artifacts; ``execution`` is the name that the store has for it."""

    store_url: str
    max_bytes: int
    execution_max_bytes: int
    execution: str
    min_free_bytes: int = 0
    total_bytes: int | None = None


class StoredArtifacts:
    """Artifacts of one execution; whatever it opens stays as long as the execution does."""

    def __init__(self, access: ArtifactAccess) -> None:
        self._store = opened_store(*access[:3], *access[4:])
        self._execution = access.execution

    def check(self, reference: ArtifactReference, url: str) -> None:
        """Make sure that an artifact can be opened, now and later.

        Raises:
            ArtifactLostError: It is gone.
        """
        del url
        self._store.adopt(self._execution, reference)

    def open(self, reference: ArtifactReference, url: str) -> BinaryIO:
        """Open an artifact for reading."""
        del url
        return self._store.open(reference)

    def keep(self, data: BinaryIO, media_type: str, name: str) -> ArtifactReference:
        """Store an artifact."""
        return self._store.put(self._execution, data, media_type=media_type, name=name)


@lru_cache(maxsize=4)
def opened_store(
    url: str,
    max_bytes: int,
    execution_max_bytes: int,
    min_free_bytes: int = 0,
    total_bytes: int | None = None,
) -> ArtifactStore:
    """Return the store at a URL, the same one for all calls of this process."""
    return ArtifactStore(
        url,
        max_bytes=max_bytes,
        execution_max_bytes=execution_max_bytes,
        min_free_bytes=min_free_bytes,
        total_bytes=total_bytes,
    )
