"""Tells the end of a process by Ray from an exit that a function asks for.

Ray ends a worker by SIGTERM, for example where a node runs out of memory, and its handler raises
``SystemExit`` wherever the main thread is. As the outcome of a function that would be its failure;
let through it is the death of the worker, and the call is made again.

Used by `ray_tasks/worker.py`.
"""

import importlib
from collections.abc import Iterator
from typing import Final

from rillflow.private_apis.assumption import Assumption, missing

_MESSAGE: Final = "ray_terminate_msg"


def is_by_ray(ended: SystemExit) -> bool:
    """Tell whether Ray ends this process."""
    return hasattr(ended, _MESSAGE)


def _differences() -> Iterator[str]:
    raylet = importlib.import_module("ray._raylet")
    yield from missing(raylet, "raise_sys_exit_with_custom_error_message")
    try:
        raylet.raise_sys_exit_with_custom_error_message("ended", exit_code=1)
    except SystemExit as ended:
        if not is_by_ray(ended):
            yield f"the exit of a worker has no {_MESSAGE}"


RELIES_ON: Final = (
    Assumption(
        library="ray",
        relies_on="the exit by which a worker ends has a message of its own",
        seen_with="2.60.0",
        if_it_changes="silent: a function whose worker Ray ends fails, in place of being called"
        " again (tests/unit/test_worker_exits.py notices)",
        differences=_differences,
    ),
)
