"""Streams of changes, as server-sent events: of lists, and of one execution.

Used by `serve/api.py`.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Annotated, Any, Final, TypeAlias

from fastapi import APIRouter, Header
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from rillflow.core.inspection.views import SUMMARY
from rillflow.errors import RequestError, RillflowError
from rillflow.ids import ExecutionId, is_dedicated
from rillflow.jsontypes import decode_json, encode_json
from rillflow.runtime.aio.reused_timer import ReusedTimer
from rillflow.runtime.changes.hub import Batch, ChangeHub, Selection
from rillflow.runtime.changes.summaries import STALE_S, ShownSummary
from rillflow.runtime.stack import Stack
from serve.limits.callers import caller_of, own_workspace, share_of
from serve.limits.known_keys import HELD
from serve.routes.console_api.inspecting import require_id, unknown
from serve.schemas.console_sessions import SESSION
from serve.schemas.documentation import ERRORS, NOT_FOUND, Responses
from serve.schemas.errors import respond_to
from serve.schemas.search_texts import flow_of, shown_status

SILENCE_S: Final = 15.0
"""After so long without a change, a comment shows that the stream lives."""
LONGEST_S: Final = 3_600.0
SEND_S: Final = 10.0
"""A client that does not read for so long is cut off."""
LOOK_S: Final = 1.0
"""How often an execution with an actor of its own is looked at."""
EVENT_STREAM: Final = "text/event-stream"
_UNNUMBERED: Final = -1
"""Stands for the number of the last event of an execution in quarantine."""
_LONG_OVER: Final = 1 << 62
_BEGIN: Final = b"retry: 1000\n\n"
_END: Final[Message] = {"type": "http.response.body", "body": b"", "more_body": False}
_COMMENT: Final = b": still here\n\n"
Events: TypeAlias = AsyncGenerator[bytes, None]
LastId: TypeAlias = Annotated[str | None, Header()]
_STREAM: Final[Responses] = {
    200: {"description": "Server-sent events.", "content": {EVENT_STREAM: {}}}
}


def router(stack: Stack) -> APIRouter:
    """Return the routes of streams."""
    routes = APIRouter(prefix="/flow/console/v1", tags=["console"], responses=ERRORS | NOT_FOUND)

    @routes.get("/executions.stream", responses=_STREAM)
    async def executions_stream(
        request: Request,
        flow: str | None = None,
        last_id: str | None = None,
        accept: Annotated[str, Header()] = "",
        last_event_id: LastId = None,
    ) -> Response:
        """Tell which executions change. `Accept` must name `text/event-stream`."""
        _require_stream(accept)
        business, feature = flow_of(flow or None)
        business = own_workspace(caller_of(request.scope), business)
        selection = Selection(business or "", feature or "")
        address = share_of(request.scope)
        stack.changes.require_place(selection, address)
        after = _position(last_event_id or last_id, stack.changes.life)
        return EventStream(lambda: _of_list(stack, selection, after, address))

    @routes.get("/execution.stream", responses=_STREAM)
    async def execution_stream(
        request: Request,
        execution_id: str,
        last_id: str | None = None,
        accept: Annotated[str, Header()] = "",
        last_event_id: LastId = None,
    ) -> Response:
        """Tell how one execution changes. `Accept` must name `text/event-stream`."""
        _require_stream(accept)
        require_id(execution_id)
        address = share_of(request.scope)
        stack.changes.require_place(Selection(execution_id=execution_id), address)
        is_known = execution_id in stack.summaries
        if not is_known and await stack.inspect(execution_id, SUMMARY) is None:
            raise unknown(execution_id)
        known = _number(last_event_id or last_id)
        return EventStream(lambda: _of_execution(stack, execution_id, known, address))

    return routes


class EventStream(Response):
    """A response that goes on until its client has gone, or does not read."""

    media_type = EVENT_STREAM

    def __init__(self, events: Callable[[], Events], *, send_s: float = SEND_S) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        self._send_s = send_s
        self._has_begun = False
        self._is_cut_off = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events, until the client, the session of its reader, or the time is gone.

        What is raised before the first event is answered as by other routes.
        """
        async with aclosing(self._events()) as events:
            try:
                first = await anext(events)
            except RillflowError as error:
                await respond_to(error)(scope, receive, send)
                return
            await self._send_all(first, events, scope, receive, send)

    async def _send_all(
        self, first: bytes, events: Events, scope: Scope, receive: Receive, send: Send
    ) -> None:
        session = scope.get(SESSION)
        in_time = ReusedTimer(lambda: self._cut_off(writing))
        writing = asyncio.ensure_future(self._write(first, events, send, in_time))
        ends = [asyncio.ensure_future(_until_gone(receive))]
        if session is not None:
            ends.append(asyncio.ensure_future(session.until_ended()))
        held = scope.get(HELD)
        if held is not None:
            ends.append(asyncio.ensure_future(held.until_over()))
        try:
            await asyncio.wait({writing, *ends}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            in_time.close()
            for task in (writing, *ends):
                task.cancel()
            # A client that has gone, or is cut off, is no failure of the server.
            await asyncio.gather(writing, *ends, return_exceptions=True)
        if writing.cancelled() and self._has_begun and not self._is_cut_off:
            with suppress(OSError):  # a client that has gone
                await send(_END)

    def _cut_off(self, writing: "asyncio.Future[None]") -> None:
        """End a stream whose client does not read; it is sent no end either."""
        self._is_cut_off = True
        writing.cancel()

    async def _write(self, first: bytes, events: Events, send: Send, in_time: ReusedTimer) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        self._has_begun = True
        await self._send_in_time(send, _BEGIN + first, in_time)
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_S):
                try:
                    async for event in events:
                        await self._send_in_time(send, event, in_time)
                except RillflowError as error:
                    reset = _event(None, "reset", {"reason": str(error)})
                    await self._send_in_time(send, reset, in_time)
        await send(_END)

    async def _send_in_time(self, send: Send, event: bytes, in_time: ReusedTimer) -> None:
        in_time.begin(self._send_s)
        await send({"type": "http.response.body", "body": event, "more_body": True})
        in_time.end()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _of_list(stack: Stack, selection: Selection, after: int | None, address: str) -> Events:
    hub = stack.changes
    async with hub.stream(selection, after, address=address) as stream:
        yield _event(_name(hub, hub.number), "open", {"at_ms": stack.clock.now_ms()})
        while not stream.is_slow:
            batch = await stream.next(SILENCE_S)
            if batch is not None and not batch.text:
                batch.text = _listed(hub, batch, stack.clock.now_ms())
            yield _COMMENT if batch is None else batch.text


def _listed(hub: ChangeHub, batch: Batch, at_ms: int) -> bytes:
    if batch.changes is None:
        return _event(_name(hub, batch.number), "reset", {"reason": "changes were lost"})
    executions = [
        {
            "execution_id": change.execution_id,
            "seq": change.seq,
            "status": shown_status(change.status),
            "is_new": change.is_new,
        }
        for change in batch.changes
    ]
    told = {"at_ms": at_ms, "executions": executions, "more": batch.more}
    return _event(_name(hub, batch.number), "changed", told)


async def _of_execution(
    stack: Stack, execution_id: ExecutionId, known: int, address: str
) -> Events:
    selection = Selection(execution_id=execution_id)
    is_looked_at = is_dedicated(execution_id)
    hub = stack.changes
    async with (
        hub.stream(selection, None, address=address) as stream,
        stack.summaries.shown(execution_id) as shared,
    ):
        number = hub.number
        while not stream.is_slow:
            body = await shared.at(number, LOOK_S / 2 if is_looked_at else STALE_S)
            if shared.told is None or shared.told.body is not body:
                shared.told = _told(stack, execution_id, body)
            seq, event = shared.told.seq, shared.told.event
            yield _COMMENT if seq == known else event
            if seq is None:
                return
            known = seq
            batch = await stream.next(LOOK_S if is_looked_at else SILENCE_S)
            number = number if batch is None else batch.number


def _told(stack: Stack, execution_id: ExecutionId, body: bytes | None) -> ShownSummary:
    summary = decode_json(body) if body else None
    if not isinstance(summary, dict):
        return ShownSummary(body, None, _event(None, "gone", {"execution_id": execution_id}))
    seq = summary.get("seq")
    told = {"seq": seq, "at_ms": stack.clock.now_ms(), "summary": summary}
    number = seq if isinstance(seq, int) else _UNNUMBERED
    return ShownSummary(body, number, _event(str(seq), "changed", told))


def _name(hub: ChangeHub, number: int) -> str:
    return f"{hub.life}-{number}"


def _event(name: str | None, kind: str, data: dict[str, Any]) -> bytes:
    """Return one event; its JSON has no line breaks."""
    head = b"" if name is None else b"id: %b\n" % name.encode()
    return head + b"event: %b\ndata: %b\n\n" % (kind.encode(), encode_json(data))


def _require_stream(accept: str) -> None:
    if EVENT_STREAM not in accept.lower():
        raise RequestError("this is a stream", hint=f"send the header Accept: {EVENT_STREAM}")


def _position(text: str | None, life: str) -> int | None:
    """Return the batch that a client has heard last; one of another process is long over."""
    if not text:
        return None
    told, _, number = text.partition("-")
    return _number(number) if told == life and number else _LONG_OVER


def _number(text: str | None) -> int:
    if text is None or not (text.isascii() and text.isdecimal() and len(text) < 16):
        return 0
    return int(text)
