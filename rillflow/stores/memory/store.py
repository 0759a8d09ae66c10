"""The store of tests and local runs: it lives as long as the process."""

from rillflow.stores.memory.catalogue import MemoryCatalogue
from rillflow.stores.memory.journal import MemoryJournal


class MemoryStore(MemoryJournal, MemoryCatalogue):
    """The ``Store`` port in memory, with the refusals of the durable stores.

    Data outlives ``close()``, so that a test can play a restart by opening the
    same store again.
    """
