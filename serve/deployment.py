"""The Serve deployment: the HTTP API with these settings, in a number of replicas.

Used by `serve/app.py` and `serve/stack/front.py`.
"""

from typing import Final

from ray import serve
from ray.serve import Application
from starlette.types import ASGIApp

from rillflow.actors.ray_context import address_of_head, is_controlled
from rillflow.listening import allow
from rillflow.private_apis.ray_serve.listening import address_of_serve, listen_on_the_node_only
from rillflow.private_apis.uvicorn_server.deadlines import bound_connections
from rillflow.private_apis.uvicorn_server.timers import let_go_of_reset_connections
from rillflow.runtime.changes.hub import MOST_STREAMS
from rillflow.settings import Settings, is_loopback
from serve.api import build_asgi_app
from serve.listening import refuse_exposed

EVERYWHERE: Final = ("0.0.0.0", "::")
OTHER_REQUESTS: Final = 1_000
"""Requests that a replica handles besides those that wait for an end, and streams of changes."""
FILES_BESIDE: Final = 2_000
"""Those of a replica besides one for each request: of answers that are still read, and its own."""


def listening_on(settings: Settings, host: str) -> Settings:
    """Return the settings of a server for which Serve listens on an address of its own."""
    if settings.egress_private is not None:
        return settings
    is_private = is_loopback(settings.host) and is_loopback(host)
    return settings.model_copy(update={"egress_private": is_private})


def reached_at(settings: Settings, host: str, port: int, head: str) -> Settings:
    """Return the settings of a server that functions reach where Serve listens, if none says so.

    Args:
        settings: As they were set.
        host: Where the proxies of Serve listen.
        port: Theirs.
        head: The address of the head node, which has a proxy wherever Serve puts them.
    """
    if settings.server_host is not None:
        return settings
    address = head if host in EVERYWHERE else host
    named = f"[{address}]" if ":" in address else address
    return settings.model_copy(update={"server_host": f"http://{named}:{port}"})


def deployed() -> str:
    """Return what tells the deployment of this replica from others: when somebody asked for it.

    That stays the same when Serve starts a replica that failed again. Nothing if Serve has no such
    application any more.

    Raises:
        RayError: Serve does not answer.
    """
    name = serve.get_replica_context().app_name
    application = serve.status().applications.get(name)
    return "" if application is None else f"{name} {application.last_deployed_time_s!r}"


def build(settings: Settings) -> Application:
    """Return the application with these settings, ready for ``serve.run``."""
    requests = settings.waiting_requests + OTHER_REQUESTS + MOST_STREAMS

    def build_replica() -> ASGIApp:
        # As in config.yaml, the address on which Serve listens is not one of Rillflow's settings.
        listens_on, port = address_of_serve()
        refuse_exposed(settings, listens_on)
        let_go_of_reset_connections()
        bound_connections()
        listen_on_the_node_only()
        allow(requests + settings.unfinished_bodies + FILES_BESIDE)
        here = listening_on(settings, listens_on)
        if is_controlled():  # `rillflow up` has Serve listen behind the address of the settings
            here = reached_at(here, listens_on, port, address_of_head())
        return build_asgi_app(here, listens_on, deployed)

    deployment = serve.deployment(
        name="rillflow-api",
        num_replicas=settings.replicas,
        max_ongoing_requests=requests,
        ray_actor_options={"num_cpus": 0},
        max_surge_percent=100,  # The next replica runs before the one before it ends.
        health_check_period_s=10,
        graceful_shutdown_timeout_s=5,
        # Serve creates a record of every request even if the access log drops it.
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )
    return deployment(serve.ingress(build_replica)()).bind()
