"""Starts what fires the triggers of some partitions, and what reads their sources.

Used by `actors/execution_actor.py`.
"""

from collections.abc import Sequence
from typing import Any

from rillflow.ids import partition_of
from rillflow.ports.executions import WaitableExecutions
from rillflow.ports.storage.store import Store
from rillflow.runtime.hooks.loading import load_hook
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.submission.groups import GroupSubmissions
from rillflow.runtime.submission.tracing import TraceSampling
from rillflow.runtime.triggers.ahead import Ahead, SubmitAhead
from rillflow.runtime.triggers.runner import TriggerRunner
from rillflow.runtime.triggers.sources.known_types import trigger_types
from rillflow.runtime.triggers.sources.runner import SourceRunner
from rillflow.runtime.triggers.tracing import TriggerSpans
from rillflow.settings import Settings
from rillflow.telemetry.meters import Meters
from rillflow.telemetry.span_queue import SpanQueue


def start_triggers(  # noqa: PLR0913 - the parts that it joins
    settings: Settings,
    store: Store,
    executions: WaitableExecutions,
    partitions: Sequence[int],
    *,
    meters: Meters,
    spans: SpanQueue | None,
    submit_ahead: SubmitAhead,
) -> tuple[TriggerRunner, SourceRunner]:
    """Start to fire the triggers of some partitions; return what does, which the caller keeps.

    Spans of what is fired go to ``spans``, where there is somebody who wants them. The owner of the
    partitions, in this process, takes what is prepared by ``submit_ahead``.
    """
    clock = SystemClock()
    submissions = GroupSubmissions(
        settings,
        store=store,
        executions=executions,
        clock=clock,
        hook=load_hook(settings.context_hook),
    )
    parts: dict[str, Any] = {
        "store": store,
        "submissions": submissions,
        "clock": clock,
        "partitions": partitions,
        "meters": meters,
        "spans": spans and TriggerSpans(spans, TraceSampling(settings)),
    }
    own = frozenset(partitions)
    ahead = Ahead(submissions, lambda each: partition_of(each) in own, submit_ahead)
    triggers = TriggerRunner(executions=executions, ahead=ahead, **parts)
    triggers.start()
    sources = SourceRunner(types=trigger_types(settings), **parts)
    sources.start()
    return triggers, sources
