"""Calls an actor that fails, through ``Peer``, and writes what its caller is told as JSON.

    python -m tests.cluster.failing_peers

The actor is reached over its socket, and, under another name, as if it were on another node.
"""

import asyncio
import json
import sys
import time
from typing import Any

import ray

from rillflow.actors import peers
from rillflow.actors.connections.frames import Response, response_of
from rillflow.actors.connections.sockets import SocketServer
from rillflow.actors.peers import Peer
from rillflow.errors import (
    DamagedError,
    FencedError,
    OverloadedError,
    RillflowError,
    StoreError,
    UnavailableError,
)

NAMESPACE = "failing"
ERRORS: dict[str, Exception] = {
    "defect": TypeError("the value of a secret"),
    "value": ValueError("no actor of this name, one might think"),
    "socket": ConnectionError("nor was a connection lost"),
    "store": StoreError("the disk is full"),
    "fenced": FencedError("a newer owner"),
    "damaged": DamagedError("a record is missing"),
    "overloaded": OverloadedError("later"),
    "unavailable": UnavailableError("it starts"),
}


class Failing:
    """An actor whose answer to each message is an error."""

    def __init__(self, name: str, *, is_near: bool) -> None:
        self._name = name
        self._is_near = is_near
        self._calls = 0
        self._socket = SocketServer(self._answer, name)
        self._started = asyncio.create_task(self._socket.start())

    async def socket(self) -> tuple[str, str]:
        """Return where it is reached on its node."""
        await self._started
        node: str = ray.get_runtime_context().get_node_id()
        return node if self._is_near else "another", self._socket.path

    async def take(self, message: bytes) -> Response:
        """Take a message from another node."""
        return await response_of(self._answer(message), self._name)

    async def _answer(self, message: bytes) -> bytes:
        method = message.decode()
        if method == "calls":
            return str(self._calls).encode()
        self._calls += 1
        raise ERRORS[method]


class Broken:
    """An actor that cannot even say where it is reached."""

    async def socket(self) -> tuple[str, str]:
        """Fail as nobody foresaw."""
        raise TypeError("the value of a secret")


async def _told(peer: Peer, method: str) -> dict[str, Any]:
    begun_s = time.monotonic()
    try:
        await peer.call(method.encode())
    except RillflowError as error:
        took_s = time.monotonic() - begun_s
        return {"kind": type(error).__name__, "text": str(error), "took_s": took_s}
    raise AssertionError(method)


async def _look() -> dict[str, Any]:
    seen: dict[str, Any] = {}
    peers.REACH_S = 300.0
    for name in ("near", "far"):
        peer = Peer(name, NAMESPACE)
        seen[name] = {method: await _told(peer, method) for method in ERRORS}
        seen[name]["calls"] = int(await peer.call(b"calls"))
        peer.close()
    seen["broken"] = await _told(Peer("broken", NAMESPACE), "calls")
    peers.REACH_S = 0.5
    seen["missing"] = await _told(Peer("nobody", NAMESPACE), "calls")
    seen["left"] = await _told(Peer("nobody", NAMESPACE, mortal=True), "calls")
    return seen


def main() -> None:
    """Start Ray for this, and end it."""
    ray.init(
        address="local",
        namespace=NAMESPACE,
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
    )
    actor = ray.remote(Failing)
    handles = [
        actor.options(name=name, num_cpus=0).remote(name, is_near=name == "near")
        for name in ("near", "far")
    ]
    handles.append(ray.remote(Broken).options(name="broken", num_cpus=0).remote())
    sys.stdout.write(json.dumps(asyncio.run(_look())) + "\n")
    ray.shutdown()


if __name__ == "__main__":
    main()
