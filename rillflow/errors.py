"""Every error that Rillflow raises itself, grouped by who has to fix it. Used by most packages.

RillflowError
├── DefinitionError       the author of the YAML (spec 1.6)
├── FlowError             the author of a workflow in Python
├── LanguageError         the author of a path or an expression
│   ├── PathSyntaxError: PathUnsupportedError
│   ├── PathEvaluationError: PathNotFoundError, PathFunctionError
│   └── MappingError, ExpressionSyntaxError, ExpressionError, BudgetExceededError
├── RequestError          the caller of the API (HTTP 4xx)
│   ├── InvalidIdError, CronError, UnknownDescriptorError, UnknownExecutionError, TooLargeError
│   ├── ForgedCallbackError, ForeignRequestError, BodyTimeoutError, ArtifactLostError
│   └── OverloadedError: UnfinishedBodyError, UnreadAnswersError
├── ExecutionError        an execution that cannot take the request now (spec 3.11): WorkLimitError
├── CrashedError          an execution whose handling failed unexpectedly: SetApartError
├── ResultError           whoever waits for a result: ExecutionFailedError, ExecutionTimeoutError
├── GatewayError          the function's side: NotConnectedError, BrokenExchangeError
├── UnavailableError      a needed process: NotReadyError, GoneError, NotOwnerError, ProtocolError
├── DefectError           an unexpected exception, here or in another process
├── StoreError            the durable store: ConflictError, FencedError, QuotaError, DamagedError
├── LargeExecutionError   whoever reads no large execution
└── ServerError           whoever runs the server: UnreachableError, StackError

``code`` is stable, a part of the API; ``wire_code`` and ``http_status`` are Rill Flow's (spec 5.1).
"""

from typing import ClassVar, Final, NamedTuple, Self


class RillflowError(Exception):
    """Base of every error that Rillflow raises on purpose.

    ``code`` is part of the HTTP API: it may be added to, never renamed. ``hint`` tells which
    rule was broken by what, where the message, Rill Flow's own, does not; else it is empty.
    """

    code: ClassVar[str] = "internal"
    wire_code: int = 30101
    http_status: int = 500
    hint: str = ""

    def with_hint(self, hint: str) -> Self:
        """Keep a hint, and show it with the traceback as well."""
        self.hint = hint
        self.add_note(hint)
        return self

    @classmethod
    def _rebuild(cls, args: tuple[object, ...], facts: dict[str, object]) -> Self:
        error = cls.__new__(cls, *args)
        error.__dict__.update(facts)
        return error

    def __reduce__(self) -> tuple[object, ...]:
        """Cross from actor to actor whole; the default would call ``__init__(message)``."""
        return self._rebuild, (self.args, self.__dict__)


class Problem(NamedTuple):
    """One thing wrong with a definition; line and column count from 1, 0 is unknown.

    ``severity`` is ``error`` or ``warning``. ``kind`` is ``extension`` where Rillflow takes
    what Rill Flow does not; it is empty otherwise.
    """

    code: int
    message: str
    line: int = 0
    column: int = 0
    hint: str = ""
    severity: str = "error"
    kind: str = ""


class DefinitionError(RillflowError):
    """The definition is refused; ``problems`` lists everything found, worst first."""

    code = "definition.invalid"
    http_status = 400

    def __init__(self, wire_code: int, message: str, problems: tuple[Problem, ...] = ()) -> None:
        self.wire_code = wire_code
        self.problems = problems or (Problem(wire_code, message),)
        self.hint = self.problems[0].hint
        super().__init__(message)


class FlowError(RillflowError):
    """A workflow in Python does what cannot be traced; the message has the place and the form."""

    code = "flow"


class LanguageError(RillflowError):
    """A path or an expression is wrong, or cannot be evaluated on this document."""

    code = "language"
    wire_code, http_status = 30110, 400


class PathSyntaxError(LanguageError):
    """The text is not a JSONPath of the dialect (spec 2.8)."""

    code = "language.path_syntax"


class PathUnsupportedError(PathSyntaxError):
    """We cannot read the path, a pattern or a number of it; the library can, or fails otherwise."""

    code = "language.path_unsupported"


class PathEvaluationError(LanguageError):
    """The path cannot be evaluated or written on this document."""

    code = "language.path"


class PathNotFoundError(PathEvaluationError):
    """The path leads nowhere in this document; sources of mappings read it as null."""

    code = "language.path_not_found"


class PathFunctionError(PathEvaluationError):
    """A function, or a comparison with a list, fails on these values, also inside a filter."""

    code = "language.path_function"


class MappingError(LanguageError):
    """A rule with ``tolerance: false`` failed, and with it the whole mapping list."""

    code = "language.mapping"


class ExpressionSyntaxError(LanguageError):
    """The text is not an expression of the subset (spec 2.5)."""

    code = "language.expression_syntax"


class ExpressionError(LanguageError):
    """The expression failed on these values."""

    code = "language.expression"


class BudgetExceededError(LanguageError):
    """An expression or path took more steps, depth or space than it may."""

    code = "language.budget"


class RequestError(RillflowError):
    """The caller asked for something that cannot be done; Rill Flow's business errors."""

    code = "request"
    wire_code = 30109
    http_status = 400

    def __init__(
        self,
        message: str,
        *,
        wire_code: int | None = None,
        http_status: int | None = None,
        hint: str = "",
    ) -> None:
        if wire_code is not None:
            self.wire_code = wire_code
        if http_status is not None:
            self.http_status = http_status
        if hint:
            self.hint = hint
        super().__init__(message)


class InvalidIdError(RequestError):
    """An id or name does not have the form it must have."""

    code = "request.invalid_id"


class CronError(RequestError):
    """A field of a trigger is malformed, such as its cron expression; ``field`` is its name."""

    code = "request.trigger"
    field = ""


class UnknownDescriptorError(RequestError):
    """No definition is stored under this descriptor id."""

    code = "request.unknown_descriptor"
    wire_code = 30106


class UnknownExecutionError(RequestError):
    """There is no execution of this id."""

    code = "request.unknown_execution"
    wire_code = 30605


class TooLargeError(RequestError):
    """A body, context or value is larger than its limit."""

    code = "request.too_large"
    http_status = 413

    @classmethod
    def of_body(
        cls, limit_bytes: int, setting: str | None = None, *, http_status: int | None = None
    ) -> Self:
        """Build the refusal of a body over its limit, which may be that of a ``setting``."""
        hint = f"this body may have up to {limit_bytes} bytes"
        if setting:
            hint += f", as {setting} (RILLFLOW_{setting.upper()}) or {setting}_by_business says"
        return cls("context size nonsupport", http_status=http_status, hint=hint)


class ArtifactLostError(RequestError):
    """An artifact is not in the store, or not any more."""

    code = "request.artifact_lost"
    http_status = 404


class ForgedCallbackError(RequestError):
    """A callback came by an address that was not made for it, or no longer counts."""

    code = "request.forged_callback"
    wire_code, http_status = 30108, 403


class ForeignRequestError(RequestError):
    """A browser sends it for a page that may not call, or it names a host that is not ours."""

    code = "request.foreign"
    wire_code, http_status = 30108, 403


class BodyTimeoutError(RequestError):
    """The body of the request did not arrive in time; nothing was done."""

    code = "request.body_timeout"
    http_status = 408


class OverloadedError(RequestError):
    """Try again later; nothing was accepted."""

    code = "request.overloaded"
    wire_code, http_status = 30201, 429


class UnfinishedBodyError(OverloadedError):
    """Too many bodies are under way, and that of this request has not arrived."""

    code = "request.unfinished_body"


class UnreadAnswersError(OverloadedError):
    """Too many large answers are under way, whose readers take their time."""

    code = "request.unread_answers"
    http_status = 503


class ExecutionError(RillflowError):
    """The execution cannot take this request in its present state; nothing changed."""

    code = "execution.refused"
    wire_code = 30601
    http_status = 500

    def __init__(self, message: str, wire_code: int = 30601) -> None:
        self.wire_code = wire_code
        super().__init__(message)


class WorkLimitError(ExecutionError):
    """All that one event, or one request, has evaluated took more than is allowed.

    Unlike a ``BudgetExceededError``, which is that of one path or expression, it cannot be
    tolerated by the rule that meets it: it fails the task.
    """

    code = "execution.work_limit"
    wire_code = 30507

    def __init__(self, unit: str, limit: int, setting: str) -> None:
        super().__init__(
            f"everything that was evaluated at once took more than {limit} {unit};"
            f" {setting} sets the limit",
            WorkLimitError.wire_code,
        )


class CrashedError(RillflowError):
    """Handling an execution failed unexpectedly; the log says where. It is tried again."""

    code = "execution.crashed"


class SetApartError(CrashedError):
    """An execution that has brought down the process that handled it; it is not even read.

    ``status`` is what listings say of it, None when it is not stored, or nobody has looked.
    """

    def __init__(self, execution_id: str, reason: str) -> None:
        self.reason = reason
        self.status: str | None = None
        super().__init__(f"{execution_id} is quarantined: {reason}")


class ResultError(RillflowError):
    """An execution that was waited for has no result to give."""

    code = "result"

    def __init__(self, execution_id: str, message: str) -> None:
        self.execution_id = execution_id
        super().__init__(message)


_MOST_NAMED: Final = 5  # failed tasks in the text of an error, whose attributes have all


class ExecutionFailedError(ResultError):
    """The execution ended FAILED.

    ``tasks`` are those that failed, ``reason`` and ``reason_code`` message and code, or None.
    """

    CANCELLED: ClassVar[str] = "30303"
    code = "result.failed"

    def __init__(
        self,
        execution_id: str,
        *,
        tasks: tuple[str, ...] = (),
        reason: str | None = None,
        reason_code: str | None = None,
    ) -> None:
        self.tasks = tasks
        self.reason = reason
        self.reason_code = reason_code
        more = f" and {len(tasks) - _MOST_NAMED} more" if len(tasks) > _MOST_NAMED else ""
        caused_by = () if reason_code == self.CANCELLED else tasks[:_MOST_NAMED]
        where = f" in {', '.join(caused_by)}{more}" if caused_by else ""
        why = ": ".join(part for part in (reason_code, reason) if part)
        super().__init__(execution_id, f"{execution_id} failed{where}" + (why and f": {why}"))


class ExecutionTimeoutError(ResultError):
    """The execution had not ended when the time to wait was over; it goes on."""

    code = "result.timeout"

    def __init__(self, execution_id: str, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        super().__init__(execution_id, f"{execution_id} has not ended within {timeout_s:g} s")


class GatewayError(RillflowError):
    """A call to a gateway failed; the message becomes the task's message."""

    code = "gateway.failed"
    wire_code = 30106

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        if hint:
            self.hint = hint
        super().__init__(message)


class NotConnectedError(GatewayError):
    """No connection could be opened, so nothing was sent."""


class BrokenExchangeError(GatewayError):
    """A request was sent, and no whole answer came back."""


class UnavailableError(RillflowError):
    """A needed process cannot be reached, or answer now; it may have taken the request."""

    code = "process.unavailable"
    wire_code = 30113
    http_status = 503


class NotReadyError(UnavailableError):
    """The owner must read much first, and has done nothing; a call asked alone is waited for."""

    code = "execution.not_ready"


class ProtocolError(UnavailableError):
    """A process of another release was asked, or has asked, that is too far from this one."""

    code = "process.protocol"


class GoneError(UnavailableError):
    """The process that was called has ended for good, and no other has its name."""

    code = "process.gone"


class NotOwnerError(UnavailableError):
    """The actor that was asked does not own the execution, whose partition has moved.

    ``partition_map`` is the version of the actor's map and its number of owners, where known.
    """

    code = "process.not_owner"

    def __init__(self, message: str, partition_map: tuple[int, int] | None = None) -> None:
        self.partition_map = partition_map
        super().__init__(message)


class DefectError(RillflowError):
    """An unexpected exception took the place of an answer: a defect, in Rillflow or a plugin.

    The process in which it was raised has logged its traceback. The message names its type and the
    process, and has no values. Whether the request took effect is unknown.
    """

    code = "process.defect"

    @classmethod
    def of(cls, error: Exception, process: str) -> Self:
        """Describe an exception that was raised and logged in ``process``."""
        return cls(f"unexpected {type(error).__name__} in {process}; its log has the traceback")


class StoreError(RillflowError):
    """The durable store refused or lost a request."""

    code = "store.failed"
    wire_code = 30501


class ConflictError(StoreError):
    """What was to be written does not follow what is stored; nothing was written."""

    code = "store.conflict"


class FencedError(StoreError):
    """A newer owner has taken this partition; the caller must stop writing."""

    code = "store.fenced"


class QuotaError(StoreError):
    """The family of a sub-flow is as large as it may be; nothing was written."""

    code = "execution.quota"


class DamagedError(StoreError):
    """A part of one stored execution is missing or broken; asking again does not help."""

    code = "store.damaged"


class LargeExecutionError(RillflowError):
    """A stored execution has more bytes than its reader takes at this moment; it was not read."""

    code = "execution.large"


class ServerError(RillflowError):
    """The server answered with something that a client can do nothing about."""

    code = "server.failed"

    def __init__(self, message: str, *, wire_code: int = 30101, http_status: int = 500) -> None:
        self.wire_code = wire_code
        self.http_status = http_status
        super().__init__(message)


class UnreachableError(ServerError):
    """No answer came; whether the request took effect is unknown."""

    code = "server.unreachable"


class StackError(ServerError):
    """A stack cannot be started here, for a reason that its operator can remove."""

    code = "server.cannot_start"
