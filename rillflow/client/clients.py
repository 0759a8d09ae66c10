"""Clients of a stack, sync and async; over HTTP unless they are given another way."""

import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from rillflow.client.definitions import definition_text, names_in
from rillflow.client.exchanges import AsyncTransport, Transport, ask, run, run_async
from rillflow.client.executions import AsyncExecution, Execution
from rillflow.client.http import AsyncHttpTransport, HttpTransport
from rillflow.client.operations import AddDescriptor, Isolation, Submit
from rillflow.ids import ExecutionId
from rillflow.jsontypes import JsonObject

DEFAULT_URL: Final = "http://127.0.0.1:8080"
DEFAULT_TIMEOUT_S: Final = 30.0
DEFAULT_ALIAS: Final = "release"
KEY_VARIABLE: Final = "RILLFLOW_API_KEY"


class Client:
    """A client of one stack.

    Threads may share it. As a context manager it closes itself.

    Args:
        url: Where the stack's HTTP API is.
        timeout_s: How long one request may take; what waits on purpose comes on top.
        transport: Another way to the stack than HTTP.
        api_key: The stack's key; None is what ``RILLFLOW_API_KEY`` holds.

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
        self._transport: Transport = transport or HttpTransport(
            url, timeout_s, os.environ.get(KEY_VARIABLE) if api_key is None else api_key
        )

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
        text_or_path: str | Path,
        *,
        business: str | None = None,
        feature: str | None = None,
        alias: str = DEFAULT_ALIAS,
    ) -> str:
        """Store a definition as the newest version of an alias and return its descriptor id.

        Args:
            text_or_path: YAML or JSON; a ``Path``, or a ``str`` of one line, names a file.
            business: ``workspace`` of the definition when None.
            feature: ``dagName`` of the definition when None.
            alias: Which alias to move to this version.

        Raises:
            DefinitionError: The definition is refused.
            OSError: The file cannot be read.
        """
        request = _addition(text_or_path, business, feature, alias)
        return str(run(self._transport, ask(request)))

    def submit(
        self,
        descriptor_id: str,
        data: JsonObject | None = None,
        *,
        callback: str | JsonObject | None = None,
        isolation: Isolation | None = None,
    ) -> Execution:
        """Start an execution; when this returns, it is on disk.

        Args:
            descriptor_id: ``business:feature[:alias | :md5_<hex32>]``.
            data: The context that it starts with.
            callback: Where its end is reported to: a URL or a CallbackConfig.
            isolation: ``dedicated`` gives it a Ray actor of its own.

        Raises:
            UnknownDescriptorError: No definition is stored under this id.
            RequestError: The request is malformed.
        """
        request = Submit(
            descriptor_id=descriptor_id, data=data or {}, callback=callback, isolation=isolation
        )
        return self.execution(run(self._transport, ask(request)))

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
        self._transport: AsyncTransport = transport or AsyncHttpTransport(
            url, timeout_s, os.environ.get(KEY_VARIABLE) if api_key is None else api_key
        )

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
        text_or_path: str | Path,
        *,
        business: str | None = None,
        feature: str | None = None,
        alias: str = DEFAULT_ALIAS,
    ) -> str:
        """Store a definition; see ``Client.add``."""
        request = _addition(text_or_path, business, feature, alias)
        return str(await run_async(self._transport, ask(request)))

    async def submit(
        self,
        descriptor_id: str,
        data: JsonObject | None = None,
        *,
        callback: str | JsonObject | None = None,
        isolation: Isolation | None = None,
    ) -> AsyncExecution:
        """Start an execution; see ``Client.submit``."""
        request = Submit(
            descriptor_id=descriptor_id, data=data or {}, callback=callback, isolation=isolation
        )
        return self.execution(await run_async(self._transport, ask(request)))

    def execution(self, execution_id: ExecutionId) -> AsyncExecution:
        """Return the execution of an id; whether it exists shows when it is asked."""
        return AsyncExecution(execution_id, self._transport)


def _addition(
    text_or_path: str | Path, business: str | None, feature: str | None, alias: str
) -> AddDescriptor:
    text = definition_text(text_or_path)
    if business is None or feature is None:
        workspace, dag_name = names_in(text)
        business, feature = business or workspace, feature or dag_name
    return AddDescriptor(business=business, feature=feature, alias=alias, text=text)
