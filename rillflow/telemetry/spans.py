"""The spans of a trace, before they are exported or drawn.

Used by `core/inspection` and `telemetry`.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

from rillflow.telemetry.trace_context import TraceParent

Facts: TypeAlias = Mapping[str, str | int | bool]

EXECUTION: Final = "execution"
TASK: Final = "task"
ATTEMPT: Final = "attempt"
WAIT: Final = "wait"
STORE: Final = "store"
TRIGGER: Final = "trigger"


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """What lasted from one time to another, in milliseconds since the epoch.

    ``kind`` is one of the constants above, ``parent_id`` empty for the first span of a trace.
    ``status`` is as the console shows it. ``facts`` may leave the stack, ``error`` is for those
    who may see the execution: it quotes what functions say. ``end_ms`` is None while it lasts.
    """

    span_id: str
    parent_id: str
    kind: str
    name: str
    start_ms: int
    end_ms: int | None
    status: str
    task: str = ""
    attempt: int = 0
    error: str | None = None
    facts: Facts = {}
    links: tuple[TraceParent, ...] = ()
