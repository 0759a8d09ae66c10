"""Calls to executions by id, wherever they live; what travels is bytes.

Every call is idempotent: a submission by its execution id, an event by the state
it meets, a query by its nature. So a transport may repeat any of them.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol, TypeAlias

import msgspec

from rillflow.core.events import (
    CallbackReceived,
    DispatchAnswered,
    Event,
    ExecutionSubmitted,
    RedoRequested,
    WakeUpReceived,
)
from rillflow.errors import (
    ConflictError,
    CrashedError,
    DamagedError,
    DefectError,
    ExecutionError,
    FencedError,
    GoneError,
    OverloadedError,
    QuotaError,
    RequestError,
    RillflowError,
    StoreError,
    UnavailableError,
    UnknownExecutionError,
    UnreadAnswersError,
)
from rillflow.ids import ExecutionId
from rillflow.ports.gateway import FIELDS_BYTES


class Submission(msgspec.Struct, frozen=True, kw_only=True, tag=True, array_like=True):
    """Create an execution. ``business`` and ``feature`` are what it is listed under.

    ``check`` tells which busy functions refuse it (spec 6.2): ``short_board``,
    ``long_board``, or ``key_resource`` with ``key_resources``, of which all must be busy,
    or just one when ``any_key``. Empty takes it whatever is busy.

    A ``watcher`` is told when the execution ends, as by a ``Watch`` with ``show``; where
    ``changed`` is False it is not.
    """

    business: str
    feature: str
    event: ExecutionSubmitted
    idempotency_key: str | None = None
    request_digest: str | None = None
    check: str = ""
    key_resources: tuple[str, ...] = ()
    any_key: bool = False
    watcher: str = ""
    show: str = ""

    @property
    def execution_id(self) -> ExecutionId:
        """Id of the execution to be created."""
        return self.event.execution_id


class Delivery(msgspec.Struct, frozen=True, kw_only=True, tag=True, array_like=True):
    """Hand an event to an execution.

    ``hint_s`` is how long the function that sent it wants to be left alone, 0 for no wish.
    """

    execution_id: ExecutionId
    event: Event
    hint_s: int = 0


class Query(msgspec.Struct, frozen=True, kw_only=True, tag=True, array_like=True):
    """Read an execution.

    ``kind`` is ``execution``, ``brief``, ``children``, ``context``, ``sub_context``,
    ``status`` or ``task``; ``parent`` and ``index`` name a group, or ``parent`` an instance.
    """

    execution_id: ExecutionId
    kind: str
    parent: str = ""
    index: int = 0


class Watch(msgspec.Struct, frozen=True, kw_only=True, tag=True, array_like=True):
    """Have ``watcher`` told when an execution ends; ``changed`` is False when it has.

    What does not exist counts as ended. ``show`` is the kind of a ``Query``: what it would
    answer at the end comes along, if it is small.
    """

    execution_id: ExecutionId
    watcher: str
    show: str = ""


class ResourceCall(msgspec.Struct, frozen=True, kw_only=True, tag=True, array_like=True):
    """Ask about busy functions of a service, or tell of one (spec 6.2).

    ``kind`` is ``read``, ``clear`` (the ``resources``, none given are all), ``busy``
    (``task`` called ``resource``, which wants to be left alone for ``for_s``; 0 is no wish)
    or ``blocks`` (which functions are busy, whatever the service).
    Goes to every home of executions, for which ``execution_id`` is empty.
    """

    kind: str
    service: str
    task: str = ""
    resource: str = ""
    for_s: int = 0
    resources: tuple[str, ...] = ()

    @property
    def execution_id(self) -> ExecutionId:
        """No execution in particular."""
        return ""


class TrafficCall(msgspec.Struct, frozen=True, kw_only=True, tag=True, array_like=True):
    """Take one of the submissions that an id may make in a second.

    All calls for an id go to one home, which counts them. ``changed`` is False when none
    is left.
    """

    subject: str
    limit: int

    @property
    def execution_id(self) -> ExecutionId:
        """No execution: what the home is chosen by."""
        return self.subject


class ViewPart(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Ask for a part of a large view, from an offset on; before its start, how large it is.

    The first question waits until the view is there. A small one comes with its answer.
    """

    view: str
    offset: int = -1


Call: TypeAlias = Submission | Delivery | Query | Watch | ResourceCall | TrafficCall


ELSEWHERE = "host.elsewhere"
"""Kind of the reply to a call for an execution that has a Ray actor of its own."""


class Reply(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The answer to a call; ``body`` is the JSON that a query asked for, None when unknown.

    ``changed`` is False for a repetition that was dropped. With ``error`` the call was
    refused; ``wire_code`` and ``http_status`` say how. What is too large to come along has the
    name ``view``, by which it is asked for in parts; ``size_bytes`` is how large it is.
    """

    changed: bool = True
    body: bytes | None = None
    error: str | None = None
    kind: str = ""
    wire_code: int = 0
    http_status: int = 0
    view: str = ""
    size_bytes: int = 0

    @property
    def is_unanswered(self) -> bool:
        """Tell whether the store, or a process, failed the call; it may be made again."""
        return self.kind in _UNANSWERED

    def raise_for_error(self) -> "Reply":
        """Return the reply, or raise what it reports.

        Raises:
            RillflowError: The call was refused.
        """
        if self.error is None:
            return self
        raise error_of(self)


class Executions(Protocol):
    """The executions of the whole cluster, addressed by id."""

    async def call(self, call: Call) -> Reply:
        """Make one call; a refusal is a reply with ``error``.

        Raises:
            UnavailableError: The owner could not be reached in time; whether the call took
                effect is unknown, and repeating it is harmless.
            DefectError: The owner met a defect; the same holds.
        """
        ...

    async def ask_all(self, call: ResourceCall) -> list[Reply]:
        """Make a call at every home; homes that cannot be reached are left out."""
        ...


class End(NamedTuple):
    """What came of waiting for an end; ``body`` is the view that was asked for, if it came."""

    has_ended: bool
    body: bytes | None = None


class WaitableExecutions(Executions, Protocol):
    """Executions that callers can also wait for, and read whatever their size."""

    async def part(self, execution_id: ExecutionId, asked: ViewPart) -> Reply:
        """Return a part of a view that the owner of an execution has named in a reply.

        Raises:
            UnavailableError: The owner could not be reached, or has the view no longer.
        """
        ...

    async def run(self, submission: Submission, timeout_s: float, show: str) -> tuple[Reply, End]:
        """Create an execution and wait until it has ended; the reply is the submission's.

        ``show`` is the kind of ``Query`` whose answer is wanted with the end.

        Raises:
            UnavailableError: The owner could not be reached in time.
        """
        ...

    async def end(self, execution_id: ExecutionId, timeout_s: float, show: str) -> End:
        """Wait until an execution has ended, and see how.

        Raises:
            UnavailableError: Its owner could not be reached.
        """
        ...

    async def wait(self, execution_id: ExecutionId, timeout_s: float) -> bool:
        """Wait until an execution has ended; False when the time was not enough.

        Raises:
            UnavailableError: Its owner could not be reached.
        """
        ...


def reply_to_error(error: RillflowError) -> Reply:
    """Turn a refusal into a reply."""
    return Reply(
        changed=False,
        error=str(error),
        kind=error.code,
        wire_code=error.wire_code,
        http_status=error.http_status,
    )


_UNANSWERED: Final[Mapping[str, type[RillflowError]]] = {
    GoneError.code: UnavailableError,
    **{
        kind.code: kind
        for kind in (
            UnavailableError,
            DefectError,
            StoreError,
            ConflictError,
            FencedError,
            DamagedError,
        )
    },
}
"""Errors after which a call may be made again.

That somebody is gone is known to those only who have called it themselves: for anybody else it is
a process that cannot be reached.
"""
_PLAIN_ERRORS: Final[Mapping[str, type[RillflowError]]] = {
    **_UNANSWERED,
    **{kind.code: kind for kind in (OverloadedError, UnreadAnswersError, QuotaError, CrashedError)},
}
"""Errors that have nothing but a message."""


def error_of(reply: Reply) -> RillflowError:
    """Turn a reply with an error back into the error."""
    message = reply.error or ""
    plain = _PLAIN_ERRORS.get(reply.kind)
    if plain is not None:
        return plain(message)
    if reply.kind == ExecutionError.code:
        return ExecutionError(message, reply.wire_code)
    kind = UnknownExecutionError if reply.kind == UnknownExecutionError.code else RequestError
    return kind(message, wire_code=reply.wire_code, http_status=reply.http_status)


_TEXTS: Final[Mapping[type, str]] = {
    ExecutionSubmitted: "data",
    DispatchAnswered: "body",
    CallbackReceived: "output",
    WakeUpReceived: "data",
    RedoRequested: "data",
}


def text_of(call: Call) -> bytes:
    """Return the JSON that a call brings along, which may be large; empty when it brings none."""
    event = getattr(call, "event", None)
    field = _TEXTS.get(type(event))
    return b"" if field is None else getattr(event, field) or b""


SHOWN_BYTES: Final = 64 * 1024
"""What a reply may show of an execution; what is larger is asked for in parts."""


def size_of(call: Call) -> int:
    """Return about how many bytes of messages a call takes: its text, or what it may be shown."""
    if (isinstance(call, Query) and call.kind != "status") or (
        isinstance(call, Watch) and call.show
    ):
        return FIELDS_BYTES + SHOWN_BYTES
    return FIELDS_BYTES + len(text_of(call))


_encoder = msgspec.msgpack.Encoder()
_replies_decoder = msgspec.msgpack.Decoder(list[Reply])
_reply_decoder = msgspec.msgpack.Decoder(Reply)


def encode_replies(replies: list[Reply]) -> bytes:
    """Encode the replies to a batch, in its order."""
    return _encoder.encode(replies)


def decode_replies(data: bytes) -> list[Reply]:
    """Decode the replies to a batch."""
    return _replies_decoder.decode(data)


def encode_refusal(error: RillflowError) -> bytes:
    """Encode an error for the process that called."""
    return _encoder.encode(reply_to_error(error))


def decode_refusal(data: bytes) -> RillflowError:
    """Decode the error of a process that was called."""
    return error_of(_reply_decoder.decode(data))
