"""The ``rayOptions`` of a call, as Ray takes them.

Used by `ray_tasks` and `ray_tasks/limits/task_room.py`.
"""

from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any, Final

import msgspec

MAX_SYSTEM_RETRIES: Final = 3
SYNC: Final = "task_sync"
SMALL_SHARE: Final = 0.1
LONGEST_KEPT: Final = 2_048
"""What is made of longer options and names is not kept: hundreds of them would fill the memory."""
_RESOURCES: Final = (
    *("num_cpus", "num_gpus", "memory", "resources", "accelerator_type", "label_selector"),
)


class CallOptions(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """What a call needs; None is what Ray gives to a task that says nothing.

    ``text`` is the JSON object of all options, and tells different ones apart.
    """

    text: bytes = b"{}"
    num_cpus: float | None = None
    num_gpus: float | None = None
    max_calls_given: int | None = None
    runtime_env: str | None = None
    max_system_retries: int = MAX_SYSTEM_RETRIES
    detached: bool | None = None
    batch: int | None = None
    stream: bool = False

    def is_detached(self, pattern: str) -> bool:
        """Tell whether a call outlives its dispatcher: that of an asynchronous task by default.

        One that is made together with others does not.
        """
        if self.batch is not None:
            return False
        return pattern != SYNC if self.detached is None else self.detached

    @property
    def is_small(self) -> bool:
        """Tell whether a node has room for more of such calls than for their processes."""
        cpus = 1.0 if self.num_cpus is None else self.num_cpus
        return cpus < SMALL_SHARE and (self.num_gpus or 0.0) < SMALL_SHARE

    @property
    def max_calls(self) -> int:
        """After how many calls a worker ends, 0 is never: one that had a GPU after each, as Ray.

        It has one digit that is not 0, so that there are few: Ray keeps a function for each.
        """
        if self.max_calls_given is None:
            return 1 if self.num_gpus else 0
        unit: int = 10 ** (len(str(self.max_calls_given)) - 1)
        return self.max_calls_given // unit * unit

    @cached_property
    def resources(self) -> Mapping[str, Any]:
        """The resources, by Ray's names."""
        given: Mapping[str, Any] = msgspec.json.decode(self.text)
        found = {name: given[name] for name in _RESOURCES if name in given}
        if "memory" in found:
            found["memory"] = int(found["memory"])
        return found


def call_options(text: bytes | None) -> CallOptions:
    """Read the options of a request; they were checked with the definition."""
    if text is None:
        return CallOptions()
    return _read(text) if len(text) <= LONGEST_KEPT else _read.__wrapped__(text)


@lru_cache(maxsize=256)
def _read(text: bytes) -> CallOptions:
    given: Mapping[str, Any] = msgspec.json.decode(text)
    return CallOptions(
        text=text,
        num_cpus=given.get("num_cpus"),
        num_gpus=given.get("num_gpus"),
        max_calls_given=given.get("max_calls"),
        runtime_env=given.get("runtime_env"),
        max_system_retries=given.get("max_system_retries", MAX_SYSTEM_RETRIES),
        detached=given.get("detached"),
        batch=given.get("batch"),
        stream=given.get("stream", False),
    )
