"""The wanted state of a deployment in the memory store.

Used by `stores/memory/store.py`.
"""

from rillflow.ports.deployment import Deployment, decode_stored, encode_stored
from rillflow.stores.memory.journal import MemoryLifecycle


class MemoryDeployments(MemoryLifecycle):
    """The one wanted state; see the ``Deployments`` port."""

    def __init__(self) -> None:
        super().__init__()
        self._wanted: str | None = None

    async def deployment(self) -> Deployment | None:
        """Return the wanted state; None before the first."""
        self._check_open()
        return None if self._wanted is None else decode_stored(self._wanted)

    async def set_deployment(self, wanted: Deployment, *, after_version: int) -> bool:
        """Keep a wanted state, if it follows the stored one."""
        stored = await self.deployment()
        if (stored.version if stored else 0) != after_version:
            return False
        self._wanted = encode_stored(wanted)
        return True
