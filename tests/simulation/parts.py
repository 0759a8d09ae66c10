"""The processes of a run: owners of executions, dispatchers, and the way to the owners."""

import asyncio
from collections.abc import Callable

import msgspec

from rillflow.errors import StoreError
from rillflow.ids import PARTITIONS, ExecutionId, partition_of
from rillflow.ports.executions import Call, Reply, ResourceCall, decode_calls, decode_replies
from rillflow.ports.gateway import DispatchAnswer, Gateway
from rillflow.ports.store import Store
from rillflow.runtime.desks import DispatchDesk, HostDesk
from rillflow.runtime.dispatch_lanes import DispatchLanes
from rillflow.runtime.homes import Home
from rillflow.runtime.host import ExecutionHost
from tests.simulation.network import Network
from tests.simulation.promises import Promises
from tests.simulation.surroundings import SimulatedClock, Surroundings
from tests.simulation.virtual_loop import Life

RESTART_S = 0.3
_answers_decoder = msgspec.msgpack.Decoder(list[DispatchAnswer])


class Executions:
    """The executions of a run, by id; see the ``WaitableExecutions`` port."""

    def __init__(self, network: Network, hosts: int, watcher: str) -> None:
        self._homes = [
            Home(network.line_to(host_name(index)), watcher=watcher) for index in range(hosts)
        ]

    async def call(self, call: Call) -> Reply:
        return await self._home(call.execution_id).ask(call)

    async def ask_all(self, call: ResourceCall) -> list[Reply]:
        asked = (home.ask(call) for home in self._homes)
        answered = await asyncio.gather(*asked, return_exceptions=True)
        return [reply for reply in answered if isinstance(reply, Reply)]

    async def wait(self, execution_id: ExecutionId, timeout_s: float) -> bool:
        return await self._home(execution_id).wait(execution_id, timeout_s)

    def _home(self, execution_id: ExecutionId) -> Home:
        return self._homes[partition_of(execution_id) % len(self._homes)]


def host_name(index: int) -> str:
    """Return the name under which an owner is reached."""
    return f"host{index}"


def dispatcher_name(index: int) -> str:
    """Return the name under which a dispatcher is reached."""
    return f"dispatcher{index}"


class HostProcess:
    """One life of an owner of executions."""

    def __init__(
        self,
        around: Surroundings,
        *,
        life: Life,
        index: int,
        hosts: int,
        dispatchers: int,
        network: Network,
        store: Store,
        clock: SimulatedClock,
        promises: Promises,
        most_hot: int,
    ) -> None:
        self.life = life
        self._around = around
        self._promises = promises
        lines = [network.line_to(dispatcher_name(each)) for each in range(dispatchers)]
        self.lanes = DispatchLanes(life.name, lines)
        self.host = ExecutionHost(
            store=store,
            clock=clock,
            dispatcher=self.lanes,
            executions=Executions(network, hosts, repr(life)),
            callback_host="http://rillflow.test",
            partitions=range(index, PARTITIONS, hosts),
            most_hot=most_hot,
            on_fenced=life.kill,
        )
        self._desk = HostDesk(self.host, self.lanes, life=repr(life))
        self._started = around.loop.spawn(life, self._start(), name="start")
        self._beat = around.loop.spawn(life, self.lanes.beat(), name="beat")
        network.register(life, self._take)

    async def _start(self) -> None:
        while True:
            try:
                await self.host.start()
            except StoreError:
                await asyncio.sleep(RESTART_S)
            else:
                return

    async def _take(self, method: str, argument: bytes) -> bytes:
        await asyncio.shield(self._started)
        answer = await self._desk.take(method, argument)
        if method == "calls":
            calls, replies = decode_calls(argument), decode_replies(answer)
            for call, reply in zip(calls, replies, strict=True):
                self._promises.replied(call, reply)
        elif method == "answers":
            self._promises.took_answers(_answers_decoder.decode(argument))
        return answer

    async def stop(self) -> None:
        """Stop as a process does that is asked to."""
        self._beat.cancel()
        await self.host.stop()
        await self.lanes.stop()


class DispatcherProcess:
    """One life of a dispatcher."""

    def __init__(
        self,
        life: Life,
        *,
        network: Network,
        gateway: Gateway,
    ) -> None:
        self.life = life
        self.desk = DispatchDesk(gateway, life=repr(life).encode(), line_to=network.line_to)
        network.register(life, self.desk.take)


class Supervisor:
    """Starts a new life in the place of one that has ended, until it is told to rest."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._starts: dict[str, Callable[[], Life]] = {}
        self.newest: dict[str, Life] = {}
        self.resting = False

    def supervise(self, name: str, start: Callable[[], Life]) -> None:
        """Start a process, and start it again after each of its deaths."""
        self._starts[name] = start
        self.take_over(name)

    def take_over(self, name: str) -> None:
        """Start a new life under a name now, whether the last one has ended or not."""
        life = self._starts[name]()
        self.newest[name] = life
        life.mourners.append(self._mourn)

    def _mourn(self, life: Life) -> None:
        if self.resting or self.newest.get(life.name) is not life:
            return
        delay_s = RESTART_S * (0.2 + self._around.random.random())
        self._around.later(delay_s, self._replace, life)

    def _replace(self, life: Life) -> None:
        if self.newest.get(life.name) is life and not self.resting:
            self.take_over(life.name)
