"""References to artifacts in the input of an HTTP function get an address to fetch them from.

Used by `gateways/http/gateway.py`.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from msgspec.structs import replace

from rillflow.artifacts.addresses import ArtifactSettings, artifact_url
from rillflow.artifacts.calls import ArtifactAccess, StoredArtifacts
from rillflow.artifacts.references import MARK_BYTES, ArtifactReference, replaced
from rillflow.artifacts.store import execution_key
from rillflow.errors import GatewayError, RillflowError
from rillflow.jsontypes import JsonObject, decode_json, encode_json
from rillflow.ports.gateway import HANDLE_FAILS, DispatchRequest

MOST_ARTIFACTS: Final = 1_000
"""How many different artifacts an input may refer to."""
MOST_REFERENCES: Final = 10_000
"""How often it may do so; each reference becomes longer by its address."""

# A store may be far away, and what others do in threads does not wait for it.
_threads: Final = ThreadPoolExecutor(8, thread_name_prefix="artifacts")


def has_artifacts(request: DispatchRequest) -> bool:
    """Tell whether the input may refer to artifacts; nearly none does."""
    return MARK_BYTES in request.input


async def with_addresses(
    request: DispatchRequest, settings: ArtifactSettings, *, now_ms: int
) -> DispatchRequest:
    """Return a request whose references have addresses; the artifacts stay for its execution.

    Raises:
        GatewayError: An artifact is gone, there are too many, or the store failed.
    """
    try:
        loop = asyncio.get_running_loop()
        given = await loop.run_in_executor(_threads, _with_addresses, request, settings, now_ms)
    except GatewayError:
        raise
    except (RillflowError, OSError) as error:
        raise GatewayError(f"{HANDLE_FAILS}{error}") from error
    return replace(request, input=given)


def _with_addresses(request: DispatchRequest, settings: ArtifactSettings, now_ms: int) -> bytes:
    execution = execution_key(request.execution_id, (step[0] for step in request.route))
    artifacts = StoredArtifacts(ArtifactAccess(*settings[:3], execution, *settings[3:5]))
    made: dict[ArtifactReference, JsonObject] = {}
    asked: set[str] = set()
    references = 0

    def addressed(reference: ArtifactReference) -> JsonObject:
        nonlocal references
        references += 1
        is_new = reference.sha256 not in asked
        asked.add(reference.sha256)
        _refuse_many(references, len(asked))
        if is_new:
            artifacts.check(reference, "")
        if reference not in made:
            made[reference] = reference.json(artifact_url(settings, reference, now_ms=now_ms))
        return made[reference]

    return encode_json(replaced(decode_json(request.input), addressed))


def _refuse_many(references: int, artifacts: int) -> None:
    """Refuse an input that refers to very many artifacts: each is asked for at the store.

    Raises:
        GatewayError: It does.
    """
    if artifacts > MOST_ARTIFACTS or references > MOST_REFERENCES:
        raise GatewayError(
            f"{HANDLE_FAILS}an input may refer to {MOST_ARTIFACTS} artifacts,"
            f" {MOST_REFERENCES} times"
        )
