"""The transport of a script on the stack's Ray cluster, without HTTP.

Used by `rillflow/__init__.py`.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, Self, TypeVar, assert_never

import ray

from rillflow.actors.directory import find_settings
from rillflow.actors.stack import ray_stack
from rillflow.client.clients import AsyncClient, Client
from rillflow.client.http_transport.wire import encode
from rillflow.client.operations import (
    AddDescriptor,
    Control,
    Finish,
    KeyRequest,
    ListedExecution,
    ListExecutions,
    Order,
    Read,
    ReadCluster,
    ReadLog,
    ReadTrace,
    ReadWaits,
    Redo,
    RedoMany,
    Request,
    Submit,
    TriggerRequest,
    WakeUp,
)
from rillflow.client.ray_transport.addresses import is_of_banner, reachable, require_listener
from rillflow.client.ray_transport.encryption import use_certificate
from rillflow.client.ray_transport.trigger_requests import manage
from rillflow.core.events import (
    CallbackReceived,
    CancelRequested,
    Event,
    PauseRequested,
    RedoRequested,
    ResumeRequested,
    WakeUpReceived,
)
from rillflow.definition import parse_callback
from rillflow.errors import (
    RequestError,
    ServerError,
    TooLargeError,
    UnknownExecutionError,
    UnreachableError,
)
from rillflow.gateways.callbacks.arrivals import read_callback
from rillflow.ids import is_execution_id
from rillflow.jsontypes import JsonObject, decode_json, encode_json
from rillflow.local_keys import read_stack_note
from rillflow.ports.storage.store import ExecutionFilter
from rillflow.ports.task_logs import LogText
from rillflow.private_apis.ray_core import joining
from rillflow.runtime.batch_redo import Batch
from rillflow.runtime.stack import Stack
from rillflow.runtime.submission.intake import checked_key
from rillflow.runtime.supervision.cluster_view import cluster_view
from rillflow.settings import Settings

T = TypeVar("T")

NAMESPACE: Final = "rillflow"
JSON: Final = {"content-type": "application/json"}
HOW_TO_JOIN: Final = (
    "scripts join with the token of who runs the stack: name that user's ~/.ray/auth_token in"
    " RAY_AUTH_TOKEN_PATH, copy it to ~/.ray/auth_token here, or put its text into RAY_AUTH_TOKEN"
)
MOST_WAITS: Final = "100"
"""As many as a page has over HTTP."""
ORDERS: Final[dict[Order, type[CancelRequested | PauseRequested | ResumeRequested]]] = {
    "cancel": CancelRequested,
    "pause": PauseRequested,
    "resume": ResumeRequested,
}


def connect(namespace: str = NAMESPACE, *, address: str | None = "auto") -> Client:
    """Return a client of the stack that runs on this Ray cluster.

    A script that is on Ray already stays there; any other one joins the cluster.

    Args:
        namespace: Ray namespace of the stack's actors.
        address: The cluster's address; ``auto``, or None, is what ``RAY_ADDRESS`` says, else
            the one of the stack that ``rillflow up`` runs on the data folder here, else any
            one of this machine.

    Raises:
        UnreachableError: Nothing listens there, it is no such cluster, or it asks for a token
            that is not here.
        UnavailableError: No stack runs on it.
    """
    _join(address, namespace)
    return Client(transport=LoopTransport.open(namespace))


async def connect_async(namespace: str = NAMESPACE, *, address: str | None = "auto") -> AsyncClient:
    """Return a client for asyncio of the stack that runs on this Ray cluster; see ``connect``."""
    _join(address, namespace)
    return AsyncClient(transport=await StackTransport.open(namespace))


def _join(address: str | None, namespace: str) -> None:
    if ray.is_initialized():
        return
    address, is_own = address or "auto", False
    if address == "auto" and "RAY_ADDRESS" not in os.environ:
        address = address_here()
        is_own = address != "auto"
    else:
        given = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
        is_own = is_of_banner(given)
    address = _found(address)
    require_listener(address)
    has_token = joining.has_token()
    if is_own and not has_token and os.environ.get("RAY_AUTH_MODE", "token") == "token":
        # Ray itself would try in vain for 20 s, with a line on the terminal each second.
        reason = f"Ray at {address} asks for a token, and this script has none"
        raise UnreachableError(reason).with_hint(HOW_TO_JOIN)
    joining.use_token()
    use_certificate(address)
    try:
        ray.init(
            address=address,
            namespace=namespace,
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
        raise _refused(address, has_token=has_token, error=error) from error


def _refused(address: str, *, has_token: bool, error: Exception) -> UnreachableError:
    reason = str(error).strip()
    if address == "auto":
        return UnreachableError(f"no Ray cluster was found: {reason}")
    token = "the token of this script may be wrong" if has_token else "this script has no token"
    refused = UnreachableError(f"Ray at {address} cannot be joined, and {token}: {reason}")
    refused.with_hint(HOW_TO_JOIN)
    return refused


def _found(address: str) -> str:
    """Return the address that Ray would find, as far as it finds one, so that it is reached."""
    if address == "auto":
        try:
            address = joining.address_from_environment(address)
        except ConnectionError:
            return address  # Ray says what is missing.
    return reachable(address)


def address_here() -> str:
    """Return the address of Ray below the stack that runs on the data folder of the settings.

    Without one it is ``auto``: several clusters may run on a machine, and Ray takes any.
    """
    try:
        note = read_stack_note(Settings().data_dir)
    except ValueError:
        return "auto"
    if not is_running(note.get("pid")):
        return "auto"
    return str(note.get("ray_address") or "auto")


def _stream(found: LogText) -> JsonObject:
    return {"name": found.stream, "text": found.text, "is_cut": found.is_cut}


def is_running(pid: object, user: int | None = None) -> bool:
    """Tell whether there is a process of this number, and of this user (None: who asks).

    Another user may have got the number of a stack that was killed, and its port.
    """
    if not isinstance(pid, int):
        return False
    try:
        return Path(f"/proc/{pid}").stat().st_uid == (os.geteuid() if user is None else user)
    except OSError:
        return False


class StackTransport:
    """Performs operations on the actors of the stack."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    @classmethod
    async def open(cls, namespace: str) -> Self:
        """Find the stack and join it.

        Raises:
            UnavailableError: No stack runs in this namespace.
        """
        stack = ray_stack(await find_settings(namespace))
        await stack.open()
        return cls(stack)

    async def close(self) -> None:
        """Close the connection to the store; the script stays on Ray."""
        await self._stack.close()

    async def perform(self, request: Request) -> Any:
        """Perform one operation.

        Raises:
            RillflowError: The stack refused.
        """
        match request:
            case AddDescriptor() | Submit():
                return await self._take(request)
            case Read():
                return await self._read_in_time(request)
            case WakeUp() | Finish() | Redo() | Control():
                event = self._event(request)
                return (await self._stack.deliver(request.execution_id, event)).changed
            case ListExecutions() | ReadCluster() | ReadLog() | ReadTrace() | ReadWaits():
                return await self._look(request)
            case RedoMany():
                return await self._redo_many(request)
            case KeyRequest():
                raise RequestError("API keys are for callers over HTTP, and are made over HTTP")
            case TriggerRequest():
                return await manage(self._stack.triggers, request, callback_config)
        assert_never(request)

    async def _take(self, request: AddDescriptor | Submit) -> str:
        if isinstance(request, Submit):
            return await self._submit(request)
        added = await self._stack.add_descriptor(
            request.business, request.feature, request.alias, request.text
        )
        return str(added)

    async def _submit(self, request: Submit) -> str:
        return await self._stack.submit(
            request.descriptor_id,
            self._limited(request.data, self._stack.settings.submit_max_bytes),
            callback=callback_config(request.callback),
            isolation=request.isolation,
            idempotency_key=checked_key(request.idempotency_key),
        )

    async def _look(
        self, request: ListExecutions | ReadCluster | ReadLog | ReadTrace | ReadWaits
    ) -> Any:
        if isinstance(request, ReadTrace | ReadWaits):
            return await self._inspect(request)
        if isinstance(request, ReadLog):
            found = await self._stack.task_log(request.execution_id, request.task)
            return None if found is None else [_stream(each) for each in found]
        if isinstance(request, ReadCluster):
            if request.whole:
                raise RequestError("the state of the whole stack is shown over HTTP only")
            return cluster_view(await self._stack.cluster.state(request.executions))
        return await self._list(request)

    async def _inspect(self, request: ReadTrace | ReadWaits) -> Any:
        kind, asked = "trace", dict[str, str]()
        if isinstance(request, ReadWaits):
            kind, asked = "waits", {"task": request.task, "offset": "0", "limit": MOST_WAITS}
        body = await self._stack.inspect(request.execution_id, kind, **asked)
        if body is None:
            raise UnknownExecutionError(f"there is no execution {request.execution_id}")
        return decode_json(body)

    async def _list(self, request: ListExecutions) -> list[ListedExecution]:
        wanted = ExecutionFilter(
            business=request.business,
            feature=request.feature,
            statuses=(request.status,) if request.status else None,
            code=request.code,
            from_ms=request.from_ms,
            to_ms=request.to_ms,
            keys=request.context,
        )
        skipped = (request.page - 1) * request.page_size
        found = await self._stack.store.list_executions(
            wanted, limit=request.page_size, offset=skipped
        )
        return [
            ListedExecution(
                id=one.execution_id,
                status=one.status.upper(),
                submitted_at_ms=one.submitted_at_ms,
                business=one.business,
                feature=one.feature,
            )
            for one in found
        ]

    async def _redo_many(self, request: RedoMany) -> None:
        batch = Batch(
            business=request.business,
            feature=request.feature,
            status=request.status,
            code=request.code,
            tasks=request.tasks,
            limit=request.limit,
            per_second=request.per_second,
            failed_only=not request.whole,
        )
        await batch.redo(self._stack, await batch.find(self._stack))

    async def _read_in_time(self, request: Read) -> JsonObject | None:
        try:
            async with asyncio.timeout(request.within_s):
                return await self._read(request)
        except TimeoutError as error:
            raise UnreachableError(f"no answer from {NAMESPACE} on Ray in time") from error

    async def _read(self, request: Read) -> JsonObject | None:
        if not is_execution_id(request.execution_id):
            return None
        if request.wait_s > 0:
            await self._stack.wait(request.execution_id, request.wait_s)
        body = await self._stack.query(
            request.execution_id, request.part, parent=request.parent, index=request.index
        )
        if body is None:
            return None
        found = decode_json(body)
        return found if isinstance(found, dict) else None

    def _event(self, request: WakeUp | Finish | Redo | Control) -> Event:
        at_ms = self._stack.clock.now_ms()
        limit = self._stack.settings.callback_max_bytes
        match request:
            case WakeUp():
                data = self._limited(request.data, limit)
                return WakeUpReceived(at_ms=at_ms, task=request.task, data=data)
            case Finish():
                return _outcome(request, at_ms, limit)
            case Redo():
                data = self._limited(request.data, limit)
                return RedoRequested(
                    at_ms=at_ms,
                    tasks=request.tasks,
                    data=data,
                    failed_only=not request.whole,
                    exact=True,
                )
            case Control():
                return ORDERS[request.order](at_ms=at_ms)
        assert_never(request)

    def _limited(self, data: JsonObject, limit_bytes: int) -> bytes:
        body = encode(data)
        if len(body) > limit_bytes:
            raise TooLargeError(f"the data is larger than {limit_bytes} bytes")
        return body


def _outcome(request: Finish, at_ms: int, limit_bytes: int) -> CallbackReceived:
    """Read an outcome just as ``trigger.json`` would."""
    callback = read_callback(
        query={
            "execution_id": request.execution_id,
            "task_name": request.task,
            "status": "failed" if request.failed else "success",
        },
        headers=JSON,
        body=encode(request.output),
        max_body_bytes=limit_bytes,
    )
    return CallbackReceived(
        at_ms=at_ms,
        task=callback.task_name,
        succeeded=callback.succeeded,
        output=callback.output,
        msg=callback.message,
        code=callback.code,
        trigger=True,
    )


def callback_config(callback: str | JsonObject | None) -> bytes | None:
    """Return a completion callback, a URL or a CallbackConfig, as the stack keeps it.

    Raises:
        RequestError: It is neither.
    """
    if callback is None:
        return None
    if isinstance(callback, str):
        callback = {"resourceName": callback}
    try:
        config = parse_callback(callback)
    except ValueError as error:
        raise RequestError(f"callback is not a callback config: {callback}") from error
    return encode_json(config.model_dump(by_alias=True, exclude_none=True))


class LoopTransport:
    """Performs operations on the stack from threads that run no event loop of their own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rillflow", daemon=True)
        self._thread.start()
        self._stack: StackTransport | None = None

    @classmethod
    def open(cls, namespace: str) -> Self:
        """Find the stack and join it.

        Raises:
            UnavailableError: No stack runs in this namespace.
        """
        transport = cls()
        try:
            transport._stack = transport._hold(StackTransport.open(namespace))
        except BaseException:
            transport.close()
            raise
        return transport

    def perform(self, request: Request) -> Any:
        """Perform one operation.

        Raises:
            RillflowError: The stack refused.
        """
        if self._stack is None:
            raise ServerError("this client is closed")
        return self._hold(self._stack.perform(request))

    def close(self) -> None:
        """Close the connection to the store and end the thread."""
        stack, self._stack = self._stack, None
        if stack is not None:
            self._hold(stack.close())
            self._hold(_cancel_others())
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _hold(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


async def _cancel_others() -> None:
    """End what goes on in the background, such as waiting for news of executions."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
