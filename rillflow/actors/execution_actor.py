"""The Ray actor that owns executions: a shell around one ExecutionOwner.

Used by `actors/lifecycle`, `actors/placing.py` and `actors/stack.py`.
"""

import asyncio
import logging
import math
import os
import uuid
from functools import partial
from itertools import chain
from typing import Any

import ray

from rillflow.actors.connections.frames import Response, response_of
from rillflow.actors.connections.sockets import SocketServer
from rillflow.actors.directory import (
    ACTOR_OPTIONS,
    RayExecutions,
    find_actor,
)
from rillflow.actors.names import (
    CONTROLLER_ACTOR,
    dedicated_actor_name,
    dispatcher_actor_name,
    execution_actor_name,
    owner_index,
    partitions_of,
    sent_by_value,
)
from rillflow.actors.peers import Peer
from rillflow.actors.ray_context import (
    environment_digest,
    here,
    is_controlled,
    is_held_by_another,
    on_the_machine_of_the_store,
)
from rillflow.actors.stack_retention import retention_of
from rillflow.gateways.http.callback_probe import until_callbacks_come
from rillflow.ids import ExecutionId
from rillflow.ports.cluster import ActorReport, encode_description
from rillflow.ports.deployment import Deployment
from rillflow.ports.loops import encode_loop
from rillflow.ports.messages import GetLoopState, GetMeters
from rillflow.ports.readiness import ARCHIVE_NOT_WRITTEN, CALLBACKS_UNREACHABLE, Reason
from rillflow.ports.storage.store import Store
from rillflow.ray_tasks.exports import actor_class
from rillflow.runtime.aio.retrying import retry_while_unavailable
from rillflow.runtime.backpressure.admission import SubmissionLimit, UnansweredCalls, inputs_of
from rillflow.runtime.backpressure.quotas import store_limit
from rillflow.runtime.crashes.crash_history import HandlingRecord, record_path
from rillflow.runtime.dispatch.client import DispatcherClient, room_of
from rillflow.runtime.endpoints.owner_endpoint import OwnerEndpoint, OwnerGates, OwnPartitions
from rillflow.runtime.hooks.chain import HookChain
from rillflow.runtime.hooks.loading import load_hooks
from rillflow.runtime.owner.dedicated_exit import until_done
from rillflow.runtime.owner.dedicated_memory import memory_bound
from rillflow.runtime.owner.dedicated_turns import turns_of
from rillflow.runtime.owner.execution_owner import ExecutionOwner, OwnerLimits
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.process.gc_tuning import tune_gc
from rillflow.runtime.process.log_lines import write_lines
from rillflow.runtime.process.loop_watch import LoopWatch
from rillflow.runtime.process.measuring import owner_meters, read_process
from rillflow.runtime.process.priority import give_way
from rillflow.runtime.process.readiness import ReadinessWatch, writing
from rillflow.runtime.process.replica_metrics import ReplicaMetrics
from rillflow.runtime.process.span_export import span_queue
from rillflow.runtime.retention import Retention
from rillflow.runtime.submission.tracing import TraceSampling
from rillflow.runtime.supervision.deployed import code_version, of_stored
from rillflow.runtime.supervision.lease_renewal import renewed_lease
from rillflow.runtime.triggers.start import start_triggers
from rillflow.settings import Settings
from rillflow.stores import open_store
from rillflow.telemetry import metrics
from rillflow.tls_settings import with_own

log = logging.getLogger("rillflow.execution_actor")

PAUSE_S = 2.0
"""Pause before an actor that cannot start ends, so that it does not restart in a loop."""
TELL_S = 0.5
"""How long an actor that was fenced tries to tell the controller before it ends."""
FRONT_S = 30.0
"""How long calls wait for the HTTP API in front of this actor, which starts after it."""
DEDICATED_NICENESS = 10
"""How far the processes of dedicated executions, which may be many, give way to those for all."""
LOOK_S = 5.0
"""Between looks at an address for callbacks that did not answer in time."""


class ExecutionActor:
    """Owns the executions of its partitions, or one dedicated execution.

    It recovers them when it starts; after a crash Ray restarts it. Every method may be called twice
    with the same arguments.
    """

    def __init__(
        self,
        settings: Settings,
        index: int,
        deployed: Deployment | None,
        dedicated: ExecutionId | None = None,
    ) -> None:
        if dedicated is not None:
            give_way(DEDICATED_NICENESS)  # of this process, which ends with its actor
        own = dedicated_actor_name(dedicated) if dedicated else execution_actor_name(index)
        write_lines(settings.log_format, own, lambda each: _trace_of(self, each))
        self._deployed = deployed
        # Actors of `rillflow up` start together, from the same files.
        self._code_version = code_version() if is_controlled() else ""
        self._settings = settings
        self._dedicated = dedicated
        self._fenced: asyncio.Task[None] | None = None
        name = dedicated or execution_actor_name(index)
        self._name = dedicated_actor_name(dedicated) if dedicated else name
        self._watch = LoopWatch(name)
        self._watch.start()
        self._meters = owner_meters(self._name, settings)
        self._replicas = ReplicaMetrics(SystemClock())
        self._store = _store_of(settings, dedicated)
        self._partitions = [] if dedicated else partitions_of(index, settings.execution_actors)
        self._life = uuid.uuid4().hex
        self._callbacks_come = asyncio.Event()
        self._unreachable = ""
        self._retention: Retention | None = None
        self._describe = partial(_description, self)
        self._dispatcher = self._dispatcher_client()
        self._record = HandlingRecord(record_path(settings.store_url, settings.namespace, name))
        self._executions = ray_executions(settings, self._store)
        self._spans = span_queue(self._meters) if TraceSampling(settings).is_on else None
        self._host = self._owner()
        self._health = ReadinessWatch([writing(self._store)])
        self._endpoint = self._owner_endpoint()
        self._gates = OwnerGates(self._endpoint, self._name, self._handle)
        self._socket = SocketServer(self._gates.answer, self._name)
        self._started = asyncio.create_task(self._start(), name="start")
        self._background = [
            asyncio.create_task(self._open(), name="open"),
            asyncio.create_task(self._dispatcher.watch_dispatchers(), name="beat"),
            asyncio.create_task(self._retire_when_done(), name="retire"),
            asyncio.create_task(self._keep_house(index), name="retention"),
            asyncio.create_task(self._fire_triggers(), name="triggers"),
        ]
        for task in self._background:
            task.add_done_callback(_report)

    def _dispatcher_client(self) -> DispatcherClient:
        settings, opened = self._settings, self._callbacks_come
        dispatchers = map(dispatcher_actor_name, range(settings.dispatcher_actors))
        ways = [Peer(each, settings.namespace).call for each in dispatchers]
        return DispatcherClient(self._name, ways, opened, room_of(settings, self._dedicated))

    def _owner(self) -> ExecutionOwner:
        settings = self._settings
        return ExecutionOwner(
            store=self._store,
            clock=SystemClock(),
            dispatcher=self._dispatcher,
            executions=self._executions,
            callback_host=settings.callback_base_url,
            partitions=self._partitions,
            dedicated=self._dedicated,
            limits=OwnerLimits(
                most_hot=settings.hot_executions,
                hot_bytes=settings.hot_bytes,
                outputs_max_bytes=settings.outputs_max_bytes,
                views_max_bytes=settings.answers_max_bytes,
                subflow_workspaces=settings.subflow_workspaces,
                take_store=store_limit(settings, self._store, SystemClock()),
                memory=memory_bound(settings, self._dedicated),
            ),
            guards=HookChain(load_hooks(settings.hooks)),
            record=self._record,
            on_fenced=self._leave_fenced,
            spawner=None if self._dedicated else self._executions.spawner,
            meters=self._meters,
            spans=self._spans,
            turns=turns_of(settings, self._dedicated),
            holder=here(self._name),
        )

    def _owner_endpoint(self) -> OwnerEndpoint:
        limit = SubmissionLimit(
            self._settings.max_queued_submissions,
            unanswered=UnansweredCalls(
                lambda: sum(map(len, self._dispatcher.unanswered)) + self._host.held.count,
                lambda: chain(self._dispatcher.executions(), self._host.held.executions()),
                self._settings.max_unanswered_calls,
            ),
            inputs=inputs_of(
                (self._dispatcher, self._host.held), self._settings.max_unanswered_bytes
            ),
        )
        read_process(self._meters, self._watch.state)
        self._meters.read(metrics.QUEUED, lambda: {(): limit.queued})
        self._meters.read(metrics.HELD, lambda: {(): self._host.held.count})
        self._meters.read(metrics.UNANSWERED, lambda: {(): len(self._dispatcher)})
        return OwnerEndpoint(
            self._host,
            self._dispatcher,
            life=self._life,
            reasons=partial(_reasons, self),
            own=self._own_partitions(),
            forward=self._executions.forward,
            limit=limit,
        )

    async def _start(self) -> None:
        try:
            # Many of these may wait for a connection, and each start of a process takes long.
            again = self._dedicated is not None
            await (retry_while_unavailable(self._store.open) if again else self._store.open())
            await self._compare()
            await _take_lease(self)
            await self._host.start()
            if self._dedicated is None:
                self._health.start()
            await self._socket.start()
            tune_gc()
            self._gates.open()
        except Exception:
            # Ray restarts this actor; without its store it could only refuse calls.
            log.exception("start_failed")
            await asyncio.sleep(PAUSE_S)
            os._exit(1)

    async def _compare(self) -> None:
        """Learn which deployment this is, where nobody said; leave if another one runs now."""
        if await is_held_by_another(self._store, self._settings):
            await self._leave_for_good("store_taken_over")
        stored = await self._store.deployment()
        if stored is None:
            return
        if self._deployed is None:
            self._deployed = of_stored(self._settings, stored, environment_digest())
        elif self._dedicated is None and stored.partition_map > self._deployed.partition_map:
            # Ray started it again while the partitions moved, or after: it owns nothing.
            await self._leave_for_good("partitions_moved")

    async def _leave_for_good(self, event: str) -> None:
        log.warning(event, extra={"actor": self._name})
        ray.kill(ray.get_runtime_context().current_actor, no_restart=True)
        await asyncio.Event().wait()

    def _own_partitions(self) -> OwnPartitions | None:
        if self._deployed is None or not self._partitions:
            return None
        return OwnPartitions(
            self._partitions,
            version=self._deployed.partition_map,
            owners=self._settings.execution_actors,
        )

    async def _open(self) -> None:
        """Make calls only once their callbacks will be accepted: many functions send them once."""
        url, tls = self._settings.callback_base_url, with_own(self._settings)
        try:
            come = await until_callbacks_come(url, tls, patience_s=FRONT_S)
            self._callbacks_come.set()
            if come:
                return
            log.warning("callbacks_unreachable", extra={"url": url})
            self._unreachable = url
            await until_callbacks_come(url, tls, patience_s=math.inf, pause_s=LOOK_S)
            log.warning("callbacks_reachable", extra={"url": url})
        except Exception:
            log.exception("callbacks_not_checked")
        self._callbacks_come.set()
        self._unreachable = ""

    async def ready(self) -> dict[str, Any]:
        """Return the facts of the stack once this actor accepts calls."""
        await asyncio.shield(self._started)
        return {
            "pid": os.getpid(),
            "execution_actors": self._settings.execution_actors,
            "settings": self._settings,
        }

    async def report(self) -> ActorReport:
        """Return what the controller and operators want to know, also before it takes calls."""
        return ActorReport(
            name=self._name,
            node=ray.get_runtime_context().get_node_id(),
            pid=os.getpid(),
            life=self._life,
            is_ready=self._started.done(),
            deployment=self._deployed,
            code_version=self._code_version,
            execution_id=self._dedicated,
            partitions=len(self._partitions),
            epoch=self._host.epoch,
            hot=self._host.active,
            calls=len(self._dispatcher),
        )

    @sent_by_value
    async def described(self) -> bytes:
        """Return the report, with what this actor does, for a process of any release."""
        return self._describe(await self.report())

    async def socket(self) -> tuple[str, str]:
        """Return where actors of the same node reach this one: node id and path."""
        await asyncio.shield(self._started)
        return ray.get_runtime_context().get_node_id(), self._socket.path

    @sent_by_value
    async def exchange(self, protocol: int, message: bytes) -> tuple[int, int, bytes]:
        """Handle a message of an actor on another node; see ``rillflow/ports/messages.py``."""
        return await self._socket.exchange(protocol, message)

    async def take(self, message: bytes) -> Response:
        """Handle a message of an actor of a release that does not say its protocol."""
        return await response_of(self._answer(message), self._name)

    async def _answer(self, data: bytes) -> bytes:
        return await self._gates.answer(data)

    def _handle(self, asked: GetLoopState | GetMeters) -> bytes:
        """Answer a question about this process."""
        return (
            self._told(asked) if isinstance(asked, GetMeters) else encode_loop(self._watch.state())
        )

    def _told(self, asked: GetMeters) -> bytes:
        return self._replicas.answer(asked, self._meters)

    async def leave(self) -> bool:
        """Finish the messages under way, and accept no others for some seconds.

        The caller ends the process then.

        Returns:
            Whether everything was finished; if not, this actor continues as before.
        """
        await asyncio.shield(self._started)
        is_shut = await self._gates.shut()
        if is_shut and self._spans is not None:
            await self._spans.flushed()
        return is_shut

    async def unfinished(self) -> list[str]:
        """Tell operators what was not finished when this actor was to leave last, in words."""
        return self._gates.drain.unfinished

    async def _keep_house(self, index: int) -> None:
        """Remove old executions of the whole stack; one actor does it for all."""
        if index != 0 or self._dedicated is not None:
            return
        self._retention = retention_of(self._settings, self._store, self._meters)
        await asyncio.shield(self._started)
        await self._retention.run()

    async def _fire_triggers(self) -> None:
        """Fire the triggers of the partitions of this actor."""
        if not self._partitions:
            return
        await asyncio.shield(self._started)
        self._triggers = start_triggers(
            self._settings,
            self._store,
            self._executions,
            self._partitions,
            meters=self._meters,
            spans=self._spans,
            submit_ahead=self._endpoint.submit_ahead,
        )

    async def _retire_when_done(self) -> None:
        if self._dedicated is None:
            return
        await asyncio.shield(self._started)
        await until_done(self._host, self._dispatcher, self._store, self._dedicated)
        self._gates.leave()
        await self._host.stop()
        if await self._host.is_replaced():
            self._die()  # Ray would end the newer owner in place of this one
        await self._store.close()
        self._socket.close()
        self._record.remove()
        # After a plain exit, Ray would keep calls for a restart that never comes.
        ray.kill(ray.get_runtime_context().current_actor, no_restart=True)

    def _leave_fenced(self) -> None:
        """Answer nobody, tell the controller that another owner has taken over, and end."""
        self._gates.close()
        if self._fenced is None:
            self._fenced = asyncio.create_task(self._tell_and_die(), name="fenced")

    async def _tell_and_die(self) -> None:
        try:
            controller = await asyncio.wait_for(
                find_actor(self._settings, CONTROLLER_ACTOR), TELL_S
            )
            if controller is not None:
                await asyncio.wait_for(controller.fenced.remote(self._name), TELL_S)
        except (ray.exceptions.RayError, TimeoutError, AttributeError) as error:
            log.warning("controller_not_told", extra={"reason": str(error)})
        finally:
            self._die()

    def _die(self) -> None:
        """End this process: a newer owner has taken over, or Ray restarts this one."""
        log.error("fenced_exit")
        os._exit(1)


def _store_of(settings: Settings, dedicated: ExecutionId | None) -> Store:
    return open_store(
        settings.store_url,
        large_value_bytes=settings.large_value_bytes,
        few_connections=dedicated is not None,
    )


async def _take_lease(actor: ExecutionActor) -> None:
    """Show from now on that this process runs; Ray alone looks after dedicated actors.

    Not a method, which processes of the release before would not know (``sent_by_value``).
    """
    if actor._dedicated is not None:  # noqa: SLF001 - of this module
        return
    store = partial(open_store, actor._settings.store_url)  # noqa: SLF001 - of this module
    holder, lost = (actor._name, actor._life), actor._leave_fenced  # noqa: SLF001 - of this module
    await renewed_lease(actor._store, store, holder, lost=lost)  # noqa: SLF001 - of this module


def _reasons(actor: ExecutionActor) -> list[Reason]:
    """Return what is wrong with an actor, as its health tells it."""
    told = [CALLBACKS_UNREACHABLE] if actor._unreachable else []  # noqa: SLF001 - of this module
    retention = actor._retention  # noqa: SLF001 - of this module
    if retention is not None and retention.archive_error:
        told.append(ARCHIVE_NOT_WRITTEN)
    return [*actor._health.reasons(), *told]  # noqa: SLF001 - of this module


def _trace_of(actor: ExecutionActor, execution_id: str) -> str | None:
    """Return the id of the trace of an execution that is in memory, for log events."""
    host = getattr(actor, "_host", None)  # events may be logged before there is one
    return None if host is None else host.trace_of(execution_id)


def _description(actor: ExecutionActor, report: ActorReport) -> bytes:
    return encode_description(
        report,
        queue=len(actor._gates),  # noqa: SLF001 - of this module
        append_ms=actor._host.append_ms,  # noqa: SLF001 - of this module
        unreachable=actor._unreachable,  # noqa: SLF001 - of this module
        is_reached=actor._callbacks_come.is_set() and not actor._unreachable,  # noqa: SLF001 - of this module
    )


def _report(task: asyncio.Task[None]) -> None:
    """Log why a background task has ended that should not have."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("background_failed", extra={"background": task.get_name()}, exc_info=error)


def spawn_dedicated(
    settings: Settings, execution_id: ExecutionId, deployed: Deployment | None = None
) -> Any:
    """Return the Ray actor of one dedicated execution, started if there is none.

    Without ``deployed`` it finds out from the store which deployment it belongs to.
    """
    actor = actor_class(ExecutionActor).options(
        name=dedicated_actor_name(execution_id),
        namespace=settings.namespace,
        **ACTOR_OPTIONS,
        **on_the_machine_of_the_store(settings),
    )
    index = owner_index(execution_id, settings.execution_actors)
    return actor.remote(settings, index, deployed, execution_id)


def ray_executions(settings: Settings, store: Store) -> RayExecutions:
    """Return the executions of a stack with these settings."""
    return RayExecutions(settings, partial(spawn_dedicated, settings), store)
