"""Definitions ready to run, in memory."""

from collections import OrderedDict

from rillflow.core.plan import Plan
from rillflow.errors import UnknownDescriptorError
from rillflow.gateways.messages.threads import computed
from rillflow.ports.store import Catalogue
from rillflow.runtime.definitions.catalogue import parse_stored


class Plans:
    """Definitions ready to run, by md5, kept for as long as the process lives."""

    def __init__(self, catalogue: Catalogue, *, most: int = 1000) -> None:
        self._catalogue = catalogue
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self._most = most

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
        self._plans[definition_id] = plan
        while len(self._plans) > self._most:
            self._plans.popitem(last=False)
        return plan
