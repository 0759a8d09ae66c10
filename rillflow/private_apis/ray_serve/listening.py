"""Where Serve listens: the options of its proxies, and a patch of the replicas' own ports.

Besides the port of the HTTP API, each replica has one for other deployments, which accepts pickled
Python objects: whoever reaches it, and has Ray's token where there is one, runs code as this user.
Serve listens on every interface (seen in 2.60), although it announces the node's address only. With
the patch it listens on the node's address.

Used by `serve/deployment.py` and `serve/stack/http_options.py`.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import ray
from ray._common.network_utils import build_address
from ray.serve import context
from ray.serve._private import replica
from ray.serve._private.client import ServeControllerClient
from ray.serve.config import HTTPOptions

from rillflow.private_apis.assumption import (
    Assumption,
    missing,
    not_in_source,
    other_parameters,
)

_EVERYWHERE: Final = "[::]:0"
_add_port: Final = replica.add_port_to_grpc_server


class Listening(NamedTuple):
    """The options that the HTTP proxies of a cluster were started with.

    ``proxy_location`` is as in a deployment file, empty where Serve does not say.
    """

    options: HTTPOptions
    proxy_location: str


def listening_of_serve() -> Listening:
    """Return what the HTTP proxies of this cluster were started with.

    Raises:
        RayServeException: Serve does not run on it.
    """
    client = context._get_global_client()  # noqa: SLF001 - see RELIES_ON
    location = client.get_serve_details().get("proxy_location")
    return Listening(client.http_config, getattr(location, "value", location) or "")


def address_of_serve() -> tuple[str, int]:
    """Return the address and the port that the HTTP proxies of this cluster listen on.

    Raises:
        RayServeException: Serve does not run on it.
    """
    options = context._get_global_client().http_config  # noqa: SLF001 - see RELIES_ON
    return str(options.host), int(options.port)


def listen_on_the_node_only() -> None:
    """Patch the replica of this process, before its port is opened."""
    replica.add_port_to_grpc_server = _add_port_of_node


def _add_port_of_node(server: Any, address: str) -> int:
    if address == _EVERYWHERE:
        address = build_address(ray.util.get_node_ip_address(), 0)
    return int(_add_port(server, address))


def _of_replicas() -> Iterator[str]:
    yield from not_in_source(replica, "add_port_to_grpc_server(", f'"{_EVERYWHERE}"')
    yield from other_parameters(_add_port, "server", "address")


def _of_proxies() -> Iterator[str]:
    yield from missing(context, "_get_global_client")
    yield from missing(ServeControllerClient, "http_config", "get_serve_details")
    yield from missing(HTTPOptions(), "host", "port")


RELIES_ON: Final = (
    Assumption(
        library="ray[serve]",
        relies_on="ray.serve.context._get_global_client() has http_config, with host and port, and"
        " get_serve_details()",
        seen_with="2.60.0",
        if_it_changes="loud: no replica starts",
        differences=_of_proxies,
    ),
    Assumption(
        library="ray[serve]",
        relies_on="a replica opens its port by add_port_to_grpc_server(server, '[::]:0') of its"
        " module",
        seen_with="2.60.0",
        if_it_changes="silent: the port listens on every interface again"
        " (tests/cluster/test_closed.py lists the sockets of a stack)",
        differences=_of_replicas,
    ),
)
