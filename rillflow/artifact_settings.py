"""The part of the settings that is about artifacts.

Used by `actors` and `runtime/stack.py`.
"""

from rillflow.artifacts.addresses import ArtifactSettings
from rillflow.settings import Settings


def artifact_settings(settings: Settings) -> ArtifactSettings:
    """Return where artifacts are, their limits, and the secrets of their addresses."""
    secrets = [key.get_secret_value() for key in settings.callback_keys]
    if settings.api_key is not None:
        secrets.append(settings.api_key.get_secret_value())
    if settings.switch("ENABLE_AUTH_RESOLVER"):
        secrets.append(settings.auth_secret)
    folder = settings.data_dir.resolve() / "artifacts"
    return ArtifactSettings(
        store_url=settings.artifact_store or f"file://{folder}",
        max_bytes=settings.artifact_max_bytes,
        execution_max_bytes=settings.artifacts_max_bytes,
        min_free_bytes=settings.artifacts_min_free_bytes,
        base_url=settings.callback_base_url,
        secrets=tuple(secrets),
        ttl_s=settings.callback_ttl_s,
    )
