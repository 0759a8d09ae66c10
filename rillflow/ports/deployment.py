"""The wanted state of a deployment, as the store keeps it: what should run on this store.

It names settings by digests and holds none of their values, so no secret comes into the store.

Also the protocol: the version of what processes of a deployment say to each other. Every frame,
every message over Ray, and every description of an actor has the version of its sender. While a
deployment rolls to other code, processes of two releases talk to each other. Two releases work
together when their versions differ by one at most: the later one knows the earlier.

Used by `actors`, `ports`, `runtime`, `serve` and `stores`.
"""

from functools import partial
from typing import Any, Final, Protocol

import msgspec

from rillflow.errors import ProtocolError

PROTOCOL: Final = 2
"""Raised by each release that has a new kind of message, or a new meaning of one."""
UNSAID: Final = 1
"""That of releases whose messages do not have it."""
APART: Final = 1
"""How far apart two versions may be that work together."""


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """What should run on a store, or what an actor was started with.

    ``version`` grows with each change. ``settings_digest`` is that of the settings that actors use,
    without secrets; ``secrets_digest`` is that of their secrets, which processes tell each other
    and which the store never holds. ``partition_map`` is the version at which the number of
    execution actors changed last: actors that have the same one agree on who owns what.
    ``store_id`` is made with the first deployment of a store, and tells stores apart. ``languages``
    are the language versions that its executions may have, ascending, each with the time in ms
    since which: that of the first deployment of a release with it. Only the store has them. They
    are not pickled: a process of the release before could not load a field that it lacks.
    """

    store_id: str
    version: int
    partition_map: int
    settings_digest: str
    code_version: str
    execution_actors: int
    dispatcher_actors: int
    secrets_digest: str = ""
    languages: tuple[tuple[int, int], ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what processes tell each other."""
        told = {name: getattr(self, name) for name in self.__struct_fields__}
        del told["languages"]
        return partial(type(self), **told), ()


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


def refuse_distant(
    theirs: int, whose: str, ours: int = PROTOCOL, who: str = "this process"
) -> None:
    """Refuse a process that speaks a version which this release does not know.

    Args:
        theirs: Its version.
        whose: The process, in words.
        ours: The version of the other side, that of this process unless ``who`` says another.
        who: The other side, in words.

    Raises:
        ProtocolError: The versions are more than one apart.
    """
    if abs(theirs - ours) <= APART:
        return
    raise ProtocolError(
        f"{whose} speaks protocol {theirs}, and {who} protocol {ours}. Releases work"
        " together whose protocols are one apart: deploy the releases between them one after the"
        " other, or run `rillflow cluster stop` and deploy again"
    )


def protocol_of(code_version: str) -> int:
    """Return the protocol in a version of the code, ``0.1.0+digest/2``."""
    number = code_version.rpartition("/")[2]
    return int(number) if number.isdecimal() else UNSAID
