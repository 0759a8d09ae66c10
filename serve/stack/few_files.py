"""How many files a process of a stack may have open unless it asks for more.

A connection that says nothing takes some 60 KB of a server of Ray until Ray ends it after two
minutes, and its memory does not come back. Everybody on this machine may open as many as the server
may have files, and a stack has a dozen such servers. Ray itself needs a few files for each worker.

Used by `serve/stack/local_ray.py` and `serve/stack/standalone.py`.
"""

from typing import Final

from rillflow.listening import allow_at_most
from rillflow.runtime.process.machine_memory import memory_bytes

FEWEST: Final = 1024
"""As many as a process of Linux may have by default."""
BYTES_PER_CONNECTION: Final = 64 * 1024
PART_OF_MEMORY: Final = 512
"""One process holds connections in one part of so many of the memory, a stack in some fifteen."""


def few_files(memory: int | None) -> int:
    """Return how many files a process may have open on a machine with so much memory."""
    return max(FEWEST, (memory or 0) // PART_OF_MEMORY // BYTES_PER_CONNECTION)


def begin_with_few_files() -> None:
    """Let this process have few files open, and those that it starts."""
    allow_at_most(few_files(memory_bytes()))
