"""The HTTP API as a FastAPI application; the hot routes are documented here, served elsewhere."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from rillflow.actors.launch import launch_actors
from rillflow.actors.stack import Stack
from rillflow.settings import Settings
from serve import descriptor_routes, health, query_routes, run_routes
from serve.errors import respond_to
from serve.hot_routes import HotRoutes
from serve.wire import CORS


def build_asgi_app(settings: Settings) -> ASGIApp:
    """Build the application that one Serve replica runs."""

    async def start_actors() -> None:
        for actor in launch_actors(settings):
            await actor.ready.remote()

    return create_api(Stack(settings), start_actors)


def create_api(stack: Stack, start: Callable[[], Awaitable[None]]) -> ASGIApp:
    """Build the application in front of a stack; ``start`` runs before the first request."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await stack.open()
        await start()
        yield
        await stack.close()

    api = FastAPI(
        title="Rillflow",
        description="Rill Flow workflows of serverless functions, run by durable actors on Ray.",
        version="0.1.0",
        lifespan=lifespan,
    )
    hot = HotRoutes(api, stack)
    for error in (Exception, HTTPException, RequestValidationError):
        api.add_exception_handler(error, _answer)
    for router in (
        run_routes.router(stack, hot),
        query_routes.router(stack),
        descriptor_routes.router(stack),
        health.router(stack),
    ):
        api.include_router(router)
    api.add_api_route("/{path:path}", _preflight, methods=["OPTIONS"], include_in_schema=False)
    return hot


async def _answer(_: Request, error: Exception) -> Response:
    return respond_to(error)


async def _preflight() -> Response:
    return Response(status_code=204, headers=CORS)
