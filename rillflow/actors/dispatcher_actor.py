"""The dispatcher: the Ray actor that makes outbound calls; a restart needs none of its state.

Ray restarts it after a crash; owners then send the calls again that were not answered
(`rillflow/runtime/dispatch/client.py`).

Used by `actors/placing.py` and `serve/routes/dry_runs.py`.
"""

import asyncio
import os
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import ray
from msgspec.structs import replace

from rillflow.actors.connections.frames import Response, response_of
from rillflow.actors.connections.sockets import SocketServer
from rillflow.actors.names import dispatcher_actor_name, is_dedicated_actor, sent_by_value
from rillflow.actors.peers import Peer
from rillflow.actors.ray_context import is_controlled
from rillflow.artifact_settings import artifact_settings
from rillflow.gateways.http.gateway import HttpGateway
from rillflow.gateways.limits.answer_budget import AnswerBudget, CallId
from rillflow.gateways.outbound.egress import egress_rules
from rillflow.gateways.outbound.settings import BreakerPolicy, HttpSettings
from rillflow.gateways.registry import GatewayRegistry
from rillflow.listening import allow
from rillflow.ports.cluster import ActorReport, encode_description
from rillflow.ports.deployment import Deployment
from rillflow.ports.gateway import HostState
from rillflow.ports.loops import LEAVES, encode_loop
from rillflow.ports.messages import Answers, GetLoopState, GetMeters, decode_dispatcher_message
from rillflow.ray_tasks.call_gateway import RayCallGateway
from rillflow.ray_tasks.gateway import RayTaskGateway
from rillflow.ray_tasks.jobs.gateway import RayJobGateway
from rillflow.ray_tasks.settings import RaySettings
from rillflow.ray_tasks.targets import ACTOR_SCHEME, JOB_SCHEME, SCHEME, SERVE_SCHEME
from rillflow.runtime.crashes.crash_history import HandlingRecord, record_path
from rillflow.runtime.dispatch.client import Connection
from rillflow.runtime.dispatch.delegation import Delegation
from rillflow.runtime.dispatch.measuring import MeasuredGateway, read_hosts
from rillflow.runtime.dispatch.progress import ProgressDelivery
from rillflow.runtime.dispatch.suspect_calls import SuspectCalls
from rillflow.runtime.endpoints.dispatcher_endpoint import DispatcherEndpoint
from rillflow.runtime.endpoints.drain import Drain
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.process.gc_tuning import tune_gc
from rillflow.runtime.process.log_lines import write_lines
from rillflow.runtime.process.loop_watch import LoopWatch
from rillflow.runtime.process.measuring import read_process
from rillflow.runtime.supervision.deployed import code_version
from rillflow.settings import Settings
from rillflow.telemetry import metrics
from rillflow.telemetry.meters import Meters
from rillflow.telemetry.profile import profile_of
from rillflow.telemetry.states import encode_states
from rillflow.tls_settings import tls_by_host

FILES_BESIDE: Final = 1_000
"""Those of a dispatcher besides one for each connection to a function."""


class DispatcherActor:
    """Makes the calls of the execution actors of the cluster."""

    def __init__(self, settings: Settings, name: str, deployed: Deployment) -> None:
        write_lines(settings.log_format, name)
        self._deployed = deployed
        self._code_version = code_version() if is_controlled() else ""
        self._watch = LoopWatch(name)
        self._watch.start()
        budget = AnswerBudget(settings.call_answers_max_bytes, settings.call_answer_min_bytes_per_s)
        outbound = http_settings(settings)
        allow(outbound.pool_size + FILES_BESIDE)
        registry = GatewayRegistry.with_http(
            outbound, SystemClock(), plugin_modules=settings.plugins, budget=budget
        )
        self._socket = SocketServer(self._answer, name)
        of_ray = ray_settings(settings, name, self._socket.beside("calls"))
        ray_tasks, ray_calls, ray_jobs = _ray_gateways(registry, of_ray, budget)

        def hosts() -> list[HostState]:
            return [*registry.hosts(), *ray_tasks.hosts(), *ray_calls.hosts(), *ray_jobs.hosts()]

        self._meters = Meters(name, profile=profile_of(is_told=settings.profile_log))
        self._namespace = settings.namespace
        life = uuid.uuid4()
        self._life = life.hex
        self._delegation = _delegation(name, self._life, settings, self._watch, budget)
        registry.delegate_to(self._delegation)
        measured = MeasuredGateway(registry, self._meters, SystemClock(), registry, registry)
        self._endpoint = DispatcherEndpoint(
            measured,
            life=life.bytes,
            connect=self._connect,
            hosts=hosts,
            settled=ray_tasks.settled,
            lost=partial(_lost, ray_tasks, ray_jobs),
            budget=budget,
            shares=lambda sender: not is_dedicated_actor(sender),
            delegated=_gateway_of_others(settings, budget),
            passes_on=None if self._delegation is None else measured,
            queues=measured,
            suspects=_suspects(registry, name, settings),
        )
        self._measure(hosts)
        self._progress = ray_tasks.progress
        ray_tasks.progress.deliver = ProgressDelivery(
            self._endpoint.connection_of, SystemClock(), registry.masked
        ).begin
        self._drain, self._name = Drain(), name
        self._describe = encode_description
        self._started = asyncio.create_task(self._socket.start(), name="socket")
        tune_gc()

    def _measure(self, hosts: Callable[[], list[HostState]]) -> None:
        read_process(self._meters, self._watch.state)
        read_hosts(self._meters, hosts)
        self._meters.read(metrics.DISPATCHER_CALLS, lambda: {(): len(self._endpoint)})

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
        return await response_of(self._wait_for_answer(message), self._name)

    async def _wait_for_answer(self, data: bytes) -> bytes:
        answer = self._answer(data)
        return answer if isinstance(answer, bytes) else await answer

    def _answer(self, data: bytes) -> bytes | Awaitable[bytes]:
        """Answer a message, at once unless it is an order and the drain is shut."""
        message = decode_dispatcher_message(data)
        if isinstance(message, GetLoopState):
            state = self._watch.state()
            return encode_loop(state if self._drain.is_open else replace(state, busy=LEAVES))
        if isinstance(message, Answers):
            return b"" if self._delegation is None else self._delegation.answered(message.answers)
        if isinstance(message, GetMeters):
            return encode_states([self._meters.state()])
        return self._endpoint.answer_through(self._drain, message)

    async def progress(
        self, number: int, fraction: float | None, message: str, log: str | None
    ) -> None:
        """Take what a Ray function reports, for the call of this number."""
        self._progress.take(number, fraction, message, log)

    async def leave(self) -> bool:
        """Wait for the calls under way, and accept no others for some seconds.

        The caller ends the process then.

        Returns:
            Whether all were answered; if not, this actor continues as before.
        """
        return await self._drain.shut(self._endpoint)

    async def unfinished(self) -> list[str]:
        """Tell operators what was not finished when this actor was to leave last, in words."""
        return self._drain.unfinished

    async def report(self) -> ActorReport:
        """Return what the controller and operators want to know."""
        return ActorReport(
            name=self._name,
            node=ray.get_runtime_context().get_node_id(),
            pid=os.getpid(),
            life=self._life,
            is_ready=self._started.done(),
            deployment=self._deployed,
            code_version=self._code_version,
            calls=len(self._endpoint),
        )

    @sent_by_value
    async def described(self) -> bytes:
        """Return the report, with what this actor does, for a process of any release."""
        return self._describe(await self.report())

    async def facts(self) -> dict[str, int]:
        """Return the facts that `rillflow status` shows."""
        return {"pid": os.getpid(), "calls": len(self._endpoint)}

    def _connect(self, sender: str) -> Connection:
        # An owner that is not wanted any more ends; what it ordered is ordered by others.
        mortal = is_dedicated_actor(sender)
        return Peer(sender, self._namespace, mortal=mortal, may_end=True).call


def _ray_gateways(
    registry: GatewayRegistry, settings: RaySettings, budget: AnswerBudget
) -> tuple[RayTaskGateway, RayCallGateway, RayJobGateway]:
    """Register the gateways that need Ray, and return them."""
    tasks = RayTaskGateway(settings, budget)
    calls = RayCallGateway(settings, budget, tasks.progress)
    jobs = RayJobGateway(settings, tasks.progress)
    registry.register(JOB_SCHEME, jobs)
    registry.register(SCHEME, tasks)
    registry.register(ACTOR_SCHEME, calls)
    registry.register(SERVE_SCHEME, calls)
    return tasks, calls, jobs


def _lost(tasks: RayTaskGateway, jobs: RayJobGateway, call: CallId) -> None:
    """End what an earlier process has begun on Ray, and nobody waits for."""
    tasks.lost(call)
    jobs.lost(call)


def _suspects(registry: GatewayRegistry, name: str, settings: Settings) -> SuspectCalls:
    """Return what makes calls that were under way when earlier processes of a dispatcher died."""
    record = HandlingRecord(record_path(settings.store_url, settings.namespace, name))
    return SuspectCalls(record, SystemClock(), registry.calls_plugin)


def _delegation(
    name: str, process: str, settings: Settings, watch: LoopWatch, budget: AnswerBudget
) -> Delegation | None:
    """Return what passes calls on to the other dispatchers, started; None if there are none."""
    names = map(dispatcher_actor_name, range(settings.dispatcher_actors))
    others = [Peer(each, settings.namespace).call for each in names if each != name]
    if not others:
        return None
    delegation = Delegation(name, process, others, busy=lambda: watch.busy, budget=budget)
    delegation.start()
    return delegation


def _gateway_of_others(settings: Settings, budget: AnswerBudget) -> HttpGateway | None:
    """Return the gateway of calls that other dispatchers have delegated; None without others.

    They are plain HTTP calls, and have had their turn where they are from. Circuits are there, too,
    and hear from here how calls went.
    """
    if settings.dispatcher_actors == 1:
        return None
    return HttpGateway(http_settings(settings), SystemClock(), budget, is_limited=False)


def ray_settings(settings: Settings, dispatcher: str, feed_path: str = "") -> RaySettings:
    """Return the part of the settings that calls of Ray need, for a dispatcher of this name.

    It listens for its workers at ``feed_path``.
    """
    return RaySettings(
        modules=settings.ray_modules,
        path=tuple(map(str, settings.ray_path)),
        actors=settings.ray_actors,
        applications=settings.serve_applications,
        runtime_envs=settings.ray_runtime_envs,
        jobs={name: (job.entrypoint, job.runtime_env) for name, job in settings.ray_jobs.items()},
        namespace=settings.namespace,
        dispatcher=dispatcher,
        unclaimed_s=settings.ray_unclaimed_s,
        small_calls=settings.ray_small_calls,
        calls_per_target=settings.limit_per_host,
        artifacts=artifact_settings(settings),
        feed_path=feed_path,
        result_folders=tuple(map(str, settings.ray_result_folders)),
        workspace_shares={
            name: quota.ray_share
            for name, quota in settings.workspace_quotas.items()
            if quota.ray_share is not None
        },
    )


def http_settings(settings: Settings) -> HttpSettings:
    """Return the part of the settings that the HTTP gateway needs."""
    return HttpSettings(
        server_host=settings.base_url,
        callback_host=settings.callback_host,
        auth_secret=settings.auth_secret,
        auth_businesses=frozenset(settings.auth_businesses),
        marks_callbacks=settings.auth_signature == "parameters",
        callback_keys=artifact_settings(settings).upload_keys,
        callback_ttl_s=settings.callback_ttl_s,
        connect_timeout_s=settings.connect_timeout_s,
        call_timeout_s=settings.call_timeout_s,
        longest_call_s=settings.longest_call_s,
        transport=settings.http_transport,
        transport_attempts=settings.transport_attempts,
        limit_per_host=settings.limit_per_host,
        rate_per_host=settings.rate_per_host,
        rates_by_host=settings.rates_by_host,
        tls_by_host=tls_by_host(settings),
        breaker=BreakerPolicy(
            failures=settings.breaker_failures,
            pause_s=settings.breaker_pause_s,
            longest_pause_s=settings.breaker_longest_pause_s,
        ),
        secrets_dir=settings.secrets_dir,
        artifacts=artifact_settings(settings),
        chatgpt_base_url=settings.chatgpt_base_url,
        aliyun_ai_base_url=settings.aliyun_ai_base_url,
        secret_hosts=settings.secret_hosts,
        egress=egress_rules(
            allow=settings.egress_allow, deny=settings.egress_deny, private=settings.calls_private
        ),
    )
