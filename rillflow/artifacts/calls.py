"""The artifacts of a call whose process can reach the store, such as a Ray worker.

Used by `ray_tasks/worker.py`, `ray_tasks/caller.py` and `gateways/http/artifact_inputs.py`.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from rillflow.artifacts.addresses import ArtifactSettings
from rillflow.artifacts.artifact import GivenArtifact
from rillflow.artifacts.artifact_quotas import ArtifactQuotas
from rillflow.artifacts.references import ArtifactReference, replaced
from rillflow.artifacts.store import ArtifactStore, execution_key
from rillflow.errors import TooLargeError
from rillflow.ids import ExecutionId

MOST_ARTIFACTS: Final = 1_000
"""How many different artifacts an input may refer to: each is asked for at the store."""
MOST_REFERENCES: Final = 10_000
"""How often it may do so."""


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

    def __init__(self, access: ArtifactAccess, quotas: ArtifactQuotas | None = None) -> None:
        """Reach them by ``access``; what the execution begins to use is held to ``quotas``."""
        self._access = access
        self._require = None if quotas is None else quotas.require
        self._store = opened_store(*access[:3], *access[4:])
        self._execution = access.execution

    def __reduce__(self) -> tuple[Any, ...]:
        """Let artifacts travel to other processes, which open the store themselves."""
        return StoredArtifacts, (self._access,)

    def check(self, reference: ArtifactReference, url: str) -> None:
        """Make sure that an artifact can be opened, now and later.

        Raises:
            ArtifactLostError: It is gone.
            OverloadedError: A quota has no room for it.
        """
        del url
        self._store.adopt(self._execution, reference, self._require)

    def open(self, reference: ArtifactReference, url: str) -> BinaryIO:
        """Open an artifact for reading."""
        del url
        return self._store.open(reference)

    def open_file(self, file: Path) -> BinaryIO:
        """Open a file that the function of this process has returned."""
        return file.open("rb")

    def keep(self, data: BinaryIO, media_type: str, name: str) -> ArtifactReference:
        """Store an artifact."""
        return self._store.put(self._execution, data, media_type=media_type, name=name)


class ReferenceChecks:
    """Makes sure that what an input refers to can be opened; asks once for each artifact."""

    def __init__(self, artifacts: StoredArtifacts) -> None:
        self._artifacts = artifacts
        self._asked: set[str] = set()
        self._references = 0

    def check(self, reference: ArtifactReference) -> None:
        """Make sure that an artifact can be opened, now and later.

        Raises:
            ArtifactLostError: It is gone.
            TooLargeError: The input refers to very many.
            OverloadedError: A quota has no room for it.
            OSError: The store failed.
        """
        self._references += 1
        is_new = reference.sha256 not in self._asked
        self._asked.add(reference.sha256)
        if len(self._asked) > MOST_ARTIFACTS or self._references > MOST_REFERENCES:
            raise TooLargeError(
                f"an input may refer to {MOST_ARTIFACTS} artifacts, {MOST_REFERENCES} times"
            )
        if is_new:
            self._artifacts.check(reference, "")


def with_opened(given: Any, access: ArtifactAccess) -> Any:
    """Return an input in which each reference can be opened too; what it opens stays.

    Raises:
        ArtifactLostError: An artifact is gone.
        TooLargeError: There are very many.
        OSError: The store failed.
    """
    artifacts = StoredArtifacts(access)
    checks = ReferenceChecks(artifacts)

    def opened(reference: ArtifactReference) -> GivenArtifact:
        checks.check(reference)
        return GivenArtifact.stored_at(artifacts, reference)

    return replaced(given, opened)


@lru_cache(maxsize=1024)  # a foreach makes thousands of calls of one execution
def access_of(
    settings: ArtifactSettings, execution_id: ExecutionId, above: tuple[ExecutionId, ...]
) -> ArtifactAccess:
    """Return what a call of an execution needs, which has those ``above`` it."""
    execution = execution_key(execution_id, above)
    return ArtifactAccess(*settings[:3], execution, *settings[3:5])


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


@lru_cache(maxsize=4)
def quotas_of(workspace_bytes: tuple[tuple[str, int], ...]) -> ArtifactQuotas:
    """Return what holds workspaces to their quotas, the same for all calls of this process."""
    return ArtifactQuotas(dict(workspace_bytes))
