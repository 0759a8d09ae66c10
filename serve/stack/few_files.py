"""How many files a process of a stack may have open unless it asks for more.

A connection that says nothing takes some 60 KB of a server of Ray until Ray ends it after two
minutes, and its memory does not come back. Everybody on this machine may open as many as the server
may have files, and a stack has a dozen such servers. Ray itself needs a few files for each worker.

Used by `serve/stack/local_ray.py` and `serve/stack/standalone.py`.
"""

import os
import resource
from typing import Final

from rillflow.listening import allow_at_most
from rillflow.private_apis.forking.forked_worker import FEW_FILES
from rillflow.runtime.process.machine_memory import memory_bytes

FEWEST: Final = 1024
"""As many as a process of Linux may have by default."""
BYTES_PER_CONNECTION: Final = 64 * 1024
PART_OF_MEMORY: Final = 512
"""One process holds connections in one part of so many of the memory, a stack in some fifteen."""
MOST: Final = 16 * 1024
PART_OF_WATCHED: Final = 16
"""The same for a process of which connections of other users are ended as they come."""


def few_files(memory: int | None) -> int:
    """Return how many files a process may have open on a machine with so much memory."""
    return max(FEWEST, (memory or 0) // PART_OF_MEMORY // BYTES_PER_CONNECTION)


def many_files(memory: int | None) -> int:
    """Return how many files a process may have open of which connections are ended meanwhile."""
    most = (memory or 0) // PART_OF_WATCHED // BYTES_PER_CONNECTION
    return max(few_files(memory), min(MOST, most))


def allow_many_files(process: int) -> None:
    """Let another process have so many files open.

    Raises:
        OSError: It has ended.
    """
    _, hard = resource.prlimit(process, resource.RLIMIT_NOFILE)
    wanted = many_files(memory_bytes())
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.prlimit(process, resource.RLIMIT_NOFILE, (soft, hard))


def begin_with_few_files() -> None:
    """Let this process have few files open, and those that it starts."""
    few = few_files(memory_bytes())
    os.environ[FEW_FILES] = str(few)  # for what is started by those that have more
    allow_at_most(few)
