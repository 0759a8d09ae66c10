"""The export of spans by OTLP, over HTTP or gRPC, as the variables ``OTEL_*`` say.

It is the only module that imports OpenTelemetry, and does so when a process begins to export. The
exporters of OpenTelemetry connect, send and try again. What they send is encoded by
`telemetry/otlp_encoder.py`. If a later version of them does not take that, they are given spans,
and their own encoder takes ten times as long.

Used by `runtime/process`.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from inspect import signature
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from rillflow.telemetry.otlp_encoder import SpanEncoder
from rillflow.telemetry.span_queue import Export, TracedSpans, span_count
from rillflow.telemetry.spans import ATTEMPT, EXECUTION, Span

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

HOW_TO_INSTALL: Final = "traces need more packages: pip install 'rillflow[otel]'"
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_LOGGERS: Final = ("opentelemetry.exporter", "opentelemetry.sdk")
_NAME: Final = "rillflow"
_MOST_MESSAGE_BYTES: Final = 256 * 1024
"""Of an answer over gRPC, unpacked."""

Send: TypeAlias = Callable[[Sequence[TracedSpans]], bool]
"""Sends spans, which may block; tells whether they were taken."""


def is_installed() -> bool:
    """Tell whether the packages are there that export spans."""
    try:
        return find_spec("opentelemetry.exporter.otlp.proto") is not None
    except ModuleNotFoundError:
        return False


def is_disabled(environment: Mapping[str, str]) -> bool:
    """Tell whether the environment says that nothing is to be exported."""
    is_off = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return is_off or environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none"


def otlp_export(environment: Mapping[str, str], process: str) -> Export:
    """Return what exports spans to the collector that the environment names.

    Args:
        environment: That of this process; the exporter reads it too.
        process: The name of this process, as the metrics have it.

    Raises:
        ImportError: The packages of ``rillflow[otel]`` are not installed.
        ValueError: A variable has a value that OpenTelemetry does not know.
    """
    reason = _LastReason()
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.propagate, logger.handlers = False, [reason]
    spans = LibrarySpans(environment, process)
    exporter = exporter_of(environment)
    send = encoded_sender(exporter, spans) or span_sender(exporter, spans)

    def export(batch: Sequence[TracedSpans]) -> str | None:
        reason.text = ""
        is_taken = send(batch)
        return None if is_taken else reason.text or "the collector did not take them"

    return export


def encoded_sender(exporter: Any, spans: "LibrarySpans") -> Send | None:
    """Return what sends encoded spans by an exporter of OpenTelemetry; None if it takes none.

    Neither exporter has a public way for spans that are encoded already.
    """
    from opentelemetry.sdk.trace.export import SpanExportResult  # noqa: PLC0415 - an extra

    encoder, parsed = spans.encoder()
    if all(hasattr(exporter, name) for name in ("_translate_data", "_count_data", "_export")):
        exporter._translate_data = lambda batch: parsed(encoder.request(batch))  # noqa: SLF001 - see above
        exporter._count_data = span_count  # noqa: SLF001 - see above
        send_batch = exporter._export  # noqa: SLF001 - see above
        return lambda batch: send_batch(batch) is SpanExportResult.SUCCESS
    send_bytes = getattr(getattr(exporter, "_client", None), "export", None)
    if send_bytes is None or [*signature(send_bytes).parameters] != ["data"]:
        return None
    return lambda batch: bool(send_bytes(encoder.request(batch)).success)


def span_sender(exporter: Any, spans: "LibrarySpans") -> Send:
    """Return what sends spans by any exporter of OpenTelemetry, which encodes them."""
    from opentelemetry.sdk.trace.export import SpanExportResult  # noqa: PLC0415 - an extra

    return lambda batch: exporter.export(list(spans.of(batch))) is SpanExportResult.SUCCESS


def exporter_of(environment: Mapping[str, str]) -> Any:
    """Return the exporter that the environment names, which reads the environment too."""
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name)), "")
    if protocol.strip().lower() == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc import (  # noqa: PLC0415 - an extra
            trace_exporter as grpc,
        )

        options: Any = (("grpc.max_receive_message_length", _MOST_MESSAGE_BYTES),)
        return grpc.OTLPSpanExporter(channel_options=options)
    if protocol.strip().lower() not in {"", "http/protobuf"}:
        raise ValueError(f"{_PROTOCOLS[1]} is grpc or http/protobuf, not {protocol[:40]}")
    from opentelemetry.exporter.otlp.proto.http import (  # noqa: PLC0415 - an extra
        trace_exporter as http,
    )

    from rillflow.telemetry.collector_session import (  # noqa: PLC0415 - needs an extra
        bounded_session,
    )

    return http.OTLPSpanExporter(session=bounded_session(environment))


class _LastReason(logging.Handler):
    """Keeps what OpenTelemetry logs last, so that one warning of ours can tell it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message of a record."""
        self.text = record.getMessage()[:300]


class LibrarySpans:
    """Makes spans of OpenTelemetry out of ours."""

    def __init__(self, environment: Mapping[str, str], process: str) -> None:
        from opentelemetry import trace  # noqa: PLC0415 - an extra
        from opentelemetry.sdk import trace as sdk  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.util.instrumentation import (  # noqa: PLC0415 - an extra
            InstrumentationScope,
        )

        named = f"{environment.get('OTEL_SERVICE_NAME')} {environment.get(_ATTRIBUTES)}"
        own = {"service.instance.id": process, "service.version": version(_NAME)}
        if not environment.get("OTEL_SERVICE_NAME") and "service.name=" not in named:
            own["service.name"] = _NAME
        self._resource = Resource.create(own)
        self._scope = InstrumentationScope(_NAME, version(_NAME))
        self._trace, self._sdk = trace, sdk
        self._failed = trace.Status(trace.StatusCode.ERROR)
        self._fine = trace.Status(trace.StatusCode.UNSET)
        self._sampled = trace.TraceFlags(trace.TraceFlags.SAMPLED)

    def of(self, batch: Sequence[TracedSpans]) -> Iterator["ReadableSpan"]:
        """Yield the spans of a batch; one that has no end is left out."""
        for traced in batch:
            trace_id = int(traced.trace_id, 16)
            for span in traced.spans:
                if span.end_ms is not None:
                    yield self._made(trace_id, span, span.end_ms)

    def encoder(self) -> "tuple[SpanEncoder, Callable[[bytes], Any]]":
        """Return an encoder for this process, and what reads a request that it has encoded."""
        from opentelemetry.exporter.otlp.proto.common.trace_encoder import (  # noqa: PLC0415 - an extra
            encode_spans,
        )

        any_span = Span(
            span_id="1" * 16, parent_id="", kind="", name="", start_ms=0, end_ms=0, status=""
        )
        request = encode_spans([*self.of([TracedSpans("1" * 32, [any_span])])])
        [resource] = request.resource_spans
        [scope] = resource.scope_spans
        del scope.spans[:]
        encoded_scope = scope.SerializeToString()
        del resource.scope_spans[:]
        encoder = SpanEncoder(resource.SerializeToString(), encoded_scope)
        return encoder, type(request).FromString

    def _made(self, trace_id: int, span: Span, end_ms: int) -> "ReadableSpan":
        is_root = span.kind == EXECUTION
        kinds = self._trace.SpanKind
        kind = kinds.CLIENT if span.kind == ATTEMPT else kinds.INTERNAL
        if is_root and span.parent_id:
            kind = kinds.SERVER
        return self._sdk.ReadableSpan(
            name=span.name,
            context=self._context(trace_id, span.span_id, is_remote=False),
            parent=self._context(trace_id, span.parent_id, is_remote=is_root)
            if span.parent_id
            else None,
            resource=self._resource,
            attributes=span.facts,
            links=[
                self._trace.Link(
                    self._context(int(link.trace_id, 16), link.span_id, is_remote=True)
                )
                for link in span.links
            ],
            kind=kind,
            status=self._failed if span.status == "failed" else self._fine,
            start_time=span.start_ms * 1_000_000,
            end_time=max(end_ms, span.start_ms) * 1_000_000,
            instrumentation_scope=self._scope,
        )

    def _context(self, trace_id: int, span_id: str, *, is_remote: bool) -> Any:
        number = int(span_id, 16)
        return self._trace.SpanContext(trace_id, number, is_remote, self._sampled)


_ATTRIBUTES: Final = "OTEL_RESOURCE_ATTRIBUTES"
