"""Spans are encoded as OpenTelemetry's own encoder would encode them, and sent by its exporters."""

from typing import Any, Final

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as wire
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rillflow.telemetry import collector
from rillflow.telemetry.collector import LibrarySpans, encoded_sender, span_sender
from rillflow.telemetry.span_queue import TracedSpans
from rillflow.telemetry.spans import Span
from rillflow.telemetry.trace_context import TraceParent, span_id_of, trace_id_of

BEGUN_MS: Final = 1_795_000_000_000
LINKS: Final = (
    TraceParent(trace_id_of("a"), span_id_of("a"), is_sampled=True),
    TraceParent(trace_id_of("b"), span_id_of("b"), is_sampled=False),
)


def span(name: str, **fields: Any) -> Span:
    usual: dict[str, Any] = {
        "span_id": span_id_of(name),
        "parent_id": "",
        "kind": "task",
        "name": name,
        "start_ms": BEGUN_MS,
        "end_ms": BEGUN_MS + 5,
        "status": "succeeded",
    }
    return Span(**usual | fields)


SPANS: Final = {
    "first of a trace": span("a", kind="execution"),
    "continued": span("a", kind="execution", parent_id=span_id_of("caller")),
    "task": span("b", parent_id=span_id_of("a")),
    "attempt": span("b attempt 1", kind="attempt", parent_id=span_id_of("b")),
    "failed": span("c", status="failed", facts={"error.type": "E-7"}),
    "linked": span("d", links=LINKS),
    "texts": span("名" * 50, facts={"a": "", "b": "ü" * 200, "c": "x" * 20_000}),
    "numbers": span("e", facts={"a": 0, "b": 1, "c": 127, "d": 128, "e": 2**40, "f": -1}),
    "flags": span("f", facts={"a": True, "b": False, "c": 1, "d": 0}),
    "turned back by the clock": span("g", end_ms=BEGUN_MS - 10),
    "not ended": span("h", end_ms=None),
}


@pytest.fixture(name="spans")
def _spans() -> LibrarySpans:
    return LibrarySpans({"OTEL_RESOURCE_ATTRIBUTES": "team=video"}, "rillflow:execution:0")


@pytest.mark.parametrize("case", SPANS)
def test_a_span_is_encoded_as_by_the_library(case: str, spans: LibrarySpans) -> None:
    encoder, parsed = spans.encoder()
    batch = [TracedSpans(trace_id_of("x"), [SPANS["task"], SPANS[case], SPANS["flags"]])]
    # Twice, since what was encoded before is kept.
    for _ in range(2):
        found = parsed(encoder.request(batch))
        assert isinstance(found, wire.ExportTraceServiceRequest)
        assert found == encode_spans([*spans.of(batch)])


def test_traces_share_a_request_and_more_facts_than_are_kept_are_encoded(
    spans: LibrarySpans,
) -> None:
    encoder, parsed = spans.encoder()
    batch = [
        TracedSpans(trace_id_of(str(each)), [span(f"s{each}", facts={"rillflow.task": f"t{each}"})])
        for each in range(5_000)
    ]
    assert parsed(encoder.request(batch)) == encode_spans([*spans.of(batch)])


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_the_exporters_of_the_library_take_encoded_spans(
    protocol: str, spans: LibrarySpans
) -> None:
    exporter = collector.exporter_of({"OTEL_EXPORTER_OTLP_PROTOCOL": protocol})
    try:
        assert encoded_sender(exporter, spans) is not None
    finally:
        exporter.shutdown()


def test_an_exporter_that_takes_no_encoded_spans_is_given_spans(spans: LibrarySpans) -> None:
    exporter = InMemorySpanExporter()
    assert encoded_sender(exporter, spans) is None
    assert span_sender(exporter, spans)([TracedSpans(trace_id_of("x"), [SPANS["linked"]])])
    [found] = exporter.get_finished_spans()
    assert [link.context.span_id for link in found.links] == [
        int(link.span_id, 16) for link in LINKS
    ]
