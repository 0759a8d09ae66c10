"""The HTTP API as one ASGI application: the routers, and the middleware before them.

``deployment.py`` and the tests call it. A request passes, from the outside to the inside:
``RequestLines``, ``RequestMeters``, ``ApiKeyGate``, with signatures ``FormParameters`` and
``SignedCallersOnly``, then ``HotRoutes``, which answers the hot routes itself, and FastAPI for all
others, which ``OwnWorkspacesOnly`` guards. This module must not know what a route does.
"""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from itertools import chain

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Lifespan

from rillflow.actors.deployment import deploy_and_wait
from rillflow.actors.lifecycle.launch import launch_actors
from rillflow.actors.ray_context import is_controlled
from rillflow.actors.stack import ray_stack
from rillflow.errors import RillflowError
from rillflow.gateways.plugins.loading import named_plugins
from rillflow.private_apis.ray_serve.shortcut import open_shortcut
from rillflow.runtime.hooks.loading import load_hooks
from rillflow.runtime.process.gc_tuning import tune_gc
from rillflow.runtime.process.log_lines import write_lines
from rillflow.runtime.process.loop_watch import LoopWatch
from rillflow.runtime.process.measuring import read_process
from rillflow.runtime.stack import Stack
from rillflow.runtime.supervision.deployed import record
from rillflow.settings import Settings
from rillflow.task_set import TaskSet
from rillflow.telemetry.meters import Meters
from rillflow.telemetry.minutes import Minutes
from serve.limits.failed_lookups import WRONG_KEY, FailedLookups
from serve.limits.known_keys import KnownKeys
from serve.limits.request_turns import RequestTurns
from serve.limits.session_limits import SessionLimits
from serve.middleware.audited_changes import AuditedChanges
from serve.middleware.browsers import Browsers
from serve.middleware.entry import ApiKeyGate, RequestLines, RequestMeters
from serve.middleware.form_parameters import FormParameters
from serve.middleware.signatures import SignatureCheck, SignedCallersOnly
from serve.middleware.workspaces import OwnWorkspacesOnly
from serve.route_table import check_endpoints, paths_where
from serve.routes import (
    artifacts,
    batch_redo,
    console_pages,
    contexts,
    control,
    definition_tools,
    dry_runs,
    legacy,
    statistics,
    triggers,
)
from serve.routes.access import api_keys, audit
from serve.routes.batch_redo import BatchRedo
from serve.routes.console import definition_rules, definitions, listings, templates
from serve.routes.console_api import (
    drafts,
    evaluations,
    firings,
    inspecting,
    journals,
    minutes,
    operations,
    searching,
    streams,
    workflows,
)
from serve.routes.document import add_document
from serve.routes.hot import HotRoutes
from serve.routes.monitoring import cluster, event_loops, health, metrics, overload
from serve.routes.webhooks.requests import router as webhook_router
from serve.routes.webhooks.requests import webhooks_of
from serve.schemas.console_sessions import ConsoleSessions
from serve.schemas.errors import respond_to
from serve.schemas.session_ends import SessionEnds

DESCRIPTION = """
Rill Flow workflows of serverless functions, run by durable actors on Ray.

Refusals are `{"error_code", "error"}`: 400 with 301xx for what the caller can mend, 422 for
missing or malformed parameters, 500 with 303xx to 306xx where the execution cannot take the
request now, 503 when the store does not answer. Fields without a value are left out.
"""


def build_asgi_app(settings: Settings, listens_on: str, deployed: Callable[[], str]) -> ASGIApp:
    """Build the application that one Serve replica runs behind a front that listens there.

    Args:
        settings: Those of the replica.
        listens_on: The address where requests come in.
        deployed: Returns what tells the deployment of this replica from others.

    Raises:
        RequestError: A hook of the settings cannot be loaded.
        GatewayError: A plugin of the settings cannot be.
        StoreError: The store cannot be opened, or is another one than that of the actors.
        UnavailableError: The execution actors do not start in time.
    """
    write_lines(settings.log_format, "replica")
    # Refused here, rather than by actors that start again and again.
    load_hooks(settings.hooks)
    list(named_plugins(settings.plugins))

    async def start_actors() -> None:
        if not is_controlled():  # `rillflow up` looks after the actors, which end with it
            deployed = await record(settings, stack.store)
            for actor in launch_actors(settings, deployed):
                await actor.ready.remote()
        tune_gc()

    if is_controlled():
        # Serve shows what the constructor of a replica raises, and not what its start raises.
        deploy_and_wait(settings, deployed)

    stack = ray_stack(settings)
    return create_api(stack, start_actors, listens_on)


def create_api(
    stack: Stack, start: Callable[[], Awaitable[None]], listens_on: str | None = None
) -> ASGIApp:
    """Build the application in front of a stack.

    Args:
        stack: What the routes call.
        start: Runs before the first request.
        listens_on: The address where requests come in; None is ``settings.host``.

    Raises:
        RouteTableError: The endpoints and the table of routes differ.
    """
    watch, batches, webhooks = LoopWatch("replica"), BatchRedo(stack), webhooks_of(stack)
    meters, background, kept = _meters_of(watch), TaskSet[None](), Minutes()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watch.start()
        await stack.open()
        await start()
        stack.readiness.start()
        open_shortcut(
            app,
            hot=frozenset(hot.handlers),
            health=paths_where(lambda route: route.health),
            waiting=stack.settings.waiting_requests,
        )
        background.start(metrics.tell_metrics(stack, meters))
        background.start(minutes.keep_minutes(stack, meters, kept))
        yield
        await background.stop()
        await batches.stop()
        await webhooks.stop()
        await stack.readiness.stop()
        await stack.close()
        watch.stop()

    api = _framework(lifespan)
    guesses, keys, turns = _guesses_of(stack), KnownKeys(stack.store, stack.clock), RequestTurns()
    hot, checked = _checked(api, stack, guesses, turns)
    sessions = ConsoleSessions(stack.settings, stack.clock, SessionEnds(stack.store, stack.clock))
    browsers = Browsers(stack.settings, listens_on)
    gate = ApiKeyGate(checked, stack.settings, sessions, browsers, keys, guesses, turns)
    app = RequestLines(RequestMeters(gate, meters, stack.clock))
    pages = [console_pages.router(sessions, keys, guesses, SessionLimits(stack.clock))]
    pages.append(webhook_router(stack, webhooks, browsers.refuse_foreign, hot.waits))
    pages += [minutes.router(stack, kept), api_keys.router(stack, keys)]
    include_routers(api, chain(pages, _routers(stack, hot, watch, batches, meters)), stack.settings)
    return app


def _checked(
    api: FastAPI, stack: Stack, guesses: FailedLookups, turns: RequestTurns
) -> tuple[HotRoutes, ASGIApp]:
    """Return the hot routes, and what stands before them behind the gate."""
    callers = SignatureCheck(stack.settings, stack.clock)
    own = OwnWorkspacesOnly(AuditedChanges(api, stack))
    if not callers.must_sign:
        hot = HotRoutes(FormParameters(own), stack, turns)
        return hot, hot
    hot = HotRoutes(own, stack, turns)
    return hot, FormParameters(SignedCallersOnly(hot, callers, guesses))


def _guesses_of(stack: Stack) -> FailedLookups:
    most = stack.settings.unknown_executions_per_minute
    return FailedLookups(most, stack.clock, WRONG_KEY)


def _meters_of(watch: LoopWatch) -> Meters:
    meters = Meters(f"replica:{uuid.uuid4().hex[:12]}")
    read_process(meters, watch.state)
    return meters


def _framework(lifespan: Lifespan[FastAPI]) -> FastAPI:
    api = FastAPI(
        title="Rillflow",
        description=DESCRIPTION,
        version=version("rillflow"),
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own pages load scripts from other hosts
        redoc_url=None,
        openapi_url=None,
    )
    # Starlette raises what only Exception catches again after the answer, and the connection ends.
    for error in (RillflowError, HTTPException, RequestValidationError, Exception):
        api.add_exception_handler(error, _answer)
    return api


def _routers(
    stack: Stack, hot: HotRoutes, watch: LoopWatch, batches: BatchRedo, meters: Meters
) -> Iterator[APIRouter]:
    yield control.router(stack, hot)
    yield artifacts.router(stack, hot.turns, hot.lookups)
    yield metrics.router(stack, meters)
    yield batch_redo.router(stack, batches)
    yield event_loops.router(stack, watch)
    yield operations.router(stack, watch)
    for module in (
        audit,
        cluster,
        contexts,
        statistics,
        overload,
        definition_tools,
        dry_runs,
        triggers,
        definitions,
        definition_rules,
        templates,
        listings,
        searching,
        inspecting,
        journals,
        streams,
        workflows,
        drafts,
        evaluations,
        firings,
        legacy,
        health,
    ):
        yield module.router(stack)


def include_routers(api: FastAPI, routers: Iterable[APIRouter], settings: Settings) -> None:
    """Add the endpoints of all routers, and the one of the OpenAPI document.

    Raises:
        RouteTableError: They are not those of the table of routes.
    """
    add_document(api, settings)
    # The routes are added as they are. `include_router` would make each anew at the first request,
    # which held the event loop for a tenth of a second, and match each by two objects.
    for router in routers:
        api.router.routes.extend(router.routes)
    check_endpoints(
        (method, route.path)
        for route in api.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    )


async def _answer(_: Request, error: Exception) -> Response:
    return respond_to(error)
