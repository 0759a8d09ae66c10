"""Signed addresses at which HTTP functions fetch artifacts.

An address is for one artifact, and expires. It is made of the same secret by dispatchers, and
checked by replicas.

Used by `gateways/http/artifact_inputs.py` and `serve/routes/artifacts.py`.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple
from urllib.parse import urlencode

from rillflow.artifacts.references import ArtifactReference

PATH: Final = "/flow/artifacts"
SEAL: Final = "seal"
_PURPOSE: Final = b"rillflow artifact 1"
_LONGEST_NUMBER: Final = 15


class ArtifactSettings(NamedTuple):
    """Where artifacts are, and how large they may be.

    Attributes:
        store_url: Of the store, as fsspec has it.
        max_bytes: Limit of one artifact.
        execution_max_bytes: Limit of all artifacts of an execution together.
        min_free_bytes: Space that artifacts leave free on a local disk.
        total_bytes: Limit of the contents of the whole store; None is no limit.
        base_url: Where functions reach this server.
        secrets: Any of them may have sealed an address; the first one seals. Without any the
            server asks nobody for a key, and addresses are not sealed.
        ttl_s: Seconds for which an address is valid.
        upload_keys: Any of them may have sealed an address at which a function stores artifacts,
            which is that of its callback; the first one seals. Without any, none is sealed.
        workspace_bytes: The quotas of workspaces that have one: what their artifacts may count for.
    """

    store_url: str
    max_bytes: int
    execution_max_bytes: int
    min_free_bytes: int = 0
    total_bytes: int | None = None
    base_url: str = ""
    secrets: tuple[str, ...] = ()
    ttl_s: int = 0
    upload_keys: tuple[str, ...] = ()
    workspace_bytes: tuple[tuple[str, int], ...] = ()


def artifact_url(settings: ArtifactSettings, reference: ArtifactReference, *, now_ms: int) -> str:
    """Return the address of an artifact, valid from now on for a time."""
    fields: dict[str, str] = {}
    if settings.secrets:
        fields["expires"] = str(now_ms // 1000 + settings.ttl_s)
        fields[SEAL] = _code(settings.secrets[0], reference, fields["expires"])
    fields |= {"media_type": reference.media_type, "name": reference.name}
    return f"{settings.base_url}{PATH}/{reference.sha256}?{urlencode(fields)}"


def is_sealed(
    secrets: Iterable[str],
    query: Mapping[str, str],
    reference: ArtifactReference,
    *,
    now_s: float,
) -> bool:
    """Tell whether an address was made for this artifact, and is still valid."""
    expires, given = query.get("expires", ""), query.get(SEAL, "").encode()
    fits = [
        hmac.compare_digest(given, _code(secret, reference, expires).encode()) for secret in secrets
    ]
    is_number = expires.isascii() and expires.isdecimal() and len(expires) <= _LONGEST_NUMBER
    return any(fits) and is_number and now_s <= int(expires)


def _code(secret: str, reference: ArtifactReference, expires: str) -> str:
    """Authenticate what an address says, each part with its length."""
    facts = (reference.sha256, reference.media_type, reference.name, expires)
    parts = [_PURPOSE, *(fact.encode(errors="replace") for fact in facts)]
    message = b"".join(b"%d:%b" % (len(part), part) for part in parts)
    code = hmac.digest(secret.encode(), message, hashlib.sha256)
    return base64.urlsafe_b64encode(code).rstrip(b"=").decode()
