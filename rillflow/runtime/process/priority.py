"""How far a process gives way to others for processor time.

Used by `actors/execution_actor.py`.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

_THREADS: Final = Path("/proc/self/task")


def give_way(niceness: int) -> None:
    """Lower the priority of this process by so much, for good.

    Linux keeps a niceness for each thread, which the threads that it starts inherit.
    """
    wanted = os.nice(0) + niceness
    known: set[str] = set()
    while threads := {each.name for each in _listed()} - known:
        for thread in threads:
            with suppress(ProcessLookupError):  # it has ended
                os.setpriority(os.PRIO_PROCESS, int(thread), wanted)
        known |= threads
    os.setpriority(os.PRIO_PROCESS, 0, wanted)


def _listed() -> list[Path]:
    return list(_THREADS.iterdir()) if _THREADS.exists() else []
