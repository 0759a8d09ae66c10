"""The part of the settings that is about artifacts.

Used by `actors` and `runtime/stack.py`.
"""

import base64
import hashlib
from functools import lru_cache
from typing import Final

from rillflow.artifacts.addresses import ArtifactSettings
from rillflow.settings import Settings

_GUESS_COST: Final = 1 << 12


def artifact_settings(settings: Settings) -> ArtifactSettings:
    """Return where artifacts are, their limits, and the secrets of their addresses."""
    secrets = [key.get_secret_value() for key in settings.callback_keys]
    if settings.api_key is not None:
        secrets.append(_derived(settings.api_key.get_secret_value()))
    upload_keys = tuple(secrets)  # a callback address that is only signed is Rill Flow's own
    if settings.switch("ENABLE_AUTH_RESOLVER"):
        secrets.append(_derived(settings.auth_secret))
    folder = settings.data_dir.resolve() / "artifacts"
    return ArtifactSettings(
        store_url=settings.artifact_store or f"file://{folder}",
        max_bytes=settings.artifact_max_bytes,
        execution_max_bytes=settings.artifacts_max_bytes,
        min_free_bytes=settings.artifacts_min_free_bytes,
        total_bytes=settings.artifacts_total_bytes,
        base_url=settings.callback_base_url,
        secrets=tuple(secrets),
        ttl_s=settings.callback_ttl_s,
        upload_keys=upload_keys,
        workspace_bytes=tuple(
            (name, quota.artifact_bytes)
            for name, quota in settings.workspace_quotas.items()
            if quota.artifact_bytes is not None
        ),
    )


@lru_cache(maxsize=4)
def _derived(secret: str) -> str:
    """Return a key for seals, from which a function that has seen some cannot guess the secret."""
    key = hashlib.scrypt(secret.encode(), salt=b"rillflow seals", n=_GUESS_COST, r=8, p=1)
    return base64.urlsafe_b64encode(key).decode()
