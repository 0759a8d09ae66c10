"""A patch of Serve's replicas: their own port listens on the node's address only.

Besides the port of the HTTP API, each replica has one for other deployments, which accepts pickled
Python objects: whoever reaches it, and has Ray's token where there is one, runs code as this user.
Serve listens on every interface (seen in 2.60), although it announces the node's address only.
"""

from collections.abc import Iterator
from typing import Any, Final

import ray
from ray._common.network_utils import build_address
from ray.serve._private import replica

from rillflow.private_apis.assumption import Assumption, not_in_source, other_parameters

_EVERYWHERE: Final = "[::]:0"
_add_port: Final = replica.add_port_to_grpc_server


def listen_on_the_node_only() -> None:
    """Patch the replica of this process, before its port is opened."""
    replica.add_port_to_grpc_server = _add_port_of_node


def _add_port_of_node(server: Any, address: str) -> int:
    if address == _EVERYWHERE:
        address = build_address(ray.util.get_node_ip_address(), 0)
    return int(_add_port(server, address))


def _differences() -> Iterator[str]:
    yield from not_in_source(replica, "add_port_to_grpc_server(", f'"{_EVERYWHERE}"')
    yield from other_parameters(_add_port, "server", "address")


RELIES_ON: Final = (
    Assumption(
        library="ray[serve]",
        relies_on="a replica opens its port by add_port_to_grpc_server(server, '[::]:0') of its"
        " module",
        seen_with="2.60.0",
        if_it_changes="silent: the port listens on every interface again"
        " (tests/cluster/test_closed.py lists the sockets of a stack)",
        differences=_differences,
    ),
)
