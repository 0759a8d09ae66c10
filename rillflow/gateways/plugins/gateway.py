"""The protocol of plugins that are gateways, and the gateway that runs one (spec 4.7).

A plugin is an object with a ``name`` (the ``resourceProtocol`` or scheme that it serves) and a
method ``handle(resource, dispatch_info)`` that returns the text of an answer, as an HTTP body would
be. It is found through the entry-point group ``rillflow.dispatchers`` or named in the settings as
``module[:attribute]``.

Used by `gateways/plugins/loading.py` and `gateways/registry.py`.
"""

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol, runtime_checkable

import msgspec

from rillflow.errors import GatewayError
from rillflow.gateways.http.requests import call_timeout_s, dispatch_headers, ran_out, read_input
from rillflow.gateways.limits.concurrency import Caller, FairSlots, caller_of
from rillflow.gateways.outbound.settings import HttpSettings
from rillflow.gateways.outbound.targets import effective_protocol
from rillflow.gateways.outbound.threads import in_turn
from rillflow.jsontypes import JsonObject, encode_json
from rillflow.ports.clock import Clock
from rillflow.ports.gateway import HANDLE_FAILS, DispatchAnswer, DispatchRequest, failed
from rillflow.task_set import TaskSet

MOST_THREADS: Final = 64
"""How many calls of one plugin may run in threads; threads that hang count."""


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """The resource of a task: ``echo://greeting`` has protocol ``echo`` and value ``greeting``."""

    resource_name: str
    scheme_protocol: str
    scheme_value: str


class DispatchInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The attempt to make.

    ``input`` is the mapped input; ``headers`` are those an HTTP function would get,
    among them ``X-Callback-Url``, ``Idempotency-Key`` and, for asynchronous tasks,
    ``X-Mode``.
    """

    execution_id: str
    task_name: str
    attempt: int
    pattern: str
    input: JsonObject
    headers: Mapping[str, str]


@runtime_checkable
class GatewayPlugin(Protocol):
    """The protocol of a plugin.

    ``icon`` (base64), ``schema`` and ``resource_category`` are optional attributes. ``handle`` may
    be a coroutine function or a plain function; plain ones run in a thread. It returns text (bytes
    and JSON values are accepted too) or None, and raises to fail the attempt with the exception's
    message.
    """

    name: str

    def handle(self, resource: Resource, dispatch_info: DispatchInfo) -> object:
        """Make the attempt and return the text of its answer."""
        ...


class PluginGateway:
    """Runs one plugin behind the Gateway port; a call that hangs is abandoned."""

    def __init__(self, plugin: GatewayPlugin, settings: HttpSettings, clock: Clock) -> None:
        self._plugin = plugin
        self._settings = settings
        self._clock = clock
        self._threads = _Threads(MOST_THREADS)
        self._running = TaskSet[object]()

    @property
    def plugin(self) -> GatewayPlugin:
        """The plugin itself, for its icon and schema."""
        return self._plugin

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        """Have the plugin make one attempt, within the call's time-out."""
        try:
            body = _body(await self._within_time(request))
        except GatewayError as error:
            return failed(request, str(error))
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            return failed(request, f"{HANDLE_FAILS}{str(error) or type(error).__name__}")
        return DispatchAnswer(
            execution_id=request.execution_id,
            task=request.task,
            attempt=request.attempt,
            body=body,
        )

    async def close(self) -> None:
        """Cancel the calls under way; their attempts end with an error."""
        self._running.cancel()

    async def _within_time(self, request: DispatchRequest) -> object:
        timeout_s = call_timeout_s(request, self._settings)
        task = self._running.start(self._handle(request))
        task.add_done_callback(_look_at)
        try:
            # Not wait_for: a plugin that ignores its cancellation would block this call too.
            await asyncio.wait({task}, timeout=timeout_s)
        finally:
            task.cancel()
        if not task.done():
            text = f"{HANDLE_FAILS}no answer within {timeout_s:g} s"
            raise GatewayError(ran_out(request, timeout_s, text))
        if task.cancelled():
            raise GatewayError(f"{HANDLE_FAILS}the call was cancelled")
        return task.result()

    async def _handle(self, request: DispatchRequest) -> object:
        fields = await in_turn(
            request.execution_id, len(request.input), lambda: read_input(request)
        )
        now_ms = request.at_ms or self._clock.now_ms()
        headers = dispatch_headers(request, self._settings, fields, now_ms=now_ms)
        info = DispatchInfo(
            execution_id=request.execution_id,
            task_name=request.task,
            attempt=request.attempt,
            pattern=request.pattern,
            input=fields,
            headers=dict(headers.values()),
        )
        try:
            return await self._answer(_resource(request), info, caller_of(request))
        except SystemExit as error:
            raise GatewayError(f"{HANDLE_FAILS}the plugin tried to end the process") from error

    async def _answer(self, resource: Resource, info: DispatchInfo, caller: Caller) -> object:
        handle = self._plugin.handle
        if inspect.iscoroutinefunction(handle):
            return await handle(resource, info)
        answer = await self._threads.run(caller, lambda: handle(resource, info))
        return await answer if isinstance(answer, Awaitable) else answer


def _look_at(task: asyncio.Task[object]) -> None:
    """Take note of how a call ended that ran out of time, so that it is not reported as lost."""
    if not task.cancelled():
        task.exception()


def _resource(request: DispatchRequest) -> Resource:
    _, separator, value = request.resource_name.partition("://")
    return Resource(
        resource_name=request.resource_name,
        scheme_protocol=effective_protocol(request.resource_name, request.resource_protocol),
        scheme_value=value if separator else request.resource_name,
    )


def _body(answer: object) -> bytes | None:
    if answer is None:
        return None
    if isinstance(answer, str):
        return answer.encode(errors="replace") or None
    return (answer if isinstance(answer, bytes) else encode_json(answer)) or None


class _Threads:
    """Runs functions in threads of their own, which may run longer than their callers wait.

    A shared pool would keep the process from ending while a function hangs. Workspaces share them
    as they share the calls to a host.
    """

    def __init__(self, most: int) -> None:
        self._slots = FairSlots(most)

    async def run(self, caller: Caller, work: Callable[[], object]) -> object:
        """Wait for a free thread, then for the function, and return or raise as it does."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[tuple[BaseException | None, object]] = loop.create_future()

        def settle(error: BaseException | None, answer: object) -> None:
            self._slots.release(caller)
            if not outcome.done():
                outcome.set_result((error, answer))

        def run() -> None:
            error, answer = None, None
            try:
                answer = work()
            except BaseException as raised:  # noqa: BLE001 - handed to the waiting call
                error = raised
            with contextlib.suppress(RuntimeError):  # the event loop has ended meanwhile
                loop.call_soon_threadsafe(settle, error, answer)

        if not self._slots.enter(caller):
            await self._slots.wait(caller)
        threading.Thread(target=run, daemon=True, name="rillflow-plugin").start()
        error, answer = await outcome
        if error is not None:
            raise error
        return answer
