"""Leases, as the store keeps them: of the deployment that may run on it, and of its owners.

Epochs keep two deployments from writing to one execution; the lease keeps them from trying.

By its own lease an execution actor shows that its process runs. An owner takes it before it takes
its partitions, and renews it. Whoever looks after the actors sees which leases are not renewed any
more. Epochs, and not leases, keep two owners from writing to one execution.

Used by `actors`, `ports`, `runtime`, `serve`, `stores` and `transfer`.
"""

from typing import NamedTuple, Protocol

import msgspec


class DeploymentName(NamedTuple):
    """A deployment, as the lease names it.

    ``id`` is the same for all its processes, and no other deployment has it. ``place`` says for
    people where it is. Of two at one place, one after the other, the first does not run any more.
    """

    id: str
    place: str = ""


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """Who runs on a store, since when, and who has asked to be next.

    ``holder`` is the id of a deployment, empty once the lease was given up, and ``place`` where
    that is. ``id`` is new with each holder. ``turn`` grows with each write. ``successor`` is the
    place of a deployment that has asked the holder to end its actors. ``mark`` is new with
    each process that acquires it, so whoever reads it there reads the same store. ``silent_s`` is
    the time since the last renewal, by one clock of the store. ``refused`` tells the last
    deployment on another store that may not end the actors of this one.
    """

    id: str
    holder: str
    place: str = ""
    since_ms: int
    turn: int
    successor: str = ""
    mark: str = ""
    silent_s: float = 0.0
    refused: str = ""


class Leases(Protocol):
    """The one lease of a store."""

    async def lease(self) -> Lease | None:
        """Return the lease; None before the first."""
        ...

    async def set_lease(self, lease: Lease, *, renews: bool) -> bool:
        """Keep a lease whose ``turn`` is one above that of the stored one, 1 for the first.

        Args:
            lease: What is kept; ``silent_s`` is not.
            renews: Whether its holder writes it.

        Returns:
            Whether it was the next one; if not, nothing was written.
        """
        ...


class OwnerLease(NamedTuple):
    """The lease of one execution actor.

    Attributes:
        name: The name of the actor.
        life: Which of its processes took the lease last.
        renewals: How often that process has renewed it.
    """

    name: str
    life: str
    renewals: int


class OwnerLeases(Protocol):
    """The leases of the execution actors of a deployment, one for each name."""

    async def take_owner_lease(self, name: str, life: str) -> None:
        """Give the lease of a name to a process, whoever had it before."""
        ...

    async def renew_owner_lease(self, name: str, life: str) -> bool:
        """Renew a lease; a crash of the store may undo the latest renewals.

        Returns:
            Whether this process has it; if not, another one has taken it.
        """
        ...

    async def owner_leases(self) -> list[OwnerLease]:
        """Return all leases by name."""
        ...


def encode_lease(lease: Lease) -> str:
    """Encode a lease for the store."""
    return msgspec.json.encode(msgspec.structs.replace(lease, silent_s=0.0)).decode()


def decode_lease(text: str, silent_s: float) -> Lease:
    """Decode a lease from the store.

    Raises:
        msgspec.ValidationError: It is none.
    """
    lease = msgspec.json.decode(text, type=Lease)
    return msgspec.structs.replace(lease, silent_s=max(0.0, silent_s))
