"""The stack as one object: definitions in the store, executions in their actors.

HTTP routes and the Ray client call it. It contains no HTTP and no Ray: `rillflow/actors/stack.py`
joins it to the actors of a cluster.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Final

import msgspec

from rillflow.artifact_settings import artifact_settings
from rillflow.artifacts.references import MARK_BYTES
from rillflow.core.events import CallbackReceived, Event
from rillflow.core.inspection.views import SUMMARY
from rillflow.definition import LARGEST_TEXT_BYTES, MAX_TEXT_BYTES
from rillflow.definition.model import WorkflowDefinition
from rillflow.errors import UnavailableError
from rillflow.gateways.outbound.threads import joined
from rillflow.ids import DescriptorId, ExecutionId, is_execution_id, workspace_of
from rillflow.jsontypes import decode_json
from rillflow.ports.clock import Clock
from rillflow.ports.cluster import Cluster
from rillflow.ports.executions import (
    Delivery,
    End,
    Query,
    Reply,
    Submission,
    ViewPart,
    WaitableExecutions,
)
from rillflow.ports.gateway import Dispatchers
from rillflow.ports.loops import EventLoops
from rillflow.ports.process_meters import NoProcessMeters, ProcessMeters
from rillflow.ports.readiness import Readiness
from rillflow.ports.storage.store import Store
from rillflow.ports.task_logs import LogEnd, LogPlace, LogText, NoTaskLogs, TaskLogs
from rillflow.runtime.artifacts import Artifacts
from rillflow.runtime.backpressure.stored_changes import ADMITTED, StoredChanges
from rillflow.runtime.changes.hub import ChangeHub
from rillflow.runtime.changes.summaries import SharedSummaries
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.definitions.trigger_room import TriggerRoom
from rillflow.runtime.histories.cache import Histories
from rillflow.runtime.hooks.chain import ContextHook
from rillflow.runtime.hooks.loading import load_hook
from rillflow.runtime.owner.queries import unknown_execution
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.searches import FairSearches
from rillflow.runtime.submission.intake import Options, Submissions
from rillflow.runtime.task_logs import FairTaskLogs
from rillflow.runtime.triggers.registry import TriggerRegistry
from rillflow.runtime.triggers.sources.known_types import installed_checks
from rillflow.settings import ResourceCheck, Settings

WITH_ARTIFACTS: Final = ("execution", "brief")
"""Kinds of views that count the artifacts of their execution."""
READINGS: Final = 3
"""How often a large view is read before its owner counts as unreachable."""


class Stack:
    """The operations of callers, whether they come over HTTP or from a Ray script."""

    sender_of_request: Callable[[], str] = str
    """Tells who has sent the request that the present task answers, for fair shares."""

    def __init__(  # noqa: PLR0913 - the ports it joins
        self,
        settings: Settings,
        *,
        store: Store,
        executions: WaitableExecutions,
        dispatchers: Dispatchers,
        loops: EventLoops,
        cluster: Cluster,
        readiness: Readiness,
        task_logs: TaskLogs | None = None,
        process_meters: ProcessMeters | None = None,
        clock: Clock | None = None,
        hook: ContextHook | None = None,
    ) -> None:
        """Use the parts of the stack that runs with these settings.

        Raises:
            RequestError: The ``context_hook`` of the settings cannot be loaded.
        """
        self.settings = settings
        self.take_room: Callable[[int], None] = lambda _: None
        """Takes room for so many bytes before they are read; raises if there is none."""
        self.store = store
        self.executions = executions
        self.dispatchers = dispatchers
        self.loops = loops
        self.cluster = cluster
        self.readiness = readiness
        self.task_logs = FairTaskLogs(task_logs or NoTaskLogs())
        self.process_meters = process_meters or NoProcessMeters()
        self.artifacts = Artifacts(artifact_settings(settings), settings.workspace_quotas)
        self.histories = Histories(store, sender=self._sender)
        self.changes = ChangeHub(executions)
        self.summaries = SharedSummaries(lambda shown: self.inspect(shown, SUMMARY))
        self.clock = clock or SystemClock()
        self.submissions = Submissions(
            settings,
            store=self.store,
            executions=self.executions,
            clock=self.clock,
            hook=hook or load_hook(settings.context_hook),
            wait=self.executions.wait,
            notes=self.artifacts,
        )
        self._trigger_room = TriggerRoom(self.store, self.stored.admit)
        self._trigger_checks = installed_checks()

    @cached_property
    def triggers(self) -> TriggerRegistry:
        """The triggers that callers add, change and list."""
        return TriggerRegistry(
            self.store,
            self.submissions,
            self.clock,
            self._trigger_room,
            self._trigger_checks,
            sender=self._sender,
        )

    @cached_property
    def stored(self) -> StoredChanges:
        """The admission of what callers store besides submissions."""
        room, quotas = self.submissions.admission.room, self.submissions.quotas.store
        return StoredChanges(room, quotas, self.store, self.clock)

    @cached_property
    def searches(self) -> FairSearches:
        """The searches and counts of callers, who take turns."""
        return FairSearches(self.store, self._sender)

    def _sender(self) -> str:
        return self.sender_of_request()

    async def open(self) -> None:
        """Open the store."""
        await self.store.open()

    async def close(self) -> None:
        """End the streams of changes, drop histories, and close the store."""
        await self.submissions.quotas.stop()
        await self.changes.stop()
        self.histories.stop()
        await self.store.close()

    async def add_descriptor(
        self, business: str, feature: str, alias: str, text: str, *, sender: str = ""
    ) -> DescriptorId:
        """Validate a definition and make it the newest version of an alias.

        Definitions of different ``sender`` are read in turn.

        Raises:
            RequestError: A name is malformed, or is not the definition's.
            DefinitionError: The definition is refused.
            OverloadedError: The store has no room for it, or the workspace has none (503, 429).
        """
        await self.stored.admit_names(business, feature, alias, size_bytes=len(text))
        checks_length = self.settings.switch("ENABLE_DAG_INFO_LENGTH_CHECK")
        return await add_descriptor(
            self.store,
            business,
            feature,
            alias,
            text,
            at_ms=self.clock.now_ms(),
            max_depth=self.settings.max_depth,
            max_bytes=MAX_TEXT_BYTES if checks_length else LARGEST_TEXT_BYTES,
            sender=sender,
            room=self._trigger_room,
            checks=self._trigger_checks,
        )

    async def definition(self, version: str) -> WorkflowDefinition:
        """Return a stored definition by its md5.

        Raises:
            UnknownDescriptorError: No such text is stored.
            DefinitionError: The stored text is no longer valid.
        """
        return await self.submissions.definition(version)

    async def submit(  # noqa: PLR0913 - the parameters of the endpoint
        self,
        descriptor_id: str,
        data: bytes = b"",
        *,
        callback: bytes | None = None,
        isolation: str | None = None,
        uid: int | None = None,
        idempotency_key: str | None = None,
        resource_check: ResourceCheck | None = None,
    ) -> ExecutionId:
        """Start an execution; when this returns, it is on disk.

        Args:
            descriptor_id: Which definition, as in spec 5.4.
            data: JSON object text; empty is an empty object.
            callback: CallbackConfig as JSON, replacing the definition's.
            isolation: ``shared`` or ``dedicated``, replacing the definition's.
            uid: The caller's, for gray and A/B rules; None is the one of the settings.
            idempotency_key: Submissions of a feature with one key and equal data are one.
            resource_check: Replaces the check for busy functions that is set.

        Raises:
            RequestError: The request is malformed, names nothing that is stored, does not
                match the schema, is not admitted now, or its key is taken (409).
            ExecutionError: The definition is no longer valid, or the data cannot be kept.
            StoreError: It could not be made durable in time.
            UnavailableError: Its owner could not be reached in time.
        """
        options = Options(callback, isolation, uid, idempotency_key, resource_check)
        return await self.submissions.submit(descriptor_id, data, options)

    async def run(
        self, descriptor_id: str, data: bytes, options: Options, *, timeout_s: float, kind: str
    ) -> tuple[ExecutionId, bytes | None]:
        """Start an execution, wait for its end, and read it as a query of this kind does.

        The second value is None if it has not ended in time.

        Raises:
            RillflowError: As ``submit``.
        """
        end = None

        async def send(submission: Submission) -> Reply:
            nonlocal end
            reply, end = await self.executions.run(submission, timeout_s, kind)
            return reply

        execution_id = await self.submissions.submit(descriptor_id, data, options, send)
        if end is None:
            return execution_id, await self.shown_end(execution_id, timeout_s=timeout_s, kind=kind)
        return execution_id, await self._shown(execution_id, end, kind)

    async def shown_end(
        self, execution_id: ExecutionId, *, timeout_s: float, kind: str
    ) -> bytes | None:
        """Wait for an end and read it as a query of this kind does; None if it does not come.

        Raises:
            UnavailableError: The owner could not be reached in time.
        """
        end = await self.executions.end(execution_id, timeout_s, kind)
        return await self._shown(execution_id, end, kind)

    async def _shown(self, execution_id: ExecutionId, end: End, kind: str) -> bytes | None:
        if not end.has_ended:
            return None
        return end.body or await self.query(execution_id, kind)

    async def deliver(self, execution_id: ExecutionId, event: Event, *, hint_s: int = 0) -> Reply:
        """Deliver an event to an execution; when this returns, it is on disk.

        ``hint_s`` is the pause that its function asked for, in seconds.

        Raises:
            RillflowError: The event was refused, or the store has no room for what it starts.
        """
        if not is_execution_id(execution_id):
            raise unknown_execution(execution_id, event)
        if type(event) in ADMITTED:
            await self.stored.admit_order(workspace_of(execution_id), event)
        call = Delivery(execution_id=execution_id, event=event, hint_s=hint_s)
        reply = await self.executions.call(call)
        return reply.raise_for_error()

    async def task_log(self, execution_id: ExecutionId, task: str) -> list[LogText] | None:
        """Return what the function of a task has printed last; None if nothing is known of it.

        Raises:
            OverloadedError: Too many logs wait to be read (503).
            UnavailableError: The owner, or the node of the log, cannot be reached.
        """
        if not is_execution_id(execution_id):
            return None
        shown = decode_json(await self.query(execution_id, "log", parent=task) or b"null")
        place = shown.get("log") if isinstance(shown, dict) else None
        if not isinstance(place, dict):
            return None
        if "text" in place:
            return [msgspec.convert(place, LogEnd).shown()]
        where = msgspec.convert(place, LogPlace)
        return await self.task_logs.read(workspace_of(execution_id), where)

    async def require_known(self, execution_id: ExecutionId, event: Event) -> None:
        """Refuse an event for an unknown execution, before work is done for it.

        Raises:
            RillflowError: There is no such execution, or its owner cannot be reached.
        """
        if not is_execution_id(execution_id) or await self.query(execution_id, "status") is None:
            raise unknown_execution(execution_id, event)

    async def awaits(self, execution_id: ExecutionId, callback: CallbackReceived) -> bool:
        """Tell whether a callback would be taken, before its outcome is read.

        False acknowledges a repetition, as its delivery would.

        Raises:
            RillflowError: It would be refused, or its owner cannot be reached.
        """
        if not is_execution_id(execution_id):
            raise unknown_execution(execution_id, callback)
        call = Query(execution_id=execution_id, kind="awaits", callback=callback)
        body = (await self.executions.call(call)).raise_for_error().body
        if body is None:
            raise unknown_execution(execution_id, callback)
        return body == b"true"

    async def executions_above(self, execution_id: ExecutionId) -> list[ExecutionId]:
        """Return the executions that have started one as a sub-flow, the outermost first.

        Raises:
            RillflowError: Its owner cannot be reached.
        """
        shown = decode_json(await self.query(execution_id, "route") or b"[]")
        return [each for each in shown if isinstance(each, str)] if isinstance(shown, list) else []

    async def query(
        self, execution_id: ExecutionId, kind: str, *, parent: str = "", index: int = 0
    ) -> bytes | None:
        """Read an execution as JSON text; None if the id is unknown.

        Raises:
            RillflowError: It could not be read.
        """
        shown = await self._ask(
            Query(execution_id=execution_id, kind=kind, parent=parent, index=index)
        )
        return shown if kind not in WITH_ARTIFACTS else await self.counted(execution_id, shown)

    async def counted(self, execution_id: ExecutionId, shown: bytes | None) -> bytes | None:
        """Add the number and bytes of its artifacts to the view of an execution that has some."""
        if shown is None or MARK_BYTES not in shown:
            return shown
        return await self.artifacts.counted(execution_id, shown)

    async def inspect(self, execution_id: ExecutionId, kind: str, **asked: str) -> bytes | None:
        """Read a view of `core/inspection` as JSON text; None if what is asked for does not exist.

        Raises:
            RillflowError: It could not be read.
        """
        return await self._ask(
            Query(execution_id=execution_id, kind=kind, inspected=tuple(sorted(asked.items())))
        )

    async def listed(self, execution_id: ExecutionId) -> bytes | None:
        """Read the summary of an execution as JSON text, for a list: None if the id is unknown.

        Raises:
            LargeExecutionError: It is large and not in memory; no list brings it there.
            RillflowError: It could not be read.
        """
        return await self._ask(
            Query(execution_id=execution_id, kind=SUMMARY, inspected=(), reads_large=False)
        )

    async def _ask(self, call: Query) -> bytes | None:
        execution_id = call.execution_id
        for _ in range(READINGS - 1):
            reply = (await self.executions.call(call)).raise_for_error()
            if not reply.view:
                return reply.body
            with suppress(UnavailableError):  # the view has expired, or its owner has changed
                return await self._read_view(execution_id, reply.view)
        reply = (await self.executions.call(call)).raise_for_error()
        return await self._read_view(execution_id, reply.view) if reply.view else reply.body

    async def _read_view(self, execution_id: ExecutionId, view: str) -> bytes | None:
        """Read a large view, once there is room for it.

        Raises:
            UnavailableError: It cannot be read to its end.
            UnreadAnswersError: There is no room.
        """
        first = (await self.executions.part(execution_id, ViewPart(view))).raise_for_error()
        if first.body is not None or not first.size_bytes:
            return first.body
        self.take_room(first.size_bytes)
        parts: list[bytes] = []
        read_bytes = 0
        while read_bytes < first.size_bytes:
            asked = ViewPart(view, read_bytes)
            part = (await self.executions.part(execution_id, asked)).raise_for_error().body
            if not part:
                raise UnavailableError(f"{execution_id} cannot be read to its end")
            parts.append(part)
            read_bytes += len(part)
        return await joined(*parts, workspace=workspace_of(execution_id))

    async def wait(self, execution_id: ExecutionId, timeout_s: float) -> bool:
        """Wait until an execution has ended; False if the time was not enough.

        Raises:
            UnavailableError: Its owner could not be reached.
        """
        return await self.executions.wait(execution_id, timeout_s)
