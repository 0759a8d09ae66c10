"""The cache of plans, the definitions prepared for running.

The activation cache reads it; misses are read from the catalogue.
"""

from typing import Final

from rillflow.core.plan import Plan
from rillflow.errors import UnknownDescriptorError
from rillflow.gateways.messages.threads import computed
from rillflow.language.bounded_cache import BoundedCache
from rillflow.ports.store import Catalogue
from rillflow.runtime.definitions.catalogue import parse_stored, ready_bytes

PLANS_BYTES: Final = 256 * 1024 * 1024
"""Limit of the memory of the plans in an owner."""


class Plans:
    """Plans by md5; their memory is estimated and limited."""

    def __init__(self, catalogue: Catalogue, *, most_bytes: int = PLANS_BYTES) -> None:
        self._catalogue = catalogue
        self._plans = BoundedCache[Plan](most_bytes)

    def ready(self, definition_id: str) -> Plan | None:
        """Return a plan that is in memory."""
        return self._plans.get(definition_id)

    async def get(self, definition_id: str) -> Plan:
        """Return a plan, read from the catalogue on first use.

        Raises:
            StoreError: The catalogue could not be read.
            UnknownDescriptorError: No such text is stored.
            DefinitionError: The stored text is no longer valid.
        """
        plan = self._plans.get(definition_id)
        if plan is not None:
            return plan
        text = await self._catalogue.definition_text(definition_id)
        if text is None:
            raise UnknownDescriptorError(f"definition {definition_id} is not stored")
        plan = await computed(len(text), lambda: Plan(parse_stored(text), definition_id))
        return self._plans.put(definition_id, plan, ready_bytes(text))
