"""The hot routes, which steps of workflows call: submit, finish, trigger, get (spec 5.2, 5.3).

They are answered here without FastAPI, since its routing and validation would cost more than the
rest of a request. ``api.py`` puts ``HotRoutes`` before the FastAPI application, and ``control.py``
describes the hot routes for the OpenAPI document. This module must not know what a callback does to
its execution.

Used by `serve`, `serve/routes` and `serve/routes/console`.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Final, NamedTuple, TypeAlias

from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from rillflow.core.events import CallbackReceived, ProgressReported
from rillflow.errors import TooLargeError, UnknownExecutionError
from rillflow.gateways.callbacks.arrivals import (
    Callback,
    callback_execution,
    callback_target,
    read_callback,
    read_finish,
    read_log,
    read_progress,
)
from rillflow.gateways.callbacks.seals import attempt_of_seal
from rillflow.gateways.outbound.fair_thread import FOR_CALLBACKS
from rillflow.gateways.outbound.threads import SHORT_BYTES, joined
from rillflow.gateways.secrets.masks import Mask
from rillflow.gateways.secrets.store import KnownSecrets, Secrets
from rillflow.ids import ExecutionId, TaskName, is_execution_id, workspace_of
from rillflow.jsontypes import EMPTY_OBJECT, encode_json
from rillflow.runtime.stack import Stack
from rillflow.runtime.submission.tracing import TraceSampling
from rillflow.telemetry.trace_context import HEADER, parse_traceparent
from serve.limits.audited_submissions import AuditedSubmissions
from serve.limits.callers import CALLER, caller_of, share_of
from serve.limits.failed_lookups import FailedLookups
from serve.limits.known_keys import HELD
from serve.limits.large_answers import (
    ANSWERED_REQUEST,
    LARGE_BYTES,
    AnswerPool,
    LargeAnswers,
    reader_of_request,
    sender_of_request,
)
from serve.limits.request_turns import RequestTurns, functions_of
from serve.limits.unpacking import UnpackingTurns
from serve.limits.waits import Waits
from serve.limits.work_room import WorkRoom
from serve.route_table import hot_endpoints
from serve.schemas.console_sessions import SESSION
from serve.schemas.errors import respond_to
from serve.schemas.exchange import (
    body_limit,
    header_of,
    json_response,
    nul_refused,
    query_of,
    raw_response,
    read_body,
    read_json_text,
    read_submission,
    refuse_other_media,
    required,
    ret_response,
    seconds,
    view_kind,
)

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]

_TRACEPARENT: Final = HEADER.encode()
MOST_SUBMITTED_BYTES: Final = 256 << 20
"""What bodies of submissions of more than 16 KiB may have together until they are stored."""
OK: Final = b'{"result":"ok"}'
DUPLICATE: Final = b'{"result":"ok","duplicate":true}'
NOT_KEPT: Final = b'{"result":"ok","kept":false}'
UNKNOWN_EXECUTION: Final = b'{"tasks":"{}","context":{},"invoke_summary":{}}'


class _Delivery(NamedTuple):
    """A callback as it is delivered to its execution."""

    execution_id: ExecutionId
    event: CallbackReceived
    hint_s: int


class HotRoutes:
    """An ASGI application that answers the hot routes and passes on the others."""

    def __init__(self, cold: ASGIApp, stack: Stack, turns: RequestTurns) -> None:
        self._answers = AnswerPool(stack.settings, respond_to)
        self._cold = LargeAnswers(cold, self._answers)
        stack.take_room = self._answers.take
        stack.sender_of_request = sender_of_request
        stack.store.take_turns(reader_of_request)
        self._stack = stack
        self._callback_keys = tuple(key.get_secret_value() for key in stack.settings.callback_keys)
        self.lookups = FailedLookups(stack.settings.unknown_executions_per_minute, stack.clock)
        self._secrets = KnownSecrets(Secrets(stack.settings.secrets_dir), stack.clock)
        self.waits = Waits(stack.settings, _ends_of)
        self._is_traced = TraceSampling(stack.settings).is_on
        self.turns = turns
        self._unpacking = UnpackingTurns()
        self._audited = AuditedSubmissions(stack)
        self._submitting = WorkRoom(MOST_SUBMITTED_BYTES, "submissions")
        by_path: dict[str, Handler] = {
            "/flow/submit.json": self.submit,
            "/flow/finish.json": self.finish,
            "/flow/trigger.json": self.trigger,
            "/flow/get.json": self.get,
        }
        self.handlers = hot_endpoints(by_path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        handler = None
        if scope["type"] == "http":
            handler = self.handlers.get((scope["method"], scope["path"]))
            if b"%00" in scope["query_string"]:
                handler = _refuse_nul
        ANSWERED_REQUEST.set(scope)
        try:
            if handler is None:
                await self._cold(scope, receive, send)
                return
            try:
                response = await handler(Request(scope, receive))
            except Exception as error:  # noqa: BLE001 - every request gets an answer
                response = respond_to(error)
            if len(response.body) < LARGE_BYTES:
                await response(scope, receive, send)
            else:
                await self._answers.respond(response, scope, receive, send)
        finally:
            if self._answers.rooms:
                self._answers.end(scope)

    async def submit(self, request: Request) -> Response:
        """Start an execution; with `wait_s`, wait for its end.

        The same idempotency key with equal data finds the execution that was started
        first; with other data it is a conflict (409).
        """
        query = query_of(request.scope)
        descriptor_id = required(query, "descriptor_id")
        options = read_submission(query, request.headers)
        is_audited = False
        if CALLER in request.scope:
            caller = caller_of(request.scope)
            options, is_audited = options._replace(holder=caller.holder), caller.audits_submissions
        if self._is_traced:
            options = options._replace(traceparent=header_of(request.scope, _TRACEPARENT) or None)
        wait_s = seconds(query.get("wait_s"))
        body = await read_json_text(request)
        wait = self.waits.begin(request) if wait_s > 0 else None
        is_short = len(body) <= SHORT_BYTES
        if wait is None:
            room = nullcontext() if is_short else self._room_for(request.scope, len(body))
            with room:
                execution_id = await self._stack.submissions.submit(descriptor_id, body, options)
            if is_audited:
                await self._audited.note(request.scope, execution_id)
            return await _ran(execution_id, None)
        with wait:
            kind = view_kind(query)
            if is_short:
                ran = self._stack.run(descriptor_id, body, options, timeout_s=wait_s, kind=kind)
                execution_id, shown = await ran
            else:
                # A request that waits holds nothing of a long body: it may wait for ten minutes.
                with self._room_for(request.scope, len(body)):
                    submitted = self._stack.submissions.submit(descriptor_id, body, options)
                    del body
                    execution_id = await submitted
                shown = await self._stack.shown_end(execution_id, timeout_s=wait_s, kind=kind)
            if is_audited:
                await self._audited.note(request.scope, execution_id)
            return await _ran(execution_id, await self._stack.counted(execution_id, shown))

    def _room_for(self, scope: Scope, size_bytes: int) -> AbstractContextManager[None]:
        """Return room for a long body of a submission, of the sender and the workspaces of its key.

        Who has the key of the settings, and this machine, may have all of it.
        """
        share = share_of(scope)
        workspaces = {f"workspace {each}" for each in caller_of(scope).workspaces}
        return self._submitting.hold(tuple({share} | workspaces) if share else (), size_bytes)

    async def trigger(self, request: Request) -> Response:
        """Accept a callback of a function, or a signal for a suspense task.

        The body may have any form: JSON, text, an image, or none. With `progress` it is no outcome:
        the function says how far it has come, from 0 to 1, and more in `message`.
        """
        query = query_of(request.scope)
        target = callback_target(query)
        sealed_attempt = self._sealed_attempt(query, *target)
        sender = functions_of(target[0], is_sealed=bool(sealed_attempt))
        if not self.turns.has_turn(sender):
            await self.turns.wait(sender, request.scope)
        take = self._take_progress if "progress" in query else self._take_callback
        try:
            return await take(request, query, target, sealed_attempt)
        except UnknownExecutionError:
            if not sealed_attempt:
                self.lookups.failed(request.scope)
            raise

    async def _take_callback(
        self,
        request: Request,
        query: Mapping[str, str],
        target: tuple[ExecutionId, TaskName],
        sealed_attempt: int | None,
    ) -> Response:
        execution_id, task = target

        def asked() -> CallbackReceived:
            at_ms = self._stack.clock.now_ms()
            return CallbackReceived(
                at_ms=at_ms, task=task, trigger=True, sealed_attempt=sealed_attempt
            )

        async def check_known() -> None:
            if not sealed_attempt:
                await self._stack.require_known(execution_id, asked())

        if self.lookups.are_too_many(request.scope):
            await check_known()
        limit = body_limit(request)
        body = await read_body(
            request, check_known=check_known, workspace=workspace_of(execution_id)
        )
        mask, at_ms = self._secrets.mask(), self._stack.clock.now_ms()

        def read() -> _Delivery:
            callback = read_callback(
                query=query,
                headers=request.headers,
                body=body,
                max_body_bytes=limit.bytes,
                mask=mask.text,
            )
            return _delivery_of(callback, mask, at_ms, sealed_attempt, trigger=True)

        if not _is_costly(request, body, mask):
            return await self._deliver(read(), request)
        async with self._unpacking.turn(execution_id, len(body)):
            if not await self._stack.awaits(execution_id, asked()):
                return raw_response(DUPLICATE)
            delivery = await FOR_CALLBACKS.run(workspace_of(execution_id), read)
        return await self._deliver(delivery, request)

    async def _take_progress(
        self,
        request: Request,
        query: Mapping[str, str],
        target: tuple[ExecutionId, TaskName],
        sealed_attempt: int | None,
    ) -> Response:
        """Take what a function says about its progress; a body of plain text is its log."""
        execution_id, task = target
        at_ms = self._stack.clock.now_ms()

        async def check_known() -> None:
            if not sealed_attempt:
                asked = ProgressReported(at_ms=at_ms, task=task)
                await self._stack.require_known(execution_id, asked)

        if self.lookups.are_too_many(request.scope):
            await check_known()
        mask, body = self._secrets.mask(), b""
        has_log = header_of(request.scope, b"content-type").startswith("text/plain")
        if has_log:
            workspace = workspace_of(execution_id)
            body = await read_body(request, check_known=check_known, workspace=workspace)

        def read() -> ProgressReported:
            fraction, message = read_progress(query, mask.text)
            return ProgressReported(
                at_ms=at_ms,
                task=task,
                fraction=fraction,
                message=message,
                sealed_attempt=sealed_attempt,
                log=read_log(body, mask.text) if has_log else None,
            )

        if _is_costly(request, body, mask):
            async with self._unpacking.turn(execution_id, len(body)):
                await check_known()
                event = await FOR_CALLBACKS.run(workspace_of(execution_id), read)
        else:
            event = read()
        reply = await self._stack.deliver(execution_id, event)
        return raw_response(OK if reply.changed else NOT_KEPT)

    def _sealed_attempt(
        self, query: Mapping[str, str], execution_id: ExecutionId, task: TaskName
    ) -> int | None:
        """Return the attempt for which the address is sealed; None if seals are not required."""
        if not self._callback_keys:
            return None
        return attempt_of_seal(
            self._callback_keys,
            query,
            execution_id=execution_id,
            task=task,
            now_s=self._stack.clock.now_ms() // 1000,
        )

    async def finish(self, request: Request) -> Response:
        """Take the outcome of a function: a success, unless `result_type` says otherwise."""
        query, headers = query_of(request.scope), request.headers
        limit = body_limit(request)
        body = await read_body(request)
        if "content-encoding" not in headers:
            refuse_other_media(request, body)
        mask, at_ms = self._secrets.mask(), self._stack.clock.now_ms()

        def read() -> _Delivery:
            try:
                callback = read_finish(
                    query=query,
                    headers=headers,
                    body=body,
                    max_body_bytes=limit.bytes,
                    mask=mask.text,
                )
            except TooLargeError as error:
                raise limit.refusal() from error
            return _delivery_of(callback, mask, at_ms, None, trigger=False)

        if not _is_costly(request, body, mask):
            return await self._deliver(read(), request)
        execution_id = callback_execution(query)
        # The body alone may name the task; a missing name is reported before other errors.
        task = callback_target(query)[1] if query.keys() & {"task_name", "taskName"} else ""
        asked = CallbackReceived(at_ms=at_ms, task=task or "-")
        async with self._unpacking.turn(execution_id, len(body)):
            if not task:
                await self._stack.require_known(execution_id, asked)
            elif not await self._stack.awaits(execution_id, asked):
                return raw_response(DUPLICATE)
            delivery = await FOR_CALLBACKS.run(workspace_of(execution_id), read)
        return await self._deliver(delivery, request)

    async def _deliver(self, delivery: _Delivery, request: Request) -> Response:
        execution_id, event, hint_s = delivery
        if self._is_traced:
            sender = parse_traceparent(header_of(request.scope, _TRACEPARENT))
            event = event if sender is None else replace(event, trace=sender)
        reply = await self._stack.deliver(execution_id, event, hint_s=hint_s)
        return raw_response(OK if reply.changed else DUPLICATE)

    async def get(self, request: Request) -> Response:
        """Show an execution; with `wait_s`, wait for its end first."""
        query = query_of(request.scope)
        execution_id = required(query, "execution_id")
        kind, wait_s = view_kind(query), seconds(query.get("wait_s"))
        if not is_execution_id(execution_id):
            return await ret_response(UNKNOWN_EXECUTION, workspace="")
        workspace = workspace_of(execution_id)
        if wait_s > 0:
            wait = self.waits.begin(request)
            if wait is not None:
                with wait:
                    end = await self._stack.executions.end(execution_id, wait_s, kind)
                    if end.body is not None:
                        ended = await self._stack.counted(execution_id, end.body)
                        return await ret_response(ended or end.body, workspace=workspace)
        shown = await self._stack.query(execution_id, kind)
        return await ret_response(
            UNKNOWN_EXECUTION if shown is None else shown, workspace=workspace
        )


def _ends_of(scope: Scope) -> Iterator[Awaitable[None]]:
    """Return the ends of the key and the session of a caller, which a wait does not outlast."""
    held, session = scope.get(HELD), scope.get(SESSION)
    if held is not None:
        yield held.until_over()
    if session is not None:
        yield session.until_ended()


async def _ran(execution_id: ExecutionId, shown: bytes | None) -> Response:
    if shown is None:
        return json_response({"execution_id": execution_id})
    head = b'{"execution_id":%b,"ret":' % encode_json(execution_id)
    return raw_response(await joined(head, shown, b"}", workspace=workspace_of(execution_id)))


def _is_costly(request: Request, body: bytes, mask: Mask) -> bool:
    """Tell whether a callback is so costly to read that its execution is looked up first.

    A few bytes may unpack to as many as the limit allows. What is masked may also be in the
    address and in headers.
    """
    scope = request.scope
    if len(body) > SHORT_BYTES or header_of(scope, b"content-encoding"):
        return True
    given = b"\n".join((body, scope["query_string"], *(value for _, value in scope["headers"])))
    return len(given) > SHORT_BYTES or mask.takes_long(given)


def _delivery_of(
    callback: Callback, mask: Mask, at_ms: int, sealed_attempt: int | None, *, trigger: bool
) -> _Delivery:
    facts = dict(callback.facts)
    if callback.invoke_id:
        facts["invoke_id"] = callback.invoke_id
    event = CallbackReceived(
        at_ms=at_ms,
        task=callback.task_name,
        succeeded=callback.succeeded,
        output=mask.body(callback.output) or EMPTY_OBJECT,
        msg=callback.message,
        code=mask.message(callback.code),
        ext=mask.body(encode_json(facts)) if facts else None,
        will_retry=callback.will_retry,
        trigger=trigger,
        sealed_attempt=sealed_attempt,
        log=callback.log,
    )
    # Without a seal anybody may send it, and its hint takes effect before the rest is checked.
    hint_s = 0 if sealed_attempt == 0 else callback.retry_interval_s
    return _Delivery(callback.execution_id, event, hint_s)


async def _refuse_nul(_: Request) -> Response:
    raise nul_refused()
