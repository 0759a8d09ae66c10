"""What this process exports to Ray: each remote function and each actor class, made once.

Ray gives everything that ``ray.remote`` makes an id of its own. Its GCS keeps the code by that id
for as long as the job lasts, and the raylets and this process keep what is scheduled by it. So
whatever were made for a request, a call or an execution would never be forgotten.

Used by `actors`, `ray_tasks` and `serve/stack/cluster_check.py`.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import ray


@cache
def actor_class(kind: type) -> Any:
    """Return the actor class of a class, the same each time; Ray need not be connected.

    Raises:
        ValueError: The class is made anew each time a function runs.
    """
    return ray.remote(_of_a_module(kind))


@cache
def remote_function(run: Callable[..., Any], max_calls: int = 0) -> Any:
    """Return the remote function of a function, the same each time; Ray need not be connected.

    Ray repeats none of its calls.

    Args:
        run: The function.
        max_calls: After how many calls a worker ends, 0 is never; there must be few values.

    Raises:
        ValueError: The function is made anew each time another one runs.
    """
    return ray.remote(max_retries=0, max_calls=max_calls)(_of_a_module(run))


def _of_a_module(code: Any) -> Any:
    if "<" in code.__qualname__:  # <locals> or <lambda>
        raise ValueError(f"{code.__qualname__} is not of a module, so it would be exported again")
    return code
