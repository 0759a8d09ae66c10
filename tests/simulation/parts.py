"""The processes of a run: owners of executions, dispatchers, and the way to the owners."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from itertools import count
from typing import TypeAlias

from rillflow.errors import StoreError, UnavailableError
from rillflow.ids import ExecutionId
from rillflow.ports.executions import decode_replies
from rillflow.ports.messages import Answers, Calls, GetLoopState, GetMeters, decode_owner_message
from rillflow.ports.storage.store import Store
from rillflow.runtime.aio.fair_turns import FairTurns
from rillflow.runtime.crashes.crash_history import HandlingRecord
from rillflow.runtime.dispatch.client import DispatcherClient
from rillflow.runtime.endpoints.dispatcher_endpoint import DispatcherEndpoint
from rillflow.runtime.endpoints.owner_endpoint import OwnerEndpoint, OwnPartitions
from rillflow.runtime.hooks.chain import HookChain
from rillflow.runtime.owner.dedicated_exit import until_done
from rillflow.runtime.owner.execution_owner import ExecutionOwner, OwnerLimits
from rillflow.runtime.routing.router import ExecutionRouter, OwnerRef
from tests.loopback import connection_to
from tests.simulation.functions import Functions
from tests.simulation.network import Network
from tests.simulation.promises import Promises
from tests.simulation.surroundings import SimulatedClock, Surroundings
from tests.simulation.virtual_loop import Life

RESTART_S = 0.3

Spawn: TypeAlias = Callable[[ExecutionId], None]
"""Starts the owner of a dedicated execution, unless it is there."""


class Executions(ExecutionRouter):
    """The executions of a run, by id."""

    def __init__(self, network: Network, hosts: int, watcher: str, spawn: Spawn) -> None:
        def owner_at(index: int) -> OwnerRef:
            connection = network.connection_to(host_name(index), network.has_moved)
            return OwnerRef(connection, watcher=watcher, moves=True)

        owners = list(map(owner_at, range(hosts)))
        super().__init__(owners, _DedicatedOwners(network, watcher, spawn), owner_at)


class _DedicatedOwners:
    """The owners of dedicated executions, by name."""

    def __init__(self, network: Network, watcher: str, spawn: Spawn) -> None:
        self._network = network
        self._watcher = watcher
        self._spawn = spawn
        self._known: dict[ExecutionId, OwnerRef] = {}

    def find(self, execution_id: ExecutionId) -> OwnerRef | None:
        known = self._known.get(execution_id)
        if known is None and not self._network.is_gone(execution_id):
            known = self._known[execution_id] = self._owner(execution_id)
        return known

    def spawn(self, execution_id: ExecutionId) -> OwnerRef:
        self._spawn(execution_id)
        owner = self._known[execution_id] = self._owner(execution_id)
        return owner

    def forget(self, execution_id: ExecutionId) -> None:
        self._known.pop(execution_id, None)

    def _owner(self, execution_id: ExecutionId) -> OwnerRef:
        return OwnerRef(self._network.connection_to(execution_id), watcher=self._watcher)


def host_name(index: int) -> str:
    """Return the name under which an owner is reached."""
    return f"host{index}"


def dispatcher_name(index: int) -> str:
    """Return the name under which a dispatcher is reached."""
    return f"dispatcher{index}"


class _Spawner:
    def __init__(self, spawn: Spawn, living: Callable[[], Collection[str]]) -> None:
        self._spawn = spawn
        self._living = living

    async def spawn(self, execution_id: ExecutionId) -> None:
        self._spawn(execution_id)

    async def without_actor(self, execution_ids: Sequence[ExecutionId]) -> list[ExecutionId]:
        living = self._living()
        return [each for each in execution_ids if each not in living]


def _counted_turns(look_s: float) -> FairTurns:
    """Return turns in which each look at the clock takes so long; without that nothing does."""
    looks = count()

    def counted_s() -> float:
        return next(looks) * look_s

    return FairTurns(cpu_s=counted_s, clock_s=counted_s)


class HostProcess:
    """One life of an owner of executions, those of some partitions or one dedicated one."""

    def __init__(
        self,
        around: Surroundings,
        *,
        life: Life,
        owns: Sequence[int] | ExecutionId,
        hosts: int,
        dispatchers: int,
        network: Network,
        store: Store,
        clock: SimulatedClock,
        promises: Promises,
        limits: OwnerLimits,
        look_s: float,
        spawn: Spawn,
        living: Callable[[], Collection[str]],
        retire: Callable[[Life], None],
        guards: HookChain | None = None,
        record: HandlingRecord | None = None,
        own: OwnPartitions | None = None,
    ) -> None:
        self.life, self._around, self._store = life, around, store
        self._promises, self._retire = promises, retire
        self._dedicated = owns if isinstance(owns, str) else None
        self._leaving = False
        connections = [network.connection_to(dispatcher_name(each)) for each in range(dispatchers)]
        self.client = DispatcherClient(life.name, connections)
        executions = Executions(network, hosts, repr(life), spawn)
        self.host = ExecutionOwner(
            store=store,
            clock=clock,
            dispatcher=self.client,
            executions=executions,
            callback_host="http://rillflow.test",
            partitions=() if isinstance(owns, str) else owns,
            dedicated=self._dedicated,
            limits=limits,
            guards=guards,
            record=record,
            on_fenced=life.kill,
            spawner=None if self._dedicated else _Spawner(spawn, living),
            turns=_counted_turns(look_s),
        )
        self._endpoint = OwnerEndpoint(
            self.host, self.client, life=repr(life), own=own, forward=executions.forward
        )
        self._started = around.loop.spawn(life, self._start(), name="start")
        self._retirement = around.loop.spawn(life, self._retire_when_done(), name="retire")
        self._beat = around.loop.spawn(life, self.client.watch_dispatchers(), name="beat")
        network.register(life, self._take)

    async def _start(self) -> None:
        while True:
            try:
                await self.host.start()
            except StoreError:
                await asyncio.sleep(RESTART_S)
            else:
                return

    async def _take(self, data: bytes) -> bytes:
        await asyncio.shield(self._started)
        if self._leaving:
            raise UnavailableError(f"{self._dedicated} has ended, and its owner leaves")
        message = decode_owner_message(data)
        assert not isinstance(message, GetLoopState | GetMeters)
        answer = await self._endpoint.take(message, len(data))
        if isinstance(message, Calls):
            for call, reply in zip(message.calls, decode_replies(answer), strict=True):
                self._promises.replied(call, reply)
        elif isinstance(message, Answers):
            self._promises.took_answers(message.answers)
        return answer

    async def _retire_when_done(self) -> None:
        if self._dedicated is None:
            return
        await asyncio.shield(self._started)
        await until_done(self.host, self.client, self._store, self._dedicated)
        self._leaving = True
        await self.host.stop()
        if await self.host.is_replaced():
            self.life.kill()
        else:
            self._retire(self.life)

    async def stop(self) -> None:
        """Stop as a process does that is asked to."""
        self._beat.cancel()
        self._retirement.cancel()
        await self.host.stop()
        await self.client.stop()


class DispatcherProcess:
    """One life of a dispatcher."""

    def __init__(
        self,
        life: Life,
        *,
        network: Network,
        gateway: Functions,
    ) -> None:
        self.life = life
        self.endpoint = DispatcherEndpoint(
            gateway,
            life=repr(life).encode(),
            connect=network.connection_to,
            settled=gateway.task_actors.settled,
            lost=gateway.task_actors.lost,
        )
        network.register(life, connection_to(self.endpoint))


class Supervisor:
    """Starts a new life in the place of one that has ended, until it is told to rest."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._starts: dict[str, Callable[[], Life]] = {}
        self.newest: dict[str, Life] = {}
        self.resting = False

    def supervises(self, name: str) -> bool:
        """Tell whether a process lives, or is about to."""
        return name in self._starts

    def living(self) -> list[str]:
        """Return the names of the processes that live, or are about to."""
        return list(self._starts)

    def supervise(self, name: str, start: Callable[[], Life]) -> None:
        """Start a process, and start it again after each of its deaths."""
        self._starts[name] = start
        self.take_over(name)

    def take_over(self, name: str) -> None:
        """Start a new life under a name now, whether the last one has ended or not."""
        life = self._starts[name]()
        self.newest[name] = life
        life.mourners.append(self._mourn)

    def retire(self, life: Life, start: Callable[[], Life]) -> None:
        """End a process for good, unless it was lost and is another's that has its name."""
        if self._starts.get(life.name) is start:
            self.newest.pop(life.name).kill()
            del self._starts[life.name]
        life.kill()

    def lose(self, name: str) -> None:
        """End a process for good, in the midst of its work."""
        self.retire(self.newest[name], self._starts[name])

    def abandon(self, name: str) -> None:
        """Give a name up without ending its process, which could not be reached."""
        del self.newest[name]
        del self._starts[name]

    def _mourn(self, life: Life) -> None:
        if self.resting or self.newest.get(life.name) is not life:
            return
        delay_s = RESTART_S * (0.2 + self._around.random.random())
        self._around.later(delay_s, self._replace, life)

    def _replace(self, life: Life) -> None:
        if self.newest.get(life.name) is life and not self.resting:
            self.take_over(life.name)
