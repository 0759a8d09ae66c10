"""The ids of traces and spans, and the header ``traceparent`` that carries them.

The header is that of W3C Trace Context. Ids are digests of what they are about. So each process
that knows an execution knows the ids of its trace, and one that exports a span again exports the
same one.

Used by `core`, `gateways`, `ray_tasks`, `runtime`, `telemetry` and `serve`.
"""

import hashlib
import re
from typing import Final, NamedTuple

HEADER: Final = "traceparent"
VARIABLE: Final = "TRACEPARENT"
"""The variable of the environment that carries the header to functions and jobs of Ray."""
_FORM: Final = re.compile(
    r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL
)
LONGEST: Final = 256
"""Later versions of the header may be longer than the 55 characters of version 00."""
_LENGTH: Final = 55
_SAMPLED: Final = 1
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16


class TraceParent(NamedTuple):
    """What a header ``traceparent`` says: the trace and the span of the sender.

    ``is_sampled`` tells whether the sender records it.
    """

    trace_id: str
    span_id: str
    is_sampled: bool

    def __str__(self) -> str:
        """Return the text of the header, in version 00."""
        return f"00-{self.trace_id}-{self.span_id}-0{int(self.is_sampled)}"


class TraceStart(NamedTuple):
    """The trace of an execution, as it was decided when the execution was submitted.

    ``parent_id`` is the span of the submitter in the same trace; it is empty if the trace begins
    with the execution. ``link`` is a span of another trace: the attempt of the parent that has
    started a sub-flow. ``is_sampled`` tells whether the spans are exported.
    """

    trace_id: str
    parent_id: str = ""
    is_sampled: bool = True
    link: TraceParent | None = None


def parse_traceparent(text: str | None) -> TraceParent | None:
    """Read a header of anybody; None if it is none, since it must not make a request fail."""
    if text is None or not _LENGTH <= len(text) <= LONGEST:
        return None
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    if version == "ff" or (version == "00" and rest is not None):
        return None
    if trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return TraceParent(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


def trace_id_of(execution_id: str) -> str:
    """Return the id of the trace that begins with an execution."""
    return hashlib.blake2b(execution_id.encode(), digest_size=16, person=b"trace").hexdigest()


def span_id_of(*facts: str | int) -> str:
    """Return the id of the span that these facts identify."""
    text = "\0".join(map(str, facts))
    return hashlib.blake2b(text.encode(), digest_size=8, person=b"span").hexdigest()


def root_id(execution_id: str, round_number: int) -> str:
    """Return the id of the span of an execution from a submission or redo to its end."""
    return span_id_of(execution_id, "execution", round_number)


def task_id(execution_id: str, task: str, round_number: int) -> str:
    """Return the id of the span of a task."""
    return span_id_of(execution_id, "task", task, round_number)


def attempt_id(execution_id: str, task: str, attempt: int) -> str:
    """Return the id of the span of an attempt; the completion notice is that of no task."""
    return span_id_of(execution_id, "attempt", task, attempt)


def traceparent_of(trace: TraceStart, execution_id: str, task: str, attempt: int) -> str:
    """Return the header that the call of an attempt carries."""
    span_id = attempt_id(execution_id, task, attempt)
    return str(TraceParent(trace.trace_id, span_id, trace.is_sampled))
