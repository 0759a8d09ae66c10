"""Clients of a stack, sync and async; over HTTP unless they are given another way.

Used by `cli`, `client/ray_transport/driver.py` and `rillflow/__init__.py`.
"""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from rillflow.client.definitions import DefinitionSource, definition_text, names_in
from rillflow.client.exchanges import (
    AsyncTransport,
    Exchange,
    Transport,
    ask,
    run,
    run_async,
)
from rillflow.client.executions import AsyncExecution, Execution
from rillflow.client.http_transport.transport import AsyncHttpTransport, HttpTransport
from rillflow.client.listing import executions
from rillflow.client.operations import (
    AddDescriptor,
    Isolation,
    KeyAction,
    KeyRequest,
    ListedExecution,
    ListExecutions,
    ReadCluster,
    RedoMany,
    RedoneStatus,
    Submit,
    named_tasks,
)
from rillflow.client.patience import PATIENCE_S, OnSilence, Patience
from rillflow.client.triggers import AsyncTriggers, Triggers
from rillflow.errors import RequestError
from rillflow.ids import ExecutionId, parse_descriptor_id
from rillflow.jsontypes import JsonObject

DEFAULT_URL: Final = "http://127.0.0.1:8080"
DEFAULT_TIMEOUT_S: Final = 30.0
DEFAULT_ALIAS: Final = "release"
LISTED: Final = 20
REDONE: Final = 100
REDONE_PER_SECOND: Final = 30


class Client:
    """A client of one stack.

    Threads may share it. As a context manager it closes itself.

    Args:
        url: Where the stack's HTTP API is.
        timeout_s: How long one request may take; what waits on purpose comes on top.
        transport: Another way to the stack than HTTP.
        api_key: The stack's key; None is what ``RILLFLOW_API_KEY`` holds, or else the one that
            ``rillflow up --key`` has made, if it runs here; a blank one is none.

    Raises:
        UnreachableError: The URL is none.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        transport: Transport | None = None,
        api_key: str | None = None,
    ) -> None:
        self._transport: Transport = transport or HttpTransport(url, timeout_s, api_key)
        self.triggers = Triggers(self._transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def add(
        self,
        text_or_path: DefinitionSource,
        *,
        business: str | None = None,
        feature: str | None = None,
        alias: str = DEFAULT_ALIAS,
    ) -> str:
        """Store a definition as the newest version of an alias and return its descriptor id.

        Args:
            text_or_path: YAML or JSON; a ``Path``, or a ``str`` of one line, names a file. A flow
                of ``rillflow.flow`` is traced.
            business: ``workspace`` of the definition when None.
            feature: ``dagName`` of the definition when None.
            alias: Which alias to move to this version.

        Raises:
            DefinitionError: The definition is refused.
            OSError: The file cannot be read.
        """
        request = _addition(text_or_path, business, feature, alias)
        return str(run(self._transport, ask(request)))

    def submit(  # noqa: PLR0913 - the parameters of the endpoint
        self,
        descriptor_id: str,
        data: JsonObject | None = None,
        *,
        callback: str | JsonObject | None = None,
        isolation: Isolation | None = None,
        idempotency_key: str | None = None,
        patience_s: float = PATIENCE_S,
        on_silence: OnSilence | None = None,
    ) -> Execution:
        """Start an execution; when this returns, it is on disk.

        Args:
            descriptor_id: ``business:feature[:alias | :md5_<hex32>]``.
            data: The context that it starts with.
            callback: Where its end is reported to: a URL or a CallbackConfig.
            isolation: ``dedicated`` gives it a Ray actor of its own.
            idempotency_key: Submissions of a feature with one key and equal data are one.
                So one with a key is sent again when the stack does not answer. A blank
                key is none.
            patience_s: For how many seconds; 0 sends it once. Without a key it is not read.
            on_silence: Is called with the error and these seconds when that begins.

        Raises:
            UnknownDescriptorError: No definition is stored under this id.
            RequestError: The request is malformed, or its key belongs to other data.
        """
        request = Submit(
            descriptor_id=descriptor_id,
            data=data or {},
            callback=callback,
            isolation=isolation,
            idempotency_key=idempotency_key,
        )
        execution_id = run(self._transport, _submission(request, patience_s, on_silence))
        return Execution(execution_id, self._transport, acknowledged=True)

    def executions(  # noqa: PLR0913 - the parameters of the endpoint
        self,
        *,
        business: str | None = None,
        feature: str | None = None,
        status: str | None = None,
        code: str | None = None,
        from_ms: int | None = None,
        to_ms: int | None = None,
        context: Mapping[str, str] | None = None,
        limit: int = LISTED,
    ) -> list[ListedExecution]:
        """List executions, sub-flows included, newest first; None and blank mean any.

        Args:
            business: Only those of this business (``workspace``).
            feature: Only those of this feature (``dagName``).
            status: Only those that are ``not_started``, ``running``, ``key_succeed``,
                ``succeed`` or ``failed``.
            code: Only those that failed with this code.
            from_ms: Only those submitted then or later, in milliseconds since the epoch.
            to_ms: Only those submitted then or earlier.
            context: Only those with these values of search keys (``searchKeys``), by name.
            limit: How many at most.

        Raises:
            RequestError: There is no such status or time, or the limit is below 1.
        """
        wanted = ListExecutions(
            business=business,
            feature=feature,
            status=status,
            code=code,
            from_ms=from_ms,
            to_ms=to_ms,
            context=tuple((context or {}).items()),
        )
        return run(self._transport, executions(wanted, limit))

    def redo_many(  # noqa: PLR0913 - the parameters of the endpoint
        self,
        service: str,
        *,
        status: RedoneStatus = "failed",
        code: str | None = None,
        tasks: Sequence[str] | None = None,
        limit: int = REDONE,
        per_second: int = REDONE_PER_SECOND,
        whole: bool = False,
    ) -> None:
        """Do the newest executions of a service again, one after the other.

        Over HTTP this returns at once, and the server goes on in the background; on Ray it
        returns when all are done. Executions that refuse are passed over.

        Args:
            service: ``business:feature``.
            status: Those that have ``failed``, or that are ``running``.
            code: Only those that failed with this code; None and blank mean any.
            tasks: Which tasks; None means all that failed. An execution that has not
                started any of them is left as it is.
            limit: How many executions at most, up to 30,000.
            per_second: How many in a second at most, up to 50.
            whole: Run all that is unfinished again, as ``Execution.redo`` does.

        Raises:
            RequestError: One of these is not possible.
        """
        request = _many(
            service, status, code, tasks, limit=limit, per_second=per_second, whole=whole
        )
        run(self._transport, ask(request))

    def cluster(self, executions: Sequence[ExecutionId] = ()) -> JsonObject:
        """Return the actors of the stack beside what is wanted, as ``cluster.json`` shows them.

        Args:
            executions: Up to 100, of which ``holders`` tells which actor holds them, and where.

        Raises:
            RillflowError: The stack refused, or did not answer.
        """
        found: JsonObject = run(self._transport, ask(ReadCluster(executions=tuple(executions))))
        return found

    def operations(self) -> JsonObject:
        """Return the state of the whole stack, as ``operations.json`` of the console shows it.

        Raises:
            RillflowError: The stack refused, or did not answer.
        """
        found: JsonObject = run(self._transport, ask(ReadCluster(whole=True)))
        return found

    def manage_keys(self, action: KeyAction, **query: str) -> JsonObject:
        """Make, list or revoke API keys, or read the audit, as the routes of keys do.

        Raises:
            RillflowError: The stack refused, or did not answer.
        """
        request = KeyRequest(action=action, query=tuple(query.items()))
        found: JsonObject = run(self._transport, ask(request))
        return found

    def execution(self, execution_id: ExecutionId) -> Execution:
        """Return the execution of an id; whether it exists shows when it is asked."""
        return Execution(execution_id, self._transport)


class AsyncClient:
    """A client of one stack, for asyncio; see ``Client``."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        transport: AsyncTransport | None = None,
        api_key: str | None = None,
    ) -> None:
        self._transport: AsyncTransport = transport or AsyncHttpTransport(url, timeout_s, api_key)
        self.triggers = AsyncTriggers(self._transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def add(
        self,
        text_or_path: DefinitionSource,
        *,
        business: str | None = None,
        feature: str | None = None,
        alias: str = DEFAULT_ALIAS,
    ) -> str:
        """Store a definition; see ``Client.add``."""
        request = _addition(text_or_path, business, feature, alias)
        return str(await run_async(self._transport, ask(request)))

    async def submit(  # noqa: PLR0913 - the parameters of the endpoint
        self,
        descriptor_id: str,
        data: JsonObject | None = None,
        *,
        callback: str | JsonObject | None = None,
        isolation: Isolation | None = None,
        idempotency_key: str | None = None,
        patience_s: float = PATIENCE_S,
        on_silence: OnSilence | None = None,
    ) -> AsyncExecution:
        """Start an execution; see ``Client.submit``."""
        request = Submit(
            descriptor_id=descriptor_id,
            data=data or {},
            callback=callback,
            isolation=isolation,
            idempotency_key=idempotency_key,
        )
        sending = _submission(request, patience_s, on_silence)
        execution_id = await run_async(self._transport, sending)
        return AsyncExecution(execution_id, self._transport, acknowledged=True)

    async def executions(  # noqa: PLR0913 - the parameters of the endpoint
        self,
        *,
        business: str | None = None,
        feature: str | None = None,
        status: str | None = None,
        code: str | None = None,
        from_ms: int | None = None,
        to_ms: int | None = None,
        context: Mapping[str, str] | None = None,
        limit: int = LISTED,
    ) -> list[ListedExecution]:
        """List executions, newest first; see ``Client.executions``."""
        wanted = ListExecutions(
            business=business,
            feature=feature,
            status=status,
            code=code,
            from_ms=from_ms,
            to_ms=to_ms,
            context=tuple((context or {}).items()),
        )
        return await run_async(self._transport, executions(wanted, limit))

    async def redo_many(  # noqa: PLR0913 - the parameters of the endpoint
        self,
        service: str,
        *,
        status: RedoneStatus = "failed",
        code: str | None = None,
        tasks: Sequence[str] | None = None,
        limit: int = REDONE,
        per_second: int = REDONE_PER_SECOND,
        whole: bool = False,
    ) -> None:
        """Do the newest executions of a service again; see ``Client.redo_many``."""
        request = _many(
            service, status, code, tasks, limit=limit, per_second=per_second, whole=whole
        )
        await run_async(self._transport, ask(request))

    async def cluster(self, executions: Sequence[ExecutionId] = ()) -> JsonObject:
        """Return the actors of the stack beside what is wanted; see ``Client.cluster``."""
        request = ReadCluster(executions=tuple(executions))
        found: JsonObject = await run_async(self._transport, ask(request))
        return found

    def execution(self, execution_id: ExecutionId) -> AsyncExecution:
        """Return the execution of an id; whether it exists shows when it is asked."""
        return AsyncExecution(execution_id, self._transport)


def _addition(
    text_or_path: DefinitionSource, business: str | None, feature: str | None, alias: str
) -> AddDescriptor:
    text = definition_text(text_or_path)
    if business is None or feature is None:
        workspace, dag_name = names_in(text)
        business, feature = business or workspace, feature or dag_name
    return AddDescriptor(business=business, feature=feature, alias=alias, text=text)


def _submission(
    request: Submit, patience_s: float, on_silence: OnSilence | None
) -> Exchange[ExecutionId]:
    """Send a submission: again and again only if the stack can tell that it is the same one."""
    if request.idempotency_key is None:
        return ask(request)
    return Patience(patience_s, on_silence, acknowledged=True).ask(request)


def _many(  # noqa: PLR0913 - the parameters of the endpoint
    service: str,
    status: RedoneStatus,
    code: str | None,
    tasks: Sequence[str] | None,
    *,
    limit: int,
    per_second: int,
    whole: bool,
) -> RedoMany:
    named = parse_descriptor_id(service)
    if str(named) != f"{named.business}:{named.feature}":
        reason = f"a service is business:feature, not {service}: all its versions are done again"
        raise RequestError(reason)
    return RedoMany(
        business=named.business,
        feature=named.feature,
        status=status,
        code=code,
        tasks=named_tasks(tasks),
        limit=limit,
        per_second=per_second,
        whole=whole,
    )
