"""The state of the dispatchers of a stack, for operators.

Used by `actors/stack.py`.
"""

import asyncio
from typing import Final

from rillflow.actors.names import dispatcher_actor_name
from rillflow.actors.peers import Peer
from rillflow.errors import RillflowError
from rillflow.ports.gateway import DispatcherState
from rillflow.ports.messages import GetGatewayHosts, encode_message
from rillflow.runtime.endpoints.dispatcher_endpoint import decode_hosts
from rillflow.settings import Settings

PATIENCE_S: Final = 5.0
"""Time limit for a dispatcher, which may be restarting."""


class RayDispatchers:
    """Queries each dispatcher of the cluster; see the ``Dispatchers`` port."""

    def __init__(self, settings: Settings) -> None:
        self._peers = [
            Peer(dispatcher_actor_name(index), settings.namespace)
            for index in range(settings.dispatcher_actors)
        ]

    async def states(self) -> list[DispatcherState]:
        """Return the state of each dispatcher; one that does not answer in time has none."""
        return await asyncio.gather(*map(_state_of, self._peers))


async def _state_of(peer: Peer) -> DispatcherState:
    try:
        answer = await asyncio.wait_for(peer.call(encode_message(GetGatewayHosts())), PATIENCE_S)
    except (RillflowError, TimeoutError):
        return DispatcherState(is_reached=False, hosts=[])
    return DispatcherState(is_reached=True, hosts=decode_hosts(answer))
