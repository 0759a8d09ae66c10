"""The application: functions by their names, as an ASGI application (spec 4.5).

Used by `functions/serving.py`.
"""

import asyncio
import hashlib
import inspect
import json
import logging
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

from rillflow.artifacts.artifact import artifacts_from
from rillflow.artifacts.references import MARK_BYTES, replaced
from rillflow.function_calls.arguments import TypedFunction
from rillflow.function_calls.failures import FunctionInputError
from rillflow.functions.artifacts import ServerArtifacts
from rillflow.functions.call_logs import CallLog, keep_call_logs
from rillflow.functions.callback_rules import CallbackRules
from rillflow.functions.calls import Call, Calls
from rillflow.functions.deliveries import Address
from rillflow.functions.inputs import read_input
from rillflow.functions.limits import CallRefusedError, Limits
from rillflow.functions.requests import (
    Head,
    Receive,
    Scope,
    Send,
    read_body,
    read_head,
    refuse_method,
)
from rillflow.functions.running import Invocation
from rillflow.jsontypes import JsonObject, decode_json, encode_json
from rillflow.suggestions import did_you_mean

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])
Result = TypeVar("Result")

EXECUTION: Final = "execution_id"
_HEALTH: Final = frozenset({"/healthz", "/_/health"})
_EMPTY: Final = b"{}"
_SMALL_BYTES: Final = 65_536
"""A body of no more is read in the event loop."""

logger = logging.getLogger("rillflow.functions")


class Functions:
    """Python functions as HTTP functions.

    A call of ``/NAME`` or ``/function/NAME`` is answered with the result. With ``X-Mode: async``,
    or at ``/async-function/NAME``, it is accepted, and the result is posted to
    ``X-Callback-Url`` until it is taken. ``/healthz`` tells whether calls are taken.

    Attributes:
        limits: What callers may use.
        calls_given_up: Calls that had not ended when the time for them was over.

    Args:
        limits: What callers may use.
        callback_hosts: Hosts of the servers to which results may be posted: ``host``,
            ``host:port`` or ``*.suffix``. Without any, only callers on this machine may have
            results posted, and only to this machine.
        auth_secret: The setting ``auth_secret`` of the server. If it is not empty, each call must
            have a signed callback address.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        callback_hosts: Collection[str] = (),
        auth_secret: str = "",
    ) -> None:
        self.limits = limits or Limits()
        self._functions: dict[str, Callable[..., Any]] = {}
        self._typed: dict[str, TypedFunction] = {}
        self._callback_hosts = tuple(callback_hosts)
        self._auth_secret = auth_secret
        self._rules = CallbackRules(callback_hosts, auth_secret)
        self._calls = Calls(self.limits)
        self._large_reading = asyncio.Semaphore(1)
        self._is_draining = False
        self.calls_given_up = 0
        keep_call_logs()

    @property
    def names(self) -> list[str]:
        """The names of the functions."""
        return sorted(self._functions)

    def function(self, function: AnyFunction) -> AnyFunction:
        """Serve a function under its name; the function itself stays as it is.

        Raises:
            TypeError: It is no function.
            ValueError: There is one of this name already.
        """
        if not inspect.isfunction(function):
            raise TypeError(f"{function!r} is no function")
        name = function.__name__
        if name in self._functions:
            raise ValueError(f"there is a function {name} already")
        self._functions[name] = function
        return function

    def trust(self, *, callback_hosts: Collection[str] = (), auth_secret: str = "") -> None:
        """Replace the hosts, or the secret, where one is given."""
        self._callback_hosts = tuple(callback_hosts) or self._callback_hosts
        self._auth_secret = auth_secret or self._auth_secret
        self._rules = CallbackRules(self._callback_hosts, self._auth_secret)

    def prepare(self) -> None:
        """Read the type hints of all functions.

        Raises:
            Exception: They are invalid.
        """
        for name in self._functions:
            self._typed_function(name)

    async def drain(self) -> int:
        """Take no more calls, and wait for those under way; return how many are given up."""
        self._is_draining = True
        left = await self._calls.drain(self.limits.drain_s)
        self.calls_given_up += left
        if left:
            logger.error("calls_given_up", extra={"calls": left})
        return left

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI says."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1003})
        else:
            status, body, headers = await self._answer(scope, receive)
            await _send(send, status, body, headers)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            self.prepare()
        except Exception as error:  # noqa: BLE001 - hints of functions may be anything
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.drain()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, bytes, Mapping[str, str]]:
        try:
            if str(scope["path"]).removeprefix(str(scope.get("root_path", ""))) in _HEALTH:
                self._refuse_draining()
                return 200, b'{"status":"ok"}', {}
            head = read_head(scope)
            self._refuse_draining()
            name = self._name_of(head)
            refuse_method(head)
            self._rules.check(head, time.time())  # noqa: TID251 - the kit has no clock port
            return await self._called(name, head, receive)
        except CallRefusedError as refusal:
            return refusal.status, encode_json(refusal.content()), refusal.headers
        except Exception:
            logger.exception("call_failed")
            return 500, b'{"result_type":"FAILED","error_msg":"see the log"}', {}

    async def _called(
        self, name: str, head: Head, receive: Receive
    ) -> tuple[int, bytes, Mapping[str, str]]:
        body = await read_body(head, receive, self.limits, self._calls.room)
        held_bytes = len(body)
        try:
            typed = self._typed_function(name)
            read = await self._read(body, partial(read_input, head, body, typed.takes))
            self._calls.room.take(read.made_bytes, own_bytes=held_bytes)
            held_bytes += read.made_bytes
            invocation = await self._invocation(typed, head, read.fields, len(body))
            digest = await self._read(body, partial(_digest, head, body))
            call = Call(invocation, head.key, digest, held_bytes)
            call_id = head.headers.get("x-call-id", "")
            if head.is_async:
                self._calls.accept(call, Address(head.callback_url, name, call_id))
            else:
                begun = self._calls.begin(call)
        except BaseException:
            self._calls.room.give_back(held_bytes)
            raise
        if not head.is_async:
            del body, read
            return 200, (await begun).body, {}
        return 202, _EMPTY, {} if call_id else {"X-Call-Id": str(uuid.uuid4())}

    async def _read(self, body: bytes, work: Callable[[], Result]) -> Result:
        """Return what is read of a body: of a large one in a thread, of one after the other."""
        if len(body) <= _SMALL_BYTES:
            return work()
        async with self._large_reading:
            return await asyncio.to_thread(work)

    async def _invocation(
        self, typed: TypedFunction, head: Head, fields: JsonObject, body_bytes: int
    ) -> Invocation:
        """Check an input.

        Raises:
            CallRefusedError: It does not fit the function.
        """
        if EXECUTION not in typed.signature.parameters:
            fields.pop(EXECUTION, None)
        artifacts = self._artifacts_of(head)
        try:
            with artifacts_from(artifacts):
                if body_bytes <= _SMALL_BYTES:
                    arguments, named = typed.arguments(fields)
                else:
                    arguments, named = await asyncio.to_thread(typed.arguments, fields)
        except FunctionInputError as error:
            raise _bad_input(error) from None
        if head.is_async:
            report, log = self._calls.deliveries.reporter(head.callback_url)
        else:
            report, log = _nowhere, CallLog(lambda: None)
        name = typed.function.__name__
        return Invocation(name, typed.function, arguments, named, report, artifacts, log)

    def _artifacts_of(self, head: Head) -> ServerArtifacts:
        check = partial(self._rules.check_host, is_from_here=head.is_from_here)
        return ServerArtifacts(head.callback_url, check, self.limits.artifact_bytes)

    def _name_of(self, head: Head) -> str:
        """Return the name of the function that is called; the only one may be called at ``/``.

        Raises:
            CallRefusedError: There is none of this name.
        """
        if not head.function and len(self._functions) == 1:
            return self.names[0]
        name = head.function.partition(".")[0]  # a gateway may add a namespace
        if name in self._functions:
            return name
        near = did_you_mean(name, self._functions) if name else ""
        shown = json.dumps(head.function[:64])
        said = f"there is no function {shown}"
        raise CallRefusedError(404, f"{said}; {near}" if near else said)

    def _typed_function(self, name: str) -> TypedFunction:
        typed = self._typed.get(name)
        if typed is None:
            typed = self._typed[name] = TypedFunction(self._functions[name])
        return typed

    def _refuse_draining(self) -> None:
        if self._is_draining:
            raise CallRefusedError(503, "the server is ending", headers={"Retry-After": "1"})


def _bad_input(error: FunctionInputError) -> CallRefusedError:
    return CallRefusedError(422, str(error), fields=error.fields, kind="FunctionInputError")


def _nowhere(_fraction: float | None, _message: str) -> None:
    """Drop the progress of a call whose caller waits for the answer."""


def _digest(head: Head, body: bytes) -> bytes:
    """Return what tells one input from another; addresses of artifacts expire, and do not."""
    if MARK_BYTES in body:
        with suppress(ValueError):  # a form has no references
            body = encode_json(replaced(decode_json(body), lambda reference: reference.json()))
    parameters = encode_json(sorted(head.query.items()))
    return hashlib.sha256(b"%d:%b%b" % (len(parameters), parameters, body)).digest()


async def _send(send: Send, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    every = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "X-Content-Type-Options": "nosniff",
        **headers,
    }
    pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in every.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
