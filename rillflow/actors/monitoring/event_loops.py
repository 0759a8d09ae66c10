"""The event loops of a stack's actors, for operators.

Used by `actors/stack.py`.
"""

import asyncio

from rillflow.actors.names import dispatcher_actor_name, execution_actor_name
from rillflow.actors.peers import Peer
from rillflow.errors import RillflowError
from rillflow.ports.loops import LoopState, decode_loop
from rillflow.ports.messages import GetLoopState, encode_message
from rillflow.settings import Settings

PATIENCE_S = 5.0
"""Time limit for an actor, which may be restarting, or blocked."""


class RayEventLoops:
    """Queries the execution actors and the dispatchers; see the ``EventLoops`` port."""

    def __init__(self, settings: Settings) -> None:
        names = [
            *map(execution_actor_name, range(settings.execution_actors)),
            *map(dispatcher_actor_name, range(settings.dispatcher_actors)),
        ]
        self._peers = [Peer(name, settings.namespace) for name in names]

    async def states(self) -> list[LoopState]:
        """Return the state of each; one that does not answer in time has none."""
        return await asyncio.gather(*map(_state_of, self._peers))


async def _state_of(peer: Peer) -> LoopState:
    try:
        answer = await asyncio.wait_for(peer.call(encode_message(GetLoopState())), PATIENCE_S)
    except (RillflowError, TimeoutError):
        return LoopState(process=peer.name, is_reached=False)
    return decode_loop(answer)
