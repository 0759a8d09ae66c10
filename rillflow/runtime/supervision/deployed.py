"""Derives the wanted deployment, and its next version, from the settings.

Used by `actors`, `serve` and `serve/stack`.
"""

import hashlib
import json
import time
import uuid
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from rillflow.errors import ConflictError, ProtocolError
from rillflow.language.versions import CURRENT
from rillflow.ports.deployment import PROTOCOL, Deployment
from rillflow.ports.storage.store import Store
from rillflow.runtime.supervision.language_history import earlier_language, with_language
from rillflow.settings import Settings

REPLICAS_ONLY: Final = frozenset(
    {
        *("api_key", "insecure", "allowed_hosts", "allowed_origins", "connections_per_address"),
        *("body_start_timeout_s", "body_timeout_s", "body_min_bytes_per_s", "unfinished_bodies"),
        *("unfinished_bodies_per_address", "waiting_requests", "waiting_requests_per_address"),
        *("answers_max_bytes_per_address", "answer_min_bytes_per_s", "header_max_bytes"),
        *("replicas", "trace_query_host", "take_over", "release"),
    }
)
"""Settings that only replicas of the HTTP API use; each deployment starts those anew."""
TRIES: Final = 20
"""How often a version is counted up that others take first."""
_PACKAGE: Final = Path(__file__).parents[2]


@cache
def code_version() -> str:
    """Return the version of this code: of the package, with a digest of it, and of the protocol.

    The digest is that of the files as they are now, so ask at the start of a process.
    """
    digest = hashlib.blake2b(digest_size=4)
    for path in sorted(_PACKAGE.rglob("*.py")):
        text = path.read_bytes()
        digest.update(f"{path.relative_to(_PACKAGE).as_posix()} {len(text)}\n".encode() + text)
    return f"{version('rillflow')}+{digest.hexdigest()}/{PROTOCOL}"


def settings_digest(settings: Settings) -> str:
    """Return the digest of what actors use of the settings, without secrets."""
    secret = _secret_fields(settings)
    return _digest({name: value for name, value in _used(settings).items() if name not in secret})


def secrets_digest(settings: Settings, environment: str = "") -> str:
    """Return the digest of the secrets that actors use; it is not for the store.

    Args:
        settings: What has secrets.
        environment: The digest of what actors are given besides settings.
    """
    secret = _secret_fields(settings)
    used = {name: value for name, value in _used(settings).items() if name in secret}
    return _digest({**used, "": environment})


def stated(settings: Settings, environment: str = "") -> Deployment:
    """Return what settings ask for, of no store and without a version yet."""
    return Deployment(
        store_id="",
        version=0,
        partition_map=0,
        settings_digest=settings_digest(settings),
        secrets_digest=secrets_digest(settings, environment),
        code_version=code_version(),
        execution_actors=settings.execution_actors,
        dispatcher_actors=settings.dispatcher_actors,
    )


def of_stored(settings: Settings, stored: Deployment, environment: str = "") -> Deployment | None:
    """Return the stored state with the secrets of these settings; None if it is not theirs."""
    asked = stated(settings, environment)
    named = replace(stored, secrets_digest=asked.secrets_digest, languages=())
    return named if named == _named(asked, stored) else None


def following(
    asked: Deployment,
    stored: Deployment | None,
    running: Deployment | None,
    new_id: str,
    at_ms: int = 0,
) -> Deployment:
    """Return the wanted state that has what is asked for: the stored one, or its successor.

    Args:
        asked: What settings ask for.
        stored: The wanted state in the store.
        running: What the controller holds, which knows secrets; None when there is none.
        new_id: Names the store, where it has no name.
        at_ms: The time, at which a new language version begins.
    """
    if stored is None:
        first = ((CURRENT, 0),)
        return replace(asked, store_id=new_id, version=1, partition_map=1, languages=first)
    languages = with_language(stored.languages, CURRENT, at_ms)
    named = replace(_named(asked, stored), languages=languages)
    # A later version than that of the controller was written by a replica that starts as this one.
    knows_other_secrets = (
        running is not None
        and running.version >= stored.version
        and running.secrets_digest != asked.secrets_digest
    )
    if replace(named, secrets_digest="") == stored and not knows_other_secrets:
        return named
    # A controller may hold what a store has lost that was restored from a backup.
    latest = max(stored.version, running.version if running is not None else 0) + 1
    same_map = stored.execution_actors == asked.execution_actors
    return replace(
        named, version=latest, partition_map=stored.partition_map if same_map else latest
    )


def _named(asked: Deployment, stored: Deployment) -> Deployment:
    return replace(
        asked,
        store_id=stored.store_id,
        version=stored.version,
        partition_map=stored.partition_map,
    )


async def record(
    settings: Settings,
    store: Store,
    running: Deployment | None = None,
    environment: str = "",
) -> Deployment:
    """Keep in the store what settings ask for, and return it as processes tell it each other.

    Args:
        settings: What actors are to be started with.
        store: Where it is kept.
        running: What the controller holds; None when there is none.
        environment: The digest of what actors are given besides settings.

    Raises:
        StoreError: The store cannot be read or written.
        ProtocolError: Executions in the store have not ended that may be of a later language
            version than this release knows.
    """
    if refusal := await earlier_language(store):
        raise ProtocolError(refusal)
    asked = stated(settings, environment)
    for _ in range(TRIES):
        stored = await store.deployment()
        wanted = following(asked, stored, running, uuid.uuid4().hex, time.time_ns() // 1_000_000)
        after_version = stored.version if stored is not None else 0
        is_stored = stored is not None and wanted.version == stored.version
        if is_stored or await store.set_deployment(wanted, after_version=after_version):
            return replace(wanted, languages=())
    raise ConflictError("others keep changing the wanted state of this deployment at once")


def _used(settings: Settings) -> dict[str, Any]:
    used = {name: _plain(value) for name, value in settings if name not in REPLICAS_ONLY}
    # A replica says what None stands for where it listens; `rillflow up` leaves that to actors.
    return {**used, "egress_private": settings.calls_private}


def _plain(value: Any) -> Any:
    """Return a value that JSON can write, secrets as their text."""
    reveal = getattr(value, "get_secret_value", None)
    if reveal is not None:
        return reveal()
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _secret_fields(settings: Settings) -> set[str]:
    fields = type(settings).model_fields.items()
    return {
        name for name, field in fields if not field.repr or "SecretStr" in repr(field.annotation)
    }


def _digest(values: dict[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, default=_text_of)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _text_of(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if dump is not None else str(value)
