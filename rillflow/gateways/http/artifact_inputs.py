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
        GatewayError: An artifact is gone, or the store failed.
    """
    try:
        loop = asyncio.get_running_loop()
        given = await loop.run_in_executor(_threads, _with_addresses, request, settings, now_ms)
    except (RillflowError, OSError) as error:
        raise GatewayError(f"{HANDLE_FAILS}{error}") from error
    return replace(request, input=given)


def _with_addresses(request: DispatchRequest, settings: ArtifactSettings, now_ms: int) -> bytes:
    execution = execution_key(request.execution_id)
    artifacts = StoredArtifacts(ArtifactAccess(*settings[:3], execution, settings.min_free_bytes))

    def addressed(reference: ArtifactReference) -> JsonObject:
        artifacts.check(reference, "")
        return reference.json(artifact_url(settings, reference, now_ms=now_ms))

    return encode_json(replaced(decode_json(request.input), addressed))
