"""The executions port: calls to executions by id, and their replies, as encoded messages.

Every call is idempotent: a submission by its execution id, an event by the state of its execution,
and a query changes nothing. So a transport may repeat any of them.

Used by `actors`, `ports`, `runtime` and `serve`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
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
from rillflow.core.inspection.views import SUMMARY
from rillflow.errors import (
    ConflictError,
    CrashedError,
    DamagedError,
    DefectError,
    ExecutionError,
    FencedError,
    GoneError,
    LargeExecutionError,
    NotOwnerError,
    NotReadyError,
    OverloadedError,
    ProtocolError,
    QuotaError,
    RequestError,
    RillflowError,
    StoreError,
    UnavailableError,
    UnknownExecutionError,
    UnreadAnswersError,
)
from rillflow.ids import ExecutionId
from rillflow.ports.changes import ChangeSource
from rillflow.ports.gateway import FIELDS_BYTES


class Submission(msgspec.Struct, frozen=True, kw_only=True, tag=True, array_like=True):
    """Create an execution. ``business`` and ``feature`` are the service under which it is listed.

    ``check`` selects the busy functions that refuse it (spec 6.2): ``short_board``, ``long_board``,
    or ``key_resource`` with ``key_resources``, of which all must be busy, or one if ``any_key``. If
    it is empty, busy functions are not checked.

    A ``watcher`` is told when the execution ends, as by a ``Watch`` with ``show``; if ``changed``
    is False it is not.
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
    """Deliver an event to an execution.

    ``hint_s`` is the pause that the function asked for in seconds, 0 for none.
    """

    execution_id: ExecutionId
    event: Event
    hint_s: int = 0


class Query(msgspec.Struct, frozen=True, kw_only=True, tag=True, array_like=True):
    """Read an execution.

    ``kind`` is ``execution``, ``brief``, ``children``, ``context``, ``sub_context``, ``route``,
    ``status`` or ``task``; ``parent`` and ``index`` name a group, or ``parent`` an instance.
    With a ``callback``, whose outcome is omitted, the answer is whether it would be taken.
    With ``inspected``, ``kind`` is a view of `core/inspection`, with these parameters.
    Unless it ``reads_large``, a large execution that is not in memory is not read for it.
    """

    execution_id: ExecutionId
    kind: str
    parent: str = ""
    index: int = 0
    callback: CallbackReceived | None = None
    inspected: tuple[tuple[str, str], ...] | None = None
    reads_large: bool = True


class Watch(msgspec.Struct, frozen=True, kw_only=True, tag=True, array_like=True):
    """Register ``watcher`` for the end of an execution; ``changed`` is False if it has ended.

    An unknown execution counts as ended. ``show`` is the kind of a ``Query``: its answer at the end
    is sent with the news, if it is small.
    """

    execution_id: ExecutionId
    watcher: str
    show: str = ""


class ResourceCall(msgspec.Struct, frozen=True, kw_only=True, tag=True, array_like=True):
    """Query what every owner knows: the busy functions of a service (spec 6.2), or report one.

    ``kind`` is ``read``, ``clear`` (the ``resources``, none given are all), ``busy`` (``task``
    called ``resource``, which asks for a pause of ``for_s``; 0 is none), ``blocks`` (which
    functions are busy for calls of the service, or of the workspace that it names), ``room`` (which
    tasks of the execution that ``service`` names have requests that wait for room at a dispatcher)
    or ``quarantined`` (which executions of the owner are in quarantine, with the reasons). It goes
    to every owner of partitions, for which ``execution_id`` is empty.

    A pause holds back the calls of the workspace of the service. With ``for_service_only`` it holds
    back those of this service alone: it is not known that the function itself asked for it.
    """

    kind: str
    service: str
    task: str = ""
    resource: str = ""
    for_s: int = 0
    resources: tuple[str, ...] = ()
    for_service_only: bool = False

    @property
    def execution_id(self) -> ExecutionId:
        """Empty: the call concerns no particular execution."""
        return ""


class TrafficCall(msgspec.Struct, frozen=True, kw_only=True, tag=True, array_like=True):
    """Count a submission against the limit of an id in the present second.

    All calls for an id go to one owner, which counts them. ``changed`` is False if the limit is
    reached.
    """

    subject: str
    limit: int

    @property
    def execution_id(self) -> ExecutionId:
        """The text by which the owner is chosen; not an execution."""
        return self.subject


class ViewPart(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Query a part of a large view from an offset; a negative offset asks for its size.

    The first query waits until the view is encoded. The answer for a small view contains it whole.
    """

    view: str
    offset: int = -1


Call: TypeAlias = Submission | Delivery | Query | Watch | ResourceCall | TrafficCall


ELSEWHERE = "host.elsewhere"
"""Kind of the reply to a call for an execution that has an actor of its own."""


class Reply(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The reply to a call; ``body`` is the JSON of a query, None for an unknown execution.

    ``changed`` is False for a repetition that was ignored. With ``error`` the call was refused;
    ``wire_code`` and ``http_status`` specify the refusal. A body that is too large has the name
    ``view`` instead, by which its parts are queried; ``size_bytes`` is its size.
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
        """Tell whether the store, or a process, failed the call, so that it may be repeated."""
        return self.kind in _UNANSWERED

    def raise_for_error(self) -> "Reply":
        """Return the reply, or raise the error that it contains.

        Raises:
            RillflowError: The call was refused.
        """
        if self.error is None:
            return self
        raise error_of(self)


Until: TypeAlias = Callable[[], Awaitable[RillflowError | None]]
"""Waits until what was handled ahead of its time may be written; returns why it must not be."""


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
        """Make a call at every owner; owners that cannot be reached are omitted."""
        ...


class End(NamedTuple):
    """The result of waiting for an end; ``body`` is the view, if it came with the news."""

    has_ended: bool
    body: bytes | None = None


class WaitableExecutions(Executions, ChangeSource, Protocol):
    """Executions for which callers can also wait, and read views of any size."""

    async def call_many(self, calls: Sequence[Call]) -> list[Reply]:
        """Make calls together, and return the reply of each.

        One that could not be made has its error as the reply; repeating it is harmless.
        """
        ...

    async def part(self, execution_id: ExecutionId, asked: ViewPart) -> Reply:
        """Return a part of a view that a reply has named.

        Raises:
            UnavailableError: The owner could not be reached, or the view has expired.
        """
        ...

    async def run(self, submission: Submission, timeout_s: float, show: str) -> tuple[Reply, End]:
        """Submit an execution and wait until it has ended; the reply is the submission's.

        ``show`` is the kind of ``Query`` that is answered at the end.

        Raises:
            UnavailableError: The owner could not be reached in time.
        """
        ...

    async def end(self, execution_id: ExecutionId, timeout_s: float, show: str) -> End:
        """Wait until an execution has ended; return its final state.

        Raises:
            UnavailableError: Its owner could not be reached.
        """
        ...

    async def wait(self, execution_id: ExecutionId, timeout_s: float) -> bool:
        """Wait until an execution has ended; False if the time was not enough.

        Raises:
            UnavailableError: Its owner could not be reached.
        """
        ...


def reply_to_error(error: RillflowError) -> Reply:
    """Turn a refusal into a reply."""
    partition_map = error.partition_map if isinstance(error, NotOwnerError) else None
    return Reply(
        changed=False,
        body=None if partition_map is None else _encoder.encode(partition_map),
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
            NotReadyError,
            ProtocolError,
            NotOwnerError,
            DefectError,
            StoreError,
            ConflictError,
            FencedError,
            DamagedError,
        )
    },
}
"""Errors after which a call may be repeated.

A GoneError is known only to the direct caller: for any other process it is a process that cannot be
reached.
"""
_PLAIN_ERRORS: Final[Mapping[str, type[RillflowError]]] = {
    **_UNANSWERED,
    **{
        kind.code: kind
        for kind in (
            OverloadedError,
            UnreadAnswersError,
            QuotaError,
            CrashedError,
            LargeExecutionError,
        )
    },
}
"""Errors that have only a message."""


def error_of(reply: Reply) -> RillflowError:
    """Turn a reply with an error back into the error."""
    message = reply.error or ""
    if reply.kind == NotOwnerError.code and reply.body is not None:
        return NotOwnerError(message, _map_decoder.decode(reply.body))
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
    """Return the JSON that a call contains, which may be large; empty if there is none."""
    return text_in(getattr(call, "event", None))


def longest_text(calls: Sequence[Call]) -> int:
    """Return the bytes of the longest JSON that one of some calls contains."""
    return max([len(text_of(call)) for call in calls], default=0)


def text_in(event: object) -> bytes:
    """Return the JSON that an event contains, which may be large; empty if there is none."""
    field = _TEXTS.get(type(event))
    return b"" if field is None else getattr(event, field) or b""


SHOWN_BYTES: Final = 64 * 1024
"""Limit of an execution's view in a reply; a larger one is queried in parts."""


_SMALL: Final = frozenset({"status", "awaits", "route", SUMMARY})


def size_of(call: Call) -> int:
    """Return about how many bytes a call and its reply take: its text, or the largest view."""
    if (isinstance(call, Query) and call.kind not in _SMALL) or (
        isinstance(call, Watch) and call.show
    ):
        return FIELDS_BYTES + SHOWN_BYTES
    return FIELDS_BYTES + len(text_of(call))


_encoder = msgspec.msgpack.Encoder()
_replies_decoder = msgspec.msgpack.Decoder(list[Reply])
_reply_decoder = msgspec.msgpack.Decoder(Reply)
_map_decoder = msgspec.msgpack.Decoder(tuple[int, int])


# Methods of the codecs, since the replies to every batch pass them.
encode_replies: Final[Callable[[list[Reply]], bytes]] = _encoder.encode
"""Encode the replies to a batch, in its order."""
decode_replies: Final[Callable[[bytes], list[Reply]]] = _replies_decoder.decode
"""Decode the replies to a batch."""


def encode_refusal(error: RillflowError) -> bytes:
    """Encode an error for the process that called."""
    return _encoder.encode(reply_to_error(error))


def decode_refusal(data: bytes) -> RillflowError:
    """Decode the error of a process that was called."""
    return error_of(_reply_decoder.decode(data))
