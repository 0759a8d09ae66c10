"""Reads the logs of tasks on the nodes of the workers that wrote them.

Used by `actors/stack.py`.
"""

import asyncio
import os
from pathlib import Path
from typing import Any, Final

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rillflow.errors import UnavailableError
from rillflow.ports.task_logs import LogPart, LogPlace, LogText, read_part

PATIENCE_S: Final = 20.0
MOST_PARTS: Final = 2


class RayTaskLogs:
    """Reads parts of files by a Ray task on their node."""

    async def read(self, place: LogPlace) -> list[LogText]:
        """Return what is there; a file that is gone is left out.

        Raises:
            UnavailableError: The node cannot be reached.
        """
        strategy = NodeAffinitySchedulingStrategy(place.node, soft=False)
        reader = ray.remote(_read).options(
            num_cpus=0, max_retries=0, name="task_log", scheduling_strategy=strategy
        )
        try:
            reference: Any = reader.remote(place.parts[:MOST_PARTS])
            found: list[LogText] = await asyncio.wait_for(reference, PATIENCE_S)
        except (ray.exceptions.RayError, ValueError, TimeoutError) as error:
            raise UnavailableError("the node of the log cannot be reached") from error
        return found


def _read(parts: list[LogPart]) -> list[LogText]:
    """Read files beside that of this process, which is a worker of the same node."""
    folder = str(Path(os.readlink("/proc/self/fd/1")).parent)  # noqa: PTH115 - of a descriptor
    found = [read_part(folder, part) for part in parts]
    return [text for text in found if text is not None]
