"""The memory store, for tests and local runs: its data last as long as the process.

Used by `stores`.
"""

from rillflow.stores.memory.catalogue import MemoryCatalogue
from rillflow.stores.memory.deployments import MemoryDeployments
from rillflow.stores.memory.leases import MemoryLeases
from rillflow.stores.memory.searching import MemorySearch


class MemoryStore(MemorySearch, MemoryCatalogue, MemoryDeployments, MemoryLeases):
    """The ``Store`` port in memory, with the refusals of the durable stores.

    Data survive ``close()``, so that a test can simulate a restart by opening the same store again.
    """
