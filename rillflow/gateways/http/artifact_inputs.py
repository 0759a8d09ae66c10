"""References to artifacts in the input of an HTTP function get an address to fetch them from.

Used by `gateways/http/gateway.py`.
"""

import sys
from functools import partial
from typing import Final

from msgspec.structs import replace

from rillflow.artifacts.addresses import ArtifactSettings, artifact_url
from rillflow.artifacts.calls import ReferenceChecks, StoredArtifacts, access_of, quotas_of
from rillflow.artifacts.references import MARK_BYTES, ArtifactReference, replaced
from rillflow.errors import GatewayError, RillflowError
from rillflow.gateways.outbound.fair_thread import FairThread
from rillflow.ids import workspace_of
from rillflow.jsontypes import JsonObject, decode_json, encode_json
from rillflow.ports.gateway import HANDLE_FAILS, DispatchRequest

FOR_INPUTS: Final = FairThread(
    most=sys.maxsize, most_of_one=sys.maxsize, name="artifacts of inputs", rest=1.0, threads=8
)
"""The threads of this process that ask for the artifacts of inputs, workspaces in turn.

A store may be far away. All that waits is a call that has been ordered, so none is refused.
"""


def has_artifacts(request: DispatchRequest) -> bool:
    """Tell whether the input may refer to artifacts; nearly none does."""
    return MARK_BYTES in request.input


async def with_addresses(
    request: DispatchRequest, settings: ArtifactSettings, *, now_ms: int
) -> DispatchRequest:
    """Return a request whose references have addresses; the artifacts stay for its execution.

    Raises:
        GatewayError: An artifact is gone, there are too many, a quota has no room, or the store
            failed.
    """
    try:
        work = partial(_with_addresses, request, settings, now_ms)
        given = await FOR_INPUTS.run(workspace_of(request.execution_id), work)
    except GatewayError:
        raise
    except (RillflowError, OSError) as error:
        raise GatewayError(f"{HANDLE_FAILS}{error}") from error
    return replace(request, input=given)


def _with_addresses(request: DispatchRequest, settings: ArtifactSettings, now_ms: int) -> bytes:
    above = tuple(step[0] for step in request.route)
    access = access_of(settings, request.execution_id, above)
    checks = ReferenceChecks(StoredArtifacts(access, quotas_of(settings.workspace_bytes)))
    made: dict[ArtifactReference, JsonObject] = {}

    def addressed(reference: ArtifactReference) -> JsonObject:
        checks.check(reference)
        if reference not in made:
            made[reference] = reference.json(artifact_url(settings, reference, now_ms=now_ms))
        return made[reference]

    return encode_json(replaced(decode_json(request.input), addressed))
