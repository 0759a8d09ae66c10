"""Spans wait for their export in a bounded queue; what is lost is counted, and told of at times."""

import logging
import threading
from collections.abc import Sequence

import pytest

from rillflow.runtime.submission.tracing import TraceSampling
from rillflow.settings import Settings
from rillflow.telemetry import metrics
from rillflow.telemetry.meters import Meters
from rillflow.telemetry.span_queue import QueueLimits, SpanQueue, TracedSpans, limits_of
from rillflow.telemetry.spans import Span
from rillflow.telemetry.trace_context import TraceStart, trace_id_of

ID = "shop:order_c_00000000-0000-7000-8000-{:012x}"
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def spans(number: int) -> list[Span]:
    return [
        Span(
            span_id=f"{each:016x}",
            parent_id="",
            kind="task",
            name="A",
            start_ms=0,
            end_ms=1,
            status="succeeded",
        )
        for each in range(number)
    ]


def counts(meters: Meters) -> dict[str, float]:
    values = meters.counter(metrics.SPANS).values
    return {outcome: value for (outcome,), value in values.items()}


class Exporter:
    """An exporter that takes nothing until it may, and says a reason."""

    def __init__(self, reason: str | None = None) -> None:
        self.reason = reason
        self.may = threading.Event()
        self.begun = threading.Event()
        self.sizes: list[int] = []

    def __call__(self, batch: Sequence[TracedSpans]) -> str | None:
        self.begun.set()
        assert self.may.wait(60)
        self.sizes.append(sum(len(each.spans) for each in batch))
        return self.reason


async def test_what_does_not_fit_is_dropped_and_counted_while_the_collector_does_not_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    exporter, meters = Exporter(), Meters("p")
    queue = SpanQueue(exporter, meters, QueueLimits(most=10, batch=4, delay_s=0.01))
    queue.put("a" * 32, spans(4))
    assert exporter.begun.wait(60)
    for _ in range(4):
        queue.put("b" * 32, spans(3))  # three of them fit
    assert counts(meters) == {"exported": 0, "dropped": 3, "failed": 0}
    exporter.may.set()
    with caplog.at_level(logging.WARNING, "rillflow.traces"):
        await queue.stop()
    assert exporter.sizes == [4, 6, 3]
    assert counts(meters) == {"exported": 13, "dropped": 3, "failed": 0}
    queue.put("c" * 32, spans(1))
    assert counts(meters)["dropped"] == 4


async def test_what_is_not_taken_is_counted_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    exporter, meters = Exporter("x" * 1_000), Meters("p")
    exporter.may.set()
    queue = SpanQueue(exporter, meters, QueueLimits(batch=1, delay_s=0.01))
    with caplog.at_level(logging.WARNING, "rillflow.traces"):
        for _ in range(20):
            queue.put("a" * 32, spans(2))
            await queue.flushed()
        await queue.stop()
    assert counts(meters)["failed"] == 40
    [told] = [record for record in caplog.records if record.message == "spans_lost"]
    assert vars(told)["spans"] == 2
    assert vars(told)["reason"] == "x" * 300


async def test_an_exporter_that_raises_is_asked_again() -> None:
    meters = Meters("p")

    def export(_: Sequence[TracedSpans]) -> str | None:
        raise RuntimeError("no")

    queue = SpanQueue(export, meters, QueueLimits(delay_s=0.01))
    queue.put("a" * 32, spans(1))
    await queue.flushed()
    queue.put("a" * 32, spans(1))
    await queue.stop()
    assert counts(meters)["failed"] == 2


@pytest.mark.parametrize("text", ["", "0", "-1", "many", "1e3", "٣", "9" * 30])
def test_a_limit_that_is_no_number_is_as_if_it_were_not_set(text: str) -> None:
    names = ("MAX_QUEUE_SIZE", "MAX_EXPORT_BATCH_SIZE", "SCHEDULE_DELAY")
    assert limits_of({f"OTEL_BSP_{name}": text for name in names}) == QueueLimits()
    assert limits_of({"OTEL_BSP_SCHEDULE_DELAY": " 250 "}).delay_s == 0.25


def sampled(sampling: TraceSampling, number: int) -> bool:
    return sampling.start_of(ID.format(number), None) is not None


def test_a_share_of_the_executions_is_sampled_by_their_ids() -> None:
    sampling, same = (TraceSampling(Settings(trace_sampling=0.1)) for _ in range(2))
    chosen = [number for number in range(5_000) if sampled(sampling, number)]
    assert 350 < len(chosen) < 650
    assert chosen == [number for number in range(5_000) if sampled(same, number)]
    more = TraceSampling(Settings(trace_sampling=0.2))
    assert all(sampled(more, number) for number in chosen)
    everything = TraceSampling(Settings(trace_sampling=1))
    assert everything.start_of(ID.format(0), "") == TraceStart(trace_id_of(ID.format(0)))


def test_a_workflow_has_the_share_that_is_nearest_to_it() -> None:
    rates = {"shop:order": 1.0, "shop": 0.0}
    sampling = TraceSampling(Settings(trace_sampling_by_flow=rates))
    assert sampling.is_on
    assert sampled(sampling, 1)
    other = ID.format(1).replace("order", "other")
    assert sampling.start_of(other, CALLER) is None
    assert not TraceSampling(Settings(trace_sampling_by_flow={"shop": 0.0})).is_on
    assert not TraceSampling(Settings()).is_on


def test_the_span_of_the_submitter_decides_where_there_is_one() -> None:
    sampling = TraceSampling(Settings(trace_sampling=1e-9))
    assert sampling.start_of(ID.format(1), CALLER) == TraceStart(CALLER[3:35], CALLER[36:52])
    start = sampling.start_of(ID.format(1), CALLER[:-1] + "0")
    assert start == TraceStart(CALLER[3:35], CALLER[36:52], is_sampled=False)
    assert sampling.start_of(ID.format(1), CALLER[:-3]) is None


@pytest.mark.parametrize("share", ["-0.1", "1.1", "nan", "inf", "all"])
def test_a_share_is_from_none_to_all(share: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RILLFLOW_TRACE_SAMPLING", share)
    with pytest.raises(ValueError, match="trace_sampling"):
        Settings()
