"""The HTTP API as a FastAPI application; the hot routes are documented here, served elsewhere."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from rillflow.actors.launch import launch_actors
from rillflow.actors.stack import Stack
from rillflow.errors import RillflowError
from rillflow.gateways.messages.threads import in_slow_thread
from rillflow.gateways.plugins.loading import named_plugins
from rillflow.private_apis.serve_shortcut import open_shortcut
from rillflow.runtime.hooks.loading import load_hooks
from rillflow.runtime.process.gc_tuning import tune_gc
from rillflow.runtime.process.log_lines import write_lines
from rillflow.runtime.process.loop_watch import LoopWatch
from rillflow.settings import Settings
from serve.forms.bodies import json_response
from serve.forms.errors import respond_to
from serve.middleware.api_key import ApiKeyGate
from serve.middleware.form_parameters import FormParameters
from serve.middleware.request_lines import RequestLines
from serve.middleware.signatures import SignatureCheck, SignedCallersOnly
from serve.routes import batch_redo, health, legacy, protection, statistics, tools, trials
from serve.routes import event_loops as loops
from serve.routes import query as query_routes
from serve.routes import run as run_routes
from serve.routes.batch_redo import BatchRedo
from serve.routes.console import definition_rules, definitions, templates
from serve.routes.console import listings as consoles
from serve.routes.hot import HotRoutes

DESCRIPTION = """
Rill Flow workflows of serverless functions, run by durable actors on Ray.

Refusals are `{"error_code", "error"}`: 400 with 301xx for what the caller can mend, 422 for
missing or malformed parameters, 500 with 303xx to 306xx where the execution cannot take the
request now, 503 when the store does not answer. Fields without a value are left out.
"""


def build_asgi_app(settings: Settings, listens_on: str) -> ASGIApp:
    """Build the application that one Serve replica runs behind a front that listens there.

    Raises:
        RequestError: A hook of the settings cannot be loaded.
        GatewayError: A plugin of the settings cannot be.
    """
    write_lines()
    # Refused here, rather than by actors that start again and again.
    load_hooks(settings.hooks)
    list(named_plugins(settings.plugins))

    async def start_actors() -> None:
        for actor in launch_actors(settings):
            await actor.ready.remote()
        tune_gc()

    return create_api(Stack(settings), start_actors, listens_on)


def create_api(
    stack: Stack, start: Callable[[], Awaitable[None]], listens_on: str | None = None
) -> ASGIApp:
    """Build the application in front of a stack; ``start`` runs before the first request.

    ``listens_on`` is the address where requests come in; None is ``settings.host``.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watch.start()
        await stack.open()
        await start()
        stack.readiness.start()
        open_shortcut(front, frozenset(hot.handlers), waiting=stack.settings.waiting_requests)
        yield
        await batches.stop()
        await stack.readiness.stop()
        await stack.close()
        watch.stop()

    api = FastAPI(
        title="Rillflow",
        description=DESCRIPTION,
        version=version("rillflow"),
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own pages are fetched from elsewhere
        redoc_url=None,
        openapi_url=None,
    )
    watch = LoopWatch("replica")
    batches = BatchRedo(stack)
    callers = SignatureCheck(stack.settings, stack.clock)
    hot = HotRoutes(api if callers.must_sign else FormParameters(api), stack)
    checked = FormParameters(SignedCallersOnly(hot, callers)) if callers.must_sign else hot
    # What only Exception catches is raised again behind the answer, and costs the connection.
    for error in (RillflowError, HTTPException, RequestValidationError, Exception):
        api.add_exception_handler(error, _answer)
    for router in (
        run_routes.router(stack, hot),
        batch_redo.router(stack, batches),
        query_routes.router(stack),
        statistics.router(stack),
        protection.router(stack),
        loops.router(stack, watch),
        tools.router(stack),
        trials.router(stack),
        definitions.router(stack),
        definition_rules.router(stack),
        consoles.router(stack),
        templates.router(stack),
        legacy.router(stack),
        health.router(stack),
    ):
        api.include_router(router)

    @api.get("/openapi.json", include_in_schema=False)
    async def document() -> Response:
        """Describe the API; what that takes the first time is no work for the event loop."""
        return json_response(await in_slow_thread(api.openapi))

    front = RequestLines(ApiKeyGate(checked, stack.settings, listens_on))
    return front


async def _answer(_: Request, error: Exception) -> Response:
    return respond_to(error)
