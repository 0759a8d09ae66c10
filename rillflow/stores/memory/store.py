"""The memory store, for tests and local runs: its data last as long as the process.

Used by `stores`.
"""

from rillflow.stores.memory.access import MemoryApiKeys, MemoryAudit
from rillflow.stores.memory.catalogue import MemoryCatalogue
from rillflow.stores.memory.deployments import MemoryDeployments
from rillflow.stores.memory.leases import MemoryLeases, MemoryOwnerLeases
from rillflow.stores.memory.searching import MemorySearch
from rillflow.stores.memory.sessions import MemorySessions
from rillflow.stores.memory.templates import MemoryTemplates
from rillflow.stores.memory.triggers import MemoryTriggers


class MemoryStore(
    MemorySearch,
    MemoryCatalogue,
    MemoryDeployments,
    MemoryLeases,
    MemoryOwnerLeases,
    MemoryTemplates,
    MemoryTriggers,
    MemorySessions,
    MemoryApiKeys,
    MemoryAudit,
):
    """The ``Store`` port in memory, with the refusals of the durable stores.

    Data survive ``close()``, so that a test can simulate a restart by opening the same store again.
    """
