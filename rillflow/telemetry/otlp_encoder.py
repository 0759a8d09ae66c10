"""Spans as a request of OTLP, in the wire format of Protocol Buffers, made directly of ours.

The encoder of OpenTelemetry makes an object of its own for each span, and a message for each
attribute, which takes ten times as long. What this writes is what that encoder would write; a test
compares them (`tests/unit/test_otlp_encoder.py`). The numbers of fields are those of
``opentelemetry/proto/trace/v1/trace.proto``, which never change.

Used by `telemetry/collector.py`.
"""

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Final

from rillflow.telemetry.span_queue import TracedSpans
from rillflow.telemetry.spans import ATTEMPT, EXECUTION, Span
from rillflow.telemetry.trace_context import TraceParent

INTERNAL: Final = 1
SERVER: Final = 2
CLIENT: Final = 3
"""Kinds of spans."""
_HERE: Final = 0x100
_REMOTE: Final = 0x300
"""Flags: whether the span above, or the linked one, is of another process, which is known."""
_MOST_KEPT: Final = 4_096
"""How many encoded facts are kept, since most of them come again."""
_SMALL: Final = 0x80

_time = Struct("<Q").pack
_flags = Struct("<I").pack


class SpanEncoder:
    """Encodes spans of one process."""

    def __init__(self, resource: bytes, scope: bytes) -> None:
        """Take what all requests begin with.

        Args:
            resource: An encoded ``ResourceSpans`` without ``scope_spans``.
            scope: An encoded ``ScopeSpans`` without ``spans``.
        """
        self._resource, self._scope = resource, scope
        self._facts: dict[tuple[str, str | int], bytes] = {}

    def request(self, batch: Sequence[TracedSpans]) -> bytes:
        """Return an ``ExportTraceServiceRequest``; a span that has no end is left out."""
        parts = [self._scope]
        for traced in batch:
            trace_id = bytes.fromhex(traced.trace_id)
            parts += [
                _field(b"\x12", self._span(trace_id, span, span.end_ms))
                for span in traced.spans
                if span.end_ms is not None
            ]
        scope = _field(b"\x12", b"".join(parts))
        return _field(b"\x0a", self._resource + scope)

    def _span(self, trace_id: bytes, span: Span, end_ms: int) -> bytes:
        is_root = span.kind == EXECUTION
        kind = CLIENT if span.kind == ATTEMPT else INTERNAL
        if is_root and span.parent_id:
            kind = SERVER
        parts = [b"\x0a\x10", trace_id, b"\x12\x08", bytes.fromhex(span.span_id)]
        if span.parent_id:
            parts += (b"\x22\x08", bytes.fromhex(span.parent_id))
        parts += (_field(b"\x2a", _text(span.name)), b"\x30", _number(kind))
        parts += (b"\x39", _time(span.start_ms * 1_000_000))
        parts += (b"\x41", _time(max(end_ms, span.start_ms) * 1_000_000))
        parts += self._facts_of(span)
        for link in span.links:
            parts.append(_link(link))
        parts.append(b"\x7a\x02\x18\x02" if span.status == "failed" else b"\x7a\x00")
        flags = _REMOTE if is_root and span.parent_id else _HERE
        parts += (b"\x85\x01", _flags(flags))
        return b"".join(parts)

    def _facts_of(self, span: Span) -> Iterator[bytes]:
        for fact in span.facts.items():
            # A flag is not kept: True equals 1, and would be found where 1 is meant.
            is_flag = isinstance(fact[1], bool)
            found = None if is_flag else self._facts.get(fact)
            if found is None:
                found = _field(b"\x4a", _fact(*fact))
                if not is_flag:
                    self._keep(fact, found)
            yield found

    def _keep(self, key: tuple[str, str | int], encoded: bytes) -> None:
        if len(self._facts) >= _MOST_KEPT:
            self._facts.clear()
        self._facts[key] = encoded


def _fact(name: str, value: str | int) -> bytes:
    """Return a ``KeyValue``."""
    if isinstance(value, bool):
        encoded = b"\x10\x01" if value else b"\x10\x00"
    elif isinstance(value, int):
        encoded = b"\x18" + _number(value % 2**64)
    else:
        encoded = _field(b"\x0a", _text(value))
    return _field(b"\x0a", _text(name)) + _field(b"\x12", encoded)


def _link(link: TraceParent) -> bytes:
    """Return a link to a span of another process."""
    trace_id, span_id = bytes.fromhex(link.trace_id), bytes.fromhex(link.span_id)
    parts = (b"\x0a\x10", trace_id, b"\x12\x08", span_id, b"\x35", _flags(_REMOTE))
    return _field(b"\x6a", b"".join(parts))


def _text(text: str) -> bytes:
    return text.encode(errors="replace")


def _field(tag: bytes, content: bytes) -> bytes:
    """Return a field whose content has its length before it."""
    return tag + _number(len(content)) + content


def _number(number: int) -> bytes:
    """Return a whole number as a varint, seven bits in each byte."""
    if number < _SMALL:
        return _ONE_BYTE[number]
    parts = bytearray()
    while number >= _SMALL:
        parts.append(number % _SMALL + _SMALL)
        number //= _SMALL
    parts.append(number)
    return bytes(parts)


_ONE_BYTE: Final = tuple(bytes([number]) for number in range(_SMALL))
