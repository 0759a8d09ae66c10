"""The Ray actor that pools outbound calls; it remembers nothing that matters."""

import asyncio
import os
import uuid

import ray

from rillflow.actors.names import is_dedicated_actor
from rillflow.actors.peers import Peer
from rillflow.actors.responses import Response, response_of
from rillflow.actors.sockets import SocketServer
from rillflow.gateways.limits.answer_budget import AnswerBudget
from rillflow.gateways.messages.egress import egress_rules
from rillflow.gateways.messages.settings import BreakerPolicy, HttpSettings
from rillflow.gateways.registry import GatewayRegistry
from rillflow.ports.loops import OF_PROCESS, encode_loop
from rillflow.runtime.dispatch.client import Line
from rillflow.runtime.endpoints import DispatcherEndpoint
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.process.gc_tuning import tune_gc
from rillflow.runtime.process.log_lines import write_lines
from rillflow.runtime.process.loop_watch import LoopWatch
from rillflow.runtime.routing.drain import Drain
from rillflow.settings import Settings


class DispatcherActor:
    """Makes the calls of the execution actors of the cluster."""

    def __init__(self, settings: Settings, name: str) -> None:
        write_lines()
        self._watch = LoopWatch(name)
        self._watch.start()
        budget = AnswerBudget(settings.call_answers_max_bytes)
        registry = GatewayRegistry.with_http(
            http_settings(settings), SystemClock(), plugin_modules=settings.plugins, budget=budget
        )
        self._namespace = settings.namespace
        self._desk = DispatcherEndpoint(
            registry,
            life=uuid.uuid4().bytes,
            line_to=self._line_to,
            hosts=registry.hosts,
            budget=budget,
        )
        self._door = Drain()
        self._name = name
        self._socket = SocketServer(self._answer, name)
        self._started = asyncio.create_task(self._socket.start(), name="socket")
        tune_gc()

    async def socket(self) -> tuple[str, str]:
        """Return where actors of the same node reach this one: node id and path."""
        await asyncio.shield(self._started)
        return ray.get_runtime_context().get_node_id(), self._socket.path

    async def take(self, method: str, argument: bytes) -> Response:
        """Take a question of a peer on another node."""
        return await response_of(self._answer(method, argument), self._name)

    async def _answer(self, method: str, argument: bytes) -> bytes:
        """Answer a question of a peer."""
        if method == OF_PROCESS:
            return encode_loop(self._watch.state())
        return await self._door.through(lambda: self._desk.take(method, argument))

    async def leave(self) -> bool:
        """Wait for the calls under way, and take no others for some seconds.

        Whoever asks this ends the process then.

        Returns:
            Whether all were answered; if not, this actor goes on as before.
        """
        return await self._door.shut(lambda: not len(self._desk))

    async def facts(self) -> dict[str, int]:
        """Return what an operator may want to see."""
        return {"pid": os.getpid(), "calls": len(self._desk)}

    def _line_to(self, sender: str) -> Line:
        return Peer(sender, self._namespace, mortal=is_dedicated_actor(sender)).call


def http_settings(settings: Settings) -> HttpSettings:
    """Return the part of the settings that the HTTP gateway needs."""
    return HttpSettings(
        server_host=settings.base_url,
        callback_host=settings.callback_host,
        auth_secret=settings.auth_secret,
        auth_businesses=frozenset(settings.auth_businesses),
        marks_callbacks=settings.auth_signature == "parameters",
        callback_keys=tuple(key.get_secret_value() for key in settings.callback_keys),
        callback_ttl_s=settings.callback_ttl_s,
        connect_timeout_s=settings.connect_timeout_s,
        call_timeout_s=settings.call_timeout_s,
        longest_call_s=settings.longest_call_s,
        transport=settings.http_transport,
        transport_attempts=settings.transport_attempts,
        limit_per_host=settings.limit_per_host,
        rate_per_host=settings.rate_per_host,
        rates_by_host=settings.rates_by_host,
        breaker=BreakerPolicy(
            failures=settings.breaker_failures,
            pause_s=settings.breaker_pause_s,
            longest_pause_s=settings.breaker_longest_pause_s,
        ),
        secrets_dir=settings.secrets_dir,
        chatgpt_base_url=settings.chatgpt_base_url,
        aliyun_ai_base_url=settings.aliyun_ai_base_url,
        secret_hosts=settings.secret_hosts,
        egress=egress_rules(
            allow=settings.egress_allow, deny=settings.egress_deny, private=settings.calls_private
        ),
    )
