"""The HTTP API in this process, on a port of its own: no Ray, real sockets, real functions."""

import asyncio
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import uvicorn
from starlette.types import ASGIApp

from rillflow.actors.dispatcher_actor import http_settings
from rillflow.gateways.registry import GatewayRegistry
from rillflow.ids import PARTITIONS, ExecutionId
from rillflow.ports.cluster import (
    ActorDescription,
    ActorReport,
    ClusterState,
    ControllerReport,
)
from rillflow.ports.deployment import Deployment
from rillflow.ports.loops import LoopState
from rillflow.ports.storage.store import Store
from rillflow.ports.triggers import TriggerType
from rillflow.runtime.backpressure.quotas import store_limit
from rillflow.runtime.dispatch.measuring import read_hosts
from rillflow.runtime.hooks.chain import ContextHook
from rillflow.runtime.hooks.loading import load_hook
from rillflow.runtime.local import LocalDispatcher, LocalExecutions, LocalProcessMeters
from rillflow.runtime.process.measuring import owner_meters
from rillflow.runtime.process.readiness import ReadinessWatch, reading, writing
from rillflow.runtime.process.span_export import span_queue
from rillflow.runtime.stack import Stack
from rillflow.runtime.submission.groups import GroupSubmissions
from rillflow.runtime.submission.tracing import TraceSampling
from rillflow.runtime.triggers.runner import TriggerRunner
from rillflow.runtime.triggers.sources.known_types import trigger_types
from rillflow.runtime.triggers.sources.runner import SourceRunner
from rillflow.runtime.triggers.tracing import TriggerSpans
from rillflow.settings import Settings
from rillflow.stores import open_store
from rillflow.telemetry.meters import Meters
from rillflow.telemetry.span_queue import SpanQueue
from rillflow.testing import FakeOpenFaaS
from serve.api import create_api

LONG_S: Final = 120
TLS: Final = ssl.create_default_context()
"""For all clients: each would read the certificates of the machine anew, which takes 20 ms."""
HEAD: Final = re.compile(r"workspace: (\w+)\s+dagName: (\w+)")


class MovableClock:
    """The machine's clock, which a test may set forward, or stop."""

    def __init__(self) -> None:
        self._ahead_ms = self._set_ms = 0
        self._stopped_ms: int | None = None
        self._stopped_s: float | None = None

    def advance(self, seconds: float) -> None:
        self._ahead_ms += int(seconds * 1000)

    def set(self, seconds: float) -> None:
        """Set the wall clock forward, or back; the monotonic one goes on."""
        self._set_ms += int(seconds * 1000)

    def stop(self) -> None:
        """Stand still at the beginning of a second, until advanced."""
        self._stopped_ms = time.time_ns() // 1_000_000_000 * 1000

    def stop_all(self) -> None:
        """Stop the monotonic clock as well, by which rates are counted."""
        self.stop()
        self._stopped_s = time.monotonic()

    def now_ms(self) -> int:
        if self._stopped_ms is not None:
            return self._stopped_ms + self._ahead_ms + self._set_ms
        return time.time_ns() // 1_000_000 + self._ahead_ms + self._set_ms

    def monotonic_s(self) -> float:
        now_s = time.monotonic() if self._stopped_s is None else self._stopped_s
        return now_s + self._ahead_ms / 1000


class NoActors:
    """The event loops of a stack that is all in this process."""

    async def states(self) -> list[LoopState]:
        return [LoopState(process="rillflow:execution:0", is_reached=False)]


class OneActor:
    """A deployment with one actor, which was started with what is wanted."""

    def __init__(self) -> None:
        self.wanted = Deployment(
            store_id="s",
            version=3,
            partition_map=2,
            settings_digest="d",
            secrets_digest="never shown",
            code_version="1/1",
            execution_actors=1,
            dispatcher_actors=1,
        )
        self.controller: ControllerReport | None = None
        self.actor = ActorReport(
            name="rillflow:execution:0",
            node="n",
            pid=7,
            life="l",
            is_ready=True,
            deployment=self.wanted,
            partitions=256,
            epoch=9,
        )
        self.silent: list[str] = []
        self.descriptions: dict[str, ActorDescription] = {}
        self.unfinished: int | None = None
        self.stored: dict[str, int] = {}
        self.is_controlled = False

    async def state(self, executions: Sequence[ExecutionId] = ()) -> ClusterState:
        return ClusterState(
            wanted=self.wanted,
            controller=self.controller,
            actors=[self.actor],
            silent=self.silent,
            is_controlled=self.is_controlled,
            descriptions=self.descriptions,
            addresses={"n": "10.0.0.1 (one)"},
            holders=dict.fromkeys(executions, self.actor.name),
            unfinished=self.unfinished,
            stored=self.stored,
        )


class Api:
    """A client of the API, with what lies behind it."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        app: ASGIApp,
        stack: Stack,
        gateway: FakeOpenFaaS,
        clock: MovableClock,
    ) -> None:
        self.app = app
        self.client = client
        self.stack = stack
        self.gateway = gateway
        self.clock = clock

    async def get(self, path: str, **params: Any) -> Any:
        """Return the JSON of an answer that must be 200."""
        return _json(await self.client.get(path, params=params))

    async def get_patiently(self, path: str, **params: Any) -> Any:
        """The same, asked again while it says so: a busy machine reads a journal in parts."""
        async with asyncio.timeout(LONG_S):
            while (response := await self.client.get(path, params=params)).status_code == 503:
                assert "ask again" in response.text
        return _json(response)

    async def post(self, path: str, body: Any = None, **params: Any) -> Any:
        """Return the JSON of an answer that must be 200; a body that is text goes as text."""
        return _json(await self._posted(path, body, params))

    async def refusal(self, path: str, body: Any = None, **params: Any) -> tuple[int, int, str]:
        """Return status, code and text of a POST that must be refused."""
        return refusal_of(await self._posted(path, body, params))

    async def get_refusal(self, path: str, **params: Any) -> tuple[int, int, str]:
        """Return status, code and text of a GET that must be refused."""
        return refusal_of(await self.client.get(path, params=params))

    async def _posted(self, path: str, body: Any, params: Mapping[str, Any]) -> httpx.Response:
        if isinstance(body, str | bytes):
            return await self.client.post(path, params=params, content=body)
        return await self.client.post(path, params=params, json={} if body is None else body)

    async def until_ready(self) -> None:
        """Wait until the API says that it is ready."""
        async with asyncio.timeout(LONG_S):
            while (response := await self.client.get("/readyz")).status_code != 200:
                assert response.status_code == 503
        assert response.json() == {"status": "ready", "ready": True, "reasons": []}

    async def until_not_ready(self) -> dict[str, Any]:
        """Wait until it says that it is not, and return what it says."""
        async with asyncio.timeout(LONG_S):
            while (response := await self.client.get("/readyz")).status_code != 503:
                assert response.status_code == 200
        assert response.headers["Retry-After"] == "1"
        told = dict(response.json())
        assert (told["error_code"], told["ready"]) == (30501, False)
        return told

    async def add(self, text: str, alias: str = "release") -> str:
        """Add a definition under the names it gives itself; return the id of its version."""
        head = HEAD.search(text)
        assert head is not None
        added = await self.post(
            "/flow/bg/manage/descriptor/add_descriptor.json",
            text.replace("${GW}", self.gateway.url),
            business_id=head[1],
            feature_name=head[2],
            alias=alias,
        )
        return str(added["descriptor_id"])

    async def submit(self, descriptor_id: str, data: Any = None, **params: Any) -> str:
        """Start an execution."""
        params["descriptor_id"] = descriptor_id
        return str((await self.post("/flow/submit.json", data, **params))["execution_id"])

    async def shown(self, execution_id: str, **params: Any) -> dict[str, Any]:
        """Return an execution as it is now."""
        shown = await self.get("/flow/get.json", execution_id=execution_id, **params)
        return dict(shown["ret"])

    async def ended(self, execution_id: str) -> dict[str, Any]:
        """Return an execution once it has ended."""
        shown = await self.shown(execution_id, wait_s=LONG_S)
        assert shown["dag_status"] in ("SUCCEED", "FAILED"), shown
        return shown

    async def run(self, text: str, data: Any = None, **params: Any) -> dict[str, Any]:
        """Add a definition, run it and return the execution once it has ended."""
        return await self.ended(await self.submit(await self.add(text), data, **params))


def refusal_of(response: httpx.Response) -> tuple[int, int, str]:
    """Return status, code and text of a refusal."""
    body = response.json()
    assert set(body) <= {"error_code", "error", "pass_through", "hint"}, body
    return response.status_code, body["error_code"], body["error"]


def _json(response: httpx.Response) -> Any:
    assert response.status_code == 200, (response.status_code, response.text)
    return response.json()


def runners_of(
    stack: Stack,
    executions: LocalExecutions,
    types: Mapping[str, TriggerType] | None,
    meters: Meters,
    queue: SpanQueue | None,
) -> tuple[TriggerRunner, SourceRunner]:
    """Return what fires the triggers of a stack, and what reads their sources."""
    sampling = TraceSampling(stack.settings)
    parts: dict[str, Any] = {
        "store": stack.store,
        "submissions": GroupSubmissions(
            stack.settings,
            store=stack.store,
            executions=executions,
            clock=stack.clock,
            hook=load_hook(stack.settings.context_hook),
        ),
        "clock": stack.clock,
        "partitions": range(PARTITIONS),
        "meters": meters,
        "spans": None if queue is None else TriggerSpans(queue, sampling),
    }
    runner = TriggerRunner(executions=executions, **parts)
    sources = SourceRunner(types=types or trigger_types(stack.settings), **parts)
    return runner, sources


def client_of(settings: Settings) -> httpx.AsyncClient:
    """Return a client of the server with these settings."""
    return httpx.AsyncClient(base_url=settings.base_url, timeout=2 * LONG_S, verify=TLS)


async def started(executions: LocalExecutions, runners: tuple[TriggerRunner, SourceRunner]) -> None:
    """Start the executions, and what starts them by itself."""
    await executions.start()
    for runner in runners:
        runner.start()


async def stopped(executions: LocalExecutions, runners: tuple[TriggerRunner, SourceRunner]) -> None:
    """Stop what starts executions, and then these."""
    for runner in runners:
        await runner.stop()
    await executions.stop()


def executions_of(  # noqa: PLR0917 - the parts that it joins
    settings: Settings,
    store: Store,
    registry: GatewayRegistry,
    clock: MovableClock,
    meters: Meters,
    spans: SpanQueue | None,
) -> LocalExecutions:
    """Return executions with these settings."""
    return LocalExecutions(
        store=store,
        gateway=registry,
        clock=clock,
        callback_host=settings.callback_base_url,
        max_queued_submissions=settings.max_queued_submissions,
        max_unanswered_calls=settings.max_unanswered_calls,
        max_unanswered_bytes=settings.max_unanswered_bytes,
        most_hot=settings.hot_executions,
        hot_bytes=settings.hot_bytes,
        outputs_max_bytes=settings.outputs_max_bytes,
        views_max_bytes=settings.answers_max_bytes,
        subflow_workspaces=settings.subflow_workspaces,
        take_store=store_limit(settings, store, clock),
        meters=meters,
        spans=spans,
    )


@asynccontextmanager
async def served(
    functions: Mapping[str, Any] | None = None,
    *,
    store: Store | None = None,
    hook: ContextHook | None = None,
    types: Mapping[str, TriggerType] | None = None,
    clock: MovableClock | None = None,
    **changes: Any,
) -> AsyncIterator[Api]:
    """Serve the API with these functions behind it, these settings, and types of triggers."""
    # asyncio sends small answers at once (TCP_NODELAY) only where the protocol is named.
    with socket.socket(proto=socket.IPPROTO_TCP) as door:
        door.bind(("127.0.0.1", 0))
        clock, store = clock or MovableClock(), store or open_store("memory:")
        settings = Settings(port=door.getsockname()[1], **changes)
        async with FakeOpenFaaS(functions or {}) as gateway:
            registry = GatewayRegistry.with_http(http_settings(settings), clock)
            meters = owner_meters("rillflow:execution:0", settings)
            read_hosts(meters, registry.hosts)
            spans = span_queue(meters) if TraceSampling(settings).is_on else None
            executions = executions_of(settings, store, registry, clock, meters, spans)
            stack = Stack(
                settings,
                store=store,
                executions=executions,
                dispatchers=LocalDispatcher(registry),
                loops=NoActors(),
                cluster=OneActor(),
                readiness=ReadinessWatch([writing(store, pause_s=0.02), reading(store)]),
                clock=clock,
                hook=hook,
                process_meters=LocalProcessMeters(meters),
            )
            runners = runners_of(stack, executions, types, meters, spans)
            app = create_api(stack, lambda: started(executions, runners))
            async with listening(door, app):
                async with client_of(settings) as client:
                    yield Api(client, app, stack, gateway, clock)
                await stopped(executions, runners)


@asynccontextmanager
async def listening(door: socket.socket, app: ASGIApp) -> AsyncIterator[None]:
    config = uvicorn.Config(app, log_config=None, lifespan="on")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[door])
    assert server.started
    try:
        yield
    finally:
        # What uvicorn's own shutdown does, without its pause for connections to drain.
        for listener in server.servers:
            listener.close()
        for connection in list(server.server_state.connections):
            connection.shutdown()
        await server.lifespan.shutdown()
