"""The spans that wait for their export: a bounded queue, emptied by a thread.

Nothing waits for a collector. What does not fit, or is not taken, is dropped and counted, and a
warning tells of it at most once a minute.

Used by `runtime` and `telemetry`.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from rillflow.telemetry import metrics
from rillflow.telemetry.meters import Meters
from rillflow.telemetry.spans import Span

log = logging.getLogger("rillflow.traces")

QUIET_S: Final = 60.0
"""The time between two warnings."""
STOP_S: Final = 3.0
"""How long an end waits for the export of what is queued."""
EXPORTED: Final = "exported"
DROPPED: Final = "dropped"
FAILED: Final = "failed"
OUTCOMES: Final = (EXPORTED, DROPPED, FAILED)


class TracedSpans(NamedTuple):
    """Spans of one trace."""

    trace_id: str
    spans: Sequence[Span]


def span_count(batch: Sequence[TracedSpans]) -> int:
    """Return how many spans there are in some traces."""
    return sum(len(each.spans) for each in batch)


Export: TypeAlias = Callable[[Sequence[TracedSpans]], str | None]
"""Sends spans, which may block; returns why they were not taken, None if they were."""


class QueueLimits(NamedTuple):
    """The limits of a queue, by the variables of OpenTelemetry for batches of spans.

    Attributes:
        most: How many spans wait at most.
        batch: How many are exported together, about.
        delay_s: How long they wait for others.
    """

    most: int = 20_000
    batch: int = 512
    delay_s: float = 1.0


def limits_of(environment: Mapping[str, str]) -> QueueLimits:
    """Read the limits of the environment; what is no positive number is as if it were not set."""
    usual = QueueLimits()
    delay_ms = _positive(environment.get("OTEL_BSP_SCHEDULE_DELAY"), int(usual.delay_s * 1_000))
    return QueueLimits(
        _positive(environment.get("OTEL_BSP_MAX_QUEUE_SIZE"), usual.most),
        _positive(environment.get("OTEL_BSP_MAX_EXPORT_BATCH_SIZE"), usual.batch),
        delay_ms / 1_000,
    )


def _positive(text: str | None, otherwise: int) -> int:
    digits = (text or "").strip()
    if not digits.isascii() or not digits.isdecimal() or len(digits) > 9:
        return otherwise
    return int(digits) or otherwise


class SpanQueue:
    """The spans of one process."""

    def __init__(self, export: Export, meters: Meters, limits: QueueLimits | None = None) -> None:
        """Export spans in a thread that begins with the first of them."""
        self._export = export
        self._limits = limits or QueueLimits()
        self._counts = meters.counter(metrics.SPANS)
        for outcome in OUTCOMES:  # the thread must add no key while another one reads
            self._counts.add((outcome,), 0)
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._queue: deque[TracedSpans] = deque()
        self._waiting = 0
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._lost = 0
        self._warned_s: float | None = None

    def put(self, trace_id: str, spans: Sequence[Span]) -> None:
        """Have spans exported; they are dropped if too many wait."""
        with self._lock:
            if self._stopped or self._waiting + len(spans) > self._limits.most:
                self._counts.add((DROPPED,), len(spans))
                self._lost += len(spans)
                return
            self._queue.append(TracedSpans(trace_id, spans))
            self._waiting += len(spans)
            self._idle.clear()
            is_full = self._waiting >= self._limits.batch
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
            self._thread.start()
        if is_full:
            self._wake.set()

    async def flushed(self) -> None:
        """Wait until everything is exported or lost, for some seconds at most."""
        self._wake.set()
        await asyncio.get_running_loop().run_in_executor(None, self._idle.wait, STOP_S)

    async def stop(self) -> None:
        """Take no more spans, and export those that wait."""
        with self._lock:
            self._stopped = True
        await self.flushed()

    def _run(self) -> None:
        while True:
            self._wake.wait(self._limits.delay_s)
            self._wake.clear()
            while batch := self._taken():
                self._send(batch)
            if self._stopped:
                return

    def _taken(self) -> list[TracedSpans]:
        """Take the next batch out of the queue, in whole traces."""
        batch: list[TracedSpans] = []
        taken = 0
        with self._lock:
            while self._queue and taken < self._limits.batch:
                batch.append(self._queue.popleft())
                taken += len(batch[-1].spans)
            self._waiting -= taken
            if not batch:
                self._idle.set()
        return batch

    def _send(self, batch: Sequence[TracedSpans]) -> None:
        size = span_count(batch)
        try:
            reason = self._export(batch)
        except Exception as error:  # noqa: BLE001 - whatever an exporter raises must not end the thread
            reason = f"{type(error).__name__}: {error}"
        self._counts.add((EXPORTED if reason is None else FAILED,), size)
        if reason is not None:
            with self._lock:
                self._lost += size
        if self._lost:
            self._warn(reason or "more spans wait than the queue may hold")

    def _warn(self, reason: str) -> None:
        """Tell what was lost since the last warning, unless there was one just now."""
        now_s = time.monotonic()
        if self._warned_s is not None and now_s - self._warned_s < QUIET_S:
            return
        self._warned_s = now_s
        with self._lock:
            lost, self._lost = self._lost, 0
        log.warning("spans_lost", extra={"spans": lost, "reason": reason[:300]})
