"""Artifacts over HTTP: functions fetch them by signed addresses, and store them.

Used by `serve/api.py`.
"""

import asyncio
import errno
import io
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Any, BinaryIO, Final

from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from rillflow.artifacts.addresses import is_sealed
from rillflow.artifacts.artifact import PIECE_BYTES
from rillflow.artifacts.references import (
    ANY_TYPE,
    ArtifactReference,
    clean_media_type,
    clean_name,
    is_sha256,
)
from rillflow.artifacts.store import execution_key
from rillflow.core.events import CallbackReceived
from rillflow.errors import (
    ArtifactLostError,
    BodyTimeoutError,
    ForgedCallbackError,
    OverloadedError,
    RequestError,
    StoreError,
    TooLargeError,
    UnknownExecutionError,
)
from rillflow.gateways.callbacks.arrivals import callback_target
from rillflow.gateways.callbacks.seals import attempt_of_seal
from rillflow.ids import ExecutionId, workspace_of
from rillflow.runtime.stack import Stack
from serve.limits.body_pool import is_known
from serve.limits.callers import NotAllowedError, caller_of
from serve.limits.client_addresses import address_of, is_this_machine
from serve.limits.failed_lookups import FailedLookups
from serve.limits.places import WORKSPACE, HeldPlace, Places
from serve.limits.request_turns import RequestTurns, functions_of
from serve.schemas.documentation import ERRORS, Responses, text
from serve.schemas.exchange import json_response, query_of

log = logging.getLogger("rillflow.api")

AT_ONCE: Final = 16
"""Artifacts that are fetched, and that are stored, at the same time by one replica."""
AT_ONCE_OF_ONE: Final = 4
"""Of them, those of one address without a key or of one key by name, and those stored for one
execution."""
LEFT_TO_FUNCTIONS: Final = 4
"""Of them, those that readers with a key by name leave to addresses that functions were given."""
RATE_AFTER_S: Final = 10.0
"""Time that a sender may take before the lowest rate holds."""
PIECE_S: Final = 30.0
"""How long the next piece of a body may take, or its reader to read it."""
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, max-age=3600, immutable",
    "Accept-Ranges": "bytes",
}
SHOWN: Final = re.compile(
    r"(?:image/(?:png|jpeg|gif|webp)|audio/[\w.+-]+|video/[\w.+-]+|text/plain)"
)
"""Media types that a browser may show; all others it saves."""
_BYTES: Final[dict[str, Any]] = {"content": {ANY_TYPE: {"schema": {"type": "string"}}}}
FETCHED: Final[Responses] = {
    200: {"description": "The artifact, of its media type.", **_BYTES},
    206: {"description": "The range that was asked for.", **_BYTES},
    304: {"description": "The sender has it already, as `If-None-Match` says."},
    403: {"description": "The address is not sealed, or its time is over."},
    404: {"description": "There is no such artifact."},
    416: {"description": "The range has no byte."},
    429: {"description": "Too many artifacts are being fetched."},
}
STORED: Final[Responses] = {
    403: {"description": "The address is not sealed, or its time is over."},
    408: {"description": "The body did not arrive in time."},
    409: {"description": "The task does not wait for an outcome."},
    413: {"description": "The artifact is too large, or all of the execution are together."},
    429: {"description": "Too many artifacts are being stored."},
    503: {"description": "The store does not answer, or its disk is full."},
}
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class _Range:
    """The part of an artifact that is asked for, from its first byte on."""

    def __init__(self, start: int, stop: int, size: int, *, is_part: bool) -> None:
        self.start, self.stop, self.size, self.is_part = start, stop, size, is_part


def router(stack: Stack, turns: RequestTurns, lookups: FailedLookups) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/flow", tags=["run"], responses=ERRORS)
    requests = _ArtifactRequests(stack, turns, lookups)

    @routes.get("/artifacts/{sha256}", response_class=Response, responses=FETCHED)
    async def fetch_artifact(sha256: str, request: Request) -> Response:
        """Send an artifact, or a range of it.

        The address comes with the input of a function, and is valid for a time; who has the API
        key needs none.
        """
        return await requests.fetch(sha256, request)

    @routes.post(
        "/artifacts",
        responses=STORED,
        openapi_extra={
            "parameters": [
                text("execution_id", "The execution that the artifact is for.", required=True),
                text("task_name", "The task that makes it.", required=True),
                text("media_type", "The media type."),
                text("name", "A file name."),
            ],
            "requestBody": {"content": {ANY_TYPE: {"schema": {"type": "string"}}}},
        },
    )
    async def store_artifact(request: Request) -> Response:
        """Store the body as an artifact of an execution, and return the reference to it.

        The parameters are those of the callback address of the task, with its seal.
        """
        return await requests.store(request)

    return routes


class _Download(StreamingResponse):
    """The bytes of an artifact; whether or not they are read, ``ended`` is called.

    Its reader must take each piece in time, and all of them at the lowest rate.
    """

    def __init__(self, *given: Any, rate: float, ended: Callable[[], Awaitable[None]]) -> None:
        super().__init__(*given)
        self._rate = rate
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them, for as long as the slowest allowed reader takes."""
        loop = asyncio.get_running_loop()
        began_s, sent = loop.time(), 0
        try:
            async with asyncio.timeout(PIECE_S) as limit:

                async def sending(message: Message) -> None:
                    nonlocal sent
                    await send(message)
                    sent += len(message.get("body", b""))
                    slowest_s = began_s + PIECE_S + sent / self._rate
                    limit.reschedule(min(loop.time() + PIECE_S, slowest_s))

                await super().__call__(scope, receive, sending)
        except TimeoutError:
            # A response that has begun cannot be refused: the server closes the connection.
            log.warning("artifact_not_read")
        finally:
            await self._ended()


class _ArtifactRequests:
    """Fetches and stores artifacts for callers, some at once."""

    def __init__(self, stack: Stack, turns: RequestTurns, lookups: FailedLookups) -> None:
        self._stack, self._turns, self._lookups = stack, turns, lookups
        self._settings = stack.artifacts.settings
        self._asks_for_key = stack.settings.api_key is not None or stack.settings.switch(
            "ENABLE_AUTH_RESOLVER"
        )
        self._rate = stack.settings.answer_min_bytes_per_s
        self._fetching = Places(AT_ONCE, AT_ONCE_OF_ONE, "fetched")
        self._storing = Places(AT_ONCE, AT_ONCE_OF_ONE, "stored")

    async def fetch(self, sha256: str, request: Request) -> Response:
        """Open an artifact for who may read it, and send what is asked for."""
        reference = await self._readable(sha256, request)
        headers = {**HEADERS, "ETag": f'"{sha256}"', **_disposition(reference)}
        if _has(sha256, request.headers.get("if-none-match", "")):
            # Nothing is read: what has this SHA-256 is always the same.
            return Response(status_code=304, headers=headers)
        owners = _sender(request)
        leaves = LEFT_TO_FUNCTIONS if caller_of(request.scope).key_id else 0
        await self._fetching.take(owners, leaves=leaves)
        try:
            opened = partial(self._opened, reference)
            content, size = await self._stack.artifacts.move(_first(owners), opened)
        except OSError as error:
            self._fetching.free(owners)
            raise StoreError("the store of artifacts does not answer") from error
        except BaseException:
            self._fetching.free(owners)
            raise
        begun = request.headers.get("if-range", "").strip()
        is_same = not begun or begun == headers["ETag"]
        asked = _range_of(request.headers.get("range", "") if is_same else "", size)
        if asked is None:
            await self._end(content, owners)
            return Response(status_code=416, headers=headers | {"Content-Range": f"bytes */{size}"})
        headers["Content-Length"] = str(asked.stop - asked.start)
        if asked.is_part:
            headers["Content-Range"] = f"bytes {asked.start}-{asked.stop - 1}/{size}"
        return _Download(
            self._pieces(content, asked, _first(owners)),
            206 if asked.is_part else 200,
            headers,
            reference.media_type,
            rate=self._rate,
            ended=lambda: self._end(content, owners),
        )

    async def store(self, request: Request) -> Response:
        """Store the body for who may call back for the task."""
        self._refuse_large(_length_of(request))
        query = query_of(request.scope)
        execution_id, task = callback_target(query)
        now_ms = self._stack.clock.now_ms()
        sealed = None
        keys = self._settings.upload_keys
        if keys:
            sealed = attempt_of_seal(
                keys, query, execution_id=execution_id, task=task, now_s=now_ms // 1000
            )
            if not sealed:
                raise ForgedCallbackError("the address has no seal")
        sender = functions_of(execution_id, is_sealed=bool(sealed))
        await self._take_turn(sender, request)
        event = CallbackReceived(at_ms=now_ms, task=task, trigger=True, sealed_attempt=sealed)
        await self._require_waiting(execution_id, event, request)
        owners = _storing_for(execution_id, request, is_sealed=bool(sealed))
        await self._storing.take(owners)
        try:
            announced = _length_of(request)
            artifacts = self._stack.artifacts
            quota = await artifacts.key_of(execution_id, self._stack.executions_above)
            await artifacts.require_room(execution_id, announced, quota)
            workspace = workspace_of(execution_id)
            with await artifacts.move(workspace, partial(self._scratch, announced)) as draft:
                with self._storing.slow_work(owners) as work:
                    size = await self._receive(request, draft, work, workspace)
                await artifacts.require_room(execution_id, size, quota)
                # The body may have taken long, and an artifact stays as long as its execution.
                await self._require_waiting(execution_id, event, request)
                above = await self._stack.executions_above(execution_id)
                put = partial(
                    artifacts.store.put,
                    execution_key(execution_id, above),
                    draft,
                    media_type=clean_media_type(query.get("media_type")),
                    name=clean_name(query.get("name")),
                )
                reference = await artifacts.move(workspace, put)
                artifacts.stored(execution_id, size, quota)
        except OSError as error:
            raise _failed(error) from error
        finally:
            self._storing.free(owners)
        return json_response(reference.json())

    async def _readable(self, sha256: str, request: Request) -> ArtifactReference:
        """Return an artifact that the sender of a request may read.

        Raises:
            ForgedCallbackError: It has neither the key nor a valid address.
            ArtifactLostError: There is none.
        """
        query = query_of(request.scope)
        named = ArtifactReference(
            sha256 if is_sha256(sha256) else "",
            0,
            clean_media_type(query.get("media_type")),
            clean_name(query.get("name")),
        )
        now_s = self._stack.clock.now_ms() / 1000
        if is_sealed(self._settings.secrets, query, named, now_s=now_s):
            await self._take_turn(f"readers of {sha256}", request)
            return named
        if self._asks_for_key and not is_known(request.scope):
            raise ForgedCallbackError("the address of the artifact is not sealed, or its time over")
        by = await self._own_execution(sha256, query, request)
        find = partial(self._stack.artifacts.store.find, sha256, by)
        found = await self._stack.artifacts.ask(_first(_sender(request)), find)
        if found is None:
            raise ArtifactLostError("there is no such artifact")
        reference: ArtifactReference = found
        return reference

    async def _own_execution(
        self, sha256: str, query: Mapping[str, str], request: Request
    ) -> str | None:
        """Return the execution that a key which is limited to workspaces reads an artifact of.

        Raises:
            NotAllowedError: No execution of these workspaces that uses it is named.
        """
        caller = caller_of(request.scope)
        if not caller.workspaces:
            return None
        execution_id = query.get("execution_id", "")
        key, store = execution_key(execution_id), self._stack.artifacts.store
        is_own = workspace_of(execution_id) in caller.workspaces
        belongs = partial(store.belongs, sha256, key)
        if not is_own or not await self._stack.artifacts.ask(_first(_sender(request)), belongs):
            raise NotAllowedError(
                "this request must name an execution that uses the artifact",
                hint=f"the key {caller.name} is for {', '.join(sorted(caller.workspaces))}",
            )
        return key

    async def _take_turn(self, sender: str, request: Request) -> None:
        """Take a turn of who was given an address, or refuse it (503) where too many wait."""
        if not self._turns.has_turn(sender):
            await self._turns.wait(sender, request.scope)

    async def _require_waiting(
        self, execution_id: ExecutionId, event: CallbackReceived, request: Request
    ) -> None:
        """Refuse an artifact for a task whose outcome nobody waits for.

        Raises:
            RillflowError: The task does not wait, or does not exist.
        """
        try:
            is_waiting = await self._stack.awaits(execution_id, event)
        except UnknownExecutionError:
            if not event.sealed_attempt:
                self._lookups.failed(request.scope)
            raise
        if not is_waiting:
            raise RequestError(
                f"the task {event.task} does not wait for an outcome",
                http_status=409,
                hint="an artifact is stored before the outcome of its task is sent",
            )

    def _refuse_large(self, announced_bytes: int) -> None:
        """Refuse a body that is announced to be too large, before any of it is read."""
        if announced_bytes > self._settings.max_bytes:
            raise TooLargeError.of_body(self._settings.max_bytes, "artifact_max_bytes")

    def _scratch(self, announced_bytes: int) -> BinaryIO:
        store = self._stack.artifacts.store
        store.require_free(announced_bytes)
        return store.scratch()

    def _opened(self, reference: ArtifactReference) -> tuple[BinaryIO, int]:
        content = self._stack.artifacts.store.open(reference)
        size = content.seek(0, io.SEEK_END)
        return content, size

    async def _pieces(self, content: BinaryIO, asked: _Range, sender: str) -> AsyncIterator[bytes]:
        """Read a range piece by piece, each when the one before has been taken."""
        run = partial(self._stack.artifacts.move, sender)
        left = asked.stop - asked.start
        await run(partial(content.seek, asked.start))
        while left and (piece := await run(partial(content.read, min(PIECE_BYTES, left)))):
            left -= len(piece)
            yield piece

    async def _end(self, content: BinaryIO, owners: tuple[str, ...]) -> None:
        self._fetching.free(owners)
        await self._stack.artifacts.move(_first(owners), content.close)

    async def _receive(self, request: Request, draft: Any, work: HeldPlace, workspace: str) -> int:
        """Write a body to a file, piece by piece; return its size.

        Raises:
            TooLargeError: It is larger than an artifact may be.
            BodyTimeoutError: It does not come, or not fast enough.
            OverloadedError: It is slow, and others wait for a place.
        """
        size, parts, more = 0, bytearray(), True
        loop, waited_s = asyncio.get_running_loop(), 0.0
        while more:
            if work.gives_way:
                raise _gave_way()
            asked_s = loop.time()
            # What has arrived buys time for more; the time of this server's disk does not count.
            left_s = max(RATE_AFTER_S, (size + len(parts)) / self._rate) - waited_s
            try:
                async with asyncio.timeout(min(PIECE_S, left_s)) as work.waits:
                    message = await request.receive()
            except TimeoutError:
                raise (_gave_way() if work.gives_way else _late(self._rate)) from None
            finally:
                work.waits = None
            waited_s += loop.time() - asked_s
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            parts += message.get("body", b"")
            work.moved_bytes = size + len(parts)
            more = message.get("more_body", False)
            if size + len(parts) > self._settings.max_bytes:
                raise TooLargeError.of_body(self._settings.max_bytes, "artifact_max_bytes")
            if len(parts) >= PIECE_BYTES or not more:
                size += len(parts)
                write = partial(self._write, draft, parts)
                await self._stack.artifacts.move(workspace, write)
                parts = bytearray()
        await self._stack.artifacts.move(workspace, partial(draft.seek, 0))
        return size

    def _write(self, draft: BinaryIO, part: bytearray) -> None:
        self._stack.artifacts.store.require_free(len(part))
        draft.write(part)


def _has(sha256: str, header: str) -> bool:
    """Tell whether the sender of an ``If-None-Match`` has an artifact (RFC 9110, 13.1.2)."""
    return f'"{sha256}"' in [tag.strip().removeprefix("W/") for tag in header.split(",")]


def _range_of(header: str, size: int) -> _Range | None:
    """Read a range; all of it where there is none that is understood, None if it has no byte."""
    match = _RANGE.fullmatch(header.strip())
    if match is None or not (match[1] or match[2]):
        return _Range(0, size, size, is_part=False)
    if match[1]:
        start = int(match[1])
        stop = min(int(match[2]) + 1, size) if match[2] else size
    else:
        start, stop = max(0, size - int(match[2])), size
    return _Range(start, stop, size, is_part=True) if start < stop else None


def _disposition(reference: ArtifactReference) -> dict[str, str]:
    """Say whether a browser shows or saves it, with a name of plain characters."""
    name = reference.name.encode("ascii", "replace").decode().replace("?", "_")
    how = "inline" if SHOWN.fullmatch(reference.media_type) else "attachment"
    return {"Content-Disposition": f'{how}; filename="{name}"'}


def _length_of(request: Request) -> int:
    """Return how long a body is announced to be, 0 where it is not."""
    announced = request.headers.get("content-length", "")
    return int(announced[:19]) if announced.isascii() and announced.isdecimal() else 0


def _failed(error: OSError) -> StoreError:
    if error.errno == errno.ENOSPC:
        return StoreError("the disk for artifacts is full; see artifacts_min_free_bytes")
    if error.errno == errno.EDQUOT:
        return StoreError(str(error.strerror))
    return StoreError("the store of artifacts does not answer")


def _gave_way() -> OverloadedError:
    hint = "others waited for a place; store fewer at once, or send faster than 1 MiB/s"
    return OverloadedError(
        "the body arrived slowly, and too many artifacts are being stored", hint=hint
    )


def _late(rate: float) -> BodyTimeoutError:
    hint = f"artifacts must arrive at {rate:g} bytes a second, as answer_min_bytes_per_s says"
    return BodyTimeoutError("the body did not arrive in time", hint=hint)


def _storing_for(
    execution_id: ExecutionId, request: Request, *, is_sealed: bool
) -> tuple[str, ...]:
    """Return whom a place for storing counts for.

    A sealed address was given to a function, which others may share an address with, and so may all
    functions of this machine.
    """
    owners = (f"execution {execution_id}", f"{WORKSPACE}{workspace_of(execution_id)}")
    if is_sealed or (is_this_machine(request.scope) and not caller_of(request.scope).key_id):
        return owners
    return (*owners, *_sender(request))


def _sender(request: Request) -> tuple[str, ...]:
    """Return whom a place counts for: a key by name, an address, or nobody for the first key."""
    key_id = caller_of(request.scope).key_id
    if key_id:
        return (f"key {key_id}",)
    return () if is_known(request.scope) else (f"address {address_of(request.scope)}",)


def _first(owners: tuple[str, ...]) -> str:
    """Return who takes turns with others at the store; nobody is who has the first key."""
    return owners[0] if owners else ""
