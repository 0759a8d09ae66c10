"""The metrics of a stack's actors and other replicas.

Used by `actors/stack.py`.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from rillflow.actors.names import dispatcher_actor_name, execution_actor_name
from rillflow.actors.peers import Peer
from rillflow.errors import RillflowError
from rillflow.ports.messages import GetMeters, encode_message
from rillflow.settings import Settings
from rillflow.telemetry.minutes import Minute, decode_minutes
from rillflow.telemetry.states import ProcessState, decode_states

PATIENCE_S: Final = 5.0
"""Time limit for an actor, which may be restarting, or blocked."""


class RayProcessMeters:
    """Asks the execution actors and the dispatchers; see the ``ProcessMeters`` port.

    The first execution actor keeps what the replicas tell, since nobody can ask a certain replica.
    """

    def __init__(self, settings: Settings) -> None:
        names = [
            *map(execution_actor_name, range(settings.execution_actors)),
            *map(dispatcher_actor_name, range(settings.dispatcher_actors)),
        ]
        self._peers = [Peer(name, settings.namespace) for name in names]

    async def states(self, own: ProcessState) -> list[ProcessState]:
        """Return what each tells, and what the other replicas have told."""
        first, *others = self._peers
        told = await asyncio.gather(_states_of(first, own), *(_states_of(peer) for peer in others))
        return [state for states in told for state in states if state.process != own.process]

    async def tell(self, own: ProcessState) -> None:
        """Tell the first execution actor."""
        await self._peers[0].call(encode_message(GetMeters(own, asks=False)))

    async def share(self, minutes: Sequence[Minute]) -> list[Minute]:
        """Tell the first execution actor, which answers with what all replicas have told."""
        message = encode_message(GetMeters(asks=False, minutes=list(minutes)))
        return decode_minutes(await self._peers[0].call(message))


async def _states_of(peer: Peer, replica: ProcessState | None = None) -> list[ProcessState]:
    message = encode_message(GetMeters(replica))
    try:
        return decode_states(await asyncio.wait_for(peer.call(message), PATIENCE_S))
    except (RillflowError, TimeoutError):
        return [ProcessState(peer.name, is_reached=False)]
