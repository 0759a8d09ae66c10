"""Starting the actors of a stack and the HTTP API in front of them, on a running Ray.

`serve/stack/standalone.py` imports it by its name. Import it only after the environment is set,
because Serve reads it at import.
"""

import asyncio
import logging
import threading
from collections.abc import Sequence
from functools import partial
from typing import Final

import ray
from ray import serve
from ray.exceptions import ActorDiedError, RayError
from ray.serve.schema import ApplicationStatus

from rillflow.actors.directory import names_of_actors
from rillflow.actors.lifecycle.launch import launch_actors
from rillflow.actors.placing import dispatchers, owners
from rillflow.actors.takeover.actor_watch import ActorWatch, StillStopped, Stopped
from rillflow.errors import StackError
from rillflow.ports.deployment import Deployment
from rillflow.runtime.supervision.convergence import DISPATCHER, EXECUTION, Kind
from rillflow.settings import Settings
from rillflow.stores import open_store
from serve.deployment import build

REQUEST_TIMEOUT_S: Final = 660
KEEP_ALIVE_S: Final = 75
ACTORS_S: Final = 10.0
"""How often it checks whether all actors are there."""
APPLICATION: Final = "rillflow"
log = logging.getLogger("rillflow.local_front")


def start_front(settings: Settings, deployed: Deployment) -> None:
    """Start the actors of the stack, and HAProxy in front of them.

    The actors start first, and load while Serve does.

    Raises:
        StackError: Something does not start.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    launch_actors(settings, deployed)
    try:
        try:
            _start_serve(settings.port)
        except (ActorDiedError, TimeoutError):
            # Serve gives up a proxy that hangs while it starts HAProxy, and starts another one.
            _start_serve(settings.port)
    except (RayError, RuntimeError, TimeoutError) as error:
        raise StackError(f"Ray Serve does not start: {error}") from error


def start_missing(settings: Settings, deployed: Deployment) -> None:
    """Start actors of the stack that Ray no longer restarts: killed by hand, or failed to start."""
    names = names_of_actors(settings.namespace)
    missing = [each for each in (*owners(settings), *dispatchers(settings)) if each not in names]
    if missing:
        log.warning("actors_missing", extra={"actors": missing})
        launch_actors(settings, deployed)


def keep_actors(settings: Settings, deployed: Deployment, stopped: threading.Event) -> None:
    """Start what is missing, and what has stopped without Ray having noticed, until ``stopped``."""
    asyncio.run(_keep_actors(settings, deployed, stopped))


async def _keep_actors(settings: Settings, deployed: Deployment, stopped: threading.Event) -> None:
    store = open_store(settings.store_url)
    await store.open()
    names: list[tuple[str, Kind]] = [
        *((name, DISPATCHER) for name in dispatchers(settings)),
        *((name, EXECUTION) for name in owners(settings)),
    ]
    take_over = partial(_take_over, settings, deployed)
    watching = asyncio.create_task(
        ActorWatch(settings.namespace, names, store, take_over).run(), name="takeover"
    )
    try:
        while not stopped.is_set():
            if await asyncio.to_thread(stopped.wait, ACTORS_S):
                break  # Ray is being ended, or has ended: a signal may be for all processes
            try:
                await asyncio.to_thread(start_missing, settings, deployed)
            except Exception:
                log.exception("actors_not_looked_for")
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await store.close()


async def _take_over(
    settings: Settings,
    deployed: Deployment,
    stopped: Sequence[Stopped],
    still_stopped: StillStopped,
) -> None:
    """End actors that have stopped, and start others of their names."""
    for each in await still_stopped(stopped):
        log.warning("actor_taken_over", extra={"actor": each.name})
        await asyncio.to_thread(ray.kill, each.actor)
    await asyncio.to_thread(launch_actors, settings, deployed)


def _start_serve(port: int) -> None:
    serve.start(
        proxy_location="HeadOnly",
        http_options={
            "host": "127.0.0.1",  # haproxy/config.py reads the setting
            "port": port,
            "request_timeout_s": REQUEST_TIMEOUT_S,
            "keep_alive_timeout_s": KEEP_ALIVE_S,
        },
    )


def deploy(settings: Settings) -> None:
    """Begin to start the HTTP API; ``refuse_failed`` reports a failure."""
    serve.run_many(
        [serve.RunTarget(build(settings), name=APPLICATION)],
        wait_for_ingress_deployment_creation=False,
        wait_for_applications_running=False,
    )


def refuse_failed() -> None:
    """Check that the HTTP API is starting or running.

    Raises:
        StackError: It is not.
    """
    application = serve.status().applications.get(APPLICATION)
    if application is not None and application.status == ApplicationStatus.DEPLOY_FAILED:
        reasons = [one.message.strip() for one in application.deployments.values()]
        last_words = "; ".join(reason.splitlines()[-1] for reason in reasons if reason)
        raise StackError(f"the HTTP API does not start: {last_words}")
