"""The whole stack as one object: definitions in the store, executions in their actors."""

import os
from collections import OrderedDict

from rillflow.actors.execution_actor import ray_executions
from rillflow.core.events import Event, ExecutionSubmitted
from rillflow.definition import parse_definition
from rillflow.definition.model import WorkflowDefinition
from rillflow.errors import RequestError, UnknownDescriptorError
from rillflow.ids import DescriptorId, ExecutionId, new_execution_id
from rillflow.jsontypes import JsonObject, JsonValue, decode_json
from rillflow.ports.clock import Clock
from rillflow.ports.executions import (
    Delivery,
    Query,
    Reply,
    Submission,
    WaitableExecutions,
)
from rillflow.ports.store import Store
from rillflow.runtime.clock import SystemClock
from rillflow.runtime.descriptors import add_descriptor, resolve_descriptor
from rillflow.settings import Settings
from rillflow.stores import open_store

MOST_DEFINITIONS = 500
UNPROCESSABLE = 422


class Stack:
    """What callers can do, whether they come over HTTP or from a Ray script."""

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store | None = None,
        executions: WaitableExecutions | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Join the stack that runs with these settings, or the given parts of one."""
        self.settings = settings
        self.store = store or open_store(settings.store_url)
        self.executions = executions or ray_executions(settings)
        self.clock = clock or SystemClock()
        self._definitions: OrderedDict[str, WorkflowDefinition] = OrderedDict()

    async def open(self) -> None:
        """Open the store."""
        await self.store.open()

    async def close(self) -> None:
        """Close the store."""
        await self.store.close()

    async def add_descriptor(
        self, business: str, feature: str, alias: str, text: str
    ) -> DescriptorId:
        """Validate a definition and make it the newest version of an alias.

        Raises:
            RequestError: A name is malformed, or is not the definition's.
            DefinitionError: The definition is refused.
        """
        return await add_descriptor(
            self.store,
            business,
            feature,
            alias,
            text,
            at_ms=self.clock.now_ms(),
            max_depth=self.settings.max_depth,
        )

    async def definition(self, version: str) -> WorkflowDefinition:
        """Return a stored definition by its md5.

        Raises:
            UnknownDescriptorError: No such text is stored.
            DefinitionError: The stored text is no longer valid.
        """
        known = self._definitions.get(version)
        if known is not None:
            return known
        text = await self.store.definition_text(version)
        if text is None:
            raise UnknownDescriptorError(f"descriptor:{version} value empty")
        definition = parse_definition(text, max_depth=self.settings.max_depth)
        self._definitions[version] = definition
        if len(self._definitions) > MOST_DEFINITIONS:
            self._definitions.popitem(last=False)
        return definition

    async def submit(
        self,
        descriptor_id: str,
        data: bytes = b"",
        *,
        callback: bytes | None = None,
        isolation: str | None = None,
        uid: int = 0,
    ) -> ExecutionId:
        """Start an execution; when this returns, it is on disk.

        Args:
            descriptor_id: Which definition, as in SEMANTICS 5.4.
            data: JSON object text; empty is an empty object.
            callback: CallbackConfig as JSON, replacing the definition's.
            isolation: ``shared`` or ``dedicated``, replacing the definition's.
            uid: The caller's, for gray rules.

        Raises:
            RequestError: The request is malformed, or names nothing that is stored.
            ExecutionError: The data cannot be kept.
            StoreError: It could not be made durable in time.
        """
        document = json_object(data)
        found = await resolve_descriptor(self.store, descriptor_id, uid=uid, data=document)
        version = found.version or ""
        definition = await self.definition(version)
        dedicated = (isolation or definition.isolation) == "dedicated"
        at_ms = self.clock.now_ms()
        execution_id = new_execution_id(
            found.business,
            found.feature,
            at_ms=at_ms,
            entropy=os.urandom(10),
            dedicated=dedicated,
        )
        event = ExecutionSubmitted(
            at_ms=at_ms,
            execution_id=execution_id,
            definition_id=version,
            data=data or b"{}",
            host=self.settings.callback_base_url,
            callback=callback,
            dedicated=dedicated,
        )
        call = Submission(business=found.business, feature=found.feature, event=event)
        (await self.executions.call(call)).raise_for_error()
        return execution_id

    async def deliver(self, execution_id: ExecutionId, event: Event) -> Reply:
        """Hand an event to an execution; when this returns, it is on disk.

        Raises:
            RillflowError: The event was refused.
        """
        reply = await self.executions.call(Delivery(execution_id=execution_id, event=event))
        return reply.raise_for_error()

    async def query(
        self, execution_id: ExecutionId, kind: str, *, parent: str = "", index: int = 0
    ) -> bytes | None:
        """Read an execution as JSON text; None when there is nothing of that id.

        Raises:
            RillflowError: It could not be read.
        """
        call = Query(execution_id=execution_id, kind=kind, parent=parent, index=index)
        return (await self.executions.call(call)).raise_for_error().body

    async def wait(self, execution_id: ExecutionId, timeout_s: float) -> bool:
        """Wait until an execution has ended; False when the time was not enough.

        Raises:
            StoreError: Its owner could not be reached.
        """
        return await self.executions.wait(execution_id, timeout_s)


def json_object(data: bytes) -> JsonObject:
    """Read a body that must be a JSON object; nothing at all is an empty one.

    Raises:
        RequestError: It is something else (422).
    """
    if not data.strip():
        return {}
    try:
        value: JsonValue = decode_json(data)
    except ValueError as error:
        raise RequestError(f"the body is not JSON: {error}", http_status=UNPROCESSABLE) from error
    if not isinstance(value, dict):
        raise RequestError("the body must be a JSON object", http_status=UNPROCESSABLE)
    return value
