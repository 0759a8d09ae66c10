"""The wanted state of a deployment, as the store keeps it: what should run on this store.

It names settings by digests and holds none of their values, so no secret comes into the store.
"""

from typing import Final, Protocol

import msgspec

PROTOCOL: Final = 1
"""Version of the messages between processes (``rillflow/ports/messages.py``) and of the journal."""


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """What should run on a store, or what an actor was started with.

    ``version`` grows with each change. ``settings_digest`` is that of the settings that actors use,
    without secrets; ``secrets_digest`` is that of their secrets, which processes tell each other
    and which the store never holds. ``partition_map`` is the version at which the number of
    execution actors changed last: actors that have the same one agree on who owns what.
    ``store_id`` is made with the first deployment of a store, and tells stores apart.
    """

    store_id: str
    version: int
    partition_map: int
    settings_digest: str
    code_version: str
    execution_actors: int
    dispatcher_actors: int
    secrets_digest: str = ""


class Deployments(Protocol):
    """The one wanted state that a store keeps."""

    async def deployment(self) -> Deployment | None:
        """Return the wanted state, without the digest of secrets; None before the first."""
        ...

    async def set_deployment(self, wanted: Deployment, *, after_version: int) -> bool:
        """Keep a wanted state, durably, without its digest of secrets.

        ``after_version`` is the version that it follows, 0 for the first one. Returns whether that
        was the stored version; if not, nothing was written.
        """
        ...


def encode_stored(wanted: Deployment) -> str:
    """Encode a wanted state for the store."""
    return msgspec.json.encode(msgspec.structs.replace(wanted, secrets_digest="")).decode()


def decode_stored(text: str) -> Deployment:
    """Decode a wanted state from the store; what a later release has added is left out.

    Raises:
        msgspec.ValidationError: It is none.
    """
    return msgspec.json.decode(text, type=Deployment)
