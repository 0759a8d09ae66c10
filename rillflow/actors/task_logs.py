"""Reads the logs of tasks on the nodes of the workers that wrote them.

Used by `actors/stack.py`.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rillflow.actors.ray_context import raylet_address
from rillflow.errors import UnavailableError
from rillflow.ports.task_logs import NAME, LogPart, LogPlace, LogText, read_parts
from rillflow.ray_tasks.exports import remote_function

PATIENCE_S: Final = 20.0
MOST_PARTS: Final = 2


class OwnLogs(NamedTuple):
    """The node of this process, and the folder of the logs of its workers, of which it is one.

    The folder is None in a driver, which writes to no file of Ray.
    """

    node: str
    folder: str | None

    @classmethod
    def of_this_process(cls) -> Self:
        """Return those of this process; Ray is not asked."""
        return cls(ray.get_runtime_context().get_node_id(), cls.folder_of(_own_output()))

    @staticmethod
    def folder_of(output: str) -> str | None:
        """Return where a process has its log, from the path of its standard output."""
        folder, _, name = output.rpartition("/")
        return folder if NAME.fullmatch(name) else None


class RayTaskLogs:
    """Reads parts of files: those of this node in a thread, those of others by a Ray task there."""

    def __init__(self, own: Callable[[], OwnLogs] = OwnLogs.of_this_process) -> None:
        """``own`` tells which logs are at hand."""
        self._own = own

    async def read(self, place: LogPlace) -> list[LogText]:
        """Return what is there; a file that is gone is left out.

        Raises:
            UnavailableError: The node cannot be reached.
        """
        own, parts = self._own(), place.parts[:MOST_PARTS]
        if place.node == own.node and own.folder is not None:
            return await asyncio.to_thread(read_parts, own.folder, parts)
        try:
            async with asyncio.timeout(PATIENCE_S):
                reference = await asyncio.to_thread(_begin, place.node, parts)
                return await _read_by(reference)
        except (ray.exceptions.RayError, LookupError, ValueError, TimeoutError) as error:
            raise UnavailableError("the node of the log cannot be reached") from error


async def _read_by(reference: Any) -> list[LogText]:
    try:
        found: list[LogText] = await reference
    except asyncio.CancelledError:
        ray.cancel(reference)  # else it would wait for its node
        raise
    return found


def _begin(node: str, parts: Sequence[LogPart]) -> Any:
    """Start to read on a node.

    A function may have told any name as that of its node. Ray would never forget a task for a name,
    so only nodes that are there are asked.

    Raises:
        LookupError: There is no such node any more.
    """
    raylet_address(node)
    strategy = NodeAffinitySchedulingStrategy(node, soft=False)
    reader = remote_function(_read).options(
        num_cpus=0, name="task_log", enable_task_events=False, scheduling_strategy=strategy
    )
    return reader.remote(parts)


def _read(parts: Sequence[LogPart]) -> list[LogText]:
    """Read files beside that of this process, which is a worker of the same node."""
    return read_parts(str(Path(_own_output()).parent), parts)


def _own_output() -> str:
    return os.readlink("/proc/self/fd/1")  # noqa: PTH115 - of a descriptor
